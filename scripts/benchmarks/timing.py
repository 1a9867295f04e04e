"""Timing by turns, and the lines of the table."""

from __future__ import annotations

import gc
import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BENCH", "Row", "installed", "interleaved", "missing", "target"]

BENCH = 'pip install "thermosim-engine[bench]"'  # JAX and diffrax


@dataclass(frozen=True)
class Row:
    """One line: what was measured, its figure, how it compares, and what was aimed at."""

    name: str
    figure: str
    ratio: str = ""
    target: str = ""
    met: bool | None = None


def interleaved(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Shortest wall time of each run, in seconds.

    The runs take turns in every repeat, so that a drift of the machine hits all alike; the pause lets the idle threads
    of the run before stop spinning.
    """
    shortest = dict.fromkeys(runs, math.inf)
    for _ in range(repeats):
        for name, run in runs.items():
            gc.collect()
            time.sleep(0.02)
            begin = time.perf_counter()
            run()
            shortest[name] = min(shortest[name], time.perf_counter() - begin)
    return shortest


def target(
    value: float, *, at_least: float | None = None, below: float | None = None, unit: str = ""
) -> dict[str, Any]:
    """The fields `target` and `met` of a Row."""
    if at_least is not None:
        return {"target": f">= {at_least:g}{unit}", "met": value >= at_least}
    assert below is not None
    return {"target": f"<= {below:g}{unit}", "met": value <= below}


def installed(module: str) -> bool:
    """Whether a competitor is there, without importing it."""
    return importlib.util.find_spec(module) is not None


def missing(name: str, remedy: str) -> Row:
    """The line of a competitor that is not there."""
    return Row(name, f"not installed: {remedy}")
