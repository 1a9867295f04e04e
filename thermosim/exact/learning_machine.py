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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.gaussian_information import diagonal_cross_entropy, diagonal_entropy, diagonal_relative_entropy
from thermosim.exact.linear_langevin import Gaussian

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


@dataclass(frozen=True)
class _State:
    """z = (m, v, x): mean (..., 3, n), covariance (..., 3, n, 3, n), response d mean/d mu (..., 3, n, n)."""

    mean: np.ndarray
    covariance: np.ndarray
    response: np.ndarray


@dataclass(frozen=True)
class _Move:
    """z' = matrix z + shift + noise, componentwise: matrix (..., 3, 3, n), shift (..., 3, n).

    noise (..., 3, n, 3, n) is its covariance; slope (..., 3, n) is d shift/d mu of the same component.
    """

    matrix: np.ndarray
    shift: np.ndarray
    slope: np.ndarray
    noise: np.ndarray


def moments(machine: LearningMachine, start: Start, record: ArrayLike | None = None) -> Moments:
    """Means, covariances and mean books at the steps `record`, by default all of 0..N.

    Raises ValueError when a recorded step is not one of 0..N.
    """
    recorded = np.arange(machine.steps + 1) if record is None else np.unique(np.asarray(record, int))
    if recorded.size == 0 or recorded[0] < 0 or recorded[-1] > machine.steps:
        raise ValueError(f"recorded steps must be among 0..{machine.steps}, and at least one")
    wanted = set(recorded.tolist())
    state, books = _start(machine, start), np.zeros((3, *machine.precision.shape[:-1]))
    energy, frames, sums = _energy(machine, state), [], []
    rates, time_steps = machine.rates(), machine.time_steps()
    for step in range(recorded[-1] + 1):
        if step > 0:
            state = _step(machine, float(rates[step - 1]), float(time_steps[step - 1]), state, books)
        if step in wanted:
            frames.append(state)
            sums.append([_energy(machine, state) - energy, *books.copy()])
    mean, covariance = np.stack([f.mean for f in frames]), np.stack([f.covariance for f in frames])
    return Moments(
        recorded,
        mean[..., _THETA, :],
        covariance[..., _THETA, :, _THETA, :],
        mean[..., _X, :],
        covariance[..., _X, :, _X, :],
        covariance[..., _THETA, :, _X, :],
        np.stack([f.response[..., _THETA, :, :] for f in frames]),
        *np.moveaxis(np.array(sums), 1, 0),
    )


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


def theta_cumulants(machine: LearningMachine, third: np.ndarray, fourth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Third and fourth cumulants of each theta_i at steps 0..N, (N+1, n) each, from a normal start.

    third, fourth (n) are those of a row of the data. Independent terms add, and the mean of B rows has kappa_j/B^(j-1):

        kappa_j(m') = (1 - r k - r lambda)^j kappa_j(m) + (r k)^j kappa_j(row)/B^(j-1),      j = 3, 4

    Langevin noise is normal and adds nothing. Raises ValueError with momentum, for which the recursion does not close.
    """
    if machine.momentum != 0.0:
        raise ValueError("cumulants of theta alone do not obey a recursion with momentum")
    results = np.zeros((2, machine.steps + 1, machine.components))
    if machine.batch is None:
        return results[0], results[1]
    for step, rate in enumerate(machine.rates(), start=1):
        keep, take = 1.0 - rate * (machine.precision + machine.weight_decay), rate * machine.precision
        for row, (order, cumulant) in enumerate(((3, third), (4, fourth))):
            fresh = take**order * cumulant / machine.batch ** (order - 1)
            results[row, step] = keep**order * results[row, step - 1] + fresh
    return results[0], results[1]


def _start(machine: LearningMachine, start: Start) -> _State:
    n, lead = machine.components, machine.precision.shape[:-1]
    mean, covariance = np.zeros((*lead, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n, _BLOCKS, n))
    spread = np.diag(np.broadcast_to(np.asarray(start.theta_spread, float), (n,)) ** 2)
    mean[..., _THETA, :], covariance[..., _THETA, :, _THETA, :] = start.theta_mean, spread
    if start.x is None:
        mean[..., _X, :] = start.theta_mean
        covariance[..., _X, :, _X, :] = spread + np.eye(n) / machine.precision[..., None]
        covariance[..., _X, :, _THETA, :] = covariance[..., _THETA, :, _X, :] = spread
    else:
        mean[..., _X, :], covariance[..., _X, :, _X, :] = start.x.mean, start.x.covariance
    return _State(mean, covariance, np.zeros((*lead, _BLOCKS, n, n)))


def _step(machine: LearningMachine, rate: float, time_step: float, state: _State, books: np.ndarray) -> _State:
    """The state after one step; adds mean work, heat and log ratio to `books` (3, ...)."""

    def theta(state: _State) -> _State:
        new = _after(state, _theta_move(machine, rate))
        books[0] += _energy(machine, new) - _energy(machine, state)
        return new

    def sample(state: _State) -> _State:
        new = _after(state, _x_moves(machine, time_step))
        heat = _energy(machine, new) - _energy(machine, state)
        shadow = np.zeros_like(heat)
        if machine.x_dynamics == "ula":
            gain = _square_gap(new) - _square_gap(state)
            shadow = 0.25 * time_step * np.sum(machine.precision**2 * gain, axis=-1)
        books[1] += heat
        books[2] += shadow - heat
        return new

    halves: tuple[Callable[[_State], _State], ...] = (sample, theta) if machine.x_first else (theta, sample)
    for half in halves:
        state = half(state)
    return state


def _theta_move(machine: LearningMachine, rate: float) -> _Move:
    n, k = machine.components, machine.precision
    lead = k.shape[:-1]
    matrix, noise = np.zeros((*lead, _BLOCKS, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n, _BLOCKS, n))
    shift, slope = np.zeros((*lead, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n))
    pull = rate * (k + machine.weight_decay)
    kick = 2.0 * rate * np.diag(np.broadcast_to(np.asarray(machine.temperature, float), (n,)))
    if machine.batch is not None:
        kick = kick + rate**2 * k[..., :, None] * k[..., None, :] * machine.data_covariance / machine.batch
    for block in (_THETA, _VELOCITY):
        matrix[..., block, _THETA, :], matrix[..., block, _VELOCITY, :] = -pull, machine.momentum
        shift[..., block, :], slope[..., block, :] = rate * k * machine.data_mean, rate * k
        for other in (_THETA, _VELOCITY):
            noise[..., block, :, other, :] = kick
    matrix[..., _THETA, _THETA, :] += 1.0
    matrix[..., _X, _X, :] = 1.0
    return _Move(matrix, shift, slope, noise)


def _x_moves(machine: LearningMachine, time_step: float) -> _Move:
    """All tau moves of a step at once: x - m is multiplied by a each time, and independent noise added."""
    n, k, tau = machine.components, machine.precision, machine.tau
    if machine.x_dynamics == "ula":
        once = 1.0 - time_step * k
        powers = 2 * np.arange(tau).reshape(-1, *(1,) * once.ndim)
        variance = 2.0 * time_step * np.sum(once**powers, axis=0)
        factor = once**tau
    else:
        factor = np.exp(-time_step * k * tau) if machine.x_dynamics == "exact-ou" else np.zeros_like(k)
        variance = (1.0 - factor**2) / k
    lead = k.shape[:-1]
    matrix = np.zeros((*lead, _BLOCKS, _BLOCKS, n))
    matrix[..., _THETA, _THETA, :] = matrix[..., _VELOCITY, _VELOCITY, :] = 1.0
    matrix[..., _X, _X, :], matrix[..., _X, _THETA, :] = factor, 1.0 - factor
    noise, nothing = np.zeros((*lead, _BLOCKS, n, _BLOCKS, n)), np.zeros((*lead, _BLOCKS, n))
    noise[..., _X, :, _X, :] = np.eye(n) * variance[..., None]
    return _Move(matrix, nothing, nothing, noise)


def _after(state: _State, move: _Move) -> _State:
    left = np.einsum("...abi,...bicj->...aicj", move.matrix, state.covariance)
    covariance = np.einsum("...aicj,...dcj->...aidj", left, move.matrix) + move.noise
    response = np.einsum("...abi,...bij->...aij", move.matrix, state.response)
    response += move.slope[..., None] * np.eye(move.slope.shape[-1])
    return _State(np.einsum("...abi,...bi->...ai", move.matrix, state.mean) + move.shift, covariance, response)


def _square_gap(state: _State) -> np.ndarray:
    """<(x_i - m_i)^2>, (..., n)."""
    variance = np.einsum("...aibi->...abi", state.covariance)
    gap = variance[..., _X, _X, :] + variance[..., _THETA, _THETA, :] - 2.0 * variance[..., _X, _THETA, :]
    return np.asarray(gap + (state.mean[..., _X, :] - state.mean[..., _THETA, :]) ** 2)


def _energy(machine: LearningMachine, state: _State) -> np.ndarray:
    """Mean of phi, without its constant: (...)."""
    return np.asarray(0.5 * np.sum(machine.precision * _square_gap(state), axis=-1))


def _running(increments: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(increments[:1]), np.cumsum(increments, axis=0)])
