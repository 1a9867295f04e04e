"""The linear-Gaussian learning machine: exact means and covariances at any learning rate, time step, tau and batch.

    phi(x) = sum_i k_i (x_i - m_i)^2/2 + constant,       theta = m (n) is learned, the precisions k (n) are fixed

A step moves theta once at fixed x (work), then x tau times at fixed theta (heat):

    theta     v' = beta v - r [k (m - b) + lambda m] + sqrt(2 r T) xi,    m' = m + v'
    ula       x' = x - h k (x - m) + sqrt(2 h) xi
    exact-ou  x' = m + exp(-h k) (x - m) + sqrt((1 - exp(-2 h k))/k) xi
    exact     x' = m + xi/sqrt(k), independent of x

b is the mean of B rows drawn one by one, with replacement, from a data set with mean mu and covariance C (divisor: the
number of rows), so b has mean mu and covariance C/B whatever the rows are; for the full batch b = mu. All moves are
linear, so first and second moments of z = (m, v, x) are exact whether or not theta is normal:

    z' = M z + s + noise:   <z'> = M <z> + s,   S' = M S M' + N,   A' = M A + ds/dmu with A = d<z>/dmu

and the mean ledger follows from u_i = <(x_i - m_i)^2>: mean phi = sum_i k_i u_i/2, and for ula

    mean log ratio = -heat + (h/4) [sum_i k_i^2 u_i] after the moves less before,

because the energy is quadratic (Parsi 2024, Eq. 26 and its transition density); otherwise it is -heat. With p =
exp(-phi) normalised the surprisal change of the sample is d phi, and sigma = log ratio + d phi.

Units: as in the ledger; temperature of x is 1. Signs as in the ledger.
Sources: S. S. Parsi, Entropy 26, 112 (2024), Eqs. 2, 26, 33, 41, 42, 51, 52; S. Mandt, M. D. Hoffman, D. M. Blei,
J. Mach. Learn. Res. 18, 134 (2017), for SGD near a quadratic minimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.gaussian_information import diagonal_cross_entropy, diagonal_entropy, diagonal_relative_entropy
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.scan import Maps, power, running_products

__all__ = [
    "LearningMachine",
    "Moments",
    "PartialAverages",
    "Start",
    "moments",
    "partial_averages",
    "row_cumulants",
    "theta_cumulants",
]

X_DYNAMICS = ("ula", "exact-ou", "exact")
_THETA, _VELOCITY, _X = 0, 1, 2
_BLOCKS = 3
_BOOKS = 2  # heat, and the log ratio less -heat


@dataclass(frozen=True)
class LearningMachine:
    """Everything fixed about a run of N steps.

    precision k (n), or (R, n) for R replicas each with its own, whose moments then have the replica before components;
    data_mean mu (n), data_covariance C (n, n). learning_rate r and time_step h are numbers, or
    schedules (N) over steps 1..N. A negative r climbs the loss. batch B, or None for the full batch; temperature T of
    theta, a number or (n), 0 for none. `x_first` is the order of a reversed run: x moves first, then theta.
    Raises ValueError for unknown x_dynamics, a schedule of another length, or noise at a negative learning rate.
    """

    precision: np.ndarray
    data_mean: np.ndarray
    data_covariance: np.ndarray
    steps: int
    learning_rate: ArrayLike
    batch: int | None = None
    weight_decay: float = 0.0
    momentum: float = 0.0
    temperature: ArrayLike = 0.0
    x_dynamics: str = "exact"
    time_step: ArrayLike = 0.0
    tau: int = 1
    x_first: bool = False

    def __post_init__(self) -> None:
        if self.x_dynamics not in X_DYNAMICS:
            raise ValueError(f"no exact moments of the move {self.x_dynamics!r}: expected one of {X_DYNAMICS}")
        for name, value in (("learning_rate", self.learning_rate), ("time_step", self.time_step)):
            if np.shape(value) not in ((), (self.steps,)):
                raise ValueError(f"{name} of shape {np.shape(value)}: expected a number or one for each step")
        if np.any(np.asarray(self.temperature) != 0.0) and np.any(np.asarray(self.learning_rate) < 0.0):
            raise ValueError("noise of variance 2 r T needs learning rates r >= 0")

    @property
    def components(self) -> int:
        """n."""
        return int(np.shape(self.precision)[-1])

    @property
    def columns(self) -> np.ndarray:
        """The precision with components first and an axis of steps, (n, 1) or (n, R, 1)."""
        return np.moveaxis(np.asarray(self.precision, float), -1, 0)[..., None]

    def rates(self) -> np.ndarray:
        """Learning rates of steps 1..N, (N)."""
        return np.broadcast_to(np.asarray(self.learning_rate, float), (self.steps,))

    def time_steps(self) -> np.ndarray:
        """Time steps of the x moves of steps 1..N, (N)."""
        return np.broadcast_to(np.asarray(self.time_step, float), (self.steps,))


@dataclass(frozen=True)
class Start:
    """theta_0 ~ N(theta_mean, theta_spread^2), components independent, and v_0 = 0.

    theta_mean (n), theta_spread a number or (n). x_0 is normal as given, independent of theta_0; without x it is a
    sample of exp(-phi) at theta_0.
    """

    theta_mean: np.ndarray
    theta_spread: ArrayLike = 0.0
    x: Gaussian | None = None


@dataclass(frozen=True)
class Moments:
    """Exact moments at the recorded steps, F of them; ledger entries are sums since step 0, averaged over replicas.

    cross_covariance is Cov(theta_i, x_j). response is d theta_mean_i/d mu_j: how the mean follows the data set's mean.
    """

    step: np.ndarray  # (F)
    theta_mean: np.ndarray  # (F, n)
    theta_covariance: np.ndarray  # (F, n, n)
    x_mean: np.ndarray  # (F, n)
    x_covariance: np.ndarray  # (F, n, n)
    cross_covariance: np.ndarray  # (F, n, n)
    response: np.ndarray  # (F, n, n)
    energy_change: np.ndarray  # (F), mean of phi less that at step 0
    work: np.ndarray  # (F)
    heat: np.ndarray  # (F)
    log_ratio: np.ndarray  # (F)

    @property
    def entropy_production(self) -> np.ndarray:
        """Mean of sigma = log ratio + d phi, (F)."""
        return np.asarray(self.log_ratio + self.energy_change)

    @property
    def shadow(self) -> np.ndarray:
        """Log ratio less -heat: the part of the ratio that is an artefact of the time step, (F)."""
        return np.asarray(self.log_ratio + self.heat)


@dataclass(frozen=True)
class PartialAverages:
    """Work and heat of a trajectory of theta averaged over samples of exp(-phi), and the divergences it passed.

    Running sums since step 0, (N+1, ...).
    """

    work: np.ndarray
    heat: np.ndarray
    divergence: np.ndarray


def moments(machine: LearningMachine, start: Start, record: ArrayLike | None = None) -> Moments:
    """Means, covariances and mean books at the steps `record`, by default all of 0..N.

    Raises ValueError when a recorded step is not one of 0..N.
    """
    recorded = np.arange(machine.steps + 1) if record is None else np.unique(np.asarray(record, int))
    if recorded.size == 0 or recorded[0] < 0 or recorded[-1] > machine.steps:
        raise ValueError(f"recorded steps must be among 0..{machine.steps}, and at least one")
    ends, rates, time_steps, repeats = _stretches(machine, recorded)
    before = recorded[0] == 0
    begin = _start(machine, start)
    if len(ends):
        whole = power(_steps(machine, rates, time_steps), repeats, _both)
        at = np.searchsorted(ends, recorded[int(before) :])
        passed = running_products(lambda s: tuple(part[..., s] for part in whole), len(ends), at, _both)
        found = _both(begin, passed)
        if before:
            found = tuple(np.concatenate([one, more], axis=-1) for one, more in zip(begin, found, strict=True))
    else:
        found = begin
    _, mean, response, covariance, _, _, books = found
    energy = _energy(machine, mean, covariance)
    change = energy - _energy(machine, *(begin[part] for part in (1, 3)))
    heat, shadow = books
    data_mean = machine.data_mean
    return Moments(
        recorded,
        _frames_first(mean[_THETA], 1) + data_mean,
        _frames_first(covariance[_THETA, :, _THETA], 2),
        _frames_first(mean[_X], 1) + data_mean,
        _frames_first(covariance[_X, :, _X], 2),
        _frames_first(covariance[_THETA, :, _X], 2),
        _frames_first(response[_THETA], 2),
        *(_frames_first(of, 0) for of in (change, change - heat, heat, shadow - heat)),
    )


def _frames_first(values: np.ndarray, components: int) -> np.ndarray:
    """(n, ..., replicas, F) as (F, replicas, n, ...)."""
    order = [values.ndim - 1, *range(components, values.ndim - 1), *range(components)]
    return np.ascontiguousarray(values.transpose(order))


def partial_averages(mean: np.ndarray, precision: np.ndarray) -> PartialAverages:
    """W_X, Q_X and the sum of divergences of trajectories m_t, k_t, each (N+1, ..., n): running sums, (N+1, ...).

    x is a fresh sample of p_{t-1} when theta jumps and of p_t after it, p_t = N(m_t, 1/k_t), H the cross-entropy:

        W_X = sum_t H(p_{t-1}, p_t) - H(p_{t-1}, p_{t-1}) = sum_t D(p_{t-1} || p_t)
        Q_X = sum_t H(p_t, p_t) - H(p_{t-1}, p_t)

    Parsi 2024, Eqs. 51, 52.
    """
    before, after = (mean[:-1], precision[:-1]), (mean[1:], precision[1:])
    crossed = diagonal_cross_entropy(*before, *after)
    work = crossed - diagonal_entropy(precision[:-1])
    heat = diagonal_entropy(precision[1:]) - crossed
    return PartialAverages(_running(work), _running(heat), _running(diagonal_relative_entropy(*before, *after)))


def row_cumulants(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Third and fourth cumulants (n), (n) of one row drawn from a data set (K, n)."""
    deviation = rows - rows.mean(axis=0)
    variance = np.mean(deviation**2, axis=0)
    return np.mean(deviation**3, axis=0), np.mean(deviation**4, axis=0) - 3.0 * variance**2


def theta_cumulants(
    machine: LearningMachine, third: np.ndarray, fourth: np.ndarray, record: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Third and fourth cumulants of each theta_i at steps `record`, by default 0..N, (F, n) each, from a normal start.

    third, fourth (n) are those of a row of the data. Independent terms add, and the mean of B rows has kappa_j/B^(j-1):

        kappa_j(m') = (1 - r k - r lambda)^j kappa_j(m) + (r k)^j kappa_j(row)/B^(j-1),      j = 3, 4

    Langevin noise is normal and adds nothing. Raises ValueError with momentum, for which the recursion does not close.
    """
    if machine.momentum != 0.0:
        raise ValueError("cumulants of theta alone do not obey a recursion with momentum")
    recorded = np.arange(machine.steps + 1) if record is None else np.unique(np.asarray(record, int))
    results = np.zeros((2, len(recorded), machine.components))
    ends, rates, _, repeats = _stretches(machine, recorded)
    if machine.batch is None or not len(ends):
        return results[0], results[1]
    orders = np.array([3, 4])[:, None, None]
    keep, take = 1.0 - rates * (machine.columns + machine.weight_decay), rates * machine.columns
    fresh = take**orders * np.stack([third, fourth])[..., None] / machine.batch ** (orders - 1.0)

    def both(first: Maps, second: Maps) -> Maps:
        return first[0] * second[0], second[0] * first[1] + second[1]

    whole, later = power((keep**orders, fresh), repeats, both), recorded > 0
    at = np.searchsorted(ends, recorded[later])
    passed = running_products(lambda s: tuple(part[..., s] for part in whole), len(ends), at, both)
    results[:, later] = np.moveaxis(passed[1], -1, 1)
    return results[0], results[1]


def _stretches(machine: LearningMachine, recorded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Stretches of equal steps up to the last that is recorded: where each ends, its rate, time step and length."""
    last = int(recorded[-1])
    rates, time_steps = machine.rates()[:last], machine.time_steps()[:last]
    is_end = np.zeros(last + 1, bool)
    is_end[recorded] = True
    is_end[1:last] |= (rates[1:] != rates[:-1]) | (time_steps[1:] != time_steps[:-1])
    is_end[0] = False
    ends = np.flatnonzero(is_end)
    return ends, rates[ends - 1], time_steps[ends - 1], np.diff(ends, prepend=0)


def _start(machine: LearningMachine, start: Start) -> Maps:
    """The law of z at step 0 as a map from anything: moves of any sort may follow it."""
    k, n = machine.columns, machine.components
    lead, spread = k.shape[1:], np.diag(np.broadcast_to(np.asarray(start.theta_spread, float), (n,)) ** 2)
    nothing = _nothing(n, lead)
    mean, covariance = nothing[1], nothing[3]
    spread = spread.reshape(n, n, *(1,) * len(lead))
    mean[_THETA] = (start.theta_mean - machine.data_mean).reshape(n, *(1,) * len(lead))
    covariance[_THETA, :, _THETA] = spread
    if start.x is None:
        mean[_X], covariance[_X, :, _X] = mean[_THETA], spread + _diagonal(1.0 / k)
        covariance[_X, :, _THETA] = covariance[_THETA, :, _X] = spread
    else:
        mean[_X] = (start.x.mean - machine.data_mean).reshape(n, *(1,) * len(lead))
        covariance[_X, :, _X] = start.x.covariance.reshape(spread.shape)
    return nothing


def _steps(machine: LearningMachine, rates: np.ndarray, time_steps: np.ndarray) -> Maps:
    """One step at each of these learning rates and time steps."""
    theta, sample = _theta_moves(machine, rates), _x_moves(machine, time_steps)
    return _both(sample, theta) if machine.x_first else _both(theta, sample)


def _theta_moves(machine: LearningMachine, rate: np.ndarray) -> Maps:
    n, k = machine.components, machine.columns
    pull, push = rate * (k + machine.weight_decay), rate * k
    matrix, shift, response, noise, *books = _nothing(n, pull.shape[1:])
    whole = (n, *(1,) * (k.ndim - 1))
    kick = 2.0 * rate * _diagonal(np.broadcast_to(np.asarray(machine.temperature, float), (n,)).reshape(whole))
    if machine.batch is not None:
        rows = (machine.data_covariance / machine.batch).reshape(n, *whole)
        kick = kick + push[:, None] * push[None, :] * rows
    for block in (_THETA, _VELOCITY):
        matrix[block, _THETA], matrix[block, _VELOCITY] = -pull, machine.momentum
        shift[block] = -rate * machine.weight_decay * machine.data_mean.reshape(whole)
        response[block] = _diagonal(push)
        for other in (_THETA, _VELOCITY):
            noise[block, :, other] = kick
    matrix[_THETA, _THETA] += 1.0
    matrix[_X, _X] = 1.0
    return (matrix, shift, response, noise, *books)


def _x_moves(machine: LearningMachine, time_step: np.ndarray) -> Maps:
    """All tau moves of a step at once: x - m is multiplied by a each time, and independent noise added."""
    n, k, tau = machine.components, machine.columns, machine.tau
    if machine.x_dynamics == "ula":
        factor = (1.0 - time_step * k) ** tau
        lost = time_step * k * (2.0 - time_step * k)  # 1 - a^2
        with np.errstate(divide="ignore", invalid="ignore"):
            powers = np.where(lost == 0.0, float(tau), -np.expm1(tau * np.log1p(-lost)) / lost)  # sum of a^(2 j)
        variance = 2.0 * time_step * (powers if tau else np.zeros_like(lost))
    else:
        factor = np.exp(-time_step * k * tau) if machine.x_dynamics == "exact-ou" else 0.0 * time_step * k
        variance = (1.0 - factor**2) / k
    matrix, shift, response, noise, books, *rest = _nothing(n, factor.shape[1:])
    matrix[_THETA, _THETA] = matrix[_VELOCITY, _VELOCITY] = 1.0
    matrix[_X, _X], matrix[_X, _THETA] = factor, 1.0 - factor
    noise[_X, :, _X] = _diagonal(variance)
    gap = np.zeros((_BLOCKS, _BLOCKS, *books.shape[3:]))  # (x_i - m_i)^2
    gap[_X, _X] = gap[_THETA, _THETA] = 1.0
    gap[_X, _THETA] = gap[_THETA, _X] = -1.0
    shadow = 0.25 * time_step * k**2 if machine.x_dynamics == "ula" else 0.0 * time_step * k
    for row, weight in enumerate((0.5 * k + 0.0 * time_step, shadow)):
        books[row] = weight * (np.einsum("bai...,bci...,cdi...->adi...", matrix, gap, matrix, optimize=True) - gap)
        rest[1][row] = np.sum(weight * variance, axis=0)
    return (matrix, shift, response, noise, books, *rest)


def _both(first: Maps, second: Maps) -> Maps:
    """The map that does both, the books of the second averaged over the noise of the first."""
    (a1, b1, r1, c1, *own), (a2, b2, r2, c2, square, linear, constant) = first, second
    left = np.einsum("abi...,bicj...->aicj...", a2, c1)
    pulled = 2.0 * np.einsum("rabi...,bi...->rai...", square, b1) + linear
    spread = np.einsum("aibi...->abi...", c1)
    return (
        np.einsum("abi...,bci...->aci...", a2, a1),
        np.einsum("abi...,bi...->ai...", a2, b1) + b2,
        np.einsum("abi...,bij...->aij...", a2, r1) + r2,
        np.einsum("aicj...,dcj...->aidj...", left, a2) + c2,
        own[0] + np.einsum("bai...,rbci...,cdi...->radi...", a1, square, a1, optimize=True),
        own[1] + np.einsum("bai...,rbi...->rai...", a1, pulled),
        own[2]
        + constant
        + 0.5 * np.einsum("rai...,ai...->r...", pulled + linear, b1)
        + np.einsum("rabi...,abi...->r...", square, spread),
    )


def _nothing(n: int, lead: tuple[int, ...]) -> Maps:
    """Zeros of the shapes of a map, without and with books."""
    shapes = (
        (_BLOCKS, _BLOCKS, n),
        (_BLOCKS, n),
        (_BLOCKS, n, n),
        (_BLOCKS, n, _BLOCKS, n),
        (_BOOKS, _BLOCKS, _BLOCKS, n),
        (_BOOKS, _BLOCKS, n),
        (_BOOKS,),
    )
    return tuple(np.zeros((*shape, *lead)) for shape in shapes)


def _diagonal(values: np.ndarray) -> np.ndarray:
    """(n, ...) as diagonal matrices (n, n, ...)."""
    return np.eye(len(values)).reshape(len(values), len(values), *(1,) * (values.ndim - 1)) * values


def _energy(machine: LearningMachine, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Mean of phi, without its constant."""
    variance = np.einsum("aibi...->abi...", covariance)
    gap = variance[_X, _X] + variance[_THETA, _THETA] - 2.0 * variance[_X, _THETA]
    return np.asarray(0.5 * np.sum(machine.columns * (gap + (mean[_X] - mean[_THETA]) ** 2), axis=0))


def _running(increments: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(increments[:1]), np.cumsum(increments, axis=0)])
