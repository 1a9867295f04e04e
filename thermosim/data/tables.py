"""Rows that exist already: packaged data sets, whose checksums are verified, and the user's own files.

Sources: digits, the 8 x 8 test set of E. Alpaydin, C. Kaynak (UCI, 1998) as scikit-learn packages it; mnist, Y. LeCun
et al., Proc. IEEE 86, 2278 (1998); fashion-mnist, H. Xiao et al., arXiv:1708.07747. Of the last two, the 60,000 images
for training.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from pathlib import Path

import numpy as np

from thermosim.data.formats import files_of, read
from thermosim.data.idx import IdxFile, idx_files, named_idx, parsed, unpacked
from thermosim.data.rows import DataError, Table, said, sealed
from thermosim.data.section import PACKAGED, DataSection
from thermosim.data.tokens import holds_tokens, token_rows

__all__ = ["MD5", "DataError", "Table", "data_folder", "packaged_files", "table"]

MD5 = {  # of the uncompressed files
    "mnist/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "mnist/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "fashion-mnist/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "fashion-mnist/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
}
_DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # rows, then labels, as bytes


def table(section: DataSection, folder: Path, width: int) -> Table:
    """The rows that a case's [data] names, from memory when they were read before and have not changed since.

    `folder` is where the case is; `width` the tokens of a row of a text. Raises DataError.
    """
    name = section.source
    try:
        if holds_tokens(section):
            return token_rows(section, folder, width)
        if name == "digits":
            return _digits()
        if name is not None:
            home = data_folder(section.folder, folder)
            images, labels = packaged_files(name, home)
            return _images(name, images, labels, _stamp(images), _stamp(labels))
        paths = tuple(files_of(str(section.file), folder))
        return _own(str(section.file), paths, section.dataset, tuple(map(_stamp, paths)))
    except DataError:
        raise
    except Exception as error:  # a file can be broken in any way
        key = f"data.file = {section.file!r}" if name is None else f"data.source = {name!r}"
        raise DataError(f"{key}: cannot be read ({said(error)}); make or get the file again.") from error


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
    return sealed(values, labels, 0.0, 16.0, 8)


def packaged_files(name: str, home: Path) -> list[Path]:
    """The files of images and of classes of a packaged set, wherever they are below `home`. Raises DataError."""
    found = idx_files(home) if home.is_dir() else []
    return [_packaged_file(name, home, key.partition("/")[2], found) for key in MD5 if key.startswith(f"{name}/")]


def _packaged_file(name: str, home: Path, plain: str, found: list[IdxFile]) -> Path:
    wanted = named_idx(Path(plain))
    assert wanted is not None
    fitting = [file for file in found if (file.stem, file.what) == (wanted.stem, wanted.what)]
    own = [file for file in fitting if name in _sets_named(home, file.path)]
    anybodys = [file for file in fitting if not _sets_named(home, file.path)]
    if own or anybodys:
        return (own or anybodys)[0].path
    raise DataError(
        f"data.source = {name!r}: no file {plain} or {plain}.gz in {home / name}; get it with "
        f"`scripts/get_data {home}`, or name the folder it is in with data.folder."
    )


def _sets_named(home: Path, path: Path) -> set[str]:
    """Packaged sets that have given a folder its name: mnist, MNIST/raw, FashionMNIST/raw."""
    folders = [re.sub("[^a-z]", "", part.lower()) for part in (home.name, *path.relative_to(home).parts[:-1])]
    return {name for name in PACKAGED if name.replace("-", "") in folders}


@functools.lru_cache(maxsize=4)
def _images(name: str, images: Path, labels: Path, *stamps: tuple[int, int, int]) -> Table:
    pixels, classes = _published(name, images), _published(name, labels)
    return sealed(pixels.reshape(len(pixels), -1), classes.astype(np.int64), 0.0, 255.0, pixels.shape[1])


def _published(name: str, path: Path) -> np.ndarray:
    """The array of a file of a packaged set, whose checksum is verified."""
    remedy = f"remove it and run `scripts/get_data {path.parent.parent}` again"
    try:
        content = unpacked(path)
    except OSError as error:
        raise DataError(f"data.source = {name!r}: {path} cannot be read ({said(error)}); {remedy}.") from error
    named = named_idx(path)
    key = next(key for key in MD5 if key.startswith(f"{name}/") and named and named.what in key)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[key]:
        raise DataError(f"data.source = {name!r}: {path} is not the published file (wrong MD5); {remedy}.")
    return parsed(content)


@functools.lru_cache(maxsize=4)
def _own(file: str, paths: tuple[Path, ...], dataset: str | None, stamps: tuple[tuple[int, int, int], ...]) -> Table:
    return read(file, list(paths), dataset)
