"""Thermodynamics of learning machines along their trajectories: ledger, fluctuation theorems, reversal, relaxation.

A step jumps theta at fixed x, which is work, then moves x at fixed theta, which is heat:

    w = sum phi_i(x_{i-1}) - phi_{i-1}(x_{i-1}),   q = sum phi_i(x_i) - phi_i(x_{i-1})            [Eq. 42]
    w + q = phi_n(x_n) - phi_0(x_0)                                                                first law
    sigma = -q + s_n - s_0,   s_t = phi_t(x_t) + ln Z(theta_t)                                     [Eq. 41]

For phi = -ln p the normaliser is 1, there is no free energy to gain, and sigma = w: all work is dissipated. Energies
without a normaliser bring F = -ln Z and sigma = w - dF. `partial_averages` has the same averaged over samples.

Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802. Every estimate X comes with X_error, over independent
replicas; `condition` says when it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

from thermosim.analysis import work
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import LEVEL, gathered, put, put_mean, replica_mean, require
from thermosim.analysis.exponential_averages import exponential_average, put_reliability, why_work_theorem_fails
from thermosim.analysis.machine import Machine, machines, require_own_law
from thermosim.analysis.replicas import since
from thermosim.analysis.spreads import put_spread

__all__ = [
    "ENTROPIES",
    "INFORMATION",
    "JUMPS",
    "LAG",
    "MEAN_ENERGY",
    "TARGET",
    "detailed",
    "exact_samples",
    "fluctuation_theorems",
    "learning_ledger",
    "log_normaliser",
    "mean_energy",
    "normaliser_gain",
    "path_exponents",
    "relaxation",
    "retrace",
]

THEOREMS: dict[str, str] = {
    "work": "<exp(-w + dF)>: x starts in p_theta0, its moves leave each p_theta invariant, theta does not follow x",
    "local-detailed-balance": "<exp(q - ds)>, Eq. 41: as for the work, to which it is equal path by path; with the "
    "path weights of Eq. 40 for fresh samples only",
    "path-ratio": "<exp(-ratio - ds)>: any move and time step, from a start of known density; theta does not follow x",
}
MEAN_ENERGY = 0  # roles of exact samples: `mean_energy`
INFORMATION = 1  # mixtures of `information` and `memory`
LAG = 2  # equilibrium averages of `information`
ENTROPIES = 3  # `partial_averages`
TARGET = 4  # `free_energy`
JUMPS = 5  # `fresh_work`
_ROLES = 8
_RELAXED = 0.1  # standard deviations of phi
_CHUNK = 1 << 22  # numbers held at a time


@of_survivors
def learning_ledger(ds: xr.Dataset) -> xr.Dataset:
    """Means since step 0 of work, heat, log ratio and shadow; since the first frame, of phi and sigma = log ratio + ds.

    dims step and the sweep axes; with the largest first-law residual over replicas. X_spread is the standard deviation
    over replicas, samples averaged first: small beside the mean where one computer tells of all (Eq. 24), as far as
    replicas have samples enough. sigma is left out where ln Z is not to be had, and at other temperatures than 1, to
    which the surprisal belongs. Raises ValueError without a ledger.
    """
    require(ds, "phi", "work", "heat", "log_ratio_x")
    result = work.work_and_heat(ds)
    books = "any move, at any time step"
    energy = ds["phi"] - ds["phi"].isel(step=0)
    put_mean(result, "energy_change", energy, "energy", f"mean change of phi {since(ds)}", books)
    put_spread(result, "energy_change", energy, "energy", f"change of phi {since(ds)}", books)
    for name, of, units in (
        ("work", "work", "energy"),
        ("heat", "heat", "energy"),
        ("log_ratio", "log_ratio_x", "nat"),
    ):
        put_spread(result, name, ds[of], units, f"{name.replace('_', ' ')} since step 0", books)
    if any(machine.temperature != 1.0 for machine in machines(ds)):
        return result
    try:
        gain, uncertainty = _gains(ds, [normaliser_gain(machine) for machine in machines(ds)])
    except ValueError:
        return result
    sigma = ds["log_ratio_x"] - ds["log_ratio_x"].isel(step=0) + energy + gain
    mean, error = replica_mean(sigma)
    meaning = f"mean stochastic entropy production of x given theta, {books}: that of the finite-step chain"
    error = xr.DataArray(np.hypot(error, uncertainty))
    freedom, what = ds.sizes["replica"] - 1, f"log ratio + ds {since(ds)}"
    put(result, "entropy_production", mean, error, "nat", f"mean of {what}", meaning, degrees_of_freedom=freedom)
    put_spread(result, "entropy_production", sigma, "nat", what, meaning)
    return result


@of_survivors
def fluctuation_theorems(ds: xr.Dataset) -> xr.Dataset:
    """Three exponential averages, 1 where they are `exact`: dims theorem, step and the sweep axes.

    average: <exp(-a)>, with effective sample size and `reliable`, which says that replicas are enough for its interval;
    entropy_production: <a>, not negative where exact. The coordinate `exact` says for each theorem and point of the
    sweep whether it holds at the run's time step and tau; what is not exact is reported all the same, as the bias it
    is. Learning by contrast feeds x back into theta: then none holds, as for any engine with feedback (T. Sagawa,
    M. Ueda, Phys. Rev. Lett. 104, 090602 (2010)).

    Raises ValueError for samples at another temperature than 1, without step 0, or where ln Z is not to be had.
    """
    require(ds, "phi", "work", "heat", "log_ratio_x")
    if int(ds["step"][0]) != 0:
        raise ValueError("the theorems need the surprisal at step 0: record.first = 0")
    parts, exact, gains = [], [], []
    for machine in machines(ds):
        require_own_law([machine])
        gains.append(normaliser_gain(machine))
        tests = [_average(exponent) for exponent in path_exponents(machine, gains[-1][0]).values()]
        parts.append(np.stack(tests, axis=1))
        exact.append(np.array(_exact(machine)))

    average, error, low, high, size, reliable, mean, mean_error = gathered(ds, parts, ("part", "theorem", "step"))
    uncertainty = _gains(ds, gains)[1]
    condition = "where the coordinate `exact` is true, at any tau"
    result = xr.Dataset()
    of_gain = average * uncertainty
    width = float(stats.norm.isf(0.5 * (1.0 - LEVEL))) * of_gain
    bounds = average - np.hypot(average - low, width), average + np.hypot(high - average, width)
    what = "<exp(-a)>, 1 in theory"
    put(result, "average", average, xr.DataArray(np.hypot(error, of_gain)), "1", what, condition, bounds=bounds)
    mean_error = xr.DataArray(np.hypot(mean_error, uncertainty))
    freedom, what = ds.sizes["replica"] - 1, "<a>, not negative in theory"
    put(result, "entropy_production", mean, mean_error, "nat", what, condition, degrees_of_freedom=freedom)
    put_reliability(result, size, reliable > 0.0)
    return result.assign_coords(
        theorem=list(THEOREMS), condition=("theorem", list(THEOREMS.values())), exact=gathered(ds, exact, ("theorem",))
    )


@of_survivors
def detailed(forward: xr.Dataset, backward: xr.Dataset) -> xr.Dataset:
    """ln P_F(w)/P_R(-w) = w - dF of a path of theta and its reverse (`work.crooks`), and dF as it is known.

    expected: F(theta_N) - F(theta_0), 0 where phi = -ln p. The path of a learning machine is run both ways, at the same
    theta for all replicas, with theta.recording; a reversed run sweeps in the reverse order of components. Attribute
    `exact`: moves are in detailed balance and both starts in equilibrium. Raises ValueError for other ensembles, and
    for another temperature than 1, at which ln Z is not that of exp(-phi).
    """
    for ds in (forward, backward):
        if any(machine.theta_move.learns for machine in machines(ds)):
            raise ValueError(
                "the reverse of a path of theta is defined for a given path: run one replica's again with "
                'theta.dynamics = "protocol" and theta.recording, in both directions'
            )
    if int(forward["step"][0]) != 0:
        raise ValueError("F(theta_N) - F(theta_0) needs theta at step 0 of the forward run: record.first = 0")
    require_own_law([*machines(forward), *machines(backward)])
    result = work.crooks(forward, backward)
    there, back = machines(forward), machines(backward)
    for a, b in zip(there, back):
        _check_reverse(a, b)
    gains = [normaliser_gain(machine) for machine in there]
    expected = gathered(forward, [0.0 - gain[0].mean("replica").values[-1] for gain in gains], ())
    uncertainty = gathered(forward, [gain[1][-1] for gain in gains], ())
    known = "0 for phi = -ln p, else from ln Z by enumeration or quadrature, or as the model estimates it"
    put(result, "expected", expected, uncertainty, "energy", "F(theta_N) - F(theta_0)", known)
    return result.assign_attrs(exact=int(not any(why_work_theorem_fails(machine) for machine in there + back)))


@of_survivors
def retrace(ds: xr.Dataset) -> xr.Dataset:
    """Mismatch theta(N - t) - theta(t) of SGD there and back through the same minibatches: dims step t <= N/2, axes.

    mismatch: its mean, per parameter; norm: mean length. One step there and one back give, to leading order,
    -r^2 J U_b with U_b = grad phi(b), J its Jacobian, and exactly that where phi is quadratic in theta (Appendix A).
    Raises ValueError for another direction, or frames that do not pair up.
    """
    require(ds, "theta")
    for machine in machines(ds):
        if machine.settings.run.direction != "there-and-back":
            raise ValueError('retracing needs run.direction = "there-and-back"')
    last = int(machines(ds)[0].settings.run.steps)
    recorded = set(ds["step"].values.tolist())
    steps = [step for step in sorted(recorded) if 2 * step < last and last - step in recorded]
    if not steps:
        raise ValueError("no frame t has its partner N - t: choose record.every that divides run.steps")
    there = ds["theta"].sel(step=steps)
    back = ds["theta"].sel(step=[last - step for step in steps]).assign_coords(step=steps)
    gap = back - there
    condition = "exactly 0 only where the gradient does not change along a step (Eq. 21, lazy learning)"
    result = xr.Dataset()
    put_mean(result, "mismatch", gap, "1", "mean of theta(N - t) - theta(t)", condition)
    length = xr.DataArray(np.sqrt((gap**2).sum("theta_dim", skipna=False)))
    put_mean(result, "norm", length, "1", "mean length of theta(N - t) - theta(t)", condition)
    return result


@of_survivors
def relaxation(ds: xr.Dataset, tolerance: float = _RELAXED) -> xr.Dataset:
    """Whether chains have relaxed: mean of phi(x_t) less <phi> of their theta_t. dims step and the sweep axes.

    gap, an energy; score: in standard errors; relative: in standard deviations of phi over samples. `relaxed`: the gap
    and two standard errors lie within `tolerance` standard deviations, so that too small an ensemble is not called
    relaxed. It is a necessary sign only. Raises ValueError where <phi> is not to be had: no closed form, support or
    sampler.
    """
    require(ds, "phi", "theta")
    require_own_law(machines(ds))
    if any(machine.settings.run.direction == "reversed" for machine in machines(ds)):
        raise ValueError("in a reversed run theta has moved on when a frame is taken: x belongs to the theta before")
    gaps, spreads, methods = [], [], []
    for machine in machines(ds):
        phi = machine.frames["phi"].transpose("step", "replica", ...)
        expected = np.empty(phi.shape[:2])
        for frame in range(len(expected)):
            expected[frame], method = mean_energy(machine, frame)
            methods.append(method)
        excess = phi - xr.DataArray(expected, dims=("step", "replica"))
        every = [dim for dim in excess.dims if dim != "step"]
        spreads.append(excess.std(every, skipna=False).values)
        gaps.append(np.stack([part.values for part in replica_mean(excess)]))
    gap, error = gathered(ds, gaps, ("part", "step"))
    spread = gathered(ds, spreads, ("step",))
    tiny = np.finfo(float).tiny
    condition = f"0 for chains in equilibrium; <phi> by {' or '.join(dict.fromkeys(methods))}"
    result = xr.Dataset()
    freedom, what = ds.sizes["replica"] - 1, "mean of phi(x_t) - <phi> of theta_t"
    put(result, "gap", gap, error, "energy", what, condition, degrees_of_freedom=freedom)
    scale = spread.where(spread > 0.0, 1.0)  # where phi is the same for all x, nothing lags
    what = "gap in standard deviations of phi"
    put(result, "relative", gap / scale, error / scale, "1", what, condition, degrees_of_freedom=freedom)
    score = xr.DataArray(gap / np.maximum(error, tiny))
    result["score"] = score.assign_attrs(units="1", long_name="gap in standard errors", condition=condition)
    relaxed = abs(gap) + 2.0 * error <= tolerance * spread
    result["relaxed"] = relaxed.assign_attrs(
        long_name=f"gap and two standard errors within {tolerance:g} standard deviations", condition="necessary only"
    )
    return result


def mean_energy(machine: Machine, frame: int) -> tuple[np.ndarray, str]:
    """<phi_theta> in p_theta for every replica's theta of a frame, (R,), and how it was found.

    By the model's closed form, by its support, or from one exact sample of each replica, which is right on average.
    Raises ValueError where the model has none of them.
    """
    model, theta = machine.model, machine.theta(frame)
    distinct, which = np.unique(theta, axis=0, return_inverse=True)
    if model.cross_entropy is not None:
        return np.asarray(model.cross_entropy(distinct, distinct, machine.constants))[which], "closed form"
    if model.support(machine.constants) is not None:
        return _on_support(machine, distinct)[1][which], "support"
    if model.fresh is not None:
        x = exact_samples(machine, frame, MEAN_ENERGY, 1)[:, 0]
        return machine.evaluator.surprisal(x, theta), "exact samples"
    raise ValueError(f"model {model.name!r} has no closed form, support or exact sampler to take <phi> from")


def log_normaliser(machine: Machine, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """ln Z of every replica's theta of a frame and its error, (R,) each: 0 where phi has its normaliser.

    Raises ValueError where the model has neither a support nor a log_normaliser.
    """
    model, nothing = machine.model, np.zeros(machine.frames.sizes["replica"])
    if model.normalised:
        return nothing, nothing
    theta = machine.theta(frame)
    distinct, which = np.unique(theta, axis=0, return_inverse=True)
    if model.support(machine.constants) is not None:
        return _on_support(machine, distinct)[0][which], nothing
    if model.log_normaliser is not None:
        value, error = model.log_normaliser(distinct, machine.constants)
        return np.asarray(value)[which], np.asarray(error)[which]
    raise ValueError(f"the energy of model {model.name!r} has no normaliser, support or log_normaliser: F is unknown")


def exact_samples(machine: Machine, frame: int, role: int, count: int) -> np.ndarray:
    """`count` exact samples of every replica's theta of a frame, (R, count, n).

    Their random numbers are those of the role, the step, the point of the sweep, and count: no two roles or points
    share any.
    """
    from thermosim.streams import BOOTSTRAP

    theta, seed = machine.theta(frame), int(machine.settings.ensemble.seed)
    address = _ROLES * int(machine.steps[frame]) + role
    return machine.evaluator.draws(theta, count, seed, BOOTSTRAP, address, _first_replica(machine) * count)


def _first_replica(machine: Machine) -> int:
    """A number for the first replica of this point of the sweep, counted over all points."""
    return machine.place * int(machine.settings.ensemble.replicas)


def _on_support(machine: Machine, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln Z and <phi> of theta (R, m) on the model's support, (R,) each."""
    rule = machine.model.support(machine.constants)
    assert rule is not None
    points, log_weights = rule
    logarithm, energy = np.empty(len(theta)), np.empty(len(theta))
    count = max(1, _CHUNK // len(points))
    for first in range(0, len(theta), count):
        part = slice(first, first + count)
        phi = machine.evaluator.surprisals(points, theta[part])
        logarithm[part] = logsumexp(log_weights - phi, axis=1)
        weights = np.exp(log_weights - phi - logarithm[part, None])
        energy[part] = (weights * phi).sum(axis=1)
    return logarithm, energy


def normaliser_gain(machine: Machine) -> tuple[xr.DataArray, np.ndarray]:
    """ln Z(theta_t) - ln Z(theta_0) of every frame and replica (step, replica), and its mean error (step)."""
    frames = [log_normaliser(machine, frame) for frame in range(len(machine.steps))]
    value, error = np.array([f[0] for f in frames]), np.array([f[1] for f in frames])
    total = np.hypot(error, error[0]).mean(axis=1)
    total[0] = 0.0
    return xr.DataArray(value - value[0], dims=("step", "replica")), total


def _gains(ds: xr.Dataset, gains: Sequence[tuple[xr.DataArray, np.ndarray]]) -> tuple[xr.DataArray, xr.DataArray]:
    """The same for the whole ensemble; the error is that of one theta, as if all replicas shared it."""
    value = gathered(ds, [gain[0].values for gain in gains], ("step", "replica"))
    return value, gathered(ds, [gain[1] for gain in gains], ("step",))


def _check_reverse(there: Machine, back: Machine) -> None:
    """Raise ValueError where the recorded paths of theta are not each other's reverse."""
    if "theta" not in there.frames or "theta" not in back.frames:
        return
    last = int(there.settings.run.steps)
    if np.array_equal(there.steps, last - back.steps[::-1]):
        forth, reverse = (m.frames["theta"].isel(replica=0).transpose("step", ...).values for m in (there, back))
        if not np.array_equal(forth, reverse[::-1]):
            raise ValueError("the two ensembles do not follow one path of theta and its reverse: give both the same")


def path_exponents(machine: Machine, gain: xr.DataArray) -> dict[str, xr.DataArray]:
    """a of every theorem, dims step, replica[, sample]."""
    frames, of_x = machine.frames, machine.settings.of_x
    start, x = frames["phi"].isel(step=0), frames.get("x")
    energy = frames["phi"] - start
    path = frames["log_ratio_x"] + energy + gain
    if of_x.start.has_density and x is not None:
        density = -x.sizes["x_dim"] * np.log(2.0)
        if of_x.start.kind == "normal":
            of_start = (of_x.start.mean, of_x.start.deviation)
            mean, deviation = (xr.DataArray(np.zeros(x.sizes["x_dim"]) + value, dims="x_dim") for value in of_start)
            square = (((x.isel(step=0) - mean) / deviation) ** 2).sum("x_dim", skipna=False)
            density = -0.5 * square - float(np.log(deviation * np.sqrt(2.0 * np.pi)).sum())
        path = path + start + xr.DataArray(log_normaliser(machine, 0)[0], dims="replica") + density
    values = (frames["work"] + gain, energy - frames["heat"] + gain, path)
    return dict(zip(THEOREMS, values))


def _average(exponent: xr.DataArray) -> np.ndarray:
    """<exp(-a)>, its error, interval, sample size and reliability, <a> and its error: (8, F)."""
    found = exponential_average(-exponent)
    average = xr.DataArray(np.exp(found.logarithm))
    ends = np.exp(found.low), np.exp(found.high)
    parts = (average, average * found.error, *ends, found.sample_size, found.reliable, *replica_mean(exponent))
    return np.stack([np.asarray(part) for part in parts])


def _exact(machine: Machine) -> list[bool]:
    """Whether each theorem holds at any time step and tau."""
    x, theta = machine.settings.of_x, machine.settings.theta
    feedback = theta.gradient == "contrast" and machine.theta_move.learns
    known = x.starts_in_equilibrium or (x.start.has_density and "x" in machine.frames)
    of_work = not why_work_theorem_fails(machine, own_free_energy=True)
    return [of_work, of_work, bool(known and not feedback and not x.restart)]
