"""Ensembles of networks against what is exact of them: one part for each law, told where the run is one of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine, machines
from thermosim.checks.generative import generative_comparisons

__all__ = ["PARTS", "advice", "check"]

Part = Callable[[xr.Dataset, Sequence[Machine]], list[Comparison]]
PARTS: tuple[Part, ...] = (generative_comparisons,)


def check(ds: xr.Dataset) -> list[Comparison]:
    """Everything that is exact, or has a stated error, of networks like these."""
    everyone = machines(ds)
    return [row for part in PARTS for row in part(ds, everyone)]


def advice(ds: xr.Dataset) -> list[str]:
    """What a reader should know besides."""
    return []
