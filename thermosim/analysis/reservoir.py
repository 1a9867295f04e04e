"""Is Theta a heat reservoir? The canonical law it should have, and Clausius' relation between its entropy and heat.

    p_eq ~ exp(-U_B(theta)/T),   k_B T_i = r C_ii/2                                               [Eqs. 20, 22]
    dS_Theta = -Q_X/T_X                                                                           [Eqs. 48, 49]

In Eq. 22 T = 1 is the unit of energy r C/2: the law is that of U_B/T, not of U_B. Near a minimum with Hessian H it is a
normal with covariance T/H. There the moves of theta are linear, theta' = theta - r H theta + r eta, so that the
covariance V over replicas becomes stationary at the solution of

    V = (1 - r H) V (1 - r H) + r^2 C + 2 r T_b,        one component: V = (r C/2 + T_b)/H/(1 - r H/2)

T_b being the temperature of a Langevin bath beside the minibatches. For small r it is T/H where all components have
one temperature, C = 2 T/r, and in general not: SGD is a reservoir of several temperatures, driven out of equilibrium
where C and H do not commute. Eq. 49 is a postulate on a closed system; it is measured here, not assumed.

Sources: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802; S. Mandt, M. D. Hoffman, D. M. Blei, J. Mach. Learn.
Res. 18, 134 (2017), for V; N. Misra, H. Singh, E. Demchuk, J. Multivar. Anal. 92, 324 (2005), for the bias of ln det of
a sample covariance. Every estimate X comes with X_error over independent replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from scipy import special, stats

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, require
from thermosim.analysis.gradient_noise import gradient_noise, learned_parameters, noise_statistics, require_one_rate
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.replicas import since
from thermosim.analysis.skewed_means import FEWEST_FOR_MEAN
from thermosim.analysis.still_directions import why_no_entropy

__all__ = ["PREDICTIONS", "clausius", "gradient_noise", "naive_reservoir", "noise_statistics"]

PREDICTIONS = ("naive", "own-temperatures", "linear")
_MEASURED = ("covariance", "noise_temperature", "predicted", "residual")  # in the order of `_laws`
FALSE_ALARMS = 1e-4  # probability that a stationary ensemble is called drifting
_GROUPS = 40  # groups of replicas left out in turn
_PARAMETERS = 256  # a covariance matrix has their square
_RANK = 1e-10  # smallest eigenvalue of a correlation matrix that is no rounding
_SHIFT = 1e-4  # of theta, for second derivatives


@of_survivors
def clausius(ds: xr.Dataset, first: int | None = None) -> xr.Dataset:
    """dS_Theta against -Q_X/T_X since step `first`, by default the first at which theta varies in all directions.

    T_X is the temperature of x, 1 in the source. dims step and the sweep axes: entropy (of the normal with theta's
    covariance, an upper bound, its small-sample bias removed), entropy_change, released_heat -Q_X (mean of the ledger),
    residual dS_Theta + Q_X/T_X. Of learned parameters. Raises ValueError for too few replicas, without theta, heat or a
    single T_X, or where theta never varies in all directions.
    """
    require(ds, "theta", "heat")
    points = machines(ds)
    baths = [machine.temperature for machine in points]
    if not all(baths):
        raise ValueError("x.temperature: Clausius' relation needs one temperature of x, constant in time")
    learned = learned_parameters(points[0])[0]
    replicas, m = ds.sizes["replica"], len(learned)
    if replicas < m + 3:
        raise ValueError(f"the entropy of {m} parameters needs more than {m + 2} replicas; there are {replicas}")
    thetas = [_learned_frames(machine, learned) for machine in points]
    regular = np.all([[_is_regular(frame) for frame in theta] for theta in thetas], axis=0)
    steps = ds["step"].values
    begin = int(np.argmax(regular & (steps >= (steps[0] if first is None else first))))
    later = np.arange(len(steps)) >= (begin if regular[begin] else 0)
    if bad := np.flatnonzero(later & ~regular).tolist():
        raise ValueError(next(why for machine in points if (why := why_no_entropy(machine, bad))))
    if first is not None and steps[begin] != first:
        raise ValueError(
            f"first = {first}: theta has no entropy (-inf) there, or no frame; take the next one, {steps[begin]}"
        )
    columns = []
    for machine, theta, bath in zip(points, thetas, baths):
        heat = machine.frames["heat"].transpose("step", "replica", ...).values
        heat = heat.reshape(*heat.shape[:2], -1).mean(axis=2)
        columns.append(_clausius(theta[begin:], heat[begin:], float(bath or 0.0)))
    late = ds.isel(step=slice(begin, None))
    parts = gathered(late, columns, ("part", "step"))
    result = xr.Dataset(attrs={"first": int(steps[begin]), "parameters": m, "method": "normal with theta's covariance"})
    normal, postulate = "exact for normal theta, else an upper bound", "0 where Eq. 49 holds; it is a postulate"
    for name, (value, error), units, what, condition in (
        ("entropy", parts[:2], "nat", "S_Theta", normal),
        ("entropy_change", parts[2:4], "nat", f"dS_Theta {since(late)}", normal),
        ("released_heat", parts[4:6], "energy", f"-Q_X {since(late)}", "any move: the books are exact"),
        ("residual", parts[6:], "nat", "dS_Theta + Q_X/T_X", postulate),
    ):
        put(result, name, value, error, units, what, condition, degrees_of_freedom=replicas - 1)
    return result


@of_survivors
def naive_reservoir(ds: xr.Dataset, first: int | None = None) -> xr.Dataset:
    """Covariance of theta over replicas in late frames and three laws: dims [prediction], axes, theta_dim, other_dim.

    covariance: measured at the frames from step `first` (default half the run) about the mean of each frame.
    predicted: "naive" T/H with one temperature, the mean of T_i (Eq. 22); "own-temperatures" sqrt(T_i T_j) (1/H)_ij;
    "linear" V, exact where U_B is quadratic and C constant. residual: covariance - predicted. noise_temperature: T_i,
    the mean of r C_ii/2 + T_b; hessian: of U_B (and weight decay) at the mean of theta, by differences, without error.
    `minimum`: H is positive and r H < 2, else nothing is predicted (NaN). `stationary`: first and last half of the
    frames have the same mean and variance. `reliable`: replicas are enough for the intervals. Raises ValueError for a
    schedule, momentum, contrast, several data sets, or more than 256 learned parameters.
    """
    points = machines(ds)
    learned, groups = learned_parameters(points[0])
    begin = int(points[0].settings.run.steps) // 2 if first is None else first
    late = ds.sel(step=slice(begin, None))
    if late.sizes["step"] < 2:
        raise ValueError(f"needs two recorded frames from step {begin} on: record more, or take an earlier `first`")
    columns: dict[str, list[np.ndarray]] = {}
    for machine in points:
        _check(machine, len(learned))
        machine = replace(machine, frames=machine.frames.sel(step=slice(begin, None)))
        for name, value in _laws(machine, learned).items():
            columns.setdefault(name, []).append(value)
    matrix = ("theta_dim", "other_dim")
    coords = {"theta_dim": learned, "group": ("theta_dim", groups)}
    square = coords | {"other_dim": learned}

    def over(name: str, *dims: str) -> xr.DataArray:
        labels = {"prediction": list(PREDICTIONS)} if "prediction" in dims else {}
        return gathered(ds, columns[name], dims, labels | (square if "other_dim" in dims else coords))

    result = xr.Dataset(attrs={"first": begin, "frames": late.sizes["step"]})
    law = "naive: one temperature, small r; own-temperatures: H diagonal, small r; linear: U_B quadratic, C constant"
    freedom = min(ds.sizes["replica"], _GROUPS) - 1
    for name, dims, units, what, condition in (
        ("covariance", matrix, "1", "covariance of theta over replicas", "stationary frames"),
        ("noise_temperature", ("theta_dim",), "energy", "T_i = r C_ii/2 + T_b", "mean over the frames"),
        ("predicted", ("prediction", *matrix), "1", "covariance by the law", law),
        ("residual", ("prediction", *matrix), "1", "measured less predicted covariance", law),
    ):
        value, error = over(name, "part", *dims)
        put(result, name, value, error, units, what, condition, degrees_of_freedom=freedom)
        if "prediction" in dims:
            result[name].attrs["undefined"] = "nothing is predicted where `minimum` is false"
    result["hessian"] = over("hessian", *matrix).assign_attrs(
        units="energy", long_name="second derivatives of U_B", condition="at the mean of theta"
    )
    result["reliable"] = gathered(
        ds, [np.array(ds.sizes["replica"] >= FEWEST_FOR_MEAN) for _ in points], ()
    ).assign_attrs(long_name=f"at least {FEWEST_FOR_MEAN} replicas", condition="of the intervals of covariances")
    for name, meaning in (
        ("minimum", "H positive and r H < 2"),
        ("stationary", "no drift between halves of the frames"),
    ):
        flag = gathered(ds, columns[name], ())
        result[name] = flag.assign_attrs(long_name=meaning, condition=f"false alarm rate {FALSE_ALARMS:g} of a drift")
    return result


def _clausius(theta: np.ndarray, heat: np.ndarray, temperature: float) -> np.ndarray:
    """Entropy, its change, released heat and residual, each with its jackknife error: (8, F) of theta (F, R, m)."""
    size = theta.shape[1]
    values, without = (np.array(part) for part in zip(*(_entropy(frame) for frame in theta)))
    released = -(heat - heat[0])
    mean = released.mean(axis=1)
    released_without = (mean[:, None] * size - released) / (size - 1)
    change, change_without = values - values[0], without - without[0]

    def error(left_out: np.ndarray) -> np.ndarray:
        deviation = left_out - left_out.mean(axis=1, keepdims=True)
        return np.asarray(np.sqrt((size - 1) / size * (deviation**2).sum(axis=1)))

    parts = [values, error(without), change, error(change_without), mean, error(released_without)]
    return np.stack([*parts, change - mean / temperature, error(change_without - released_without / temperature)])


def _entropy(theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Entropy of the normal that theta (R, m) is a sample of, and the same without each replica in turn (R,).

    (1/2) [m ln(2 pi e) + ln det S], less the mean of (1/2) ln det of a sample covariance with R - 1 degrees of freedom.
    """
    size, m = theta.shape
    deviation = theta - theta.mean(axis=0)
    covariance = deviation.T @ deviation / (size - 1)
    logarithm = np.linalg.slogdet(covariance)[1]
    distance = np.einsum("ri,ir->r", deviation, np.linalg.solve(covariance, deviation.T))
    without = m * np.log((size - 1) / (size - 2)) + logarithm + np.log1p(-size / (size - 1) ** 2 * distance)

    def unbiased(value: Any, count: int) -> Any:
        digamma = special.digamma((count - 1 - np.arange(m)) / 2).sum()
        return 0.5 * (m * (1.0 + np.log(2.0 * np.pi)) + value + m * np.log((count - 1) / 2) - digamma)

    return float(unbiased(logarithm, size)), np.asarray(unbiased(without, size - 1))


def _learned_frames(machine: Machine, learned: np.ndarray) -> np.ndarray:
    return np.stack([machine.theta(frame)[:, learned] for frame in range(len(machine.steps))])


def _is_regular(theta: np.ndarray) -> bool:
    """Whether theta (R, m) varies in all directions."""
    spread = theta.std(axis=0)
    if not np.all(spread > 0.0):
        return False
    scaled = (theta - theta.mean(axis=0)) / spread
    return bool(np.linalg.eigvalsh(scaled.T @ scaled / len(theta))[0] > _RANK)


def _check(machine: Machine, parameters: int) -> None:
    theta, data = machine.settings.theta, machine.settings.data
    require_one_rate(machine)
    if machine.model.no_potential:
        raise ValueError(machine.model.no_potential)
    if not machine.theta_move.descent:
        raise ValueError(f"a reservoir is theta that descends a gradient; theta.dynamics is {theta.dynamics!r}")
    if machine.settings.run.direction != "forward":
        raise ValueError('a stationary law needs run.direction = "forward"')
    if any(_has_kind(getattr(theta, key)) for key in ("learning_rate", "weight_decay", "temperature")):
        raise ValueError("a stationary law needs a constant learning rate, weight decay and temperature of theta")
    if theta.gradient == "contrast":
        raise ValueError(
            "theta.gradient = 'contrast': its U_B has no normaliser and its samples make noise of their own"
        )
    if theta.momentum:
        raise ValueError("theta.momentum: T = r C/2 is the temperature of plain SGD; set it to 0")
    if data is not None and data.sets > 1:
        raise ValueError("data.sets: each set has a minimum of its own; take one set, or the replicas of one")
    if parameters > _PARAMETERS:
        raise ValueError(f"{parameters} learned parameters make too large a matrix: name fewer groups in theta.learn")


def _has_kind(value: Any) -> bool:
    return isinstance(value, Mapping) and "kind" in value


def _laws(machine: Machine, learned: np.ndarray) -> dict[str, np.ndarray]:
    """Measured and predicted covariances with jackknife errors over groups of replicas, stacked as parts."""
    theta = _learned_frames(machine, learned)
    center = theta.mean(axis=(0, 1))
    rate, bath = float(machine.settings.theta.learning_rate), _bath(machine)[learned]
    hessian = _hessian(machine, center, learned)
    noise = gradient_noise(machine).noise if machine.settings.theta.batch != "all" else None
    number = min(theta.shape[1], _GROUPS)
    groups = np.array_split(np.arange(theta.shape[1]), number)
    sums = [_sums(theta[:, group] - center, None if noise is None else noise[:, group]) for group in groups]
    total = [np.sum(part, axis=0) for part in zip(*sums)]

    def estimates(parts: list[Any]) -> tuple[np.ndarray, ...]:
        count, first, second, covered = parts
        centered = second - (first.T @ first) / (count * len(theta))
        covariance, gradient = centered / (count - 1), covered / count
        temperature = 0.5 * rate * np.diag(gradient) + bath
        predicted = _predictions(hessian, gradient, temperature, bath, rate)
        return covariance, temperature, predicted, covariance - predicted

    whole = estimates(total)
    without = [estimates([a - b for a, b in zip(total, part)]) for part in sums]
    result = {"hessian": hessian, "minimum": np.array(np.isfinite(whole[2]).all())}
    for name, value, left_out in zip(_MEASURED, whole, zip(*without)):
        stack = np.stack(left_out)
        error = np.sqrt((number - 1) / number * ((stack - stack.mean(axis=0)) ** 2).sum(axis=0))
        result[name] = np.stack([value, error])
    return result | {"stationary": np.array(_stationary(theta))}


def _sums(theta: np.ndarray, noise: np.ndarray | None) -> list[Any]:
    """Replicas; sums over them of theta (F, m), and of the means over frames of theta theta' and eta eta' (m, m)."""
    m = theta.shape[2]
    flat = theta.reshape(-1, m)
    covered = np.zeros((m, m)) if noise is None else noise.reshape(-1, m).T @ noise.reshape(-1, m) / len(noise)
    return [theta.shape[1], theta.sum(axis=1), flat.T @ flat / len(theta), covered]


def _predictions(
    hessian: np.ndarray, gradient: np.ndarray, temperature: np.ndarray, bath: np.ndarray, rate: float
) -> np.ndarray:
    """Covariances (3, m, m) by PREDICTIONS; NaN where theta is no minimum or steps are too long."""
    h, axes = np.linalg.eigh(hessian)
    if h[0] <= 0.0 or rate * h[-1] >= 2.0:
        return np.full((3, *hessian.shape), np.nan)
    inverse = (axes / h) @ axes.T
    root = np.sqrt(temperature)
    kick = axes.T @ (rate**2 * gradient + 2.0 * rate * np.diag(bath)) @ axes
    keep = 1.0 - rate * h
    linear = axes @ (kick / (1.0 - keep[:, None] * keep)) @ axes.T
    return np.stack([temperature.mean() * inverse, root[:, None] * inverse * root, linear])


def _hessian(machine: Machine, theta: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Second derivatives of U_B + (weight decay) |theta|^2/2 in the learned parameters, (m, m)."""
    center = machine.theta(0).mean(axis=0)
    center[learned] = theta
    shift = _SHIFT * np.maximum(1.0, np.abs(theta))
    steps = np.zeros((2 * len(learned), len(center)))
    steps[np.arange(len(learned)), learned] = shift
    steps[len(learned) + np.arange(len(learned)), learned] = -shift
    gradient = machine.evaluator.data_gradient(machine.data.of_set(0), center + steps)[1][:, learned]
    up, down = np.split(gradient, 2)
    second = (up - down) / (2.0 * shift[:, None])
    decay = float(machine.settings.theta.weight_decay)
    return np.asarray(0.5 * (second + second.T) + decay * np.eye(len(learned)))


def _bath(machine: Machine) -> np.ndarray:
    """Temperature T_b of the Langevin noise of every parameter, 0 for SGD: (all of theta,)."""
    given = machine.settings.theta.temperature
    parts = []
    for group in machine.model.parameters:
        value = (given or {}).get(group.name, 0.0) if given is None or isinstance(given, Mapping) else given
        parts.append(np.full(int(np.prod(group.shape(machine.constants))), float(value)))
    return np.concatenate(parts)


def _stationary(theta: np.ndarray) -> bool:
    """Whether the halves of the frames agree in mean and variance of all parameters, replica by replica."""
    half = len(theta) // 2
    square = (theta - theta.mean(axis=1, keepdims=True)) ** 2
    changes = np.concatenate([part[:half].mean(axis=0) - part[-half:].mean(axis=0) for part in (theta, square)], axis=1)
    error = np.maximum(changes.std(axis=0, ddof=1) / np.sqrt(len(changes)), np.finfo(float).tiny)
    limit = stats.t.isf(FALSE_ALARMS / (2 * changes.shape[1]), len(changes) - 1)
    return bool(np.all(np.abs(changes.mean(axis=0)) <= limit * error))
