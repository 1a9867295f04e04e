"""Whose numbers these are: two coordinates (axes, replica) that tell it of any part of an ensemble, in any order.

    address   the replica, counted over the whole ensemble: the one its noise is addressed by (`streams`)
    origin    digests of the case (upper half) and of the seed (lower half): replicas of two runs can be told apart

Labels of `replica` and places in an array tell neither, once replicas were selected, sorted or put beside others.

Addresses are dealt in series: that of the first replicas, all points of the sweep one after another, and after it one
for each time that replicas were added. So what is added never has an address that another had, and renumbers nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["ADDRESS", "ATTRIBUTES", "ORIGIN", "Numbering", "case_of", "origin_of", "seed_of", "series", "strides"]

ADDRESS, ORIGIN = "address", "origin"
ATTRIBUTES: dict[str, dict[str, str]] = {
    ADDRESS: {"units": "1", "long_name": "replica, counted over the whole ensemble: address of its noise"},
    ORIGIN: {"units": "1", "long_name": "digests of the case (upper half) and of the seed (lower half)"},
}
_HALF = 26  # bits: both halves together are exact as float64, which xarray makes of integers to fill them with NaN
_NO_PHYSICS = ("title", "record", "ensemble")  # sections in which runs of one case may differ


def series(replicas: int, added: Sequence[int]) -> tuple[int, ...]:
    """Replicas of a point in each series; `replicas` are all of them, `added` those that were added, in order."""
    return (replicas - sum(added), *added)


@dataclass(frozen=True)
class Numbering:
    """The addresses of an ensemble: of its points, counted as by `strides`, and the replicas of each."""

    points: int
    series: tuple[int, ...]  # replicas of each point

    def address(self, point: Any, replica: Any) -> np.ndarray:
        """Of replicas, by their places along `replica`; arrays of int64 that broadcast."""
        start, size = self._series_of(np.asarray(replica), self._starts)
        return np.asarray(self.points * start + point * size + (replica - start))

    def place(self, address: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The point of each address, its place among the replicas of its series there, and how many these are.

        Of an address beyond the last the point is one that does not exist.
        """
        address = np.asarray(address)
        start, size = self._series_of(address, self.points * self._starts)
        point, replica = np.divmod(address - start, size)
        return point, replica, size

    def first_of_series(self, address: int) -> int:
        """The place along `replica` of the first replica of the series that an address is in."""
        return int(self._series_of(np.asarray(address), self.points * self._starts)[0]) // self.points

    @property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *self.series[:-1]])

    def _series_of(self, numbers: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the series of each number starts, and replicas of a point in it."""
        number = np.maximum(np.searchsorted(starts, numbers, side="right") - 1, 0)
        return starts[number], np.array(self.series)[number]


def origin_of(settings: Mapping[str, Any]) -> int:
    """The origin of replicas that were run with these settings, tables of plain values."""
    case = {name: table for name, table in settings.items() if name not in _NO_PHYSICS}
    ensemble = settings.get("ensemble", {})
    if ((settings.get("data") or {}).get("sets") or 1) > 1:  # how many replicas share a data set
        case["replicas"] = ensemble["replicas"]
        case |= {"added": ensemble["added"]} if ensemble.get("added") else {}
    return _digest(case) << _HALF | _digest(ensemble.get("seed"))


def case_of(origin: Any) -> Any:
    """The half of origins (int64) that is the same for runs of one case."""
    return origin >> _HALF


def seed_of(origin: Any) -> Any:
    """The half of origins (int64) that is the same for runs with one seed."""
    return origin & ((1 << _HALF) - 1)


def strides(sizes: Sequence[int], structural: Sequence[bool]) -> list[int]:
    """By how many points the next value of each axis is further on, in the order in which points are counted.

    Structural axes make blocks, one after another; within a block the points of the others follow each other.
    """
    order = sorted(range(len(sizes)), key=lambda axis: not structural[axis])
    result = [0] * len(sizes)
    for place, axis in enumerate(order):
        result[axis] = math.prod(sizes[later] for later in order[place + 1 :])
    return result


def _digest(part: Any) -> int:
    text = json.dumps(part, sort_keys=True)
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % (1 << _HALF)
