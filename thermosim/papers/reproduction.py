"""Running a paper's cases, and judging its claims by what came out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xarray as xr

from thermosim.analysis.settings import settings
from thermosim.case.load import Case, load_case
from thermosim.pages.render import render
from thermosim.papers.claims import Claim, Number, Outcome, Paper, Run, judged
from thermosim.papers.library import find_paper
from thermosim.papers.lines import Line, lines_of, summary_of, verdict_of
from thermosim.run.execution import Listener, Progress
from thermosim.run.resume import resume
from thermosim.run.simulate import simulate
from thermosim.storage import StorageError, parts_folder
from thermosim.storage.open import open_ensemble

__all__ = ["Reproduction", "Result", "case_of", "reproduce"]

_EXTRAS = {"networks": "jax", "torch": "torch"}  # and the module that shows that it is there


@dataclass(frozen=True)
class Result:
    """A claim, its numbers, and what they say. `outcome` is None where its ensembles were not run, for `why_not`."""

    claim: Claim
    numbers: tuple[Number, ...]
    corrected: tuple[Number, ...]  # what is right instead, where it does not hold
    outcome: Outcome | None
    why_not: str = ""


@dataclass(frozen=True)
class Reproduction:
    """What came of a paper. `rate` is the false-alarm rate of a single number, so that all keep `FALSE_ALARM_RATE`."""

    paper: Paper
    full: bool
    results: tuple[Result, ...]
    rate: float
    seconds: float

    @property
    def lines(self) -> list[tuple[Result, list[Line], str]]:
        """Every claim with the lines of its numbers and its verdict in words."""
        return [(one, lines_of(one, self.rate), verdict_of(one, self.rate)) for one in self.results]

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return render("reproduction.html", reproduction=self, summary=summary_of(self))


def reproduce(
    paper: str | Paper,
    *,
    full: bool = False,
    folder: str | Path | None = None,
    threads: int | None = None,
    report: Listener | None = None,
) -> Reproduction:
    """Run the cases of a paper and judge each of its claims. Ensembles are in memory together: 100 MB, or 1 GB if full.

    Parameters
    ----------
    paper : str or Paper
        Its arXiv number or short name: "2511.07308" or "ideal-gas". `thermosim.papers.PAPERS` has all. Or one of your
        own.
    full : bool
        At the paper's own size, instead of one that fits a minute.
    folder : path, optional
        Where ensembles are kept. What lies there complete, of the same cases, is used and not run again; what was
        interrupted goes on.
    threads : int, optional
        Default all.
    report : callable, optional
        Called with a `Progress` now and then; its note before each run is the title of the case.

    Raises
    ------
    ValueError
        There is no such paper.
    CaseError
        The memory of this machine is not enough.
    StorageError
        `folder` holds another ensemble of the same name.
    """
    which, begin = paper if isinstance(paper, Paper) else find_paper(paper), time.perf_counter()
    missing = {name: why for name, run in which.runs.items() if (why := _why_not(run))}
    cases = {name: case_of(run, full) for name, run in which.runs.items() if name not in missing}
    if folder is not None:  # what does not fit is told before anything runs
        for name, case in cases.items():
            _refuse_another(case, Path(folder) / f"{name}.h5")
    ensembles: dict[str, xr.Dataset] = {}
    for name, case in cases.items():
        if report is not None:
            report(Progress(0, 0, 1, 0.0, "compiling", note=case.title))
        ensembles[name] = _ensemble(case, name, folder, {"threads": threads, "report": report})
    results, rate = _results(which.claims, ensembles, missing)
    return Reproduction(which, full, results, rate, time.perf_counter() - begin)


def case_of(run: Run, full: bool) -> Case:
    """The case of a run at one of its two sizes."""
    return load_case(run.case, dict(run.full if full else run.changes))


def _why_not(run: Run) -> str:
    """Why a run is left out; empty where it is not."""
    if not run.needs or find_spec(_EXTRAS[run.needs]) is not None:
        return ""
    return f"needs the extra {run.needs}: pip install 'thermosim-engine[{run.needs}]'"


def _refuse_another(case: Case, file: Path) -> None:
    if not file.exists() and not parts_folder(file).exists():
        return
    with open_ensemble(file) as ds:
        if settings(ds) != case.settings:
            raise StorageError(f"{file}: an ensemble of another case, or of the other size; name another folder.")


def _ensemble(case: Case, name: str, folder: str | Path | None, how: Mapping[str, Any]) -> xr.Dataset:
    if folder is None:
        return simulate(case, **how)
    file = Path(folder) / f"{name}.h5"
    if parts_folder(file).exists():
        return resume(file, **how).load()
    if file.exists():
        return open_ensemble(file).load()
    file.parent.mkdir(parents=True, exist_ok=True)
    return simulate(case, file, **how).load()


def _results(
    claims: Sequence[Claim], ensembles: Mapping[str, xr.Dataset], missing: Mapping[str, str]
) -> tuple[tuple[Result, ...], float]:
    """Numbers of all claims, and the rate of a single one at which they are judged."""
    why_not = [" and ".join(dict.fromkeys(missing[run] for run in claim.runs if run in missing)) for claim in claims]
    tables = [() if why else tuple(claim.measure(ensembles)) for claim, why in zip(claims, why_not, strict=True)]
    rate, outcomes = judged(tables)
    results = []
    for claim, why, numbers, outcome in zip(claims, why_not, tables, outcomes, strict=True):
        wrong = outcome is Outcome.FAILS and claim.corrected is not None and not why
        corrected = tuple(claim.corrected(ensembles)) if wrong and claim.corrected else ()
        results.append(Result(claim, numbers, corrected, None if why else outcome, why))
    return tuple(results), rate
