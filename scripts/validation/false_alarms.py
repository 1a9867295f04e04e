"""Whether `check` calls a right run wrong: the tables of random small cases, and the law of all their p-values."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy import stats

import thermosim
from scripts.validation.random_cases import random_case
from thermosim.analysis.comparison import FALSE_ALARM_RATE, Comparison

__all__ = ["TITLE", "Tally", "kind_of", "sections", "tally"]

TITLE = "False alarms of check"
CASES = 2200
_LEVELS = (0.05, 0.01, 0.001)
_FEWEST = 30  # p-values of a kind that has a row of its own
_SEED = 1
_TOGETHER = 20  # cases that a process runs before it tells


@dataclass
class Tally:
    """What came of the tables of many right runs."""

    cases: int = 0
    compared: int = 0  # tables that compared something
    alarms: list[str] = field(default_factory=list)  # cases whose verdict was not consistent
    faults: list[str] = field(default_factory=list)
    # by kind: of numbers with noise and no tolerance, and of those with a tolerance, whose p-values are large
    p_values: dict[str, list[float]] = field(default_factory=dict)
    bounded: dict[str, list[float]] = field(default_factory=dict)

    def add(self, case: thermosim.Case) -> None:
        """Run a case and check it."""
        self.cases += 1
        try:
            report = thermosim.check(thermosim.simulate(case, threads=1))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.faults.append(f"{where.filename}:{where.lineno} {type(error).__name__}: {error} {_told(case)}")
            return
        self.compared += report.verdict is not None
        if report.verdict is not None and not report.consistent:
            rows = [row.quantity for row in report.comparisons if not report.accepts(row)]
            self.alarms.append(f"{', '.join(rows)}: {_told(case)}")
        for row in report.comparisons:
            noisy = np.broadcast_to(np.asarray(row.standard_error) > 0.0, np.shape(row.z))
            bound = np.broadcast_to(np.asarray(row.tolerance) > 1e-3 * np.asarray(row.standard_error), np.shape(row.z))
            for values, which in ((self.p_values, noisy & ~bound), (self.bounded, noisy & bound)):
                if np.any(which):
                    values.setdefault(kind_of(case, row), []).extend(row.p_value[which].ravel().tolist())

    def take(self, other: Tally) -> None:
        """Count those of another tally as well."""
        self.cases, self.compared = self.cases + other.cases, self.compared + other.compared
        self.alarms += other.alarms
        self.faults += other.faults
        for mine, others in ((self.p_values, other.p_values), (self.bounded, other.bounded)):
            for kind, values in others.items():
                mine.setdefault(kind, []).extend(values)

    def everything(self) -> np.ndarray:
        """All p-values that should be uniform."""
        return np.array([p for values in self.p_values.values() for p in values])


def kind_of(case: thermosim.Case, row: Comparison) -> str:
    """What is compared, without the numbers of this case."""
    quantity = re.sub(r"^.* = [^:]*: ", "", row.quantity)
    quantity = re.sub(r"\(effective.*?\)|,? ?(to|at) steps?.*?(?=:|$)|, steps.*|, lags.*|#", "", quantity).strip()
    room = {"isotropic-sphere": "sphere"}.get(case.model.name, "learning" if case.model.learns else "driven")
    return f"{room}: {quantity.replace('_', ' ')}"


def tally(cases: Iterable[thermosim.Case]) -> Tally:
    """Run and check all of them."""
    result = Tally()
    for case in cases:
        result.add(case)
    return result


def sections(share: float, pictures: Path) -> str:
    """The measurement and what came of it, in Markdown."""
    result, number = Tally(), max(20, round(CASES * share))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for part in pool.map(_some, range(0, number, _TOGETHER), repeat(number)):
            result.take(part)
    p = result.everything()
    name = "validation/false_alarms.png"
    _draw(p, pictures / "pictures" / name)
    drawn = (
        f"{result.cases:,} random cases: every model, move, start, schedule, sweep, batch and temperature that the "
        "rules of cases admit, 100 to 600 replicas, 20 to 300 steps. All of them are right, so every deviation is a "
        "false alarm."
    )
    promised = f"{FALSE_ALARM_RATE * result.compared:.2g} expected at most"
    lines = [
        drawn,
        "",
        "| | |",
        "|---|---|",
        f"| tables that compared something | {result.compared:,} |",
        f"| faults | {len(result.faults)} |",
        f"| tables called not consistent | {len(result.alarms)}, {promised} |",
        f"| numbers compared against a reference without tolerance | {p.size:,} |",
        f"| smallest p-value, and that expected of so many | {p.min():.2g}, {1.0 / (p.size + 1):.2g} |",
        f"| Kolmogorov's distance of all p-values from uniform ones | {stats.kstest(p, 'uniform').statistic:.3f} |",
        "",
        _table(result),
        "",
        "Numbers of one table are correlated. A tolerance, such as what is left of a start, makes p-values larger.",
        "",
        f"![p-values against uniform ones](pictures/{name})",
    ]
    lines += [f"- fault: {fault}" for fault in result.faults] + [f"- alarm: {alarm}" for alarm in result.alarms]
    return "\n".join(lines)


def _some(first: int, number: int) -> Tally:
    return tally(random_case(np.random.default_rng([_SEED, i])) for i in range(first, min(first + _TOGETHER, number)))


def _table(result: Tally) -> str:
    heads = ["kind", "numbers", *(f"p < {level:g}" for level in _LEVELS), "smallest p times numbers"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    rows = sorted(result.p_values.items(), key=lambda item: -len(item[1]))
    rest = [p for _, values in rows if len(values) < _FEWEST for p in values]
    shown = [(kind, values) for kind, values in rows if len(values) >= _FEWEST]
    shown += [(f"{kind}, with a tolerance", v) for kind, v in sorted(result.bounded.items()) if len(v) >= _FEWEST]
    shown += [("all others", rest)] if rest else []
    for kind, values in [*shown, ("all without a tolerance", result.everything().tolist())]:
        p = np.array(values)
        shares = " | ".join(f"{np.mean(p < level):.4f}" for level in _LEVELS)
        lines.append(f"| {kind} | {p.size:,} | {shares} | {p.min() * p.size:.2g} |")
    return "\n".join(lines)


def _draw(p: np.ndarray, file: Path) -> None:
    """Quantiles: measured p-values against those of uniform ones, logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.5, 4.2), layout="constrained")
    order = np.arange(1, p.size + 1)
    axes.fill_between(
        order / (p.size + 1), *stats.beta.ppf([[0.005], [0.995]], order, p.size + 1 - order), color="0.88", lw=0
    )
    axes.loglog(order / (p.size + 1), np.sort(p), ".", ms=3)
    axes.plot([1 / p.size, 1], [1 / p.size, 1], "k-", lw=0.7)
    axes.set(xlabel="p-value expected of uniform ones", ylabel="p-value of a right run")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _told(case: thermosim.Case) -> str:
    return f"{case.model.name} {dict(case.overrides)}"
