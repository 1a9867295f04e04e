"""Networks with exact ln p(x) against what is exact of them, whatever they learned.

    normalisation        the probabilities of all states add up to 1
    L-info               by exact samples it is, on average, that of the sum over all states, replica by replica
    work                 on fresh samples it is sum D(p_{i-1} || p_i) on average, path by path of theta; <exp(-w)> = 1
    latent               the rule for ln p, in `latent_laws`
    thermal noise        the lower bound of what theta knows of its data set lies below the upper one

Sums over states take as many replicas and first jumps as some seconds allow. The second and third rows hold the sampler
against ln p: an error of either is seen. Sources: S. S. Parsi, Entropy 26, 112 (2024); those of `path_information`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.fresh_work import work_of_fresh_samples
from thermosim.analysis.information import learned_information
from thermosim.analysis.machine import Machine
from thermosim.analysis.path_information import path_information, why_no_bounds
from thermosim.analysis.settings import axes
from thermosim.checks.exponential import exponential_average
from thermosim.checks.latent_laws import latent_comparisons
from thermosim.checks.means import is_nearly_normal, mean_comparison
from thermosim.models.latent_rules import has_rule

__all__ = ["generative_comparisons", "has_law"]

_REPLICAS = 128  # at most, of sums over states
_SUMMED = 1 << 24  # surprisals that a sum over states takes at most
_DRAWN = 1 << 32  # products of a weight and a component of a sample
_BOUNDED = 16  # replicas of the bounds along the path
_COLUMNS = 1 << 15  # rows of all Gram matrices along the path


def has_law(machine: Machine) -> bool:
    """Whether it is a network with ln p(x) and exact samples, and theta was recorded."""
    model = machine.model
    known = "latent" not in machine.constants or has_rule(machine.constants)
    return (
        not model.has_kernels and model.normalised and known and model.fresh is not None and "theta" in machine.frames
    )


def generative_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """All that hold for this ensemble; none where it is no ensemble of networks with ln p."""
    if not all(has_law(machine) for machine in everyone):
        return []
    rule = everyone[0].model.support(everyone[0].constants)
    states = 0 if rule is None else len(rule[0])
    few = ds.isel(replica=slice(_REPLICAS))
    rows = _normalisation(ds, everyone, states) + _information(few, states)
    if np.array_equal(ds["step"].values, np.arange(ds.sizes["step"])) and ds.sizes["step"] > 1:
        rows += _excess(few, states) + _theorem(ds, everyone)
    return rows + _bounds(ds, everyone) + latent_comparisons(ds, everyone)


def _normalisation(ds: xr.Dataset, everyone: Sequence[Machine], states: int) -> list[Comparison]:
    if not states:
        return []
    mass = []
    for machine in everyone:
        points, log_weights = machine.model.support(machine.constants)  # type: ignore[misc]
        some = machine.theta(len(machine.steps) - 1)[:_BOUNDED]
        mass.append(np.exp(log_weights - machine.evaluator.surprisals(points, some)).sum(axis=1))
    measured = np.stack(mass).reshape(*(ds.sizes[name] for name in axes(ds)), -1)
    quantity, reference = "probabilities of all states, added up", f"1, of {states} states"
    nothing = np.zeros(measured.shape)
    return [Comparison(quantity, measured, nothing, np.ones(measured.shape), np.inf, reference)]


def _information(few: xr.Dataset, states: int) -> list[Comparison]:
    if not states or few.sizes["replica"] < 2 or states * few.sizes["replica"] > _SUMMED:
        return []
    last = few.isel(step=[-1])
    exact, sampled = (learned_information(last, method)["replica_information"] for method in ("exact", "nested"))
    reference = "0: the same by exact samples and by a sum over all states (Eq. 25 of Parsi 2024)"
    quantity = f"L-info at step {int(last['step'][0])}: by samples less exact"
    difference = (sampled - exact).isel(step=0)
    row = mean_comparison(few, quantity, difference, 0.0, reference, scale=float(abs(exact).max()), units="nat")
    return [row] if is_nearly_normal(row) else []


def _excess(few: xr.Dataset, states: int) -> list[Comparison]:
    jumps = _SUMMED // max(1, states * few.sizes["replica"]) - 1
    if not states or jumps < 1:
        return []
    found = work_of_fresh_samples(few.isel(step=slice(jumps + 1)))
    last = found.isel(step=-1)
    reference = "0: <w> = sum D(p_{i-1} || p_i) of each path (Eq. 51 of Parsi 2024)"
    quantity = f"work on fresh samples to step {int(last['step'])}, less relative entropies"
    row = mean_comparison(
        few, quantity, last["excess"], 0.0, reference, scale=float(abs(last["work"]).max()), units="nat"
    )
    return [row] if is_nearly_normal(row) and np.any(row.standard_error > 0.0) else []


def _theorem(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    price = ds.sizes["replica"] * max(m.evaluator.components * m.evaluator.parameters for m in everyone)
    some = ds.isel(step=slice(1 + max(1, _DRAWN // max(price, 1))))
    work = work_of_fresh_samples(some, divergence=False)["work"]
    return exponential_average(
        some, work, "<exp(-w)> on fresh samples", "1 on any path of theta (Eq. 42 of Parsi 2024)"
    )


def _bounds(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    if any(why_no_bounds(machine, _COLUMNS // ds.sizes["step"]) for machine in everyone):
        return []
    found = path_information(ds, replicas=_BOUNDED)
    if "information_lower" not in found:
        return []
    last = found.isel(step=-1)
    over = np.maximum((last["information_lower"] - last["set_bound"]).values, 0.0)
    error = np.hypot(last["information_lower_error"].values, last["set_bound_error"].values)
    reference = "0: I(Theta; S) lies below the bound along the path of theta"
    quantity = "information about the data set: lower bound less upper, if positive"
    freedom = ds.sizes["replica"] - 1
    return [Comparison(quantity, over, error, np.zeros(over.shape), freedom, reference, units="nat")]
