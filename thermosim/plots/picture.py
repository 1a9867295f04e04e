"""The picture of an ensemble: one line for each kind of system. A user's model may bring its own (`Model.plot`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from thermosim.analysis.diverged import survivors
from thermosim.analysis.replicas import examine
from thermosim.analysis.settings import settings, without_single_axes
from thermosim.case.faults import CaseError
from thermosim.checks.admission import (
    Unfit,
    at_common_steps,
    in_memory,
    known_model,
    opened,
    too_little,
    why_missing,
)
from thermosim.checks.table import LEARNS, NETWORKS, row_of
from thermosim.model import Model
from thermosim.plots import direction_law, driven, ideal_gas, learning, networks, recorded, style
from thermosim.storage import StorageError

__all__ = ["PICTURES", "is_picture", "picture", "save"]

_MARK = "drawn by thermosim"  # in the metadata of every picture

PICTURES: dict[str, Callable[[xr.Dataset], Figure]] = {
    "isotropic-sphere": ideal_gas.figure,
    "squared-cosine": direction_law.figure,
    "harmonic-trap": driven.figure,
    "rotational-trap": driven.figure,
    "two-beads": driven.figure,
    LEARNS: learning.figure,
    NETWORKS: networks.figure,
}


def picture(ensemble: xr.Dataset | str | Path, variable: str | None = None) -> Figure:
    """What an ensemble, or a part of it, or one recorded variable looks like. Raises Unfit where nothing can be drawn.

    A model without a picture, and an ensemble that lacks what its model's picture needs, shows what is recorded.

    Raises StorageError where the file is damaged, CaseError where a user's model cannot be imported.
    """
    if not isinstance(ensemble, xr.Dataset):
        with opened(ensemble) as ds:
            return picture(ds, variable)
    model = known_model(ensemble)
    ds = in_memory(ensemble)
    left = survivors(ds)
    if not left.ds.sizes.get("replica", 1):
        raise Unfit(f"Nothing can be drawn: all {ds['status'].size} replicas diverged.")
    if variable is not None:
        return _of_variable(_whole(ds), variable)
    figure = model.plot or row_of(PICTURES, model, settings(ds))
    if figure is None:
        return _of_anything(_whole(ds), model)
    try:
        common = at_common_steps(ds, own=figure is networks.figure)
        if why := too_little(common):
            raise Unfit(f"Nothing can be drawn: {why}.")
        # some draw every point without those it lost
        whole = figure in (learning.figure, ideal_gas.figure)
        drawn = common if whole else without_single_axes(survivors(common).ds)
        return _drawn(figure, drawn, model)
    except Unfit as why:
        if model.plot is not None:
            raise
        return _of_anything(_whole(ds), model, why)


def _drawn(figure: Callable[[xr.Dataset], Figure], ds: xr.Dataset, model: Model) -> Figure:
    """A model's picture. Raises Unfit where a variable is missing, CaseError where a user's own plot fails."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is left blank
            made = figure(ds)
    except KeyError as error:
        raise Unfit(why_missing(error, model, ds, "picture")) from None
    except Exception as error:
        if model.plot is None:
            raise
        told = f"its own plot raised {type(error).__name__}: {error}"
        raise CaseError([told], f"the model {model.name!r}") from error
    if model.plot is None and not made.axes:
        raise Unfit("Nothing can be drawn: what the picture of this model shows is not recorded.")
    return made


def _whole(ds: xr.Dataset) -> xr.Dataset:
    """All there is of what did not diverge, also at other cadences. Raises Unfit where frames or replicas are gone."""
    if any(name in ds.coords and ds.coords[name].ndim == 0 for name in ("step", "replica")):
        raise Unfit("Nothing can be drawn: a frame or a replica was selected without its dimension; select a list.")
    examine(ds)
    return without_single_axes(survivors(ds).ds)


def _of_anything(ds: xr.Dataset, model: Model, why: Unfit | None = None) -> Figure:
    """What is recorded. Raises `why`, or Unfit, where nothing is."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are left blank
        figure = recorded.any_model(ds, model)
    if figure is None:
        raise why or Unfit("Nothing can be drawn: no variable of the replicas is recorded.")
    return figure


def _of_variable(ds: xr.Dataset, variable: str) -> Figure:
    """One recorded variable. Raises Unfit where there is none of this name, and what there is."""
    there = recorded.drawable(ds)
    if variable not in there:
        raise Unfit(
            f"Nothing can be drawn: {variable!r} is not recorded as numbers of replicas; {', '.join(there)} are."
        )
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return recorded.variable(ds, variable)


def save(figure: Figure, output: Path) -> None:
    """Write a picture in the format of its name, over an earlier one of thermosim and nothing else.

    Raises StorageError where that is not possible.
    """
    if output.exists() and not is_picture(output):
        raise StorageError(f"{output}: exists and is not a picture that thermosim drew; name another with -o.")
    try:
        titled = output.suffix.lower() in (".png", ".pdf", ".svg")
        with style.style():
            metadata = {"Title": _MARK} if titled else None
            figure.savefig(output, metadata=metadata, facecolor=figure.get_facecolor(), transparent=False)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "is not supported" not in str(error):
            raise
        raise StorageError(f"{output}: the picture cannot be written: {error}. Name a file such as out.png.") from None


def is_picture(path: Path) -> bool:
    """Whether a file is a picture that thermosim drew, and may draw anew."""
    return path.is_file() and _MARK.encode() in path.read_bytes()
