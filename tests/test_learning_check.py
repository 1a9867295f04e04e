"""`check` of learning machines: every case agrees with theory, and books that are wrong do not pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.learning_cases import GAUSSIAN
from thermosim.analysis.comparison import judge
from thermosim.checks.learning import advice, check

CASES = Path(__file__).parent.parent / "cases" / "learning"
LEAST = {"gaussian_machine": 12, "price_of_time": 9, "double_well": 3, "mixture": 4, "boltzmann_machine": 3}
LEAST |= {"least_dissipation": 3, "rbm_digits": 1, "network_ring": 1, "reservoir": 2, "thermal_machine": 6}
SMALL: dict[str, dict[str, Any]] = {
    "gaussian_machine": {"ensemble.replicas": 1024},
    "price_of_time": {"ensemble.replicas": 512},
    "least_dissipation": {},
    "double_well": {"ensemble.replicas": 1024, "run.steps": 200},
    "mixture": {"ensemble.replicas": 256, "run.steps": 40, "record.every": 1},
    "boltzmann_machine": {"ensemble.replicas": 2048, "run.steps": 60},
    "thermal_machine": {"ensemble.replicas": 2048, "run.steps": 40},
    "rbm_digits": {"ensemble.replicas": 8, "run.steps": 60, "record.every": 20},
    "network_ring": {"ensemble.replicas": 16, "run.steps": 100, "record.every": 50},
    "reservoir": {
        "run.steps": 20,
        "model.dimension": 4,
        "data.shrink": 4,
        "ensemble.replicas": 100,
    },
}


@pytest.mark.parametrize("path", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_case_agrees_with_theory(path: Path) -> None:
    """As shipped, but smaller: nothing that is exactly known is missed."""
    comparisons = check(thermosim.simulate(thermosim.load_case(path, SMALL[path.stem])))
    assert judge(comparisons).consistent, [(c.quantity, c.z) for c in comparisons]
    assert len(comparisons) >= LEAST[path.stem], [c.quantity for c in comparisons]


@pytest.fixture(scope="module")
def ensemble() -> xr.Dataset:
    return thermosim.simulate(
        thermosim.load_case(GAUSSIAN, {"ensemble.replicas": 8192, "record.every": 1, "x.time_step": 0.1, "x.tau": 1})
    )


def _late_heat(ds: xr.Dataset) -> xr.Dataset:
    """Heat at the theta before the jump, sum phi(x_i, theta_{i-1}) - phi(x_{i-1}, theta_{i-1}); work after it."""
    theta, x = ds.theta.values, ds.x.values
    k, m = np.exp(theta[..., 2:]), theta[..., :2]

    def phi(at: slice, of: slice) -> np.ndarray:
        return np.asarray(0.5 * (k[of] * (x[at] - m[of]) ** 2).sum(-1))

    old, new = slice(None, -1), slice(1, None)
    heat = np.cumsum(phi(new, old) - phi(old, old), axis=0)
    work = np.cumsum(phi(new, new) - phi(new, old), axis=0)
    zero = np.zeros((1, ds.sizes["replica"]))
    return ds.assign(
        heat=ds.heat.copy(data=np.concatenate([zero, heat])), work=ds.work.copy(data=np.concatenate([zero, work]))
    )


MUTANTS: dict[str, tuple[Callable[[xr.Dataset], xr.Dataset], str]] = {
    "sign of the heat": (lambda ds: ds.assign(heat=-ds.heat), "first-law"),
    "theta of the step before in heat and work": (_late_heat, "mean work"),
    "work counted twice": (lambda ds: ds.assign(work=2.0 * ds.work), "first-law"),
    "half of the log ratio": (lambda ds: ds.assign(log_ratio_x=0.5 * ds.log_ratio_x), "log ratio"),
    "a normaliser that is missing": (
        lambda ds: ds.assign(phi=ds.phi + 0.3 * ds.step, entropy_production=ds.entropy_production + 0.3 * ds.step),
        "entropy production",
    ),
    "samples too wide": (lambda ds: ds.assign(x=1.2 * ds.x), "covariance of x"),
    "theta that moved twice as far": (lambda ds: ds.assign(theta=2.0 * ds.theta - ds.theta[0]), "mean of theta"),
}


def test_the_books_as_they_are_pass(ensemble: xr.Dataset) -> None:
    comparisons = check(ensemble)
    assert judge(comparisons).consistent, [(c.quantity, c.z) for c in comparisons]


@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_mistake_is_caught(ensemble: xr.Dataset, mistake: str) -> None:
    """The verdict fails, and the row that belongs to the mistake is among those that fail."""
    change, row = MUTANTS[mistake]
    comparisons = check(change(ensemble))
    threshold = judge(comparisons).threshold
    failed = [c.quantity for c in comparisons if np.min(c.p_value) < threshold]
    assert any(row in quantity for quantity in failed), (mistake, failed)


def test_tau_off_by_one_is_caught(ensemble: xr.Dataset) -> None:
    """An ensemble that says it made one move more than it did."""
    import json

    settings = json.loads(ensemble.attrs["settings"])
    settings["x"]["tau"] += 1
    wrong = ensemble.drop_vars("origin").assign_attrs(settings=json.dumps(settings))
    verdict = judge([c for c in check(wrong) if c.quantity.startswith(("mean heat", "mean work", "mean entropy"))])
    assert not verdict.consistent


def test_theta_without_spread() -> None:
    """All of the data, one start: theta is the same in every replica, to rounding."""
    changes = {"theta.batch": "all", "theta.spread": 0.0, "theta.momentum": 0.7, "ensemble.replicas": 512}
    comparisons = check(thermosim.simulate(thermosim.load_case(GAUSSIAN, changes)))
    assert judge(comparisons).consistent, [(c.quantity, c.z) for c in comparisons]
    assert any("mean of theta" in c.quantity for c in comparisons)


def test_chains_that_lag_are_told() -> None:
    """One short move a step, towards data far away: said in a sentence; with ten times as many moves it is not."""
    far = {"data.mean": [4.0, -3.0], "x.time_step": 0.02, "x.tau": 1, "ensemble.replicas": 2000}
    (line,) = thermosim.check(thermosim.simulate(thermosim.load_case(GAUSSIAN, far))).notes
    assert "lag the model" in line
    assert "x.tau" in line
    assert advice(thermosim.simulate(thermosim.load_case(GAUSSIAN, far | {"x.tau": 200}))) == []
    sweep = {"sweep": {"x.tau": {"values": [1, 200]}}}
    (line,) = advice(thermosim.simulate(thermosim.load_case(GAUSSIAN, far | sweep)))
    assert "at 1 of 2 points" in line
