"""Schedules at the steps where their values are known exactly."""

import numpy as np
import pytest

from thermosim.schedules import KINDS, schedule_values

STEPS = 100
KNOWN = {
    "constant": ({"value": 0.3}, {0: 0.3, 57: 0.3, 100: 0.3}),
    "linear": ({"initial": 1.0, "final": 3.0}, {0: 1.0, 25: 1.5, 100: 3.0}),
    "cosine": ({"initial": 1.0, "final": 3.0}, {0: 1.0, 50: 2.0, 100: 3.0, 25: 2.0 - np.sqrt(0.5)}),
    "exponential": ({"initial": 1.0, "final": 100.0}, {0: 1.0, 50: 10.0, 100: 100.0}),
    "step": ({"value": 2.0, "factor": 0.1, "at": [40, 70]}, {39: 2.0, 40: 0.2, 69: 0.2, 70: 0.02}),
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
