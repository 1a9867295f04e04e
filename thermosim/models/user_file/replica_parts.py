"""Functions in numpy that are called with all replicas at once: each replica must come out as it does alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from thermosim.model import Values
from thermosim.models.user_file.plain import Plain, outcome
from thermosim.models.user_file.samplers import check_outputs
from thermosim.models.user_file.states import thetas

__all__ = ["start_faults", "sweep_faults"]

_REPLICAS = 5


def sweep_faults(plain: Plain, swept: Collection[str]) -> list[str]:
    """Of `equilibrium`, to which constants that are swept come as arrays (R)."""
    function, n = plain.model.equilibrium, plain.components
    if function is None:
        return []
    random = np.random.default_rng(11)
    theta, normal = thetas(plain.model, plain.values, _REPLICAS).T.copy(), random.normal(size=(n, _REPLICAS))
    temperature = random.uniform(0.5, 2.0, size=(1, _REPLICAS)) * np.ones((n, 1))

    def draw(lanes: slice, constants: Values) -> np.ndarray:
        given = function(theta[:, lanes], constants, temperature[:, lanes], normal[:, lanes])
        return check_outputs("equilibrium", given, normal[:, lanes].shape)

    return _alike("equilibrium", draw, plain.values, swept)


def start_faults(plain: Plain, swept: Collection[str], name: str, hyper: Mapping[str, Any]) -> list[str]:
    """Of a named start of theta."""
    function, m = plain.model.initial_theta[name], plain.parameters
    random = np.random.default_rng(12)
    normal, uniform = random.normal(size=(m + 1, _REPLICAS)), 1.0 - random.random(size=_REPLICAS)

    def start(lanes: slice, constants: Values) -> np.ndarray:
        count = normal[0, lanes].size
        numbers = {key: np.full(count, float(v)) if isinstance(v, (int, float)) else v for key, v in hyper.items()}
        given = function(constants, numbers, normal[:, lanes], uniform[lanes])
        return check_outputs(f"initial_theta[{name!r}]", given, (m, count))

    return _alike(f"initial_theta[{name!r}]", start, plain.values, swept)


def _alike(
    name: str, function: Callable[[slice, Values], np.ndarray], values: Values, swept: Collection[str]
) -> list[str]:
    def constants(count: int) -> dict[str, Any]:
        return dict(values) | {key: np.full(count, float(values[key])) for key in swept}

    together = outcome(name, function, slice(0, _REPLICAS), constants(_REPLICAS))
    for replica in range(_REPLICAS):
        apart = outcome(name, function, slice(replica, replica + 1), constants(1))
        if not np.allclose(together[:, replica], apart[:, 0], rtol=1e-9, atol=1e-12):
            return [
                f"{name}: a replica depends on other replicas: alone it gives other numbers. Work column by column."
            ]
    return []
