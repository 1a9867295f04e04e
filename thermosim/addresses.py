"""Whose numbers these are: two coordinates (axes, replica) that tell it of any part of an ensemble, in any order.

    address   the replica, counted over the whole ensemble: the one its noise is addressed by (`streams`)
    origin    digests of the case (upper half) and of the seed (lower half): replicas of two runs can be told apart

Labels of `replica` and places in an array tell neither, once replicas were selected, sorted or put beside others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["ADDRESS", "ATTRIBUTES", "ORIGIN", "case_of", "origin_of", "seed_of", "strides"]

ADDRESS, ORIGIN = "address", "origin"
ATTRIBUTES: dict[str, dict[str, str]] = {
    ADDRESS: {"units": "1", "long_name": "replica, counted over the whole ensemble: address of its noise"},
    ORIGIN: {"units": "1", "long_name": "digests of the case (upper half) and of the seed (lower half)"},
}
_HALF = 26  # bits: both halves together are exact as float64, which xarray makes of integers to fill them with NaN
_NO_PHYSICS = ("title", "record", "ensemble")  # sections in which runs of one case may differ


def origin_of(settings: Mapping[str, Any]) -> int:
    """The origin of replicas that were run with these settings, tables of plain values."""
    case = {name: table for name, table in settings.items() if name not in _NO_PHYSICS}
    ensemble = settings.get("ensemble", {})
    if ((settings.get("data") or {}).get("sets") or 1) > 1:  # how many replicas share a data set
        case["replicas"] = ensemble["replicas"]
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
