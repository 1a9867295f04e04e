"""Lengths that a kernel for a card takes for granted are those of what it is given, at every step of a run."""

import pytest

import thermosim
from thermosim.engines.cuda.kernel import columns_of, identity
from thermosim.plan.outline import plan

CASES = (
    "driven/dragged_trap",
    "driven/dragged_trap_reversed",
    "ideal_gas/fixed_elr",
    "learning/gaussian_machine",
    "irreversibility/feedback",
)
RAMP = {"kind": "linear", "initial": 0.01, "final": 0.02}


def blocks(name, **changes):
    case = thermosim.load_case(f"cases/{name}.toml", overrides={"ensemble.replicas": 4, **changes})
    return plan(case)[0].block(0, 4)


def given(block, first, last):
    """The lengths by their names, of a call from one step to another."""
    arrays = dict(zip(("theta_factor", "x_factor"), block.timetable.factors(first, last), strict=True))
    arrays |= dict(zip(("theta_table", "x_table"), block.timetable.tables(first, last), strict=True))
    return {name: array.shape[1] for name, array in arrays.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stretch", [(1, 1), (1, 7), (5, 9)])
def test_lengths_are_those_that_come(name, stretch):
    block = blocks(name)
    expected = columns_of(block)
    assert set(expected) >= {"theta_table", "x_table"}
    assert expected.items() <= given(block, *stretch).items()


@pytest.mark.parametrize(
    ("name", "key", "factor"),
    [
        ("learning/gaussian_machine", "theta.learning_rate", "theta_factor"),
        ("learning/gaussian_machine", "x.time_step", "x_factor"),
    ],
)
def test_what_is_scheduled_has_no_fixed_length(name, key, factor):
    steady, scheduled = blocks(name), blocks(name, **{key: RAMP})
    assert columns_of(steady)[factor] == 1
    assert factor not in columns_of(scheduled)
    assert given(scheduled, 1, 7)[factor] == 7
    assert identity(steady) != identity(scheduled)


def test_a_run_there_and_back_turns_its_learning_rate():
    block = blocks("training/balance", **{"run.direction": "there-and-back"})
    assert "theta_factor" not in columns_of(block)
    assert given(block, 1, 7)["theta_factor"] == 7
