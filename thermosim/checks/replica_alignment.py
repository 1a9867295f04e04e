"""What a check says of networks that learn one task apart: measured, for there is no theory to compare with.

Hidden layers of linear networks come to a kernel in closed form (`platonic_alignment`). Of networks with other units
nothing like it is known, so no comparison is made; a note says how much alike different replicas are at the first frame
and the last, what permuted probes would give, and whether the difference of the two frames is certain.

Source: M. Huh et al., arXiv:2405.07987 (2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from thermosim.analysis.alignment_growth import ALL, alignment_growth
from thermosim.analysis.machine import Machine
from thermosim.analysis.network_alignment import linear_problem
from thermosim.analysis.settings import settings
from thermosim.models.deep_linear import MODEL as DEEP_LINEAR

__all__ = ["learns_apart", "measured", "replica_advice"]

_PROBES, _NEIGHBOURS, _FEWEST_REPLICAS, _CERTAIN = 64, 10, 4, 0.001
_NAMES = {"unbiased_cka": "unbiased CKA", "mutual_nearest_neighbours": f"share of {_NEIGHBOURS} nearest neighbours"}
_NO_THEORY = "No theory is known of the alignment of networks that are not linear: it is measured, not compared."


def learns_apart(ds: xr.Dataset, everyone: Sequence[Machine]) -> bool:
    """Whether these are networks of several kinds, hidden layers of which are not linear, with recorded theta."""
    if "theta" not in ds or ds.sizes["step"] < 2 or ds.sizes["replica"] < _FEWEST_REPLICAS:
        return False
    if not any(key.startswith("model.") and len(values) > 1 for key, values in settings(ds).sweep.items()):
        return False
    return all(_has_units(machine) for machine in everyone)


def _has_units(machine: Machine) -> bool:
    known = machine.model.activations is not None and machine.model is not DEEP_LINEAR
    linear = machine.constants.get("activation") == "linear" or linear_problem(machine) is not None
    return known and not linear and len(machine.constants.get("widths", [0, 0, 0])) > 2


def measured(ds: xr.Dataset, frames: Sequence[int]) -> xr.Dataset:
    """The growth of alignment at some frames, with the estimators of the note."""
    return alignment_growth(ds, probes=_PROBES, frames=frames, neighbours=_NEIGHBOURS, permutations=200)


def replica_advice(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[str]:
    """A note of what is measured, or why it is not; nothing of other ensembles."""
    if not learns_apart(ds, everyone):
        return []
    try:
        found = measured(ds, [0, -1]).sel(group=ALL)
    except ValueError as why:
        return [f"Alignment of hidden layers of different replicas is not measured: {why}."]
    first, last = (int(step) for step in found["step"].values)
    told = "; ".join(_told(found, name, words) for name, words in _NAMES.items())
    where = f"mean over all pairs of layers, {found.attrs['probes']} probes, from step {first:,} to {last:,}"
    return [
        f"{_NO_THEORY} Hidden layers of different replicas, {where}: {told}.",
    ]


def _told(found: xr.Dataset, name: str, words: str) -> str:
    values, errors, nulls, widths, p_values = (
        found[f"{name}_of_group{what}"].values for what in ("", "_error", "_null", "_null_deviation", "_p_value")
    )
    growth, error, p_value = (float(found[f"{name}_of_group_growth{what}"]) for what in ("", "_error", "_p_value"))
    certain = "certain" if p_value < _CERTAIN else "not certain"
    p_of_growth = "p < 1e-6" if p_value < 1e-6 else f"p = {p_value:.2g}"
    return (
        f"{words} {values[0]:.3f} ± {errors[0]:.3f} to {values[1]:.3f} ± {errors[1]:.3f}, growth {growth:+.3f} ± "
        f"{error:.3f} is {certain} ({p_of_growth}), where permuted probes have {nulls[1]:.3f} ± {widths[1]:.3f} "
        f"(p = {p_values[0]:.2g} and {p_values[1]:.2g})"
    )
