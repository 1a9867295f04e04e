"""A neural network as the energy of continuous samples: one hidden layer in a harmonic trap, not normalised.

    phi(x) = E(x) = |x|^2/(2 s^2) + sum_j a_j tanh(w_j.x + b_j),     theta = (w (H, n), b (H), a (H))

The network's part lies between -sum_j |a_j| and sum_j |a_j|, so exp(-E) can be integrated whatever theta, and ln Z
differs from that of the trap, (n/2) ln(2 pi s^2), by no more than this. With a = 0, the default start, E is the trap.
There is no exact sampler: samples move by Langevin dynamics, and the gradient of the normaliser is -<dE/d theta> over
them (contrastive learning).

Sources: S. S. Parsi, Entropy 26, 112 (2024), for the learning machine; Y. LeCun et al., "A tutorial on energy-based
learning" (2006), for energies without normaliser; G. E. Hinton, Neural Comput. 14, 1771 (2002), for their gradient.
"""

from __future__ import annotations

import numpy as np

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma, tanh
from thermosim.kernels.lanes import dot
from thermosim.model import Constant, Model, Observable, Parameter, Values

# bound when a function is compiled: n, row of s, rows of theta (w, b, a); H is the number of rows of b
COMPONENTS = 1
WIDTH = 2
WEIGHT, BIAS, AMPLITUDE = 0, 1, 2
_EXTENT = 7.0  # half the side of the box of the support, in units of s
_NODES = {1: 1401, 2: 161}  # odd numbers of points along each axis


def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):  # type: ignore[no-untyped-def]
    """E and -dE/dx = -x/s^2 - sum_j a_j (1 - tanh^2) w_j, four hidden units at a time."""
    hidden = AMPLITUDE - BIAS
    biases, amplitudes = derived[BIAS:AMPLITUDE], derived[AMPLITUDE : AMPLITUDE + hidden]
    _trap(x, constants[WIDTH], 1.0, phi, scratch[0])
    for i in range(COMPONENTS):
        row, pull, stiffness = x[i], force[i], scratch[0]
        for lane in range(x.shape[1]):
            pull[lane] = -stiffness[lane] * row[lane]
    for block in range(hidden // 4):
        j = 4 * block
        for unit in range(4):
            first = WEIGHT + (j + unit) * COMPONENTS
            dot(derived[first : first + COMPONENTS], x, scratch[unit])
        _activate_four(biases[j : j + 4], amplitudes[j : j + 4], phi, scratch)
        s0, s1, s2, s3 = scratch[0], scratch[1], scratch[2], scratch[3]
        for i in range(COMPONENTS):
            first, pull = WEIGHT + j * COMPONENTS + i, force[i]
            w0, w1 = derived[first], derived[first + COMPONENTS]
            w2, w3 = derived[first + 2 * COMPONENTS], derived[first + 3 * COMPONENTS]
            for lane in range(x.shape[1]):
                part = fma(-s0[lane], w0[lane], fma(-s1[lane], w1[lane], pull[lane]))
                pull[lane] = fma(-s2[lane], w2[lane], fma(-s3[lane], w3[lane], part))
    for j in range(hidden - hidden % 4, hidden):
        first, slope, bias, amplitude = WEIGHT + j * COMPONENTS, scratch[0], biases[j], amplitudes[j]
        dot(derived[first : first + COMPONENTS], x, slope)
        for lane in range(x.shape[1]):
            t = tanh(slope[lane] + bias[lane])
            phi[lane] = fma(amplitude[lane], t, phi[lane])
            slope[lane] = amplitude[lane] * fma(-t, t, 1.0)
        for i in range(COMPONENTS):
            pull, weight = force[i], derived[first + i]
            for lane in range(x.shape[1]):
                pull[lane] = fma(-slope[lane], weight[lane], pull[lane])


def parameter_gradient(  # type: ignore[no-untyped-def]
    x, derived, constants, shared, factor, loss, gradient, scratch
):
    """dE/da_j = tanh, dE/db_j = a_j (1 - tanh^2), dE/dw_j = a_j (1 - tanh^2) x."""
    square, slope = scratch[0], scratch[1]
    _trap(x, constants[WIDTH], factor, square, slope)
    for lane in range(x.shape[1]):
        loss[lane] += square[lane]
    for j in range(AMPLITUDE - BIAS):
        first, bias, amplitude = WEIGHT + j * COMPONENTS, derived[BIAS + j], derived[AMPLITUDE + j]
        of_bias, of_amplitude = gradient[BIAS + j], gradient[AMPLITUDE + j]
        dot(derived[first : first + COMPONENTS], x, slope)
        for lane in range(x.shape[1]):
            t = tanh(slope[lane] + bias[lane])
            scaled = factor * amplitude[lane]
            loss[lane] = fma(scaled, t, loss[lane])
            of_amplitude[lane] = fma(factor, t, of_amplitude[lane])
            slope[lane] = scaled * fma(-t, t, 1.0)
            of_bias[lane] += slope[lane]
        for i in range(COMPONENTS):
            row, of_weight = x[i], gradient[first + i]
            for lane in range(x.shape[1]):
                of_weight[lane] = fma(slope[lane], row[lane], of_weight[lane])


def support(constants: Values) -> tuple[np.ndarray, np.ndarray] | None:
    """The trapezoidal rule on a box of side 14 s for n <= 2: accurate while no |w_j| times the cells exceeds 1/2."""
    n = int(constants["dimension"])
    if n not in _NODES:
        return None
    axis = _EXTENT * float(constants["width"]) * np.linspace(-1.0, 1.0, _NODES[n])
    points = np.stack([side.ravel() for side in np.meshgrid(*[axis] * n, indexing="ij")], axis=-1)
    return points, np.log(_trapezoid(axis, n)).ravel()


def log_normaliser(theta: np.ndarray, constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """ln Z by the rule of `support`, and its error: (...), (...).

    The error of the rule is exp(-c/h) with cells of size h, so it is the square of that with every other point.

    Raises ValueError for n > 2.
    """
    n, rule = int(constants["dimension"]), support(constants)
    if rule is None:
        raise ValueError(
            f"model.dimension = {n}: the normaliser of network-energy is an integral over x, known for one and two "
            "dimensions only; use a smaller dimension, or a model with a normalised surprisal"
        )
    points, log_weights = rule
    sparse = np.zeros((_NODES[n],) * n, bool)
    sparse[(slice(None, None, 2),) * n] = True
    sparse_weights = np.where(sparse.ravel(), log_weights + n * np.log(2.0), -np.inf)
    rows = np.reshape(theta, (-1, theta.shape[-1]))
    values = np.empty((2, len(rows)))
    for r, row in enumerate(rows):
        exponents = -_energies(points, row, constants)
        top = exponents.max()
        density = np.exp(exponents - top)
        values[:, r] = top + np.log([density @ np.exp(log_weights), density @ np.exp(sparse_weights)])
    value, other = values.reshape(2, *theta.shape[:-1])
    return value, (value - other) ** 2


@inlined
def _trap(x, width, factor, energy, stiffness):  # type: ignore[no-untyped-def]
    """factor |x|^2/(2 s^2), and 1/s^2."""
    for lane in range(x.shape[1]):
        energy[lane] = 0.0
        stiffness[lane] = 1.0 / (width[lane] * width[lane])
    for i in range(x.shape[0]):
        row = x[i]
        for lane in range(x.shape[1]):
            energy[lane] = fma(0.5 * factor * stiffness[lane] * row[lane], row[lane], energy[lane])


@inlined
def _activate_four(biases, amplitudes, phi, rows):  # type: ignore[no-untyped-def]
    """From w_j.x in the first four rows: add a_j tanh to phi, and leave a_j (1 - tanh^2) in the rows."""
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    for lane in range(phi.shape[0]):
        a0, a1, a2, a3 = amplitudes[0, lane], amplitudes[1, lane], amplitudes[2, lane], amplitudes[3, lane]
        t0, t1 = tanh(r0[lane] + biases[0, lane]), tanh(r1[lane] + biases[1, lane])
        t2, t3 = tanh(r2[lane] + biases[2, lane]), tanh(r3[lane] + biases[3, lane])
        phi[lane] = fma(a0, t0, fma(a1, t1, fma(a2, t2, fma(a3, t3, phi[lane]))))
        r0[lane], r1[lane] = a0 * fma(-t0, t0, 1.0), a1 * fma(-t1, t1, 1.0)
        r2[lane], r3[lane] = a2 * fma(-t2, t2, 1.0), a3 * fma(-t3, t3, 1.0)


def _trapezoid(axis: np.ndarray, n: int) -> np.ndarray:
    weight = np.full(axis.size, axis[1] - axis[0])
    weight[[0, -1]] *= 0.5
    return weight if n == 1 else np.multiply.outer(weight, weight)


def _parts(theta: np.ndarray, constants: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, hidden = int(constants["dimension"]), int(constants["hidden"])
    weight = theta[..., : n * hidden].reshape(*theta.shape[:-1], hidden, n)
    return weight, theta[..., n * hidden : (n + 1) * hidden], theta[..., (n + 1) * hidden :]


def _energies(points: np.ndarray, theta: np.ndarray, constants: Values) -> np.ndarray:
    weight, bias, amplitude = _parts(theta, constants)
    trap = 0.5 * np.sum(points**2, axis=-1) / float(constants["width"]) ** 2
    return np.asarray(trap + np.tanh(points @ weight.T + bias) @ amplitude)


def _strength(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(np.abs(_parts(theta, constants)[2]).sum(axis=-1))


def _sharpness(theta: np.ndarray, constants: Values) -> np.ndarray:
    return np.asarray(np.linalg.norm(_parts(theta, constants)[0], axis=-1).max(axis=-1))


def _weights(constants: Values) -> tuple[int, ...]:
    return (int(constants["hidden"]), int(constants["dimension"]))


def _units(constants: Values) -> tuple[int, ...]:
    return (int(constants["hidden"]),)


def _different(constants: Values) -> np.ndarray:
    """Weights of which no two hidden units have the same, in [-1, 1]."""
    hidden, n = _weights(constants)
    return np.cos(np.outer(1.0 + np.arange(hidden), 1.0 + np.arange(n) ** 2))


MODEL = Model(
    name="network-energy",
    summary="energy of continuous samples by a neural network with one hidden layer, not normalised",
    source="S. S. Parsi, Entropy 26, 112 (2024)",
    constants=(
        Constant("dimension", 2, "number of components n of x", minimum=1, integer=True),
        Constant("hidden", 32, "number H of hidden units", minimum=1, integer=True),
        Constant("width", 2.0, "standard deviation s of the trap alone", minimum=0.0, exclusive=True),
    ),
    components=lambda constants: int(constants["dimension"]),
    parameters=(
        Parameter("weight", "weights w, one hidden unit after the other", _weights, _different, spread=1.0),
        Parameter("bias", "biases b of the hidden units", _units, lambda c: np.zeros(_units(c)), spread=1.0),
        Parameter("amplitude", "weights a of the hidden units in the energy", _units, lambda c: np.zeros(_units(c))),
    ),
    scratch_rows=lambda constants: 4,
    surprisal_and_force=surprisal_and_force,
    parameter_gradient=parameter_gradient,
    support=support,
    log_normaliser=log_normaliser,
    observables={
        "strength": Observable(
            "theta", _strength, "energy", "bound on the network's part of the energy", "sum_j |a_j|"
        ),
        "sharpness": Observable("theta", _sharpness, "1", "largest weight vector", "max_j |w_j|"),
    },
)
