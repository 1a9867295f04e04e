"""Schedules at the steps where their values are known exactly."""

from pathlib import Path

import numpy as np
import pytest

from thermosim.case.numbers import schedule_faults
from thermosim.schedules import KINDS, schedule_values, telling_steps, with_its_end

STEPS = 100
KNOWN = {
    "constant": ({"value": 0.3}, {0: 0.3, 57: 0.3, 100: 0.3}),
    "least-dissipation": ({"contraction": 0.5}, {0: 0.0, 1: 1.0 / 51.0, 2: 0.5 / 50.5, 99: 0.5 / 2.0, 100: 1.0 / 1.5}),
    "linear": ({"initial": 1.0, "final": 3.0}, {0: 1.0, 25: 1.5, 100: 3.0}),
    "cosine": ({"initial": 1.0, "final": 3.0}, {0: 1.0, 50: 2.0, 100: 3.0, 25: 2.0 - np.sqrt(0.5)}),
    "exponential": ({"initial": 1.0, "final": 100.0}, {0: 1.0, 50: 10.0, 100: 100.0}),
    "step": ({"value": 2.0, "factor": 0.1, "at": [40, 70]}, {39: 2.0, 40: 0.2, 69: 0.2, 70: 0.02}),
    "sinusoidal": (
        {"mean": 1.0, "amplitude": 0.5, "period": 40, "phase": np.pi / 6, "begin": 10, "end": 90},
        {0: 1.25, 10: 1.25, 20: 1.0 + 0.25 * np.sqrt(3.0), 30: 0.75, 90: 1.25, 100: 1.25},
    ),
    "piecewise": (
        {
            "at": [0, 10, 50],
            "values": [0.5, {"kind": "linear", "initial": 1.0, "final": 3.0}, {"kind": "constant", "value": 4.0}],
        },
        {0: 0.5, 9: 0.5, 10: 1.0, 30: 2.0, 50: 4.0, 100: 4.0},
    ),
    "table": ({"steps": [10, 20], "values": [1.0, 5.0]}, {0: 1.0, 10: 1.0, 15: 3.0, 20: 5.0, 90: 5.0}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_known_values(kind):
    table, known = KNOWN[kind]
    values = schedule_values({"kind": kind} | table, STEPS)
    assert values.shape == (STEPS + 1,)
    for step, value in known.items():
        assert values[step] == pytest.approx(value, rel=1e-14), step


@pytest.mark.parametrize("kind", KINDS)
def test_any_part_is_the_part_of_the_whole(kind):
    table = {"kind": kind, "warm_up": 8} | KNOWN[kind][0]
    whole = schedule_values(table, STEPS)
    assert np.array_equal(schedule_values(table, STEPS, 13, 58), whole[13:59])
    assert whole[0] == 0.0
    assert whole[4] == pytest.approx(0.5 * schedule_values({"kind": kind} | KNOWN[kind][0], STEPS)[4])


def test_begin_and_end_hold_the_ends():
    values = schedule_values({"kind": "linear", "initial": 0.0, "final": 1.0, "begin": 20, "end": 30}, STEPS)
    assert values[[0, 20, 25, 30, 100]].tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_arrays():
    values = schedule_values({"kind": "linear", "initial": [[1.0, 0.0]], "final": [[3.0, 4.0]]}, STEPS)
    assert values.shape == (101, 1, 2)
    assert values[25].tolist() == [[1.5, 1.0]]
    table = {"kind": "table", "steps": [0, 100], "values": [[0.0, 2.0], [1.0, 0.0]]}
    assert schedule_values(table, STEPS)[50].tolist() == [0.5, 1.0]


def test_a_sinusoid_is_judged_at_its_extremes():
    """Between two of a thousand evenly spaced steps, and before a first whole period."""
    steps = 1_000_000
    for period, phase in ((40, 0.0), (333.3, 1.0), (7e6, 0.5), (4 * steps, -0.3)):
        table = {"kind": "sinusoidal", "mean": 1.0, "amplitude": 2.0, "period": period, "phase": phase}
        told = schedule_values(table, steps)[telling_steps(table, steps)]
        values = schedule_values(table, steps)
        assert (told.min(), told.max()) == pytest.approx((values.min(), values.max()), abs=1e-4)
    faults = schedule_faults("x.time_step", table | {"period": 100}, steps, "a time step")
    assert "reaches -0.99" in faults[0]


def test_an_extension_goes_on_with_a_sinusoid_and_ends_a_ramp():
    ramp, wave = {"kind": "linear", "initial": 0.0, "final": 1.0}, {"kind": "sinusoidal"} | KNOWN["sinusoidal"][0]
    parts = {"kind": "piecewise", "at": [0, 40], "values": [0.5, ramp]}
    for table in (ramp, wave, parts, {"kind": "constant", "value": 1.0}, 0.3):
        longer = with_its_end(table, STEPS)
        assert np.array_equal(schedule_values(longer, 2 * STEPS)[: STEPS + 1], schedule_values(table, STEPS))
        assert with_its_end(longer, 2 * STEPS) == longer
    assert schedule_values(with_its_end(parts, STEPS), 2 * STEPS)[-1] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period": 0}, "learning_rate.period = 0: expected a number of steps, more than 0"),
        ({"period": "long"}, "not text in quotes"),
        ({"begin": 90, "end": 90}, "end it later"),
        ({"offset": 1.0}, "a sinusoidal schedule only has mean, amplitude, period, phase, begin, end, warm_up"),
        ({"kind": "piecewise", "at": [0, 5], "values": [1.0]}, "expected a list of 2 parts"),
        ({"kind": "piecewise", "at": [5], "values": [1.0]}, "expected 0 in front"),
        (
            {"kind": "piecewise", "at": [0, 5], "values": [1.0, {"kind": "linear", "initial": 1.0}]},
            "values[1]: a linear schedule needs the key 'final'",
        ),
        (
            {"kind": "piecewise", "at": [0, 5], "values": [1.0, {"kind": "linear", "initial": 1.0, "final": -1.0}]},
            "reaches -1",
        ),
        ({"kind": "piecewise", "at": [0, 5], "values": [1.0, [1.0, 2.0]]}, "values[1]"),
    ],
)
def test_faults_of_the_parts(change, message):
    table = {"kind": "sinusoidal", "mean": 1.0, "amplitude": 0.5, "period": 40} | change
    if change.get("kind"):
        table = change
    faults = schedule_faults("learning_rate", table, STEPS, "a rate")
    assert message in " ".join(faults)


def test_the_schema_admits_what_the_table_of_kinds_has():
    from tests.json_schema import faults
    from thermosim.case.schema import json_schema, key_rows

    schema = json_schema()["$defs"]["schedule"]
    for kind in KINDS:
        table = {"kind": kind} | KNOWN[kind][0]
        assert faults(table, schema) == []
        assert faults(table | {"unknown": 1}, schema) != []
    keys = [key.strip() for key, *_ in key_rows()]
    assert {"theta.learning_rate", "x.tau", "run.steps", "record.every", "record.VARIABLE.keep", "period"} <= set(keys)
    assert all(meaning for _, _, _, meaning in key_rows())


def test_the_page_of_schedules_lists_every_kind_and_key():
    from thermosim.case.files import __file__ as inside

    text = (Path(inside).parents[2] / "docs/howto/schedules.md").read_text("utf-8")
    for kind, described in KINDS.items():
        keys = ", ".join(f"`{key}`" for key in described.keys if key != "warm_up")
        assert f"| `{kind}` | {described.summary} | {keys} |" in text, kind
