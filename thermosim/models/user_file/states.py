"""Random states at which a user's model is looked at: x, and theta away from its defaults, another for each state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.model import Model, Values
from thermosim.models.user_file.plain import ModelFault, Plain, outcome

__all__ = ["States", "check_sizes", "defaults", "random_states", "thetas"]

_COUNT = 6
_SCALES, _ATTEMPTS = (1.0, 0.3, 3.0, 1.0, 0.3, 1.0, 0.03, 0.001, 30.0), 3  # of x
_SPREAD = 0.3


@dataclass(frozen=True)
class States:
    """x (S, n), theta (S, m), and the scale (S) at which x was drawn."""

    x: np.ndarray
    theta: np.ndarray
    scale: np.ndarray


def check_sizes(model: Model, values: Values) -> None:
    """Lengths that are whole numbers. Raises ModelFault."""
    for name in ("components", "scratch_rows", "fresh_normals", "fresh_uniforms", "resample_uniforms"):
        size = outcome(name, getattr(model, name), values)
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 0:
            raise ModelFault(f"{name} gives {size!r}; expected a whole number that is not negative.")
    for name in ("inputs", "targets", "classes"):
        if (function := getattr(model, name)) is not None:
            size = outcome(name, function, values)
            least = 1 if model.inputs is not None and name == "inputs" else 0
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < least:
                raise ModelFault(f"{name} gives {size!r}; expected a whole number, at least {least}.")
    lengths: dict[str, int] = {}
    for functional in model.functionals:
        if functional.size is not None:
            called = f"size of the functional {functional.name!r}"
            size = outcome(called, functional.size, values)
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 0:
                raise ModelFault(f"{called} gives {size!r}; expected a whole number that is not negative.")
            if lengths.setdefault(functional.dim, int(size)) != size:
                raise ModelFault(
                    f"{called} gives {size}, along {functional.dim!r}, which has {lengths[functional.dim]} of another "
                    "functional; give the dimension another name."
                )
    if model.has_samples and not model.components(values):
        raise ModelFault("components gives 0, and there is an energy of x: say how many components x has.")
    defaults(model, values)
    for rows in model.derived:
        shape = outcome(f"the shape of the derived rows {rows.name!r}", rows.shape, values)
        if not isinstance(shape, tuple):
            raise ModelFault(f"the shape of the derived rows {rows.name!r} is {shape!r}; expected a tuple, as in (3,).")


def defaults(model: Model, values: Values) -> list[tuple[str, np.ndarray]]:
    """Name and default of every group of parameters. Raises ModelFault where one does not fit its shape."""
    found = []
    for group in model.parameters:
        called = f"group of parameters {group.name!r}"
        shape = outcome(f"the shape of the {called}", group.shape, values)
        shape_fits = isinstance(shape, tuple) and all(
            isinstance(size, (int, np.integer)) and size >= 0 for size in shape
        )
        if not shape_fits:
            raise ModelFault(f"the shape of the {called} is {shape!r}; expected a tuple of whole numbers, as in (3,).")
        default = _numbers(
            f"the default of the {called}", outcome(f"the default of the {called}", group.default, values)
        )
        if default.shape != tuple(shape) and default.size != math.prod(shape):
            raise ModelFault(f"the default of the {called} has shape {default.shape}, expected {tuple(shape)}.")
        found.append((group.name, default.ravel()))
    return found


def thetas(
    model: Model, values: Values, count: int, moved: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> np.ndarray:
    """theta (count, m): groups of zeros moved by normal numbers, any other multiplied by one factor each.

    The factor keeps what a matrix may have to be, symmetric or positive definite; `moved` makes another move of each.
    """
    random, rows = np.random.default_rng(1), []
    for _, default in defaults(model, values):
        if np.any(default):
            rows.append(default * np.exp(_SPREAD * moved(random.normal(size=(count, 1)))))
        else:
            rows.append(_SPREAD * moved(random.normal(size=(count, default.size))))
    return np.concatenate([*rows, np.zeros((count, 0))], axis=1)


def random_states(plain: Plain) -> States:
    """States at which phi is finite: at its defaults for one, theta of each of the others its own.

    Raises ModelFault where there is none.
    """
    model, values = plain.model, plain.values
    n, random = plain.components, np.random.default_rng(0)
    theta = _generic(model, values)
    found: list[tuple[np.ndarray, np.ndarray, float]] = []
    failed = ""
    for attempt, scale in enumerate(_SCALES * _ATTEMPTS):
        row = theta[attempt % len(theta)]
        if model.discrete:
            x = random.choice(np.asarray(model.levels, float), size=n)
        else:
            x = scale * random.normal(size=n)
        for candidate in (x,) if model.discrete else (x, np.abs(x)):
            phi = plain.phi(candidate[:, None], row[:, None], plain.columns(1))[0]
            if np.isfinite(phi):
                found.append((candidate, row, scale))
                break
            failed = failed or f"{phi} at x = {_short(x)}"
        if len(found) == _COUNT:
            break
    if not found:
        raise ModelFault(f"phi is not finite at any of {len(_SCALES) * _ATTEMPTS} random states; it is {failed}.")
    return States(*(np.array(part) for part in zip(*found, strict=True)))


def _generic(model: Model, values: Values) -> np.ndarray:
    """theta (6, m): moved up, down and anyhow, and with each component by a factor of its own."""
    rows = [thetas(model, values, 3), thetas(model, values, 2, np.abs), thetas(model, values, 2, lambda z: -np.abs(z))]
    theta = np.concatenate(rows)
    theta[1:3] *= np.exp(0.1 * np.random.default_rng(2).normal(size=theta[1:3].shape))
    return theta[[1, 0, 2, 4, 6, 3]]


def _numbers(name: str, value: Any) -> np.ndarray:
    """An array of finite real numbers. Raises ModelFault for anything else."""
    try:
        array = np.asarray(value)
        good = array.dtype.kind in "fiub" and bool(np.isfinite(array.astype(float)).all())
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ModelFault(f"{name} is {str(value)[:80]!r}; expected finite numbers.")
    return array.astype(float)


def _short(x: np.ndarray) -> str:
    return np.array2string(x[:4], precision=3) + (" ..." if len(x) > 4 else "")
