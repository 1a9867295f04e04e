"""A particle on a line in a quartic potential that is learned: one well that may open into two.

    phi(x) = E(x) + ln Z,     E(x) = a_1 x + a_2 x^2 + a_3 x^3 + a_4 x^4,     theta = (a_1, a_2, a_3, l),  a_4 = exp(l)

Z and the moments <x^j> come from the trapezoidal rule with N cells on [-R, R], which converges faster than any power
of the cell h = 2R/N as long as exp(-E) has died out at R: choose R beyond everything that the samples reach. The
slopes of a_3 and l grow like x^3 and x^4, and a minibatch that throws them far opens a well outside: keep the learning
rate below 0.01, or learn only tilt and stiffness; the observable `edge_probability` tells whether the box still holds.

A fresh sample inverts the cumulative distribution. Between the nodes the density is the cubic that has its values and
slopes, so that the distribution function is exact up to h^4 max|p'''|/720 (1e-6 for a well of width 0.3 at the default
h = 1/16): a test of distributions needs about 1e11 samples to notice.

Sources: S. S. Parsi, Entropy 26, 112 (2024), Eq. 1, for the surprisal; L. N. Trefethen, J. A. C. Weideman, SIAM Rev.
56, 385 (2014), for the rule and the end terms of its partial sums, (h^2/12) p'.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma, log
from thermosim.model import Constant, Derived, Model, Observable, Parameter, Values

# bound when a function is compiled: rows of the constants, of theta, of derived (a, ln Z, <x^j>, distribution function
# at the end of each block of cells); the last rows of derived, so DERIVED - CUMULATIVE is the number of blocks
RANGE = 0
TILT, STIFFNESS, CUBIC, LOG_QUARTIC = 0, 1, 2, 3
COEFFICIENT, OFFSET, MOMENT, CUMULATIVE, DERIVED = 0, 4, 5, 9, 25
_BLOCK = 8  # cells between two stored values of the distribution function
_NEWTON = 3  # iterations inside a cell; each squares an error that starts below 0.1


def prepare(theta, constants, shared, derived, scratch):  # type: ignore[no-untyped-def]
    """a, ln Z, <x^j> for j = 1 to 4, and the distribution function at the ends of blocks. Inside, x = R s."""
    scaled, low, sums, density, edge = scratch[0:4], scratch[4], scratch[5:10], scratch[10], scratch[11]
    c1, c2, c3, c4, total = scaled[0], scaled[1], scaled[2], scaled[3], sums[0]
    offset, extent, blocks = derived[OFFSET], constants[RANGE], DERIVED - CUMULATIVE
    h = 2.0 / (_BLOCK * blocks)
    for j in range(4):
        row, coefficient = theta[TILT + j], derived[COEFFICIENT + j]
        for lane in range(theta.shape[1]):
            coefficient[lane] = exp(row[lane]) if j == LOG_QUARTIC - TILT else row[lane]
    _scale(derived[COEFFICIENT : COEFFICIENT + 4], extent, scaled)
    for lane in range(theta.shape[1]):
        low[lane] = _energy(-1.0, c1[lane], c2[lane], c3[lane], c4[lane])
    for block in range(blocks):
        s = fma(h, _BLOCK * (block + 1), -1.0)
        for lane in range(theta.shape[1]):
            low[lane] = min(low[lane], _energy(s, c1[lane], c2[lane], c3[lane], c4[lane]))
    for lane in range(theta.shape[1]):
        half = 0.5 * exp(low[lane] - _energy(-1.0, c1[lane], c2[lane], c3[lane], c4[lane]))
        edge[lane] = -2.0 * half * _slope(-1.0, c1[lane], c2[lane], c3[lane], c4[lane])
        total[lane], sums[1, lane], sums[2, lane], sums[3, lane], sums[4, lane] = half, -half, half, -half, half
    for block in range(blocks):
        s = fma(h, _BLOCK * block, -1.0)
        _add_nodes(s, h, scaled, low, sums, density)
        _add_nodes(fma(4.0, h, s), h, scaled, low, sums, density)
        s, cumulative = fma(float(_BLOCK), h, s), derived[CUMULATIVE + block]
        for lane in range(theta.shape[1]):
            slope = -density[lane] * _slope(s, c1[lane], c2[lane], c3[lane], c4[lane])
            cumulative[lane] = total[lane] - 0.5 * density[lane] - (h / 12.0) * (slope - edge[lane])
    for lane in range(theta.shape[1]):
        total[lane] = fma(-0.5, density[lane], total[lane])
        offset[lane] = log(h * extent[lane] * total[lane]) - low[lane]
        total[lane] = 1.0 / total[lane]
    for block in range(blocks):
        cumulative = derived[CUMULATIVE + block]
        for lane in range(theta.shape[1]):
            cumulative[lane] *= total[lane]
    for j in range(4):
        moment, row = derived[MOMENT + j], sums[1 + j]
        for lane in range(theta.shape[1]):
            total[lane] *= extent[lane]
            moment[lane] = fma(-0.5, density[lane], row[lane]) * total[lane]


def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):  # type: ignore[no-untyped-def]
    """phi and -(a_1 + 2 a_2 x + 3 a_3 x^2 + 4 a_4 x^3)."""
    a1, a2, a3, a4 = derived[COEFFICIENT], derived[COEFFICIENT + 1], derived[COEFFICIENT + 2], derived[COEFFICIENT + 3]
    offset, position, pull = derived[OFFSET], x[0], force[0]
    for lane in range(x.shape[1]):
        phi[lane] = offset[lane] + _energy(position[lane], a1[lane], a2[lane], a3[lane], a4[lane])
        pull[lane] = -_slope(position[lane], a1[lane], a2[lane], a3[lane], a4[lane])


def parameter_gradient(  # type: ignore[no-untyped-def]
    x, derived, constants, shared, factor, loss, gradient, scratch
):
    """d phi/da_j = x^j - <x^j>, d phi/dl = a_4 (x^4 - <x^4>)."""
    a1, a2, a3, a4 = derived[COEFFICIENT], derived[COEFFICIENT + 1], derived[COEFFICIENT + 2], derived[COEFFICIENT + 3]
    m1, m2, m3, m4 = derived[MOMENT], derived[MOMENT + 1], derived[MOMENT + 2], derived[MOMENT + 3]
    g1, g2, g3, g4 = gradient[TILT], gradient[STIFFNESS], gradient[CUBIC], gradient[LOG_QUARTIC]
    offset, position = derived[OFFSET], x[0]
    for lane in range(x.shape[1]):
        energy = offset[lane] + _energy(position[lane], a1[lane], a2[lane], a3[lane], a4[lane])
        loss[lane] = fma(factor, energy, loss[lane])
        square = position[lane] * position[lane]
        g1[lane] = fma(factor, position[lane] - m1[lane], g1[lane])
        g2[lane] = fma(factor, square - m2[lane], g2[lane])
        g3[lane] = fma(factor, fma(square, position[lane], -m3[lane]), g3[lane])
        g4[lane] = fma(factor * a4[lane], fma(square, square, -m4[lane]), g4[lane])


def fresh(x, derived, constants, shared, normal, uniform, scratch):  # type: ignore[no-untyped-def]
    """Where the distribution function is the uniform: in which block, which cell, and there by Newton's method.

    Inside, x = R s. Rows of cell: s, the density and its slope at the left end and the right, and the share of
    the uniform that falls into the cell.
    """
    scaled, start, missing, left, left_slope = scratch[0:4], scratch[4], scratch[5], scratch[6], scratch[7]
    cell, target = scratch[8:14], scratch[14]
    c1, c2, c3, c4 = scaled[0], scaled[1], scaled[2], scaled[3]
    chance, offset, extent, position, blocks = uniform[0], derived[OFFSET], constants[RANGE], x[0], DERIVED - CUMULATIVE
    h = 2.0 / (_BLOCK * blocks)
    _scale(derived[COEFFICIENT : COEFFICIENT + 4], extent, scaled)
    last = derived[DERIVED - 1]
    for lane in range(x.shape[1]):
        start[lane] = -1.0
        target[lane] = chance[lane] * last[lane]
        missing[lane] = target[lane]
    for block in range(blocks - 1):
        cumulative, s = derived[CUMULATIVE + block], fma(h, _BLOCK * (block + 1), -1.0)
        for lane in range(x.shape[1]):
            rest = target[lane] - cumulative[lane]
            earlier, before = start[lane], missing[lane]
            start[lane] = s if rest > 0.0 else earlier
            missing[lane] = rest if rest > 0.0 else before
    for lane in range(x.shape[1]):
        s = start[lane]
        left[lane] = extent[lane] * exp(-offset[lane] - _energy(s, c1[lane], c2[lane], c3[lane], c4[lane]))
        left_slope[lane] = -left[lane] * _slope(s, c1[lane], c2[lane], c3[lane], c4[lane])
    for k in range(_BLOCK):
        _take_cell(k * h, h, scaled, offset, extent, start, missing, left, left_slope, cell)
    for lane in range(x.shape[1]):
        t = _solve(h, cell[1, lane], cell[2, lane], cell[3, lane], cell[4, lane], cell[5, lane])
        position[lane] = extent[lane] * fma(h, t, cell[0, lane])


def support(constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """The trapezoidal rule that Z is made with."""
    edge, cells = float(constants["range"]), int(constants["cells"])
    weight = np.full(cells + 1, 2.0 * edge / cells)
    weight[[0, -1]] *= 0.5
    return np.linspace(-edge, edge, cells + 1)[:, None], np.log(weight)


def cross_entropy(theta_a: np.ndarray, theta_b: np.ndarray, constants: Values) -> np.ndarray:
    """<phi_b> in exp(-phi_a): sum_j b_j <x^j>_a + ln Z_b, by the same rule, for theta (..., 4)."""
    powers = support(constants)[0] ** np.arange(1, 5)
    probabilities = np.exp(_log_probabilities(theta_a, constants)[0])
    moments = probabilities @ powers
    return np.asarray(np.sum(_coefficients(theta_b) * moments, axis=-1) + _log_probabilities(theta_b, constants)[1])


def validate(constants: Values, settings: Any) -> list[str]:
    """Cells come in blocks."""
    cells = int(constants["cells"])
    if cells % _BLOCK:
        down = cells - cells % _BLOCK
        message = f"model.cells = {cells}: expected a multiple of {_BLOCK}, such as {down} or {down + _BLOCK}."
        return [message]
    return []


@inlined
def _energy(x, a1, a2, a3, a4):  # type: ignore[no-untyped-def]
    """a_1 x + a_2 x^2 + a_3 x^3 + a_4 x^4."""
    return x * fma(x, fma(x, fma(x, a4, a3), a2), a1)


@inlined
def _slope(x, a1, a2, a3, a4):  # type: ignore[no-untyped-def]
    """Its derivative."""
    return fma(x, fma(x, fma(x, 4.0 * a4, 3.0 * a3), 2.0 * a2), a1)


@inlined
def _scale(coefficients, extent, scaled):  # type: ignore[no-untyped-def]
    """a_j R^j: the coefficients of powers of x/R."""
    for lane in range(extent.shape[0]):
        power = extent[lane]
        scaled[0, lane] = coefficients[0, lane] * power
        power *= extent[lane]
        scaled[1, lane] = coefficients[1, lane] * power
        power *= extent[lane]
        scaled[2, lane] = coefficients[2, lane] * power
        scaled[3, lane] = coefficients[3, lane] * power * extent[lane]


@inlined
def _add_nodes(s, h, scaled, low, sums, density):  # type: ignore[no-untyped-def]
    """Add exp(low - E) s^j of the next four nodes, s + h to s + 4 h, to sums (5, L); density is that of the last."""
    sum0, sum1, sum2, sum3, sum4 = sums[0], sums[1], sums[2], sums[3], sums[4]
    c1, c2, c3, c4 = scaled[0], scaled[1], scaled[2], scaled[3]
    sa, sb, sc, sd = s + h, fma(2.0, h, s), fma(3.0, h, s), fma(4.0, h, s)
    a2, b2, c_2, d2 = sa * sa, sb * sb, sc * sc, sd * sd
    for lane in range(low.shape[0]):
        a = exp(low[lane] - _energy(sa, c1[lane], c2[lane], c3[lane], c4[lane]))
        b = exp(low[lane] - _energy(sb, c1[lane], c2[lane], c3[lane], c4[lane]))
        c = exp(low[lane] - _energy(sc, c1[lane], c2[lane], c3[lane], c4[lane]))
        d = exp(low[lane] - _energy(sd, c1[lane], c2[lane], c3[lane], c4[lane]))
        sum0[lane] += (a + b) + (c + d)
        sum1[lane] = fma(sa, a, fma(sb, b, fma(sc, c, fma(sd, d, sum1[lane]))))
        a, b, c, d_square = a * a2, b * b2, c * c_2, d * d2
        sum2[lane] += (a + b) + (c + d_square)
        sum3[lane] = fma(sa, a, fma(sb, b, fma(sc, c, fma(sd, d_square, sum3[lane]))))
        sum4[lane] = fma(a2, a, fma(b2, b, fma(c_2, c, fma(d2, d_square, sum4[lane]))))
        density[lane] = d


@inlined
def _take_cell(distance, h, scaled, offset, extent, start, missing, left, left_slope, cell):  # type: ignore[no-untyped-def]
    """Choose the cell at start + distance where something is missing still, take off what it holds, and go on."""
    c1, c2, c3, c4 = scaled[0], scaled[1], scaled[2], scaled[3]
    for lane in range(start.shape[0]):
        s, need, p0, d0 = start[lane] + distance, missing[lane], left[lane], left_slope[lane]
        s1 = s + h
        p1 = extent[lane] * exp(-offset[lane] - _energy(s1, c1[lane], c2[lane], c3[lane], c4[lane]))
        d1 = -p1 * _slope(s1, c1[lane], c2[lane], c3[lane], c4[lane])
        here = need > 0.0
        e0, e1, e2, e3, e4, e5 = (
            cell[0, lane],
            cell[1, lane],
            cell[2, lane],
            cell[3, lane],
            cell[4, lane],
            cell[5, lane],
        )
        cell[0, lane] = s if here else e0
        cell[1, lane] = p0 if here else e1
        cell[2, lane] = d0 if here else e2
        cell[3, lane] = p1 if here else e3
        cell[4, lane] = d1 if here else e4
        cell[5, lane] = need if here else e5
        missing[lane] = need - h * fma(0.5, p0 + p1, (h / 12.0) * (d0 - d1))
        left[lane] = p1
        left_slope[lane] = d1


@inlined
def _solve(h, p0, d0, p1, d1, need):  # type: ignore[no-untyped-def]
    """The part t of a cell that holds `need`, where the density is the cubic with these values and slopes."""
    d0, d1, rise, need = h * d0, h * d1, p1 - p0, need / h
    square, cube = 3.0 * rise - 2.0 * d0 - d1, d0 + d1 - 2.0 * rise
    t = min(need / max(0.5 * (p0 + p1), 1e-300), 1.0)
    for _ in range(_NEWTON):
        density = fma(t, fma(t, fma(t, cube, square), d0), p0)
        mass = t * fma(t, fma(t, fma(t, 0.25 * cube, square / 3.0), 0.5 * d0), p0)
        t = min(max(t - (mass - need) / max(density, 1e-300), 0.0), 1.0)
    return t


def _coefficients(theta: np.ndarray) -> np.ndarray:
    return np.concatenate([theta[..., :3], np.exp(theta[..., 3:])], axis=-1)


def _log_probabilities(theta: np.ndarray, constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """ln(weight times density) at the nodes (..., N + 1), and ln Z (...)."""
    points, log_weights = support(constants)
    exponent = log_weights - _coefficients(theta) @ (points ** np.arange(1, 5)).T
    top = exponent.max(axis=-1, keepdims=True)
    log_z = top + np.log(np.exp(exponent - top).sum(axis=-1, keepdims=True))
    return exponent - log_z, log_z[..., 0]


def _barrier(theta: np.ndarray, constants: Values) -> np.ndarray:
    """From the three real roots of E' = 4 a_4 (t^3 + 3 p t + 2 q), t = x + a_3/(4 a_4), where there are three."""
    a1, a2, a3, a4 = np.moveaxis(_coefficients(theta), -1, 0)
    shift = a3 / (4.0 * a4)
    p = a2 / (6.0 * a4) - shift**2
    q = shift**3 - shift * a2 / (4.0 * a4) + a1 / (8.0 * a4)
    double = p**3 + q**2 < 0.0
    root = np.sqrt(np.where(double, -p, 1.0))
    angle = np.arccos(np.clip(np.where(double, -q / root**3, 0.0), -1.0, 1.0)) / 3.0
    turns = 2.0 * np.pi / 3.0 * np.arange(3)
    x = 2.0 * root[..., None] * np.cos(angle[..., None] - turns) - shift[..., None]
    energy = np.sum(_coefficients(theta)[..., None, :] * x[..., None] ** np.arange(1, 5), axis=-1)
    return np.asarray(np.where(double, energy[..., 1] - np.maximum(energy[..., 0], energy[..., 2]), 0.0))


def _edge_probability(theta: np.ndarray, constants: Values) -> np.ndarray:
    logarithms = _log_probabilities(theta, constants)[0]
    return np.asarray(2.0 * np.exp(np.maximum(logarithms[..., 0], logarithms[..., -1])))


def _one(constants: Values) -> tuple[int, ...]:
    return (1,)


MODEL = Model(
    name="double-well",
    summary="particle on a line in a quartic potential; learns its coefficients, and whether it has one well or two",
    source="S. S. Parsi, Entropy 26, 112 (2024)",
    constants=(
        Constant("range", 4.0, "R; exp(-E) must have died out at -R and R", minimum=0.0, exclusive=True),
        Constant("cells", 128, "cells N of the integration over x, a multiple of 8", minimum=16, integer=True),
    ),
    components=lambda constants: 1,
    parameters=(
        Parameter("tilt", "coefficient a_1 of x", _one, lambda constants: np.zeros(1)),
        Parameter("stiffness", "coefficient a_2 of x^2", _one, lambda constants: np.array([0.5])),
        Parameter("cubic", "coefficient a_3 of x^3", _one, lambda constants: np.zeros(1)),
        Parameter(
            "log_quartic",
            "logarithm l of the coefficient of x^4",
            _one,
            lambda constants: np.array([-1.0]),
            logarithm=True,
        ),
    ),
    derived=(
        Derived("coefficient", lambda constants: (4,)),
        Derived("offset", lambda constants: (1,)),
        Derived("moment", lambda constants: (4,)),
        Derived("cumulative", lambda constants: (int(constants["cells"]) // _BLOCK,)),
    ),
    prepare=prepare,
    scratch_rows=lambda constants: 15,
    normalised=True,
    surprisal_and_force=surprisal_and_force,
    parameter_gradient=parameter_gradient,
    fresh=fresh,
    fresh_uniforms=lambda constants: 1,
    support=support,
    cross_entropy=cross_entropy,
    validate=validate,
    observables={
        "barrier": Observable(
            "theta",
            _barrier,
            "energy",
            "height of the barrier over the higher well, 0 for one well",
            "E(top) - max E(wells)",
        ),
        "edge_probability": Observable(
            "theta",
            _edge_probability,
            "1",
            "what the last cell would hold; widen the range unless 0",
            "h max p(-R), p(R)",
        ),
    },
)
