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
from thermosim.storage.verification import verify_file


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


def test_files_that_a_run_might_have_called_its_own(trap_case, tmp_path):
    """Nothing beside the output is written: what the one file is called until it is whole lies in the parts."""
    for name in ("out.h5.tmp", "out.h5.parts.tmp", "whole.h5.tmp", "lock", "manifest.json"):
        (tmp_path / name).write_text("six months of work")
    before = {path.name for path in tmp_path.iterdir()}
    for virtual in (False, True):
        output = tmp_path / f"out{'-virtual' * virtual}.h5"
        (tmp_path / f"{output.name}.tmp").write_text("six months of work")
        thermosim.simulate(trap_case, output, virtual=virtual).close()
        assert (tmp_path / f"{output.name}.tmp").read_text() == "six months of work"
    assert all((tmp_path / name).read_text() == "six months of work" for name in before)


def test_a_link_beside_the_output_is_not_followed(trap_case, tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("six months of work")
    (tmp_path / "out.h5.tmp").symlink_to(precious)
    thermosim.simulate(trap_case, tmp_path / "out.h5").close()
    assert precious.read_text() == "six months of work"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out.h5.parts", "name of the parts of a run"),
        ("\udcff.h5", "no name in UTF-8"),
        ("a\0.h5", "a NUL"),
        ("..", "folder"),
    ],
)
def test_names_that_no_output_can_have(trap_case, tmp_path, name, said):
    with pytest.raises(StorageError, match=rf"{said}.*such as"):
        thermosim.simulate(trap_case, tmp_path / name, virtual=True)
    assert os.listdir(tmp_path) == []


def test_a_folder_of_others_gets_no_lock(tmp_path):
    (tmp_path / "out.h5.parts").mkdir()
    (tmp_path / "out.h5.parts" / "thesis.txt").write_text("mine")
    for go_on in (thermosim.resume, lambda path: thermosim.resume(path, repair=True)):
        with pytest.raises(StorageError, match=r"not an output of thermosim"):
            go_on(tmp_path / "out.h5")
    assert os.listdir(tmp_path / "out.h5.parts") == ["thesis.txt"]


def replaced(file, name, make):
    old = file[name]
    shape, attributes = old.shape, dict(old.attrs)
    del file[name]
    make(shape)
    file[name].attrs.update({key: value for key, value in attributes.items() if "LIST" not in key})


@pytest.mark.parametrize("kind", ["raw data", "a view", "a link"])
def test_ensembles_that_read_other_files(trap_case, tmp_path, kind):
    """An ensemble from elsewhere could show whatever this user may read."""
    path, secret = tmp_path / "out.h5", tmp_path / "secret"
    thermosim.simulate(trap_case, path).close()
    secret.write_bytes(b"password" * 1000)
    with h5py.File(path, "a") as file:

        def make(shape):
            if kind == "raw data":
                file.create_dataset("work", shape, "f8", external=[(str(secret), 0, 8 * int(np.prod(shape)))])
            elif kind == "a view":
                layout = h5py.VirtualLayout(shape, "f8")
                layout[...] = h5py.VirtualSource(str(secret), "a", shape)
                file.create_virtual_dataset("work", layout)
            else:
                file["work"] = h5py.ExternalLink(str(secret), "a")

        if kind == "a link":
            del file["work"]
            make(())
        else:
            replaced(file, "work", make)
    for read in (thermosim.open_ensemble, thermosim.check):
        with pytest.raises(StorageError, match=r"work (has its numbers in|is a view of|is a link to) .*not read"):
            read(path)


def test_a_recording_that_reads_another_file(tmp_path):
    few = {"ensemble.replicas": 4, "record.every": 1}
    thermosim.simulate(thermosim.load_case(GAUSSIAN, few), tmp_path / "path.h5").close()
    (tmp_path / "secret").write_bytes(b"password" * 1000)
    with h5py.File(tmp_path / "path.h5", "a") as file:
        size = 8 * file["theta"].size
        replaced(file, "theta", lambda shape: file.create_dataset("theta", shape, "f8", external=[("secret", 0, size)]))
    text = GAUSSIAN[: GAUSSIAN.index("[theta]")] + '[theta]\ndynamics = "protocol"\nrecording = { file = "path.h5" }\n'
    text += GAUSSIAN[GAUSSIAN.index("[x]") : GAUSSIAN.index("[data]")] + GAUSSIAN[GAUSSIAN.index("[ensemble]") :]
    with pytest.raises(thermosim.CaseError, match="raw data in another file"):
        thermosim.load_case(text, few, tmp_path)


def test_what_has_another_shape_is_not_read_through(trap_case, tmp_path):
    """A damaged size may be any number of gigabytes; it is told once and left."""
    output = tmp_path / "out.h5"
    thermosim.simulate(trap_case, output).close()
    with h5py.File(output, "a") as file:
        del file["work"]
        file.create_dataset("work", (2**45,), "f8", chunks=(1024,))
    (fault,) = verify_file(output)
    assert "work are damaged" in fault
