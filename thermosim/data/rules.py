"""What is wrong with a case's [data], as far as it can be known before a run."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.data.formats import NAMED
from thermosim.data.held_out import file_rows, how_many_learned, share_faults, test_faults
from thermosim.data.rows import DataError, Table
from thermosim.data.section import GENERATED, GENERATED_ROWS, OWN_KEYS, PACKAGED, TOKENS, DataSection
from thermosim.data.tables import table
from thermosim.data.targets import Targets, supervised
from thermosim.data.tokens import holds_tokens

__all__ = ["faults"]

_ROUNDING = 1e-10  # of the largest entry, allowed below 0 in eigenvalues of a covariance
_LARGEST = 2**30  # numbers in all sets together: 8 GiB


def faults(section: DataSection, components: int, folder: Path, targets: Targets | None = None) -> list[str]:
    """A paragraph for each fault of a resolved [data] section, for a model of n = `components`; never raises.

    Of a loss n is the number of its inputs, and `targets` are those of a row.

    `folder` is where the case is. Files are read and checked, and remembered for the run.
    """
    source, file = section.source, section.file
    if source is None and file is None:
        sources = ", ".join(GENERATED + PACKAGED + TOKENS)
        return [f"data: missing; give data.source ({sources}) or a data.file of your own."]
    if source is not None and file is not None:
        return [f"data.source = {source!r}, data.file = {file!r}: has both; keep one of them."]
    found = _unused(section)
    if found and holds_tokens(section):
        return found
    if section.test is not None and (of_test := test_faults(section, targets)):
        return found + of_test
    if (source == "linear") != (targets is not None) and source in GENERATED and source != "mixture":
        return found + [_without_targets(section, targets)]
    width = components + (targets.count if targets else 0)
    if source in GENERATED:
        found += _GENERATORS[source](section, components)
        if targets is not None:
            found += _linear_faults(section, components, targets) if source == "linear" else []
            found += _classes_faults(section, targets) if source == "mixture" and not found else []
        return found + _size_faults(section, (section.rows or GENERATED_ROWS) + (section.test or 0), width)
    if targets is None and section.targets is not None:
        found.append(f"data.targets = {section.targets!r}: this model learns no targets; remove it.")
    if wrong := _targets_fault(section.targets):
        return [*found, wrong]
    try:
        rows = table(section, folder, components)
        if wrong := _digits_fault(section, rows):
            return [*found, wrong]
        if targets is not None:
            rows, _ = supervised(section, rows, components, targets, folder)
            if isinstance(section.test, str):
                file_rows(section, rows, components, targets, folder)
    except DataError as error:
        return [*found, str(error)]
    return found + _table_faults(section, rows, components, targets)


def _unused(section: DataSection) -> list[str]:
    """Keys that this source, or this encoding, does not use."""
    source = section.source or "file"
    here = repr(source) if section.source else f"data.file = {section.file!r}"
    found = [
        f"data.{key} = {_shown(getattr(section, key))}: is only used with {_named(users)}, not {here}; remove it."
        for key, users in OWN_KEYS.items()
        if source not in users and getattr(section, key) not in (None, {}, False)
    ]
    if source == "file" and section.dataset is not None and Path(section.file or "").suffix.lower() not in NAMED:
        found.append(f"data.dataset = {section.dataset!r}: {section.file!r} has no named datasets; remove it.")
    encoding, threshold = section.encoding, section.threshold
    if source in TOKENS and encoding not in ("real", "characters"):
        found.append(f"data.encoding = {encoding!r}: tokens of {source!r} are used as they are; remove it.")
    if source not in ("file", *TOKENS) and encoding == "characters":
        found.append(f"data.encoding = 'characters': {source!r} is no text; use 'python-topics', or a data.file.")
    if source == "file" and section.stride is not None and encoding != "characters":
        found.append(
            f"data.stride = {section.stride}: is for windows of a text; add data.encoding = 'characters', or remove it."
        )
    if source == "modular-addition" and section.modulus is None:
        found.append("data.modulus: missing; modular addition needs one, such as 97.")
    if source in GENERATED and encoding != "real":
        found.append(f"data.encoding = {encoding!r}: generated rows are used as they are; remove it.")
    if encoding in ("real", "standard", "unit", "characters") and threshold != 0.5:
        found.append(
            f"data.threshold = {threshold!r}: is only used with data.encoding = 'binary' or 'spin', not {encoding!r}; "
            "remove it."
        )
    return found


def _gaussian_faults(section: DataSection, n: int) -> list[str]:
    vector = f"a number, or one for each of the model's {n} components"
    found = _array_faults(section, "mean", ((), (n,)), vector)
    found += _array_faults(section, "deviation", ((), (n,)), f"{vector}, none below 0", positive=True)
    if section.covariance is not None and section.deviation is not None:
        found.append("data.deviation, data.covariance: have the same meaning here; keep one of them.")
    return found + _covariance_faults(section, "covariance", n, "component")


def _covariance_faults(section: DataSection, key: str, n: int, each: str) -> list[str]:
    """Whether a key, if given, holds a covariance of so many components or targets."""
    covariance = getattr(section, key)
    if covariance is None:
        return []
    expected = f"a number, or one for each of the model's {n} {each}s, or a matrix of {n} x {n} numbers"
    if wrong := _array_faults(section, key, ((), (n,), (n, n)), expected):
        return wrong
    array = np.asarray(covariance, float)
    if array.ndim == 2 and not np.array_equal(array, array.T):
        return [f"data.{key} = {_shown(covariance)}: is not symmetric; make entries ij and ji equal."]
    lowest = float(np.linalg.eigvalsh(array)[0] if array.ndim == 2 else array.min())
    if lowest < (-_ROUNDING * np.abs(array).max() if array.ndim == 2 else 0.0):
        return [f"data.{key} = {_shown(covariance)}: has the eigenvalue {lowest:g}; no variance can be below 0."]
    return []


def _mixture_faults(section: DataSection, n: int) -> list[str]:
    centers, weights = section.centers, section.weights
    if centers is None:
        return ["data.centers: missing; a mixture needs a list of centers, a vector each."]
    array = _numbers(centers)
    if array is None or array.ndim == 0 or array.size == 0 or array.shape[1:] not in ((n,), () if n == 1 else (n,)):
        return [f"data.centers = {_shown(centers)}: expected a list of vectors, each of the model's {n} components."]
    number = len(array)
    found = _array_faults(section, "weights", ((number,),), f"{number} numbers, one per center, none below 0", True)
    found += _array_faults(
        section, "deviation", ((), (number,)), f"a number, or one for each of the {number} centers, none below 0", True
    )
    if weights is not None and not found and not 0.0 < sum(weights) < math.inf:
        found.append(f"data.weights = {_shown(weights)}: add up to {sum(weights):g}; make one positive.")
    return found


def _ring_faults(section: DataSection, n: int) -> list[str]:
    found = _array_faults(section, "deviation", ((),), "a number, not below 0", positive=True)
    if n != 2:
        found.append(f"data.source = 'ring': has 2 components, this model has {n}; give the model 2.")
    return found


def _teacher_faults(section: DataSection, n: int) -> list[str]:
    teacher = section.teacher
    if not teacher:
        return ["data.teacher: missing; give values of the model's parameters, as in teacher = { mean = 1.0 }."]
    return [
        f"data.teacher.{key} = {_shown(value)}: expected finite numbers, in the shape of this parameter."
        for key, value in teacher.items()
        if _numbers(value) is None
    ]


def _linear_faults(section: DataSection, inputs: int, targets: Targets) -> list[str]:
    """Of the law of the targets, given the inputs."""
    shape, found = (targets.count, inputs), []
    if targets.classes:
        return ["data.source = 'linear': has real targets, this model has classes; use 'mixture', or a file."]
    expected = f"a row of {inputs} numbers for each of {shape[0]} targets, as in [[1.0, 2.0]]"
    if section.matrix is None:
        return [f"data.matrix: missing; targets are matrix z + noise, give {expected}."]
    found += _array_faults(section, "matrix", (shape,), expected)
    found += _covariance_faults(section, "noise", targets.count, "target")
    if section.fresh:
        found += [
            f"data.{key} = {getattr(section, key)}: with data.fresh {why}; remove it."
            for key, default, why in _UNUSED_BY_FRESH
            if getattr(section, key) != default
        ]
    return found


def _classes_faults(section: DataSection, targets: Targets) -> list[str]:
    """The centers of a mixture are the classes of its rows."""
    number = len(section.centers)
    if number == (targets.classes or targets.count):
        return []
    has = f"the classes 0 to {targets.classes - 1}" if targets.classes else f"{targets.count} targets"
    return [f"data.centers: are {number}, each a class, and this model has {has}; give as many of both."]


def _without_targets(section: DataSection, targets: Targets | None) -> str:
    if targets is None:
        return "data.source = 'linear': its rows have targets, which this model does not learn; use 'gaussian'."
    others = "'linear', 'mixture'" if not targets.classes else "'mixture'"
    return f"data.source = {section.source!r}: its rows have no targets; use {others}, or a file."


def _targets_fault(given: Any) -> str | None:
    """Whether data.targets is of a type that it can be."""
    columns = given if isinstance(given, list) and given else [given]
    if given is None or all(type(column) in (int, str) for column in columns):
        return None
    return (
        f"data.targets = {_shown(given)}: expected the number of a column, such as -1 for the last, its name, a list "
        "of them, or the name of a file."
    )


_UNUSED_BY_FRESH = (
    ("rows", None, "no row is kept"),
    ("sets", 1, "no row is kept"),
    ("seed", DataSection.model_fields["seed"].default, "rows are drawn with ensemble.seed"),
)
_GENERATORS = {
    "linear": _gaussian_faults,
    "gaussian": _gaussian_faults,
    "mixture": _mixture_faults,
    "ring": _ring_faults,
    "teacher": _teacher_faults,
}


def _digits_fault(section: DataSection, source: Table) -> str | None:
    """Whether data.digits, if given, are classes of the source."""
    digits = section.digits
    if digits is None:
        return None
    if source.labels is None:
        name = f"data.source = {section.source!r}" if section.source else f"data.file = {section.file!r}"
        return f"data.digits = {digits!r}: {name} has no classes; remove it, or save them as `targets` in .npz."
    classes = np.unique(source.labels).tolist()
    if digits and len(set(digits)) == len(digits) and set(digits) <= set(classes):
        return None
    return f"data.digits = {digits!r}: expected different classes out of {', '.join(map(str, classes))}."


def _table_faults(section: DataSection, source: Table, components: int, targets: Targets | None) -> list[str]:
    """Faults of a choice of rows of a file or packaged set."""
    name = f"data.source = {section.source!r}" if section.source else f"data.file = {section.file!r}"
    shrink, found = section.shrink, []
    if shrink is not None and source.side is None:
        found.append(f"data.shrink = {shrink}: rows of {name} are no square images; remove it.")
    elif shrink is not None and source.side is not None and source.side % shrink:
        fitting = " or ".join(str(s) for s in (2, 4, 7) if source.side % s == 0)
        found.append(f"data.shrink = {shrink}: does not divide {source.side} pixels a side; choose {fitting}.")
    elif (n := source.components(shrink)) != components and holds_tokens(section):
        found.append(f"{name}: rows have {n} tokens, those of this model {components}; write model.context = {n - 1}.")
    elif n != components:
        smaller = [s for s in (2, 4, 7) if source.side is not None and shrink is None and source.side % s == 0]
        hint = "".join(f", or {source.components(s)} with data.shrink = {s}" for s in smaller)
        what = "components" if targets is None else f"inputs, beside {targets.count} of targets"
        found.append(f"{name}: rows have {n} {what}, this model has {components}; give the model {n}{hint}.")
    if section.encoding != "real" and source.low == source.high:
        found.append(
            f"data.encoding = {section.encoding!r}: all values of {name} are {source.low:g}, so there is "
            "no scale; use 'real', or other data."
        )
    if of_share := share_faults(section, len(source.kept(section.digits))):
        return found + of_share
    total = how_many_learned(section, source)
    rows, sets = section.rows or total, section.sets
    if rows > total:
        found.append(f"data.rows = {rows}: there are only {total} rows to choose from; ask for at most that.")
    elif rows == total and sets > 1:
        found.append(
            f"data.sets = {sets}: each set would hold the same {total} rows, all there are; make data.rows smaller, or "
            "data.sets = 1."
        )
    return found + _size_faults(section, min(rows, total), components)


def _size_faults(section: DataSection, rows: int, components: int) -> list[str]:
    size = section.sets * rows * components
    if size <= _LARGEST:
        return []
    shape = f"data.rows = {rows}, data.sets = {section.sets}"
    return [f"{shape}: take {size / 2**27:.0f} GiB at {components} components, 8 at most; make one of them smaller."]


def _array_faults(
    section: DataSection, key: str, shapes: tuple[tuple[int, ...], ...], expected: str, positive: bool = False
) -> list[str]:
    """Whether a key, if given, holds finite numbers in one of some shapes."""
    if (value := getattr(section, key)) is None:
        return []
    array = _numbers(value)
    if array is not None and array.shape in shapes and not (positive and np.any(array < 0)):
        return []
    return [f"data.{key} = {_shown(value)}: expected {expected}."]


def _numbers(value: Any) -> np.ndarray | None:
    """Finite numbers as an array, or None when they are something else."""
    if not all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in _parts(value)):
        return None
    try:
        array = np.asarray(value, float)
    except (ValueError, OverflowError):
        return None
    return array if np.isfinite(array).all() else None


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)
    else:
        yield value


def _named(users: tuple[str, ...]) -> str:
    sources = ", ".join(repr(user) for user in users if user != "file")
    named = [f"data.source = {sources}"] if sources else []
    return " or ".join(named + ["data.file"] * ("file" in users))


def _shown(value: Any) -> str:
    """A value, long lists cut."""
    return reprlib.repr(value)
