"""The cases in cases/driven, shrunk, through the engine: fluctuation theorems, steady rates, order in the time step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.analysis import work
from thermosim.analysis.comparison import judge
from thermosim.analysis.settings import settings
from thermosim.checks import driven as analysis
from thermosim.exact import driven
from thermosim.kernels.evaluate import Evaluator
from thermosim.plots.driven import figure as driven_picture

CASES = Path(__file__).parent.parent / "cases" / "driven"


def _run(name: str, overrides: dict[str, Any] | None = None) -> xr.Dataset:
    return thermosim.simulate(thermosim.load_case(CASES / f"{name}.toml", overrides), threads=1)


@pytest.mark.parametrize("path", sorted(CASES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_case_agrees_with_theory(path: Path) -> None:
    """As shipped but with fewer replicas: nothing that is exactly known is missed."""
    ds = _run(path.stem, {"ensemble.replicas": 2048})
    comparisons = thermosim.check(ds).comparisons
    assert judge(comparisons).consistent, [(c.quantity, c.z) for c in comparisons]
    assert len(comparisons) >= 6


@pytest.mark.parametrize("model", ["harmonic-trap", "rotational-trap", "two-beads"])
@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_sampled_chains_tau_and_direction(model: str, direction: str) -> None:
    """Two chains per replica, tau = 3, either direction: the combination no case has."""
    name = {"harmonic-trap": "dragged_trap_large_step", "rotational-trap": "rotational_trap", "two-beads": "two_beads"}
    changes = {"x.samples": 2, "x.tau": 3, "x.time_step": 0.1, "run.direction": direction, "ensemble.replicas": 2048}
    ds = _run(name[model], {**changes, "run.steps": 30, "record.every": 1})
    comparisons = analysis.check(ds)
    assert judge(comparisons).consistent, [(c.quantity, c.z) for c in comparisons]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("two_beads", {"sweep": {"x.temperature": {"values": [[2.0, 1.0], [1.0, 3.0]]}}}),
        ("dragged_trap", {"x.temperature": {"kind": "linear", "initial": 1.0, "final": 2.0}}),
        ("dragged_trap", {"x.time_step": {"kind": "linear", "initial": 0.01, "final": 0.05}}),
        ("rotational_trap", {"x.time_step": {"kind": "linear", "initial": 0.01, "final": 0.05}}),
        ("rotational_trap", {"model.dimension": 4, "x.initial": "zero"}),
        ("dragged_trap", {"record.first": 100, "record.every": 200}),
    ],
)
def test_schedules_sweeps_and_starts(name: str, changes: dict[str, Any]) -> None:
    """Schedules of the bath and of the time step, lists along an axis, a start from a point, a late first frame."""
    comparisons = analysis.check(_run(name, {"ensemble.replicas": 1024, **changes}))
    assert judge(comparisons).consistent, [(c.quantity, c.z) for c in comparisons]


def test_jarzynski_and_crooks() -> None:
    """dF of a turning, stretching, moving trap from one ensemble, and from a pair; the line has slope 1."""
    forward, backward = _run("dragged_trap_forward"), _run("dragged_trap_reversed")
    exact = driven.free_energy_difference(analysis.linear_protocol(settings(forward)).stiffness, 0.8)
    value = work.jarzynski(forward)
    assert bool(value["reliable"].all())
    estimate, error = value["free_energy_difference"][1:], value["free_energy_difference_error"][1:]
    assert_within(estimate, error, exact[1:], catches="sign of the work, theta read one step late")
    assert_within(estimate[-1], error[-1], exact[-1], catches="sign of the work", mistake=2.0 * abs(exact[-1]))
    pair = work.crooks(forward, backward)
    for name, expected, mistake in (("free_energy_difference", exact[-1], None), ("slope", 1.0, 0.25)):
        catches = f"{name}: order of moves in the reversed run, T in the exponent"
        assert_within(pair[name], pair[f"{name}_error"], expected, catches=catches, mistake=mistake)


def test_fluctuation_theorem_at_a_large_time_step() -> None:
    """With the ratio of the move really made the theorem is exact; the work alone is off by the exact bias."""
    ds = _run("dragged_trap_large_step")
    for end in ("state", "equilibrium"):
        result = analysis.fluctuation_theorem(ds, end)
        average, error = result["average"][1:], result["average_error"][1:]
        assert_within(average, error, 1.0, catches="log ratio of another move, densities at the wrong theta")
    cell = analysis.exact_results(ds)[0]
    expected = np.exp(cell.moments.log_average[-1])
    naive = np.exp(-driven.free_energy_difference(cell.protocol.stiffness, 1.0)[-1])
    mean, error = mean_and_error(np.exp(-ds["work"].values[-1]))
    assert_within(mean, error, expected, catches="Jarzynski taken as exact for ula", mistake=abs(naive - expected))


def test_rotational_trap_rate_does_not_depend_on_temperature() -> None:
    """2 eps^2/(k - h (k^2 + eps^2)/2) at each of five temperatures, and 2 eps^2/k to first order in h."""
    ds = _run("rotational_trap_sweep")
    result = work.entropy_production(ds, first=30)
    rate, error = result["entropy_production_rate"], result["entropy_production_rate_error"]
    exact = driven.rotational_trap_rate(1.3, 0.9, 2, 0.05)
    assert_within(rate, error, exact, catches="a factor 2, drive counted twice", mistake=0.5 * exact)
    small = _run(
        "rotational_trap_sweep", {"x.time_step": 0.002, "x.tau": 50, "run.steps": 20, "run.direction": "reversed"}
    )
    result = work.entropy_production(small)
    pooled = float(result["entropy_production_rate"].mean())
    spread = float(np.sqrt((result["entropy_production_rate_error"] ** 2).mean() / 5.0))
    limit = float(driven.rotational_trap_rate(1.3, 0.9))
    assert_within(pooled, spread, limit, catches="2 eps^2/k: a factor 2", mistake=0.5 * limit)


@pytest.mark.parametrize(
    ("name", "values", "theta"),
    [
        ("harmonic-trap", {"dimension": 2}, [0.3, -0.8, 1.6, 0.7, 0.7, 0.9]),
        ("two-beads", {"stiffness": 1.3, "coupling": 0.6}, []),
        ("rotational-trap", {"dimension": 4, "stiffness": 1.3, "rotation": 0.9}, []),
    ],
)
def test_forces_are_minus_the_slopes_of_the_energies(name: str, values: dict[str, Any], theta: list[float]) -> None:
    """And the energies those of their equations: exact for quadratic ones, by differences of any length."""
    evaluator = Evaluator(thermosim.MODELS[name], values)
    x, rows = np.random.default_rng(0).standard_normal((9, evaluator.components)), np.tile(theta, (9, 1))
    for i in range(evaluator.components):
        side = 0.5 * np.eye(evaluator.components)[i]
        slope = evaluator.surprisal(x + side, rows) - evaluator.surprisal(x - side, rows)
        np.testing.assert_allclose(evaluator.force(x, rows)[:, i], -slope, atol=1e-12)
    stiffness, center = 1.3 * np.eye(evaluator.components), np.zeros(evaluator.components)
    if name == "two-beads":
        stiffness = np.array([[1.9, -0.6], [-0.6, 1.9]])
    elif theta:
        stiffness, center = np.reshape(theta[2:], (2, 2)), np.array(theta[:2])
    energy = 0.5 * np.einsum("ri,ij,rj->r", x - center, stiffness, x - center)
    np.testing.assert_allclose(evaluator.surprisal(x, rows), energy, rtol=1e-12)


def test_the_rotational_trap_starts_at_its_temperature() -> None:
    """Variance T/k at step 0."""
    ds = _run("rotational_trap", {"x.temperature": 0.3, "model.stiffness": 2.0, "run.steps": 1, "record.every": 1})
    squares = ds["x"].values[0].reshape(-1) ** 2
    assert_within(*mean_and_error(squares), 0.15, catches="T, or k for its root", mistake=0.05)


def test_two_beads_rate_and_currents() -> None:
    """Entropy production c^2 (T_1 - T_2)^2/(2 (k + c) T_1 T_2) within O(h), and the heat from each bath."""
    ds = _run("two_beads", {"x.time_step": 0.005, "x.tau": 20})
    result, currents = work.entropy_production(ds, first=20), work.heat_currents(ds, first=20)
    exact = float(driven.two_bead_rate(1.0, 1.5, 2.5, 1.0))
    value, error = result["entropy_production_rate"], result["entropy_production_rate_error"]
    assert_within(value, error, exact, catches="temperature of the other bead", mistake=0.5 * exact)
    current = float(driven.two_bead_current(1.0, 1.5, 2.5, 1.0))
    value, error = currents["heat_current"], currents["heat_current_error"]
    assert_within(value, error, [current, -current], catches="sign of the heat", mistake=current)


@pytest.mark.parametrize("dynamics", ["ula", "exact-ou"])
def test_weak_order(dynamics: str) -> None:
    """Stationary variance (T/k)/(1 - h k/2) of ula, T/k of exact-ou: first order with this coefficient, and none."""
    k = 1.5
    changes = {"x.dynamics": dynamics, "theta.protocol.center": [0.0], "run.steps": 25, "x.tau": 4, "x.samples": 4}
    for h in (0.2, 0.4, 0.8):
        ds = _run("dragged_trap", {**changes, "x.time_step": h, "record.first": 25})
        mean, error = mean_and_error((ds["x"].values[-1] ** 2).reshape(8192, -1).mean(axis=-1))
        bias = 1.0 / (1.0 - 0.5 * h * k) if dynamics == "ula" else 1.0
        wrong = 1.0 / k if dynamics == "ula" else 1.0 / (k * (1.0 - 0.5 * h * k))
        assert_within(mean, error, bias / k, catches="the bias of the other move", mistake=abs(wrong - bias / k))


def test_refused_cases() -> None:
    """Traps that do not hold x, and steps that do not converge, are named before anything runs."""
    refused = [
        ("dragged_trap", {"theta.protocol.stiffness": [[-1.0]]}, "positive definite"),
        ("dragged_trap", {"x.time_step": 1.5}, "unstable"),
        ("dragged_trap_forward", {"theta.protocol.stiffness": [[1.0, 0.5], [0.4, 1.0]]}, "not symmetric"),
        ("rotational_trap", {"model.dimension": 3}, "even"),
        ("rotational_trap", {"x.time_step": 1.2}, "unstable"),
        ("rotational_trap", {"x.temperature": [1.0, 2.0]}, "one temperature"),
        ("two_beads", {"x.time_step": 0.6}, "unstable"),
    ]
    for name, overrides, words in refused:
        with pytest.raises(thermosim.CaseError, match=words):
            thermosim.load_case(CASES / f"{name}.toml", overrides)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dragged_trap", {}),
        ("dragged_trap", {"sweep": {"x.temperature": {"values": [0.5, 1.0]}, "x.time_step": {"values": [0.01, 0.02]}}}),
        ("rotational_trap", {}),
        ("rotational_trap", {"x.time_step": {"kind": "linear", "initial": 0.01, "final": 0.05}}),
        ("rotational_trap_sweep", {}),
        ("two_beads", {}),
        ("two_beads", {"sweep": {"model.coupling": {"values": [0.5, 1.0, 1.5]}}}),
        ("two_beads", {"sweep": {"x.temperature": {"values": [[2.0, 1.0], [1.0, 3.0]]}}, "x.samples": 2}),
    ],
)
def test_figures(name: str, changes: dict[str, Any]) -> None:
    """Every kind of figure draws four panels with something in each, and a map over two axes."""
    small = {"ensemble.replicas": 64, "run.steps": 20, "record.every": 2}
    ds = _run(name, small | changes)
    figure = driven_picture(ds)
    assert len(figure.axes) == 4 + (len(changes.get("sweep", {})) == 2)
    assert all(panel.lines for panel in figure.axes[:4])
    figure.canvas.draw()
    assert judge(analysis.check(ds)).tests > 0
