"""`scripts/test --quick` runs what a change asks for, and says so where that is nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection import END_TO_END, ROOT, selected

FILES = {f"tests/{path.name}" for path in (ROOT / "tests").glob("test_*.py")}


@pytest.mark.parametrize(
    ("path", "first", "also"),
    [
        ("thermosim/streams.py", "tests/test_noise.py", "tests/test_case.py"),
        ("thermosim/case/library.py", "tests/test_library.py", "tests/test_case.py"),
        ("thermosim/storage/integrity.py", "tests/test_consolidation.py", "tests/test_segments.py"),
        ("thermosim/exact/sphere_chain.py", "tests/test_exact_sphere.py", "tests/test_exact_driven.py"),
        ("thermosim/exact/driven.py", "tests/test_exact_driven.py", "tests/test_exact_sphere.py"),
    ],
)
def test_who_names_the_module_comes_first_then_its_room(path, first, also):
    files = selected([path])
    assert files.index(first) < files.index(also)
    assert FILES.issuperset(files)
    assert set(END_TO_END) <= set(files)


@pytest.mark.parametrize("room", sorted(path.name for path in (ROOT / "thermosim").iterdir() if path.is_dir()))
def test_every_room_is_tested_but_not_by_everything(room):
    if room == "__pycache__":
        return
    assert set(END_TO_END) <= set(selected([f"thermosim/{room}"])) < FILES


def test_a_test_is_its_own_answer_and_what_nothing_reads_is_told():
    assert selected(["tests/test_noise.py::test_normals_are_normal_and_independent"]) == [
        "tests/test_noise.py::test_normals_are_normal_and_independent"
    ]
    assert "tests/test_learning_thermodynamics.py" in selected(["tests/learning_paths.py"])
    assert selected(["LICENSE"]) == []
    for given, said in (("LICENSE", "nothing was changed that a test reads"), ("thermosim/attic", "no such file")):
        command = [sys.executable, ROOT / "tests" / "selection.py", given]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert said in done.stderr
    command = [sys.executable, ROOT / "tests" / "selection.py", "-x", "storage"]
    done = subprocess.run(command, cwd=ROOT / "thermosim", capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "-x"
    assert Path(done.stdout.splitlines()[1]) in {Path(file) for file in FILES}
