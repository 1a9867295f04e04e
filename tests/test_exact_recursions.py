"""Products of stretches give what the plain recursions give move after move, to rounding."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from tests import plain_driven, plain_moments
from tests.driven_ensembles import trap
from tests.plain_learning_machine import MACHINE, PRECISION, ROWS, START
from thermosim.case.settings import Settings
from thermosim.checks.driven import linear_protocol, start_state
from thermosim.exact import driven
from thermosim.exact.learning_machine import LearningMachine, Start, moments, row_cumulants, theta_cumulants
from thermosim.exact.linear_langevin import Gaussian
from thermosim.exact.path_weights import log_theorem_average
from thermosim.exact.scan import power, running_products
from thermosim.exact.stretches import LinearProtocol, stretches
from thermosim.exact.work_moments import work_moments

STEPS = 43
STIFF = {"kind": "linear", "initial": [[1.6, 0.5], [0.5, 1.0]], "final": [[1.9, -0.5], [-0.5, 2.3]]}
PAUSES = {
    "kind": "table",
    "steps": [0, 7, 20, 21, 43],
    "values": [[0.0, 0.1], [0.4, 0.0], [0.4, 0.0], [0.9, 1.0], [0.9, 1.0]],
}
SHRINKING = {"kind": "step", "value": 0.2, "factor": 0.7, "at": [9, 30]}
PARTS: dict[str, dict[str, Any]] = {
    "every step moves": {},
    "exact moves": {"x__dynamics": "exact-ou"},
    "reversed": {"run__direction": "reversed", "x__tau": 3},
    "pauses": {"theta__protocol": {"stiffness": [[1.6, 0.5], [0.5, 1.0]], "center": PAUSES}},
    "pauses, reversed": {
        "theta__protocol": {"stiffness": [[1.6, 0.5], [0.5, 1.0]], "center": PAUSES},
        "run__direction": "reversed",
        "x__time_step": SHRINKING,
    },
    "time step": {
        "x__time_step": SHRINKING,
        "theta__protocol": {"stiffness": [[1.6, 0.5], [0.5, 1.0]], "center": [0.0, 1.0]},
    },
    "two baths": {"x__temperature": [2.5, 1.0], "x__tau": 5},
    "rotation": {"model": {"name": "rotational-trap", "dimension": 2, "stiffness": 1.3, "rotation": 0.9}, "x__tau": 5},
    "beads, reversed": {
        "model": {"name": "two-beads", "stiffness": 1.0, "coupling": 1.5},
        "x__temperature": [2.5, 1.0],
        "run__direction": "reversed",
    },
}


def _case(part: str) -> tuple[LinearProtocol, Gaussian]:
    settings = trap(run__steps=STEPS, **PARTS[part])
    protocol = linear_protocol(Settings.from_dict(settings))
    start = start_state(protocol, "equilibrium")
    return protocol, Gaussian(start.mean + 0.3, 1.4 * start.covariance)  # that does not stay as it is


def _assert_same(found: Any, plain: Any, rows: np.ndarray) -> None:
    """All arrays of two results, relative to the largest number of each."""
    for field in fields(found):
        value, wanted = getattr(found, field.name), getattr(plain, field.name)
        if isinstance(value, np.ndarray):
            scale = np.max(np.abs(wanted[np.isfinite(wanted)]), initial=1e-3)
            np.testing.assert_allclose(value, wanted[rows], rtol=0, atol=1e-12 * scale, err_msg=field.name)


@pytest.mark.parametrize("record", [None, [0, 5, 6, 30, 43], [21]])
@pytest.mark.parametrize("part", PARTS)
def test_driven_systems(part: str, record: list[int] | None) -> None:
    protocol, start = _case(part)
    rows = np.arange(STEPS + 1) if record is None else np.array(record)
    books = plain_driven.ledger(protocol, start)
    _assert_same(driven.ledger(protocol, start, record), books, rows)
    if protocol.one_bath and not np.any(protocol.drive):
        _assert_same(work_moments(protocol, start, record), plain_driven.work_moments(protocol, start), rows)
    ends = [books.state(step) for step in range(STEPS + 1)]
    law = Gaussian(books.mean[rows], books.covariance[rows])
    for exponent in (2.0, 0.5, -0.5, 6.0):  # 6 diverges somewhere
        plain = plain_driven.log_theorem_average(protocol, start, ends, exponent)[rows]
        found = log_theorem_average(protocol, start, law, exponent, record)
        np.testing.assert_allclose(found, plain, rtol=1e-11, atol=1e-11)


def test_what_diverges_is_not_a_number() -> None:
    """A trap that opens at once: <exp(-3 w/T)> is infinite from a certain step on, in products as in the recursion."""
    opening = {"kind": "step", "value": [[1.6, 0.5], [0.5, 1.0]], "factor": 0.25, "at": [20]}
    settings = trap(run__steps=STEPS, theta__protocol={"stiffness": opening, "center": [0.0, 0.0]})
    protocol = linear_protocol(Settings.from_dict(settings))
    start = start_state(protocol, "equilibrium")
    found, plain = work_moments(protocol, start), plain_driven.work_moments(protocol, start)
    assert np.flatnonzero(np.isnan(plain.log_cube))[0] == 20
    np.testing.assert_allclose(found.log_cube, plain.log_cube, rtol=1e-11, atol=1e-12)


def test_three_components_without_noise_at_some_steps() -> None:
    """A time step of 0 leaves x where it is; the work goes on."""
    generator = np.random.default_rng(5)
    root = generator.standard_normal((STEPS + 1, 3, 3))
    stiffness = np.eye(3) + 0.1 * np.cumsum(root @ root.swapaxes(1, 2), axis=0) / STEPS
    center = np.cumsum(generator.standard_normal((STEPS + 1, 3)), axis=0) / 7.0
    h = np.where(np.arange(STEPS + 1) % 5 == 2, 0.0, 0.1)
    protocol = LinearProtocol(stiffness, center, np.zeros((3, 3)), "ula", h, 2, 0.7, mobility=np.array([1.0, 0.5, 2.0]))
    start = driven.equilibrium(stiffness[0], center[0], 0.7)
    rows = np.arange(STEPS + 1)
    _assert_same(driven.ledger(protocol, start), plain_driven.ledger(protocol, start), rows)
    _assert_same(work_moments(protocol, start), plain_driven.work_moments(protocol, start), rows)


def test_a_run_at_rest_takes_as_many_stretches_as_frames() -> None:
    """A million steps that are all alike, of which three are asked for; the state is the stationary one."""
    steps = 1_000_000
    still = LinearProtocol(
        np.broadcast_to(np.diag([1.0, 2.0]), (steps + 1, 2, 2)),
        np.zeros((steps + 1, 2)),
        np.zeros((2, 2)),
        "ula",
        0.1,
        3,
        1.0,
    )
    asked = np.array([0, 1000, steps])
    assert (
        len(stretches(replace(still, center=still.center[:2001], stiffness=still.stiffness[:2001]), asked[:2]).end) == 1
    )
    last = driven.ledger(still, Gaussian(np.ones(2), np.zeros((2, 2))), asked).state(-1)
    np.testing.assert_allclose(
        np.diag(last.covariance), 1.0 / np.array([1.0, 2.0]) / (1.0 - 0.05 * np.array([1.0, 2.0]))
    )


RATES = 0.4 + 0.3 * np.cos(np.arange(STEPS))
MACHINES: dict[str, tuple[LearningMachine, Start]] = {
    "constant": (replace(MACHINE, steps=STEPS, learning_rate=0.3, time_step=0.1, weight_decay=0.2), START),
    "scheduled": (
        replace(MACHINE, steps=STEPS, learning_rate=RATES, time_step=0.2 * RATES, momentum=0.3, tau=5),
        START,
    ),
    "reversed": (replace(MACHINE, steps=STEPS, learning_rate=0.1 * RATES, time_step=0.2, x_first=True), START),
    "thermal": (
        replace(
            MACHINE,
            steps=STEPS,
            learning_rate=0.3,
            time_step=0.1,
            batch=None,
            temperature=[0.5, 1.5],
            x_dynamics="exact-ou",
        ),
        replace(START, x=None),
    ),
    "fresh": (replace(MACHINE, steps=STEPS, learning_rate=RATES, x_dynamics="exact", time_step=0.0), START),
    "own precisions": (
        replace(
            MACHINE,
            steps=STEPS,
            learning_rate=0.2,
            time_step=0.1,
            precision=np.stack([PRECISION, 1.3 * PRECISION, PRECISION]),
        ),
        replace(START, x=None),
    ),
}


@pytest.mark.parametrize("record", [None, [0, 5, 6, 30, 43], [21]])
@pytest.mark.parametrize("name", MACHINES)
def test_learning_machines(name: str, record: list[int] | None) -> None:
    machine, start = MACHINES[name]
    rows = np.arange(STEPS + 1) if record is None else np.array(record)
    _assert_same(moments(machine, start, record), plain_moments.moments(machine, start), rows)
    if machine.momentum == 0.0 and machine.precision.ndim == 1:
        cumulants = row_cumulants(ROWS)
        plain = plain_moments.theta_cumulants(machine, *cumulants)
        for found, wanted in zip(theta_cumulants(machine, *cumulants, record), plain, strict=True):
            np.testing.assert_allclose(found, wanted[rows], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 100, 1001])
def test_running_products_of_maps_that_do_not_commute(count: int) -> None:
    generator = np.random.default_rng(count)
    maps = generator.standard_normal((2, 2, count)) / 1.5
    plain = [maps[..., 0]]
    for k in range(1, count):
        plain.append(maps[..., k] @ plain[-1])

    def both(first: Any, second: Any) -> Any:
        return (np.einsum("ij...,jk...->ik...", second[0], first[0]),)

    for keep in (np.arange(count), np.arange(0, count, 3), np.array([count - 1])):
        (found,) = running_products(lambda at: (maps[..., at],), count, keep, both)
        wanted = np.stack(plain, axis=-1)[..., keep]
        size = np.abs(wanted).max(axis=(0, 1))
        np.testing.assert_allclose(found / size, wanted / size, rtol=0, atol=1e-12)
    exponents = np.array([1, 2, 3, 17, 64])
    few = np.repeat(maps[..., :1], 5, axis=2)
    (found,) = power((few,), exponents, both)
    wanted = np.stack([np.linalg.matrix_power(maps[..., 0], e) for e in exponents], axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-15)
