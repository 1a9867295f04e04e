"""A trap stirred by a rotation: the simplest steady state that never comes to rest in equilibrium.

    F(x) = -k x + eps R x,     phi(x) = k |x|^2/2

R turns each pair of components (x_1, x_2), (x_3, x_4), ... by a right angle, so R x is no gradient. The stationary
density is exp(-phi/T) as if there were no rotation, and entropy is produced at the rate n eps^2/k in n dimensions,
whatever the temperature: 2 eps^2/k in the plane.

Source: the rotational trap as test of entropy-production estimators, e.g. A. Frishman, P. Ronceray, Phys. Rev. X 10,
021009 (2020); the finite-step rate is derived in `thermosim.exact.driven`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.exact import linear_langevin
from thermosim.kernels.elementary import fma
from thermosim.model import Constant, Model, Values

# bound when a function is compiled: rows of the constants, and n
STIFFNESS = 0
ROTATION = 1
COMPONENTS = 2


def energy(x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """k |x|^2/2."""
    square = 0.0
    for i in range(COMPONENTS):
        square = fma(x[i, lane], x[i, lane], square)
    return 0.5 * constants[STIFFNESS, lane] * square


def force(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """-k x_i."""
    return -constants[STIFFNESS, lane] * x[i, lane]


def drive(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    """eps (R x)_i: -eps x_2 for the first of a pair, eps x_1 for the second."""
    if i % 2 == 0:
        return -constants[ROTATION, lane] * x[i + 1, lane]
    return constants[ROTATION, lane] * x[i - 1, lane]


def equilibrium(theta: np.ndarray, constants: Values, temperature: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Samples of exp(-phi/T), the stationary state of continuous time, from normals (n, R): x (n, R)."""
    return np.asarray(np.sqrt(temperature / constants["stiffness"]) * normal)


def validate(constants: Values, settings: Any) -> list[str]:
    """Components come in pairs at one temperature, and the step must be stable."""
    faults = []
    if constants["dimension"] % 2:
        faults.append(
            f"model.dimension = {constants['dimension']}: the rotation pairs components; expected an even number."
        )
    x, k, e = settings.x, constants["stiffness"], constants["rotation"]
    if isinstance(x.temperature, list) and len(set(x.temperature)) > 1:
        faults.append("x.temperature: the rotational trap has one temperature; give one number.")
    h = x.time_step
    limit = 2.0 * k / (k**2 + e**2)
    if x.mobility != 1.0 and not faults:
        pairs = np.reshape(x.mobility if isinstance(x.mobility, list) else [x.mobility] * 2, (-1, 2))
        pull = np.array([[-k, -e], [e, -k]])
        limit = min(linear_langevin.largest_time_step(pull, pair) for pair in np.unique(pairs, axis=0))
        if isinstance(h, (int, float)) and h >= limit:
            faults.append(f"x.time_step = {h:g}: ula is unstable here; it must stay below {limit:.4g}.")
    elif isinstance(h, (int, float)) and h >= limit:
        faults.append(f"x.time_step = {h:g}: ula is unstable here; it must stay below 2 k/(k^2 + eps^2) = {limit:.4g}.")
    return faults


MODEL = Model(
    name="rotational-trap",
    summary="trap stirred by a rotation, a steady state that produces entropy",
    source="A. Frishman, P. Ronceray, Phys. Rev. X 10, 021009 (2020)",
    constants=(
        Constant("dimension", 2, "number of components n of x, even", minimum=2, integer=True),
        Constant("stiffness", 1.0, "stiffness k of the trap", minimum=0.0, exclusive=True),
        Constant("rotation", 1.0, "rate eps of the rotation"),
    ),
    components=lambda constants: int(constants["dimension"]),
    energy=energy,
    force=force,
    drive=drive,
    equilibrium=equilibrium,
    validate=validate,
)
