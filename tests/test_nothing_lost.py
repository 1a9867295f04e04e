"""A run replaces what thermosim wrote, when it is told to, and nothing else of the user's."""

from __future__ import annotations

import os
import socket

import h5py
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import thermosim
from tests.conftest import TRAP
from tests.learning_cases import GAUSSIAN
from thermosim.cli.commands import main
from thermosim.plots.picture import save
from thermosim.storage import StorageError


@pytest.fixture(scope="module")
def trap_case():
    return thermosim.load_case(TRAP, {"ensemble.replicas": 4, "run.steps": 3, "record.every": 1})


def digest(path):
    return path.read_bytes()


def a_file_of_rows(path):
    with h5py.File(path, "w") as file:
        file["rows"] = np.random.default_rng(0).normal(size=(20, 2))


def a_notebook_ensemble(path):
    xr.Dataset({"a": ("t", np.arange(3.0))}).to_netcdf(path, engine="h5netcdf")


def a_text(path):
    path.write_text("six months of work\n")


@pytest.mark.parametrize("make", [a_file_of_rows, a_notebook_ensemble, a_text])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_are_never_replaced(trap_case, tmp_path, make, overwrite):
    path = tmp_path / "out.h5"
    make(path)
    before = digest(path)
    with pytest.raises(StorageError, match=r"never replaced.*-o .*out-2\.h5"):
        thermosim.simulate(trap_case, path, overwrite=overwrite)
    assert digest(path) == before
    assert os.listdir(tmp_path) == ["out.h5"]


def test_an_ensemble_is_replaced_when_told_to(trap_case, tmp_path):
    path = tmp_path / "out.h5"
    thermosim.simulate(trap_case, path).close()
    with pytest.raises(StorageError, match="--overwrite"):
        thermosim.simulate(trap_case, path)
    thermosim.simulate(trap_case, path, overwrite=True).close()


@pytest.mark.parametrize("name", ["path.h5", "by-a-link.h5", "by-another-name.h5", "folder/../path.h5"])
def test_what_the_case_reads_is_never_replaced(tmp_path, name):
    """A path of theta to replay is an ensemble of thermosim too, and --overwrite says yes to those."""
    source = tmp_path / "path.h5"
    few = {"ensemble.replicas": 4, "record.every": 1}
    thermosim.simulate(thermosim.load_case(GAUSSIAN, few), source).close()
    text = GAUSSIAN[: GAUSSIAN.index("[theta]")] + '[theta]\ndynamics = "protocol"\nrecording = { file = "path.h5" }\n'
    text += GAUSSIAN[GAUSSIAN.index("[x]") : GAUSSIAN.index("[data]")] + GAUSSIAN[GAUSSIAN.index("[ensemble]") :]
    case = thermosim.load_case(text, few, tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "by-a-link.h5").symlink_to(source)
    (tmp_path / "by-another-name.h5").hardlink_to(source)
    before = digest(source)
    with pytest.raises(StorageError, match=r"the case reads .*path\.h5.*another output"):
        thermosim.simulate(case, tmp_path / name, overwrite=True)
    assert digest(source) == before


@pytest.mark.parametrize("target", ["nowhere.h5", "out.h5"])
def test_links_that_lead_nowhere(trap_case, tmp_path, target):
    path = tmp_path / "out.h5"
    path.symlink_to(tmp_path / target)
    for overwrite in (False, True):
        with pytest.raises(StorageError, match="leads nowhere"):
            thermosim.simulate(trap_case, path, overwrite=overwrite)
    assert path.is_symlink()


def test_pipes_sockets_and_devices(trap_case, tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket.h5"))
    for path in (tmp_path / "pipe.h5", tmp_path / "socket.h5", "/dev/null"):
        with pytest.raises(StorageError, match="no file that could be replaced"):
            thermosim.simulate(trap_case, path, overwrite=True)


def test_pictures_of_others_are_left_alone(tmp_path):
    ours, theirs, notes = (tmp_path / name for name in ("ours.png", "theirs.png", "notes.svg"))
    for ending in ("png", "pdf", "svg"):
        save(Figure(), ours.with_suffix(f".{ending}"))
        save(Figure(), ours.with_suffix(f".{ending}"))
    Figure().savefig(theirs)
    notes.write_text("<svg/>")
    for path in (theirs, notes):
        before = digest(path)
        with pytest.raises(StorageError, match="not a picture that thermosim drew"):
            save(Figure(), path)
        assert digest(path) == before


def test_run_leaves_the_users_picture_beside_the_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.toml").write_text(TRAP)
    (tmp_path / "trap.png").write_bytes(b"a figure of mine")
    monkeypatch.setattr("sys.argv", ["thermosim", "run", "trap.toml", "--overwrite", "--set", "ensemble.replicas=20"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, capsys.readouterr()
    assert "left alone" in capsys.readouterr().out
    assert (tmp_path / "trap.png").read_bytes() == b"a figure of mine"
