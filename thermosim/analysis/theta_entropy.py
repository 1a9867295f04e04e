"""Heat and entropy production of the parameters, their fluctuation theorem, and Clausius' relation path by path.

    q_theta = -sum ln p(theta'|theta, b)/p(theta|theta', b),   > 0 absorbed by theta, in units of its T        [Eq. 46]
    sigma_theta = -q_theta + s_t - s_0,   s_t = -ln p_t(theta_t),   <exp(-sigma_theta)> = 1                    [Eq. 46]
    detailed balance   q_theta = d U/T,  U = U_B + lambda |theta|^2/2                                      [Eqs. 23, 47]
    reservoir          d s = q_theta,  sigma_theta = 0 on every path                                           [Eq. 47]
    closed             q_x/T_x = -q_theta,  hence  d s = -q_x/T_x                                              [Eq. 48]

The text after Eq. 46 defines q_theta with the other sign; here it is that of Eq. 42, for which Eq. 47 holds.

Which theorem is exact. Given the minibatches b_1 ... b_n, the chain of theta is Markovian with known densities, and its
reverse uses the same minibatches in reverse order. So <exp(-sigma_theta)> = 1 for every sequence of minibatches, and
for their average, with any normalised density of the end in the place of p_t; the one over all replicas, minibatches
not given, is such a density. Since minibatches are drawn alike forth and back, the mean of sigma_theta is then the
relative entropy of (path, minibatches) and its reverse: it is at least that of the path alone, whose transition density
is the mean over minibatches and is not booked. Theta that learns by contrast follows x: its own theorem fails, and that
of both together holds, sigma = sigma_theta + sum over samples of sigma_x, for feedback acts at frozen x.

Sources: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802; U. Seifert, Phys. Rev. Lett. 95, 040602 (2005), for any
density of the end; T. Sagawa, M. Ueda, Phys. Rev. Lett. 104, 090602 (2010), for feedback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from thermosim.analysis import entropy, learning, work
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, interval, put, put_mean, require
from thermosim.analysis.exponential_averages import put_reliability
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.spreads import put_spread
from thermosim.analysis.still_directions import why_no_entropy
from thermosim.case.start import OtherRun
from thermosim.data.sources import theta_of
from thermosim.schedules import is_by_group, is_schedule

__all__ = [
    "entropy_productions",
    "normal_log_density",
    "pathwise_clausius",
    "potential",
    "temperature_of_theta",
    "theta_fluctuation_theorem",
]

End = str | Callable[[np.ndarray, int], np.ndarray]

THEOREMS = {
    "theta": "moves of theta that book their density, a normal start; theta does not follow x",
    "joint": "also where theta follows x; x starts from a known density at temperature 1, without restart",
}
RELATIONS = {
    "detailed-balance": ("q_theta - dU/T", "Eq. 23: metropolis at any step, langevin for small steps, no minibatches"),
    "reservoir": ("ds - q_theta", "Eq. 47: an equilibrated, reversible reservoir; this is sigma_theta"),
    "closed": ("q_x/T_x + q_theta", "a closed system of x and theta: a postulate"),
    "clausius": ("ds + q_x/T_x", "Eq. 48: the reservoir of a closed system"),
}


@of_survivors
def theta_fluctuation_theorem(ds: xr.Dataset, end: End = "normal") -> xr.Dataset:
    """<exp(-sigma)> of theta, and of x and theta together, since step 0: dims theorem, step and the sweep axes.

    average, with effective_sample_size and `reliable`; entropy_production <sigma> and its spread over replicas;
    heat q_theta and its spread, without a theorem. end: the density of the end, "normal" (fitted to the other half of
    the replicas, so that it is not made of what it is applied to; sigma is then the entropy production where theta is
    normal), "start", or ln p(theta (R, m), step) -> (R,) of the learned parameters. `exact` as in `learning`; "joint"
    is there where the books of x are. Raises ValueError without log_ratio_theta and step 0, where a learned parameter
    starts without spread, or where replicas are too few for the density.
    """
    require(ds, "theta", "log_ratio_theta")
    if int(ds["step"][0]) != 0:
        raise ValueError("the theorem needs theta at step 0, where its density is known: record.first = 0")
    points = machines(ds)
    exponents = [entropy_productions(machine, end) for machine in points]
    names = [name for name in THEOREMS if all(name in exponent for exponent, _ in exponents)]
    columns: dict[str, list[np.ndarray]] = {}
    for machine, (exponent, exact) in zip(points, exponents):
        tests = [_average(machine.frames, exponent[name]) for name in names]
        for name in ("average", "average_error", "effective_sample_size", "reliable"):
            columns.setdefault(name, []).append(np.stack([test[name].values for test in tests]))
        bounds = [interval(test, "average").transpose("bound", "step").values for test in tests]
        columns.setdefault("bounds", []).append(np.stack(bounds, axis=1))
        values = [exponent[name] for name in names]
        merged = [v.mean("sample", skipna=False) if "sample" in v.dims else v for v in values]
        columns.setdefault("sigma", []).append(np.stack([v.transpose("step", "replica").values for v in merged]))
        columns.setdefault("exact", []).append(np.array([exact[name] for name in names]))
    result, dims = xr.Dataset(), ("theorem", "step")
    condition = "where the coordinate `exact` is true, at any learning rate"
    average, error = (gathered(ds, columns[name], dims) for name in ("average", "average_error"))
    low, high = gathered(ds, columns["bounds"], ("part", *dims))
    put(result, "average", average, error, "1", "<exp(-sigma)>, 1 in theory", condition, bounds=(low, high))
    sigma = gathered(ds, columns["sigma"], (*dims, "replica"))
    meaning = "sigma since step 0, not negative in theory"
    put_mean(result, "entropy_production", sigma, "nat", f"mean of {meaning}", condition)
    put_spread(result, "entropy_production", sigma, "nat", "sigma since step 0", condition)
    books = "any move with a density: the books are exact"
    put_mean(result, "heat", -ds["log_ratio_theta"], "nat", "mean of q_theta since step 0, over T", books)
    put_spread(result, "heat", -ds["log_ratio_theta"], "nat", "q_theta since step 0, over T", books)
    size, reliable = (gathered(ds, columns[name], dims) for name in ("effective_sample_size", "reliable"))
    put_reliability(result, size, reliable)
    return result.assign_coords(
        theorem=names,
        condition=("theorem", [THEOREMS[name] for name in names]),
        exact=gathered(ds, columns["exact"], ("theorem",)),
    )


@of_survivors
def pathwise_clausius(ds: xr.Dataset) -> xr.Dataset:
    """Eqs. 23, 47 and 48 on every path: what is missing, and how much it varies; dims relation, step and the axes.

    residual: its mean over replicas; residual_spread: its standard deviation over them, 0 where the relation holds
    path by path. All since the first frame at which theta varies in all directions. s is of the normal with theta's
    covariance. Relations with q_theta need log_ratio_theta, those with q_x the heat, which
    is averaged over samples, and one temperature T_x of x; with dU/T one constant temperature of theta, and a
    potential. Raises ValueError where none is left, or theta has no spread.
    """
    require(ds, "theta")
    columns = [_residuals(machine) for machine in machines(ds)]
    names = [name for name in RELATIONS if all(name in column for column, _ in columns)]
    if not names:
        raise ValueError(
            "nothing to compare: record log_ratio_theta, which only moves with a density have, or the heat of x"
        )
    begin = max(first for _, first in columns)
    late = ds.isel(step=slice(begin, None))
    stacks = [np.stack([column[name] for name in names]) for column, _ in columns]
    values = gathered(late, [s[:, begin:] - s[:, begin : begin + 1] for s in stacks], ("relation", "step", "replica"))
    values = values.transpose("relation", "step", ...)
    values = values.assign_coords(relation=names, meaning=("relation", [RELATIONS[name][0] for name in names]))
    values = values.assign_coords(condition=("relation", [RELATIONS[name][1] for name in names]))
    condition = "see the coordinate `condition`"
    result = xr.Dataset(attrs={"first": int(late["step"][0]), "method": "normal with theta's covariance"})
    put_mean(result, "residual", values, "nat", "mean of what the relation misses", condition)
    put_spread(result, "residual", values, "nat", "what the relation misses on a path", condition)
    return result


def potential(machine: Machine, frame: int) -> np.ndarray:
    """U = U_B + lambda |theta|^2/2 of every replica's theta and data set, (R,); lambda acts on what is learned.

    Raises ValueError where there is no such potential.
    """
    if machine.model.no_potential:
        raise ValueError(machine.model.no_potential)
    theta, sets = machine.theta(frame), machine.data_set()
    loss = np.empty(len(theta))
    for number in np.unique(sets):
        mine = sets == number
        loss[mine] = machine.evaluator.data_gradient(machine.data.of_set(int(number)), theta[mine])[0]
    learned = learned_parameters(machine)[0]
    return loss + 0.5 * float(machine.settings.theta.weight_decay) * (theta[:, learned] ** 2).sum(axis=1)


def entropy_productions(machine: Machine, end: End) -> tuple[dict[str, xr.DataArray], dict[str, bool]]:
    """sigma of every theorem that there is, dims step, replica[, sample], and whether each is exact."""
    frames, x = machine.frames, machine.settings.x
    follows = machine.settings.theta.gradient == "contrast"
    first, ends = _log_densities(machine, end)
    own = frames["log_ratio_theta"].transpose("step", "replica") + xr.DataArray(first - ends, dims=("step", "replica"))
    sigma, exact = {"theta": own}, {"theta": not follows}
    if x is None or x.temperature != 1.0 or not {"phi", "log_ratio_x", "work", "heat"} <= set(frames):
        return sigma, exact
    try:
        gain = learning.normaliser_gain(machine)[0]
    except ValueError:
        return sigma, exact
    of_x = learning.path_exponents(machine, gain)["path-ratio"]
    if follows and "sample" in of_x.dims:
        of_x = of_x.sum("sample", skipna=False)
    known = x.starts_in_equilibrium or (x.start.has_density and "x" in frames)
    sigma["joint"], exact["joint"] = own + of_x, bool(known and not x.restart)
    return sigma, exact


def normal_log_density(fitted: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """ln at theta (R, m) of the normal with mean and covariance of other replicas (K, m): (R,).

    Raises ValueError unless K > m + 1.
    """
    replicas, m = fitted.shape
    if replicas < m + 2:
        raise ValueError(f"{replicas} replicas are too few for a normal of {m} parameters: use end = 'start'")
    gap = theta - fitted.mean(axis=0)
    covariance = np.cov(fitted.T).reshape(m, m)
    distance = np.einsum("ri,ir->r", gap, np.linalg.solve(covariance, gap.T))
    return np.asarray(-0.5 * (distance + m * np.log(2.0 * np.pi) + np.linalg.slogdet(covariance)[1]))


def temperature_of_theta(machine: Machine) -> float | None:
    """The temperature of theta, or None where it or the potential is not one, or learning is by contrast."""
    theta = machine.settings.theta
    several = is_by_group(theta.temperature) or is_schedule(theta.temperature) or is_schedule(theta.weight_decay)
    if several or theta.gradient != "likelihood" or theta.temperature is None:
        return None
    return float(theta.temperature)


def _log_densities(machine: Machine, end: End) -> tuple[np.ndarray, np.ndarray]:
    """ln p_0(theta_0), (R,), and ln of the density of the end at every frame, (F, R), of the learned parameters."""
    learned = learned_parameters(machine)[0]
    center, deviation = _start(machine, learned)
    thetas = np.stack([machine.theta(frame) for frame in range(len(machine.steps))])
    some = thetas[..., learned]

    def start(theta: np.ndarray) -> np.ndarray:
        return np.asarray(-0.5 * (((theta - center) / deviation) ** 2 + np.log(2.0 * np.pi * deviation**2)).sum(-1))

    if callable(end):
        ends = np.stack([np.asarray(end(theta, int(step)), float) for theta, step in zip(thetas, machine.steps)])
    elif end == "start":
        ends = start(some)
    elif end == "normal":
        ends = np.stack([_crossed(frame) for frame in some])
    else:
        raise ValueError(f"end = {end!r}: expected 'normal', 'start' or a function of theta and step")
    return start(some[0]), ends


def _start(machine: Machine, learned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the start of every learned parameter, (m,) each."""
    theta, constants = machine.settings.theta, machine.constants
    if machine.model.initial_theta:
        raise ValueError(f"model {machine.model.name!r} starts theta by a name, whose density is not known")
    if OtherRun.of(theta.initial):
        raise ValueError("theta starts from another run, whose density is not known")
    parts = []
    for group in machine.model.parameters:
        given = theta.spread
        value = given if isinstance(given, (int, float)) else (given or {}).get(group.name, group.spread)
        parts.append(np.broadcast_to(np.asarray(value, float), group.shape(constants)).ravel())
    deviation = np.concatenate(parts)[learned]
    if not np.all(deviation > 0.0):
        raise ValueError(
            "theta starts from one point in some direction, to which no reverse path returns: give every learned group "
            "a theta.spread"
        )
    return theta_of(machine.model, constants, theta.initial or {})[learned], deviation


def _crossed(theta: np.ndarray) -> np.ndarray:
    """ln of the normal fitted to the other half of the replicas (even, odd), at theta (R, m): (R,)."""
    result = np.empty(len(theta))
    for half in range(2):
        result[half::2] = normal_log_density(theta[1 - half :: 2], theta[half::2])
    return result


def _average(frames: xr.Dataset, exponent: xr.DataArray) -> xr.Dataset:
    """<exp(-sigma)> by the estimator of `work`, which takes sigma in the place of the log ratio."""
    nothing = xr.zeros_like(exponent)
    return work.integral_fluctuation_theorem(frames.assign(log_ratio_x=exponent), nothing, nothing)


def _residuals(machine: Machine) -> tuple[Mapping[str, np.ndarray], int]:
    """What every relation misses, (F, R) up to a constant of each replica, and the first frame with an entropy."""
    learned = learned_parameters(machine)[0]
    thetas = [machine.theta(frame)[:, learned] for frame in range(len(machine.steps))]
    content = np.stack([entropy.normal_entropy(theta) for theta in thetas])
    regular = np.isfinite(content).all(axis=1)
    begin = int(np.argmax(regular))
    if not regular[begin:].all():
        raise ValueError(why_no_entropy(machine, (begin + np.flatnonzero(~regular[begin:])).tolist()))
    found = {}
    frames = machine.frames
    heat = None
    if "log_ratio_theta" in frames:
        heat = -frames["log_ratio_theta"].transpose("step", "replica").values
        found["reservoir"] = content - heat
        temperature = temperature_of_theta(machine)
        if temperature is not None and not machine.model.no_potential:
            energy = np.stack([potential(machine, frame) for frame in range(len(machine.steps))])
            found["detailed-balance"] = heat - energy / temperature
    if "heat" in frames and machine.temperature:
        absorbed = frames["heat"].transpose("step", "replica", ...).values
        absorbed = absorbed.reshape(*absorbed.shape[:2], -1).mean(axis=2) / machine.temperature
        found["clausius"] = content + absorbed
        if heat is not None:
            found["closed"] = absorbed + heat
    return found, begin
