"""The law of the direction of three weights on rows of data: what SGD makes of it, and what other noise would.

Of a `squared-cosine` of three weights on a sphere, at every point of the sweep, measured over replicas and exact
(`exact.direction_chain`) for `noise` = rows, and for normal noise of the same mean or local covariance:

    U                 mean loss of all rows; U_canonical that of exp(-L/T)/Z at T = (h/4) <Tr Sigma>
    spread            <u_i^2> along the two directions in which the loss rises, over that of exp(-L/T)/Z: 1 of a gas
    relative_entropy  of the law from exp(-L/T)/Z, in nat: how badly the gas fits; nan where no density is resolved
    anisotropy        root of the ratio of eigenvalues of Sigma, across w, in the mean over the law

"constant" is the isotropic noise model at equal trace, so it tells what finite steps do; "local" less that, what its
dependence on w does; "covariance" less that, its anisotropy; "rows" less that, all higher cumulants.

Source: I. Sadrtdinov et al., arXiv:2511.07308.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.exact import direction_chain
from thermosim.exact.direction_chain import NOISES, Chain

__all__ = ["chains", "direction_law", "late", "why_no_law"]

NAME = "squared-cosine"
SETTLING = 20.0  # relaxation times left out where the start is not a point
_ENOUGH = 1e-2  # truncation, over the number itself
_ABOUT = {
    "U": ("energy", "mean loss of all rows at frames"),
    "spread_1": ("1", "mean square along the steepest direction, over the canonical one"),
    "spread_2": ("1", "mean square along the other direction, over the canonical one"),
}


def why_no_law(everyone: Sequence[Machine]) -> str:
    """Why the law of the direction is not known; empty where it is."""
    for machine in everyone:
        theta, data = machine.settings.theta, machine.settings.data
        if theta.constraint != "fixed-sphere" or not isinstance(theta.learning_rate, (int, float)):
            return "it is known on a sphere (theta.constraint = 'fixed-sphere'), at a constant learning rate"
        if int(machine.constants["inputs"]) != 3:
            return "it is known of three weights"
        if machine.settings.run.direction != "forward" or data is None or data.sets != 1 or data.fresh:
            return "it is known of one data set that is kept, forwards"
        rows, batch = machine.data.rows, _batch(machine)
        if batch is None:
            return "without minibatches there is no noise"
        if (count := math.comb(batch + rows - 1, batch)) > direction_chain.MOST_MINIBATCHES:
            return f"{count:,} different minibatches are more than {direction_chain.MOST_MINIBATCHES}"
    return ""


def _batch(machine: Machine) -> int | None:
    batch = machine.settings.theta.batch
    return None if batch == "all" else int(batch)


def chains(machine: Machine, noise: direction_chain.Noise = "rows") -> tuple[Chain, ...]:
    """The exact chain of a point, and others of fewer polynomials. Raises ValueError where there is none."""
    rate = float(machine.settings.theta.learning_rate)
    return direction_chain.chain(machine.data.of_set(0), _batch(machine), rate, noise)


def late(machine: Machine, law: Chain) -> np.ndarray:
    """Numbers of the frames that are stationary."""
    return np.flatnonzero(machine.steps >= SETTLING * law.relaxation_time)


@of_survivors
def direction_law(ds: xr.Dataset) -> xr.Dataset:
    """All that the module docstring names: measured with errors, and exact as NAME_exact with the dimension noise.

    Raises ValueError where the law is not known, theta was not recorded, or nothing is stationary.
    """
    everyone = machines(ds)
    if everyone[0].model.name != NAME:
        raise ValueError(f"{everyone[0].model.name!r}: the law of the direction is known of {NAME!r}")
    if why := why_no_law(everyone):
        raise ValueError(f"the law of the direction is not compared: {why}")
    found: dict[str, list[np.ndarray]] = {name: [] for name in _ABOUT}
    exact: dict[str, list[list[float]]] = {name: [] for name in (*_ABOUT, "relative_entropy")}
    single: dict[str, list[float]] = {name: [] for name in ("temperature", "U_canonical", "anisotropy")}
    for machine in everyone:
        pairs = {noise: chains(machine, noise) for noise in NOISES}
        laws = {noise: pair[0] for noise, pair in pairs.items()}
        rows = laws["rows"]
        frames = late(machine, rows)
        if not len(frames):
            raise ValueError("no frame is stationary: run longer, 20/(2 h (l_2 - l_3)) steps and more")
        temperature = float(rows.average(rows.trace)) * rows.rate / 4.0
        of_gas = rows.canonical(rows.spreads, temperature)
        u = np.stack([machine.theta(int(frame)) for frame in frames])
        u /= np.linalg.norm(u, axis=-1, keepdims=True)
        flat = u.reshape(-1, 3)
        spreads = (rows.spreads(flat) / of_gas).reshape(*u.shape[:2], 2).mean(axis=0)
        for name, values in (("U", rows.loss(flat).reshape(u.shape[:2]).mean(axis=0)), ("spread_1", spreads[:, 0]),
                             ("spread_2", spreads[:, 1])):  # fmt: skip
            found[name].append(values)
        each = [_resolved(pair, of_gas) for pair in pairs.values()]
        for place, name in enumerate(_ABOUT):
            exact[name].append([float(one[place]) for one in each])
        exact["relative_entropy"].append([law.relative_entropy(temperature) for law in laws.values()])
        single["temperature"].append(temperature)
        single["U_canonical"].append(float(rows.canonical(rows.loss, temperature)))
        single["anisotropy"].append(rows.anisotropy)
    return _result(ds, found, exact, single)


def _resolved(laws: Sequence[Chain], of_gas: np.ndarray) -> np.ndarray:
    """U and both spreads (3,); nan where fewer polynomials tell another number."""
    values = [np.append(law.average(law.loss), law.average(law.spreads) / of_gas) for law in laws]
    good = direction_chain.truncation(values) < _ENOUGH * np.abs(values[0])
    return np.where(good, values[0], np.nan)


def _result(
    ds: xr.Dataset,
    found: dict[str, list[np.ndarray]],
    exact: dict[str, list[list[float]]],
    single: dict[str, list[float]],
) -> xr.Dataset:
    result = xr.Dataset()
    for name, (units, meaning) in _ABOUT.items():
        put_mean(result, name, gathered(ds, found[name], ("replica",)), units, meaning, "stationary")
    about = {name: (units, f"exact: {meaning}") for name, (units, meaning) in _ABOUT.items()}
    about["relative_entropy"] = ("nat", "Kullback-Leibler divergence of the exact law from the canonical one")
    for name, values in exact.items():
        array = gathered(ds, [np.array(one) for one in values], ("noise",), {"noise": list(NOISES)})
        title = name if name == "relative_entropy" else f"{name}_exact"
        result[title] = array.assign_attrs(units=about[name][0], long_name=about[name][1])
    told = {
        "temperature": ("energy", "T = (h/4) <Tr Sigma>, exact"),
        "U_canonical": ("energy", "mean loss of exp(-L/T)/Z"),
        "anisotropy": ("1", "root of the ratio of eigenvalues of the mean noise covariance across w"),
    }
    for name, (units, meaning) in told.items():
        array = gathered(ds, [np.array(value) for value in single[name]], ())
        result[name] = array.assign_attrs(units=units, long_name=meaning)
    return result
