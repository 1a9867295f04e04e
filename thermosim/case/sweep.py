"""The section [sweep] of a case: axes, and which of them change shapes or code."""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.model import Model
from thermosim.moves import hyper_parameters
from thermosim.storage.manifest import Axis

__all__ = ["Axis", "axes_of", "is_structural"]


def axes_of(sweep: Any) -> tuple[list[Axis], list[str]]:
    """The axes of a sweep, none structural yet, and what is wrong with them."""
    if not isinstance(sweep, dict):
        return [], ["sweep: expected a table of axes."]
    axes, faults = [], []
    for key, spec in sweep.items():
        expected = "expected { values = [...] } or { logspace = [first, last], num = n } or { linspace = ..., num = n }"
        kinds = sorted(spec.keys() - {"num"}) if isinstance(spec, dict) else []
        if len(kinds) != 1 or kinds[0] not in ("values", "logspace", "linspace"):
            faults.append(f'sweep."{key}" = {spec!r}: {expected}.')
            continue
        values, number = spec[kinds[0]], spec.get("num")
        if kinds[0] == "values":
            good = isinstance(values, list) and len(values) > 0 and number is None
        else:
            good = isinstance(values, list) and len(values) == 2 and isinstance(number, int) and 2 <= number <= 100_000
            good = good and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
            good = good and (kinds[0] == "linspace" or min(values) > 0)
        if not good:
            faults.append(f'sweep."{key}" = {spec!r}: {expected}, the ends of a logspace positive.')
            continue
        if kinds[0] != "values":
            space = np.geomspace if kinds[0] == "logspace" else np.linspace
            values = [float(v) for v in space(values[0], values[1], number)]
        axes.append(Axis(key, tuple(values), structural=False))
    names = [axis.name for axis in axes]
    faults += [
        f"sweep: two axes are called {name!r}; sweep them in two cases." for name in names if names.count(name) > 1
    ]
    for axis in axes:
        if axis.key.split(".")[0] in ("sweep", "title", "record", "ensemble") or axis.key in (
            "run.steps",
            "model.name",
            "model.file",
        ):
            faults.append(f'sweep."{axis.key}": cannot be an axis of one ensemble; make it several cases or use --set.')
        elif "." not in axis.key:
            faults.append(f'sweep."{axis.key}": expected a dotted key such as "theta.learning_rate".')
    return [axis for axis in axes if "." in axis.key], faults


def is_structural(axis: Axis, model: Model, steady: bool) -> bool:
    """Whether the values run one after another; a steady move of x has one propagator for all lanes."""
    section, _, key = axis.key.partition(".")
    numeric = all(isinstance(v, (int, float)) for v in axis.values)
    if section == "theta":
        return not (numeric and key in hyper_parameters("theta"))
    if section == "x":
        return steady or not (numeric and key in hyper_parameters("x"))
    constant = next((c for c in model.constants if c.name == key), None)
    return section != "model" or constant is None or constant.integer or constant.is_array or steady
