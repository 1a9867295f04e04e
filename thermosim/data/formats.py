"""Rows from a user's own file: one reader for each kind, chosen by the ending of its name."""

from __future__ import annotations

import difflib
import json
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thermosim.data.delimited import read_delimited
from thermosim.data.hdf5 import read_hdf5, read_netcdf, self_contained
from thermosim.data.idx import IdxFile, idx_files, labels_of, named_idx, parsed, unpacked
from thermosim.data.rows import LARGEST_FILE, DataError, Table, checked, said, sealed

__all__ = ["FORMATS", "HEADED", "NAMED", "contents_of", "files_of", "read"]


class Rows(NamedTuple):
    """What a file holds."""

    values: np.ndarray
    classes: np.ndarray | None = None
    names: tuple[str, ...] = ()  # of the columns


Reader = Callable[[str, Path, str | None], Rows]

FORMATS = ".npy, .npz, .csv, .parquet, .nc or .h5"  # the usual ending of each kind
_ACCEPTED = f"{FORMATS} file, or an IDX file such as train-images-idx3-ubyte or its folder"


def files_of(file: str, folder: Path) -> list[Path]:
    """The files that a data.file of a case in this folder is read from. Raises DataError."""
    key, path = _key(file), folder / file
    if path.is_dir():
        images = _only_images(key, path)
    elif named := _regular(key, path):
        images = named
    else:
        return [path]
    labels = labels_of(images) if images.what == "images" else None
    return [images.path] if labels is None else [images.path, labels]


def contents_of(path: Path, datasets: Sequence[str | None]) -> bytes:
    """The bytes of one of these files, in a form that needs no other file for these data sets of it."""
    hdf5 = _reader(path) in (_hdf5, _netcdf)
    return self_contained(path, datasets) if hdf5 else path.read_bytes()


def read(file: str, paths: list[Path], dataset: str | None, flat: bool = False) -> Table:
    """The rows of a data.file, whose files are these; a flat array is a column where that may be. Raises DataError."""
    key, path = _key(file), paths[0]
    if images := named_idx(path):
        return _idx(key, images, paths[1:])
    reader = _reader(path)
    if reader is None:
        raise DataError(f"{key}: expected a {_ACCEPTED}; save the rows with numpy.save.")
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{key}: has {path.stat().st_size / 2**30:.0f} GiB, 8 at most; save fewer rows.")
    array, labels, names = reader(key, path, dataset)
    array = array[:, None] if flat and array.ndim == 1 else array
    table = checked(f"{key}, data.dataset = {dataset!r}" if dataset is not None else key, array, labels)
    return replace(table, names=names)


def _reader(path: Path) -> Reader | None:
    return _READERS.get(path.suffix.lower())


def _regular(key: str, path: Path) -> IdxFile | None:
    """What the name of a file says of an IDX file. Raises DataError for what is no file, or is not there."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        if path.is_symlink():
            raise DataError(f"{key}: is a link that leads nowhere, to {path.readlink()}; mend the link.") from None
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.*")], 1)
        hint = f"did you mean {near[0]!r}?" if near else "give its path relative to the case."
        raise DataError(f"{key}: no such file next to the case (looked for {path}); {hint}") from None
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a fifo", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
        raise DataError(f"{key}: is {kinds.get(stat.S_IFMT(mode), 'no file')}; save the rows to a file.")
    return named_idx(path)


def _only_images(key: str, folder: Path) -> IdxFile:
    """The images to be trained with among the IDX files of a folder."""
    images = [file for file in idx_files(folder) if file.what == "images"]
    training = [file for file in images if "train" in file.stem] or images
    if not training:
        raise DataError(f"{key}: is a folder without IDX files of images; name a file in it.")
    places = {(file.path.parent, file.stem): file for file in reversed(training)}  # one that is not compressed first
    if len(places) > 1:
        found = ", ".join(sorted(str(file.path.relative_to(folder)) for file in places.values()))
        raise DataError(f"{key}: is a folder with several files of images; name one of them: {found}.")
    return training[0]


def _npy(key: str, path: Path, dataset: str | None) -> Rows:
    remedy = "save the rows as an array of numbers with numpy.save"
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise DataError(f"{key}: is no .npy array of numbers (Python objects are never loaded); {remedy}.") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{key}: is an archive of arrays, not one array; call it .npz, or {remedy}.")
    return Rows(array)


def _npz(key: str, path: Path, dataset: str | None) -> Rows:
    """One array; or the one that is asked for; or `inputs`, whose classes are `targets`."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{key}: is no .npz archive; save the rows with numpy.savez.")
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST_FILE:
            raise DataError(f"{key}: its arrays take more than 8 GiB; save fewer rows.")
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays.files)
        if not names:
            raise DataError(f"{key}: has no array in it; save the rows as one.")
        if dataset is None and len(names) > 1 and "inputs" not in names:
            raise DataError(f"{key}: has several arrays; choose one with data.dataset: {', '.join(names)}.")
        chosen = dataset or ("inputs" if "inputs" in names else names[0])
        if chosen not in names:
            raise DataError(f"data.dataset = {dataset!r}: is not in {path.name}; choose one of: {', '.join(names)}.")
        try:
            targets = arrays["targets"] if chosen == "inputs" and "targets" in names else None
            classes = None if targets is None or targets.ndim != 1 or targets.dtype.kind not in "iu" else targets
            return Rows(arrays[chosen], None if classes is None else classes.astype(np.int64))
        except ValueError:
            raise DataError(f"{key}: holds Python objects, which are never loaded; save arrays of numbers.") from None


def _text(key: str, path: Path, dataset: str | None) -> Rows:
    values, names = read_delimited(key, path)
    return Rows(values, names=names)


def _parquet(key: str, path: Path, dataset: str | None) -> Rows:
    try:
        from pyarrow import parquet, types
    except ImportError:
        raise DataError(
            f"{key}: needs pyarrow, which is not installed; `pip install 'thermosim-engine[parquet]'`, or save the "
            "rows as .npy with numpy.save."
        ) from None
    table = parquet.read_table(path)
    told: dict[str, Any] = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
    index = [name for name in told.get("index_columns", []) if isinstance(name, str)]
    names = [name for name in table.column_names if name not in index]
    if not names:
        raise DataError(f"{key}: has no column; save the rows as numbers, a column for each component.")
    for name in names:
        kind = table.schema.field(name).type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
            raise DataError(f"{key}: column {name!r} holds values of type {kind}; remove it, or write numbers.")
    columns = [np.asarray(table.column(name).to_numpy()) for name in names]
    # a column of truth values with missing ones comes as objects
    columns = [column.astype(float) if column.dtype == object else column for column in columns]
    return Rows(np.column_stack(columns), names=tuple(names))


def _hdf5(key: str, path: Path, dataset: str | None) -> Rows:
    return Rows(read_hdf5(key, path, dataset))


def _netcdf(key: str, path: Path, dataset: str | None) -> Rows:
    return Rows(read_netcdf(key, path, dataset))


_READERS: dict[str, Reader] = {
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys((".csv", ".tsv", ".txt"), _text),
    **dict.fromkeys((".parquet", ".pq"), _parquet),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), _hdf5),
    **dict.fromkeys((".nc", ".nc4", ".cdf"), _netcdf),
}
NAMED = tuple(ending for ending, reader in _READERS.items() if reader in (_npz, _hdf5, _netcdf))  # take data.dataset
HEADED = tuple(ending for ending, reader in _READERS.items() if reader in (_text, _parquet))  # may name their columns


def _idx(key: str, images: IdxFile, labels: list[Path]) -> Table:
    try:
        table = checked(key, parsed(unpacked(images.path)), _classes(labels))
    except (ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{key}: {said(error)}; get the file again.") from None
    if table.values.dtype != np.uint8:
        return table
    return sealed(table.values, table.labels, 0.0, 255.0, table.side)  # the scale of images, whatever these hold


def _classes(labels: list[Path]) -> np.ndarray | None:
    found = parsed(unpacked(labels[0])) if labels else None
    return None if found is None or found.ndim != 1 or found.dtype.kind not in "iu" else found.astype(np.int64)


def _key(file: str) -> str:
    return f"data.file = {file!r}"
