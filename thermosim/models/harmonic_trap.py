"""An overdamped particle in a harmonic trap whose center and stiffness matrix are the control parameters.

    phi(x) = (x - c)' K (x - c)/2,     theta = (c, K),     K symmetric and positive definite

phi is an energy, not normalised: its free energy is F = -T ln Int exp(-phi/T) = (T/2) ln det K + const.
Dragging c with K at rest does Gaussian work with dF = 0; changing K does not.

Sources: O. Mazonka, C. Jarzynski, arXiv cond-mat/9912121 (exact work of a dragged trap); H. Risken, The
Fokker-Planck Equation, ch. 6.5 (the Ornstein-Uhlenbeck process).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.exact import linear_langevin
from thermosim.kernels.elementary import fma
from thermosim.model import Constant, Model, Parameter, Values
from thermosim.moves import X_MOVES
from thermosim.schedules import is_schedule, telling_steps, values_at

# bound when a function is compiled: rows of theta where c and K start, and n
CENTER = 0
STIFFNESS = 1
COMPONENTS = 1


def energy(x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """(x - c)' K (x - c)/2."""
    total = 0.0
    for i in range(COMPONENTS):
        pull = 0.0
        for j in range(COMPONENTS):
            pull = fma(theta[STIFFNESS + i * COMPONENTS + j, lane], x[j, lane] - theta[CENTER + j, lane], pull)
        total = fma(x[i, lane] - theta[CENTER + i, lane], pull, total)
    return 0.5 * total


def force(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """-(K (x - c))_i."""
    pull = 0.0
    for j in range(COMPONENTS):
        pull = fma(theta[STIFFNESS + i * COMPONENTS + j, lane], x[j, lane] - theta[CENTER + j, lane], pull)
    return -pull


def equilibrium(theta: np.ndarray, constants: Values, temperature: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The stationary state at theta (m, R) and temperature (n, R) from normals (n, R): x (n, R).

    At one temperature it is exp(-phi/T), covariance T K^{-1}; at several it solves the Lyapunov equation.
    """
    n = len(normal)
    center, stiffness = theta[:n], theta[n:]
    return center + linear_langevin.stationary_samples(-stiffness, temperature, normal)


def propagator(
    theta: np.ndarray, constants: Values, time_step: float, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """exp(-K h), a square root of T K^{-1} (1 - exp(-2 K h)), and c, of theta (S, m): (S, n, n), (S, n, n), (S, n)."""
    n = int(constants["dimension"])
    center, stiffness = theta[:, :n], theta[:, n:].reshape(-1, n, n)
    matrix, noise = linear_langevin.exact_ou_moves(stiffness, time_step, temperature)
    return matrix, linear_langevin.square_root(noise), center


def validate(constants: Values, settings: Any) -> list[str]:
    """The stiffness must be symmetric and positive definite at every step, and a step of ula must be stable."""
    steps, n = settings.run.steps, constants["dimension"]
    value = settings.theta.protocol.get("stiffness", np.eye(n))
    at = telling_steps(value, steps, n * n) if is_schedule(value) else np.zeros(1, int)
    stiffness = np.reshape(values_at(value, steps, at), (-1, n, n))
    asymmetry = np.abs(stiffness - stiffness.swapaxes(1, 2)).max(axis=(1, 2))
    if asymmetry.max() > 1e-12 * np.abs(stiffness).max():
        step = int(at[asymmetry.argmax()])
        return [f"theta.protocol.stiffness: not symmetric at step {step}; give a matrix equal to its transpose."]
    eigenvalues = np.linalg.eigvalsh(stiffness)
    if eigenvalues.min() <= 0.0:
        step, lowest = int(at[eigenvalues.min(axis=1).argmin()]), f"{eigenvalues.min():.4g}"
        return [f"theta.protocol.stiffness: has the eigenvalue {lowest} at step {step}; keep it positive definite."]
    x = settings.x
    h = 0.0 if x.time_step is None else values_at(x.time_step, steps, telling_steps(x.time_step, steps)).max()
    root = np.sqrt(np.broadcast_to(np.asarray(x.mobility, float), n))
    fastest = np.linalg.eigvalsh(root[:, None] * stiffness * root).max()
    if X_MOVES[x.dynamics].explicit and h * fastest >= 2.0:
        limit = f"{2.0 / fastest:.4g}"
        return [f"x.time_step = {h:g}: ula is unstable here; it must stay below {limit}. Or use 'exact-ou'."]
    return []


MODEL = Model(
    name="harmonic-trap",
    summary="overdamped particle in a trap whose center and stiffness are prescribed",
    source="O. Mazonka, C. Jarzynski, arXiv cond-mat/9912121",
    constants=(Constant("dimension", 1, "number of components n of x", minimum=1, maximum=1000, integer=True),),
    components=lambda constants: int(constants["dimension"]),
    parameters=(
        Parameter(
            "center",
            "center c of the trap",
            shape=lambda constants: (constants["dimension"],),
            default=lambda constants: np.zeros(constants["dimension"]),
        ),
        Parameter(
            "stiffness",
            "stiffness matrix K of the trap, symmetric and positive definite",
            shape=lambda constants: (constants["dimension"], constants["dimension"]),
            default=lambda constants: np.eye(constants["dimension"]),
        ),
    ),
    energy=energy,
    force=force,
    equilibrium=equilibrium,
    propagator=propagator,
    validate=validate,
)
