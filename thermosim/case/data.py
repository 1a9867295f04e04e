"""The section [data] of a case, as far as it depends on the others; `data.rules` has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thermosim.addresses import series
from thermosim.data import DataSection
from thermosim.data import faults as faults_of_data
from thermosim.data.held_out import learned
from thermosim.data.section import GENERATED, GENERATED_ROWS
from thermosim.data.sources import data_of, rows_of, theta_faults
from thermosim.data.tables import table
from thermosim.data.tokens import holds_tokens, vocabulary
from thermosim.model import Model
from thermosim.moves import THETA_MOVES

if TYPE_CHECKING:
    from thermosim.case.settings import Settings


def faults(model: Model, settings: Settings, folder: Path) -> list[str]:
    """Faults of [data], or of its absence."""
    data, theta, x = settings.data, settings.theta, settings.x
    learning = THETA_MOVES[theta.dynamics].learns
    if data is None:
        if learning and model.stochastic_gradient is None and model.learns:
            return ['data: missing; learning needs data. Add [data] with a source (such as "gaussian") or a file.']
        return []
    if not model.learns:
        return [f"data: model {model.name!r} does not learn from data; remove [data]."]
    if not learning and not (x is not None and (x.start.kind == "data" or x.restart)):
        return [f"data: nothing uses it with theta.dynamics = {theta.dynamics!r}; remove [data]."]
    constants = settings.model.constants
    components, targets = rows_of(model, constants)
    if found := _without_tokens(model, data):
        return found
    if data.test is not None and targets is None and model.has_kernels:
        told = "is for losses of inputs and targets, and for networks; this model is neither"
        return [f"data.test = {data.test!r}: {told}; remove it."]
    found = faults_of_data(data, components, folder, targets)
    if data.fresh and THETA_MOVES[theta.dynamics].whole_data:
        found.append(
            f"data.fresh: theta.dynamics = {theta.dynamics!r} feels all of the data; use a move with minibatches."
        )
    elif data.fresh and theta.batch == "all":
        found.append('theta.batch = "all": with data.fresh there are no rows to be all; give a number.')
    if model.discrete and not found and data.source != "teacher":
        found += _level_faults(model, settings, data, folder)
    if model.validate_rows is not None and data.file is not None and not found:
        wrong = model.validate_rows(constants, data_of(model, constants, data, folder).values)
        found += [f"data.file = {data.file!r}: {wrong}"] if wrong else []
    if model.tokens is not None and not found:
        found += _token_faults(model, settings, data, folder)
    if data.source == "teacher":
        if model.fresh is None:
            found.append(f"data.source = 'teacher': model {model.name!r} has no exact sampler; use another source.")
        found += theta_faults(model, constants, data.teacher, "data.teacher")
    fewest = min(series(settings.ensemble.replicas, settings.ensemble.added))
    if data.sets > fewest:
        which = "added at each" if fewest in settings.ensemble.added else "of each"
        found.append(
            f"data.sets = {data.sets}: more data sets than the {fewest} replicas {which} point; each needs some."
        )
    return found


def some_rows(model: Model, settings: Settings, folder: Path, most: int) -> np.ndarray | None:
    """A few rows to learn from (K, n), as they are encoded; None where there are none. The section has no faults."""
    section = settings.data
    if section is None or section.fresh:
        return None
    inputs, _ = rows_of(model, settings.model.constants)
    there = section.rows or (
        GENERATED_ROWS if section.source in GENERATED else len(learned(section, table(section, folder, inputs)))
    )
    few = section.model_copy(update={"rows": min(most, there), "sets": 1, "test": None})
    return data_of(model, settings.model.constants, few, folder).values


def names_files(section: DataSection) -> bool:
    """Whether there are files of which copies may be kept."""
    return section.file is not None or section.folder is not None or isinstance(section.test, str)


def _without_tokens(model: Model, data: DataSection) -> list[str]:
    """Whether rows are tokens, and the model does not learn from tokens, or the other way round."""
    if model.tokens is None and holds_tokens(data):
        told = f"holds tokens, which model {model.name!r} does not learn from"
        return [f"{_key(data)}: {told}; use 'gru' or 'transformer'."]
    if model.tokens is not None and data.source in GENERATED:
        others = "'python-topics', 'modular-addition', or a data.file with data.encoding = 'characters'"
        return [f"{_key(data)}: its rows are real numbers, model {model.name!r} learns from tokens; use {others}."]
    return []


def _token_faults(model: Model, settings: Settings, data: DataSection, folder: Path) -> list[str]:
    """Whether the tokens of the rows are those of the model: as many of a text, in their range of other rows."""
    assert model.tokens is not None
    constants = settings.model.constants
    count = model.tokens(constants)
    if holds_tokens(data):
        number = vocabulary(data, folder)
        if number == count:
            return []
        return [f"{_key(data)}: has {number} different tokens, this model {count}; write model.vocabulary = {number}."]
    values = data_of(model, constants, data, folder).values
    other = values[(values != np.floor(values)) | (values < 0)]
    if other.size:
        return [f"{_key(data)}: holds {other[0]:g}, and a token is a whole number from 0; number the tokens."]
    if values.max() >= count:
        largest = int(values.max())
        told = f"holds the token {largest}, those of this model are 0 to {count - 1}"
        return [f"{_key(data)}: {told}; write model.vocabulary = {largest + 1}."]
    return []


def _key(data: DataSection) -> str:
    return f"data.source = {data.source!r}" if data.source else f"data.file = {data.file!r}"


def _level_faults(model: Model, settings: Settings, data: DataSection, folder: Path) -> list[str]:
    """Whether the rows take only the values that the model's components can take."""
    low, high = model.levels
    encoding = "spin" if low < 0.0 else "binary"
    key = _key(data)
    levels = f"the components of model {model.name!r} are {low:g} or {high:g}"
    if data.source in ("gaussian", "mixture", "ring"):
        return [f"{key}: its rows are real numbers, but {levels}; use 'teacher', 'digits', or a file of your own."]
    if data.encoding == encoding:  # makes nothing else: the rows need not be drawn to know
        return []
    values = data_of(model, settings.model.constants, data, folder).values
    other = values[(values != low) & (values != high)]
    if not other.size:
        return []
    return [f"{key}: holds {other[0]:g}, but {levels}; add data.encoding = '{encoding}'."]
