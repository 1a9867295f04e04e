"""The entropy of scale-invariant networks by the published estimate, and what it measures.

    published     Kozachenko-Leonenko, k = 1, of the D - 1 spherical angles a of N weights along one run, `gap` steps
                  apart, eps_i >= 1e-8 the distance to the nearest one:
                  S = (D-1) <ln eps_i> + ln(N-1) - ln Gamma((D+1)/2) + ((D-1)/2) ln pi + gamma
                      + sum_k (D-1-k) <ln|sin a_k|> + (D-1) ln <r>
    displacement  (D-1) [ln(sqrt(gap) eta_eff sigma) + (1/2) ln(2 pi e) + ln r]: a normal law as wide as `gap` steps of
                  the noise, sigma^2 = 2 T/eta_eff
    clausius      integral of dU/T along the learning rate, + (D-1) ln r, from the first of each row on: differences

In many dimensions the nearest weights of one run are those of the frame before or after (`adjacent`, the share for
which this is so), so the first is the second up to a constant, and knows how far steps go, not how wide the law is. The
constant is that of the chart, whose late angles are stretched by 1/|x_(k..D)|: for each weight half the logarithm of
the mean of D/(D-k) over its geometric mean, (1/2) [ln(ln D + gamma) - 1], where steps are isotropic and w anywhere,
less where they are not. Differences of it are an entropy's only where Clausius' integral has the same ones: sigma may
be such that they are by chance. All contain (D-1) ln r, from which alone the Maxwell relations between S and the weight
decay follow. So `slope` is d(S - (D-1) ln r)/d ln(learning rate) over D - 1, by least squares and in the mean over
other axes, its error by the jackknife over replicas; of an ideal gas of constant sigma it is 1/2.
`verdict`, an attribute, says in a sentence what was found.

Source: I. Sadrtdinov et al., arXiv:2511.07308, Eq. 101, and its code.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy import special

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.entropy import EULER_GAMMA, spherical_angles
from thermosim.analysis.estimates import gathered, put, put_mean
from thermosim.analysis.machine import Machine
from thermosim.analysis.network_gas import Gas, gases, network_gas
from thermosim.analysis.network_noise import own_frames
from thermosim.analysis.settings import axes, needs_frames

__all__ = ["DEFINITIONS", "clausius_integral", "displacement_entropy", "network_entropy", "published_entropy"]

DEFINITIONS = ("published", "displacement", "clausius")
_FEWEST = 16  # weights
_ERRORS = 3.0  # that slopes which are the same may differ by
_CLOSEST = 1e-8  # distance, as in the published code


def published_entropy(w: np.ndarray) -> tuple[float, float, float]:
    """Of weights (N, D) in the order of one run: S in nat, its part (D-1) ln <r>, and the share of adjacent neighbours.

    Raises ValueError for fewer than 16.
    """
    number, size = len(w), w.shape[1] - 1
    if number < _FEWEST:
        raise ValueError(f"{number} weights of a run are too few for the distances between them: record 16 and more")
    w = np.asarray(w, float)
    angles = spherical_angles(w)
    square = (angles**2).sum(axis=1)
    apart = square[:, None] + square - 2.0 * angles @ angles.T
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(axis=1)
    eps = np.maximum(np.linalg.norm(angles - angles[nearest], axis=1), _CLOSEST)
    constant = np.log(number - 1) - special.gammaln(size / 2 + 1) + size / 2 * np.log(np.pi) + EULER_GAMMA
    powers = np.arange(size - 1, 0, -1)
    measure = (powers * np.log(np.abs(np.sin(angles[:, :-1])))).sum(axis=1).mean()
    of_radius = size * np.log(np.linalg.norm(w, axis=1).mean())
    adjacent = float((np.abs(nearest - np.arange(number)) == 1).mean())
    return float(size * np.log(eps).mean() + constant + measure + of_radius), float(of_radius), adjacent


def displacement_entropy(size: int, gap: float, rate: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Of a normal law on D = size + 1 weights of unit length, as wide as `gap` steps; noise is sigma at unit length."""
    return np.asarray(size * (np.log(np.sqrt(gap) * rate * noise) + 0.5 * np.log(2.0 * math.pi * math.e)))


def clausius_integral(energy: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Integral of dU/T along the last axis, from its first point, by trapezia."""
    steps = np.diff(energy, axis=-1) * 0.5 * (1.0 / temperature[..., 1:] + 1.0 / temperature[..., :-1])
    return np.concatenate([np.zeros_like(energy[..., :1]), np.cumsum(steps, axis=-1)], axis=-1)


@of_survivors
def network_entropy(ds: xr.Dataset) -> xr.Dataset:
    """U, T, p, V, pV/RT and S with standard errors over replicas, and S by the other definitions.

    Dims the axes of the sweep; S has the published definition. `slope` and `S_clausius` are there where the learning
    rate is swept. Raises ValueError where there is no gas, theta, or noise of its gradient.
    """
    if missing := [name for name in ("theta", "gradient_noise_trace") if name not in ds]:
        raise ValueError(needs_frames(ds, missing))
    result = network_gas(ds)
    if "temperature" not in result or "pressure" not in result:
        raise ValueError("the entropy of a gas is that of one radius and one temperature: use theta.radii = 'joint'")
    there, names = gases(ds), axes(ds)
    size = int(there[0].machine.frames.sizes["theta_dim"]) - 1
    values = [_of_point(one.machine, int(one.steps[0])) for one in there]
    for name, place, units, meaning in (
        ("S", 0, "nat", "entropy, by the published estimate"),
        ("radius_entropy", 1, "nat", "its part (D-1) ln <r>"),
        ("adjacent", 2, "1", "share of weights whose nearest is that of the frame before or after"),
    ):
        put_mean(result, name, gathered(ds, [v[:, place] for v in values], ("replica",)), units, meaning, "stationary")
    published = [one[:, 0] - one[:, 1] for one in values]
    of_replicas = [(one, *_state(gas, size)) for one, gas in zip(published, there, strict=True)]
    state = gathered(ds, [np.stack(one) for one in of_replicas], ("quantity", "replica"))
    along = [name for name in names if name != "learning_rate"] + ["learning_rate"] * ("learning_rate" in names)
    table = state.transpose("quantity", "replica", *along).values
    gap = float(np.diff(there[0].steps).mean())
    like = result["S"].transpose(*along)
    for name, part in _definitions(table.mean(axis=1), size, gap, "learning_rate" in names).items():
        if name != "published":
            entropy = (like.copy(data=part) + result["radius_entropy"]).transpose(*names)
            result[f"S_{name}"] = entropy.assign_attrs(units="nat", long_name=f"entropy, by the definition {name}")
    result = result.assign_attrs(parameters=size + 1, gap=gap)
    if "S_clausius" in result and ds.sizes["learning_rate"] > 1:
        _put_slopes(result, table, size, gap)
    return result.assign_attrs(verdict=_verdict(result))


def _definitions(table: np.ndarray, size: int, gap: float, swept: bool) -> dict[str, np.ndarray]:
    """S - (D-1) ln r by each definition, from its published value, U, T and eta_eff (4, ..., learning rates)."""
    published, energy, temperature, rate = table
    found = {"published": published}
    found["displacement"] = displacement_entropy(size, gap, rate, np.sqrt(2.0 * temperature / rate))
    if swept:
        found["clausius"] = published[..., :1] + clausius_integral(energy, temperature)
    return found


def _state(gas: Gas, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, T and the effective learning rate of each replica (R,)."""
    square, rate = gas.mean(gas.radius_square), gas.effective_rate
    trace = own_frames(gas.machine.frames, "gradient_noise_trace").sel(step=slice(int(gas.steps[0]), None))
    noise = square * trace.mean("step").values / size
    return gas.mean(gas.loss), rate * noise / 2.0, rate


def _of_point(machine: Machine, first: int) -> np.ndarray:
    """`published_entropy` of each replica, (R, 3), from a step on."""
    theta = machine.frames["theta"].sel(step=slice(first, None)).transpose("replica", "step", "theta_dim").values
    return np.array([published_entropy(one) for one in theta])


def _put_slopes(result: xr.Dataset, table: np.ndarray, size: int, gap: float) -> None:
    x = np.log(result["learning_rate"].values)
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum() / size

    def slopes(means: np.ndarray) -> np.ndarray:
        parts = _definitions(means, size, gap, True)
        return np.array([float((parts[name] @ weights).mean()) for name in DEFINITIONS])

    count = table.shape[1]
    without = np.array([slopes(np.delete(table, one, axis=1).mean(axis=1)) for one in range(count)])
    error = np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    value = xr.DataArray(slopes(table.mean(axis=1)), dims="definition", coords={"definition": list(DEFINITIONS)})
    said = "d(S - (D-1) ln r)/d ln(learning rate) over D - 1"
    put(result, "slope", value, error, "1", said, "stationary", degrees_of_freedom=count - 1)


def _verdict(result: xr.Dataset) -> str:
    size, gap = int(result.attrs["parameters"]) - 1, result.attrs["gap"]
    off = float(np.abs(result["S"] - result["S_displacement"]).max()) / size
    share = float(result["adjacent"].mean())
    told = (
        f"The published S is that of the displacement in {gap:g} steps to {off:.2g} nat for each weight "
        f"({share:.0%} of nearest weights are of neighbouring frames)"
    )
    if "slope" not in result:
        return f"{told}."
    slopes, errors = (
        dict(zip(DEFINITIONS, result[name].values.tolist(), strict=True)) for name in ("slope", "slope_error")
    )
    said = ", ".join(f"{name} {slopes[name]:.3f} ± {errors[name]:.3f}" for name in DEFINITIONS)
    apart = abs(slopes["published"] - slopes["clausius"])
    unlike = apart > _ERRORS * np.hypot(errors["published"], errors["clausius"])
    end = "its differences are not those of dU/T" if unlike else "its differences are those of dU/T, within errors"
    return f"{told}; {end}: slopes {said}."
