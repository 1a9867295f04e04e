"""Thermodynamics of scale-invariant learning from an ensemble: energy, entropy, equation of state, potentials.

Every quantity q comes with q_error, a standard error from independent replicas: by the jackknife for functions of
means, from groups of replicas for what contains the entropy. Averages over every step come from the cumulative sums of
the run (loss, squared gradient, stretch), the others from frames.

    T = eta_eff sigma^2/2 (fixed-lr: eta_eff = eta <1/r^2>, measured)    V = <r^2>/2    R = (d-1)/2
    p = lambda (fixed-sphere: <|w'|/r - 1>/(eta_eff r^2))    S = S(direction) + (d-1) <ln r>    C_V = Var L/T^2
    H = U + p V    F = U - T S    G = U - T S + p V

Source: I. Sadrtdinov et al., arXiv 2511.07308.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from thermosim.analysis.entropy import angle_entropy, cap_entropy
from thermosim.analysis.estimates import LEVEL, bounds_of
from thermosim.analysis.sphere_frames import Cells, Frames, frames, jackknife, jackknife_moments, mean_of_finite
from thermosim.exact import ideal_gas

__all__ = [
    "drift",
    "free_energy_maps",
    "maxwell",
    "radius_fluctuations",
    "radius_transient",
    "slopes",
    "thermodynamics",
]

MOST_GROUPS = 32
FEWEST_GROUPS = 8
GROUP_SAMPLES = 32  # aimed at, per group of replicas
MOST_SAMPLES = 4096  # of one cell, for the entropy
FEWEST_SAMPLES = 4  # of a group
DECORRELATION = 8.0  # frames for the entropy are this many relaxation times of the direction apart

ABOUT = {
    "U": ("energy", "internal energy", "<L>"),
    "U_frames": ("energy", "mean loss of the recorded frames alone", "<1 + mu.w/|w|>"),
    "radius": ("1", "mean radius", "<r>"),
    "T": ("energy", "temperature", "eta_eff sigma^2/2"),
    "p": ("energy", "pressure", "lambda, or <|w'|/r - 1>/(eta_eff r^2)"),
    "V": ("1", "volume", "<r^2>/2"),
    "pV_over_RT": ("1", "compressibility", "p V/(R T)"),
    "gradient_square": ("energy^2", "squared stochastic gradient on the unit sphere, per step", "<|w|^2 |g|^2>"),
    "heat_capacity": ("nat", "heat capacity from the fluctuations of the loss", "Var L/T^2"),
    "H": ("energy", "enthalpy", "U + p V"),
    "autocorrelation_time": ("1", "integrated autocorrelation time of the loss, in steps", "t Var(mean L)/(2 Var L)"),
    "S_direction": ("nat", "entropy of w/|w|, cap estimator", "-int rho ln rho"),
    "S_direction_angles": ("nat", "entropy of w/|w|, angle estimator", "-int rho ln rho"),
    "S": ("nat", "entropy", "S(direction) + (d-1) <ln r>"),
    "F": ("energy", "Helmholtz free energy", "U - T S"),
    "G": ("energy", "Gibbs free energy", "U - T S + p V"),
    "loss_drift": ("energy", "mean loss of the second half of the record less that of the first", "<L>_2 - <L>_1"),
    "log_radius_square_drift": ("1", "the same of ln r^2", "<ln r^2>_2 - <ln r^2>_1"),
    "log_radius_square_deviation": ("1", "standard deviation of ln r^2", "sqrt(Var ln r^2)"),
}


def thermodynamics(ds: xr.Dataset, *, angles: bool = True) -> xr.Dataset:
    """All thermodynamic quantities over the sweep axes, each with its error; entropies where theta was recorded.

    Attributes: first_step of the settled record, replicas, groups and (per cell) samples of the entropy.
    """
    record = frames(ds)
    values = _mechanical(record)
    freedom = dict.fromkeys(values, record.replicas - 1)
    attrs: dict[str, object] = {"first_step": int(record.step[0]), "replicas": record.replicas}
    if record.direction is not None:
        groups = grouped(record, angles=angles)
        of_groups = {name: pooled(groups[name]) for name in groups if name in ABOUT}
        values, freedom = values | of_groups, freedom | dict.fromkeys(of_groups, group_count(record) - 1)
        attrs |= {"groups": group_count(record), "samples": entropy_frames(record).ravel() * record.replicas}
    return record.cells.dataset(values, ABOUT, freedom, **attrs)


def drift(ds: xr.Dataset) -> xr.Dataset:
    """Second half of the settled record less the first, for the loss and ln r^2: zero when the run was long enough."""
    record = frames(ds)
    middle = len(record.step) // 2
    if len(record.step) < 3:
        raise ValueError("a drift needs at least three recorded frames")
    parts = {
        "loss_drift": record.per_step("loss_sum", middle, -1) - record.per_step("loss_sum", 0, middle),
        "log_radius_square_drift": record.log_square[middle:].mean(0) - record.log_square[:middle].mean(0),
    }
    values = {n: jackknife_moments({n: v}, lambda m, n=n: m[n]) for n, v in parts.items()}  # type: ignore[misc]
    return record.cells.dataset(values, ABOUT, record.replicas - 1)


def radius_fluctuations(ds: xr.Dataset) -> xr.Dataset:
    """Standard deviation of ln r^2 over replicas and settled frames, with the theory's leading order beside it.

    Its logarithm is estimated, without the bias of few replicas, and its interval is that of the logarithm.
    """
    record = frames(ds)
    there, name, freedom = record.cells, "log_radius_square_deviation", record.replicas - 1
    y = record.log_square - mean_of_finite(record.log_square, axis=(0, -1), keepdims=True)
    means = {"y": y.mean(0), "y2": np.square(y).mean(0)}
    skewness = jackknife_moments(means, lambda m: np.sqrt(np.maximum(m["y2"] - m["y"] ** 2, 0.0)))[2]
    with np.errstate(divide="ignore"):
        logarithm, error = jackknife(
            means, lambda m: 0.5 * np.log(np.maximum(m["y2"] - m["y"] ** 2, 0.0)), unbiased=True
        )
    deviation, chances = np.exp(logarithm), stats.t.ppf(0.5 * (1.0 + LEVEL), freedom)
    values = {name: (deviation, deviation * error, skewness)}
    result = there.dataset(values, ABOUT, freedom, first_step=int(record.step[0]))
    ends = [xr.DataArray(deviation * np.exp(sign * chances * error), dims=there.names) for sign in (-1.0, 1.0)]
    said = {"units": "1", "long_name": f"95 % interval: {ABOUT[name][1]}"}
    result[f"{name}_interval"] = bounds_of(*ends).assign_attrs(said)
    said = {"units": "1", "long_name": f"{ABOUT[name][1]}, to leading order in the step"}
    result["leading_order"] = (there.names, ideal_gas.radius_fluctuation(*there.arguments[:-1]), said)
    return result


def radius_transient(ds: xr.Dataset) -> xr.Dataset:
    """Mean radius at every recorded step (step, axes...), its error, and the closed form from the first frame."""
    record = frames(ds, settle=False)
    there = record.cells
    radius, error = jackknife({"r": np.exp(record.log_square / 2)}, lambda m: m["r"])
    elapsed = (record.step - record.step[0]).reshape(-1, *(1,) * len(there.names))
    protocol, dimension, noise, rate, decay, _ = there.arguments
    exact = ideal_gas.radius_transient(protocol, dimension, noise, rate, decay, radius[0], elapsed)
    result = xr.Dataset(coords={"step": record.step} | {n: there.coords[n] for n in there.names})
    for name, value, meaning in (
        ("radius", radius, "mean radius"),
        ("radius_error", error, "standard error: mean radius"),
        ("radius_exact", exact, "radius by the closed form from the first frame"),
    ):
        result[name] = (("step", *there.names), value, {"units": "1", "long_name": meaning})
    result["radius_error"].attrs["degrees_of_freedom"] = float(record.replicas - 1)
    return result


def maxwell(ds: xr.Dataset) -> xr.Dataset:
    """Slopes dS/d ln(axis), d ln r/d ln(axis) fitted to the grid (log-linear in all axes together), with errors.

    `relation` is the combination whose value a Maxwell relation fixes: dS/d ln lambda = -R at fixed-elr,
    dS/d ln eta - dS/d ln lambda = R at fixed-lr, dS/d ln r = 2 R on the sphere; absent when its axes are not swept.
    """
    record = frames(ds)
    groups = grouped(record, angles=False)
    result = xr.Dataset(attrs={"groups": group_count(record), "protocol": record.cells.protocol})
    exact = ideal_gas.maxwell_slopes(record.cells.protocol, record.cells.dimension)
    for quantity, name in (("S", "dS_dln_{}"), ("log_radius", "dlnr_dln_{}")):
        fitted = slopes(record.cells, groups[quantity])
        for axis, values in fitted.items():
            if axis == "relation" and quantity != "S":
                continue
            label = axis if axis == "relation" else name.format(axis)
            slope, error = pooled(values)
            said = {"units": "nat" if quantity == "S" else "1", "long_name": f"slope of {quantity} along ln {axis}"}
            freedom = {"degrees_of_freedom": float(group_count(record) - 1)}
            result[label], result[f"{label}_error"] = ((), slope, said), ((), error, said | freedom)
            if quantity == "S" and axis in exact:
                result[label].attrs["low_temperature"] = exact[axis]
    return result


def slopes(there: Cells, values: np.ndarray) -> dict[str, np.ndarray]:
    """Least-squares slopes of values (axes..., G) against the logarithms of all axes: axis -> (G,).

    Axes of one value, or not positive, are left out. "relation" is the Maxwell combination of the protocol.
    """
    numbers = {n: np.asarray(there.coords[n], float) for n in there.names}
    used = [n for n, v in numbers.items() if len(v) > 1 and np.all(v > 0.0)]
    grids = np.meshgrid(*(np.log(np.abs(numbers[n]) + (n not in used)) for n in there.names), indexing="ij")
    columns = [g.ravel() for n, g in zip(there.names, grids, strict=True) if n in used]
    design = np.stack([np.ones(int(np.prod(values.shape[:-1]))), *columns], axis=1)
    solution = np.linalg.lstsq(design, values.reshape(len(design), -1), rcond=None)[0]
    fitted = dict(zip(used, solution[1:], strict=True))
    needs = {"fixed-elr": ["weight_decay"], "fixed-lr": ["learning_rate", "weight_decay"], "fixed-sphere": ["radius"]}
    if all(axis in fitted for axis in needs[there.protocol]):
        first, *second = (fitted[axis] for axis in needs[there.protocol])
        fitted["relation"] = first - second[0] if second else first
    return fitted


def free_energy_maps(ds: xr.Dataset) -> xr.Dataset:
    """Measured potentials of every state of the grid for every target state, and where they are smallest.

    The potential is G(i; j) = U_i - T_j S_i + p_j V_i, and on the sphere F(i; j) = U_i - T_j S_i over the states of
    the target's radius (others NaN). Dims: the axes (states i) and target_<axis> (targets j). minimum_<axis> are
    indices of the smallest, distance its largest distance from the target in cells; -1 where no entropy is known.
    """
    record = frames(ds)
    if record.direction is None:
        raise ValueError("the entropy needs frames of theta: name it in record.variables")
    there, means = record.cells, thermodynamics(ds, angles=False)
    u, t, s, v, p = (means[name].to_numpy().ravel() for name in ("U", "T", "S", "V", "p"))
    sphere = there.protocol == "fixed-sphere"
    potential = u[:, None] - t * s[:, None] + (0.0 if sphere else p * v[:, None])
    if sphere:
        radius = there.radius.ravel()
        potential = np.where(radius[:, None] == radius, potential, np.nan)
    shape, targets = there.noise.shape, tuple(f"target_{n}" for n in there.names)
    known = ~np.isnan(potential).all(axis=0)
    lowest = np.unravel_index(np.nanargmin(np.where(known, potential, 0.0), axis=0), shape or (1,))
    wanted = np.unravel_index(np.arange(len(u)), shape or (1,))
    distance = np.max([np.abs(a - b) for a, b in zip(lowest, wanted, strict=True)], axis=0)
    distance = np.where(known, distance, -1)
    coords = {n: there.coords[n].to_numpy() for n in there.names}
    result = xr.Dataset(coords=coords | {f"target_{n}": c for n, c in coords.items()})
    said = {"units": "energy", "long_name": "potential of a state for a target"}
    result["F" if sphere else "G"] = ((*there.names, *targets), potential.reshape(shape * 2), said)
    for name, index in zip(there.names, lowest, strict=False):
        said = {"units": "1", "long_name": f"index on {name} of the state of the lowest potential"}
        result[f"minimum_{name}"] = (targets, np.where(known, index, -1).reshape(shape), said)
    said = {"units": "1", "long_name": "largest distance of the lowest state from the target, in cells"}
    result["distance"] = (targets, distance.reshape(shape), said)
    return result


def entropy_frames(record: Frames) -> np.ndarray:
    """How many frames of each replica the entropy uses, per cell: a power of two, far enough apart."""
    rate = record.cells.gas.effective_learning_rate
    length = record.step[-1] - record.step[0]
    most = max(1, min(MOST_SAMPLES // record.replicas, len(record.step) - 1))
    room = np.clip(rate * length / DECORRELATION, 1, most)
    return 2 ** np.floor(np.log2(room)).astype(int)


def group_count(record: Frames) -> int:
    """How many groups of replicas the entropy's error comes from."""
    samples = record.replicas * int(entropy_frames(record).min())
    return min(record.replicas, max(FEWEST_GROUPS, min(MOST_GROUPS, samples // GROUP_SAMPLES)))


def grouped(record: Frames, *, angles: bool) -> dict[str, np.ndarray]:
    """Entropies and potentials: name -> (axes..., 1 + groups), of all replicas together and then of each group.

    The first is the estimate, which has the smaller bias; the scatter of the others gives its error.
    """
    if record.direction is None:
        raise ValueError("the entropy needs frames of theta: name it in record.variables")
    groups, there = group_count(record), record.cells
    size = record.replicas // groups
    chosen = [slice(None)] + [slice(k * size, (k + 1) * size) for k in range(groups)]
    estimators = {"S_direction": cap_entropy} | ({"S_direction_angles": angle_entropy} if angles else {})
    result = {name: np.full((*there.noise.shape, groups + 1), np.nan) for name in estimators}
    used, last = entropy_frames(record), len(record.step) - 1
    for cell in np.ndindex(there.noise.shape):
        picked = (
            (last * np.arange(1, int(used[cell]) + 1) / used[cell]).round().astype(int)
        )  # not the first: blocks share it
        for k, replicas in enumerate(chosen):
            samples = record.direction[(picked, *cell, replicas)].reshape(-1, there.dimension)
            samples = samples[np.isfinite(samples[:, 0])]
            if len(samples) >= FEWEST_SAMPLES:
                for name, estimator in estimators.items():
                    result[name][(*cell, k)] = estimator(samples)
    means = {n: np.stack([mean_of_finite(v[..., c]) for c in chosen]) for n, v in _means(record).items()}
    u, t, p, v = (np.moveaxis(value, 0, -1) for value in _state(record.cells, means))
    result["log_radius"] = np.moveaxis(means["y"], 0, -1) / 2
    result["S"] = result["S_direction"] + (there.dimension - 1) * result["log_radius"]
    result["F"] = u - t * result["S"]
    result["G"] = result["F"] + p * v
    return result


def pooled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and standard error from (..., 1 + groups) of `grouped`."""
    with np.errstate(invalid="ignore"):  # coinciding samples have the entropy -inf
        return values[..., 0], values[..., 1:].std(-1, ddof=1) / np.sqrt(values.shape[-1] - 1)


def _means(record: Frames) -> dict[str, np.ndarray]:
    """Time averages of each replica: name -> (axes..., replica)."""
    square = np.exp(record.log_square)
    means = {
        "loss": record.per_step("loss_sum"),
        "gradient_square": record.per_step("gradient_square"),
        "radius": np.sqrt(square).mean(0),
        "square": square.mean(0),
        "inverse": (1 / square).mean(0),
        "y": record.log_square.mean(0),
        "frame_loss": record.loss.mean(0),
        "loss_square": np.square(record.loss).mean(0),
    }
    if record.cells.protocol == "fixed-sphere":
        means["stretch"] = record.per_step("stretch")
    return means


def _state(there: Cells, m: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """U, T, p, V from means (..., axes...)."""
    inverse = m["inverse"] if there.protocol == "fixed-lr" else np.ones_like(m["inverse"])
    temperature = there.learning_rate * inverse * there.noise**2 / 2
    pressure = there.weight_decay + np.zeros_like(temperature)
    if there.protocol == "fixed-sphere":
        pressure = m["stretch"] / (there.learning_rate * there.radius**2)
    return m["loss"], temperature, pressure, m["square"] / 2


def _mechanical(record: Frames) -> dict[str, tuple[np.ndarray, ...]]:
    """Everything but the entropies, with jackknife errors."""
    there, means = record.cells, _means(record)
    gas_constant = (there.dimension - 1) / 2

    def of_state(name: str, m: dict[str, np.ndarray]) -> np.ndarray:
        u, t, p, v = _state(there, m)
        variance = m["loss_square"] - m["frame_loss"] ** 2
        return {
            "U": u,
            "U_frames": m["frame_loss"],
            "T": t,
            "p": p,
            "V": v,
            "H": u + p * v,
            "pV_over_RT": p * v / (gas_constant * t),
            "heat_capacity": variance / t**2,
            "radius": m["radius"],
            "gradient_square": m["gradient_square"],
        }[name]

    names = ("U", "U_frames", "radius", "T", "p", "V", "pV_over_RT", "gradient_square", "heat_capacity", "H")
    values: dict[str, tuple[np.ndarray, ...]] = {
        name: jackknife_moments(means, lambda m, name=name: of_state(name, m))  # type: ignore[misc]
        for name in names
    }
    elapsed = record.step[-1] - record.step[0] if len(record.step) > 1 else record.step[0]
    means["sum_square"] = (means["loss"] - mean_of_finite(means["loss"], keepdims=True)) ** 2

    def time(m: dict[str, np.ndarray]) -> np.ndarray:
        return elapsed * (m["sum_square"]) / (2 * (m["loss_square"] - m["frame_loss"] ** 2))

    return values | {"autocorrelation_time": jackknife(means, time)}
