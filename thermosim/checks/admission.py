"""What a check or a picture works on: an ensemble that is whole, in memory, at common steps, of a model known here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from thermosim.analysis.machine import ensemble_model
from thermosim.analysis.replicas import examine
from thermosim.analysis.settings import as_run, settings, without_single_axes
from thermosim.case.faults import CaseError
from thermosim.case.record import RecordSection, frame_names, recordable
from thermosim.case.settings import Settings
from thermosim.model import Model
from thermosim.run import machine
from thermosim.run.footprint import SHARE_OF_MEMORY
from thermosim.storage import StorageError
from thermosim.storage.durable import command
from thermosim.storage.manifest_file import output_of
from thermosim.storage.open import open_ensemble
from thermosim.storage.verification import blamed

__all__ = [
    "Unfit",
    "at_common_steps",
    "frame_variables",
    "in_memory",
    "known_model",
    "opened",
    "too_little",
    "why_missing",
    "without_frames",
]


_SHARE_OF_FREE = 0.5  # of the memory, for an ensemble: a check makes arrays of the size of its variables


class Unfit(ValueError):
    """An ensemble that cannot be compared or drawn as it is; the message is a sentence that says why."""


@contextmanager
def opened(file: str | Path) -> Iterator[xr.Dataset]:
    """The ensemble of a file, lazily. Raises StorageError when frames are lost: half of them compare with nothing.

    Whatever fails meanwhile is put down to the file where that is damaged.
    """
    try:
        with _opened(file) as ds:
            yield ds
    except (CaseError, StorageError, Unfit, MemoryError):
        raise
    except Exception as error:
        raise blamed(output_of(Path(file)), error) from error


def _opened(file: str | Path) -> xr.Dataset:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ds = open_ensemble(file)
    damage = [str(one.message) for one in said if "not all of it is what was sealed" in str(one.message)]
    if damage:
        ds.close()
        remedy = f"Compute them anew: {command('resume', Path(file), '--repair')}"
        raise StorageError("\n".join([*damage, f"It is not compared or drawn without these frames. {remedy}"]))
    return ds


def in_memory(ds: xr.Dataset) -> xr.Dataset:
    """The ensemble with its values read; `ds` itself stays lazy.

    Raises Unfit when it is too large for this machine, StorageError when it cannot be read whole.
    """
    here = machine.memory()
    if ds.nbytes >= min(SHARE_OF_MEMORY * here.total, _SHARE_OF_FREE * here.free):
        raise Unfit(
            f"The ensemble holds {ds.nbytes / 1e9:.3g} GB, too much to check or draw in one piece here: open it with "
            "thermosim.open_ensemble, which is lazy, and select what to analyse."
        )
    try:
        return ds.compute()
    except (OSError, RuntimeError) as error:
        file = ds.encoding.get("source", "the ensemble")
        remedy = "thermosim info names what is damaged; put the file back from a copy, or run it again."
        raise StorageError(f"{file}: cannot be read whole ({error}). {remedy}") from None


def known_model(ds: xr.Dataset) -> Model:
    """The model an ensemble was made with; a user's own is in the file.

    Raises CaseError where that file cannot be imported or there is no such model, ValueError where `ds` is no ensemble.
    """
    as_run(ds)
    try:
        return ensemble_model(ds)
    except ValueError as error:
        raise CaseError([str(error)], "the ensemble's model") from None


def at_common_steps(ds: xr.Dataset, own: bool = False) -> xr.Dataset:
    """What a check or a picture takes: variables at the cadence of all, and axes of several values only.

    own: variables that have steps of their own are left in.

    Raises Unfit for a single frame or replica, ValueError where `ds` is no longer an ensemble (`analysis.replicas`).
    """
    if any(name in ds.coords and ds.coords[name].ndim == 0 for name in ("step", "replica")):
        raise Unfit(f"Nothing can be compared or drawn: {too_little(ds)}.")
    swept = {key.rsplit(".", 1)[-1] for key in as_run(ds).sweep}  # an axis of the sweep may be called time_step
    others = [
        name
        for name, variable in ds.data_vars.items()
        if any(str(dim).endswith("_step") and dim not in swept for dim in variable.dims)
    ]
    ds = without_single_axes(ds if own else ds.drop_vars(others))
    examine(ds)
    return ds


def too_little(ds: xr.Dataset) -> str:
    """Why an ensemble allows no statistics; empty when it does."""
    if "step" not in ds.sizes and "step" not in ds.coords:
        return ""  # no variable has any
    if ds.sizes.get("step", 1) < 3:
        frames = ds.sizes.get("step", 1)
        return f"{frames} frames are recorded, and three at least are needed (record.first, record.every)"
    if ds.sizes.get("replica", 1) < 2:
        return "one replica gives no error bars (ensemble.replicas)"
    return ""


def without_frames(ds: xr.Dataset, model: Model, what: str) -> str:
    """What to record, where a run was to keep no frames at the steps of [record]; empty where it kept some."""
    if any({"step", "replica"} <= set(variable.dims) for variable in ds.data_vars.values()):
        return ""
    case = settings(ds)
    tables = ", ".join(f"record.{name}" for name in case.record.tables)
    kept = f", but what {tables} asked for" if tables else ""
    return (
        f"no frames were kept at the steps of [record]{kept}, and a {what} is made of frames; to have one, name in "
        f"record.variables some of {', '.join(frame_variables(model, case))}"
    )


def frame_variables(model: Model, case: Settings) -> list[str]:
    """The variables of which a case can record frames."""
    return frame_names(RecordSection.model_validate({}), recordable(model, case), model)


def why_missing(error: KeyError, model: Model, ds: xr.Dataset, what: str) -> str:
    """A sentence, when the variable that was missed is one this case could have recorded; otherwise raises `error`."""
    text = str(error.args[0])
    name = text.split("'")[1] if "'" in text else text
    if name not in recordable(model, settings(ds)):
        raise error
    where = "which this case does not record at the steps of [record]"
    return f"The {what} needs the variable {name!r}, {where}: add it to record.variables."
