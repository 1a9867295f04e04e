"""SGD of the direction of three weights on a few rows of data: its law at every step, at any learning rate.

For the loss l = (d.u)^2 of a row d, u = w/|w|, and a minibatch of B rows drawn with replacement, M = <d d'> over it,

    g = 2 (M u - (u'Mu) u),   v = u - h g,   u' = v/|v|        h = eta_eff
    stretch |v| - 1 = sqrt(1 + h^2 |g|^2) - 1

is a Markov chain of the line through w. With M of all rows = sum_i l_i e_i e_i', l_3 the smallest, y_i = u_i/u_3 are
its coordinates. With orthonormal polynomials p_k of y, those of a normal weight of about the width of the law, a step
is m' = m A of the moments m_k = <p_k>, A_kl the coefficients of sum_b P_b p_l(y'_b(y)) over all minibatches b, and the
stationary ones solve m (A - 1) = 0 (Galerkin's method). What higher polynomials would change is measured by leaving the
highest out. Rows are few points, so that the law is a fractal at large rates: its moments are as exact.

With `noise` the mean of all rows takes the place of minibatches, with normal noise across u,

    g = 2 (M u - (u'Mu) u) + xi
    "covariance"  <xi xi'> = Sigma(u), the covariance of a minibatch's g
    "local"       <xi xi'> = (1/2) Tr Sigma(u) (1 - u u')
    "constant"    <xi xi'> = (1/2) <Tr Sigma> (1 - u u'), the mean over the stationary law of the rows

integrated by the rule of Gauss and Hermite. So rows differ from "covariance" by what is not normal of them, that from
"local" by what is not isotropic, and that from "constant", the isotropic noise model, by what depends on u. To leading
order in h the law of the last is the canonical one, p = exp(-L/T)/Z with T = (h/4) <Tr Sigma>; for this loss it is that
of Bingham.

Sources: I. Sadrtdinov et al., arXiv:2511.07308, for the noise model and its temperature; the rest by hand.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["MOST_MINIBATCHES", "NOISES", "Chain", "Noise", "chain", "minibatches", "truncation"]

MOST_MINIBATCHES = 64  # different ones
Noise = Literal["rows", "covariance", "local", "constant"]
NOISES: tuple[Noise, ...] = ("rows", "covariance", "local", "constant")
_DEGREES = (12, 10, 8)  # of polynomials: the law, and those that tell its truncation
_FIRST = 6  # degree of a first law, whose mean and covariance are those of the weight
_NEGATIVE = 1e-4  # of a density, of which the negative part is at most so large
_WIDE, _GRID = 8.0, 321  # standard deviations and points of a canonical law
_NORMAL_POINTS = 5  # of a rule, in each of two directions
Of = Callable[[np.ndarray], np.ndarray]
# at u (N, 3), of all that a step may draw: its chance and the gradient (N, 3)
Draws = Callable[[np.ndarray], Iterable[tuple[float, np.ndarray]]]


@dataclass(frozen=True, eq=False)
class Chain:
    """One step of the moments: matrix (K, K); `points`, unit vectors (N, 3), and `weights` (N) integrate."""

    rows: np.ndarray
    batch: int | None
    rate: float
    draws: Draws
    frame: np.ndarray  # rows are e_1, e_2, e_3
    mean: np.ndarray  # of the weight (2,)
    root: np.ndarray  # of its covariance (2, 2)
    degree: int

    @functools.cached_property
    def _rule(self) -> tuple[np.ndarray, np.ndarray]:
        place, weight = np.polynomial.hermite_e.hermegauss(2 * self.degree)
        weight = weight / weight.sum()
        return np.array(list(itertools.product(place, repeat=2))), np.outer(weight, weight).ravel()

    @property
    def weights(self) -> np.ndarray:
        """Of the points, in the weight."""
        return self._rule[1]

    @functools.cached_property
    def points(self) -> np.ndarray:
        """Unit vectors (N, 3) of the rule."""
        y = self.mean + self._rule[0] @ self.root.T
        there = np.concatenate([y, np.ones((len(y), 1))], axis=1)
        return np.asarray(there / np.linalg.norm(there, axis=1, keepdims=True) @ self.frame)

    @functools.cached_property
    def matrix(self) -> np.ndarray:
        """A (K, K)."""
        projector = (self.basis(self.points) * self.weights[:, None]).T
        found = np.zeros((len(projector), len(projector)))
        for probability, gradient in self.draws(self.points):
            found += probability * (projector @ self.basis(self.points - self.rate * gradient))
        return found

    @functools.cached_property
    def stationary(self) -> np.ndarray:
        """Stationary moments (K,)."""
        one = np.eye(len(self.matrix) - 1)
        return np.append(1.0, np.linalg.solve((one - self.matrix[1:, 1:]).T, self.matrix[0, 1:]))

    @property
    def relaxation_time(self) -> float:
        """Steps, to leading order: 1/(2 h (l_2 - l_3))."""
        return float(1.0 / (self.rate * self.curvatures[1]))

    def basis(self, w: np.ndarray) -> np.ndarray:
        """The polynomials at vectors (N, 3) of any length: (N, K)."""
        y = w @ self.frame.T
        x = np.linalg.solve(self.root, (y[:, :2] / y[:, 2:] - self.mean).T)
        table = [np.ones_like(x), x]
        for k in range(1, self.degree):
            table.append((x * table[k] - math.sqrt(k) * table[k - 1]) / math.sqrt(k + 1))
        return np.stack([table[i][0] * table[k - i][1] for k in range(self.degree + 1) for i in range(k + 1)], axis=1)

    def average(self, of: Of, moments: np.ndarray | None = None) -> np.ndarray:
        """Of a function of u, (N, 3) -> (N, ...), over the stationary law, or moments (F, K): (..., ...)."""
        projector = self.basis(self.points) * self.weights[:, None]
        moments = self.stationary if moments is None else moments
        return np.asarray(moments @ np.tensordot(projector, of(self.points), axes=(0, 0)))

    def course(self, start: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moments (F, K) at steps, in order, from a vector at step 0 (3,), and their sums over all steps before."""
        at, before = self.basis(np.asarray(start, float)[None])[0], 0
        since, powers = np.zeros_like(at), dict[int, tuple[np.ndarray, np.ndarray]]()
        found, sums = [], []
        for step in map(int, steps):
            gap = step - before
            if gap not in powers:
                powers[gap] = _power(self.matrix, gap)
            many, several = powers[gap]
            since, at, before = since + at @ several, at @ many, step
            found.append(at)
            sums.append(since)
        return np.array(found), np.array(sums)

    def marginal(self, temperature: float, y: np.ndarray) -> np.ndarray:
        """Density of u_1/u_3 at y (P,) for exp(-L/T)/Z."""
        across = np.linspace(-_WIDE, _WIDE, 2001) * np.sqrt(temperature / self.curvatures[1])
        there = np.stack(np.broadcast_arrays(y[:, None], across[None, :], 1.0), axis=-1).reshape(-1, 3)
        square = (there**2).sum(axis=1)
        loss = self.loss(there / np.sqrt(square)[:, None] @ self.frame).reshape(len(y), -1)
        density = (np.exp(-(loss - loss.min()) / temperature) * square.reshape(loss.shape) ** -1.5).sum(axis=1)
        return np.asarray(density / np.trapezoid(density, y))

    @property
    def curvatures(self) -> np.ndarray:
        """2 (l_i - l_3) along e_1 and e_2."""
        losses = self._squares(self.frame).mean(axis=1)
        return 2.0 * (losses[:2] - losses[2])

    def loss(self, u: np.ndarray) -> np.ndarray:
        """Of all rows, (N,)."""
        return np.asarray(self._squares(u).mean(axis=1))

    def _squares(self, u: np.ndarray) -> np.ndarray:
        return np.asarray((u @ self.rows.T) ** 2)

    def spreads(self, u: np.ndarray) -> np.ndarray:
        """Squares along e_1 and e_2, (N, 2)."""
        return np.asarray((u @ self.frame[:2].T) ** 2)

    def canonical(self, of: Of, temperature: float) -> np.ndarray:
        """Average over exp(-L/T)/Z of a function of u, by a sum over a grid of y."""
        place = np.linspace(-_WIDE, _WIDE, _GRID)
        y = np.array(list(itertools.product(place, repeat=2))) * np.sqrt(temperature / self.curvatures)
        there = np.concatenate([y, np.ones((len(y), 1))], axis=1)
        length = np.linalg.norm(there, axis=1)
        u = there / length[:, None] @ self.frame
        loss = self.loss(u)
        weight = np.exp(-(loss - loss.min()) / temperature) / length**3
        return np.asarray(np.tensordot(weight / weight.sum(), of(u), axes=(0, 0)))

    @property
    def _log_weight(self) -> np.ndarray:
        return np.asarray(-0.5 * (self._rule[0] ** 2).sum(axis=1))

    def _log_canonical(self, temperature: float) -> np.ndarray:
        """Over dy, up to a constant."""
        uniform = np.abs(self.points @ self.frame[2]) ** 3
        loss = self.loss(self.points)
        return np.asarray(np.log(uniform) - (loss - loss.min()) / temperature)

    def gradient_square(self, u: np.ndarray) -> np.ndarray:
        """Mean of |g|^2 of a step (N,)."""
        return np.asarray(sum(p * (gradient**2).sum(axis=1) for p, gradient in self.draws(u)))

    def stretch(self, u: np.ndarray) -> np.ndarray:
        """Mean of |v| - 1 of a step (N,)."""
        return np.asarray(sum(p * (np.linalg.norm(u - self.rate * g, axis=1) - 1.0) for p, g in self.draws(u)))

    def trace(self, u: np.ndarray) -> np.ndarray:
        """Tr Sigma of a minibatch of rows (N,)."""
        return np.asarray(np.trace(_covariance(self.rows, self.batch, u), axis1=1, axis2=2))

    @property
    def anisotropy(self) -> float:
        """Root of the ratio of the two eigenvalues of the mean Sigma, in the plane of e_1 and e_2."""
        mean = self.average(lambda u: _covariance(self.rows, self.batch, u).reshape(-1, 9)).reshape(3, 3)
        small, large = np.linalg.eigvalsh(self.frame[:2] @ mean @ self.frame[:2].T)
        return float(np.sqrt(large / small))

    def relative_entropy(self, temperature: float) -> float:
        """Of the stationary law from exp(-L/T)/Z, in nat; nan where its density is not resolved."""
        over = self.basis(self.points) @ self.stationary  # density over the weight
        if float(self.weights @ np.minimum(over, 0.0)) < -_NEGATIVE:
            return math.nan
        other = self._log_canonical(temperature) - self._log_weight
        other -= np.log(self.weights @ np.exp(other))
        there = over > 0.0
        return float(self.weights[there] @ (over[there] * (np.log(over[there]) - other[there])))


def minibatches(rows: int, batch: int | None) -> list[tuple[float, np.ndarray]]:
    """Probability and the share of each row, of all minibatches that are drawn with replacement; None: all rows."""
    if batch is None:
        return [(1.0, np.full(rows, 1.0 / rows))]
    found = []
    for places in itertools.combinations(range(batch + rows - 1), rows - 1):
        counts = np.diff([-1, *places, batch + rows - 1]) - 1
        ways = math.factorial(batch) // math.prod(math.factorial(int(n)) for n in counts)
        found.append((ways / rows**batch, counts / batch))
    return found


def chain(rows: np.ndarray, batch: int | None, rate: float, noise: Noise = "rows") -> tuple[Chain, ...]:
    """The chain of rows (K, 3), and chains with fewer polynomials, which tell the truncation.

    The expansion is asymptotic: at large rates more polynomials bring nothing nearer, two degrees may agree by chance,
    and the error may be about twice their difference. So the truncation is twice the largest of several.

    Raises ValueError where no direction has a loss that is less than that of all others, or the noise dies out there.
    """
    rows = np.asarray(rows, float)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    if values[1] - values[0] < 1e-9 * values[2]:
        raise ValueError("the chain is expanded about the direction of least loss, and here there is no single one")
    frame = vectors[:, [2, 1, 0]].T
    strength = 0.0
    if noise == "constant":
        law = chain(rows, batch, rate)[0]
        strength = float(law.average(law.trace)) / 2.0
    draws = _draws(rows, batch, frame, noise, strength)
    mean, covariance = np.zeros(2), _covariance_near(frame, draws, rate)
    for _ in range(2):
        first = Chain(rows, batch, rate, draws, frame, mean, np.linalg.cholesky(covariance), _FIRST)
        moments = first.average(lambda u: _second(u @ frame.T))
        mean, covariance = moments[:2], _positive(moments[2:].reshape(2, 2) - np.outer(moments[:2], moments[:2]))
    root = np.linalg.cholesky(covariance)
    return tuple(Chain(rows, batch, rate, draws, frame, mean, root, size) for size in _DEGREES)


def truncation(values: Sequence[np.ndarray]) -> np.ndarray:
    """Of the first of some averages, by the chains of `chain` in order."""
    return np.asarray(2.0 * np.max([np.abs(values[0] - other) for other in values[1:]], axis=0))


def _second(u: np.ndarray) -> np.ndarray:
    """y and y y' (N, 6)."""
    y = u[:, :2] / u[:, 2:]
    return np.concatenate([y, (y[:, :, None] * y[:, None, :]).reshape(-1, 4)], axis=1)


def _positive(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return np.asarray((vectors * np.maximum(values, 1e-3 * values.max())) @ vectors.T)


def _covariance_near(frame: np.ndarray, draws: Draws, rate: float) -> np.ndarray:
    """Of y where steps are linear in it: C = sum_b P_b (J_b C J_b' + s_b s_b'), by differences about e_3."""
    tiny = 1e-5
    near = np.array([(0, 0), (tiny, 0), (-tiny, 0), (0, tiny), (0, -tiny)], float)
    u = np.concatenate([near, np.ones((5, 1))], axis=1)
    u = u / np.linalg.norm(u, axis=1, keepdims=True) @ frame
    grown, source = np.zeros((4, 4)), np.zeros((2, 2))
    for probability, gradient in draws(u):
        there = (u - rate * gradient) @ frame.T
        y = there[:, :2] / there[:, 2:]
        slope = np.stack([y[1] - y[2], y[3] - y[4]], axis=1) / (2.0 * tiny)
        grown += probability * np.kron(slope, slope)
        source += probability * np.outer(y[0], y[0])
    found = np.linalg.solve(np.eye(4) - grown, source.ravel()).reshape(2, 2)
    if not np.trace(found) > 1e-12:
        raise ValueError("the noise of the rows dies out, or does not stay near the direction of least loss")
    return _positive(found)


def _draws(rows: np.ndarray, batch: int | None, frame: np.ndarray, noise: Noise, strength: float) -> Draws:
    if noise != "rows":
        return functools.partial(_normal, rows, batch, frame, noise, strength)
    shares = minibatches(len(rows), batch)
    return lambda u: ((probability, _gradient(rows, share, u)) for probability, share in shares)


def _gradient(rows: np.ndarray, share: np.ndarray, u: np.ndarray) -> np.ndarray:
    along = u @ rows.T
    return np.asarray(2.0 * ((along * share) @ rows - ((along**2) @ share)[:, None] * u))


def _normal(
    rows: np.ndarray, batch: int | None, frame: np.ndarray, noise: Noise, strength: float, u: np.ndarray
) -> Iterator[tuple[float, np.ndarray]]:
    """The gradient of all rows and two standard normals times a root of the covariance, in smooth directions."""
    first = frame[0] - (u @ frame[0])[:, None] * u
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    across = np.stack([first, np.cross(u, first)], axis=2)  # (N, 3, 2)
    of = across.transpose(0, 2, 1) @ _covariance(rows, batch, u) @ across
    if noise != "covariance":
        square = (of[:, 0, 0] + of[:, 1, 1]) / 2.0 if noise == "local" else np.full(len(u), strength)
        of = square[:, None, None] * np.eye(2)
    size = np.sqrt(of[:, 0, 0])
    slant = of[:, 0, 1] / np.maximum(size, 1e-300)
    rest = np.sqrt(np.maximum(of[:, 1, 1] - slant**2, 0.0))
    one = size[:, None] * across[:, :, 0] + slant[:, None] * across[:, :, 1]
    two = rest[:, None] * across[:, :, 1]
    mean = _gradient(rows, np.full(len(rows), 1.0 / len(rows)), u)
    place, weight = np.polynomial.hermite_e.hermegauss(_NORMAL_POINTS)
    weight = weight / weight.sum()
    for i, j in itertools.product(range(_NORMAL_POINTS), repeat=2):
        yield weight[i] * weight[j], mean + place[i] * one + place[j] * two


def _covariance(rows: np.ndarray, batch: int | None, u: np.ndarray) -> np.ndarray:
    """(N, 3, 3) of the gradient of a minibatch: that of a row over B; 0 of all rows."""
    if batch is None:
        return np.zeros((len(u), 3, 3))
    single = np.stack([_gradient(rows, share, u) for share in np.eye(len(rows))], axis=1)  # (N, K, 3)
    single -= single.mean(axis=1, keepdims=True)
    return np.asarray(np.einsum("nki,nkj->nij", single, single) / len(rows) / batch)


def _power(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A^n and 1 + A + ... + A^(n-1)."""
    if count == 0:
        return np.eye(len(matrix)), np.zeros_like(matrix)
    half, sums = _power(matrix, count // 2)
    found, several = half @ half, sums + half @ sums
    return (found @ matrix, several + found) if count % 2 else (found, several)
