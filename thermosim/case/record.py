"""The section [record] of a case: which variables, at which steps, and what is kept of them; and why not otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from thermosim.case.engine import of_networks
from thermosim.case.section import Section
from thermosim.case.theta import move_of
from thermosim.ledger import FUNCTIONALS, VARIABLES, functionals_of, variables_of
from thermosim.model import Model
from thermosim.moves import THETA_MOVES, X_MOVES
from thermosim.storage.summaries import RESULTS

if TYPE_CHECKING:
    from thermosim.case.run import RunSection
    from thermosim.case.settings import Settings

__all__ = [
    "RecordSection",
    "RecordTable",
    "filled_record",
    "frame_names",
    "name_faults",
    "record_faults",
    "recordable",
    "recorded_names",
    "shape_faults",
    "size_faults",
    "sizes",
]

_MOST_FRAMES = 2_000_000
_MOST_PARAMETERS = 2**27  # components of theta, and of x
_MOST_SAMPLED = 2**31  # numbers of all chains of one replica
# functionals that the engine of networks books, most of them with a `book` for lanes
BOOKED_OF_NETWORKS = (
    *("displacement_square", "layer_gradient_square", "layer_weight_square", "layer_rotation"),
    *("layer_weight_gain", "radial_cosine_square", "radius_growth", "update_square"),
)
_OF_MOMENTS = {"update_square"}  # booked by moves with moments alone
_PER_FRAME = {"frames", "ensemble_mean", "ensemble_variance"}
_OPTIONS = {"range": "histogram", "bins": "histogram", "lags": "correlation", "storage": "frames"}  # and what uses them


class RecordTable(Section):
    """[record.VARIABLE]: what is kept of one variable, and at which steps."""

    first: int | None = Field(None, ge=0, description="first step; default record.first")
    every: int | None = Field(None, ge=1, description="steps between values; default record.every")
    keep: list[
        Literal["frames", "mean", "variance", "last", "histogram", "correlation", "ensemble_mean", "ensemble_variance"]
    ] = Field(
        ["frames"],
        min_length=1,
        description="frames; mean, variance, last and correlation over steps, of every replica; histogram over steps "
        "and replicas; ensemble_mean and ensemble_variance over replicas, of every frame",
    )
    storage: Literal["float64", "float32"] | None = Field(
        None, description="number format of its frames; default record.storage"
    )
    range: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None, min_length=2, max_length=2, description="lower and upper end of the histogram"
    )
    bins: int | None = Field(None, ge=1, le=100_000, description="bins of the histogram; default 100")
    lags: int | None = Field(None, ge=1, le=1000, description="lags of the correlation, in units of every; default 20")


class RecordSection(Section):
    """Which frames and variables are kept. A table [record.VARIABLE] says it for one variable."""

    first: int = Field(0, ge=0, description="first recorded step")
    every: int | None = Field(None, ge=1, description="steps between frames; default a hundredth of the run")
    variables: list[str] | None = Field(
        None, description="variables of which all frames are kept; default all of this case without a table"
    )
    storage: Literal["float64", "float32"] = Field("float64", description="number format of stored frames")
    tables: dict[str, RecordTable] = Field({}, description="tables [record.VARIABLE], one for each variable")


def recordable(model: Model, settings: Settings) -> list[str]:
    """Names of the variables this case can record."""
    theta, x = settings.theta, settings.x
    names = []
    if model.parameters and (not move_of(model, theta).rests or x is None):
        names.append("theta")
    if x is not None:
        names += [
            "x",
            "phi",
            *(name for name in X_MOVES[x.dynamics].books if not (x.restart and name == "log_ratio_x")),
        ]
        if model.normalised and x.temperature == 1.0 and not x.restart:
            names += ["entropy_production", "shadow"]
    move = move_of(model, theta)
    constants, networks = settings.model.constants, of_networks(model, settings)
    own = [
        name
        for name, functional in functionals_of(model.functionals).items()
        if functional.book is not None or functional.of_networks
        if functional.size is None or functional.size(constants)
        if name not in move.books and (not functional.of_networks if not networks else name in BOOKED_OF_NETWORKS)
        if move.moments or name not in _OF_MOMENTS
    ]
    names += [*move.books, *(own if model.parameters and not move.rests else ())]
    if networks:
        names += [measure.name for measure in model.measures if not measure.absent(model, settings)]
    return names + [name for name, observable in model.observables.items() if observable.of == "theta" or x is not None]


def sizes(model: Model, settings: Settings) -> dict[str, int]:
    """Sizes of the dimensions after the replica."""
    constants, x = settings.model.constants, settings.x
    measure = settings.of_measure.model_dump() | {"groups": len(model.groups(constants))}
    return {
        "theta_dim": sum(math.prod(group.shape(constants)) for group in model.parameters),
        "x_dim": model.components(constants) if x else 0,
        "sample": x.samples if x else 0,
        **{one.dim: one.size(constants) for one in model.functionals if one.size is not None},
        **{one.dim: one.size(measure) for one in model.measures if one.size is not None},
    }


def size_faults(model: Model, settings: Settings) -> list[str]:
    """States of one replica that no machine holds; nothing of their size is made before this is known."""
    size, keys = sizes(model, settings), [f"model.{constant.name}" for constant in model.constants if constant.integer]
    x, named = size["sample"] * size["x_dim"], " or ".join(keys) or "the model"
    found = []
    if size["theta_dim"] > _MOST_PARAMETERS:
        found.append(f"theta has {size['theta_dim']:,} components, {_MOST_PARAMETERS:,} at most; make {named} smaller.")
    if size["x_dim"] > _MOST_PARAMETERS:
        found.append(f"x has {size['x_dim']:,} components, {_MOST_PARAMETERS:,} at most; make {named} smaller.")
    elif x > _MOST_SAMPLED:
        fits = _MOST_SAMPLED // size["x_dim"]
        found.append(f"x.samples = {size['sample']}: of {size['x_dim']:,} components each, {fits:,} at most.")
    return found


def shape_faults(model: Model, first: Settings, other: Settings) -> list[str]:
    """Recorded variables whose shape differs between two points of a sweep."""
    before, after = sizes(model, first), sizes(model, other)
    changing = {name for name in before if before[name] != after[name]}
    recorded = recorded_names(first.record, recordable(model, first), model)
    clash = [name for name in recorded if changing & _dims(model, name)]
    if not clash:
        return []
    remedy = "; give them no table of their own." if set(clash) & set(first.record.tables) else "."
    return [f"sweep: the shape of {', '.join(clash)} depends on an axis; name record.variables without them{remedy}"]


def _dims(model: Model, name: str) -> set[str]:
    variables = variables_of(model.rows)
    if name in variables:
        return set(variables[name].dims)
    return {"sample"} if model.observables[name].of == "x" else set()


def frame_names(record: RecordSection, recordable: Sequence[str], model: Model) -> list[str]:
    """The variables of record.variables; by default all without a table of their own that the moves book anyway.

    Not what takes time at every frame, nor the parameters of what is a network only: there are many.
    """
    if record.variables is not None:
        return list(record.variables)
    on_demand = {name for name, functional in FUNCTIONALS.items() if functional.book is not None}
    on_demand |= {measure.name for measure in model.measures} | (set() if model.has_kernels else {"theta"})
    if model.perceptron is not None:  # its engines differ in what they book: the default is what all of them do
        on_demand |= {functional.name for functional in model.functionals if functional.of_networks}
    return [name for name in recordable if name not in record.tables and name not in on_demand]


def recorded_names(record: RecordSection, recordable: Sequence[str], model: Model) -> list[str]:
    """All variables of which anything is kept."""
    return list(dict.fromkeys([*frame_names(record, recordable, model), *record.tables]))


def filled_record(record: RecordSection, run: RunSection) -> tuple[RecordSection, list[str]]:
    """The section with the defaults that depend on other keys, and faults of options that nothing uses."""
    every = record.every if record.every is not None else max(1, (run.steps - run.first_step) // 100)
    first = record.first or run.first_step
    defaults = {"first": first, "every": every, "storage": record.storage, "bins": 100, "lags": 20}
    tables, faults = {}, []
    for name, table in record.tables.items():
        for key, kind in _OPTIONS.items():
            value = getattr(table, key)
            if value is not None and kind not in table.keep:
                remedy = f'add "{kind}" to record.{name}.keep, or remove it'
                faults.append(f"record.{name}.{key} = {value!r}: belongs to {kind!r}, which is not kept; {remedy}.")
        missing = {key: value for key, value in defaults.items() if getattr(table, key) is None}
        tables[name] = table.model_copy(update=missing)
    return record.model_copy(update={"first": first, "every": every, "tables": tables}), faults


def record_faults(model: Model, settings: Settings) -> list[str]:
    """Faults of the filled section."""
    record, steps, names = settings.record, settings.run.steps, recordable(model, settings)
    faults = []
    if record.variables == [] and not record.tables:
        faults.append(
            "record.variables = []: nothing would be recorded; name some, or remove the key to have them all."
        )
    frames_of_own = record.variables != []
    if frames_of_own:
        faults += _cadence_faults("record", record, steps, per_frame=True)
    faults += _repeated("record.variables", record.variables or ())
    for name in record.variables or ():
        if name not in names:
            faults.append(_unknown("record.variables: " + repr(name), name, model, settings, names))
    for name, table in record.tables.items():
        key = f"record.{name}"
        if name not in names:
            faults.append(_unknown(key, name, model, settings, names))
            continue
        if not (frames_of_own and (table.first, table.every) == (record.first, record.every)):
            faults += _cadence_faults(key, table, steps, bool(_PER_FRAME.intersection(table.keep)))
        faults += _repeated(f"{key}.keep", table.keep) + _table_faults(key, table, steps)
        if name in (record.variables or ()) and "frames" in table.keep:
            faults.append(f"record.variables, {key}: both keep the frames of {name!r}; keep one of them.")
    return faults


def _cadence_faults(key: str, cadence: RecordSection | RecordTable, steps: int, per_frame: bool) -> list[str]:
    first, every = cadence.first, cadence.every
    assert first is not None
    if first > steps:
        return [f"{key}.first = {first}: is past the last step, {steps}; nothing would be recorded."]
    frames = _frames(cadence, steps)
    if per_frame and frames > _MOST_FRAMES:
        return [f"{key}.every = {every}: makes {frames:,} frames; make it larger (two million at most)."]
    return []


def _frames(cadence: RecordSection | RecordTable, steps: int) -> int:
    assert cadence.first is not None
    assert cadence.every is not None
    return (steps - cadence.first) // cadence.every + 1


def _table_faults(key: str, table: RecordTable, steps: int) -> list[str]:
    """Faults of what a table keeps besides frames."""
    faults = []
    if "histogram" in table.keep:
        if table.range is None:
            faults.append(f"{key}.range: missing; a histogram needs the ends of its bins, such as [-4.0, 4.0].")
        else:
            faults += _range_faults(key, table.range, table.bins or 1)
    values = max(0, _frames(table, steps))
    if "variance" in table.keep and values == 1:
        faults.append(f"{key}.keep: 'variance' needs two values at least, and there is one; record more often.")
    if "correlation" in table.keep and values and table.lags is not None and table.lags > values - 1:
        faults.append(
            f"{key}.lags = {table.lags}: needs {table.lags + 1} values, and there are {values} at {key}.every = "
            f"{table.every}; take fewer lags, a smaller every, or more steps."
        )
    return faults


def _range_faults(key: str, ends: Sequence[float], bins: int) -> list[str]:
    low, high = ends
    if low >= high:
        return [f"{key}.range = {ends!r}: expected the lower end first, then the upper one."]
    if not math.isfinite(high - low):
        return [f"{key}.range = {ends!r}: is wider than numbers go; take it narrower."]
    width = (high - low) / bins
    if width == 0.0 or not math.isfinite(1.0 / width) or not np.all(np.diff(np.linspace(low, high, bins + 1)) > 0.0):
        return [f"{key}.range = {ends!r}: is too narrow for {bins} bins; take it wider, or fewer bins."]
    return []


def _repeated(key: str, names: Sequence[str]) -> list[str]:
    return [
        f"{key}: {name!r} is named twice; once is enough." for name in dict.fromkeys(names) if names.count(name) > 1
    ]


def _unknown(key: str, name: str, model: Model, settings: Settings, recordable: Iterable[str]) -> str:
    absent = {one.name: one.absent(model, settings) for one in model.measures if of_networks(model, settings)}
    why = absent.get(name) or (_why_not(name, model, settings) if name in VARIABLES else "there is no such variable")
    return f"{key}: {why}. This case can record: {', '.join(recordable)}."


def _why_not(name: str, model: Model, settings: Settings) -> str:
    """Why a variable that exists cannot be recorded here."""
    x, theta = settings.x, settings.theta.dynamics
    if name == "log_ratio_theta":
        able = " and ".join(repr(move.name) for move in THETA_MOVES.values() if move.density)
        return f"a step of {theta!r} has no transition density; {able} have one"
    if x is not None and x.restart and name in ("log_ratio_x", "entropy_production", "shadow"):
        return "chains that restart from data have no transition density; use persistent chains (x.restart = false)"
    if name in ("entropy_production", "shadow") and not model.normalised:
        return f"the energy of {model.name!r} has no normaliser, so its surprisal is not known; record work and heat"
    if name == "entropy_production" and x is not None:
        return "surprisal and path ratio belong to temperature 1; use x.temperature = 1"
    return "this model and these moves do not have it"


def name_faults(settings: Settings, axes: Mapping[str, str]) -> list[str]:
    """Two things of one name: variables, axes of the sweep (name to key), and what is kept of a variable.

    A variable may have the name of an axis where they are the same: the radius of a fixed sphere.
    """
    record = settings.record
    variables, tables = record.variables or [], record.tables
    if not tables and all(name in axes for name in variables):
        return [f"record.variables = {variables!r}: are axes of the sweep, so nothing would be recorded; add others."]
    faults = [
        f'record.{name}: has the name of the axis sweep."{axes[name]}"; remove this table.'
        for name in tables
        if name in axes
    ]
    if settings.theta.constraint != "fixed-sphere":
        faults += [
            f'sweep."{key}": the variable {name!r} has the name of this axis; name record.variables without it.'
            for name, key in axes.items()
            if name in variables
        ]
    taken = {name: f"the variable {name!r}" for name in variables}
    taken |= {name: f"the variable {name!r}" for name in tables}
    taken |= {name: f'the axis sweep."{key}"' for name, key in axes.items()}
    for variable, table in tables.items():
        for result in _result_names(variable, table.keep):
            if result in taken:
                faults.append(
                    f"record.{variable}: its result {result!r} has the name of {taken[result]}; keep one of them."
                )
            taken.setdefault(result, f"a result of record.{variable}")
    return faults


def _result_names(variable: str, keep: Iterable[str]) -> list[str]:
    """Names of the variables and dimensions that are made of one variable."""
    endings = [ending for kind in keep for ending in RESULTS.get(kind, ())]
    endings += ["bin", "side"] if "histogram" in keep else []
    endings += ["lag"] if "correlation" in keep else []
    return [f"{variable}_{ending}" for ending in [*endings, "step"]]
