"""Two beads between two heat baths: each tied to a wall by a spring k, and to the other by a spring c.

    F_1 = -k x_1 - c (x_1 - x_2),     F_2 = -k x_2 - c (x_2 - x_1),     phi = k (x_1^2 + x_2^2)/2 + c (x_1 - x_2)^2/2

Bead i touches a bath at temperature T_i (x.temperature = [T_1, T_2]). The forces are a gradient, yet heat flows
through the spring at the rate c^2 (T_1 - T_2)/(2 (k + c)), and entropy is produced; beads of different friction have
x.mobility = [m_1, m_2], which multiplies the rate by 2 m_1 m_2/(m_1 + m_2). With c = k, the rate is
k (T_1 - T_2)^2/(4 T_1 T_2) as in the source.

Source: J. Li, J. M. Horowitz, T. R. Gingrich, N. Fakhri, "Quantifying dissipation using fluctuating currents", Nat.
Commun. 10, 1666 (2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.exact import linear_langevin
from thermosim.kernels.elementary import fma
from thermosim.model import Constant, Model, Values
from thermosim.moves import X_MOVES

# bound when a function is compiled: rows of the constants
STIFFNESS = 0
COUPLING = 1


def energy(x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """k (x_1^2 + x_2^2)/2 + c (x_1 - x_2)^2/2."""
    apart = x[0, lane] - x[1, lane]
    square = fma(x[0, lane], x[0, lane], x[1, lane] * x[1, lane])
    return 0.5 * fma(constants[STIFFNESS, lane], square, constants[COUPLING, lane] * apart * apart)


def force(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """-k x_i - c (x_i - x_other)."""
    pull = constants[COUPLING, lane] * (x[i, lane] - x[1 - i, lane])
    return -fma(constants[STIFFNESS, lane], x[i, lane], pull)


def equilibrium(theta: np.ndarray, constants: Values, temperature: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The stationary state of continuous time at temperatures (2, R), from normals (2, R): x (2, R).

    An equilibrium only when the temperatures are the same.
    """
    k, c = np.broadcast_arrays(constants["stiffness"], constants["coupling"])
    matrix = np.array([-(k + c), c, c, -(k + c)], float).reshape(4, -1)
    return linear_langevin.stationary_samples(matrix, temperature, normal)


def validate(constants: Values, settings: Any) -> list[str]:
    """A step of ula must be stable."""
    x, k, c = settings.x, constants["stiffness"], constants["coupling"]
    h, limit, formula = x.time_step, 2.0 / (k + 2.0 * c), "2/(k + 2 c) = "
    if not X_MOVES[x.dynamics].explicit or not isinstance(h, (int, float)):
        return []
    if x.mobility != 1.0:
        pull = np.array([[-(k + c), c], [c, -(k + c)]])
        limit, formula = linear_langevin.largest_time_step(pull, x.mobility), ""
    if h >= limit:
        return [f"x.time_step = {h:g}: ula is unstable here; it must stay below {formula}{limit:.4g}."]
    return []


MODEL = Model(
    name="two-beads",
    summary="two beads coupled by a spring, between two temperatures",
    source="J. Li et al., Nat. Commun. 10, 1666 (2019)",
    constants=(
        Constant("stiffness", 1.0, "stiffness k of the spring from each bead to its wall", minimum=0.0, exclusive=True),
        Constant("coupling", 1.0, "stiffness c of the spring between the beads", minimum=0.0),
    ),
    components=lambda constants: 2,
    energy=energy,
    force=force,
    equilibrium=equilibrium,
    validate=validate,
)
