"""The picture of an ensemble: one line for each kind of system. A user's model may bring its own (`Model.plot`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from thermosim.analysis.diverged import survivors
from thermosim.analysis.settings import without_single_axes
from thermosim.case.faults import CaseError
from thermosim.checks.admission import Unfit, at_common_steps, in_memory, known_model, opened, too_little, why_missing
from thermosim.checks.table import LEARNS, row_of
from thermosim.plots import driven, ideal_gas, learning
from thermosim.storage import StorageError

__all__ = ["PICTURES", "is_picture", "picture", "save"]

_MARK = "drawn by thermosim"  # in the metadata of every picture

PICTURES: dict[str, Callable[[xr.Dataset], Figure]] = {
    "isotropic-sphere": ideal_gas.figure,
    "harmonic-trap": driven.figure,
    "rotational-trap": driven.figure,
    "two-beads": driven.figure,
    LEARNS: learning.figure,
}


def picture(ensemble: xr.Dataset | str | Path) -> Figure:
    """What an ensemble, or a part of it, looks like. Raises Unfit where there is nothing to draw, and why.

    Raises StorageError where the file is damaged, CaseError where a user's model cannot be imported.
    """
    if not isinstance(ensemble, xr.Dataset):
        with opened(ensemble) as ds:
            return picture(ds)
    model = known_model(ensemble)
    figure = model.plot or row_of(PICTURES, model)
    if figure is None:
        raise Unfit(f"Nothing can be drawn: the model {model.name!r} brings no plot of its own and does not learn.")
    ds = at_common_steps(in_memory(ensemble))
    if why := too_little(ds):
        raise Unfit(f"Nothing can be drawn: {why}.")
    left = survivors(ds)
    if not left.ds.sizes.get("replica", 1):
        raise Unfit(f"Nothing can be drawn: all {ds['status'].size} replicas diverged.")
    if figure not in (learning.figure, ideal_gas.figure):  # which draw every point without those it lost
        ds = without_single_axes(left.ds)
    try:
        with np.errstate(all="ignore"):  # what is not finite is left blank
            return figure(ds)
    except KeyError as error:
        raise Unfit(why_missing(error, model, ds, "picture")) from None
    except Exception as error:
        if model.plot is None:
            raise
        told = f"its own plot raised {type(error).__name__}: {error}"
        raise CaseError([told], f"the model {model.name!r}") from error


def save(figure: Figure, output: Path) -> None:
    """Write a picture in the format of its name, over an earlier one of thermosim and nothing else.

    Raises StorageError where that is not possible.
    """
    if output.exists() and not is_picture(output):
        raise StorageError(f"{output}: exists and is not a picture that thermosim drew; name another with -o.")
    try:
        titled = output.suffix.lower() in (".png", ".pdf", ".svg")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # a title in signs that the font does not have
            figure.savefig(output, dpi=150, metadata={"Title": _MARK} if titled else None)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "is not supported" not in str(error):
            raise
        raise StorageError(f"{output}: the picture cannot be written: {error}. Name a file such as out.png.") from None


def is_picture(path: Path) -> bool:
    """Whether a file is a picture that thermosim drew, and may draw anew."""
    return path.is_file() and _MARK.encode() in path.read_bytes()
