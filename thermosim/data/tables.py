"""Rows that exist already: packaged data sets, whose checksums are verified, and the user's own files.

Sources: digits, the 8 x 8 test set of E. Alpaydin, C. Kaynak (UCI, 1998) as scikit-learn packages it; mnist, Y. LeCun
et al., Proc. IEEE 86, 2278 (1998); fashion-mnist, H. Xiao et al., arXiv:1708.07747. Of the last two, the 60,000 images
for training.
"""

from __future__ import annotations

import difflib
import functools
import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thermosim.data.section import DataSection

__all__ = ["MD5", "DataError", "Table", "data_folder", "table"]

MD5 = {  # of the uncompressed files
    "mnist/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "mnist/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "fashion-mnist/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "fashion-mnist/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
}
_DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # rows, then labels, as bytes
_LARGEST_FILE = 8 * 2**30


class DataError(Exception):
    """Data that cannot be had; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Table:
    """All rows of a source, as they are stored. Arrays are read-only: loads share them."""

    values: np.ndarray  # (rows, components)
    labels: np.ndarray | None  # (rows,)
    low: float  # what the unit scale calls 0
    high: float  # and 1
    side: int | None  # of square images

    def kept(self, classes: list[int] | None) -> np.ndarray:
        """Indices of the rows of some classes, or of all rows."""
        if classes is None or self.labels is None:
            return np.arange(len(self.values))
        return np.flatnonzero(np.isin(self.labels, classes))

    def components(self, shrink: int | None) -> int:
        """Components of a row whose image was shrunk."""
        return self.values.shape[1] // (shrink or 1) ** 2


def table(section: DataSection, folder: Path) -> Table:
    """The rows that a case's [data] names, from memory when they were read before and have not changed since.

    `folder` is where the case is. Raises DataError.
    """
    name = section.source
    try:
        if name == "digits":
            return _digits()
        if name is not None:
            home = data_folder(section.folder, folder)
            images, labels = (_idx_path(home, key) for key in MD5 if key.startswith(f"{name}/"))
            return _images(name, images, labels, _stamp(images), _stamp(labels))
        file = str(section.file)
        path = folder / file
        return _own(file, path, section.dataset, _stamp(path))
    except DataError:
        raise
    except Exception as error:  # a file can be broken in any way
        key = _key(str(section.file)) if name is None else f"data.source = {name!r}"
        raise DataError(f"{key}: cannot be read ({_said(error)}); make or get the file again.") from error


def data_folder(given: str | None, folder: Path) -> Path:
    """Where packaged files are: the case's own folder for them, $THERMOSIM_DATA, or thermosim in the data home."""
    if given is not None:
        return folder / Path(given).expanduser()
    named = os.environ.get("THERMOSIM_DATA")
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(named).expanduser() if named else Path(home).expanduser() / "thermosim"


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced: part of the key under which its rows are remembered."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _sealed(values: np.ndarray, labels: np.ndarray | None, low: float, high: float, side: int | None) -> Table:
    for array in (values, labels):
        if array is not None:
            array.flags.writeable = False
    return Table(values, labels, low, high, side)


@functools.lru_cache(maxsize=1)
def _digits() -> Table:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            "data.source = 'digits': comes with scikit-learn, which is not installed; `pip install scikit-learn`."
        ) from None
    rows, classes = load_digits(return_X_y=True)
    values, labels = rows.astype(np.uint8), classes.astype(np.int64)
    if hashlib.sha256(values.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest() != _DIGITS_SHA256:
        raise DataError(
            "data.source = 'digits': the digits in this scikit-learn are not the known ones (wrong SHA-256); "
            "install another version: `pip install --force-reinstall scikit-learn`."
        )
    return _sealed(values, labels, 0.0, 16.0, 8)


def _idx_path(home: Path, key: str) -> Path:
    """The file itself, or compressed."""
    plain = home / key
    packed = plain.with_name(plain.name + ".gz")
    if plain.is_file() or packed.is_file():
        return plain if plain.is_file() else packed
    raise DataError(
        f"data.source = {plain.parent.name!r}: no file {plain.name} or {packed.name} in {plain.parent}; get it with "
        f"`scripts/get_data {home}`, or name the folder it is in with data.folder."
    )


@functools.lru_cache(maxsize=4)
def _images(name: str, images: Path, labels: Path, *stamps: tuple[int, int, int]) -> Table:
    pixels, classes = _idx(name, images), _idx(name, labels)
    return _sealed(pixels.reshape(len(pixels), -1), classes.astype(np.int64), 0.0, 255.0, pixels.shape[1])


def _idx(name: str, path: Path) -> np.ndarray:
    """An array of bytes in the IDX format: its number of dimensions in byte 3, then each as a big-endian word."""
    remedy = f"remove it and run `scripts/get_data {path.parent.parent}` again"
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"data.source = {name!r}: {path} cannot be read ({_said(error)}); {remedy}.") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[f"{name}/{path.name.removesuffix('.gz')}"]:
        raise DataError(f"data.source = {name!r}: {path} is not the published file (wrong MD5); {remedy}.")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


@functools.lru_cache(maxsize=4)
def _own(name: str, path: Path, dataset: str | None, stamp: tuple[int, int, int]) -> Table:
    key = _key(name)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.*")], 1)
        hint = f"did you mean {near[0]!r}?" if near else "give its path relative to the case."
        raise DataError(f"{key}: no such file next to the case (looked for {path}); {hint}")
    if path.suffix not in (".npy", ".h5", ".hdf5"):
        raise DataError(f"{key}: expected a .npy, .h5 or .hdf5 file; save the rows with numpy.save.")
    if path.stat().st_size > _LARGEST_FILE:
        raise DataError(f"{key}: has {path.stat().st_size / 2**30:.0f} GiB, 8 at most; save fewer rows.")
    array = _npy(key, path) if path.suffix == ".npy" else _h5(key, path, dataset)
    return _checked(key if path.suffix == ".npy" or dataset is None else f"{key}, data.dataset = {dataset!r}", array)


def _npy(key: str, path: Path) -> np.ndarray:
    remedy = "save the rows as an array of numbers with numpy.save"
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise DataError(f"{key}: is no .npy array of numbers (Python objects are never loaded); {remedy}.") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{key}: is an archive of arrays, not one array; {remedy}.")
    return array


def _h5(key: str, path: Path, dataset: str | None) -> np.ndarray:
    import h5py

    if not h5py.is_hdf5(path):
        raise DataError(f"{key}: is no HDF5 file; save the rows with h5py, or as .npy with numpy.save.")
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        if not names:
            raise DataError(f"{key}: has no dataset in it; save the rows as one.")
        if dataset is None and len(names) > 1:
            raise DataError(f"{key}: has several datasets; choose one with data.dataset: {', '.join(names)}.")
        chosen = names[0] if dataset is None else dataset.strip("/")
        if chosen not in names:
            raise DataError(f"data.dataset = {dataset!r}: is not in {path.name}; choose one of: {', '.join(names)}.")
        stored = file[chosen]
        if stored.size is not None and stored.size * stored.dtype.itemsize > _LARGEST_FILE:
            raise DataError(f"{key}: its dataset {chosen} takes more than 8 GiB; save fewer rows.")
        return np.asarray(stored[()])


def _checked(key: str, array: np.ndarray) -> Table:
    """Rows of finite numbers, images flattened."""
    if array.dtype.kind not in "buif":
        raise DataError(f"{key}: holds values of type {array.dtype}; save real numbers instead.")
    if array.ndim < 2:
        raise DataError(
            f"{key}: has shape {array.shape}, expected rows x components (or images); "
            "save one number per row as values[:, None]."
        )
    if array.size == 0:
        raise DataError(f"{key}: has shape {array.shape}, so there is no row in it; save at least one.")
    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    with np.errstate(over="ignore"):
        rows = rows.astype(float) if rows.dtype.kind == "f" else rows  # what a wider type holds may be infinite here
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DataError(
            f"{key}: {len(bad)} of {len(rows)} rows hold values that are not finite, the first is row {bad[0]}; "
            "remove or mend them."
        )
    return _sealed(rows, None, float(rows.min()), float(rows.max()), None)


def _key(file: str) -> str:
    return f"data.file = {file!r}"


def _said(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
