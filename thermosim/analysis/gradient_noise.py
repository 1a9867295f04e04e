"""The noise of minibatches: its variance, its correlations in time, its temperature.

    U_B(theta) = mean of phi_theta over the data set                                               [Eq. 18]
    theta_{t+1} = theta_t - r grad U_B(theta_t) + r eta(t),   eta(t) = grad U_B - grad phi(b)      [Eq. 19]
    C_ii(t, l) = <eta_i(t) eta_i(t + l)>,   k_B T_i = r C_ii(t, 0)/2                               [Eq. 20]

Rows are drawn one by one with replacement, so that <eta> = 0 at any theta, the covariance of eta is that of one row's
gradient over B, and eta of different steps is uncorrelated. None of it needs equilibrium. The minibatch that followed a
recorded frame is drawn once more, by the address of its random numbers.

Learning by contrast adds the noise of its finite number of samples to this; it is not counted here.

Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802, Sec. 5.1 and Fig. 5.1. With its mobility mu = r/alpha
and the delta function of time is 1/alpha at a step of length alpha, hence k_B T = r C/2, whatever alpha is. Every
estimate X comes with X_error over independent replicas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.replicas import is_regular
from thermosim.analysis.skewed_means import FEWEST_FOR_MEAN, FEWEST_FOR_VARIANCE, put_skewed_mean
from thermosim.schedules import values_at

__all__ = [
    "FALSE_ALARMS",
    "GradientNoise",
    "autocorrelation",
    "full_gradient",
    "gradient_noise",
    "learned_parameters",
    "minibatch",
    "noise_statistics",
    "require_one_rate",
]

FALSE_ALARMS = 1e-4  # probability that white noise is called coloured
_LAGS = 20  # frames
_CHUNK = 1 << 22  # numbers held at a time


@dataclass(frozen=True, eq=False)
class GradientNoise:
    """At F frames, for R replicas and the m learned parameters; eta at step t is of the minibatch of step t + 1."""

    step: np.ndarray  # (F,)
    rate: np.ndarray  # (F,), the learning rate of step t + 1
    noise: np.ndarray  # eta (F, R, m)
    pull: np.ndarray  # grad U_B (F, R, m)
    loss: np.ndarray  # U_B (F, R)
    learned: np.ndarray  # rows of theta, (m,)
    groups: list[str]  # group of each, (m,)


def gradient_noise(machine: Machine) -> GradientNoise:
    """eta and grad U_B at every recorded frame before the last step, of one point of the sweep.

    Raises ValueError where theta does not learn forward from minibatches, or whose these were is not known.
    """
    theta, run = machine.settings.theta, machine.settings.run
    steps = int(run.steps)
    require_one_rate(machine)
    if theta.batch == "all":
        raise ValueError("every step took all rows: noise of minibatches needs a number theta.batch")
    if not machine.theta_move.descent or not isinstance(theta.batch, int):
        raise ValueError(
            'minibatches make the noise: it needs steps along the gradient, theta.dynamics = "sgd" or "sgld", and a '
            "number theta.batch"
        )
    if machine.evaluator.noisy:
        raise ValueError(
            f"model {machine.model.name!r} adds noise of its own to every row, which minibatches that are drawn once "
            "more do not have: of their gradients nothing is told"
        )
    if machine.shares_rows:
        raise ValueError(
            f"model {machine.model.name!r} normalises over a minibatch, so the gradient of all rows is not the mean of "
            "theirs: record gradient_noise_trace instead"
        )
    if run.direction != "forward":
        raise ValueError('there and back every minibatch comes twice: noise needs run.direction = "forward"')
    frames = np.flatnonzero(machine.steps < steps)
    learned, groups = learned_parameters(machine)
    shape = (len(frames), machine.frames.sizes["replica"], len(learned))
    noise, pull, loss = np.empty(shape), np.empty(shape), np.empty(shape[:2])
    for part in _parts(len(frames), shape[1] * int(theta.batch) * machine.evaluator.components):
        here = np.concatenate([machine.theta(frame) for frame in frames[part]])
        rows = [minibatch(machine, int(machine.steps[frame]) + 1) for frame in frames[part]]
        drawn = machine.evaluator.data_gradient(np.concatenate(rows), here)[1]
        full_loss, full = full_gradient(machine, here, len(rows))
        pull[part] = full[:, learned].reshape(len(rows), *shape[1:])
        noise[part] = (full - drawn)[:, learned].reshape(len(rows), *shape[1:])
        loss[part] = full_loss.reshape(len(rows), -1)
    at = machine.steps[frames]
    rate = values_at(theta.learning_rate, steps, at + 1)
    return GradientNoise(at, rate, noise, pull, loss, learned, groups)


@of_survivors
def noise_statistics(ds: xr.Dataset, max_lag: int | None = None) -> xr.Dataset:
    """Variance, correlations and temperature of the noise of minibatches (Fig. 5.1): dims step, axes, theta_dim.

    variance C_ii(t, 0), mean_variance over parameters, variance_times_batch (one number for all batch sizes where C ~
    1/B), noise_temperature r C_ii/2 and group_temperature, mean and largest |grad U_B| for comparison, mean and
    variance of U_B over replicas (both without ln Z where phi lacks it). autocorrelation: C_ii(l)/C_ii(0) averaged over
    frames, per parameter, and (mean_autocorrelation) of all, at recorded lags up to `max_lag` steps (default 20
    frames). `white`: no lag of the mean is beyond the bound of Student's law that white noise passes in one of 10,000
    ensembles, shared out over all lags. replay_residual: |theta_{t+1} - theta_t + r (g + weight decay)| of plain SGD
    recorded at every step, which is rounding if these are the minibatches of the run. `reliable`,
    `loss_variance_reliable`: replicas are enough for the intervals of the noise's variances, and of the variance of
    U_B. Only learned parameters. Raises ValueError where theta does not learn from minibatches, or without two frames.
    """
    points = machines(ds)
    if not is_regular(ds["step"].values):
        raise ValueError("correlations in time need frames that are equally far apart: ds.isel(step=slice(...))")
    if ds.sizes["replica"] < 2:
        raise ValueError("one replica gives no error bars: noise needs two replicas")
    records = [gradient_noise(machine) for machine in points]
    first = records[0]
    every = int(np.diff(first.step[:2])[0]) if len(first.step) > 1 else 0
    longest = _LAGS * every if max_lag is None else max_lag
    limit = min(len(first.step) - 1, longest // max(every, 1))
    if limit < 1:
        raise ValueError("correlations need two frames within max_lag before the last step: record more frames")
    some = ds.sel(step=first.step)
    coords = {"theta_dim": first.learned, "group": ("theta_dim", first.groups)}

    def over(values: list[np.ndarray], *dims: str) -> xr.DataArray:
        return gathered(some, values, ("step", "replica", *dims), coords if "theta_dim" in dims else None)

    square = over([record.noise**2 for record in records], "theta_dim")
    rate = over([np.broadcast_to(record.rate[:, None], record.loss.shape) for record in records])
    condition = "rows drawn with replacement: <eta> = 0 at any theta"
    result = xr.Dataset(attrs={"method": "minibatches drawn again by their addresses"})
    put_skewed_mean(result, "variance", square, "energy^2", "C_ii(t, 0)", condition)
    put_skewed_mean(
        result, "mean_variance", square.mean("theta_dim"), "energy^2", "mean over i of C_ii(t, 0)", condition
    )
    batch = gathered(some, [np.array(float(machine.settings.theta.batch)) for machine in points], ())
    scaled, equal = square.mean("theta_dim") * batch, "constant in B at equal theta"
    put_skewed_mean(result, "variance_times_batch", scaled, "energy^2", "B times mean of C_ii(t, 0)", equal)
    warm = "k_B T_i = r C_ii/2 of this step, of minibatches alone"
    put_skewed_mean(result, "noise_temperature", rate * square / 2.0, "energy", "temperature of the noise", warm)
    grouped = (rate * square / 2.0).groupby("group").mean().rename(group="parameter_group")
    put_skewed_mean(result, "group_temperature", grouped, "energy", "mean temperature of a parameter group", warm)
    pull = abs(over([record.pull for record in records], "theta_dim"))
    put_mean(result, "gradient", pull.mean("theta_dim"), "energy", "mean of |d_i U_B|", "all of the data")
    result["largest_gradient"] = pull.max(["replica", "theta_dim"], skipna=False).assign_attrs(
        units="energy", long_name="largest |d_i U_B|", condition="over replicas and parameters"
    )
    loss = over([record.loss for record in records])
    put_mean(result, "loss", loss, "energy", "mean of U_B", "all of the data")
    size = loss.sizes["replica"]
    spread = (loss - loss.mean("replica", skipna=False)) ** 2 * (size / (size - 1))
    put_skewed_mean(result, "loss_variance", spread, "energy^2", "variance of U_B over replicas", "all of the data")
    for name, fewest in (("reliable", FEWEST_FOR_MEAN), ("loss_variance_reliable", FEWEST_FOR_VARIANCE)):
        flag = gathered(some, [np.array(size >= fewest) for _ in points], ())
        result[name] = flag.assign_attrs(long_name=f"at least {fewest} replicas", condition="a flag, not a proof")
    if every == 1 and all(_is_plain(machine) for machine in points):
        residual = [np.array(_replay_residual(machine, record)) for machine, record in zip(points, records)]
        result["replay_residual"] = gathered(some, residual, ()).assign_attrs(
            units="1", long_name="largest change of theta not explained by its minibatch", condition="plain SGD"
        )
    return _correlated(result, some, records, np.arange(1, limit + 1), every)


def _correlated(
    result: xr.Dataset, ds: xr.Dataset, records: list[GradientNoise], lags: np.ndarray, every: int
) -> xr.Dataset:
    """Add autocorrelations and the verdict."""
    coords = {"lag": lags * every, "theta_dim": records[0].learned, "group": ("theta_dim", records[0].groups)}
    columns: list[list[np.ndarray]] = [[], [], []]
    for record in records:
        own, mean = autocorrelation(record.noise, lags)
        bound = -special.stdtrit(record.noise.shape[1] - 1, FALSE_ALARMS / (2 * len(lags)))
        white_noise = not np.any(np.abs(mean[0]) > bound * mean[1])  # that of one parameter has heavier tails
        for column, value in zip(columns, (np.stack(own), np.stack(mean), np.array(white_noise))):
            column.append(value)
    steps = {name: value for name, value in coords.items() if name == "lag"}
    white = "0 at every lag: rows are drawn anew at every step"
    value, error = gathered(ds, columns[0], ("part", "lag", "theta_dim"), coords)
    freedom = records[0].noise.shape[1] - 1
    put(result, "autocorrelation", value, error, "1", "C_ii(l)/C_ii(0)", white, degrees_of_freedom=freedom)
    result["autocorrelation"].attrs["undefined"] = "0/0 of a parameter whose gradient no row changes"
    value, error = gathered(ds, columns[1], ("part", "lag"), steps)
    what = "sum_i C_ii(l)/sum_i C_ii(0)"
    put(result, "mean_autocorrelation", value, error, "1", what, white, degrees_of_freedom=freedom)
    result["white"] = gathered(ds, columns[2], ()).assign_attrs(
        long_name="no autocorrelation beyond chance",
        nominal_false_alarm_rate=FALSE_ALARMS,
        condition="at the recorded lags",
    )
    result["lag"].attrs = {"units": "1", "long_name": "lag in steps"}
    return result


def autocorrelation(noise: np.ndarray, lags: np.ndarray) -> tuple[Any, Any]:
    """C(l)/C(0) and its jackknife error over replicas, of each parameter (l, m) and of all together (l)."""
    size = noise.shape[1]
    power = (noise**2).mean(axis=0)
    products = np.stack([(noise[:-lag] * noise[lag:]).mean(axis=0) for lag in lags])

    def ratio(top: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            value = top.sum(axis=1) / below.sum(axis=0)
            without = (top.sum(axis=1)[:, None] - top) / (below.sum(axis=0) - below)
        deviation = without - without.mean(axis=1, keepdims=True)
        return value, np.sqrt((size - 1) / size * (deviation**2).sum(axis=1))

    return ratio(products, power), ratio(products.sum(axis=2), power.sum(axis=1))


def require_one_rate(machine: Machine) -> None:
    """Raise ValueError where parameters have learning rates of their own: k_B T = r C/2 has one r."""
    if machine.settings.theta.has_several_rates:
        raise ValueError(
            "the temperature r C/2 of the noise has one learning rate: remove theta.learning_rate_factors and "
            "theta.preconditioner"
        )


def learned_parameters(machine: Machine) -> tuple[np.ndarray, list[str]]:
    """Rows of theta that learn, and the parameter group of each."""
    learn, rows, groups, first = machine.settings.theta.learn, [], [], 0
    for group in machine.model.parameters:
        size = math.prod(group.shape(machine.constants))
        if learn is None or group.name in learn:
            rows += list(range(first, first + size))
            groups += [group.name] * size
        first += size
    return np.array(rows, int), groups


def minibatch(machine: Machine, step: int) -> np.ndarray:
    """The rows (R, B, n) that the move of theta at this step drew."""
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import MINIBATCH

    theta, data, addresses = machine.settings.theta, machine.data, machine.addresses
    first, last = int(addresses.min()), int(addresses.max())
    seed = int(machine.settings.ensemble.seed)
    uniform = uniform_array(seed, MINIBATCH, step, first, (int(theta.batch), last - first + 1))[:, addresses - first]
    place = np.floor((1.0 - uniform) * data.rows).astype(np.int64)  # the kernel's uniform is in [0, 1)
    return np.asarray(data.values[machine.data_set() * data.rows + place].transpose(1, 0, 2))


def full_gradient(machine: Machine, theta: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """U_B and its gradient at theta (frames R, m), each with the data set of its replica."""
    sets = np.tile(machine.data_set(), frames)
    loss, gradient = np.empty(len(theta)), np.empty_like(theta)
    for number in np.unique(sets):
        mine = sets == number
        loss[mine], gradient[mine] = machine.evaluator.data_gradient(machine.data.of_set(int(number)), theta[mine])
    return loss, gradient


def _is_plain(machine: Machine) -> bool:
    theta, move = machine.settings.theta, machine.theta_move
    return bool(move.descent and not move.density and not theta.momentum and theta.gradient == "likelihood")


def _replay_residual(machine: Machine, record: GradientNoise) -> float:
    """Largest |theta_{t+1} - theta_t + r (grad phi(b) + lambda theta)|."""
    theta = np.stack([machine.theta(frame)[:, record.learned] for frame in range(len(machine.steps))])
    decay = values_at(machine.settings.theta.weight_decay, int(machine.settings.run.steps), record.step + 1)
    before, after = theta[: len(record.step)], theta[1 : len(record.step) + 1]
    rate, noise, pull = record.rate[: len(after)], record.noise[: len(after)], record.pull[: len(after)]
    slope = pull - noise + decay[: len(after), None, None] * before[: len(after)]
    return float(np.abs(after - before[: len(after)] + rate[:, None, None] * slope).max())


def _parts(frames: int, size: int) -> Iterator[slice]:
    """Frames in portions of at most _CHUNK numbers, each frame having `size`."""
    count = max(1, _CHUNK // max(size, 1))
    return (slice(first, min(first + count, frames)) for first in range(0, frames, count))
