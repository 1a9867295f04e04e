"""What waits for what: a case is read before the compiler is imported."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOAD = """
import sys, thermosim
for path in sys.argv[1:]:
    thermosim.load_case(path)
    found = {"numba", "llvmlite"} & set(sys.modules)
    assert not found, f"{path} imports {found}"
"""


def load(*paths):
    subprocess.run([sys.executable, "-c", LOAD, *map(str, paths)], cwd=ROOT, check=True)


def test_cases_are_read_without_the_compiler():
    """But for those of a model in a file, which is compiled to be looked at."""
    paths = sorted((ROOT / "cases").rglob("*.toml"))
    paths = [path for path in paths if 'source = "mnist"' not in path.read_text("utf-8")]  # which is fetched
    load(*[path for path in paths if "file" not in tomllib.loads(path.read_text("utf-8"))["model"]])
