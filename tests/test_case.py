"""Every wrong case is refused before anything runs, all faults at once, each with its key, value and remedy."""

import numpy as np
import pytest

import thermosim
from thermosim import load_case
from thermosim.case.faults import CaseError
from thermosim.case.load import key_parts


def faults(text, overrides=None):
    with pytest.raises(CaseError) as refusal:
        thermosim.load_case(text, overrides)
    return refusal.value.faults


# overrides of the trap case, and what the message must contain
TRAP_FAULTS = [
    ({"model.name": "harmonic-trp"}, ["model.name = 'harmonic-trp'", "'harmonic-trap'"]),
    ({"model.dimensoin": 2}, ["model.dimensoin = 2", "unknown key", "model.dimension"]),
    ({"model.dimension": 2.5}, ["model.dimension = 2.5", "whole number"]),
    ({"x.tau": 0}, ["x.tau = 0", "greater than or equal to 1"]),
    ({"x.taau": 3}, ["x.taau = 3", "unknown key", "x.tau"]),
    ({"x.time_step": -0.1}, ["x.time_step = -0.1", "more than 0"]),
    ({"x.time_step": "fast"}, ["x.time_step = 'fast'", "a number or a schedule"]),
    ({"x.time_step": {"kind": "exponential", "initial": 0.1, "final": -0.1}}, ["takes values that are not finite"]),
    ({"x.time_step": {"kind": "linear", "initial": [1, 2], "final": [1, 2, 3]}}, ["shapes that do not fit together"]),
    ({"x.time_step": {"kind": "table", "steps": [0, 4], "values": [1]}}, ["2 values are needed"]),
    ({"x.time_step": {"kind": "step", "value": 1, "factor": [1, 2], "at": [2]}}, ["factor is one number"]),
    ({"x.time_step": {"kind": "linear", "initial": 10**400, "final": 1}}, ["too large"]),
    ({"x.dynamics": "ulla"}, ["x.dynamics = 'ulla'", "'ula'"]),
    ({"x.temperature": [1.0]}, ["x.temperature = [1.0]", "shape (1,), expected (2,)"]),
    ({"x.temperature": 0}, ["x.temperature = 0", "more than 0"]),
    ({"run.steps": -5}, ["run.steps = -5", "greater than or equal to 1"]),
    ({"run.steps": "many"}, ["run.steps = 'many'", "integer"]),
    ({"ensemble.replicas": True}, ["ensemble.replicas = True", "integer"]),
    ({"record.variables": ["work", "haet"]}, ["record.variables: 'haet'", "no such variable", "heat"]),
    ({"record.variables": ["stretch"]}, ["record.variables: 'stretch'", "do not have it"]),
    ({"record.first": 1000}, ["record.first = 1000", "past the last step"]),
    ({"theta.dynamics": "sgd", "theta.protocol": {}, "theta.learning_rate": 0.1}, ["no gradient to learn by"]),
    ({"theta.constraint": "fixed-lr"}, ["theta.constraint", "only used when theta learns"]),
    ({"theta.protocol.centre": 1.0}, ["theta.protocol.centre", "center, stiffness"]),
    ({"theta.protocol.center": [1.0]}, ["theta.protocol.center = [1.0]", "shape (1,), expected (2,)"]),
    ({"theta.protocol.center": {"kind": "liner"}}, ["theta.protocol.center.kind = 'liner'", "linear"]),
    ({"theta.protocol.center": {"kind": "linear", "initial": [0, 0]}}, ["needs the key 'final'"]),
    ({"x.dynamics": "exact-ou", "x.temperature": [1.0, 2.0]}, ["detailed balance at one temperature"]),
    ({"extra": 3}, ["extra = 3: unknown key"]),
    ({"sweep": {"x.tau": [1, 2]}}, ['sweep."x.tau"', "values = [...]"]),
    ({"sweep": {"x.time_step": {"logspace": [0, 1], "num": 4}}}, ["positive"]),
    ({"sweep": {"run.steps": {"values": [1, 2]}}}, ["cannot be an axis"]),
    ({"sweep": {"modle.dimension": {"values": [1, 2]}}}, ["no section 'modle'", "did you mean model.dimension?"]),
    ({"sweep": {".": {"values": [1, 2]}}}, ["no section ''", "one of model, theta, x, data, run"]),
    ({"sweep": {"x.time_step": {"values": [0.1, -1.0]}}}, ["x.time_step = -1.0"]),
    ({"sweep": {"x.dynamics": {"values": [[1, 2], [2, 1]]}}}, ["x.dynamics = [1, 2]"]),
    (
        {"sweep": {"model.dimension": {"values": [2, 3]}}, "record.variables": ["x"], "theta.protocol": {}},
        ["shape of x depends on an axis"],
    ),
]


@pytest.mark.parametrize(("overrides", "parts"), TRAP_FAULTS)
def test_trap_refusals(trap, overrides, parts):
    text = trap
    if "theta.protocol" in overrides:
        start, end = text.index("[theta.protocol]"), text.index("[x]")
        text = text[:start] + text[end:]
        overrides = {key: value for key, value in overrides.items() if key != "theta.protocol"}
    message = "\n".join(faults(text, overrides))
    for part in parts:
        assert part in message, message


SPHERE_FAULTS = [
    ({"theta.constraint": "fixed_elr"}, ["theta.constraint = 'fixed_elr'", "fixed-elr"]),
    ({"theta.constraint": "fixed-sphere"}, ["theta.weight_decay = 0.02", "no effect where the radius is held"]),
    ({"theta.weight_decay": -1.0}, ["theta.weight_decay = -1.0", "at least 0"]),
    ({"theta.weight_decay": 0.0}, ["theta.initial = 'stationary'", "weight decay above 0"]),
    ({"theta.initial": "stationery"}, ["theta.initial = 'stationery'", "'stationary'"]),
    ({"theta.initial": {"from": "normal"}}, ["theta.initial = {'from': 'normal'}", "'stationary'"]),
    ({"model.direction": [1, 0, 0, 0, 1]}, ["model.direction has length", "unit vector"]),
    ({"model.dimension": 1}, ["model.dimension = 1", "at least 2"]),
    ({"sweep": {"model.noise": {"values": [1.0, float("nan")]}}}, ["model.noise = nan", "finite"]),
    (
        {"sweep": {"theta.learning_rate": {"values": [0.1, 0.8]}}},
        ["theta.learning_rate = 0.8", "no stationary radius", "0.7143"],
    ),
    ({"run.direction": "reversed"}, ["has no given path back"]),
    ({"x.dynamics": "ula", "x.time_step": 0.1}, ["no samples x"]),
    ({"ensemble": 3}, ["ensemble = 3", "table"]),
]


@pytest.mark.parametrize(("overrides", "parts"), SPHERE_FAULTS)
def test_sphere_refusals(sphere, overrides, parts):
    message = "\n".join(faults(sphere, overrides))
    for part in parts:
        assert part in message, message


def test_all_faults_are_reported_at_once(trap):
    wrong = {"x.tau": -1, "run.stepps": 4, "ensemble.seed": -3, "model.dimensio": 2, "titel": "x"}
    message = "\n".join(faults(trap, wrong))
    for key in ("x.tau", "run.stepps", "ensemble.seed", "model.dimensio", "titel"):
        assert key in message


def test_missing_parts(trap):
    assert "[model]" in faults("title = 'empty'\n")[0]
    message = "\n".join(faults('[model]\nname = "harmonic-trap"\n'))
    for key in ("ensemble.replicas", "run.steps"):
        assert key in message


def test_files(tmp_path):
    (tmp_path / "dragged.toml").write_text("")
    with pytest.raises(CaseError, match=r"no such file. Did you mean .*dragged.toml"):
        thermosim.load_case(tmp_path / "draged.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\nname = 3")
    with pytest.raises(CaseError, match=r"not valid TOML.*line 1"):
        thermosim.load_case(broken)


def test_defaults_are_filled_in_and_stored(sphere):
    case = thermosim.load_case(sphere)
    assert case.settings.theta.radius == 1.0
    assert case.settings.run.direction == "forward"
    assert len(case.settings.model.constants["direction"]) == 5
    assert case.settings.sweep["model.noise"] == [0.7, 1.1]
    assert case.replicas_in_all == 70


def test_an_override_reaches_the_run(trap):
    ds = thermosim.simulate(thermosim.load_case(trap, {"run.steps": 14, "ensemble.replicas": 3}))
    assert ds.sizes["replica"] == 3
    assert ds.step.values.tolist() == [0, 7, 14]


@pytest.mark.parametrize(
    "center",
    [
        "a",
        True,
        {"kind": "linear"},
        {"kind": ["a"]},
        {"kind": "linear", "initial": [0.0, 0.0], "final": [1.0, 1.0], "end": "a"},
        {"kind": "linear", "initial": "a", "final": [1.0, 1.0]},
        {"kind": "linear", "initial": [0.0, 0.0], "final": [1.0, 1.0], "begin": 101},
        {"kind": "linear", "initial": [0.0, 0.0, 0.0], "final": [1.0, 1.0, 1.0]},
        {"kind": "table", "steps": [50, 0], "values": [[0.0, 0.0], [1.0, 1.0]]},
        {"kind": "table", "steps": [], "values": []},
        {"kind": "table", "steps": [0, 50], "values": [[0.0, 0.0]]},
        {"kind": "step", "value": [1.0, 1.0], "factor": 0.5, "at": 3},
        {"kind": "step", "value": [1.0, 1.0], "factor": "a", "at": [3]},
        {"kind": "exponential", "initial": [0.0, 1.0], "final": [1.0, 1.0]},
        {"kind": "linear", "initial": [0.0, 0.0], "final": [float("inf"), 1.0]},
        {"kind": "linear", "initial": [0.0, 0.0], "final": [1.0, 1.0], "warm_up": -3},
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_wrong_schedule_is_worded(trap, center):
    assert "theta.protocol.center" in "\n".join(faults(trap, {"theta.protocol.center": center}))


def test_numbers_of_numpy_are_numbers():
    """At any depth and wherever a case has numbers: the case that is kept is the plain one."""
    plain = {
        "title": "numbers",
        "model": {"name": "harmonic-trap", "dimension": 2},
        "theta": {
            "dynamics": "protocol",
            "protocol": {
                "center": {"kind": "table", "steps": [0, 5, 10], "values": [[0.0, 0.0], [1.0, 0.5], [1.0, 1.0]]},
                "stiffness": [[1.0, 0.25], [0.25, 2.0]],
            },
        },
        "x": {"dynamics": "ula", "time_step": 0.125, "mobility": [1.0, 0.5], "restart": False},
        "ensemble": {"replicas": 10, "seed": 7},
        "run": {"steps": 10},
        "record": {"every": 5, "variables": ["x", "work"]},
        "sweep": {"x.tau": {"values": [1, 2, 3]}, "x.temperature": {"values": [0.5, 1.0]}},
    }
    numpys = {
        "title": np.str_("numbers"),
        "model": {"name": np.str_("harmonic-trap"), "dimension": np.int64(2)},
        "theta": {
            "dynamics": "protocol",
            "protocol": {
                "center": {"kind": "table", "steps": range(0, 11, 5), "values": ((0, 0), (1.0, 0.5), np.ones(2))},
                "stiffness": np.array([[1.0, 0.25], [0.25, 2.0]]),
            },
        },
        "x": {
            "dynamics": np.str_("ula"),
            "time_step": np.float32(0.125),
            "mobility": np.array([1.0, 0.5]),
            "restart": np.False_,
        },
        "ensemble": {"replicas": np.array(10), "seed": np.uint8(7)},
        "run": {"steps": np.float64(10.0)},
        "record": {"every": np.int32(5), "variables": ("x", "work")},
        "sweep": {"x.tau": {"values": np.arange(1, 4)}, "x.temperature": {"values": np.array([0.5, 1.0])}},
    }
    first, second = load_case(plain), load_case(numpys)
    assert first.settings == second.settings
    assert load_case(second.source).settings == first.settings  # the TOML that is kept with the ensemble
    changes = {"x.time_step": 0.25, 'sweep."x.tau".values': [2, 4], "theta.protocol.center": [0.5, 0.0]}
    arrays = {
        "x.time_step": np.array(0.25),
        'sweep."x.tau".values': (2, 4),
        "theta.protocol.center": np.array([0.5, 0]),
    }
    one, other = load_case(plain, changes), load_case(plain, arrays)
    assert one.settings == other.settings
    assert one.overrides == other.overrides
    assert one.axes[0].values == (2, 4)


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("run.steps", ["run", "steps"]),
        ('sweep."x.tau"', ["sweep", "x.tau"]),
        ("sweep.'x.tau'.values", ["sweep", "x.tau", "values"]),
        ('"a.b". c', ["a.b", "c"]),
        ('sweep."x.tau', ["sweep", '"x', "tau"]),
    ],
)
def test_dots_in_quotes_belong_to_the_name(key, parts):
    assert key_parts(key) == parts
