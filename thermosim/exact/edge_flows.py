"""Flows that gradient descent theta' = theta - r g, g = grad L, is held against beyond the edge of stability.

    gradient flow    d theta/ds = -g
    modified flow    d theta/ds = -grad(L + r |g|^2/4) = -(g + (r/2) H g)             distance of order r^2, r h < 2
    central flow     d theta/ds = -(g + (s/2) grad S),   S = h the largest eigenvalue of H, v its vector,
                     grad S = D^3 L[v, v], and s >= 0 the variance of the oscillation along v that keeps r S at 2

Descent goes 2/r < S in a direction that the first two do not know: they go on to sharper places, descent oscillates
along v, and its oscillation descends S. One eigenvalue is held here; where a second comes to 2/r the central flow has
a matrix in place of s. s is chosen so that dS/ds = -k (S - 2/r), k = 1/(2 r), wherever that takes s > 0: S comes to 2/r
within some steps of the descent, and stays there to a part of the rate of sharpening over k.

Sources: D. G. T. Barrett, B. Dherin, ICLR 2021, arXiv:2009.11162, for the modified flow; J. Cohen, A. Damian, A.
Talwalkar, J. Z. Kolter, J. D. Lee, arXiv:2410.24206 (2024), for the central flow; the relaxation in k is our choice.
"""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
from scipy.integrate import RK45

from thermosim.exact.entropic_loss import COEFFICIENT, Gradient, slope

__all__ = ["central_path", "flow_path", "gradient_of_sharpness", "sharpest"]

_ACCURACY, _EVALUATIONS = 1e-6, 60_000  # of a path, gradients of it at most
_FOURTH = float(np.finfo(float).eps) ** 0.25  # of a second difference
_THIRD = float(np.finfo(float).eps) ** (1.0 / 3.0)
_RELAXATION, _SUBSTEPS, _PRODUCTS, _FIRST = 0.5, 2, 3, 40


def flow_path(gradient: Gradient, theta: np.ndarray, rate: float, steps: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """theta (R, m) carried to times r steps, (F,) and rising: (F, R, m). NaN from where a flow does not arrive.

    factor (R,): 0 for the flow of L, 1 for the modified one, of L + r |g|^2/4.
    """
    start, calls = np.asarray(theta, float), itertools.count(1)

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        if next(calls) > _EVALUATIONS:
            raise ArithmeticError
        return np.ravel(-slope(gradient, flat.reshape(start.shape), COEFFICIENT * rate * factor))

    times, found = rate * np.asarray(steps, float), np.full((len(steps), *start.shape), np.nan)
    now, here, length = 0.0, start, None
    with contextlib.suppress(ArithmeticError):
        for k, time in enumerate(times):
            if time > now:
                path = RK45(velocity, now, here.ravel(), time, first_step=length, rtol=_ACCURACY, atol=_ACCURACY)
                while path.status == "running":
                    path.step()
                here, now = path.y.reshape(start.shape), time
            found[k] = here
    return found


def central_path(gradient: Gradient, theta: np.ndarray, rate: float, steps: np.ndarray) -> tuple[np.ndarray, ...]:
    """The central flow from theta (R, m) at times r steps: theta (F, R, m), r S (F, R), and s (F, R).

    By Heun's method, two steps for each of the descent, which r S = 2 leaves stable; v is followed by powers of H.
    """
    here, vector = np.array(theta, float), sharpest(gradient, np.asarray(theta, float), None, _FIRST)
    found, now = [], 0.0
    for time in np.asarray(steps, float):
        count = int(np.ceil(_SUBSTEPS * (time - now) - 1e-9))
        for _ in range(count):
            vector, size = sharpest(gradient, here, vector, _PRODUCTS), rate * (time - now) / count
            first, _, _ = _central(gradient, here, rate, vector)
            second, _, _ = _central(gradient, here + size * first, rate, vector)
            here = here + 0.5 * size * (first + second)
        now, vector = time, sharpest(gradient, here, vector, _PRODUCTS)
        _, sharpness, variance = _central(gradient, here, rate, vector)
        found.append((here.copy(), rate * sharpness, variance))
    return tuple(np.stack(column) for column in zip(*found, strict=True))


def sharpest(gradient: Gradient, theta: np.ndarray, start: np.ndarray | None, products: int) -> np.ndarray:
    """The unit vector of the largest eigenvalue of H at theta (R, m), by Lanczos from a start: (R, m)."""
    vector = np.random.default_rng(0).normal(size=theta.shape) if start is None else start
    products = min(products, theta.shape[1])
    basis, images = np.zeros((2, len(theta), products, theta.shape[1]))
    for k in range(products):
        for _ in range(2):
            vector = vector - np.einsum("rk,rkm->rm", np.einsum("rkm,rm->rk", basis[:, :k], vector), basis[:, :k])
        length = np.linalg.norm(vector, axis=1, keepdims=True)
        basis[:, k] = np.divide(vector, length, out=np.zeros_like(vector), where=length > 0.0)
        vector = images[:, k] = _product(gradient, theta, basis[:, k])
    projected = np.einsum("rkm,rlm->rkl", basis, images)
    _, turned = np.linalg.eigh(0.5 * (projected + projected.transpose(0, 2, 1)))
    return np.einsum("rk,rkm->rm", turned[:, :, -1], basis)


def gradient_of_sharpness(
    gradient: Gradient, theta: np.ndarray, vector: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """g (R, m), S = v'Hv (R,), and grad S = D^3 L[v, v] (R, m) at theta, v the eigenvector of length 1."""
    away = _FOURTH * (1.0 + np.sqrt((theta**2).mean(1, keepdims=True)))
    here, above, below = gradient(theta), gradient(theta + away * vector), gradient(theta - away * vector)
    sharpness = ((above - below) / (2.0 * away) * vector).sum(1)
    return here, sharpness, (above - 2.0 * here + below) / away**2


def _central(
    gradient: Gradient, theta: np.ndarray, rate: float, vector: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Velocity (R, m), S and s (R,) of the central flow."""
    here, sharpness, sharpening = gradient_of_sharpness(gradient, theta, vector)
    square = (sharpening**2).sum(1)
    rise = _RELAXATION / rate * (sharpness - 2.0 / rate) - (here * sharpening).sum(1)
    variance = np.divide(2.0 * rise, square, out=np.zeros_like(rise), where=(rise > 0.0) & (square > 0.0))
    return -here - 0.5 * variance[:, None] * sharpening, sharpness, variance


def _product(gradient: Gradient, theta: np.ndarray, along: np.ndarray) -> np.ndarray:
    step = _THIRD * (1.0 + np.sqrt((theta**2).mean(1, keepdims=True)))
    return np.asarray((gradient(theta + step * along) - gradient(theta - step * along)) / (2.0 * step))
