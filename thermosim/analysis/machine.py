"""The learning machine of one point of a sweep: its model, its data and its frames, as arrays with replicas first."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from thermosim.analysis.settings import axes, each_point, settings
from thermosim.case.settings import Settings
from thermosim.case.theta import move_of
from thermosim.model import Model
from thermosim.models import model_of
from thermosim.moves import NO_SAMPLES, X_MOVES, Move

if TYPE_CHECKING:
    from thermosim.data import Data
    from thermosim.kernels.evaluate import Evaluator

__all__ = ["Machine", "ensemble_model", "machines"]


@dataclass(frozen=True, eq=False)
class Machine:
    """One point of the sweep. R replicas, S samples, F frames; m parameters, n components."""

    index: Mapping[str, int]
    settings: Settings
    model: Model
    frames: xr.Dataset  # of this point: dims step, replica[, sample]
    folder: Path

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """The model's functions."""
        from thermosim.kernels.evaluate import Evaluator

        return Evaluator(self.model, self.settings.model.constants)

    @functools.cached_property
    def data(self) -> Data:
        """Its data sets. Raises ValueError when the case has none, DataError when they are not to be had."""
        from thermosim.data import DataError
        from thermosim.data.sources import data_of

        section = self.settings.data
        if section is None:
            raise ValueError("the ensemble learned from no data: its case has no [data]")
        data = data_of(self.model, self.constants, section, self.folder)
        recorded = self.frames.attrs.get("data_sha256", "")
        if recorded and recorded != data.sha256 and not any(name.startswith("data.") for name in self.settings.sweep):
            raise DataError(f"the data have changed since the run: {data.description} is not what it learned from.")
        return data

    @property
    def theta_move(self) -> Move:
        """The move of theta."""
        return move_of(self.model, self.settings.theta)

    @property
    def x_move(self) -> Move:
        """The move of x; `NO_SAMPLES` where there is no x."""
        return X_MOVES[self.settings.x.dynamics] if self.settings.x else NO_SAMPLES

    @property
    def steps(self) -> np.ndarray:
        """Recorded steps (F,)."""
        return np.asarray(self.frames["step"].values)

    @property
    def constants(self) -> Mapping[str, Any]:
        """The model's constants."""
        return self.settings.model.constants

    def theta(self, frame: int) -> np.ndarray:
        """theta of a frame: (R, m). Raises ValueError when it was not recorded."""
        if "theta" not in self.frames:
            raise ValueError("needs theta among the recorded variables: record.variables")
        return np.asarray(self.frames["theta"].isel(step=frame).transpose("replica", "theta_dim").values)

    def x(self, frame: int) -> np.ndarray:
        """x of a frame: (R, S, n). Raises ValueError when it was not recorded."""
        if "x" not in self.frames:
            raise ValueError("needs x among the recorded variables: record.variables")
        x = self.frames["x"].isel(step=frame)
        x = x if "sample" in x.dims else x.expand_dims("sample")
        return np.asarray(x.transpose("replica", "sample", "x_dim").values)

    def data_set(self) -> np.ndarray:
        """The data set each replica learns from: (R,), numbers from 0."""
        replicas = self.settings.ensemble.replicas
        sets = self.settings.data.sets if self.settings.data else 1
        return np.asarray(self.frames["replica"].values * sets // replicas)


def machines(ds: xr.Dataset) -> list[Machine]:
    """Every point of the sweep, in order."""
    model = ensemble_model(ds)
    source = ds.encoding.get("source")
    folder = Path(source).parent if source else Path.cwd()
    return [
        Machine(index, here, model, ds.isel(index).drop_vars(axes(ds), errors="ignore"), folder)
        for index, here in each_point(ds)
    ]


def ensemble_model(ds: xr.Dataset) -> Model:
    """The model of an ensemble; a user's own is read from the text stored with it. Raises ValueError."""
    return model_of(settings(ds).model.name, str(ds.attrs.get("model_source", "")))
