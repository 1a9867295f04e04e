"""Work, heat and entropies of a trajectory of theta, averaged over samples of the model: the conditional view.

    W_X = sum_t <phi_t>_{t-1} - <phi_{t-1}>_{t-1}                                                  [Eq. 51]
    Q_X = sum_t <phi_t>_t - <phi_t>_{t-1}                                                          [Eq. 52]

with <.>_t the average over p(x|theta_t), so that W_X + Q_X = <phi_n>_n - <phi_0>_0 exactly, and, for phi = -ln p,

    W_X = sum_t D(p_{t-1} || p_t) >= 0,                W_X + Q_X = S_n - S_0,   S_t = S_{X|Theta}(theta_t)

Entropies of one replica, with p_t the mixture of p(x|theta_t) over all replicas (Sec. 6.2):

    S_{X|Theta}(theta_t) = <-ln p(x|theta_t)>_t               S_X(theta_t) = <-ln p_t(x)>_t
    Sigma_{X|Theta} = dS_{X|Theta} - Q_X                      Sigma_X = dS_X - Q_X
    Sigma_ign = Sigma_X - Sigma_{X|Theta} = dI,  I(theta_t) = S_X - S_{X|Theta} = D(p(x|theta_t) || p_t)   [Eqs. 44, 45]

Sigma_X uses a cross-entropy, so its sign is not given; Sigma_{X|Theta} is the work that the jumps of theta dissipate.

Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802. Quantities of single replicas are exact for their theta
or come with the error of their samples; means over replicas come with the error over independent replicas.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from thermosim.analysis import learning
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import MINIMUM_SAMPLE_SIZE, gathered, put, put_mean
from thermosim.analysis.machine import Machine, machines, require_own_law
from thermosim.analysis.normality import SHARE
from thermosim.analysis.replicas import since
from thermosim.analysis.spreads import put_spread

__all__ = ["averaged_work_and_heat", "partial_entropies"]

METHODS = ("auto", "closed-form", "support", "chains")
_CHUNK = 1 << 22  # numbers held at a time
_ONE_SAMPLE = "one sample of a replica has no error"
_INTEGRAL = 1e-6  # how far from 1 a probability may integrate on the support


@of_survivors
def averaged_work_and_heat(ds: xr.Dataset, method: str = "auto") -> xr.Dataset:
    """W_X and Q_X of every replica's path of theta since step 0, and their means: dims step, axes[, replica].

    work, heat (of a replica), mean_work, mean_heat, and work_spread, heat_spread over replicas (Eq. 24), less the error
    of a replica's chains, which one sample does not tell; divergence: sum of D(p_{t-1} || p_t), which is W_X less the
    change of F; conditional_entropy: S_{X|Theta}(theta_t). method: "closed-form" of the model's cross-entropy,
    "support" for sums or quadrature over all x, "chains" for the ledger averaged over each replica's samples, or the
    first of these that there is. `valid` is false, and `reason` says why, where a quadrature misses probability, and
    for chains that are not known to have been in equilibrium at every recorded frame so far, as the ledger keeps what
    they lacked. Chains give no divergence. Raises ValueError where theta was not recorded at every step (a coarser path
    is another protocol, with another work), except for chains, or where the method has no way.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r}: expected one of {', '.join(METHODS)}")
    points = machines(ds)
    way = _way(points[0], method)
    if way == "chains":
        result = _by_chains(ds)
    else:
        require_own_law(points)
        steps = ds["step"].values
        if not np.array_equal(steps, np.arange(len(steps))):
            raise ValueError(
                "Eqs. 51 and 52 need theta at every step: record.first = 0 and record.every = 1; "
                'or average the ledger over samples with method = "chains"'
            )
        result = _by_model(ds, points, way)
    for name, symbol in (("work", "W_X"), ("heat", "Q_X"), ("divergence", "sum D(p_{t-1} || p_t)")):
        if name in result:
            units, condition = (str(result[name].attrs[key]) for key in ("units", "condition"))
            put_mean(result, f"mean_{name}", result[name], units, f"mean of {symbol} over replicas", condition)
            put_spread(result, name, result[name], units, symbol, condition, result[f"{name}_error"].fillna(0.0))
    return result.assign_attrs(method=way)


@of_survivors
def partial_entropies(ds: xr.Dataset, frames: int = 11, method: str = "auto", draws: int = 4) -> xr.Dataset:
    """S_{X|Theta}, S_X, I and three entropy productions of every replica and on average: dims step, axes[, replica].

    At `frames` equally spaced recorded frames, the first being the reference. S_X by the model's support, else from
    `draws` exact samples of each replica. The mixture p_t is that of the recorded replicas, themselves included, for
    which Eq. 44 is an identity; I then cannot exceed ln R, and falls short of that of infinitely many replicas.
    `overlap` = R exp(-I) is the number of replicas that share a typical sample, `reliable` is false where it is small,
    or where the mixture without the replica itself shows that I falls short by a good part of its error. X_spread is
    the standard deviation of X over replicas, less that of sampling: small beside mean_X where one computer tells of
    all (Eq. 24). `method` is that of `averaged_work_and_heat`, for Q_X. Raises ValueError without support, exact
    sampler, or Q_X, and for samples of another temperature than 1.
    """
    require_own_law(machines(ds))
    heat = averaged_work_and_heat(ds, method)
    chosen = np.unique(np.linspace(0, ds.sizes["step"] - 1, max(2, frames)).round().astype(int))
    some = ds.isel(step=chosen)
    columns: list[np.ndarray] = []
    for machine in machines(some):
        values = [_entropies(machine, frame, draws) for frame in range(len(chosen))]
        columns.append(np.stack([value[0] for value in values], axis=1))
        way = values[0][1]
    entropies = gathered(some, columns, ("part", "step", "replica"))
    flow = heat["heat"].isel(step=chosen) - heat["heat"].isel(step=chosen[0])
    error = heat["heat_error"].isel(step=chosen)
    sampled = None if way == "support" else draws - 1
    return _productions(entropies, flow, error, f"S_X by {way}, Q_X by {heat.attrs['method']}", sampled)


def _productions(
    entropies: xr.DataArray, flow: xr.DataArray, flow_error: xr.DataArray, how: str, sampled: int | None
) -> xr.Dataset:
    """All entropies and productions, of replicas and on average; entropies has the parts that `_entropies` returns.

    sampled: degrees of freedom of the errors of a replica.
    """
    conditional, conditional_error, information, information_error, marginal_error, short = entropies
    marginal = conditional + information
    later = conditional["step"] > conditional["step"][0]

    def change(value: xr.DataArray, error: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        both = xr.DataArray(np.hypot(error, error.isel(step=0)))
        return value - value.isel(step=0), both.where(later, 0.0)

    of_marginal, of_conditional = change(marginal, marginal_error), change(conditional, conditional_error)
    of_information = change(information, information_error)
    values: dict[str, tuple[xr.DataArray, xr.DataArray, str]] = {
        "conditional_entropy": (conditional, conditional_error, "S_{X|Theta}(theta_t)"),
        "marginal_entropy": (marginal, marginal_error, "S_X(theta_t)"),
        "information": (information, information_error, "I(theta_t) = D(p(x|theta_t) || p_t)"),
        "heat": (flow, flow_error, f"Q_X {since(conditional)}"),
        "marginal_entropy_production": (
            of_marginal[0] - flow,
            xr.DataArray(np.hypot(of_marginal[1], flow_error)),
            "Sigma_X = dS_X - Q_X",
        ),
        "conditional_entropy_production": (
            of_conditional[0] - flow,
            xr.DataArray(np.hypot(of_conditional[1], flow_error)),
            "Sigma_{X|Theta} = dS_{X|Theta} - Q_X",
        ),
        "ignorance_entropy_production": (*of_information, "Sigma_X - Sigma_{X|Theta} = dI"),
    }
    result = xr.Dataset(attrs={"method": how})
    condition = "p_t: the mixture over the recorded replicas"
    for name, (value, error, meaning) in values.items():
        of_one, units = (sampled, "nat") if name != "heat" else (None, "energy")
        put(result, name, value, error, units, f"{meaning} of a replica", condition, degrees_of_freedom=of_one)
        if bool(flow_error.isnull().all() & error.isnull().all()):
            result[f"{name}_error"].attrs["undefined"] = _ONE_SAMPLE
        put_mean(result, f"mean_{name}", value, units, f"mean over replicas of {meaning}", condition)
        put_spread(result, name, value, units, meaning, condition, error.fillna(0.0))
    overlap = conditional.sizes["replica"] * np.exp(-result["mean_information"])
    result["overlap"] = xr.DataArray(overlap).assign_attrs(
        units="1", long_name="replicas that share a typical sample", condition=condition
    )
    near = (overlap >= MINIMUM_SAMPLE_SIZE) & (short.mean("replica") <= SHARE * result["mean_information_error"] + 1e-9)
    result["reliable"] = xr.DataArray(near).assign_attrs(
        long_name=f"overlap of at least {MINIMUM_SAMPLE_SIZE:g}, and I near that of infinitely many replicas",
        condition="a flag, not a proof",
    )
    return result


def _way(machine: Machine, method: str) -> str:
    model = machine.model
    able = {
        "closed-form": model.cross_entropy is not None and model.normalised,
        "support": model.support(machine.constants) is not None,
        "chains": "work" in machine.frames,
    }
    found = next((way for way, can in able.items() if can and method in ("auto", way)), None)
    if found is None:
        what = "no way to average" if method == "auto" else f"no {method}"
        raise ValueError(f"model {model.name!r} gives {what}: it needs a cross-entropy, a support, or chains of x")
    return found


def _by_chains(ds: xr.Dataset) -> xr.Dataset:
    """The ledger, averaged over each replica's samples."""
    points, result = machines(ds), xr.Dataset()
    fresh = all(m.x_move.fresh and m.settings.of_x.starts_in_equilibrium for m in points)
    fresh = fresh and all(m.settings.run.direction == "forward" for m in points)  # else theta has moved on since
    condition = "chains in equilibrium with each theta; theta does not follow x"
    for name, symbol in (("work", "W_X"), ("heat", "Q_X")):
        value, error, freedom = ds[name], xr.full_like(ds[name], np.nan), None
        if "sample" in value.dims:
            freedom = value.sizes["sample"] - 1
            error = value.std("sample", ddof=1, skipna=False) / np.sqrt(value.sizes["sample"])
            value = value.mean("sample", skipna=False)
        meaning = f"{symbol} of a replica since step 0, from its chains"
        put(result, name, value, error, "energy", meaning, condition, degrees_of_freedom=freedom)
        if freedom is None:
            result[f"{name}_error"].attrs["undefined"] = _ONE_SAMPLE
    never = xr.zeros_like(result["work"].isel(replica=0, drop=True), dtype=bool)
    if any(m.settings.theta.gradient == "contrast" for m in points):
        valid, why = never, "learning by contrast: theta follows the samples"
    elif fresh:
        valid, why = ~never, ""
    else:
        try:
            relaxed = learning.relaxation(ds)["relaxed"]
            valid, why = relaxed.astype(int).cumprod("step") > 0, "chains have not relaxed, here or before"
        except ValueError as fault:
            valid, why = never, f"chains are not known to have relaxed: {fault}"
    return _judged(result, valid, why, "fresh samples, or chains whose mean phi has relaxed at all frames so far")


def _judged(result: xr.Dataset, valid: xr.DataArray, why: str, meaning: str) -> xr.Dataset:
    """The result with `valid`, and the reason where it is not."""
    result["valid"] = valid.assign_attrs(long_name=meaning, condition="a flag, not a proof")
    reason = xr.full_like(valid, why, dtype=object).where(~valid, "")
    reason = reason.astype(str).assign_attrs(long_name="why estimates are not valid", condition="empty if valid")
    return result.assign(reason=reason)


def _by_model(ds: xr.Dataset, points: list[Machine], way: str) -> xr.Dataset:
    """Eqs. 51 and 52 from <phi_t>_t and <phi_{t+1}>_t of every frame."""
    columns: list[list[np.ndarray]] = [[], [], [], []]
    worst = []
    for machine in points:
        here, ahead, logarithm = _path(machine, way)
        work, heat = _running(ahead[:-1] - here[:-1]), _running(here[1:] - ahead[:-1])
        gain = 0.0 if machine.model.normalised else logarithm - logarithm[0]
        entropy = here if machine.model.normalised else here + logarithm
        for column, value in zip(columns, (work, heat, work + gain, entropy)):
            column.append(value)
        worst.append(np.array(np.abs(np.expm1(logarithm)).max() if machine.model.normalised else 0.0))
    result = xr.Dataset()
    condition = f"exact for its path of theta: {way}"
    names = ("work", "W_X", "energy"), ("heat", "Q_X", "energy"), ("divergence", "sum D(p_{t-1} || p_t)", "nat")
    for (name, symbol, units), column in zip(names, columns):
        value = gathered(ds, column, ("step", "replica"))
        put(result, name, value, 0.0, units, f"{symbol} of a replica since step 0", condition)
    value = gathered(ds, columns[3], ("step", "replica"))
    put(result, "conditional_entropy", value, 0.0, "nat", "S_{X|Theta}(theta_t)", condition)
    valid = gathered(ds, worst, ()) < _INTEGRAL
    meaning = f"probabilities on the support add up to 1 within {_INTEGRAL:g}, at every frame"
    return _judged(result, valid, "the quadrature over x misses probability", meaning)


def _path(machine: Machine, way: str) -> np.ndarray:
    """<phi_t>_t, <phi_{t+1}>_t (0 in the last frame) and ln of the integral of exp(-phi_t): (3, F, R)."""
    count, replicas = len(machine.steps), machine.frames.sizes["replica"]
    if replicas > 1 and all(np.all(theta == theta[0]) for theta in map(machine.theta, range(count))):
        one = replace(machine, frames=machine.frames.isel(replica=slice(0, 1)))
        return np.repeat(_path(one, way), replicas, axis=2)  # a protocol: one path for all
    result = np.zeros((3, count, replicas))
    if way == "closed-form":
        cross = machine.model.cross_entropy
        assert cross is not None
        after = machine.theta(0)
        for frame in range(count):
            theta, after = after, machine.theta(min(frame + 1, count - 1))
            result[0, frame] = cross(theta, theta, machine.constants)
            result[1, frame] = cross(theta, after, machine.constants) if frame + 1 < count else 0.0
        return result
    rule = machine.model.support(machine.constants)
    assert rule is not None
    points, log_weights = rule
    size = max(1, _CHUNK // len(points))
    for part in (slice(first, first + size) for first in range(0, replicas, size)):
        phi = machine.evaluator.surprisals(points, machine.theta(0)[part])
        for frame in range(count):
            logarithm = logsumexp(log_weights - phi, axis=1)
            density = np.exp(log_weights - phi - logarithm[:, None])
            result[0, frame, part], result[2, frame, part] = (density * phi).sum(axis=1), logarithm
            if frame + 1 < count:
                phi = machine.evaluator.surprisals(points, machine.theta(frame + 1)[part])
                result[1, frame, part] = (density * phi).sum(axis=1)
    return result


def _entropies(machine: Machine, frame: int, draws: int) -> tuple[np.ndarray, str]:
    """S_{X|Theta}, its sampling error, I, its error, and that of S_X, of every replica, and how much I falls short.

    (6, R), and how it was found.
    """
    theta = machine.theta(frame)
    rule = machine.model.support(machine.constants)
    if rule is not None:
        conditional, information, short = _by_support(machine, theta, *rule)
        nothing = np.zeros(len(theta))
        return np.stack([conditional, nothing, information, nothing, nothing, short]), "support"
    if machine.model.fresh is None or not machine.model.normalised:
        raise ValueError(
            f"model {machine.model.name!r}: S_X needs its support, or exact samples of a phi with its normaliser"
        )
    many = np.repeat(theta, draws, axis=0)
    x = learning.exact_samples(machine, frame, learning.ENTROPIES, draws).reshape(len(many), -1)
    surprisal = machine.evaluator.surprisal(x, many).reshape(-1, draws)
    mixture = (machine.evaluator.log_sum(x, theta) - np.log(len(theta))).reshape(-1, draws)
    parts = [_sampled(surprisal), _sampled(-surprisal - mixture)]
    marginal_error = _sampled(-mixture)[1]
    if machine.model.cross_entropy is not None:
        parts[0] = np.asarray(machine.model.cross_entropy(theta, theta, machine.constants)), np.zeros(len(theta))
        marginal_error = parts[1][1]
    short = _short(-surprisal - mixture, len(theta)).mean(axis=1)
    return np.stack([*parts[0], *parts[1], marginal_error, short]), f"{draws} exact samples of each replica"


def _short(content: np.ndarray, replicas: int) -> np.ndarray:
    """Half the change of ln p_t without the replica itself, from ln p(x|theta)/p_t: see `mixtures`."""
    return np.asarray(-0.5 * np.log1p(-np.minimum(np.exp(content) / replicas, 1.0 - 1e-15)))


def _sampled(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over draws (R, K) and its standard error, which one draw does not tell."""
    draws = values.shape[1]
    error = values.std(axis=1, ddof=1) / np.sqrt(draws) if draws > 1 else np.full(len(values), np.nan)
    return values.mean(axis=1), error


def _by_support(
    machine: Machine, theta: np.ndarray, points: np.ndarray, log_weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """S_{X|Theta}, I and what it falls short by sums over all x: one pass for the mixture, one for the entropies."""
    count = max(1, _CHUNK // len(points))
    parts = [slice(first, first + count) for first in range(0, len(theta), count)]

    def log_density(part: slice) -> np.ndarray:
        exponent = -machine.evaluator.surprisals(points, theta[part])
        return np.asarray(exponent - logsumexp(exponent + log_weights, axis=1)[:, None])

    mixture = np.full(len(points), -np.inf)
    for part in parts:
        mixture = np.logaddexp(mixture, logsumexp(log_density(part), axis=0))
    mixture -= np.log(len(theta))
    conditional, information, short = np.empty((3, len(theta)))
    for part in parts:
        logarithm = log_density(part)
        weight = np.exp(logarithm + log_weights)
        conditional[part] = -(weight * logarithm).sum(axis=1)
        information[part] = (weight * (logarithm - mixture)).sum(axis=1)
        short[part] = (weight * _short(logarithm - mixture, len(theta))).sum(axis=1)
    return conditional, information, short


def _running(increments: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, *increments.shape[1:])), np.cumsum(increments, axis=0)])
