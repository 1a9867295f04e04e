"""Starts of x and theta: which a model can take, the laws they have, warm-ups, the state of another run."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.learning_cases import GAUSSIAN
from tests.test_diverged import MODELS
from tests.test_false_alarms import said_to_be
from thermosim.analysis import learning
from thermosim.case.faults import CaseError
from thermosim.case.start import NAMES, Start, listed, possible_starts
from thermosim.case.x import XSection
from thermosim.checks.driven import start_state
from thermosim.checks.driven_theory import linear_protocol
from thermosim.cli.commands import app
from thermosim.data.sources import theta_of
from thermosim.exact.linear_langevin import Gaussian, after, transition
from thermosim.kernels.evaluate import Evaluator
from thermosim.moves import X_MOVES
from thermosim.run.execution import Interrupted
from thermosim.storage import StorageError, parts_folder

CENTER, STIFFNESS, STEP, HEAT = [0.5, -1.0], [[2.0, 0.5], [0.5, 1.0]], 0.3, 0.7
TRAP = f"""
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
center = {CENTER}
stiffness = {STIFFNESS}
[x]
dynamics = "ula"
time_step = {STEP}
temperature = {HEAT}
initial = "equilibrium"
[ensemble]
replicas = 20000
seed = 3
[run]
steps = 6
"""
WELL = """
[model]
name = "double-well"
[x]
dynamics = "mala"
time_step = 0.05
initial = { warm_up = 600, from = [2.0] }
[ensemble]
replicas = 4000
[run]
steps = 1
"""
SPINS = """
[model]
name = "boltzmann-machine"
dimension = 3
[theta]
initial = { bias = [0.5, -0.3, 0.2], coupling = [0.9, -0.6, 0.7] }
[x]
dynamics = "gibbs"
initial = { warm_up = 30, from = "random" }
[ensemble]
replicas = 4000
[run]
steps = 1
"""
POINT = [3.0, 2.0]
FROM = {"x.initial": {"from": "other.h5"}, "ensemble.seed": 8}


def run(text, changes=None, **how):
    return thermosim.simulate(thermosim.load_case(text, changes), **how)


def first(ds):
    return np.asarray(ds.x.isel(step=0).transpose(..., "x_dim", "replica").values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    bits = np.random.default_rng(0).integers(0, 2, (40, 3))
    np.save(folder / "bits.npy", bits)
    np.save(folder / "spins.npy", 2.0 * bits - 1.0)
    return folder


def case_of(model, move, folder, changes):
    """A short case of a model with this move of x."""
    text = MODELS[model.name][0].replace("bits.npy", "spins.npy" if model.levels[0] < 0 else "bits.npy")
    if "time_step" not in move.hyper:
        text = re.sub("time_step = .*", "", text)
    few = {"x.dynamics": move.name, "run.steps": 2, "record.every": 1, "ensemble.replicas": 3}
    return thermosim.load_case(text, few | changes, folder)


@pytest.mark.parametrize("name", [name for name, model in thermosim.MODELS.items() if model.has_samples])
def test_every_start_that_a_message_names_is_taken_and_runs(name, folder, monkeypatch):
    """All moves and all starts of all models: what is refused names what is accepted, and that starts as it says."""
    model, some = thermosim.MODELS[name], "random" if thermosim.MODELS[name].discrete else "normal"
    moves = [move for move in X_MOVES.values() if move.lacks(model) is None]
    thermosim.simulate(case_of(model, moves[0], folder, {"x.initial": some}), folder / "other.h5", overwrite=True)
    runs = None
    for move in moves:
        taken = possible_starts(model, case_of(model, move, folder, {"x.initial": some}).settings)
        assert {"from": "other.h5"} in taken
        for start in [
            *NAMES,
            0.3,
            "nothing",
            {"warm_up": 5},
            {"from": "none.h5"},
            {"from": 1.0, "mean": 2.0},
            [],
            True,
        ]:
            try:
                case_of(model, move, folder, {"x.initial": start})
            except CaseError as refusal:
                what = str(refusal)
                known = listed(taken) in what or "from = 'other.h5'" in what or "remove it" in what
                assert known or "`thermosim run`" in what
            else:
                assert start in [*taken, 0.3]
        for start in taken:
            written = tomllib.loads(f"start = {listed([start]).removeprefix('a point such as ')}")["start"]
            few = {**written, "warm_up": 3} if isinstance(written, dict) and "warm_up" in written else written
            case_of(model, move, folder, {"x.initial": few, "ensemble.seed": 8})
        if runs is None:
            small = [{**start, "warm_up": 3} if start is taken[-2] else start for start in taken]
            sweep = {"sweep": {"x.initial": {"values": small}}, "ensemble.seed": 8}
            runs = thermosim.simulate(case_of(model, move, folder, {"x.initial": some, **sweep}))
            assert np.isfinite(runs.phi).all()
            at = {str(start): runs.x.isel(initial=i, step=0) for i, start in enumerate(small)}
            assert np.all(at[str(small[-3])] == small[-3])
            with thermosim.open_ensemble(folder / "other.h5") as other:
                assert np.array_equal(at[str({"from": "other.h5"})], other.x.isel(step=-1))


def test_points_and_normal_laws():
    assert np.all(first(run(TRAP, {"x.initial": [1.0, -2.0], "ensemble.replicas": 5})) == [[1.0], [-2.0]])
    law = {"from": "normal", "mean": [1.0, -2.0], "deviation": [0.5, 2.0]}
    x = first(run(TRAP, {"x.initial": law}))
    assert_within(*mean_and_error(x), [1.0, -2.0], catches="the mean left out", mistake=1.0)
    squares = mean_and_error((x - [[1.0], [-2.0]]) ** 2)
    assert_within(*squares, [0.25, 4.0], catches="variance for deviation", mistake=[0.25, 2.0])
    standard = first(run(TRAP, {"x.initial": "normal"}))
    assert np.array_equal(x, [[1.0], [-2.0]] + np.array([[0.5], [2.0]]) * standard)


def test_theorems_of_a_start_from_a_normal_law():
    """<exp(-sigma)> = 1 with ln p_0 of this mean and width; of a standard normal it is far from it."""
    law = {"from": "normal", "mean": [1.0, -0.3], "deviation": 0.5}
    few = {"x.initial": law, "x.tau": 1, "run.steps": 4, "record.every": 1, "theta.learning_rate": 0.05, "seed": None}
    ds = run(GAUSSIAN, {key: value for key, value in few.items() if value is not None})
    found = learning.fluctuation_theorems(ds).sel(theorem="path-ratio").isel(step=-1)
    assert bool(found.exact)
    assert_within(found.average, found.average_error, 1.0, catches="the density of another start", mistake=0.3)
    wrong = said_to_be(ds, {"x.initial": {**law, "deviation": 1.0}})
    there = learning.fluctuation_theorems(wrong).sel(theorem="path-ratio").isel(step=-1)
    assert abs(there.average - 1.0) > 8.0 * there.average_error


def test_which_starts_are_in_equilibrium():
    """Those drawn so, as far as a warm-up keeps the law, and any that a fresh move follows."""
    exact, warm = "equilibrium", {"from": "equilibrium", "warm_up": 5}
    for dynamics, initial, known in (
        ("ula", exact, True),
        ("ula", warm, False),
        ("mala", warm, True),
        ("mala", {"from": "zero", "warm_up": 5}, False),
        ("exact", {"from": "zero", "warm_up": 1}, True),
        ("exact", "zero", False),
        ("mala", {"from": "other.h5"}, False),
    ):
        assert XSection(dynamics=dynamics, initial=initial).starts_in_equilibrium == known


def moved(law, moves, heat=HEAT, step=STEP):
    """A normal law after so many moves, one by one."""
    case = thermosim.load_case(TRAP, {"x.temperature": heat, "x.time_step": step})
    protocol = linear_protocol(case.settings)
    move = transition(protocol.force(0), "ula", *protocol.bath(0))
    for _ in range(moves):
        law = after(law, move)
    return law


def assert_law(x, law, other):
    """Mean and second moments of x (n, R), which must be far from those of another law."""
    centered = x - law.mean[:, None]
    products = centered[[0, 0, 1]] * centered[[0, 1, 1]]
    i, j = np.array([0, 0, 1]), np.array([0, 1, 1])
    gap = np.abs(other.covariance + np.outer(other.mean - law.mean, other.mean - law.mean) - law.covariance)[i, j]
    mean, error = mean_and_error(products)
    assert_within(mean, error, law.covariance[i, j], catches="another law of x")
    assert np.max(gap / error) > 8.0, "no power"
    assert_within(*mean_and_error(x), law.mean, catches="another mean of x")


def test_a_warm_up_comes_to_equilibrium_and_a_short_one_does_not():
    """At a time step of 0.3 the chain's own stationary law is 30 % wider than exp(-phi/T)."""
    zero = Gaussian(np.zeros(2), np.zeros((2, 2)))
    for moves, other in ((200, start_state(linear_protocol(thermosim.load_case(TRAP).settings), "equilibrium")),
                         (3, moved(zero, 200))):  # fmt: skip
        x = first(run(TRAP, {"x.initial": {"from": "zero", "warm_up": moves}}))
        law = moved(zero, moves)
        assert_law(x, law, other)
        said = start_state(linear_protocol(thermosim.load_case(TRAP).settings), {"from": "zero", "warm_up": moves})
        np.testing.assert_allclose(said.covariance, law.covariance, rtol=1e-12)
        np.testing.assert_allclose(said.mean, law.mean, rtol=1e-12)


def test_a_warm_up_is_at_theta_time_step_and_temperature_of_step_0():
    """Of a reversed run these are the last of the schedules."""
    ramp = {key: {"kind": "linear", "initial": a, "final": b} for key, a, b in (("h", 0.1, 0.3), ("T", 0.7, 2.0))}
    drag = {"kind": "linear", "initial": [0.5, -1.0], "final": [3.0, 1.0]}
    start = {"from": "zero", "warm_up": 150}
    for direction, heat, step, center in (("forward", 0.7, 0.1, CENTER), ("reversed", 2.0, 0.3, [3.0, 1.0])):
        changes = {"x.time_step": ramp["h"], "x.temperature": ramp["T"], "theta.protocol.center": drag}
        ds = run(TRAP, {**changes, "x.initial": start, "run.direction": direction, "record.every": 1})
        law = moved(Gaussian(np.zeros(2), np.zeros((2, 2))), 150, heat, step)
        law = Gaussian(np.asarray(center), law.covariance)
        assert_law(first(ds), law, Gaussian(law.mean, 0.8 * law.covariance))
        report = thermosim.check(ds)
        assert report.consistent
        assert len(report.comparisons) > 5


def test_check_knows_a_warm_up_of_linear_moves():
    ds = run(TRAP, {"x.initial": {"from": "zero", "warm_up": 2}, "record.every": 1})
    assert thermosim.check(ds).consistent
    assert not thermosim.check(said_to_be(ds, {"x.initial": {"from": "zero", "warm_up": 3}})).consistent


def test_warm_ups_of_other_moves_and_models():
    """mala in a double well, Gibbs sampling of spins: averages of exp(-phi) over all x; a short one is far off."""
    for text, short in ((WELL, {"from": [2.0], "warm_up": 3}), (SPINS, {"from": [1.0] * 3, "warm_up": 1})):
        case = thermosim.load_case(text)
        constants = case.settings.model.constants
        points, log_weights = case.model.support(constants)
        ds = thermosim.simulate(case)
        theta = theta_of(case.model, constants, case.settings.theta.initial or {})
        phi = Evaluator(case.model, constants).surprisals(points, theta[None])[0]
        weights = np.exp(log_weights - phi)
        exact = (weights[:, None] * points).sum(axis=0) / weights.sum()
        second = (weights * points[:, 0] * points[:, -1]).sum() / weights.sum()
        x = first(ds)
        assert_within(*mean_and_error(x), exact, catches="no equilibrium")
        assert_within(*mean_and_error(x[0] * x[-1]), second, catches="no equilibrium")
        early, error = mean_and_error(first(run(text, {"x.initial": short})))
        assert np.max(np.abs(early - exact) / error) > 8.0


def test_noise_of_a_warm_up_is_no_noise_of_the_run():
    start = {"from": "zero", "warm_up": 1}
    ds = run(TRAP, {"x.initial": start, "record.every": 1, "run.steps": 2})
    plain = run(TRAP, {"x.initial": "zero", "record.every": 1, "run.steps": 1})
    before, after_one = first(ds)[0], np.asarray(plain.x.isel(step=1, x_dim=0).values)
    correlation = np.corrcoef(before, after_one)[0, 1]
    assert abs(correlation) < 4.0 / np.sqrt(before.size)


def test_warm_ups_do_not_depend_on_cuts_and_can_be_interrupted(tmp_path):
    case = thermosim.load_case(TRAP, {"x.initial": {"from": "normal", "warm_up": 500}, "ensemble.replicas": 2100})
    whole, path = thermosim.simulate(case), tmp_path / "out.h5"
    for how in ({"threads": 2, "tile_width": 32}, {"lanes_at_once": 1000, "segment_frames": 2}):
        thermosim.simulate(case, path, overwrite=True, **how).close()
        assert np.array_equal(thermosim.open_ensemble(path).x, whole.x)

    said = []

    def report(progress):
        said.append(progress.what)
        raise KeyboardInterrupt

    long = thermosim.load_case(TRAP, {"x.initial": {"from": "normal", "warm_up": 200_000}, "ensemble.replicas": 2100})
    with pytest.raises(Interrupted):
        thermosim.simulate(long, path, overwrite=True, report=report)
    assert re.fullmatch(r"warm-up: [\d,]+ of 200,000 moves", said[0])
    shutil.rmtree(parts_folder(path))
    path.unlink(missing_ok=True)
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=report)
    assert np.array_equal(thermosim.resume(path).x, whole.x)


@pytest.fixture(scope="module")
def other(folder):
    run(TRAP, {"x.initial": POINT, "record.every": 3}, output=folder / "other.h5", overwrite=True).close()
    return folder / "other.h5"


@pytest.fixture(scope="module")
def law():
    """Of x in the last state of the other run."""
    return moved(Gaussian(np.array(POINT), np.zeros((2, 2))), 6)


def load(changes, other, text=TRAP):
    return thermosim.load_case(text, FROM | changes, other.parent)


def test_a_run_goes_on_from_another_at_another_temperature(other, law):
    """The exact law of a protocol that jumps: 6 moves at one bath, 6 at the next."""
    then = moved(law, 6, heat=1.6, step=0.1)
    ds = thermosim.simulate(load({"x.temperature": 1.6, "x.time_step": 0.1}, other))
    with thermosim.open_ensemble(other) as before:
        assert np.array_equal(before.x.isel(step=-1), ds.x.isel(step=0))
        middle = thermosim.simulate(load({"x.initial.step": 3, "ensemble.replicas": 7}, other))
        assert np.array_equal(before.x.sel(step=3, replica=range(7)), middle.x.isel(step=0))
    assert_law(np.asarray(ds.x.isel(step=-1).values).T, then, moved(law, 6, step=0.1))
    report = thermosim.check(ds)
    assert [row.quantity for row in report.comparisons] == ["largest first-law residual"]
    assert "another run" in report.notes[0]
    with pytest.raises(ValueError, match="drawn from a density"):
        thermosim.checks.driven.fluctuation_theorem(ds)


def test_a_warm_up_after_another_run(other, law):
    warm = thermosim.simulate(load({"x.initial.warm_up": 6, "x.temperature": 1.6, "x.time_step": 0.1}, other))
    assert_law(first(warm), moved(law, 6, heat=1.6, step=0.1), moved(law, 6, step=0.1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ensemble.seed": 3}, "that of other.h5.*such as 1"),
        ({"ensemble.replicas": 20001}, "20000 replicas.*at most"),
        ({"x.samples": 2}, "1 samples.*x.samples = 2"),
        ({"x.initial.step": 4}, "no x at step 4: recorded are steps 0"),
        ({"x.initial.step": -1}, "expected a recorded step"),
        ({"x.initial.survivors": 1}, "true or false"),
        ({"x.initial.deviation": 1.0}, "only used with from = .normal"),
        ({"x.initial.until": 1.0}, "unknown key"),
        ({"theta.protocol": {}, "model.dimension": 3}, "2 components, that of this model 3"),
    ],
)
def test_refusals_of_another_run(other, changes, words):
    with pytest.raises(CaseError, match=words):
        load(changes, other)


def test_a_file_that_is_no_complete_run(tmp_path, folder):
    (tmp_path / "other.h5").write_bytes(b"nothing")
    with pytest.raises(CaseError, match="no complete ensemble"):
        load({}, tmp_path / "other.h5")
    (tmp_path / "other.h5").unlink()
    (tmp_path / "other.h5.parts").mkdir()
    with pytest.raises(CaseError, match="thermosim resume"):
        load({}, tmp_path / "other.h5")


def interrupt(case, path):
    def report(progress):
        if progress.done >= 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=report, segment_frames=1)


@pytest.mark.parametrize("name", ["other.h5", "../other.h5", "absolute"])
def test_going_on_needs_no_other_file(other, tmp_path, name):
    """Resumed, extended and analysed though the other file is gone; and the seeds of all runs before are known."""
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    shutil.copy(other, place := (home / ("other.h5" if name == "absolute" else name)).resolve())
    changes = {"x.initial.from": str(place) if name == "absolute" else name, "ensemble.replicas": 1500}
    changes |= {"record.every": 5}
    case = load({**changes, "run.steps": 40}, home / "x")
    whole = thermosim.simulate(case)
    longer = thermosim.simulate(load({**changes, "run.steps": 45}, home / "x"))
    interrupt(case, path := tmp_path / "out.h5")
    if not parts_folder(path).exists():  # too quick to be interrupted with something sealed
        pytest.fail("the run was complete")
    shutil.rmtree(tmp_path / "a")
    with thermosim.resume(path) as resumed:
        assert np.array_equal(resumed.x, whole.x)
        assert thermosim.check(resumed).consistent
    with thermosim.extend(path, 5) as extended:
        assert np.array_equal(extended.x, longer.x)
    again = {"x.initial.from": "out.h5", "ensemble.replicas": 10}
    with pytest.raises(CaseError, match=r"ensemble.seed = 3: .*or of a run that it started from.*such as 1"):
        load({**again, "ensemble.seed": 3}, path)
    load({**again, "ensemble.seed": 9}, path)


def test_what_a_run_starts_from_is_never_replaced(other):
    before = other.read_bytes()
    with pytest.raises(StorageError, match="the case reads"):
        thermosim.simulate(load({}, other), other, overwrite=True)
    assert other.read_bytes() == before


def test_sweeps_are_matched_by_their_keys(folder):
    few = {"ensemble.replicas": 6, "sweep": {"x.temperature": {"values": [0.5, 2.0]}, "x.tau": {"values": [1, 3]}}}
    path = folder / "swept.h5"
    run(TRAP, few, output=path, overwrite=True).close()
    start = {"x.initial": {"from": "swept.h5"}, "ensemble.seed": 9, "ensemble.replicas": 4}
    source = thermosim.open_ensemble(path).load()
    both = {"x.tau": {"values": [3, 1]}, "x.temperature": {"values": [2.0, 0.5]}, "x.time_step": {"values": [0.1, 0.2]}}
    ds = thermosim.simulate(load({**start, "sweep": both}, path))
    for tau in (1, 3):
        for heat in (0.5, 2.0):
            here = ds.sel(tau=tau, temperature=heat).isel(step=0, time_step=1)
            there = source.sel(tau=tau, temperature=heat, replica=range(4)).isel(step=-1)
            assert np.array_equal(here.x, there.x)
    one = thermosim.simulate(load({**start, "x.tau": 3, "x.temperature": 2.0}, path))
    assert np.array_equal(one.x.isel(step=0), source.x.isel(step=-1).sel(tau=3, temperature=2.0, replica=range(4)))
    with pytest.raises(CaseError, match=r"swept over x.temperature, and 0.7 is none of its values: 0.5, 2.0"):
        load({**start, "x.tau": 3}, path)


def test_theta_and_x_of_one_file_are_one_joint_sample(folder, other):
    few = {"ensemble.replicas": 30, "theta.learning_rate": 0.1}
    run(GAUSSIAN, few, output=folder / "learned.h5", overwrite=True).close()
    both = {"x.initial": {"from": "learned.h5"}, "theta.initial": {"from": "learned.h5"}, "ensemble.seed": 9}
    both |= {"theta.learning_rate": 0.02}
    text = GAUSSIAN.replace(
        "initial = { mean = [1.0, -0.5], log_precision = [0.4, 1.1] }\nspread = { mean = 0.3 }\n", ""
    )
    ds = thermosim.simulate(thermosim.load_case(text, {**few, **both}, folder), folder / "longer.h5", overwrite=True)
    with thermosim.open_ensemble(folder / "learned.h5") as before:
        for name in ("theta", "x"):
            assert np.array_equal(before[name].isel(step=-1), ds[name].isel(step=0))
    report = thermosim.check(ds)
    assert report.consistent
    assert any("theta starts from another run" in note for note in report.notes)
    for changes, words in (
        ({"theta.spread": 0.1}, "theta.spread"),
        ({"theta.initial.step": 4}, "one step"),
        ({"theta.initial": {"from": "other.h5"}}, "theta is that of model 'harmonic-trap'"),
        ({"theta.initial.mean": 1.0}, "unknown key"),
    ):
        with pytest.raises(CaseError, match=words):
            thermosim.load_case(text, {**few, **both, **changes}, folder)


def test_replicas_that_diverged_are_refused_or_left_out_by_name(folder):
    text = TRAP.replace('initial = "equilibrium"', "initial = 0.0").replace("replicas = 20000", "replicas = 40")
    case = thermosim.load_case(text, {"x.temperature": 4e149, "x.time_step": 0.05, "record.every": 1})
    ds = thermosim.simulate(case, folder / "bad.h5", overwrite=True)
    good = np.flatnonzero(ds.status.values == 0)
    assert 1 < len(good) < 39
    start = {"x.initial": {"from": "bad.h5"}, "x.time_step": 0.05}
    with pytest.raises(CaseError, match=r"of its first 40 replicas diverged.*survivors = true"):
        load({**start, "ensemble.replicas": 40}, folder / "bad.h5")
    survivors = {**start, "x.initial.survivors": True}
    with pytest.raises(CaseError, match=f"{len(good)} replicas that did not diverge"):
        load({**survivors, "ensemble.replicas": len(good) + 1}, folder / "bad.h5")
    rest = thermosim.simulate(load({**survivors, "ensemble.replicas": len(good)}, folder / "bad.h5"))
    assert np.array_equal(rest.x.isel(step=0), ds.x.isel(step=-1, replica=good))


def test_starts_are_listed_and_said(capsys):
    with pytest.raises(SystemExit):
        app(["models", "two-beads"])
    assert "x starts from: 'equilibrium', 'zero', 'normal', a point such as 1.0" in capsys.readouterr().out
    assert str(Start.of({"from": "a.h5", "warm_up": 20})) == "a warm-up of 20 moves from a frame of a.h5"


def test_what_the_page_shows_is_taken(other):
    """Every start of docs/starts.md, by a trap of two components."""
    shown = re.findall("^initial = .*", (Path(__file__).parent.parent / "docs" / "starts.md").read_text(), re.MULTILINE)
    taken = [tomllib.loads(line)["initial"] for line in shown]
    assert len(taken) == 8
    for start in taken:
        few = {**start, "step": 3} if isinstance(start, dict) and "step" in start else start
        load({"x.initial": few}, other)
