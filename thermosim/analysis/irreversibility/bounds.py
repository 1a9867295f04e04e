"""How far the measures of irreversibility may be from leading order, r J U/2 and r |U|^2/4, by Taylor's formula.

    |g_TA - r J U/2| <= (r^2/4) L2 |U|^2,    |g_TR - r J U/2| <= (r^2/8) L2 |U|^2
    |g_DE - r J U/2| <= (r^2/6) (L1^2 M + L2 M^2)
    |phi_ST - r |U|^2/4| <= (r/16) (4 r L1 + r^2 L1^2) |U|^2
    |phi_i - r |U|^2/4| <= |theta - theta_0| int_0^1 (bound of g_i at theta_0 + s (theta - theta_0)) ds,   DE, TR, TA

The first two are the remainder of U(theta - t U) at t = r and r/2; the third is that of U(y) along the flow y, since
d^2/ds^2 U(y) = r^2 (J J U + U''[U, U]); the fourth is |U + U'|^2 - 4 |U|^2 = -4 U.(U - U') + |U - U'|^2; the last is
the line integral along the ray, J symmetric. L1 bounds |J v|/|v|, L2 bounds |U''[v, v]|/|v|^2 and M bounds |U|, along
the step for TA, TR and ST, on the flow for DE.

L1 and L2 are measured by central differences, as maxima over five points of the path: of J along the step (on the
flow: along U and J U), and of second differences of U along the path. They are lower estimates of the constants, and
the bounds with them estimates of bounds, the better the smoother the field. A kink of ReLU has no L2: what is measured
there says nothing.
Source: the measures are those of L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), appendices B and G.
"""

from __future__ import annotations

import numpy as np

from thermosim.analysis.irreversibility.fields import Field, directional

__all__ = ["scalar_bounds", "vector_bounds"]

_POINTS = np.linspace(0.0, 1.0, 5)  # of a path
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)  # of the ray
_SECOND = 3e-4  # least length of a second difference: its rounding is 1e-9 of the field


def vector_bounds(field: Field, theta: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """Bounds of |g - r J U/2| at theta (R, m), of de, tr and ta: each (R,)."""
    here = field(theta)
    size = _norm(here)
    curved = np.max([_second(field, theta - t * rate * here, here, rate) for t in _POINTS], axis=0)
    flow_slope, flow_curved, most = _of_flow(field, theta, rate)
    return {
        "de": rate**2 / 6.0 * (flow_slope**2 * most + flow_curved * most**2),
        "tr": rate**2 / 8.0 * curved * size**2,
        "ta": rate**2 / 4.0 * curved * size**2,
    }


def scalar_bounds(field: Field, theta: np.ndarray, rate: float, origin: np.ndarray | None) -> dict[str, np.ndarray]:
    """Bounds of |phi - r |U|^2/4| at theta (R, m): each (R,); of st, and with an origin (R, m) of de, tr and ta."""
    here = field(theta)
    slope = np.max([_slope(field, theta - t * rate * here, here) for t in _POINTS], axis=0)
    found = {"st": rate / 16.0 * (4.0 * rate * slope + (rate * slope) ** 2) * (here**2).sum(1)}
    if origin is None:
        return found
    along, total = theta - origin, dict[str, np.ndarray]()
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        for name, bound in vector_bounds(field, origin + 0.5 * (1.0 + node) * along, rate).items():
            total[name] = total.get(name, 0.0) + 0.5 * weight * _norm(along) * bound
    return total | found


def _of_flow(field: Field, theta: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L1, L2 and M on the flow of time one from theta, by Runge and Kutta's fourth order: each (R,)."""
    step, y = rate * (_POINTS[1] - _POINTS[0]), theta
    slope, curved, most = np.zeros((3, len(theta)))
    for _ in _POINTS:
        first = field(y)
        turned = directional(field, y, first)
        slope = np.maximum(slope, np.maximum(_share(turned, first), _slope(field, y, turned)))
        curved, most = np.maximum(curved, _second(field, y, first, rate)), np.maximum(most, _norm(first))
        second = field(y - 0.5 * step * first)
        third = field(y - 0.5 * step * second)
        y = y - step / 6.0 * (first + 2.0 * second + 2.0 * third + field(y - step * third))
    return slope, curved, most


def _slope(field: Field, theta: np.ndarray, along: np.ndarray) -> np.ndarray:
    """|J v|/|v|: (R,)."""
    return _share(directional(field, theta, along), along)


def _second(field: Field, theta: np.ndarray, along: np.ndarray, rate: float) -> np.ndarray:
    """|U''[v, v]|/|v|^2 by a second difference over an eighth of the step r v, or a length of 3e-4 of theta: (R,)."""
    size = _norm(along)[:, None]
    unit = np.divide(along, size, out=np.zeros_like(along), where=size > 0.0)
    step = np.maximum(rate * size / 8.0, _SECOND * (1.0 + np.sqrt((theta**2).mean(1, keepdims=True))))
    difference = field(theta + step * unit) - 2.0 * field(theta) + field(theta - step * unit)
    return _norm(difference / step**2)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    size = _norm(whole)
    return np.divide(_norm(part), size, out=np.zeros_like(size), where=size > 0.0)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=1))
