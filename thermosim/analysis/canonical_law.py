"""The law of theta against the canonical one, beyond its covariance: Dataset in, Dataset out.

    leading     p(theta) ~ exp(-U/T),   U = U_B + lambda |theta|^2/2                                [Eqs. 22, 23]
    corrected   p(theta) ~ exp(-U/T + r [|grad U|^2/(4 T) - lap U/2])

The first is the law of moves in detailed balance at any step, and of Langevin moves as r -> 0. The second is that of
Langevin moves to first order in the learning rate r, and to all orders where U is quadratic: (k/2T)(1 - r k/2) y^2 has
the variance T/k/(1 - r k/2). Minibatches stand for a bath of k_B T = r C/2 (Eq. 20) beside that of the noise, which
needs isotropic noise that does not depend on theta: for them the law is an approximation, and is said to be one.

Theta of one frame, one value for each replica, is mapped to uniform numbers by the distribution function of the law,
component after component (M. Rosenblatt, Ann. Math. Stat. 23, 470 (1952)), and counted in B bins of equal probability:

    chi^2 = sum (n - R/B)^2/(R/B),   D(p || law) ~ (chi^2 - B + 1)/(2 R),   error sqrt(2 (B - 1) + 4 excess)/(2 R)

the divergence of the binned laws to second order, its bias removed: at most that of theta. With too few steps theta is
not there yet, whatever law it goes to.

Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802; the correction by the stationary equation of the
Euler-Maruyama chain to first order (e.g. B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, require
from thermosim.analysis.gradient_noise import gradient_noise, learned_parameters, require_one_rate
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.theta_entropy import temperature_of_theta
from thermosim.schedules import is_schedule

__all__ = ["LAWS", "binned", "canonical_law"]

LAWS = ("leading", "corrected")
_NODES = {1: 4097, 2: 257}  # of the grid, along each parameter
_EDGE = 1e-7  # probability on the edge of the grid, at most
_DOUBLINGS = 8
_COUNT = 20.0  # replicas of a bin, at least on average
_MOST_BINS = 64


@dataclass(frozen=True, eq=False)
class _Law:
    """A density on a grid of m = 1 or 2 parameters."""

    axes: list[np.ndarray]
    density: np.ndarray  # (N,) or (N, N), up to its normaliser

    def uniforms(self, theta: np.ndarray) -> np.ndarray:
        """Rosenblatt's transform of theta (R, m): (R, m)."""
        first = self.axes[0]
        if len(self.axes) == 1:
            return np.interp(theta[:, 0], first, _distribution(self.density, first))[:, None]
        marginal = np.interp(theta[:, 0], first, _distribution(_integral(self.density, self.axes[1]), first))
        place = np.clip((theta[:, 0] - first[0]) / (first[1] - first[0]), 0.0, len(first) - 1.001)
        row = place.astype(int)
        share = (place - row)[:, None]
        between = (1.0 - share) * self.density[row] + share * self.density[row + 1]
        second = _distribution(between, self.axes[1])
        own = [np.interp(value, self.axes[1], part) for value, part in zip(theta[:, 1], second)]
        return np.stack([marginal, own], axis=1)


@of_survivors
def canonical_law(ds: xr.Dataset, step: int | None = None) -> xr.Dataset:
    """Theta at a recorded step (default the last) against both laws: dims law and the sweep axes.

    divergence with its error, chi_square, its degrees_of_freedom and p_value; noise_temperature T: of the noise, plus
    the mean of r C_ii/2 at this frame for minibatches. `exact` says for each law whether it is the stationary one: the
    leading one for moves in detailed balance, the corrected one up to second order in r for Langevin moves on all data.
    `covered`: the grid holds the law. Raises ValueError unless one or two parameters learn from one data set at a
    constant rate and temperature, the others being the same in all replicas, or for momentum or too few replicas.
    """
    require(ds, "theta")
    columns: dict[str, list[np.ndarray]] = {}
    for machine in machines(ds):
        frame = len(machine.steps) - 1 if step is None else int(np.flatnonzero(machine.steps == step)[0])
        for name, value in _compared(machine, frame).items():
            columns.setdefault(name, []).append(value)

    def over(name: str, *dims: str) -> xr.DataArray:
        array = gathered(ds, columns[name], dims, {"law": list(LAWS)} if "law" in dims else None)
        return array.transpose(*[d for d in ("part", "law") if d in dims], ...)

    condition = "theta stationary; see the coordinate `exact`"
    result = xr.Dataset(attrs={"step": int(ds["step"][-1]) if step is None else int(step)})
    value, error = over("divergence", "part", "law")
    put(result, "divergence", value, error, "nat", "D(p || law) of the bins, bias removed", condition)
    value, error = over("noise_temperature", "part")
    what = "noise of the move, and r C/2 of minibatches"
    put(result, "noise_temperature", value, error, "energy", "T of the law", what)
    for name, meaning in (("chi_square", "sum (n - R/B)^2/(R/B)"), ("p_value", "probability of a larger chi^2")):
        result[name] = over(name, "law").assign_attrs(units="1", long_name=meaning, condition=condition)
    result["degrees_of_freedom"] = over("degrees_of_freedom").assign_attrs(units="1", long_name="bins less one")
    result["covered"] = over("covered").assign_attrs(
        long_name=f"less than {_EDGE:g} of the probability on the edge of the grid", condition="both laws"
    )
    return result.assign_coords(exact=over("exact", "law"))


def binned(uniforms: np.ndarray) -> tuple[float, int]:
    """chi^2 of uniform numbers (R, m) in equal bins, as many along each of m, and its degrees of freedom.

    Raises ValueError for fewer than 80 replicas, or 160 of two parameters.
    """
    replicas, m = uniforms.shape
    along = int(min(replicas / _COUNT, _MOST_BINS) ** (1.0 / m) + 1e-9)
    if along**m < 4:
        raise ValueError(f"{replicas} replicas are too few for a law of {m} parameters")
    cells = np.minimum((uniforms * along).astype(int), along - 1)
    counts = np.bincount(np.ravel_multi_index(tuple(cells.T), (along,) * m), minlength=along**m)
    expected = replicas / along**m
    return float(((counts - expected) ** 2).sum() / expected), along**m - 1


def _compared(machine: Machine, frame: int) -> dict[str, np.ndarray]:
    learned = learned_parameters(machine)[0]
    _check(machine, learned)
    theta = machine.theta(frame)
    if np.ptp(np.delete(theta, learned, axis=1), axis=0).max(initial=0.0) > 0.0:
        raise ValueError("parameters that are not learned differ between replicas: each has another law")
    temperature, error = _temperature(machine, frame, learned)
    move, all_of_it = machine.theta_move, machine.settings.theta.batch == "all"
    rate = 0.0 if move.judges else float(machine.settings.theta.learning_rate)
    laws, covered = _laws(machine, theta, learned, temperature, rate)
    result: dict[str, list[float]] = {"chi_square": [], "p_value": []}
    divergence = []
    for law in laws:
        square, freedom = binned(law.uniforms(theta[:, learned]))
        excess = square - freedom
        divergence.append([excess / 2 / len(theta), np.sqrt(2 * freedom + 4 * max(excess, 0.0)) / 2 / len(theta)])
        result["chi_square"].append(square)
        result["p_value"].append(float(stats.chi2.sf(square, freedom)))
    exact = [move.judges, move.density and (move.judges or all_of_it)]
    return {name: np.array(value) for name, value in result.items()} | {
        "divergence": np.array(divergence).T,
        "noise_temperature": np.array([temperature, error]),
        "degrees_of_freedom": np.array(freedom),
        "covered": np.array(covered),
        "exact": np.array(exact),
    }


def _check(machine: Machine, learned: np.ndarray) -> None:
    theta, data = machine.settings.theta, machine.settings.data
    if not 1 <= len(learned) <= 2:
        raise ValueError(f"{len(learned)} learned parameters: a law is compared for one or two; use theta.learn")
    require_one_rate(machine)
    if not (machine.theta_move.density or machine.theta_move.descent) or theta.momentum:
        raise ValueError("the canonical law is that of moves along the gradient, without momentum, or of metropolis")
    if data is None or data.sets > 1 or theta.gradient != "likelihood" or machine.settings.run.direction != "forward":
        raise ValueError("the canonical law needs the likelihood of one data set, and a run forward")
    if is_schedule(theta.learning_rate) or is_schedule(theta.weight_decay):
        raise ValueError("a stationary law needs a constant learning rate and weight decay")
    if machine.theta_move.density and temperature_of_theta(machine) is None:
        raise ValueError("the canonical law needs one constant temperature of theta")


def _temperature(machine: Machine, frame: int, learned: np.ndarray) -> tuple[float, float]:
    """T of the noise, plus the mean of r C_ii/2 at this frame, or the one before the last step; standard error."""
    bath = temperature_of_theta(machine) or 0.0
    if machine.settings.theta.batch == "all":
        return bath, 0.0
    steps = int(machine.settings.run.steps)
    before = frame if machine.steps[frame] < steps else frame - 1
    if before < 0:
        raise ValueError("the noise of minibatches needs a frame before the last step: record more frames")
    here = Machine(machine.index, machine.settings, machine.model, machine.frames.isel(step=[before]))
    noise = gradient_noise(here).noise[0]
    values = 0.5 * float(machine.settings.theta.learning_rate) * (noise**2).mean(axis=1)
    return bath + float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _laws(
    machine: Machine, theta: np.ndarray, learned: np.ndarray, temperature: float, rate: float
) -> tuple[list[_Law], bool]:
    """Both laws on a grid that is doubled until it holds them, and whether it does."""
    some = theta[:, learned]
    center, reach = 0.5 * (some.max(axis=0) + some.min(axis=0)), 0.75 * np.maximum(np.ptp(some, axis=0), 1e-9)
    for _ in range(_DOUBLINGS):
        axes = [np.linspace(c - w, c + w, _NODES[len(learned)]) for c, w in zip(center, reach)]
        densities = _densities(machine, theta[0], learned, axes, temperature, rate)
        edges = [max(_edge(density, i) for density in densities) for i in range(len(learned))]
        if max(edges) < _EDGE:
            break
        reach = np.where(np.array(edges) < _EDGE, reach, 2.0 * reach)
    return [_Law(axes, density) for density in densities], max(edges) < _EDGE


def _densities(
    machine: Machine, theta: np.ndarray, learned: np.ndarray, axes: list[np.ndarray], temperature: float, rate: float
) -> list[np.ndarray]:
    """Both densities on the grid, largest 1."""
    shape = tuple(len(axis) for axis in axes)
    grid = np.stack([side.ravel() for side in np.meshgrid(*axes, indexing="ij")], axis=-1)
    many = np.repeat(theta[None], len(grid), axis=0)
    many[:, learned] = grid
    decay = float(machine.settings.theta.weight_decay)
    loss, slope = machine.evaluator.data_gradient(machine.data.of_set(0), many)
    energy = (loss + 0.5 * decay * (grid**2).sum(axis=1)).reshape(shape)
    gradient = (slope[:, learned] + decay * grid).T.reshape(-1, *shape)
    laplacian = sum(np.gradient(part, axis, axis=i, edge_order=2) for i, (part, axis) in enumerate(zip(gradient, axes)))
    shadow = rate * ((gradient**2).sum(axis=0) / (4.0 * temperature) - laplacian / 2.0)
    reduced = (energy - energy.min()) / temperature
    # far from the minimum, where no replica is, a correction to first order would exceed what it corrects
    exponents = [-reduced, np.minimum(shadow, 0.5 * reduced) - reduced]
    return [np.exp(exponent - exponent.max()) for exponent in exponents]


def _edge(density: np.ndarray, axis: int) -> float:
    """Probability of the outermost cells along an axis, relative to all."""
    total = np.moveaxis(density, axis, 0)
    return float((total[0].sum() + total[-1].sum()) / density.sum())


def _distribution(density: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Distribution function along the last axis, from 0 to 1."""
    cells = 0.5 * (density[..., 1:] + density[..., :-1]) * np.diff(axis)
    total = np.concatenate([np.zeros((*density.shape[:-1], 1)), np.cumsum(cells, axis=-1)], axis=-1)
    return np.asarray(total / total[..., -1:])


def _integral(density: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.asarray(np.trapezoid(density, axis, axis=-1))
