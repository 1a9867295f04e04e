"""The learning machine of one point of a sweep: its model, its data and its frames, as arrays with replicas first."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from thermosim.analysis.replicas import examine, numbering, own_addresses, place_of
from thermosim.analysis.settings import as_run, each_point, needs_frames
from thermosim.case.files import folder_outside, places_of_data
from thermosim.case.settings import Settings
from thermosim.case.theta import move_of
from thermosim.model import Model
from thermosim.models import model_of
from thermosim.moves import NO_SAMPLES, X_MOVES, Move

if TYPE_CHECKING:
    from thermosim.data import Data
    from thermosim.kernels.evaluate import Evaluator

__all__ = ["Machine", "ensemble_model", "in_order_of_sets", "machines", "require_own_law"]


@dataclass(frozen=True, eq=False)
class Machine:
    """One point of the sweep. R replicas, S samples, F frames; m parameters, n components."""

    index: Mapping[str, int]
    settings: Settings
    model: Model
    frames: xr.Dataset  # of this point: dims step, replica[, sample]; its axes are scalar coordinates

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """The model's functions."""
        from thermosim.kernels.evaluate_network import evaluator_of

        return evaluator_of(self.model, self.settings.model.constants)

    @functools.cached_property
    def data(self) -> Data:
        """The data sets it learns from, wherever they are found. Raises DataError when they are not to be had."""
        from thermosim.data import DataError
        from thermosim.data.sources import data_of

        section = self.settings.data
        if section is None:
            raise DataError("the ensemble learned from no data: its case has no [data]")
        if section.fresh:
            raise DataError("the ensemble learned from fresh rows: no row was met twice, and none is kept")
        recorded, changed, refusals = str(self.frames.attrs.get("data_sha256", "")), None, []
        swept = any(key.startswith("data.") for key in as_run(self.frames).sweep)  # recorded is that of one point
        for there, folder in places_of_data(self.settings, section, self.frames.encoding):
            try:
                data = data_of(self.model, self.constants, there, folder)
            except DataError as error:
                refusals.append(error)
                continue
            if swept or recorded in ("", data.sha256):
                return data
            changed = data
        if changed is None:
            raise refusals[-1]
        raise DataError(f"the data have changed since the run: {changed.description} is not what it learned from.")

    @functools.cached_property
    def test_rows(self) -> np.ndarray | None:
        """Rows that no replica learned from, (K, n) as those of `data`; None where the case has no data.test."""
        from thermosim.data.sources import test_rows_of

        section = self.settings.data
        if section is None or section.test is None:
            return None
        if section.fresh:  # drawn from their law, so the same wherever the case is
            return test_rows_of(self.model, self.constants, section, self.folder)
        return self.data.test

    @property
    def shares_rows(self) -> bool:
        """Whether the loss of a minibatch is no mean over its rows, as of a network that normalises over them."""
        network = self.model.network
        return network is not None and not network(self.constants).by_row

    @property
    def folder(self) -> Path:
        """Where files of the case are looked for that are not kept in the ensemble."""
        return folder_outside(self.frames.encoding)

    @property
    def theta_move(self) -> Move:
        """The move of theta."""
        return move_of(self.model, self.settings.theta)

    @property
    def x_move(self) -> Move:
        """The move of x; `NO_SAMPLES` where there is no x."""
        return X_MOVES[self.settings.x.dynamics] if self.settings.x else NO_SAMPLES

    @property
    def temperature(self) -> float | None:
        """The temperature of x; None where there is no x, or no single one: of components, or of all steps."""
        given = self.settings.x.temperature if self.settings.x else None
        values = set(given) if isinstance(given, list) else {given} if isinstance(given, (int, float)) else set()
        return float(values.pop()) if len(values) == 1 else None

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
            raise ValueError(needs_frames(self.frames, ["theta"]))
        return np.asarray(self.frames["theta"].isel(step=frame).transpose("replica", "theta_dim").values)

    def x(self, frame: int) -> np.ndarray:
        """x of a frame: (R, S, n). Raises ValueError when it was not recorded."""
        if "x" not in self.frames:
            raise ValueError(needs_frames(self.frames, ["x"]))
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
        sets = self.settings.data.sets if self.settings.data else 1
        if sets == 1:
            return np.zeros(self.frames.sizes["replica"], np.int64)
        _, replica, replicas = numbering(as_run(self.frames)).place(self.addresses)
        return np.asarray(replica * sets // replicas)

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
    return [Machine(index, here, model, ds.isel(index)) for index, here in each_point(ds)]


def in_order_of_sets(ds: xr.Dataset) -> xr.Dataset:
    """The same with replicas in the order of their data sets, to which each series of replicas added was dealt anew."""
    run = as_run(ds)
    if run.data is None or run.data.sets == 1 or not run.ensemble.added:
        return ds
    return ds.isel(replica=np.argsort(machines(ds)[0].data_set(), kind="stable"))


def require_own_law(points: Sequence[Machine]) -> None:
    """Raise ValueError where there are samples x of another law than p(x|theta) = exp(-phi)/Z, that of T = 1."""
    for machine in points:
        if machine.settings.x is not None and machine.temperature != 1.0:
            raise ValueError(
                f"x.temperature = {machine.settings.x.temperature!r}: p(x|theta) = exp(-phi)/Z is the law of samples "
                "at temperature 1 only, where phi is a surprisal: run with x.temperature = 1"
            )


def ensemble_model(ds: xr.Dataset) -> Model:
    """The model of an ensemble; a user's own is read from the text stored with it. Raises ValueError."""
    return model_of(as_run(ds).model.name, str(ds.attrs.get("model_source", "")))
