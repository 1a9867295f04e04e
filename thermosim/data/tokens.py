"""Rows of tokens, whole numbers from 0: windows of a text, and all questions of a small task with their answers.

characters         every character of a text is its number in the sorted list of those it has, s_0, s_1, ...; row k is
                   s_(k d), ..., s_(k d + T) with stride d, which is T unless given: each character is predicted once.
                   With a smaller one, rows that data.test holds out share characters with those to learn from
python-topics      the same of the help texts that come with Python (`pydoc_data.topics`), one after another in the
                   order of their names; its 96 tokens are a line's end and the 95 printable characters of ASCII, any
                   other becomes "?", so that the vocabulary is that of every version of Python; the text is not
modular-addition   a, b, =, c with c = a + b mod p; "=" is the token p; row a p + b, so p^2 rows

Source of the task: A. Power et al., arXiv:2201.02177 (2022).
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType

import numpy as np

from thermosim.data.formats import files_of
from thermosim.data.rows import LARGEST_FILE, DataError, Table, sealed
from thermosim.data.section import DataSection
from thermosim.data.utf8 import why_not_text

__all__ = ["holds_tokens", "is_text", "token_rows", "vocabulary"]

_ASCII = "\n" + "".join(map(chr, range(32, 127)))


def is_text(section: DataSection) -> bool:
    """Whether rows are windows of a text."""
    return section.source == "python-topics" or (section.file is not None and section.encoding == "characters")


def holds_tokens(section: DataSection) -> bool:
    """Whether rows are tokens whatever a file holds."""
    return is_text(section) or section.source == "modular-addition"


def token_rows(section: DataSection, folder: Path, width: int) -> Table:
    """The rows of a section that `holds_tokens`, of so many tokens where they are windows. Raises DataError."""
    if not is_text(section):
        return _addition(int(section.modulus or 0))
    numbers, alphabet = _text(section, folder)
    if len(numbers) < width:
        raise DataError(
            f"{_key(section)}: has {len(numbers)} characters, and a row of this model takes {width}; write "
            f"model.context = {max(1, len(numbers) - 1)} at most, or use a longer text."
        )
    windows = np.lib.stride_tricks.sliding_window_view(numbers, width)[:: section.stride or max(1, width - 1)]
    return sealed(windows, None, 0.0, float(len(alphabet) - 1), None)


def vocabulary(section: DataSection, folder: Path) -> int:
    """Number of different tokens of a section that `holds_tokens`. Raises DataError."""
    return len(_text(section, folder)[1]) if is_text(section) else int(section.modulus or 0) + 1


def _key(section: DataSection) -> str:
    return f"data.source = {section.source!r}" if section.source else f"data.file = {section.file!r}"


def _text(section: DataSection, folder: Path) -> tuple[np.ndarray, str]:
    """Tokens (N,) and the alphabet that they number."""
    if section.source is not None:
        return _topics()
    path = files_of(str(section.file), folder)[0]
    status = path.stat()
    return _of_file(_key(section), path, (status.st_ino, status.st_size, status.st_mtime_ns))


@functools.lru_cache(maxsize=2)
def _of_file(key: str, path: Path, stamp: tuple[int, int, int]) -> tuple[np.ndarray, str]:
    if stamp[1] > LARGEST_FILE:
        raise DataError(f"{key}: has {stamp[1] / 2**30:.0f} GiB, 8 at most; save a shorter text.")
    content = path.read_bytes()
    if why := why_not_text(content):
        raise DataError(f"{key}: {why}.")
    text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return _numbered(text, "".join(sorted(set(text))))


@functools.lru_cache(maxsize=1)
def _topics() -> tuple[np.ndarray, str]:
    topics = _module().topics
    text = "\n".join(topics[name] for name in sorted(topics))
    return _numbered("".join(one if one in _ASCII else "?" for one in text), _ASCII)


def _module() -> ModuleType:
    try:
        import pydoc_data.topics
    except ImportError:
        raise DataError(
            "data.source = 'python-topics': this Python came without pydoc_data.topics; install its full standard "
            "library, or use a text of your own with data.file and data.encoding = 'characters'."
        ) from None
    return pydoc_data.topics


def _numbered(text: str, alphabet: str) -> tuple[np.ndarray, str]:
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known = np.frombuffer(alphabet.encode("utf-32-le"), np.uint32)
    numbers = np.searchsorted(known, points).astype(np.uint16 if len(known) <= 2**16 else np.uint32)
    numbers.flags.writeable = False
    return numbers, alphabet


@functools.lru_cache(maxsize=2)
def _addition(modulus: int) -> Table:
    first, second = (part.ravel() for part in np.divmod(np.arange(modulus * modulus), modulus))
    rows = np.stack([first, second, np.full_like(first, modulus), (first + second) % modulus], axis=1)
    return sealed(rows, None, 0.0, float(modulus), None)
