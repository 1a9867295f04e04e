"""The section [sweep] of a case: axes, and which of them change shapes or code."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Any

import numpy as np

from thermosim.addresses import ADDRESS, ORIGIN
from thermosim.case.numbers import number_faults, whole
from thermosim.ledger import variables_of
from thermosim.model import Model
from thermosim.moves import hyper_parameters
from thermosim.storage.manifest import Axis

__all__ = ["RESERVED", "Axis", "axes_of", "is_structural", "taken_names"]

# dimensions and coordinates of every ensemble, and dimensions of what analysis makes of it
RESERVED = {
    *("step", "replica", "cohort", "cohort_replicas", "sample", "x_dim", "theta_dim", "time"),
    *("status", "diverged_step", ADDRESS, ORIGIN),
    *("bath", "bound", "group", "lag", "other_dim", "pair", "parameter_group", "part", "prediction", "theorem"),
}


_SECTIONS = ("model", "theta", "x", "data", "run")  # whose keys can be axes
_MOST_VALUES = 100_000  # of an axis


def axes_of(sweep: Any) -> tuple[list[Axis], list[str]]:
    """The axes of a sweep, none structural yet, and what is wrong with them."""
    if not isinstance(sweep, dict):
        return [], ["sweep: expected a table of axes."]
    axes, faults = [], []
    for key, spec in sweep.items():
        expected = "expected { values = [...] } or { logspace = [first, last], num = n } or { linspace = ..., num = n }"
        expected += f" with n from 2 to {_MOST_VALUES:,}"
        kinds = sorted(spec.keys() - {"num"}) if isinstance(spec, dict) else []
        if len(kinds) != 1 or kinds[0] not in ("values", "logspace", "linspace"):
            faults.append(f'sweep."{key}" = {spec!r}: {expected}.')
            continue
        values, number = spec[kinds[0]], whole(spec.get("num"))
        if kinds[0] == "values":
            good = isinstance(values, list) and len(values) > 0 and number is None
        else:
            good = (
                isinstance(values, list)
                and len(values) == 2
                and isinstance(number, int)
                and 2 <= number <= _MOST_VALUES
            )
            good = good and all(number_faults(v, None, None, False, "") is None for v in values)
            good = good and (kinds[0] == "linspace" or min(values) > 0)
        if not good:
            faults.append(f'sweep."{key}" = {spec!r}: {expected}, the ends of a logspace positive.')
            continue
        if kinds[0] != "values":
            space = np.geomspace if kinds[0] == "logspace" else np.linspace
            with np.errstate(all="ignore"):  # what is not finite is refused where it is used
                values = [float(v) for v in space(values[0], values[1], number)]
        count = Counter(value if isinstance(value, (int, float)) else repr(value) for value in values)
        if len(count) < len(values):
            twice = count.most_common(1)[0][0]
            faults.append(f'sweep."{key}": has the value {twice} twice; once is enough, with more replicas.')
            continue
        axes.append(Axis(key, tuple(values), structural=False))
    names = [axis.name for axis in axes]
    faults += [
        f"sweep: two axes are called {name!r}; sweep them in two cases." for name in names if names.count(name) > 1
    ]
    for axis in axes:
        if (
            axis.key.split(".")[0] in ("sweep", "title", "record", "ensemble", "irreversibility")
            or axis.key
            in (
                "run.steps",
                "model.name",
                "model.file",
            )
            or axis.key.startswith("model.formula")
        ):
            faults.append(f'sweep."{axis.key}": cannot be an axis of one ensemble; make it several cases or use --set.')
        elif "." not in axis.key:
            faults.append(f'sweep."{axis.key}": expected a dotted key such as "theta.learning_rate".')
        elif axis.key.split(".")[0] not in _SECTIONS:
            section, _, name = axis.key.partition(".")
            near = difflib.get_close_matches(section, _SECTIONS, 1, cutoff=0.4)
            hint = f"did you mean {near[0]}.{name}?" if near else f"its first part is one of {', '.join(_SECTIONS)}."
            faults.append(f'sweep."{axis.key}": there is no section {section!r}; {hint}')
    return [axis for axis in axes if "." in axis.key], faults


def taken_names(axes: list[Axis], model: Model) -> list[str]:
    """Faults of axes whose name, the last part of their key, is that of something else in the ensemble."""
    constants = {constant.name for constant in model.constants}
    faults = []
    for axis in axes:
        section, _, key = axis.key.partition(".")
        if axis.name in RESERVED:
            what = "dimensions and coordinates of an ensemble"
        elif axis.name in variables_of(model.functionals):
            what = "its variables"
        elif axis.name in {row.dim for row in model.rows}:
            what = "dimensions of the model's sums"
        elif axis.name in {*model.observables, *(measure.name for measure in model.measures)} and section != "theta":
            what = "observables of the model"  # theta.radius is kept off the record instead
        elif axis.name in constants and section != "model":
            what = "constants of the model"
        else:
            continue
        own = section == "model" and key == axis.name
        remedy = "rename the constant in the model's file" if own else "run its values as several cases, with --set"
        faults.append(f'sweep."{axis.key}": its axis would be called {axis.name!r}, as {what} are; {remedy}.')
    return faults


def is_structural(axis: Axis, model: Model, steady: bool) -> bool:
    """Whether the values run one after another; a steady move of x has one propagator for all lanes."""
    section, _, key = axis.key.partition(".")
    numeric = all(isinstance(v, (int, float)) for v in axis.values)
    if section == "theta":
        return not (numeric and key in hyper_parameters("theta"))
    if section == "x":
        return steady or not (numeric and key in hyper_parameters("x"))
    constant = next((c for c in model.constants if c.name == key), None)
    if section != "model" or constant is None:
        return True
    several = constant.integer or constant.is_array or bool(constant.choices)
    return several or steady or model.network is not None  # whose functions are made for the constants of one run
