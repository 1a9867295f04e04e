"""The isotropic noise model at finite step: the exact stationary law of the discrete updates, by a spectral method.

With n = w/|w|, z = -mu.n and s^2 = 1 - z^2, the gradient has the component s + sigma xi along the meridian and
sigma^2 chi^2_(d-2) across it, so that z and the radius are together a Markov chain, however large the step:

    g^2 = (s + sigma xi)^2 + sigma^2 chi^2_(d-2)                 squared gradient on the unit sphere
    z' = (A z + B s (s + sigma xi))/sqrt(A^2 + B^2 g^2)          |w'|^2/|w|^2 = A^2 + B^2 g^2
    fixed-elr     A = 1 - q, B = eta_eff, q = eta_eff lambda r^2  radial variable y = ln q
    fixed-lr      A = 1 - eta lambda, B = h, h = eta/r^2          radial variable y = ln h
    fixed-sphere  A = 1, B = eta_eff                              no radial variable

The law is a series of orthonormal polynomials times a von Mises-Fisher weight in z and a Gaussian weight in y; the
coefficients solve the stationarity of every polynomial (Galerkin). The order is raised until the results stand still;
the last change is returned as their truncation. Updates: I. Sadrtdinov et al., arXiv 2511.07308.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact import ideal_gas, von_mises_fisher

__all__ = ["StationaryLaw", "cosine_density", "stationary", "stationary_law"]

# polynomials in z and in y, quadrature points of xi and of chi^2
LEVELS = ((8, 5, 12, 6), (12, 8, 20, 10), (18, 11, 28, 14), (28, 14, 44, 20), (44, 16, 72, 28))
CONVERGED = 1e-7
ROUNDING = 1e-14
BULK_POINTS = 600


@dataclass(frozen=True)
class StationaryLaw:
    """Averages over the stationary law. In `truncation` (same fields) their absolute uncertainty."""

    loss: float  # U = E L
    loss_variance: float
    direction_entropy: float  # of w/|w| on the unit sphere, nats
    gradient_square: float  # E g^2
    stretch: float  # E |w'|/|w| - 1
    effective_learning_rate: float  # E eta_eff
    log_radial: float  # E y
    radial_half: float  # E exp(-+ y/2): mean r in units of r at y = 0
    radial_one: float  # E exp(-+ y): mean r^2 in the same units
    log_square_deviation: float  # standard deviation of ln r^2
    relaxation_time: float  # steps; of the slowest mode
    skew: float = 0.0  # concentration of the weight in z, kept for the density
    truncation: StationaryLaw | None = None
    coefficients: tuple[float, ...] = ()


def stationary(
    protocol: str,
    dimension: int,
    noise: ArrayLike,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    radius: ArrayLike = 1.0,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Exact averages and their truncation, each of the broadcast shape of the arguments.

    Keys: loss, loss_variance, direction_entropy, gradient_square, stretch, effective_learning_rate, temperature,
    radius, radius_square, log_radius_square (its mean), log_radius_square_deviation, pressure, relaxation_time (steps).
    """
    arguments = np.broadcast_arrays(noise, learning_rate, weight_decay, radius)
    cells = [_cell(protocol, dimension, *map(float, cell)) for cell in zip(*map(np.ravel, arguments), strict=True)]
    shape = arguments[0].shape
    return {
        key: (np.reshape([c[key][0] for c in cells], shape), np.reshape([c[key][1] for c in cells], shape))
        for key in cells[0]
    }


def cosine_density(law: StationaryLaw, dimension: int, cosine: np.ndarray) -> np.ndarray:
    """Density of z = -mu.n at the points given."""
    basis = _Weight.of_direction(dimension, law.skew, len(law.coefficients))
    shape = basis.polynomials(np.asarray(cosine, float)) @ np.array(law.coefficients)
    return np.exp(von_mises_fisher.log_density(dimension, law.skew, cosine)) * shape


@lru_cache(maxsize=4096)
def stationary_law(protocol: str, dimension: int, noise: float, step: float) -> StationaryLaw:
    """The law; it depends on `step` alone: eta_eff, or the product eta lambda for "fixed-lr".

    Raises ValueError for a step or a noise that is not positive.
    """
    if not (step > 0.0 and noise > 0.0 and dimension >= 2):
        raise ValueError(f"no stationary law for step {step}, noise {noise}, dimension {dimension}")
    gas = ideal_gas.state(protocol, dimension, noise, step, 1.0, gradient=True)
    rate = float(gas.effective_learning_rate)
    center = np.log(step * gas.radius**2) if protocol == "fixed-elr" else np.log(rate)
    spread = float(ideal_gas.radius_fluctuation(protocol, dimension, noise, step, 1.0))
    guess = _Guess(1.0 / (float(gas.temperature) * (1.0 + rate / 2)), float(center), spread)
    chain = _Chain(protocol, dimension, noise, step)
    previous, guess = chain.solve(guess, LEVELS[0])
    previous, guess = chain.solve(guess, LEVELS[0])
    best = replace(previous, truncation=_difference(previous, previous)), np.inf
    for level in LEVELS[1:]:
        law, _ = chain.solve(guess, level)
        error = _difference(law, previous)
        entropy = error.direction_entropy / dimension
        worst = max(error.loss / law.loss, entropy, error.gradient_square / law.gradient_square)
        if worst > best[1]:  # polynomials of too high an order for the tails
            break
        best, previous = (replace(law, truncation=error), worst), law
        if worst < CONVERGED + 10 * ROUNDING * max(law.relaxation_time, 1.0):
            break
    return best[0]


@dataclass(frozen=True)
class _Guess:
    """Where to put the weights: concentration of z, center and width of y."""

    skew: float
    center: float
    spread: float


@dataclass(frozen=True)
class _Weight:
    """Orthonormal polynomials of a weight, as their three-term recurrence in u = (x - shift)/scale."""

    shift: float
    scale: float
    diagonal: np.ndarray
    beside: np.ndarray

    @staticmethod
    def of_direction(dimension: int, skew: float, order: int) -> _Weight:
        """Polynomials in z orthonormal under the von Mises-Fisher law."""
        low, high = von_mises_fisher.angle_range(dimension, skew)
        node, weight = _legendre()
        theta = low + (high - low) / 2 * (node + 1.0)
        log_weight = (dimension - 2) * np.log(np.sin(theta)) - 2.0 * skew * np.sin(theta / 2) ** 2
        weight = weight * np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        cosine = np.cos(theta)
        shift = float(weight @ cosine)
        scale = float(np.sqrt(weight @ (cosine - shift) ** 2))
        u = (cosine - shift) / scale
        diagonal, beside = np.zeros(order), np.zeros(order)
        last, current = np.zeros_like(u), np.ones_like(u)
        for k in range(order):
            diagonal[k] = weight @ (u * current**2)
            following = (u - diagonal[k]) * current - (beside[k - 1] if k else 0.0) * last
            beside[k] = np.sqrt(weight @ following**2)
            last, current = current, following / beside[k]
        return _Weight(shift, scale, diagonal, beside)

    @staticmethod
    def gaussian(center: float, spread: float, order: int) -> _Weight:
        """Hermite polynomials."""
        return _Weight(center, spread, np.zeros(order), np.sqrt(np.arange(1.0, order + 1)))

    @staticmethod
    def chi_square(degrees: int, order: int) -> _Weight:
        """Laguerre polynomials of chi^2 with that many degrees of freedom."""
        k = np.arange(order)
        alpha = degrees / 2 - 1
        return _Weight(0.0, 2.0, 2 * k + 1 + alpha, np.sqrt((k + 1) * (k + 1 + alpha)))

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Gauss points and weights of a probability."""
        matrix = np.diag(self.diagonal) + np.diag(self.beside[:-1], 1) + np.diag(self.beside[:-1], -1)
        values, vectors = np.linalg.eigh(matrix)
        return self.shift + self.scale * values, vectors[0] ** 2

    def polynomials(self, x: np.ndarray, order: int | None = None) -> np.ndarray:
        """p_0 .. p_(order-1) at x: shape (..., order)."""
        order = len(self.diagonal) if order is None else order
        u = (x - self.shift) / self.scale
        result = np.empty((*x.shape, order))
        result[..., 0] = 1.0
        for k in range(order - 1):
            last = self.beside[k - 1] * result[..., k - 1] if k else 0.0
            result[..., k + 1] = ((u - self.diagonal[k]) * result[..., k] - last) / self.beside[k]
        return result


@dataclass(frozen=True)
class _Chain:
    """The Markov chain of one cell, and its stationary law at a given order."""

    protocol: str
    dimension: int
    noise: float
    step: float

    def solve(self, guess: _Guess, level: tuple[int, int, int, int]) -> tuple[StationaryLaw, _Guess]:
        """The law from polynomials about the guess, and the better guess it makes."""
        along, across, random, chi = level
        across = 1 if self.protocol == "fixed-sphere" else across
        extra = 6
        direction = _Weight.of_direction(self.dimension, guess.skew, along + extra)
        radial = _Weight.gaussian(guess.center, guess.spread or 1.0, across + extra if across > 1 else 1)
        z, weight_z = direction.nodes()
        y, weight_y = radial.nodes()
        weights = weight_z[:, None] * weight_y
        new_z, new_y, growth, noise_weights = self._move(z[:, None], y, random, chi)
        p_new = direction.polynomials(new_z, along)
        h_new = radial.polynomials(new_y, across)
        after = np.einsum("abn,abnk,abnl->abkl", noise_weights[None, None], p_new, h_new, optimize=True)
        before = np.einsum("ak,bl->abkl", direction.polynomials(z, along), radial.polynomials(y, across))
        size = along * across
        before, after = before.reshape(-1, size), after.reshape(-1, size)
        matrix = (before * weights.reshape(-1, 1)).T @ after
        inner = matrix[1:, 1:]
        c = np.concatenate([[1.0], np.linalg.solve((np.eye(size - 1) - inner).T, matrix[0, 1:])])
        mass = weights * (before @ c).reshape(weights.shape)
        slowest = np.abs(np.linalg.eigvals(inner)).max()
        stretch = ((np.sqrt(growth) - 1.0) @ noise_weights * mass).sum()
        law = self._averages(guess, c.reshape(along, across)[:, 0], direction, z, y, mass, stretch, slowest)
        deviation = law.log_square_deviation if across > 1 else 0.0
        skew = _concentration(self.dimension, law.loss, guess.skew)
        return law, _Guess(skew, law.log_radial, deviation)

    def _move(self, z: np.ndarray, y: np.ndarray, random: int, chi: int) -> tuple[np.ndarray, ...]:
        """Next z and y and |w'|^2/|w|^2 at the nodes (Z, 1) x (Y,) and all noise: (Z, Y, N); weights (N,)."""
        xi, weight = _Weight.gaussian(0.0, 1.0, random).nodes()
        if self.dimension > 2:
            square, other = _Weight.chi_square(self.dimension - 2, chi).nodes()
            xi, square = np.repeat(xi, chi), np.tile(square, random)
            weight = np.outer(weight, other).ravel()
        else:
            square = np.zeros_like(xi)
        shrink, stride = self._factors(y)
        slope = np.sqrt(1.0 - z**2)[..., None]
        up = slope + self.noise * xi
        gradient = up**2 + self.noise**2 * square
        growth = shrink[:, None] ** 2 + stride[:, None] ** 2 * gradient
        new_z = (shrink[:, None] * z[..., None] + stride[:, None] * up * slope) / np.sqrt(growth)
        sign = {"fixed-elr": 1.0, "fixed-lr": -1.0, "fixed-sphere": 0.0}[self.protocol]
        return new_z, y[:, None] + sign * np.log(growth), growth, weight

    def _factors(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.protocol == "fixed-elr":
            return 1.0 - np.exp(y), np.full_like(y, self.step)
        if self.protocol == "fixed-lr":
            return np.full_like(y, 1.0 - self.step), np.exp(y)
        return np.ones_like(y), np.full_like(y, self.step)

    def _averages(
        self,
        guess: _Guess,
        c: np.ndarray,
        direction: _Weight,
        z: np.ndarray,
        y: np.ndarray,
        mass: np.ndarray,
        stretch: float,
        slowest: float,
    ) -> StationaryLaw:
        mass_z, mass_y = mass.sum(1), mass.sum(0)
        loss = 1.0 - mass_z @ z
        slope = mass_z @ (1.0 - z**2)
        shape = direction.polynomials(z, len(c)) @ c
        surprise = mass_z @ np.log(np.maximum(shape, 1e-12))
        constant = float(von_mises_fisher.log_normalisation(self.dimension, guess.skew))
        mean_y = mass_y @ y
        sign = 0.5 if self.protocol == "fixed-elr" else -0.5
        return StationaryLaw(
            loss=float(loss),
            loss_variance=float(mass_z @ (1.0 - z - loss) ** 2),
            direction_entropy=float(constant - guess.skew * (1.0 - loss) - surprise),
            gradient_square=float(slope + (self.dimension - 1) * self.noise**2),
            stretch=float(stretch),
            effective_learning_rate=float(mass_y @ np.exp(y)) if self.protocol == "fixed-lr" else self.step,
            log_radial=float(mean_y),
            radial_half=float(mass_y @ np.exp(sign * y)),
            radial_one=float(mass_y @ np.exp(2 * sign * y)),
            log_square_deviation=float(np.sqrt(max(mass_y @ (y - mean_y) ** 2, 0.0))),
            relaxation_time=float(-1.0 / np.log(slowest)),
            skew=guess.skew,
            coefficients=tuple(map(float, c)),
        )


@lru_cache(maxsize=1)
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(BULK_POINTS)


def _concentration(dimension: int, loss: float, start: float) -> float:
    """The kappa of a von Mises-Fisher law with this mean loss, by Newton steps in ln kappa."""
    kappa = start
    for _ in range(20):
        gap = float(von_mises_fisher.energy(dimension, kappa)) - loss
        if abs(gap) < 1e-9 * loss:
            break
        kappa *= float(np.exp(np.clip(gap * kappa / float(von_mises_fisher.heat_capacity(dimension, kappa)), -1, 1)))
    return kappa


def _difference(law: StationaryLaw, other: StationaryLaw) -> StationaryLaw:
    """Absolute change of every average, and not less than rounding makes of it."""
    rounding = ROUNDING * max(law.relaxation_time, 1.0)
    names = [f.name for f in fields(law) if f.name not in ("skew", "truncation", "coefficients")]
    values = {n: (getattr(law, n), getattr(other, n)) for n in names}
    return StationaryLaw(**{n: abs(a - b) + rounding * abs(a) for n, (a, b) in values.items()})


def _cell(
    protocol: str, dimension: int, noise: float, learning_rate: float, weight_decay: float, radius: float
) -> dict[str, tuple[float, float]]:
    """The averages of one cell in its own units, each with its truncation."""
    step = learning_rate * weight_decay if protocol == "fixed-lr" else learning_rate
    law = stationary_law(protocol, dimension, noise, float(f"{step:.12g}"))
    error = law.truncation
    assert error is not None
    result = {
        name: (getattr(law, name), getattr(error, name))
        for name in ("loss", "loss_variance", "direction_entropy", "gradient_square", "stretch", "relaxation_time")
    }
    rate, rate_error = law.effective_learning_rate, error.effective_learning_rate
    result["effective_learning_rate"] = (rate, rate_error)
    result["temperature"] = (rate * noise**2 / 2, rate_error * noise**2 / 2)
    if protocol == "fixed-sphere":
        exact = {"radius": radius, "radius_square": radius**2, "log_radius_square": 2 * np.log(radius)}
        result |= {name: (float(value), 0.0) for name, value in exact.items()}
        result["pressure"] = tuple(v / (learning_rate * radius**2) for v in (law.stretch, error.stretch))  # type: ignore[assignment]
    else:
        unit = learning_rate if protocol == "fixed-lr" else 1.0 / (learning_rate * weight_decay)  # r^2 at y = 0
        sign = -1.0 if protocol == "fixed-lr" else 1.0
        result["radius"] = (law.radial_half * unit**0.5, error.radial_half * unit**0.5)
        result["radius_square"] = (law.radial_one * unit, error.radial_one * unit)
        result["log_radius_square"] = (sign * law.log_radial + float(np.log(unit)), error.log_radial)
        result["pressure"] = (weight_decay, 0.0)
    result["log_radius_square_deviation"] = (law.log_square_deviation, error.log_square_deviation)
    return result
