"""Where numbers come from that are not in the case: data rows, a teacher's samples, a recorded protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.data import Data, DataSection, load
from thermosim.data.hdf5 import not_its_own
from thermosim.data.load import load_test
from thermosim.data.rows import DataError, said
from thermosim.data.targets import Targets
from thermosim.model import Model, Values

__all__ = ["data_of", "recorded_theta", "recording_faults", "rows_of", "test_rows_of", "theta_faults", "theta_of"]


def theta_of(model: Model, constants: Values, given: Mapping[str, Any]) -> np.ndarray:
    """theta (m,) with the values given for some groups (one number fills a group), and the model's defaults."""
    parts = []
    for group in model.parameters:
        value = np.asarray(given.get(group.name, group.default(constants)), float)
        parts.append(np.broadcast_to(value, group.shape(constants)).ravel())
    return np.concatenate([*parts, np.zeros(0)])


def theta_faults(model: Model, constants: Values, given: Any, key: str) -> list[str]:
    """What is wrong with values given for groups of parameters."""
    known = {group.name: group for group in model.groups(constants)}
    if not isinstance(given, Mapping):
        return [f"{key} = {given!r}: expected a table of parameter groups; model {model.name!r} has {_groups(known)}."]
    faults = []
    for name, value in given.items():
        if name not in known:
            faults.append(f"{key}.{name}: unknown parameter group; model {model.name!r} has {_groups(known)}.")
            continue
        shape = known[name].shape(constants)
        try:
            array = np.asarray(value, float)
            fits = np.broadcast_shapes(array.shape, shape) == shape and bool(np.isfinite(array).all())
        except (TypeError, ValueError):
            fits = False
        if not fits or isinstance(value, bool):
            faults.append(f"{key}.{name} = {value!r}: expected one number, or finite numbers of shape {list(shape)}.")
    return faults


def _groups(known: Iterable[str]) -> str:
    return ", ".join(known) or "none"


def rows_of(model: Model, constants: Values) -> tuple[int, Targets | None]:
    """Of a row of data: components of x, or the inputs of a loss, and its targets, None where it has none."""
    if model.inputs is None:
        return model.components(constants), None
    count = model.targets(constants)
    classes = 0 if model.classes is None else model.classes(constants)
    return model.inputs(constants), Targets(count, classes) if count else None


def data_of(model: Model, constants: Values, section: DataSection, folder: Path) -> Data:
    """The data sets of a case. Raises ValueError when they are not to be had."""
    sample = None
    if section.source == "teacher":
        from thermosim.data.generators import NORMAL, address
        from thermosim.kernels.evaluate_network import evaluator_of
        from thermosim.streams import DATA

        evaluator = evaluator_of(model, constants)
        theta = theta_of(model, constants, section.teacher)

        def sample(rows: int, data_set: int) -> np.ndarray:
            """Rows of the model itself at the teacher's parameters."""
            return evaluator.draws(theta[None], rows, section.seed, DATA, address(NORMAL, data_set) // 2)[0]

    components, targets = rows_of(model, constants)
    return load(section, components, folder, sample, targets)


def test_rows_of(model: Model, constants: Values, section: DataSection, folder: Path) -> np.ndarray | None:
    """The rows (K, n) that data.test keeps from learning; None where it is not given. Raises DataError."""
    components, targets = rows_of(model, constants)
    return load_test(section, components, folder, targets)


def recording_faults(
    model: Model, constants: Values, recording: Mapping[str, Any], steps: int, folder: Path
) -> list[str]:
    """What is wrong with theta.recording = { file, replica }, for a run of so many steps."""
    extra = [name for name in recording if name not in ("file", "replica")]
    if extra or not isinstance(recording.get("file"), str) or not isinstance(recording.get("replica", 0), int):
        return [f'theta.recording = {recording!r}: expected {{ file = "run.h5", replica = 0 }}.']
    key = f"theta.recording.file = {recording['file']!r}"
    try:
        theta = recorded_theta(recording, folder)
    except DataError as error:
        return [f"{key}: {error}"]
    except Exception as error:  # a file can be broken in any way
        return [f"{key}: cannot be read ({said(error)}); name an ensemble that `thermosim run` made."]
    m = sum(math.prod(group.shape(constants)) for group in model.parameters)
    if theta.shape[1] != m:
        return [f"{key}: holds {theta.shape[1]} parameters, this model has {m}."]
    if len(theta) <= steps:
        return [f"run.steps = {steps}: the recording ends at step {len(theta) - 1}; run fewer steps."]
    return []


def recorded_theta(recording: Mapping[str, Any], folder: Path) -> np.ndarray:
    """The path of one replica of another ensemble, at steps 0, 1, ...: (steps + 1, m).

    Raises DataError when the file has no such path.
    """
    import xarray as xr

    path = folder / recording["file"]
    if not path.is_file():
        raise DataError(f"no such ensemble (looked for {path}); `thermosim run` makes one.")
    if fault := not_its_own(path, "theta"):
        raise DataError(f"its theta {fault}.")
    with xr.open_dataset(path, engine="h5netcdf", phony_dims="access") as ds:
        if "theta" not in ds or list(ds.theta.dims) != ["step", "replica", "theta_dim"]:
            raise DataError("has no variable theta(step, replica, theta_dim); record theta, without a sweep.")
        replica = recording.get("replica", 0)
        if not 0 <= replica < ds.sizes["replica"]:
            raise DataError(f"has no replica {replica}; there are {ds.sizes['replica']}.")
        if not np.array_equal(ds.step.values, np.arange(ds.sizes["step"])):
            raise DataError("theta is not recorded at every step; run it with record.first = 0, record.every = 1.")
        return np.asarray(ds.theta.isel(replica=replica).values, float)
