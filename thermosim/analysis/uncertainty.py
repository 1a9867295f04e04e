"""Precision of currents against entropy production: Dataset in, Dataset out.

    precision    <J>^2/Var(J) <= Sigma/2                continuous time; a theorem of no chain of finite steps
                              <= sinh^2(g(Sigma/2))     every stationary chain, g the inverse of x tanh x
    joint        <J>' C^{-1} <J> of several currents with covariance C: below the same bounds

J is odd: of a path read backwards it is -J. Sigma is the mean log path ratio between the frames, which in a stationary
state is all entropy produced. `thermosim.exact.uncertainty_bounds` has the sources, what is proved of which, and why
quadratic currents of linear systems keep the continuous bound at any time step, while `forward_steps` of them need not.

The theorem behind the discrete bound is that of P(sigma, J), with sigma the log ratio of each path and
ln p_st(x_first)/p_st(x_step): <J tanh(sigma/2)> = <J>, and no odd current has more than the attainable precision
t/(1 - t), t = <tanh^2(sigma/2)>. Both need the stationary density, `log_density`.

Errors are over replicas, by the jackknife (B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM
1982, ch. 2-3): of its R pseudo-values the mean is the estimate, less its bias of order 1/R, and their skewness makes
the interval (`skewed_means`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.current_rules import drifting, odd_current, odd_currents, steady_subject
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, replica_mean, require
from thermosim.analysis.settings import axes, each_point
from thermosim.analysis.skewed_means import FEWEST_FOR_VARIANCE, mean_interval
from thermosim.exact.uncertainty_bounds import continuous_bound, discrete_bound

__all__ = ["circulation", "forward_steps", "precision_values", "uncertainty"]

_TOLD = 4.0  # standard errors beyond which a bound counts as exceeded
_SINGULAR = 1e-9  # of the largest eigenvalue of the correlations: currents that say the same
_STEADY = "stationary state of the chain, J odd under reversal of the path"
_MEANINGS = {
    "precision": ("precision <J>^2/Var(J)", _STEADY),
    "continuous_efficiency": ("precision over Sigma/2", "at most 1 in continuous time; no theorem at a finite step"),
    "discrete_efficiency": ("precision over sinh^2(g(Sigma/2))", f"at most 1: {_STEADY}, any time step"),
    "variance": ("variance of the current", _STEADY),
    "theorem": ("<J tanh(sigma/2)>/<J>, 1 in theory", f"{_STEADY}; log_density that of the state"),
    "entropy_production": ("entropy production", "stationary state: the mean log path ratio"),
    "continuous_bound": ("Sigma/2", "bound in continuous time"),
    "discrete_bound": ("sinh^2(g(Sigma/2)), g the inverse of x tanh x", f"bound: {_STEADY}, any time step"),
    "attainable_precision": ("largest precision of any odd current", "stationary state; log_density that of the state"),
}
_SQUARES = {"1": "1", "nat": "nat^2", "energy": "energy^2"}
_OWN = ("entropy_production", "continuous_bound", "discrete_bound", "attainable_precision")  # of no single current


@of_survivors
def uncertainty(
    ds: xr.Dataset,
    currents: Mapping[str, xr.DataArray] | Sequence[str] | None = None,
    first: int | None = None,
    log_density: xr.DataArray | None = None,
) -> xr.Dataset:
    """Precision of currents since step `first` (default the first frame), and what entropy production allows of it.

    currents: running sums as the books, DataArrays (step, axes, replica[, sample]) by name, or names of books; by
    default the books that are odd: work, heat and log ratio of x where theta rests, the heat from each of two baths,
    log_ratio_theta where theta learns. log_density (step, axes, replica[, sample]): ln p_st of the state at the frames.

    Dims step, axes, current: mean, variance, precision, continuous_efficiency and discrete_efficiency (precision over
    bound), with errors and intervals; `joint_` of all currents together; entropy_production and both bounds; with
    log_density theorem and attainable_precision. continuous_exceeded, discrete_exceeded: by four standard errors, with
    replicas enough (`reliable`) and no drift. `drifts`: the currents of both halves of the frames differ, so the state
    is not stationary and no bound applies. Start with a warm-up, or give a later `first`.

    Raises ValueError where currents are not odd or no steady state can be: a protocol or a schedule, learning by
    contrast, restarts, an even or a missing variable.
    """
    subject = steady_subject(ds)
    require(ds, subject.log_ratio)
    begin = int(ds["step"][0] if first is None else first)
    if begin not in ds["step"].values or begin == int(ds["step"][-1]):
        raise ValueError(f"first = {begin}: expected a recorded step before the last, {int(ds['step'][-1])}")
    ds = ds.sel(step=slice(begin, None))
    chosen = odd_currents(ds, subject, currents)
    books = {name: _since_first(ds, values) for name, values in chosen.items()}
    entropy = _since_first(ds, ds[subject.log_ratio])
    boundary = (
        xr.zeros_like(entropy)
        if log_density is None
        else -_since_first(ds, odd_current(ds, "log_density", log_density))
    )
    later = ds.isel(step=slice(1, None))
    columns: dict[str, list[np.ndarray]] = {}
    for index, _ in each_point(ds):
        parts = [values.isel(index) for values in (*books.values(), entropy, boundary)]
        for name, values in _of_point([_samples(part) for part in parts], log_density is not None).items():
            columns.setdefault(name, []).append(values)
    result = _put(later, columns, books, begin)
    return _flagged(result, drifting(ds, {**books, "entropy": entropy}))


def forward_steps(ds: xr.Dataset, current: xr.DataArray | str) -> xr.DataArray:
    """A current that counts: frames in which another one rose, less those in which it fell; a running sum as the books.

    Odd where the other one is. At large steps far more precise than the current itself, beyond Sigma/2.
    """
    values = ds[current] if isinstance(current, str) else current
    count = xr.DataArray(np.sign(values.diff("step"))).cumsum("step")
    start = xr.zeros_like(count.isel(step=[0])).assign_coords(step=ds["step"].values[:1])
    named = {"units": "1", "long_name": f"frames in which {values.name or 'it'} rose, less those in which it fell"}
    return xr.concat([start, count], "step").assign_attrs(named)


def circulation(ds: xr.Dataset, variable: str = "x", pair: tuple[int, int] = (0, 1)) -> xr.DataArray:
    """The area that two components of x or theta sweep from frame to frame: sum (y_i y'_j - y_j y'_i)/2, a current.

    About the origin, at the frames there are; its mean is that of the path at every step only if every step is a frame.
    """
    require(ds, variable)
    one, other = (ds[variable].isel({f"{variable}_dim": k}, drop=True) for k in pair)
    early, late = slice(0, -1), slice(1, None)
    ahead = [values.isel(step=late).drop_vars("step") for values in (one, other)]
    behind = [values.isel(step=early).drop_vars("step") for values in (one, other)]
    swept = 0.5 * (behind[0] * ahead[1] - behind[1] * ahead[0]).assign_coords(step=ds["step"].values[1:]).cumsum("step")
    start = xr.zeros_like(swept.isel(step=[0])).assign_coords(step=ds["step"].values[:1])
    named = {"units": "1", "long_name": f"area swept by {variable} {pair[0]} and {pair[1]}"}
    return xr.concat([start, swept], "step").assign_attrs(named)


def precision_values(flow: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pseudo-values, (R), whose means are the precision of a current and its ratio to Sigma/2; flow, sigma (R, S)."""
    estimates = _of_frame(flow[None], sigma, np.zeros_like(sigma), False)
    return _pseudo_values(estimates["precision"][0]), _pseudo_values(estimates["continuous_efficiency"][0])


def _since_first(ds: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """step, axes, replica[, sample]."""
    return (values - values.isel(step=0, drop=True)).transpose("step", *axes(ds), "replica", ...)


def _samples(values: xr.DataArray) -> np.ndarray:
    """(F, R, S), S = 1 where there is one."""
    values = values if "sample" in values.dims else values.expand_dims(sample=1)
    return np.asarray(values.transpose("step", "replica", "sample").values, float)


def _of_point(parts: list[np.ndarray], theorem: bool) -> dict[str, np.ndarray]:
    """Every estimate at the frames but the first: value, error, low and high end, (F - 1, 4, K) or (F - 1, 4).

    parts (F, R, S): the currents, the log ratio, and minus the change of ln p_st.
    """
    *flows, sigma, ends = parts
    found: dict[str, list[np.ndarray]] = {}
    for k in range(1, len(sigma)):
        estimates = _of_frame(np.stack([flow[k] for flow in flows]), sigma[k], ends[k], theorem)
        told = _told(np.concatenate([np.atleast_2d(values) for values in estimates.values()]))
        for name, values in estimates.items():
            rows, told = np.split(told, [1 if values.ndim == 1 else len(values)], axis=1)
            found.setdefault(name, []).append(rows[:, 0] if values.ndim == 1 else rows)
    return {name: np.stack(values) for name, values in found.items()}


def _of_frame(flows: np.ndarray, sigma: np.ndarray, ends: np.ndarray, theorem: bool) -> dict[str, np.ndarray]:
    """Every estimate at one frame, of all and without each replica: (K, 1 + R) of K currents or (1 + R)."""
    mean, square = flows.mean(axis=-1), (flows**2).mean(axis=-1)
    a, entropy = _left_out(mean), _left_out((sigma + ends).mean(axis=-1))
    variance = (_left_out(square) - a**2) * _unbiased(flows)
    estimates = {"mean": a, "variance": variance, "entropy_production": entropy}
    estimates |= {"continuous_bound": continuous_bound(entropy), "discrete_bound": discrete_bound(entropy)}
    estimates |= _with_bounds("", a**2 / variance, estimates)
    if len(flows) > 1:
        estimates |= _with_bounds("joint_", _joint(flows), estimates)
    if theorem:
        weight = np.tanh(0.5 * (sigma + ends))
        t = _left_out((weight**2).mean(axis=-1))
        estimates["theorem"] = _left_out((flows * weight).mean(axis=-1)) / a
        estimates["attainable_precision"] = t / (1.0 - t)
    return estimates


def _with_bounds(prefix: str, precision: np.ndarray, of: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {f"{prefix}precision": precision}
    return found | {
        f"{prefix}{name}_efficiency": precision / of[f"{name}_bound"] for name in ("continuous", "discrete")
    }


def _left_out(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis, of all and then without each: (..., R) to (..., 1 + R)."""
    whole, size = values.mean(axis=-1, keepdims=True), values.shape[-1]
    return np.concatenate([whole, whole + (whole - values) / (size - 1)], axis=-1)


def _unbiased(flows: np.ndarray) -> np.ndarray:
    """N/(N - 1) of the samples of all replicas, and of all but one: (1 + R)."""
    replicas, samples = flows.shape[-2:]
    numbers = samples * np.concatenate([[replicas], np.full(replicas, replicas - 1)])
    return np.asarray(numbers / (numbers - 1.0))


def _joint(flows: np.ndarray) -> np.ndarray:
    """<J>' C^{-1} <J> of all, and without each replica, (1 + R): in the directions in which the currents differ."""
    spread = flows.std(axis=(1, 2))
    if not np.all(spread > 0.0):
        return np.full(1 + flows.shape[1], np.nan)
    values, vectors = np.linalg.eigh(np.corrcoef(flows.reshape(len(flows), -1)))
    kept = values > _SINGULAR * values[-1]
    white = np.einsum("ke,krs->ers", vectors[:, kept] / np.sqrt(values[kept]) / spread[:, None], flows)
    a = _left_out(white.mean(axis=-1))
    squares = _left_out(np.einsum("ers,frs->efr", white, white) / flows.shape[-1])
    covariance = (squares - a[:, None] * a[None]) * _unbiased(flows)
    solved = np.linalg.solve(np.moveaxis(covariance, -1, 0), a.T[..., None])[..., 0]
    return np.asarray(np.sum(solved * a.T, axis=-1))


def _told(estimates: np.ndarray) -> np.ndarray:
    """Value, standard error, low and high end, (4, K), of estimates of all and without each replica, (K, 1 + R)."""
    pseudo = xr.DataArray(_pseudo_values(estimates), dims=("k", "replica"))
    return np.stack([np.asarray(row) for row in (*replica_mean(pseudo), *mean_interval(pseudo))])


def _pseudo_values(estimates: np.ndarray) -> np.ndarray:
    """R pseudo-values, (..., R), of an estimate of all and without each replica."""
    size = estimates.shape[-1] - 1
    return size * estimates[..., :1] - (size - 1) * estimates[..., 1:]


def _put(
    ds: xr.Dataset, columns: dict[str, list[np.ndarray]], books: Mapping[str, xr.DataArray], begin: int
) -> xr.Dataset:
    """All estimates; columns: of every point (F, 4[, K])."""
    units = [str(values.attrs.get("units", "1")) for values in books.values()]
    common = units[0] if len(set(units)) == 1 else "mixed"
    result = xr.Dataset(attrs={"first": begin})
    for name, points in columns.items():
        plain = name.removeprefix("joint_")
        what, condition = _MEANINGS.get(plain, ("mean current", _STEADY))
        dims = ("step",) if name in _OWN or name != plain else ("step", "current")
        coords = {"current": list(books)} if "current" in dims else {}
        value, error, low, high = (gathered(ds, [p[:, k] for p in points], dims, coords) for k in range(4))
        kind = {"mean": common, "variance": _SQUARES.get(common, "mixed")}
        unit = kind.get(name, "nat" if name == "entropy_production" else "1")
        what = f"{'all currents together: ' if name != plain else ''}{what}, since step {begin}"
        put(result, name, value, error, unit, what, condition, bounds=(low, high))
    enough = ds.sizes["replica"] >= FEWEST_FOR_VARIANCE
    result["reliable"] = xr.full_like(result["precision"], enough, dtype=bool).assign_attrs(
        long_name=f"at least {FEWEST_FOR_VARIANCE} replicas", condition="a flag, not a proof"
    )
    return result.assign_coords(unit=("current", units))


def _flagged(result: xr.Dataset, drifts: xr.DataArray) -> xr.Dataset:
    """The flags: what drifts, and which bounds are exceeded."""
    result["drifts"] = drifts
    for prefix in ("", "joint_"):
        for bound in ("continuous", "discrete"):
            if (name := f"{prefix}{bound}_efficiency") not in result:
                continue
            beyond = result[name] - 1.0 > _TOLD * result[f"{name}_error"]
            enough = result["reliable"].isel(current=0, drop=True) if prefix else result["reliable"]
            result[f"{prefix}{bound}_exceeded"] = (beyond & enough & ~drifts).assign_attrs(
                long_name=f"precision beyond the {bound} bound by {_TOLD:g} standard errors",
                condition="false where replicas are too few or currents drift",
            )
    return result
