"""The cases that come with thermosim: found by name in a checkout, and from an installed wheel."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import thermosim
from thermosim.case import library
from thermosim.case.load import CaseError, load_case
from thermosim.run.describe import package_versions

ROOT = Path(__file__).parent.parent
CASES = ROOT / "cases"
NAMES = sorted(path.relative_to(CASES).with_suffix("").as_posix() for path in CASES.rglob("*.toml"))


def test_every_case_has_a_name_and_a_title():
    titles = library.listing()
    assert list(titles) == NAMES
    assert all(titles.values())
    assert [library.find(name) for name in NAMES] == [CASES / f"{name}.toml" for name in NAMES]


@pytest.mark.parametrize("name", ["driven/two_beads", "driven/two_beads.toml", "cases/driven/two_beads.toml"])
def test_a_case_is_loaded_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = load_case(name)
    assert case.source == (CASES / "driven" / "two_beads.toml").read_text()
    assert case.folder == CASES / "driven"


def test_an_existing_path_wins(trap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "driven" / "two_beads"
    own.parent.mkdir()
    own.write_text(trap)
    assert load_case("driven/two_beads").title == "a small dragged trap"
    own.unlink()
    own.mkdir()
    with pytest.raises(CaseError, match="Is a directory"):
        load_case("driven/two_beads")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ideal_gas/fixed_erl", "ideal_gas/fixed_elr"),
        ("fixed_elr", "ideal_gas/fixed_elr"),
        ("cases/drivn/two_beads.toml", "driven/two_beads"),
        ("learning/two_bead", "driven/two_beads"),
    ],
)
def test_near_misses_get_a_suggestion(name, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CaseError, match=f"no such file. Did you mean {meant}?"):
        load_case(name)


@pytest.mark.parametrize("name", ["../cases/driven/two_beads", "/driven/two_beads", "driven", "", "quite another"])
def test_what_is_no_name_is_no_case(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CaseError):
        load_case(name)


def test_whoever_is_told_to_install_this_gets_this():
    """An unrelated package is called thermosim where packages are published."""
    pages = [*ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "cases").rglob("*.toml")]
    pages += [path for folder in ("thermosim", "scripts") for path in (ROOT / folder).rglob("*.*")]
    texts = {path: path.read_bytes() for path in pages if path.is_file()}
    wrong = re.compile(rb"""install +(-\S+ +)*["']?thermosim\b(?!-engine)|\bthermosim\[[a-z]""")
    assert [path for path, text in texts.items() if wrong.search(text)] == []
    assert sum(b"thermosim-engine[" in text for text in texts.values()) > 5
    assert package_versions()["thermosim-engine"] == thermosim.__version__
    assert f"\nversion: {thermosim.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what a wheel of an sdist of this checkout installs, and the command."""
    if not all(importlib.util.find_spec(tool) for tool in ("hatchling", "pip")):
        pytest.skip("needs hatchling and pip")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-d", folder, "-t"]
    subprocess.run([*build, "sdist"], cwd=ROOT, capture_output=True, text=True, check=True)
    (source,) = folder.glob("thermosim_engine-*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "source", filter="data")
    (unpacked,) = (folder / "source").iterdir()
    subprocess.run([*build, "wheel"], cwd=unpacked, capture_output=True, text=True, check=True)
    (wheel,) = folder.glob("thermosim_engine-*.whl")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--target"]
    subprocess.run([*install, folder / "installed", wheel], capture_output=True, text=True, check=True)
    return folder / "installed"


def test_cases_run_by_name_from_a_wheel(installed, tmp_path):
    """Without the checkout: what is listed can be run, and the result opened. Interpreted, as it saves compiling."""
    environment = os.environ | {"PYTHONPATH": str(installed), "NUMBA_DISABLE_JIT": "1"}

    def command(*arguments):
        run = [sys.executable, installed / "bin" / "thermosim", *arguments]
        return subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    listed = [line.split()[0] for line in command("cases").stdout.splitlines()[1:] if not line.startswith(" ")]
    assert listed == NAMES
    short = ["--set=ensemble.replicas=3", "--set=run.steps=4", "--set=record.every=2", "--no-plot"]
    done = command("run", "driven/two_beads", *short)
    assert done.returncode == 0, done.stderr
    with thermosim.open_ensemble(tmp_path / "two_beads.h5") as ds:
        assert ds.sizes["replica"] == 3
    assert "Did you mean driven/two_beads?" in command("info", "driven/two_bead").stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two_beads.h5"]
