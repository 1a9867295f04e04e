"""From the settings of [data] to the rows a model learns from.

Set s is rows s K ... s K + K - 1 of `values`. The sets of a file or a packaged source are drawn from all its rows,
without replacement within a set: the first K of a random order, so a larger set begins with the smaller one. All rows
of a source keep their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.data.generators import TEST, generated, order
from thermosim.data.held_out import file_rows, learned, tested
from thermosim.data.rows import DataError, Table
from thermosim.data.rules import faults
from thermosim.data.section import GENERATED, GENERATED_ROWS, DataSection
from thermosim.data.stand_in import STAND_IN
from thermosim.data.tables import table
from thermosim.data.targets import Targets, as_targets, supervised

__all__ = ["Data", "load", "load_test"]

_AT_ONCE = 2**24  # numbers of a source whose mean and deviation are taken together
Sampler = Callable[[int, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class Data:
    """Data sets, one after another."""

    values: np.ndarray  # (sets K, n), float64
    rows: int  # K, of each set
    sets: int
    labels: np.ndarray | None  # (sets K,), the class of each row, or its center in a mixture
    description: str
    sha256: str  # of the bytes of values, and of those of test where there are some
    test: np.ndarray | None = None  # rows to test with (K', n), of no set

    def of_set(self, number: int) -> np.ndarray:
        """Rows (K, n) of one set."""
        return self.values[number * self.rows : (number + 1) * self.rows]

    def mean(self, number: int = 0) -> np.ndarray:
        """Mean over the rows of one set, (n,)."""
        return np.asarray(self.of_set(number).mean(axis=0))

    def covariance(self, number: int = 0) -> np.ndarray:
        """Covariance over the rows of one set, divisor K, (n, n)."""
        centered = self.of_set(number) - self.mean(number)
        return np.asarray(centered.T @ centered / self.rows)


def load(
    section: DataSection, components: int, folder: Path, sample: Sampler | None = None, targets: Targets | None = None
) -> Data:
    """The data sets of a case whose model has n = `components`; `folder` is where the case is.

    Of a loss n is the number of its inputs, and its targets stand in the columns after them.

    sample(K, s) -> (K, n): exact samples of the model at `section.teacher`, for set s; needed by source "teacher".
    Its random numbers are those of the stream DATA and section.seed, at the steps that `generators.address` gives.
    The arrays are fresh: their owner may change them. Raises DataError with every fault.
    """
    found = faults(section, components, folder, targets)
    if section.source == "teacher" and sample is None:
        found.append("data.source = 'teacher': this model has no exact sampler; choose another source.")
    if found:
        raise DataError("\n\n".join(found))

    source, aims = _source(section, components, folder, targets)
    total = GENERATED_ROWS if source is None else len(learned(section, source))
    rows, sets, width = section.rows or total, section.sets, components + (targets.count if targets else 0)
    values, labels = np.empty((sets * rows, width)), np.empty(sets * rows, np.int64)
    classes: Any = None
    for number in range(sets):
        place = slice(number * rows, (number + 1) * rows)
        if source is not None:
            chosen = _order(section, source, rows, number)
            values[place, :components] = _inputs(section, source, source.values[chosen])
            classes = None if source.labels is None else source.labels[chosen]
            values[place, components:] = aims[chosen]
        elif section.source == "teacher":
            assert sample is not None
            values[place] = _sampled(sample, rows, components, number)
        else:
            values[place], classes = _generated(section, components, rows, number, targets)
        if classes is not None:
            labels[place] = classes
    if not np.isfinite(values).all():
        raise DataError("data: rows take values that are not finite; make the numbers of this source smaller.")
    test = load_test(section, components, folder, targets, sample)
    digest = hashlib.sha256(values.data.cast("B"))
    if test is not None:
        digest.update(test.data.cast("B"))
    return Data(
        values,
        rows,
        sets,
        None if classes is None else labels,
        _described(section, rows, components, targets) + ("" if test is None else f", {len(test)} to test with"),
        digest.hexdigest(),
        test,
    )


def load_test(
    section: DataSection, components: int, folder: Path, targets: Targets | None, sample: Sampler | None = None
) -> np.ndarray | None:
    """The rows that data.test keeps from learning, (K', n) as those of `Data`; None where there are none.

    `sample` as for `load`, of source "teacher". The section has no faults. Raises DataError.
    """
    if section.test is None:
        return None
    source, aims = _source(section, components, folder, targets)
    if section.source == "teacher":
        assert sample is not None
        rows = _sampled(sample, int(section.test), components, TEST)
    elif source is None:
        rows = _generated(section, components, int(section.test), TEST, targets)[0]
    else:
        if isinstance(section.test, str):
            assert targets is not None
            stored, aims = file_rows(section, source, components, targets, folder)
        else:
            chosen = tested(section, source)
            stored, aims = source.values[chosen], aims[chosen]
        rows = np.hstack([_inputs(section, source, stored), aims])
    if not np.isfinite(rows).all():
        raise DataError(f"data.test = {section.test!r}: rows take values that are not finite; remove or mend them.")
    return np.ascontiguousarray(rows, float)


def _source(
    section: DataSection, components: int, folder: Path, targets: Targets | None
) -> tuple[Table | None, np.ndarray]:
    """All rows of a source without their targets, and these (rows, k); of a generated one None, and no targets."""
    if section.source in GENERATED:
        return None, np.empty((0, 0))
    source = table(section, folder, components)
    return (
        (source, np.empty((len(source.values), 0)))
        if targets is None
        else supervised(section, source, components, targets, folder)
    )


def _generated(
    section: DataSection, components: int, rows: int, number: int, targets: Targets | None
) -> tuple[np.ndarray, Any]:
    """Generated rows (K, n) with their targets, and the centers (K,) of a mixture."""
    count = targets.count if targets else 0
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the caller
        made, classes = generated(section, components, rows, number, count)
    if targets is not None and classes is not None:
        assert section.centers is not None
        centers = np.arange(len(section.centers))  # classes, also those that are never drawn
        made = np.hstack([made, as_targets(classes, targets, f"data.source = {section.source!r}", centers)])
    return made, classes


def _order(section: DataSection, source: Table, rows: int, number: int) -> np.ndarray:
    """Numbers (K,) of the rows of one set."""
    kept = learned(section, source)
    return kept[order(section.seed, len(kept), number)[:rows]] if rows < len(kept) else kept


def _inputs(section: DataSection, source: Table, stored: np.ndarray) -> np.ndarray:
    """Rows (K, n) as they are stored, shrunk and encoded on the scale of the source's rows to learn from."""
    values = _shrunk(stored, source.side, section.shrink)
    if section.encoding == "standard":
        return _standard(values, _shrunk(source.values[learned(section, source)], source.side, section.shrink))
    return _encoded(section, source, values)


def _standard(values: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Rows with the mean and deviation of each component of total taken out; what is constant there becomes 0."""
    varies = total.min(axis=0) < total.max(axis=0)
    mean, deviation = _moments(total)
    standard = values - mean
    standard /= np.where(varies, deviation, 1.0)
    standard[:, ~varies] = 0.0
    return standard


def _moments(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (n,) of columns: of large sets, which are bytes, some columns at a time."""
    width = total.shape[1] if total.size <= _AT_ONCE else max(2, _AT_ONCE // len(total))
    mean, deviation = np.empty(total.shape[1]), np.empty(total.shape[1])
    for first in range(0, total.shape[1], width):
        columns = slice(first, first + width)
        part = total[:, columns].astype(float)
        mean[columns], deviation[columns] = part.mean(axis=0), part.std(axis=0)
    return mean, deviation


def _shrunk(values: np.ndarray, side: int | None, shrink: int | None) -> np.ndarray:
    """Averages over shrink x shrink squares of square images, (K, side^2 / shrink^2)."""
    if shrink is None or side is None:
        return values
    squares = values.reshape(len(values), side // shrink, shrink, side // shrink, shrink)
    return np.asarray(squares.mean(axis=(2, 4)).reshape(len(values), -1))


def _encoded(section: DataSection, source: Table, values: np.ndarray) -> np.ndarray:
    encoding = section.encoding
    if encoding in ("real", "characters"):
        return values
    unit = values.astype(float)  # large sets are not copied again
    unit -= source.low
    unit /= source.high - source.low
    if encoding == "unit":
        return unit
    binary = (unit > section.threshold).astype(float)
    return 2.0 * binary - 1.0 if encoding == "spin" else binary


def _sampled(sample: Sampler, rows: int, components: int, number: int) -> np.ndarray:
    values = np.asarray(sample(rows, number), float)
    if values.shape != (rows, components):
        raise ValueError(f"the sampler gave rows of shape {values.shape}, expected {(rows, components)}")
    return values


def _described(section: DataSection, rows: int, components: int, targets: Targets | None) -> str:
    name = section.source or f"{section.file} {section.dataset or ''}".strip()
    name += ", a stand-in for CIFAR-10" if name == STAND_IN else ""
    digits, shrink = section.digits, section.shrink
    details = [f"classes {', '.join(map(str, digits))}"] if digits else []
    details += [f"shrunk by {shrink}"] if shrink else []
    details += [section.encoding] if section.encoding != "real" else []
    which = f"{section.sets} sets of " if section.sets > 1 else ""
    how = f" ({'; '.join(details)})" if details else ""
    of = f"{components} components" if targets is None else f"{components} inputs and {targets.count} targets"
    return f"{name}{how}: {which}{rows} rows of {of}"
