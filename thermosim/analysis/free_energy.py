"""How far the model is from a known target along training, both ways: Dataset in, Dataset out.

With the target p* as equilibrium, H = -ln p*, T = 1 and F[p*] = 0, a model p_theta has the non-equilibrium free energy

    F[p_theta] = <-ln p*> - S[p_theta] = D(p_theta || p*)                                               [Eqs. 4-6]

while what learning lowers is the excess of the loss over its least value, the entropy of p*:

    <-ln p_theta>_{p*} - S[p*] = D(p* || p_theta)                                                       [Eqs. 7-9]

Eq. 8 calls the second a free energy, though Eq. 6 defines the first. Both vanish at p* only, neither is a bound of the
other, and minimising one neither raises nor lowers the other in general: both are given, and no sign is claimed for
Eq. 10. The loss of the data of the run is that of their empirical distribution; the target is the law they come from.

Units: as in the ledger. Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802. Quantities of single replicas
are exact for their theta, or come with the error of their samples; means come with the error over independent replicas.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from thermosim.analysis import learning
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, put_mean, require
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.mixtures import log_normalisers
from thermosim.analysis.spreads import put_spread
from thermosim.analysis.targets import Given, Target, target_of

__all__ = ["free_energy"]

METHODS = ("auto", "closed-form", "support", "samples")
_CHUNK = 1 << 22  # numbers held at a time
_SUMS = 1 << 26  # numbers of a sum that is still quick
_INTEGRAL = 1e-6  # how far from 1 a probability may integrate on the support
_MEANINGS = {"target_divergence": "D(p* || p_theta), excess loss", "free_energy": "D(p_theta || p*), free energy"}


@of_survivors
def free_energy(
    ds: xr.Dataset, target: Given = None, method: str = "auto", frames: int = 21, draws: int = 32
) -> xr.Dataset:
    """D(p* || p_theta) and D(p_theta || p*) at `frames` equally spaced frames: dims step, axes[, replica].

    target_divergence and free_energy of every replica; mean_X, X_spread, and X_change, the mean change since the first
    frame (Eq. 9). target: parameters (m,) of the model itself, or a function of points (P, n) that gives ln p*, with
    its normaliser; by default the law of the case's generated rows. method: "closed-form" where the model has a
    cross-entropy and p* is one of its own, or both are normals; "support" for sums or quadrature over all x; "samples",
    `draws` rows of p* and of p_theta for each replica; or the first of these that is quick. Samples give
    target_divergence only where p* can be drawn from, and free_energy where the model can. `valid` is false where a
    quadrature misses probability of p* or of a replica. Raises ValueError where p* is not known, or no method is there.
    """
    if method not in METHODS:
        raise ValueError(f"method = {method!r}: expected one of {', '.join(METHODS)}")
    require(ds, "theta")
    chosen = np.unique(np.linspace(0, ds.sizes["step"] - 1, max(2, frames)).round().astype(int))
    some, rows, ways, worst = ds.isel(step=chosen), [], [], []
    for machine in machines(some):
        aim = target_of(machine, target)
        ways.append(_way(machine, aim, method))
        values, missed = _ROUTES[ways[-1]](machine, aim, draws)
        rows.append(values)
        worst.append(np.array(missed))
    names = [name for name in _MEANINGS if all(name in row for row in rows)]
    if not names:
        raise ValueError("neither p* nor the model can be drawn from, and there is no sum over x: nothing to average")
    result, condition = xr.Dataset(), f"p* as given; by {' and '.join(sorted(set(ways)))}"
    for name in names:
        value, error = gathered(some, [row[name] for row in rows], ("part", "step", "replica"))
        meaning = _MEANINGS[name]
        put(result, name, value, error, "nat", f"{meaning} of a replica", condition)
        put_mean(result, f"mean_{name}", value, "nat", f"mean over replicas of {meaning}", condition)
        put_spread(result, name, value, "nat", meaning, condition, error)
        change = value - value.isel(step=0, drop=True)
        put_mean(result, f"{name}_change", change, "nat", f"mean change of {meaning} since the first frame", condition)
    result["valid"] = (gathered(some, worst, ()) < _INTEGRAL).assign_attrs(
        long_name=f"probabilities on the support add up to 1 within {_INTEGRAL:g}", condition="at every frame"
    )
    return result.assign_attrs(method=" and ".join(sorted(set(ways))))


def _way(machine: Machine, target: Target, method: str) -> str:
    support = machine.model.support(machine.constants)
    size = 0 if support is None else len(support[0]) * machine.frames.sizes["replica"]
    own = target.theta is not None and machine.model.cross_entropy is not None and machine.model.normalised
    sampled = target.sample is not None or machine.model.fresh is not None
    able = {
        "closed-form": own or (target.normal is not None and _normals(machine, machine.theta(0)) is not None),
        "support": support is not None and (method == "support" or size <= _SUMS or not sampled),
        "samples": sampled,
    }
    found = next((way for way, can in able.items() if can and method in ("auto", way)), None)
    if found is None:
        what = "way" if method == "auto" else method
        raise ValueError(f"model {machine.model.name!r} and this target have no {what} to average; try another method")
    return found


def _closed(machine: Machine, target: Target, draws: int) -> tuple[dict[str, np.ndarray], float]:
    """By cross-entropies of the model, or between normals."""
    thetas = [machine.theta(frame) for frame in range(len(machine.steps))]
    if target.theta is not None and machine.model.cross_entropy is not None:
        cross, constants, aim = machine.model.cross_entropy, machine.constants, target.theta
        least = float(cross(aim, aim, constants))
        forth = [np.asarray(cross(np.broadcast_to(aim, t.shape), t, constants)) - least for t in thetas]
        back = [np.asarray(cross(t, np.broadcast_to(aim, t.shape), constants) - cross(t, t, constants)) for t in thetas]
    else:
        assert target.normal is not None
        forth, back = [], []
        for theta in thetas:
            normals = _normals(machine, theta)
            assert normals is not None
            forth.append(_between_normals(target.normal, normals))
            back.append(_between_normals(normals, target.normal))
    return {name: _exact(np.stack(values)) for name, values in zip(_MEANINGS, (forth, back))}, 0.0


def _summed(machine: Machine, target: Target, draws: int) -> tuple[dict[str, np.ndarray], float]:
    """By the sum over all x; how much probability of p* or of a replica it misses at most."""
    rule = machine.model.support(machine.constants)
    assert rule is not None
    points, log_weights = rule
    aim = target.log_density(points)
    missed = abs(float(np.expm1(logsumexp(aim + log_weights))))
    weight = np.exp(aim + log_weights)
    shape = len(machine.steps), machine.frames.sizes["replica"]
    forth, back = np.empty(shape), np.empty(shape)
    size = max(1, _CHUNK // len(points))
    for frame in range(shape[0]):
        theta = machine.theta(frame)
        for part in (slice(first, first + size) for first in range(0, shape[1], size)):
            own = -machine.evaluator.surprisals(points, theta[part])
            total = logsumexp(own + log_weights, axis=1)
            if machine.model.normalised:
                missed = max(missed, float(np.abs(np.expm1(total)).max()))
            own -= total[:, None]
            with np.errstate(invalid="ignore"):
                forth[frame, part] = np.where(weight > 0.0, weight * (aim - own), 0.0).sum(axis=1)
            back[frame, part] = (np.exp(own + log_weights) * (own - aim)).sum(axis=1)
    return {name: _exact(values) for name, values in zip(_MEANINGS, (forth, back))}, missed


def _sampled(machine: Machine, target: Target, draws: int) -> tuple[dict[str, np.ndarray], float]:
    """From rows of p*, each replica its own and the same at every frame, and from samples of every p_theta."""
    replicas, count = machine.frames.sizes["replica"], len(machine.steps)
    values: dict[str, np.ndarray] = {}
    rows = aim = None
    if target.sample is not None:
        rows = target.sample(replicas * draws)
        aim = target.log_density(rows)
        values["target_divergence"] = np.empty((2, count, replicas))
    if machine.model.fresh is not None:
        values["free_energy"] = np.empty((2, count, replicas))
    for frame in range(count):
        theta = machine.theta(frame)
        many, normaliser = np.repeat(theta, draws, axis=0), log_normalisers(machine, theta)[0]

        def own(x: np.ndarray, many: np.ndarray = many, normaliser: np.ndarray = normaliser) -> np.ndarray:
            return np.asarray(-machine.evaluator.surprisal(x, many) - np.repeat(normaliser, draws))

        if rows is not None and aim is not None:
            values["target_divergence"][:, frame] = _mean((aim - own(rows)).reshape(replicas, draws))
        if machine.model.fresh is not None:
            x = learning.exact_samples(machine, frame, learning.TARGET, draws).reshape(len(many), -1)
            values["free_energy"][:, frame] = _mean((own(x) - target.log_density(x)).reshape(replicas, draws))
    return values, 0.0


_ROUTES = {"closed-form": _closed, "support": _summed, "samples": _sampled}


def _exact(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.zeros_like(values)])


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over draws of (R, K) and its standard error: (2, R)."""
    return np.stack([values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])])


def _normals(machine: Machine, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean (R, n) and covariance (R, n, n) of p_theta, where it is a normal."""
    from thermosim.models import full_gaussian, gaussian

    n = machine.evaluator.components
    if machine.model is gaussian.MODEL:
        return theta[:, :n], np.exp(-theta[:, n:])[:, :, None] * np.eye(n)
    if machine.model is full_gaussian.MODEL:
        inverse = np.linalg.inv(full_gaussian.factor_matrix(theta, machine.constants))
        return theta[:, :n], np.swapaxes(inverse, 1, 2) @ inverse
    return None


def _between_normals(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """D(a || b) of normals, means (..., n) and covariances (..., n, n): as `exact.gaussian_information`, for many."""
    gap, n = a[0] - b[0], a[0].shape[-1]
    inverse = np.linalg.inv(b[1])
    trace = np.einsum("...ij,...ji->...", inverse, a[1])
    distance = np.einsum("...i,...ij,...j->...", gap, inverse, gap)
    volume = np.linalg.slogdet(b[1])[1] - np.linalg.slogdet(a[1])[1]
    return np.asarray(0.5 * (trace + distance - n + volume))
