"""Files in the IDX format of MNIST, under any of the names they go by, compressed or not.

Byte 2 is the type of the numbers, byte 3 their dimensions, whose sizes follow as big-endian words:
Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["IdxFile", "idx_files", "labels_of", "named_idx", "parsed", "unpacked"]

_NAME = re.compile(r"(?P<stem>.*)(?P<what>images|labels)[-.]idx\d-ubyte(?P<packed>\.gz)?", re.IGNORECASE)
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DEEPEST = 3  # folders below the one that is named


@dataclass(frozen=True)
class IdxFile:
    """A file with an IDX name: train-images-idx3-ubyte, t10k-labels.idx1-ubyte.gz."""

    path: Path
    stem: str  # such as "train-"
    what: str  # "images" or "labels"
    packed: bool


def named_idx(path: Path) -> IdxFile | None:
    """What the name of a file says, or None."""
    found = _NAME.fullmatch(path.name)
    return IdxFile(path, found["stem"].lower(), found["what"].lower(), bool(found["packed"])) if found else None


def idx_files(folder: Path) -> list[IdxFile]:
    """The files of such names in a folder and its subfolders: near ones first, those that are not compressed first."""
    levels = ["/".join(["*"] * depth) for depth in range(1, _DEEPEST + 2)]
    found = [named for level in levels for path in _sorted(folder, level) if (named := named_idx(path))]
    return sorted(found, key=lambda file: (len(file.path.parts), file.packed))


def _sorted(folder: Path, pattern: str) -> Iterator[Path]:
    return iter(sorted(path for path in folder.glob(pattern) if "idx" in path.name.lower() and path.is_file()))


def labels_of(images: IdxFile) -> Path | None:
    """The file of the classes beside a file of images, if it is there."""
    for path in sorted(images.path.parent.iterdir(), key=lambda path: path.suffix.lower() == ".gz"):
        named = named_idx(path)
        if named and (named.stem, named.what) == (images.stem, "labels") and path.is_file():
            return path
    return None


def unpacked(path: Path) -> bytes:
    """The content of a file, decompressed. Raises OSError."""
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except (EOFError, zlib.error) as error:
        raise OSError(str(error)) from error


def parsed(content: bytes) -> np.ndarray:
    """The array of an IDX file. Raises ValueError."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise ValueError("is no IDX file")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(np.int64)
    numbers = np.frombuffer(content, _TYPES[content[2]], offset=4 + 4 * dimensions)
    if numbers.size != np.prod(shape):
        raise ValueError(f"holds {numbers.size} numbers where {' x '.join(map(str, shape))} were announced")
    return numbers.reshape(shape).astype(numbers.dtype.newbyteorder("="))
