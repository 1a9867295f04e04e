"""What waits for what: a case is read, and a model's file too, before the compiler is imported."""

import subprocess
import sys
from pathlib import Path

from tests.test_user_model import CASE, MODEL

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
    load(*sorted((ROOT / "cases").rglob("*.toml")))


def test_a_users_model_is_read_without_the_compiler(tmp_path):
    """Its force is compared with slopes of its energy in Python."""
    model = MODEL.replace("import numpy", "from thermosim.kernels.elementary import exp, fma, log\nimport numpy")
    model = model.replace("return total", "return fma(1.0, total, log(exp(0.0 * x[0, lane])))")
    (tmp_path / "quartic.py").write_text(model)
    (tmp_path / "case.toml").write_text(CASE)
    load(tmp_path / "case.toml")
