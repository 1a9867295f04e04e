"""A trap shaken periodically: against exact moments, and the work of a period against linear response."""

from __future__ import annotations

import numpy as np

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.checks.driven import linear_protocol, start_state
from thermosim.exact import driven

STIFFNESS, AMPLITUDE, OMEGA = 2.0, 0.8, 3.0
CASE = {
    "model": {"name": "harmonic-trap", "dimension": 1},
    "theta": {
        "dynamics": "protocol",
        "protocol": {
            "center": {"kind": "sinusoidal", "mean": [0.0], "amplitude": [AMPLITUDE], "period": 50},
            "stiffness": [[STIFFNESS]],
        },
    },
    "x": {"dynamics": "ula", "time_step": 2.0 * np.pi / OMEGA / 50, "initial": "equilibrium"},
    "ensemble": {"replicas": 4000},
    "run": {"steps": 400},
    "record": {"every": 50},
}
# c = A sin(w t): of x' = -k (x - c) + noise, k <c - x> c' over a period; R. Kubo, Rep. Prog. Phys. 29, 255 (1966)
PERIOD = np.pi * AMPLITUDE**2 * STIFFNESS**2 * OMEGA / (STIFFNESS**2 + OMEGA**2)


def _work_of_a_period(steps: int) -> float:
    """Exact, of the eighth period of so many steps."""
    protocol = {"center": CASE["theta"]["protocol"]["center"] | {"period": steps}}  # type: ignore[index]
    changes = {"x.time_step": 2.0 * np.pi / OMEGA / steps, "run.steps": 8 * steps, "record.every": steps}
    changes["theta.protocol.center"] = protocol["center"]
    exact = linear_protocol(thermosim.load_case(CASE, changes).settings)
    work = driven.ledger(exact, start_state(exact, "equilibrium"), np.array([7 * steps, 8 * steps])).work
    return float(work[1] - work[0])


def test_dissipation_of_a_period_tends_to_linear_response() -> None:
    """To first order in the time step; an amplitude twice as large, or a phase lost, would be far off."""
    gaps = [_work_of_a_period(steps) - PERIOD for steps in (1000, 2000)]
    assert 1.9 < gaps[0] / gaps[1] < 2.1
    assert abs(gaps[1]) < 3e-3 * PERIOD


def test_an_ensemble_agrees_with_its_moments() -> None:
    ds = thermosim.simulate(thermosim.load_case(CASE))
    report = thermosim.check(ds)
    assert report.consistent
    assert any(row.quantity.startswith("variance of the work") for row in report.comparisons)
    work = ds["work"].values[-1] - ds["work"].values[-2]
    mean, error = mean_and_error(work)
    exact = _work_of_a_period(50)
    assert_within(mean, error, exact, catches="period, phase or amplitude of the center", mistake=0.2 * exact)
