"""The noise of minibatches of a network, as it was measured at frames: its variance, its temperature, its correlations.

    mean_i C_ii(t) = Tr Sigma/m          m the number of parameters that learn       [Eq. 20]
    k_B T          = r Tr Sigma/(2 m (1 - beta))    r the learning rate of the next step, beta the momentum
    D_eff          = <(Tr Sigma)^2>/<Tr Sigma^2>    means over replicas, both without bias
    C(l)/C(0)      = <eta(t).eta(t + l)>/<eta(t).eta(t)>, along random directions, of frames l steps apart

What `noise_statistics` tells of models whose gradients are computed again, from measures in their place: a network's
rows are many. Tr Sigma is without bias, from minibatches that no step learned from; eta is of those that steps learned
from. Frames of a variable with steps of its own, [record.VARIABLE], are taken at these.

Momentum, v' = beta v - r g, moves theta by r g/(1 - beta) in the end, by one gradient and by all of them: it is a rate
r/(1 - beta) where that is small, and so is T. Of a curvature h the variance is
r C/(h (1 - beta) (2 - r h/(1 + beta))) exactly (heavy ball), which is T/h as r h -> 0; the same holds of Nesterov's.

Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802, Sec. 5.1 and Fig. 5.1; k_B T = r C/2 as derived in
`gradient_noise`; with momentum by hand. Every estimate X comes with X_error over independent replicas.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import special

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put
from thermosim.analysis.gradient_noise import FALSE_ALARMS, autocorrelation, learned_parameters
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.replicas import is_regular
from thermosim.analysis.skewed_means import put_skewed_mean
from thermosim.schedules import values_at

__all__ = ["network_noise", "own_frames"]

_LAGS = 20  # frames


@of_survivors
def network_noise(ds: xr.Dataset, max_lag: int | None = None) -> xr.Dataset:
    """Noise of minibatches from the measures gradient_noise_trace and noise_projections, as far as they are recorded.

    From the first, dims step and axes: mean_variance, variance_times_batch (one number for all batch sizes where C ~
    1/B) and noise_temperature; effective_dimension from gradient_noise_square and gradient_noise_trace_square; with
    mean_gradient_square at the same steps mean_gradient_variance, |E g|^2/m, to compare. From the second, dims lag and
    axes: mean_autocorrelation at lags up to `max_lag` steps (default 20 frames) and `white`, whether none of them is
    beyond the bound that white noise passes in one of 10,000 ensembles. Raises ValueError where neither is recorded,
    for one replica, and for correlations of frames that are not equally far apart.
    """
    points = machines(ds)
    squares = {"gradient_noise_square", "gradient_noise_trace_square"} <= set(ds)
    if not squares and not {"gradient_noise_trace", "noise_projections"} & set(ds):
        raise ValueError("record gradient_noise_trace, noise_projections, or both: neither is there")
    if ds.sizes["replica"] < 2:
        raise ValueError("one replica gives no error bars: noise needs two replicas")
    result = xr.Dataset(attrs={"method": "measured at frames"})
    if {"gradient_noise_square", "gradient_noise_trace_square"} <= set(ds):
        _put_dimension(result, ds)
    if "gradient_noise_trace" in ds:
        _put_variance(result, ds)
    if "noise_projections" in ds:
        records = [own_frames(machine.frames, "noise_projections") for machine in points]
        _put_correlations(result, ds, records, max_lag)
    return result


def own_frames(ds: xr.Dataset, name: str) -> xr.DataArray:
    """A recorded variable with its steps as dimension step, also where they are its own."""
    own = f"{name}_step"
    return ds[name].rename({own: "step"}) if own in ds[name].dims else ds[name]


def _has_temperature(machine: Machine) -> bool:
    """Whether steps are r g, with momentum or without: at one rate, without moments, or a constraint."""
    theta, move = machine.settings.theta, machine.theta_move
    plain = move.descent or "momentum" in move.hyper
    return plain and not theta.has_several_rates and theta.constraint is None


def _kept(machine: Machine) -> float:
    """1 - beta, of momentum."""
    has = "momentum" in machine.theta_move.hyper
    return 1.0 - float(machine.settings.theta.momentum or 0.0) if has else 1.0


def _put_variance(result: xr.Dataset, ds: xr.Dataset) -> None:
    points = machines(ds)
    trace = own_frames(ds, "gradient_noise_trace")
    count = len(learned_parameters(points[0])[0])
    variance = trace / count
    condition = "rows drawn with replacement: <eta> = 0 at any theta"
    put_skewed_mean(result, "mean_variance", variance, "energy^2", "mean over i of C_ii(t, 0)", condition)
    batch = gathered(ds, [np.array(float(machine.settings.theta.batch)) for machine in points], ())
    words, equal = "B times mean of C_ii(t, 0)", "constant in B at equal theta"
    put_skewed_mean(result, "variance_times_batch", variance * batch, "energy^2", words, equal)
    if all(_has_temperature(machine) for machine in points):
        steps = trace["step"].values
        of_theta = [(m, m.settings.theta.learning_rate, int(m.settings.run.steps)) for m in points]
        rates = [values_at(rate, last, steps + 1) / _kept(machine) for machine, rate, last in of_theta]
        rate = gathered(ds, rates, ("step",), {"step": steps})
        warm = "k_B T = r C/(2 (1 - beta)) of the next step, of minibatches alone"
        put_skewed_mean(result, "noise_temperature", rate * variance / 2.0, "energy", "temperature of the noise", warm)
    if "mean_gradient_square" in ds:
        mean = own_frames(ds, "mean_gradient_square") / count
        if np.array_equal(mean["step"], trace["step"]):
            words = "mean over i of (E g_i)^2"
            put_skewed_mean(result, "mean_gradient_variance", mean, "energy^2", words, "without bias")


def _put_dimension(result: xr.Dataset, ds: xr.Dataset) -> None:
    """The ratio of two means over replicas, and the error of its slope in them."""
    above, below = (own_frames(ds, name) for name in ("gradient_noise_trace_square", "gradient_noise_square"))
    if not np.array_equal(above["step"], below["step"]):
        return
    count = ds.sizes["replica"]
    ratio = above.mean("replica", skipna=False) / below.mean("replica", skipna=False)
    apart = (above - ratio * below) / below.mean("replica", skipna=False)
    error = apart.std("replica", ddof=1, skipna=False) / np.sqrt(count)
    words = "effective dimension of the noise: (Tr Sigma)^2 over Tr Sigma^2, means over replicas"
    put(
        result,
        "effective_dimension",
        ratio,
        error,
        "1",
        words,
        "both squares without bias",
        degrees_of_freedom=count - 1,
    )


def _put_correlations(result: xr.Dataset, ds: xr.Dataset, records: list[xr.DataArray], max_lag: int | None) -> None:
    steps = records[0]["step"].values
    if len(steps) < 2 or not is_regular(steps):
        raise ValueError("correlations in time need two frames, and frames that are equally far apart")
    every = int(steps[1] - steps[0])
    longest = _LAGS * every if max_lag is None else max_lag
    lags = np.arange(1, min(len(steps) - 1, longest // every) + 1)
    if not len(lags):
        raise ValueError(f"max_lag = {max_lag}: frames are {every} steps apart; ask for no less")
    values, white = [], []
    for record in records:
        mean = np.stack(autocorrelation(record.transpose("step", "replica", "projection").values, lags)[1])
        freedom = record.sizes["replica"] - 1
        bound = -special.stdtrit(freedom, FALSE_ALARMS / (2 * len(lags)))
        values.append(mean)
        white.append(np.array(not np.any(np.abs(mean[0]) > bound * mean[1])))
    value, error = gathered(ds, values, ("part", "lag"), {"lag": lags * every})
    condition = "0 at every lag: rows are drawn anew at every step"
    what = "C(l)/C(0) along random directions"
    put(result, "mean_autocorrelation", value, error, "1", what, condition, degrees_of_freedom=freedom)
    result["white"] = gathered(ds, white, ()).assign_attrs(
        long_name="no autocorrelation beyond chance",
        nominal_false_alarm_rate=FALSE_ALARMS,
        condition="at the recorded lags",
    )
    result["lag"].attrs = {"units": "1", "long_name": "lag in steps"}
