"""The noisy quadratic: a loss of constant curvature about a minimum that every data row moves, and a quartic wall.

    l = (theta - z)'A(theta - z)/2 + (q/4) sum_i theta_i^4,    dl/dtheta = A (theta - z) + q theta^3

z is the data row. `curvature` A is symmetric, without negative eigenvalues. Where it is not given its eigenvalues lie
between 1/condition and 1, evenly in the logarithm, in a basis drawn by the seed `rotation`; 0 leaves A diagonal. At
q = 0 a step of learning rate r is linear, theta' - z = (I - r A)(theta - z), with z the mean of the batch.

Source: G. Zhang et al., Which Algorithmic Choices Matter at Which Batch Sizes? Insights From a Noisy Quadratic Model,
arXiv:1907.04164 (2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.kernels.elementary import fma
from thermosim.model import Constant, Model, Parameter, Values

CURVATURE = QUARTIC = 0  # bound when a function is compiled: where the array starts, and the row of the constant
_ROUNDING = 1e-10  # of the largest entry, what A may miss of symmetry, and its eigenvalues be below 0


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """scratch (m, L): theta - z."""
    m = theta.shape[0]
    for i in range(m):
        for lane in range(theta.shape[1]):
            scratch[i, lane] = theta[i, lane] - row[i, lane]
    for i in range(m):
        g, here = gradient[i], theta[i]
        for j in range(m):
            entry, off = factor * shared[CURVATURE + i * m + j], scratch[j]
            for lane in range(theta.shape[1]):
                force = entry * off[lane]
                g[lane] += force
                loss[lane] = fma(0.5 * force, scratch[i, lane], loss[lane])
        for lane in range(theta.shape[1]):
            cube = factor * constants[QUARTIC, lane] * here[lane] * here[lane] * here[lane]
            g[lane] += cube
            loss[lane] = fma(0.25 * cube, here[lane], loss[lane])


def _spectral(constants: Values) -> np.ndarray:
    """A (m, m) of a condition number and a rotation."""
    size, seed = int(constants["dimension"]), int(constants["rotation"])
    values = np.geomspace(1.0 / float(constants["condition"]), 1.0, size) if size > 1 else np.ones(1)
    if seed == 0:
        return np.diag(values)
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    matrix = (basis * values) @ basis.T
    return np.asarray(0.5 * (matrix + matrix.T))


def validate(constants: Values, settings: Any) -> list[str]:
    """A is symmetric without negative eigenvalues, and given in one way only."""
    matrix = np.asarray(constants["curvature"], float)
    size = float(np.abs(matrix).max())
    if np.abs(matrix - matrix.T).max() > _ROUNDING * size:
        return ["model.curvature: is not symmetric; a loss sees (A + A')/2 only: give that."]
    if (least := float(np.linalg.eigvalsh(matrix)[0])) < -_ROUNDING * size:
        return [
            f"model.curvature: has the eigenvalue {least:.3g}, along which the loss has no minimum; give none below 0."
        ]
    told = [f"model.{key}" for key, usual in (("condition", 1.0), ("rotation", 0)) if constants[key] != usual]
    if told and not np.allclose(matrix, _spectral(constants), rtol=0.0, atol=_ROUNDING):
        return [f"{', '.join(told)}: describe the curvature, which is given itself; remove them, or model.curvature."]
    return []


MODEL = Model(
    name="quadratic",
    summary="noisy quadratic loss about data rows, with a quartic wall where one is wanted",
    source="G. Zhang et al., arXiv:1907.04164",
    constants=(
        Constant("dimension", 2, "number of parameters", minimum=1, maximum=1000, integer=True),
        Constant("condition", 1.0, "largest eigenvalue of A, 1, over the least", minimum=1.0),
        Constant("rotation", 0, "seed of the basis of A; 0: diagonal", minimum=0, integer=True),
        Constant(
            "curvature",
            _spectral,
            "symmetric matrix A; made of condition and rotation unless given",
            shape=lambda c: (c["dimension"], c["dimension"]),
        ),
        Constant("quartic", 0.0, "strength q of the quartic wall", minimum=0.0),
    ),
    inputs=lambda constants: int(constants["dimension"]),
    parameters=(
        Parameter("position", "theta", lambda c: (int(c["dimension"]),), lambda c: np.ones(int(c["dimension"]))),
    ),
    scratch_rows=lambda constants: int(constants["dimension"]),
    parameter_gradient=parameter_gradient,
    validate=validate,
)
