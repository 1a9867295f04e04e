"""The learning machine of one point of a sweep: its model, its data and its frames, as arrays with replicas first."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from thermosim.analysis.replicas import examine, own_addresses, place_of
from thermosim.analysis.settings import as_run, each_point
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
    frames: xr.Dataset  # of this point: dims step, replica[, sample]; its axes are scalar coordinates
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
        swept = any(key.startswith("data.") for key in as_run(self.frames).sweep)  # recorded is that of one point
        if recorded and recorded != data.sha256 and not swept:
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

    @property
    def place(self) -> int:
        """The number of this point among all of the sweep as run, in the order in which addresses count points."""
        return place_of(self.frames)

    @functools.cached_property
    def addresses(self) -> np.ndarray:
        """Of the random numbers of each replica (R,), counted over the whole ensemble.

        Raises ValueError where they are not known.
        """
        return own_addresses(self.frames)

    def data_set(self) -> np.ndarray:
        """The data set each replica learns from: (R,), numbers from 0. Raises ValueError where that is not known."""
        replicas = self.settings.ensemble.replicas
        sets = self.settings.data.sets if self.settings.data else 1
        if sets == 1:
            return np.zeros(self.frames.sizes["replica"], np.int64)
        return np.asarray(self.addresses % replicas * sets // replicas)

    def data_set_in_order(self) -> np.ndarray:
        """The same, of replicas that stand together by sets. Raises ValueError where they do not."""
        labels = self.data_set()
        if np.any(np.diff(labels) < 0):
            raise ValueError(
                "replicas are not in the order of their data sets: keep them in the order of the run, as "
                "ds.sortby('replica') puts them by their labels"
            )
        return labels


def machines(ds: xr.Dataset) -> list[Machine]:
    """Every point of the sweep, in order. Raises ValueError where `ds` is no longer an ensemble (`replicas`)."""
    examine(ds)
    model = ensemble_model(ds)
    source = ds.encoding.get("source")
    folder = Path(source).parent if source else Path.cwd()
    return [Machine(index, here, model, ds.isel(index), folder) for index, here in each_point(ds)]


def ensemble_model(ds: xr.Dataset) -> Model:
    """The model of an ensemble; a user's own is read from the text stored with it. Raises ValueError."""
    return model_of(as_run(ds).model.name, str(ds.attrs.get("model_source", "")))
