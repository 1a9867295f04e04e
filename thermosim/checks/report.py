"""What an ensemble says against theory: computed here, and printed by others."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison, Verdict, judge
from thermosim.analysis.diverged import Survivors, survivors
from thermosim.analysis.settings import settings, without_single_axes
from thermosim.case.faults import CaseError
from thermosim.checks.admission import (
    Unfit,
    at_common_steps,
    frame_variables,
    in_memory,
    known_model,
    opened,
    too_little,
    why_missing,
    without_frames,
)
from thermosim.checks.first_law import BOOKS, first_law
from thermosim.checks.rows import report_html
from thermosim.checks.table import check_of
from thermosim.model import Model

__all__ = ["Report", "check"]


@dataclass(frozen=True, eq=False)
class Report:
    """Comparisons of one ensemble with theory, and what they say together."""

    title: str  # of the case
    model: str
    replicas: int  # at each point of the sweep
    left_out: tuple[int, ...]  # numbers of those that diverged at some point of the sweep that is compared
    comparisons: tuple[Comparison, ...]
    verdict: Verdict | None  # None where nothing was compared
    why_nothing: str  # a sentence where nothing was compared, otherwise empty
    notes: tuple[str, ...]  # sentences: who was left out, and what else a reader should know

    @property
    def consistent(self) -> bool | None:
        """Whether everything agrees with theory; None where nothing was compared."""
        return None if self.verdict is None else self.verdict.consistent

    def accepts(self, comparison: Comparison) -> bool:
        """Whether no point of one of its comparisons is a deviation."""
        return self.verdict is not None and bool(np.all(comparison.p_value >= self.verdict.threshold))

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return report_html(self)


def check(ensemble: xr.Dataset | str | Path) -> Report:
    """Compare an ensemble with everything that is known exactly of its model.

    Parameters
    ----------
    ensemble : Dataset or path
        What `simulate` or `open_ensemble` gave, lazy or not, or a part of it: some frames, replicas or values of an
        axis of the sweep (`ds.sel(tau=4)`, `ds.isel(step=slice(50))`), in any order. It is not changed. Or the path of
        its file.

    Returns
    -------
    Report
        Its `comparisons` hold measured and exact values, standard errors from independent replicas and z, in the
        its `units`, arrays over the points of the sweep and what else is compared at once.
        `verdict` takes them together at a stated false-alarm rate and is None where nothing could be compared;
        `why_nothing` then says why: too few frames or replicas, a variable that was not recorded, nothing known, or
        more than fits in the memory of this machine. `left_out` names replicas that diverged, `notes` the rest.

    Raises
    ------
    StorageError
        The file is no ensemble, is damaged, or has lost frames.
    CaseError
        The model is a user's own and its file, stored with the ensemble, cannot be imported.
    ValueError
        `ensemble` is a Dataset that is no longer an ensemble: its attributes, an axis or a coordinate are gone,
        replicas are there twice or of another case. The message names the remedy.

    Examples
    --------
    >>> report = thermosim.check("trap.h5")
    >>> report.consistent, [(row.quantity, row.z) for row in report.comparisons]
    """
    if not isinstance(ensemble, xr.Dataset):
        with opened(ensemble) as ds:
            return check(ds)
    model = known_model(ensemble)
    title, replicas = str(ensemble.attrs.get("title", "")), ensemble.sizes.get("replica", 1)
    row = check_of(model, settings(ensemble))
    try:
        ds = at_common_steps(in_memory(ensemble), own=row is not None and row.at_all_steps)
    except Unfit as why:
        return Report(title, model.name, replicas, (), (), None, str(why), ())
    left = survivors(ds)
    kept, left_out, notes = without_single_axes(left.ds), left.replicas, _lost_values(ds, left)
    comparisons, why_nothing = _compared(model, ds, kept)
    what = "diverged" if not left_out or bool(ds["status"].notnull().all()) else "diverged or have no values"
    if left_out and len(left_out) == replicas:
        notes = [f"All {ds['status'].size:,} replicas {what}."]
    elif left_out:
        bias = _bias(len(left_out), replicas)
        rest = f"; the others are a biased sample, and up to {bias:.2g} standard errors are put down to that"
        notes.append(f"{len(left_out)} of {replicas} replicas {what} and are not compared{rest}.")
        comparisons = tuple(_of_a_biased_sample(row, bias) for row in comparisons)
    if row is not None and not too_little(kept) and not without_frames(kept, model, "check"):
        # a variable that is missing is named by why_nothing
        with contextlib.suppress(KeyError), np.errstate(all="ignore"):
            notes += row.advise(kept)
    verdict = judge(comparisons) if comparisons else None
    return Report(title, model.name, replicas, left_out, comparisons, verdict, why_nothing, tuple(notes))


def _bias(lost: int, replicas: int) -> float:
    """How many standard errors a mean over the others may be off, if `lost` of all replicas are left out by their fate.

    On condition of an event of probability 1 - q a mean is at most sqrt(q/(1 - q)) standard deviations from what it is
    without (by the inequality of Cauchy and Schwarz), and 1/sqrt(R - k) of these are a standard error.
    """
    return float(np.sqrt(lost)) if lost < replicas else np.inf


def _of_a_biased_sample(row: Comparison, bias: float) -> Comparison:
    """The same, tolerating so many standard errors."""
    score = row.score
    if score is not None:
        score = np.sign(score) * np.maximum(np.abs(score) - bias, 0.0)
    return replace(row, tolerance=row.tolerance + bias * np.asarray(row.standard_error), score=score)


def _lost_values(ds: xr.Dataset, left: Survivors) -> list[str]:
    """A sentence for each axis of the sweep some of whose values are left out."""
    notes = []
    for name, kept in left.values.items():
        lost = [str(ds[name].values[i]) for i in range(ds.sizes[name]) if i not in kept]
        notes.append(f"At {name} = {', '.join(lost)} most replicas diverged: nothing is compared there.")
    return notes


def _compared(model: Model, ds: xr.Dataset, kept: xr.Dataset) -> tuple[tuple[Comparison, ...], str]:
    """Comparisons of the replicas that are `kept` of `ds`, or none and a sentence why."""
    what = check_of(model, settings(ds))
    if what is None and not set(kept) >= BOOKS:
        return (), (
            f"Nothing to compare with an exact result: the model {model.name!r} brings no check of its own and does "
            "not learn, and phi, work and heat, whose first law holds for any model, are not all recorded."
        )
    if model.check is None and (why := without_frames(ds, model, "check")):
        return (), f"Nothing to compare: {why}."
    if why := too_little(ds):
        return (), f"Nothing can be compared: {why}."
    if kept.sizes["replica"] < 2:
        left = "one replica is" if kept.sizes["replica"] else "no replica is"
        return (), f"Nothing can be compared: {left} left that did not diverge."
    try:
        with np.errstate(all="ignore"):  # what overflows is no number in the comparison, and counts as a deviation
            comparisons = tuple(what.compare(kept)) if what is not None else ()
            if (what is None or model.check is not None) and set(kept) >= BOOKS:
                comparisons = first_law(kept), *comparisons
    except KeyError as error:
        return (), why_missing(error, model, kept, "check")
    except np.linalg.LinAlgError as error:
        return (), f"Nothing can be compared: replicas are so far from each other that a matrix is singular ({error})."
    except Exception as error:
        if model.check is None:
            raise
        raise CaseError(
            [f"its own check raised {type(error).__name__}: {error}"], f"the model {model.name!r}"
        ) from error
    return comparisons, "" if comparisons else _nothing(model, kept)


def _nothing(model: Model, ds: xr.Dataset) -> str:
    """Why nothing is compared, and what more could be recorded."""
    more = [name for name in frame_variables(model, settings(ds)) if name not in ds]
    remedy = f" This case can also record {', '.join(more)}: record.variables." if more and model.check is None else ""
    return f"Nothing to compare with an exact result.{remedy}"
