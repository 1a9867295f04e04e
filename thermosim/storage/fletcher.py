"""The checksum that HDF5 keeps behind each chunk. Its own filter makes it under the one lock that HDF5 has for all."""

from __future__ import annotations

import numpy as np

__all__ = ["fletcher32"]

_ROWS, _COLUMNS = 256, 256  # 64-bit words that are summed at one time: half a megabyte, which stays in the cache
_EVEN = np.uint64(0x0000FFFF0000FFFF)
_WORD, _ONE = np.uint64(16), np.uint64(1)


def fletcher32(data: np.ndarray) -> int:
    """The checksum of bytes (n,), n even, that HDF5's filter puts behind them, least significant byte first.

    Of the 16-bit words w_1 ... w_k the low half is sum w_i, the high half sum (k + 1 - i) w_i, both modulo 65535, with
    65535 for a multiple that is not 0. HDF5 sums words with the high byte first; exchanged bytes only exchange those of
    the sums, for 256 is its own inverse modulo 65535. Source: J. G. Fletcher, IEEE Trans. Commun. 30, 247 (1982);
    H5_checksum_fletcher32 of HDF5.
    """
    words = data.view("<u2")
    total = weighted = 0
    for start in range(0, len(words), 4 * _ROWS * _COLUMNS):
        part = words[start : start + 4 * _ROWS * _COLUMNS]
        whole = len(part) // (4 * _COLUMNS) * (4 * _COLUMNS)
        for piece, sums in ((part[:whole], _sums_of_rows), (part[whole:], _sums)):
            if len(piece):
                plain, falling = sums(piece)
                weighted += len(piece) * total + falling
                total += plain
    low, high = (int.from_bytes(_folded(each).to_bytes(2, "little"), "big") for each in (total, weighted))
    return high << 16 | low


def _folded(number: int) -> int:
    return (number - 1) % 65535 + 1 if number else 0


def _sums(words: np.ndarray) -> tuple[int, int]:
    """Sum of w_i, and of (k + 1 - i) w_i."""
    long = words.astype(np.int64)
    return int(long.sum()), int(long @ np.arange(len(long), 0, -1))


def _sums_of_rows(words: np.ndarray) -> tuple[int, int]:
    """The same of whole rows: word c of row r has the place (row length) r + c, so sums of rows and of columns do.

    They are of four words at a time, in 64 bits. Those of two that are no neighbours fit in its halves; the sums of the
    other two are what these leave of the sum of all four, and it does not matter that this may run over.
    """
    table = words.view("<u8").reshape(-1, _COLUMNS)
    odd = table >> _WORD
    odd &= _EVEN
    columns, rows = (_halves(np.add.reduce(table, axis=axis), np.add.reduce(odd, axis=axis)) for axis in (0, 1))
    number = np.arange(2 * max(table.shape), dtype=np.uint64)
    places = sum(int(number[: len(half)] @ half) for half in columns) * 2 + int(columns[1].sum(dtype=np.uint64))
    places += sum(int((number[: len(half)] >> _ONE) @ half) for half in rows) * 4 * _COLUMNS
    total = sum(int(half.sum(dtype=np.uint64)) for half in rows)
    return total, len(words) * total - places


def _halves(of_all: np.ndarray, of_odd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the first and third of four words, and of the second and fourth, one after the other."""
    return (of_all - (of_odd << _WORD)).view("<u4"), of_odd.view("<u4")
