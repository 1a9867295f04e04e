"""Ensembles of networks against what is exact of them: one part for each law, told where the run is one of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine, machines
from thermosim.checks import network_noise, scale_invariance
from thermosim.checks.adam_updates import adam_comparisons
from thermosim.checks.admission import at_common_steps
from thermosim.checks.generative import generative_comparisons

__all__ = ["PARTS", "advice", "check"]

Part = Callable[[xr.Dataset, Sequence[Machine]], list[Comparison]]
PARTS: tuple[Part, ...] = (scale_invariance.check, adam_comparisons, generative_comparisons)
AT_ALL_STEPS: tuple[Part, ...] = (network_noise.noise,)  # that also see variables that have steps of their own


def check(ds: xr.Dataset) -> list[Comparison]:
    """Everything that is exact, or has a stated error, of networks like these."""
    common = at_common_steps(ds)
    seen = ((PARTS, common, machines(common)), (AT_ALL_STEPS, ds, machines(ds)))
    return [row for parts, of, everyone in seen for part in parts for row in part(of, everyone)]


def advice(ds: xr.Dataset) -> list[str]:
    """What a reader should know besides."""
    return scale_invariance.advice(at_common_steps(ds))
