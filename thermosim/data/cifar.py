"""CIFAR-10 and CIFAR-100 in the binary version of their authors, from a folder of the user's.

A record is one byte of the class, of CIFAR-100 before it one of its superclass, and 3072 bytes of pixels: 1024 of red,
of green and of blue, each 32 x 32 row by row. In rows of data the three colours of a pixel stand together, 32 x 32 x 3.
A. Krizhevsky, Learning multiple layers of features from tiny images (2009).

No checksums of the single files were published, only those of the archives: what is looked at are lengths, the range of
classes, and that every class has as many images as it was given. Rows are the images to learn from, in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from thermosim.data.rows import DataError, Table, sealed

__all__ = ["CIFAR", "cifar_files", "cifar_rows"]

CIFAR = {
    "cifar-10": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "cifar-100": ("train.bin",),
}
IMAGES = 50_000  # to learn from, of both
_PIXELS = 3 * 32 * 32
_CLASSES = {"cifar-10": 10, "cifar-100": 100}
_LABELS = {"cifar-10": 1, "cifar-100": 2}  # bytes; the class is the last of them
_DEEPEST = 3  # folders below the one that is named
_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"


def cifar_files(name: str, home: Path) -> list[Path]:
    """The files of a set in a folder or those below it. Raises DataError."""
    for folder in _folders(home):
        paths = [folder / file for file in CIFAR[name]]
        if all(path.is_file() for path in paths):
            return paths
    first = CIFAR[name][0]
    python = any((folder / first.removesuffix(".bin")).is_file() for folder in _folders(home))
    has = "only the files of the Python version" if python else f"no file {first}"
    raise DataError(
        f"data.source = {name!r}: {has} in {home}, or in a folder below it; unpack {name}-binary.tar.gz, the binary "
        f"version at {_HOME}, there, or name its folder with data.folder."
    )


def _folders(home: Path) -> Iterator[Path]:
    """A folder and those below it, near ones first."""
    yield home
    for depth in range(1, _DEEPEST + 1):
        yield from (path for path in sorted(home.glob("/".join(["*"] * depth))) if path.is_dir())


def cifar_rows(name: str, paths: tuple[Path, ...]) -> Table:
    """All images to learn from (50000, 3072), as bytes, and their classes. Raises DataError."""
    labels, record = _LABELS[name], _LABELS[name] + _PIXELS
    values, classes = np.empty((IMAGES, _PIXELS), np.uint8), np.empty(IMAGES, np.int64)
    each = IMAGES // len(paths)
    for number, path in enumerate(paths):
        remedy = f"get the binary version at {_HOME} again"
        if (size := path.stat().st_size) != each * record:
            told = f"{size:,} bytes, where {each:,} images take {each * record:,}"
            raise DataError(f"data.source = {name!r}: {path} is not the published file, it has {told}; {remedy}.")
        records = np.fromfile(path, np.uint8).reshape(each, record)
        place = slice(number * each, (number + 1) * each)
        planes = records[:, labels:].reshape(each, 3, -1)
        values[place] = planes.transpose(0, 2, 1).reshape(each, -1)
        classes[place] = records[:, labels - 1]
    counts = np.bincount(classes, minlength=_CLASSES[name])
    if len(counts) > _CLASSES[name] or not (counts == IMAGES // _CLASSES[name]).all():
        raise DataError(
            f"data.source = {name!r}: the files in {paths[0].parent} are not the published ones, their classes are not "
            f"0 to {_CLASSES[name] - 1} with {IMAGES // _CLASSES[name]:,} images each; {remedy}."
        )
    return sealed(values, classes, 0.0, 255.0, None)
