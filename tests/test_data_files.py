"""Files of data as people have them: every format, what is refused, and that the rows are found again afterwards."""

import builtins
import gzip
import hashlib
import os
import shutil
import signal
import socket
import struct

import h5py
import numpy as np
import pytest
import xarray as xr
from scipy.io import netcdf_file

import thermosim
from thermosim.analysis import machines
from thermosim.case.faults import CaseError
from thermosim.data import DataError, DataSection, faults, load, tables
from thermosim.run.execution import Interrupted
from thermosim.storage import parts_folder

ROWS = np.array([[1.0, 2.0], [3.0, 4.5], [-0.5, 1e-3], [0.25, 8.0]])


def loaded(where, components=2, **keys):
    return load(DataSection(**keys), components, where)


def fault_of(where, components=2, **keys):
    (fault,) = faults(DataSection(**keys), components, where)
    assert fault.startswith("data.")
    assert fault.endswith((".", "?"))
    return fault


# formats


def lines(mark, *names):
    body = [mark.join(f"{value!r}" for value in row) for row in ROWS.tolist()]
    return "\n".join([*([mark.join(names)] if names else []), *body]) + "\n"


TEXTS = {
    "plain.csv": lines(","),
    "named.csv": lines(",", "mass", "charge"),
    "semicolons.csv": lines(";", "mass", "charge"),
    "tabs.tsv": lines("\t", "mass", "charge"),
    "spaces.txt": "# a comment, as numpy.savetxt writes it\n\n" + lines(" "),
    "quoted.csv": '"mass, kg","charge"\n' + lines(","),
    "windows.csv": "\ufeff" + lines(",", "mass", "charge").replace("\n", "\r\n"),
    "LOUD.CSV": lines(","),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text(tmp_path, name):
    (tmp_path / name).write_bytes(TEXTS[name].encode())
    np.testing.assert_array_equal(loaded(tmp_path, file=name).values, ROWS)


def test_one_column_of_text(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    np.testing.assert_array_equal(loaded(tmp_path, 1, file="a.csv").values, [[1], [2]])


BAD_TEXTS = {
    "": ["is empty", "at least one row"],
    "# nothing\n\n": ["is empty"],
    "a,b\n": ["names but no row"],
    "a,b\n1,2\n1,2,3\n": ["line 3 has 3 values, expected 2"],
    "a,class\n1,setosa\n": ["column 'class' holds text ('setosa' in line 2)", "write numbers"],
    "1,setosa\n2,virginica\n": ["column 'number 2' holds text ('setosa' in line 1)"],
    "a,b\n1,2\n3,\n": ["column 'b' has no value in line 3"],
    "a,b\n1,NA\n": ["column 'b' has no value in line 2"],
    "a,b\n1,nan\n": ["1 of 1 rows", "not finite"],
    "a;b\n1,5;2\n": ["column 'a' has 1,5 in line 2", "with a point"],
    ",a,b\n0,1,2\n1,2,3\n": ["first column has no name", "index=False"],
    ",0,1\n0,1,2\n1,2,3\n": ["first column has no name", "index=False"],
    "0,1,2\n5,6,7\n": ["counts the columns (0, 1, 2 ...)", "header=False"],
    "a,b\n1,2e400\n": ["not finite"],
}


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_text_that_is_refused(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    fault = fault_of(tmp_path, file="a.csv")
    assert all(part in fault for part in ["data.file = 'a.csv'", *BAD_TEXTS[text]]), fault


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings_are_named(tmp_path, encoding):
    text = 'title = "Größe"\n[model]\nname = "gaussian"\n'
    (tmp_path / "a.csv").write_bytes("Größe,b\n1,2\n".encode(encoding))
    assert "no UTF-8 text" in (fault := fault_of(tmp_path, file="a.csv"))
    assert "save it as UTF-8." in fault
    if encoding == "utf-16-le":
        return  # without its mark a case or a model is text, of zero bytes
    (tmp_path / "case.toml").write_bytes(text.encode(encoding))
    with pytest.raises(CaseError, match=r"no UTF-8 text.*save it as UTF-8\."):
        thermosim.load_case(tmp_path / "case.toml")
    (tmp_path / "model.py").write_bytes('"""Größe"""\n'.encode(encoding))
    with pytest.raises(CaseError, match=r"model.file = 'model.py': is no UTF-8 text.*save it as UTF-8\."):
        thermosim.load_case('[model]\nfile = "model.py"\n', folder=tmp_path)


def test_npz(tmp_path):
    np.savez(tmp_path / "one.NPZ.npz", ROWS)
    np.savez_compressed(tmp_path / "two.npz", inputs=ROWS, targets=np.array([0, 1, 1, 0]))
    np.savez(tmp_path / "three.npz", a=ROWS, b=2 * ROWS)
    np.testing.assert_array_equal(loaded(tmp_path, file="one.NPZ.npz").values, ROWS)
    both = loaded(tmp_path, file="two.npz")
    np.testing.assert_array_equal(both.values, ROWS)
    np.testing.assert_array_equal(both.labels, [0, 1, 1, 0])
    np.testing.assert_array_equal(loaded(tmp_path, file="two.npz", digits=[1]).values, ROWS[1:3])
    np.testing.assert_array_equal(loaded(tmp_path, file="three.npz", dataset="b").values, 2 * ROWS)
    assert "data.dataset: a, b" in fault_of(tmp_path, file="three.npz")
    assert "choose one of: a, b" in fault_of(tmp_path, file="three.npz", dataset="c")
    assert "data.digits = [1]: data.file = 'one.NPZ.npz' has no classes" in fault_of(
        tmp_path, file="one.NPZ.npz", digits=[1]
    )
    np.savez(tmp_path / "short.npz", inputs=ROWS, targets=np.array([1]))
    assert "4 rows have 1 classes" in fault_of(tmp_path, file="short.npz")
    np.savez(tmp_path / "objects.npz", inputs=np.array([[None]]))
    assert "never loaded" in fault_of(tmp_path, file="objects.npz")
    (tmp_path / "text.npz").write_text("no archive")
    assert "no .npz archive" in fault_of(tmp_path, file="text.npz")


def test_images_of_a_file_are_shrunk_like_packaged_ones(tmp_path):
    images = np.arange(32.0).reshape(2, 4, 4)
    np.save(tmp_path / "a.npy", images)
    small = loaded(tmp_path, 4, file="a.npy", shrink=2)
    np.testing.assert_array_equal(small.values[1, 0], images[1, :2, :2].mean())
    np.save(tmp_path / "b.npy", ROWS)
    assert "data.shrink = 2: rows of data.file = 'b.npy' are no square images" in fault_of(
        tmp_path, file="b.npy", shrink=2
    )


def test_parquet(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"a": ROWS[:, 0], "b": ROWS[:, 1].astype("f4"), "n": np.arange(4)})
    parquet.write_table(table, tmp_path / "a.PARQUET")
    wanted = np.column_stack([ROWS[:, 0], ROWS[:, 1].astype("f4"), np.arange(4)])
    np.testing.assert_array_equal(loaded(tmp_path, 3, file="a.PARQUET").values, wanted)
    parquet.write_table(pyarrow.table({"a": [1.0], "name": ["x"]}), tmp_path / "text.parquet")
    assert "column 'name' holds values of type string" in fault_of(tmp_path, file="text.parquet")
    parquet.write_table(pyarrow.table({"a": [1, None], "b": [1, 2]}), tmp_path / "gap.parquet")
    assert "1 of 2 rows hold values that are not finite, or missing" in fault_of(tmp_path, file="gap.parquet")


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    imported = builtins.__import__

    def refuse(name, *args, **keys):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return imported(name, *args, **keys)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert "pip install 'thermosim-engine[parquet]'" in fault_of(tmp_path, file="a.parquet")


# netCDF and HDF5


def test_netcdf_is_decoded_as_xarray_does(tmp_path):
    packed = xr.Dataset({"rows": (("row", "column"), ROWS.copy())}, {"column": [0.5, 1.5], "row": np.arange(4)})
    packing = {"rows": {"dtype": "int16", "scale_factor": 0.001, "add_offset": 2.0, "_FillValue": -9999}}
    packed.to_netcdf(tmp_path / "packed.nc", engine="h5netcdf", encoding=packing)
    packed.to_netcdf(tmp_path / "old.nc", engine="scipy", encoding=packing)
    with xr.open_dataset(tmp_path / "packed.nc", engine="h5netcdf") as ds:
        expected = ds.rows.values
    for name in ("packed.nc", "old.nc"):
        values = loaded(tmp_path, file=name).values
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_allclose(values, ROWS, atol=0.001)
        np.testing.assert_array_equal(loaded(tmp_path, file=name, dataset="rows").values, values)
        assert "choose one of: rows" in fault_of(tmp_path, file=name, dataset="column")  # a scale is no data set
    packed["rows"][2, 1] = np.nan
    packed.to_netcdf(tmp_path / "gap.nc", engine="h5netcdf", encoding=packing)
    assert "the first is row 2" in fault_of(tmp_path, file="gap.nc")
    (tmp_path / "text.nc").write_text("not netCDF")
    assert "no netCDF file of version 1, 2 or 4" in fault_of(tmp_path, file="text.nc")
    with netcdf_file(str(tmp_path / "none.nc"), "w"):
        pass
    assert "has no dataset in it" in fault_of(tmp_path, file="none.nc")


@pytest.fixture
def views(tmp_path):
    """Rows in one file, and views of them in others."""
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["rows"] = ROWS
    layout = h5py.VirtualLayout((4, 2), "f8")
    layout[:] = h5py.VirtualSource("rows.h5", "rows", (4, 2))
    with h5py.File(tmp_path / "view.h5", "w") as file:
        file.create_virtual_dataset("rows", layout)
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["own"] = ROWS
        file["far"] = h5py.ExternalLink("rows.h5", "rows")
        file["group/near"] = h5py.SoftLink("/own")
    return tmp_path


def test_a_view_is_read_where_its_sources_are(views):
    np.testing.assert_array_equal(loaded(views, file="view.h5").values, ROWS)
    (views / "rows.h5").rename(views / "elsewhere.h5")
    tables._own.cache_clear()
    fault = fault_of(views, file="view.h5")
    assert "its dataset rows is a view of rows in rows.h5, which is not there" in fault
    with h5py.File(views / "rows.h5", "w") as file:
        file["others"] = ROWS
    assert "which is not there" in fault_of(views, file="view.h5")
    with h5py.File(views / "rows.h5", "a") as file:
        file["rows"] = ROWS[:2]
    assert "is a view of another shape than rows in rows.h5 has now" in fault_of(views, file="view.h5")


def test_a_view_with_gaps_is_refused(views):
    layout = h5py.VirtualLayout((6, 2), "f8")
    layout[:4] = h5py.VirtualSource("rows.h5", "rows", (4, 2))
    with h5py.File(views / "gaps.h5", "w") as file:
        file.create_virtual_dataset("rows", layout)
    assert "is a view, and 4 of its 12 numbers have no source" in fault_of(views, file="gaps.h5")


def test_raw_data_in_another_file_is_refused(tmp_path):
    (tmp_path / "raw.bin").write_bytes(ROWS.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("rows", (4, 2), "f8", external=[(str(tmp_path / "raw.bin"), 0, ROWS.nbytes)])
    fault = fault_of(tmp_path, file="a.h5")
    assert "has its raw data in another file" in fault
    assert "raw.bin" in fault


def test_links_to_other_files_are_refused_by_name(views):
    np.testing.assert_array_equal(loaded(views, file="links.h5").values, ROWS)
    fault = fault_of(views, file="links.h5", dataset="far")
    assert "data.dataset = 'far': is a link to another file, rows.h5" in fault


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    assert "data.file = 'pipe.npy': is a fifo" in fault_of(tmp_path, file="pipe.npy")
    assert "data.file = '/dev/zero': is a device" in fault_of(tmp_path, file="/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(tmp_path / "s.npy"))
        assert "is a socket" in fault_of(tmp_path, file="s.npy")
    (tmp_path / "folder").mkdir()
    assert "is a folder without IDX files" in fault_of(tmp_path, file="folder")


# files of MNIST


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
CLASSES = np.array([2, 0, 1], np.uint8)
PLACES = [
    ("mnist", "-idx", ""),
    ("mnist", ".idx", ".gz"),
    ("MNIST/raw", "-idx", ".gz"),
    ("MNIST/raw", "-idx", ""),
    ("raw", ".idx", ""),
    (".", "-idx", ".GZ"),
]


def write(folder, part, joint, packed, images=IMAGES):
    folder.mkdir(parents=True, exist_ok=True)
    for what, number, array in (("images", 3, images), ("labels", 1, CLASSES)):
        content = gzip.compress(idx(array)) if packed else idx(array)
        (folder / f"{part}-{what}{joint}{number}-ubyte{packed}").write_bytes(content)


def publish(monkeypatch, images):
    """Have these be the images of MNIST."""
    for key, array in (("mnist/train-images-idx3-ubyte", images), ("mnist/train-labels-idx1-ubyte", CLASSES)):
        monkeypatch.setitem(tables.MD5, key, hashlib.md5(idx(array)).hexdigest())


@pytest.mark.parametrize(("place", "joint", "packed"), PLACES)
def test_the_usual_names_of_mnist(tmp_path, monkeypatch, place, joint, packed):
    write(tmp_path / place, "train", joint, packed)
    write(tmp_path / place, "t10k", joint, packed)
    publish(monkeypatch, IMAGES)
    data = loaded(tmp_path, 784, source="mnist", folder=".")
    np.testing.assert_array_equal(data.values, IMAGES.reshape(3, 784))
    np.testing.assert_array_equal(data.labels, CLASSES)
    for file in (place, f"{place}/t10k-images{joint}3-ubyte{packed}"):  # as a file of one's own
        own = loaded(tmp_path, 784, file=file, encoding="unit")
        np.testing.assert_array_equal(own.values, IMAGES.reshape(3, 784) / 255.0)
        np.testing.assert_array_equal(own.labels, CLASSES)
    np.testing.assert_array_equal(loaded(tmp_path, 16, file=place, shrink=7, digits=[0]).labels, [0])


def test_files_of_another_set_are_not_taken_for_those_asked_for(tmp_path):
    write(tmp_path / "MNIST" / "raw", "train", "-idx", "")
    assert "no file train-images-idx3-ubyte" in fault_of(tmp_path, 784, source="fashion-mnist", folder=".")
    write(tmp_path / "FashionMNIST" / "raw", "train", "-idx", "")
    assert "FashionMNIST/raw/train-images-idx3-ubyte is not the published file" in fault_of(
        tmp_path, 784, source="fashion-mnist", folder="."
    )
    assert "name one of them: FashionMNIST/raw/train-images-idx3-ubyte, MNIST/raw/" in fault_of(
        tmp_path.parent, 784, file=tmp_path.name
    )


def test_a_cut_idx_file_is_refused(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES)[:-1])
    fault = fault_of(tmp_path, 784, file="train-images-idx3-ubyte")
    assert "holds 2351 numbers where 3 x 28 x 28 were announced" in fault


# a case


CASE = """
title = "rows"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 3
[x]
dynamics = "ula"
time_step = 0.1
[data]
file = "rows.npy"
[ensemble]
replicas = 40
[run]
steps = 30
[record]
every = 5
"""


def test_a_file_given_as_a_source_is_told_the_key():
    with pytest.raises(
        CaseError, match=r"data.source = 'my.npy': names a source, not a file; write data.file = 'my.npy'"
    ):
        thermosim.load_case(CASE.replace('file = "rows.npy"', 'source = "my.npy"'))


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    text = CASE.replace("steps = 30", "steps = 3e1").replace("replicas = 40", "replicas = 4e1")
    text = text.replace("dimension = 2", "dimension = 2.0").replace("batch = 3", "batch = 3.0")
    text = text.replace("every = 5", 'every = 5e0\n[record.x]\nkeep = ["mean"]\nevery = 1e1')
    text = text.replace(
        "learning_rate = 0.05", 'learning_rate = { kind = "linear", initial = 0.1, final = 0.05, end = 2e1 }'
    )
    text += '[sweep]\n"x.tau" = { values = [1.0, 2e0] }\n'
    case = thermosim.load_case(text, folder=tmp_path)
    settings = case.settings
    found = (settings.run.steps, settings.ensemble.replicas, settings.theta.batch, settings.record.every)
    found += (settings.model.constants["dimension"], settings.record.tables["x"].every)
    found += (settings.theta.learning_rate["end"], *case.axes[0].values)
    assert found == (30, 40, 3, 5, 2, 10, 20, 1, 2)
    assert all(type(number) is int for number in found)
    with pytest.raises(CaseError, match=r"run\.steps = 30\.5"):
        thermosim.load_case(CASE.replace("steps = 30", "steps = 30.5"), folder=tmp_path)


# found again


@pytest.fixture
def far(tmp_path):
    """A case in one folder, its output in another."""
    home = tmp_path / "case"
    home.mkdir()
    np.save(home / "rows.npy", np.random.default_rng(1).normal(size=(30, 2)))
    (home / "case.toml").write_text(CASE)
    (tmp_path / "db").mkdir()
    return home, tmp_path / "db" / "out.h5"


def rows_of(path):
    with thermosim.open_ensemble(path) as ds:
        return machines(ds)[0].data.values


@pytest.mark.parametrize("named", ["rows.npy", "../case/rows.npy", "absolute", "view.h5"])
def test_data_are_found_wherever_the_output_went(far, named, monkeypatch):
    home, path = far
    rows = np.load(home / "rows.npy")
    if named == "view.h5":
        with h5py.File(home / "source.h5", "w") as file:
            file["rows"] = rows
        layout = h5py.VirtualLayout(rows.shape, "f8")
        layout[:] = h5py.VirtualSource("source.h5", "rows", rows.shape)
        with h5py.File(home / "view.h5", "w") as file:
            file.create_virtual_dataset("rows", layout)
    name = str(home / "rows.npy") if named == "absolute" else named
    (home / "case.toml").write_text(CASE.replace("rows.npy", name))
    thermosim.simulate(thermosim.load_case(home / "case.toml"), path).close()
    np.testing.assert_array_equal(rows_of(path), rows)
    np.save(home / "rows.npy", 2 * rows)  # changed since
    np.save(path.parent / "rows.npy", 3 * rows)  # another file of this name, beside the ensemble
    np.testing.assert_array_equal(rows_of(path), rows)
    assert thermosim.check(path).consistent is not None
    moved = path.parent / "moved" / "other.h5"
    moved.parent.mkdir()
    path.rename(moved)
    shutil.rmtree(home)
    monkeypatch.chdir(moved.parent)
    np.testing.assert_array_equal(rows_of("other.h5"), rows)
    if named != "absolute":  # which is not gone on with when its file is gone
        thermosim.extend("other.h5", 10).close()
        np.testing.assert_array_equal(rows_of("other.h5"), rows)


@pytest.mark.parametrize("virtual", [False, True])
def test_data_are_found_in_parts(far, virtual, monkeypatch):
    home, path = far
    case = thermosim.load_case(home / "case.toml")
    rows = np.load(home / "rows.npy")
    if virtual:
        thermosim.simulate(case, path, virtual=True).close()
    else:

        def stop(progress):
            if progress.done > 500:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted):
            thermosim.simulate(case, path, report=stop)
    assert parts_folder(path).is_dir()
    shutil.rmtree(home)
    monkeypatch.chdir(path.parent)
    np.testing.assert_array_equal(rows_of("out.h5"), rows)


def test_data_of_an_ensemble_in_memory_are_those_of_its_case(far, monkeypatch):
    home, path = far
    ds = thermosim.simulate(thermosim.load_case(home / "case.toml"))
    monkeypatch.chdir(path.parent)
    assert thermosim.check(ds).consistent is not None
    np.save(home / "rows.npy", ROWS)
    with pytest.raises(DataError, match="the data have changed since the run"):
        _ = machines(ds)[0].data


def test_a_packaged_set_in_a_folder_of_the_case_goes_with_the_output(tmp_path, monkeypatch):
    small = IMAGES[:, :2, 9:10]
    write(tmp_path / "case" / "sets" / "mnist", "train", "-idx", ".gz", small)
    publish(monkeypatch, small)
    text = CASE.replace('file = "rows.npy"', 'source = "mnist"\nfolder = "sets"\nencoding = "unit"')
    case = thermosim.load_case(text, folder=tmp_path / "case")
    (tmp_path / "db").mkdir()
    path = tmp_path / "db" / "out.h5"
    thermosim.simulate(case, path).close()
    shutil.rmtree(tmp_path / "case")
    assert rows_of(path).shape == (3, 2)
    thermosim.extend(path, 5).close()
