"""The principle of minimal dissipation in a run: the rate of entropy production falls along the orbit to its least.

Of chains of two weights that learn from fresh rows, from starts of one loss: there all is known
(`exact.chain_dissipation`).
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.data.generators import linear_law
from thermosim.exact.chain_dissipation import Chain

__all__ = ["chain_of", "dissipation", "drift_residual", "why_no_chain"]

_NEEDED = ("charge", "product", "layer_gradient_square")
_ON = 1e-9  # of the misfit at step 0, which is none


@of_survivors
def dissipation(ds: xr.Dataset, windows: int = 24) -> xr.Dataset:
    """Rate of dissipation r |g|^2/4 and place s on the orbit, over so many windows of the run: dims step, the axes.

    dissipation, its mean over replicas and the steps of a window; place, s of the mean charge in its middle; expected,
    2 r q n v cosh(2 s)/B at that place; least, the same at s = 0. Raises ValueError where the run is no such chain
    (`why_no_chain`).
    """
    points = machines(ds)
    for machine in points:
        if why := why_no_chain(machine):
            raise ValueError(why)
    edges = np.unique(np.linspace(0, len(ds["step"]) - 1, windows + 1).astype(int))
    middle = (edges[1:] + edges[:-1]) // 2
    frames, rates, charges, chains = ds.isel(step=middle), [], [], []
    for machine in points:
        chain = chain_of(machine)
        books = machine.frames["layer_gradient_square"].sum("layer").transpose("step", "replica").values
        length = np.diff(machine.steps[edges])[:, None]
        rates.append(0.25 * chain.rate * np.diff(books[edges], axis=0) / length)
        charges.append(machine.frames["charge"].transpose("step", "replica").values[middle])
        chains.append(chain)
    result, condition = xr.Dataset(), "mean over the steps of a window"
    put_mean(
        result, "dissipation", gathered(frames, rates, ("step", "replica")), "energy", "mean of r |g|^2/4", condition
    )
    mean = [charge.mean(1) for charge in charges]
    error = [charge.std(1, ddof=1) / np.sqrt(charge.shape[1]) for charge in charges]
    places = [chain.place(charge) for chain, charge in zip(chains, mean, strict=True)]
    slopes = [0.5 / np.hypot(charge, chain.slope) for chain, charge in zip(chains, mean, strict=True)]
    spread = [slope * one for slope, one in zip(slopes, error, strict=True)]
    value, bar = (gathered(frames, each, ("step",)) for each in (places, spread))
    put(
        result,
        "place",
        value,
        bar,
        "1",
        "place s on the orbit",
        "of the mean charge",
        degrees_of_freedom=ds.sizes["replica"] - 1,
    )
    exact = [chain.dissipation(place) for chain, place in zip(chains, places, strict=True)]
    least = [np.asarray(chain.dissipation(np.zeros(()))) for chain in chains]
    result["expected"] = gathered(frames, exact, ("step",)).assign_attrs(units="energy", long_name="at no misfit")
    return result.assign(least=gathered(frames, least, ()).assign_attrs(units="energy", long_name="at s = 0"))


def drift_residual(machine: Machine) -> np.ndarray:
    """Change of the charge of every replica less the sum of its expected drifts, over |C| at step 0: (R,).

    Zero on average, at any rate: each step's difference is, given what came before. Raises ValueError unless every
    step is recorded.
    """
    if np.any(np.diff(machine.steps) != 1):
        raise ValueError("the drift of a charge is summed over all steps: record.every = 1")
    charge, product = (machine.frames[name].transpose("step", "replica").values for name in ("charge", "product"))
    expected = chain_of(machine).drift(charge[:-1], product[:-1]).sum(0)
    return np.asarray((charge[-1] - charge[0] - expected) / np.abs(charge[0]).max())


def chain_of(machine: Machine) -> Chain:
    """The chain of a machine for which `why_no_chain` is empty."""
    data = machine.settings.data
    assert data is not None
    _, factor = linear_law(data, 1, 1)
    slope = float(np.asarray(data.matrix, float).ravel()[0])
    batch, rate = int(machine.settings.theta.batch), float(machine.settings.theta.learning_rate)
    return Chain(slope, float(factor[0, 0] ** 2), float(factor[1, 1] ** 2), batch, rate)


def why_no_chain(machine: Machine) -> str:
    """Why a run is no chain of two weights on fresh rows from starts of the least loss; empty where it is."""
    theta, data, frames = machine.settings.theta, machine.settings.data, machine.frames
    if machine.model.name != "scalar-chain" or int(machine.constants["depth"]) != 2:
        return "minimal dissipation is known of the model scalar-chain with depth = 2"
    plain = machine.theta_move.descent and not machine.theta_move.density and not theta.momentum
    if not plain or theta.weight_decay or theta.has_several_rates or not isinstance(theta.learning_rate, (int, float)):
        return "minimal dissipation is that of plain sgd at one constant rate, without weight decay"
    if data is None or not data.fresh or theta.learn is not None or machine.settings.run.direction != "forward":
        return "minimal dissipation needs fresh rows, data.fresh = true, and both weights to learn"
    missing = [name for name in _NEEDED if name not in frames]
    if missing or int(machine.steps[0]) != 0 or len(machine.steps) < 3:
        return f"add {', '.join(missing) or 'frames from step 0 on'} to what is recorded"
    mean, _ = linear_law(data, 1, 1)
    slope = float(np.asarray(data.matrix, float).ravel()[0])
    off = np.abs(frames["product"].isel(step=0) - slope).max()
    if np.any(mean != 0.0) or slope == 0.0 or float(off) > _ON * abs(slope):
        return "minimal dissipation is compared from starts with u w = v, the slope of data.matrix, and centred inputs"
    return ""
