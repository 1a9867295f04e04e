"""What [record] and its tables may say, what is filled in, and every refusal with its key, value and remedy."""

from __future__ import annotations

import json

import pytest

import thermosim
from tests.learning_cases import GAUSSIAN
from thermosim.case.schema import json_schema
from thermosim.plan.outline import plan
from thermosim.run.recording import recorded
from thermosim.storage.manifest import Cadence, Summary

ALL = ["theta", "x", "phi", "work", "heat", "log_ratio_x"]  # what the trap can record
HISTOGRAM = {"keep": ["histogram"], "range": [-4.0, 4.0]}

MODEL = """
from thermosim import Model, Observable

def energy(x, theta, constants, shared, lane):
    return 0.5 * x[0, lane] ** 2

def force(i, x, theta, constants, shared, lane):
    return -x[0, lane]

def first(x, constants):
    return x[..., 0]

MODEL = Model(
    name="parabola", summary="a parabola", source="a test", components=lambda c: 1, energy=energy, force=force,
    observables={name: Observable("x", first, "1", "first", "x_0") for name in ("x_mean", "x_lag", "x_step", "free")},
)
"""
CLASH = """
[model]
file = "parabola.py"
[x]
dynamics = "ula"
time_step = 0.1
initial = "zero"
[ensemble]
replicas = 4
[run]
steps = 10
"""


def record(text, overrides):
    return thermosim.load_case(text, overrides).settings.record.model_dump()


def message(text, overrides, folder=None):
    with pytest.raises(thermosim.CaseError) as caught:
        thermosim.load_case(text, overrides, folder)
    return str(caught.value)


def test_defaults_are_filled_in(trap):
    settings = record(trap, {"record.first": 2, "record.storage": "float32", "record.x": {}, "record.work.every": 5})
    resolved = {"first": 2, "storage": "float32", "range": None, "bins": 100, "lags": 20}
    assert settings["tables"] == {
        "x": resolved | {"every": 7, "keep": ["frames"]},
        "work": resolved | {"every": 5, "keep": ["frames"]},
    }
    assert settings["variables"] == [name for name in ALL if name not in ("x", "work")]
    assert settings["storage"] == "float32"


def test_own_values_stand(trap):
    table = {"first": 1, "every": 3, "keep": ["frames", "histogram", "correlation"], "storage": "float32"}
    table |= {"range": [-1, 2.5], "bins": 7, "lags": 4}
    settings = record(trap, {"record.x": table})
    assert settings["tables"]["x"] == table
    json.dumps(settings)
    case = thermosim.load_case(trap, {"record.x": table})
    (summary,) = recorded(plan(case)[0], [200])["summaries"]
    assert summary == Summary("x", (2,), Cadence(1, 3), ("histogram", "correlation"), (-1.0, 2.5), 7, 4)


def test_without_tables_nothing_changes(trap):
    settings = record(trap, {})
    assert settings == {"first": 0, "every": 7, "variables": ALL, "storage": "float64", "tables": {}}
    assert record(trap, {"record.variables": ["heat", "x"]})["variables"] == ["heat", "x"]
    text = trap.replace("every = 7", "")
    assert record(text, {"run.steps": 250, "record.x": {}})["tables"]["x"]["every"] == 2


def test_tables_alone(trap):
    overrides = {"record.variables": [], "record.x.keep": ["mean"]}
    assert record(trap, overrides)["variables"] == []
    everything = {f"record.{name}.keep": ["mean"] for name in ALL}
    assert record(trap, everything)["variables"] == []


def test_in_toml_and_by_override(trap):
    text = trap + '[record.x]\nevery = 10\nkeep = ["mean", "histogram"]\nrange = [0, 1]\n'
    assert record(text, {})["tables"]["x"]["every"] == 10
    changed = record(text, {"record.x.every": 5, "record.heat.keep": ["last"]})["tables"]
    assert changed["x"]["every"] == 5
    assert changed["x"]["keep"] == ["mean", "histogram"]
    assert list(changed) == ["x", "heat"]


def test_frames_beside_a_summary_of_the_same_variable(trap):
    """Frames at the cadence of all, the summary at its own."""
    settings = record(trap, {"record.variables": ["x"], "record.x": {"keep": ["mean"], "every": 1}})
    assert settings["variables"] == ["x"]


FAULTS = [
    ({"record.evry": 3}, ["record.evry = 3: unknown key. Did you mean record.every?"]),
    ({"record.x.kep": ["mean"]}, ["record.x.kep: unknown key. Did you mean record.x.keep?"]),
    ({"record.x.stored": 1}, ["record.x.stored = 1: unknown key. Did you mean record.x.storage?"]),
    ({"record.xx.every": 3}, ["record.xx: there is no such variable. This case can record: theta, x, phi, work"]),
    ({"record.stretch": {}}, ["record.stretch: this model and these moves do not have it", "x, phi, work"]),
    ({"record.x": 3}, ["record.x = 3: expected a table [record.x]", 'record.x.keep = ["mean"]']),
    ({"record.tables": {}}, ["record.tables: there is no such variable"]),
    ({"record.storage": "float16"}, ["record.storage = 'float16'", "'float32'"]),
    ({"record.x.storage": "float23"}, ["record.x.storage = 'float23'", "Did you mean 'float32'?"]),
    ({"record.x.keep": ["means"]}, ["record.x.keep.0 = 'means': expected", "Did you mean 'mean'?"]),
    ({"record.x.keep": "mean"}, ["record.x.keep = 'mean'", "list"]),
    ({"record.x.keep": []}, ["record.x.keep = []", "at least 1 item"]),
    ({"record.x.keep": ["mean", "last", "mean"]}, ["record.x.keep: 'mean' is named twice"]),
    ({"record.variables": ["work", "work"]}, ["record.variables: 'work' is named twice"]),
    ({"record.variables": []}, ["record.variables = []: nothing would be recorded"]),
    ({"record.x.every": 0}, ["record.x.every = 0: expected greater than or equal to 1 (steps between values"]),
    ({"record.x.every": 2.5}, ["record.x.every = 2.5", "integer"]),
    ({"record.x.first": -1}, ["record.x.first = -1", "greater than or equal to 0"]),
    ({"record.x.first": 102}, ["record.x.first = 102: is past the last step, 101"]),
    ({"record.x.keep": ["histogram"]}, ["record.x.range: missing", "[-4.0, 4.0]"]),
    ({"record.x": HISTOGRAM | {"range": [1.0, 1.0]}}, ["record.x.range = [1.0, 1.0]", "lower end first"]),
    ({"record.x": HISTOGRAM | {"range": [1.0]}}, ["record.x.range = [1.0]", "at least 2"]),
    ({"record.x": HISTOGRAM | {"range": [0.0, float("inf")]}}, ["record.x.range.1 = inf", "finite"]),
    ({"record.x": HISTOGRAM | {"range": [0.0, float("nan")]}}, ["record.x.range.1 = nan", "finite"]),
    ({"record.x": HISTOGRAM | {"range": [-1e308, 1e308]}}, ["record.x.range", "take it narrower"]),
    ({"record.x": HISTOGRAM | {"range": [0.0, 1e-320]}}, ["record.x.range", "too narrow for 100 bins"]),
    ({"record.x": HISTOGRAM | {"range": [1e8, 1e8 + 1e-7]}}, ["record.x.range", "too narrow for 100 bins"]),
    ({"record.x": HISTOGRAM | {"bins": 0}}, ["record.x.bins = 0", "greater than or equal to 1"]),
    ({"record.x": HISTOGRAM | {"bins": 10**6}}, ["record.x.bins = 1000000", "less than or equal to 100000"]),
    ({"record.x": {"keep": ["correlation"], "lags": 0}}, ["record.x.lags = 0", "greater than or equal to 1"]),
    ({"record.x": {"keep": ["correlation"], "lags": 1001}}, ["record.x.lags = 1001", "equal to 1000"]),
    (
        {"record.x": {"keep": ["correlation"], "lags": 15}},
        ["record.x.lags = 15: needs 16 values, and there are 15 at record.x.every = 7"],
    ),
    ({"record.x.keep": ["correlation"]}, ["record.x.lags = 20", "there are 15"]),
    ({"record.x.range": [0.0, 1.0]}, ["record.x.range = [0.0, 1.0]: belongs to 'histogram'", "add", "remove it"]),
    ({"record.x.bins": 100}, ["record.x.bins = 100: belongs to 'histogram'"]),
    ({"record.x": HISTOGRAM | {"lags": 20}}, ["record.x.lags = 20: belongs to 'correlation'"]),
    ({"record.x": HISTOGRAM | {"storage": "float64"}}, ["record.x.storage = 'float64': belongs to 'frames'"]),
    ({"record.variables": ["x"], "record.x": {}}, ["record.variables, record.x: both keep the frames of 'x'"]),
    ({"record.every": 1, "run.steps": 2_000_000}, ["record.every = 1: makes 2,000,001 frames", "two million"]),
    (
        {"record.work": {"every": 1, "keep": ["ensemble_mean"]}, "run.steps": 2_000_000},
        ["record.work.every = 1: makes 2,000,001 frames"],
    ),
    ({"sweep": {"record.x.every": {"values": [1, 2]}}}, ['sweep."record.x.every"', "cannot be an axis"]),
    (
        {"sweep": {"model.dimension": {"values": [2]}, "x.tau": {"values": [1]}}, "record.tau": {}},
        ["record.tau: there is no such variable"],
    ),
]


@pytest.mark.parametrize(("overrides", "parts"), FAULTS, ids=lambda value: str(value)[:60])
def test_refusals(trap, overrides, parts):
    text = message(trap, overrides)
    for part in parts:
        assert part in text, text
    assert len(text) < 1500


def test_one_fault_is_said_once(trap):
    """What a table takes over from [record] is not its own fault."""
    for overrides in (
        {"record.first": 500, "record.x": {}},
        {"record.every": 1, "run.steps": 3_000_000, "record.x.keep": ["ensemble_mean"]},
    ):
        assert message(trap, overrides).startswith("the case has 1 fault:")
    many = {"record.x.kep": 1, "record.work.every": 0, "record.evry": 2, "run.stepps": 3}
    assert message(trap, many).startswith("the case has 4 faults:")


def test_summaries_over_steps_may_take_any_number(trap):
    overrides = {"run.steps": 5_000_000, "record.every": 1, "record.variables": [], "record.x.keep": ["mean"]}
    thermosim.load_case(trap, overrides)
    more = overrides | {"record.x": {"keep": ["mean"], "first": 100}, "record.first": 6_000_000}
    thermosim.load_case(trap, more)


def test_lags_up_to_the_number_of_values(trap):
    thermosim.load_case(trap, {"record.x": {"keep": ["correlation"], "lags": 14}})
    thermosim.load_case(trap, {"record.x": {"keep": ["correlation"], "lags": 101, "every": 1}})


def test_shapes_of_tables_in_a_sweep(trap):
    start, end = trap.index("[theta.protocol]"), trap.index("[x]")
    text = trap[:start] + trap[end:]
    sweep = {"sweep": {"model.dimension": {"values": [2, 3]}}, "record.variables": ["work"]}
    thermosim.load_case(text, sweep)
    wrong = message(text, sweep | {"record.x.keep": ["mean"]})
    assert "the shape of x depends on an axis" in wrong
    assert "no table" in wrong


def test_a_table_must_be_possible_at_every_point():
    overrides = {"sweep": {"x.restart": {"values": [False, True]}}, "record.log_ratio_x.keep": ["last"]}
    assert "record.log_ratio_x: chains that restart" in message(GAUSSIAN, overrides)


def test_axes(sphere):
    """The swept radius of a fixed sphere stays what it is; a table of it would summarise a constant."""
    fixed = {"theta.constraint": "fixed-sphere", "theta.weight_decay": 0.0, "theta.initial": "random"}
    fixed |= {"sweep": {"theta.radius": {"values": [1.0, 2.0]}}, "theta.learning_rate": 0.1}
    assert "radius" in thermosim.load_case(sphere, fixed).settings.record.variables
    assert 'record.radius: has the name of the axis sweep."theta.radius"' in message(
        sphere, fixed | {"record.radius.keep": ["mean"]}
    )
    only = message(sphere, fixed | {"record.variables": ["radius"]})
    assert "are axes of the sweep" in only


def test_results_need_names_of_their_own(tmp_path):
    (tmp_path / "parabola.py").write_text(MODEL)
    clash = message(CLASH, {"record.x.keep": ["mean"]}, tmp_path)
    assert "record.x: its result 'x_mean' has the name of the variable 'x_mean'" in clash
    assert "'x_lag'" in message(CLASH, {"record.x": {"keep": ["correlation"], "every": 1, "lags": 3}}, tmp_path)
    assert "'x_step'" in message(CLASH, {"record.x": {"every": 2}}, tmp_path)
    alone = {"record.variables": ["free"], "record.x.keep": ["mean"]}
    thermosim.load_case(CLASH, alone, tmp_path)


def test_schema_shows_tables():
    table = json_schema()["properties"]["record"]["additionalProperties"]
    assert set(table["properties"]) == {"first", "every", "keep", "storage", "range", "bins", "lags"}
    assert table["additionalProperties"] is False
    assert "correlation" in table["properties"]["keep"]["items"]["enum"]
    assert "$ref" not in json.dumps(table)
