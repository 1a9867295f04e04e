"""Combinations that are easy to get wrong: sweeps over moves, reversed schedules, starts, diverging ledgers."""

import shutil

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.case.faults import CaseError
from thermosim.checks import driven
from thermosim.run.execution import Interrupted
from thermosim.storage import parts_folder

TRAP = """
[model]
name = "harmonic-trap"
[theta]
dynamics = "protocol"
[x]
dynamics = "ula"
time_step = 0.1
[ensemble]
replicas = 8000
seed = 3
[run]
steps = 20
"""


def run(text, overrides=None, **options):
    return thermosim.simulate(thermosim.load_case(text, overrides), **options)


def variance_error(x):
    return x.var() * np.sqrt(2.0 / x.size)


def test_every_point_of_a_sweep_over_moves_has_its_own_time_step_and_temperature():
    """Were the propagator that of the first lane, the last variance would be 0.18 or the temperature 1."""
    sweep = {
        "x.dynamics": {"values": ["ula", "exact-ou"]},
        "x.time_step": {"values": [0.1, 0.5]},
        "x.temperature": {"values": [1.0, 4.0]},
    }
    ds = run(TRAP, {"sweep": sweep, "x.initial": "zero", "run.steps": 1})
    for h in (0.1, 0.5):
        for t in (1.0, 4.0):
            for move, exact in (("ula", 2 * h * t), ("exact-ou", t * (1 - np.exp(-2 * h)))):
                x = ds.x.sel(dynamics=move, time_step=h, temperature=t, step=1).values.ravel()
                assert_within(
                    x.var(), variance_error(x), exact, catches="parameters of another lane", mistake=exact / 3
                )


@pytest.mark.parametrize("dynamics", ["ula", "exact-ou"])
def test_a_reversed_run_reverses_its_schedules(dynamics):
    """Work of dragging early, with small steps first: reversed, the small steps come last."""
    ramp = {"kind": "linear", "initial": 0.005, "final": 0.2}
    overrides = {
        "theta.protocol.center": {"kind": "linear", "initial": [0.0], "final": [2.0], "end": 20},
        "x.time_step": ramp if dynamics == "ula" else 0.1,
        "x.dynamics": dynamics,
        "run.steps": 60,
        "run.direction": "reversed",
    }
    ds = run(TRAP, overrides)
    case = thermosim.load_case(TRAP, overrides)
    exact = driven.driven.ledger(driven.linear_protocol(case.settings), driven.exact_results(ds)[0].start)
    work = ds.work.isel(step=-1).values
    error = work.std(ddof=1) / np.sqrt(work.size)
    forwards = run(TRAP, overrides | {"run.direction": "forward"}).work.isel(step=-1).mean().item()
    assert_within(work.mean(), error, exact.work[-1], catches="time steps in forward order", mistake=0.5 * forwards)
    # dragging one way and back costs the same when theta and the time steps are both reversed
    assert_within(work.mean(), 1.5 * error, forwards, sigmas=5, catches="time steps in forward order")


def test_the_equilibrium_start_is_at_the_temperature_of_step_zero():
    hot = {"kind": "linear", "initial": 1.0, "final": 3.0}
    for direction, exact in (("forward", 1.0), ("reversed", 3.0)):
        ds = run(TRAP, {"x.temperature": hot, "run.direction": direction, "run.steps": 5})
        x = ds.x.isel(step=0).values.ravel()
        assert_within(x.var(), variance_error(x), exact, catches="temperature of another step", mistake=0.4)
    with pytest.raises(CaseError, match="equilibrium start needs one above 0"):
        thermosim.load_case(TRAP, {"x.temperature": hot | {"warm_up": 3}})


def test_a_schedule_that_goes_wrong_late_is_refused():
    late = {"kind": "table", "steps": [0, 2999, 3000, 3001], "values": [1.0, 1.0, -0.5, 1.0]}
    with pytest.raises(CaseError, match=r"reaches -0.5"):
        thermosim.load_case(TRAP, {"x.temperature": late, "run.steps": 100_000})


def test_long_runs_are_validated_without_long_tables():
    """A table over every step of this run would need eight terabytes."""
    case = thermosim.load_case(TRAP, {"run.steps": 10**12})
    assert case.settings.run.steps == 10**12


WELL = """
from numpy import zeros
from helper import STRENGTH
from thermosim import Constant, Model, Observable

def energy(x, theta, constants, shared, lane):
    return 0.5 * STRENGTH * constants[STIFF, lane] * x[0, lane] ** 2

def force(i, x, theta, constants, shared, lane):
    return -STRENGTH * constants[STIFF, lane] * x[0, lane]

def potential(x, constants):
    return 0.5 * constants["stiff"] * x[..., 0] ** 2

MODEL = Model("well", "a well", "a test", constants=(Constant("stiff", 1.0, "stiffness"),), components=lambda c: 1,
    energy=energy, force=force, observables={"potential": Observable("x", potential, "kT", "energy", "k x^2/2")})
"""
WELL_CASE = """
[model]
file = "well.py"
[x]
dynamics = "ula"
time_step = 0.05
initial = "zero"
[ensemble]
replicas = 2
[run]
steps = 40
[record]
every = 4
"""


@pytest.fixture
def well(tmp_path, monkeypatch):
    """A user's model that imports another file of the user's, and its case."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "well.py").write_text(WELL.replace("from helper import STRENGTH", "STRENGTH = 1.0"))
    (home / "case.toml").write_text(WELL_CASE)
    return home / "case.toml"


def test_observables_see_the_constant_of_their_own_lane(well):
    """Two samples and two lanes: the shape that would hide a constant laid along the samples."""
    text = (
        well.read_text().replace("replicas = 2", "replicas = 1") + '[sweep]\n"model.stiff" = { values = [1.0, 4.0] }\n'
    )
    case = thermosim.load_case(text, {"x.samples": 2}, well.parent)
    ds = thermosim.simulate(case)
    assert np.allclose(ds.potential, 0.5 * ds.x[..., 0] ** 2 * ds.stiff)
    assert np.allclose(ds.potential, ds.phi)


def test_what_a_users_model_imports_is_seen(well, monkeypatch):
    (well.parent / "well.py").write_text(WELL)
    monkeypatch.syspath_prepend(str(well.parent))
    results = []
    for strength in ("1.0", "4.0"):
        (well.parent / "helper.py").write_text(f"STRENGTH = {strength}\n")
        monkeypatch.delitem(__import__("sys").modules, "helper", raising=False)
        shutil.rmtree(well.parent / "__pycache__", ignore_errors=True)
        results.append(thermosim.simulate(thermosim.load_case(well)).x.values)
    assert not np.allclose(*results)


def test_resume_needs_nothing_but_the_output(well, tmp_path, monkeypatch):
    """The model's file has changed and the folder is another: the run goes on with the model it began with."""
    case, output = thermosim.load_case(well), tmp_path / "out.h5"
    whole = thermosim.simulate(case)

    def stop(progress):
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        thermosim.simulate(case, output, report=stop, segment_frames=2)
    (well.parent / "well.py").write_text("nothing")
    monkeypatch.chdir(tmp_path)
    resumed = thermosim.resume(output)
    assert np.array_equal(resumed.x, whole.x)
    assert not parts_folder(output).exists()
    assert "STRENGTH = 1.0" in resumed.attrs["model_source"]


def test_a_ledger_that_is_not_finite_is_quarantined(well):
    """x stays finite while its energy does not: status says phi, or the ledger where phi has come back by the frame."""
    source = (well.parent / "well.py").read_text()
    (well.parent / "well.py").write_text(
        source.replace("** 2\n\ndef force", "** 2 / (1.0 if abs(x[0, lane]) < 6.0 else 0.0)\n\ndef force")
    )
    ds = thermosim.simulate(thermosim.load_case(well, {"x.temperature": 400.0}))
    assert ds.status.isin([3, 5]).all()
    assert (ds.diverged_step > 0).all()


def test_a_sweep_over_names_is_stored_and_read(tmp_path):
    path = tmp_path / "out.h5"
    overrides = {"sweep": {"x.dynamics": {"values": ["ula", "exact-ou"]}}, "ensemble.replicas": 3}
    run(TRAP, overrides, output=path).close()
    ds = thermosim.open_ensemble(path)
    assert ds.dynamics.values.tolist() == ["ula", "exact-ou"]
    assert np.array_equal(ds.x, run(TRAP, overrides).x)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sweep": {"model.name": {"values": ["harmonic-trap", "two-beads"]}}}, "cannot be an axis"),
        ({"sweep": {"x.samples": {"values": [1, 2]}}}, "shape of x, phi, work, heat, log_ratio_x depends on an axis"),
        ({"sweep": {"x.tau": {"values": [1, 2]}, "x.temperature": {"values": [1.0, -1.0]}}}, "more than 0"),
        (
            {
                "model": {"name": "isotropic-sphere"},
                "theta": {"dynamics": "sgd", "constraint": "fixed-sphere", "learning_rate": 0.1},
                "sweep": {"theta.radius": {"values": [1.0, 2.0]}},
                "record.variables": ["radius"],
            },
            "nothing would be recorded",
        ),
        ({"x.temperature": [1.0, 2.0]}, r"shape \(2,\), expected \(1,\)"),
    ],
)
def test_refused(overrides, message):
    text = TRAP if "model" not in overrides else TRAP[: TRAP.index("[x]")] + TRAP[TRAP.index("[ensemble]") :]
    with pytest.raises(CaseError, match=message):
        thermosim.load_case(text, overrides)


def test_one_temperature_given_as_a_list():
    one, many = run(TRAP, {"x.temperature": 2.0}), run(TRAP, {"x.temperature": [2.0]})
    assert np.array_equal(one.x, many.x)


def test_crooks_refuses_ensembles_that_share_their_noise():
    forward = run(TRAP, {"x.dynamics": "exact-ou", "ensemble.replicas": 50})
    backward = run(TRAP, {"x.dynamics": "exact-ou", "ensemble.replicas": 50, "run.direction": "reversed"})
    with pytest.raises(ValueError, match="share their noise"):
        thermosim.analysis.crooks(forward, backward)
