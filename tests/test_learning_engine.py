"""The learning machine through the engine: exact moments at finite steps, addresses of minibatches, moves, starts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.learning_cases import GAUSSIAN
from thermosim.analysis.machine import Machine, machines
from thermosim.exact import learning_machine as exact

PRECISION = np.exp([0.4, 1.1])


def _run(changes: dict[str, Any] | None = None, **options: Any) -> xr.Dataset:
    return thermosim.simulate(thermosim.load_case(GAUSSIAN, changes), **options)


def _exact(ds: xr.Dataset, **changes: Any) -> exact.Moments:
    machine = machines(ds)[0]
    theta, x, data = machine.settings.theta, machine.settings.x, machine.data
    batch = theta.batch
    options = {
        "steps": machine.settings.run.steps,
        "learning_rate": theta.learning_rate,
        "batch": None if batch == "all" else batch,
        "weight_decay": theta.weight_decay,
        "momentum": theta.momentum,
        "temperature": theta.temperature or 0.0,
        "x_dynamics": x.dynamics,
        "time_step": x.time_step or 0.0,
        "tau": x.tau,
    } | changes
    start = exact.Start(np.array([1.0, -0.5]), 0.3)
    return exact.moments(
        exact.LearningMachine(PRECISION, data.mean(), data.covariance(), **options), start, ds.step.values
    )


LOSSES = {"record.variables": ["theta", "loss_sum", "minibatch_loss", "gradient_square"]}
MACHINES = {
    "sgd": {},
    "exact": {"x.dynamics": "exact", "x.time_step": None, "x.tau": 1},
    "momentum": {"theta.momentum": 0.6, "theta.weight_decay": 0.1},
    "all data": {"theta.batch": "all"},
    "sgld": {"theta.dynamics": "sgld", "theta.temperature": 0.3, "theta.weight_decay": 0.2},
    "langevin": {"theta.dynamics": "langevin", "theta.temperature": 0.3, "theta.batch": None},
}


def _changes(name: str) -> dict[str, Any]:
    return dict(MACHINES[name])


@pytest.mark.parametrize("name", MACHINES)
def test_moments_are_those_of_the_linear_machine(name: str) -> None:
    """theta, x and the ledger at a learning rate and a time step that are not small, against exact recursions."""
    ds = _run(_changes(name))
    theory = _exact(ds)
    mean, error = mean_and_error(ds.theta.values[..., :2], axis=1)
    assert_within(mean[1:], error[1:], theory.theta_mean[1:], catches="sign or size of the gradient, weight decay")
    deviation = ds.theta.values[..., :2] - theory.theta_mean[:, None]
    products = deviation[..., :, None] * deviation[..., None, :]
    for frame in (1, 3):
        covariance, error = mean_and_error(products[frame], axis=0)
        assert_within(covariance, error, theory.theta_covariance[frame], catches="batch taken once or squared")
    for variable, of in (("work", "work"), ("heat", "heat"), ("log_ratio_x", "log_ratio")):
        mean, error = mean_and_error(ds[variable].values[1:])
        expected = getattr(theory, of)[1:]
        assert_within(mean, error, expected, catches="theta one step off, tau, sign", mistake=0.4 * abs(expected))
    mean, error = mean_and_error(ds.entropy_production.values[1:])
    assert_within(mean, error, theory.entropy_production[1:], catches="surprisal left out")


@pytest.mark.parametrize(
    ("what", "changes"),
    [("batch of one more", {"batch": 3}), ("tau of one more", {"tau": 3}), ("x before theta", {"x_first": True})],
)
def test_a_machine_that_differs_a_little_is_told_apart(what: str, changes: dict[str, Any]) -> None:
    """The comparison above, of x that lags far behind, has the power to see these mistakes."""
    ds = _run({"x.time_step": 0.05, "x.tau": 2, "run.steps": 8, "record.every": 2})
    theory, wrong = _exact(ds), _exact(ds, **changes)
    square = (ds.theta.values[..., 0] - theory.theta_mean[:, None, 0]) ** 2
    for mistaken in (theory, wrong):
        z = [
            _score(square[1:], mistaken.theta_covariance[1:, 0, 0]),
            _score(ds.work.values[1:], mistaken.work[1:]),
            _score(ds.heat.values[1:], mistaken.heat[1:]),
        ]
        assert (np.max(np.abs(z)) > 8.0) == (mistaken is wrong), (what, z)


def _score(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    mean, error = mean_and_error(values)
    return np.asarray((mean - expected) / error)


@pytest.mark.parametrize("dynamics", ["ula", "mala", "exact"])
def test_first_law_at_every_frame(dynamics: str) -> None:
    changes: dict[str, Any] = {"x.dynamics": dynamics, "x.samples": 2, "ensemble.replicas": 100, "theta.learn": None}
    ds = _run(changes | ({"x.time_step": None} if dynamics == "exact" else {}))
    gap = ds.phi - ds.phi[0] - ds.work - ds.heat
    assert abs(gap).max() < 1e-12 * float(abs(ds.phi).max() + abs(ds.work).max() + 10)
    if dynamics != "ula":
        assert abs(ds.shadow).max() < 1e-11
    assert (ds.accepted[-1] <= 36).all() if dynamics == "mala" else "accepted" not in ds


def test_bytes_do_not_depend_on_how_a_learning_run_is_cut() -> None:
    changes: dict[str, Any] = {"ensemble.replicas": 300, "x.dynamics": "mala", "x.samples": 2, "data.sets": 5}
    changes |= {"theta.momentum": 0.3, "theta.learn": None}
    reference = _run(changes, threads=1)
    for options in ({"threads": 2}, {"tile_width": 32}, {"segment_frames": 1, "threads": 2}):
        assert reference.equals(_run(changes, **options)), options


def test_minibatches_have_an_address() -> None:
    """theta after one step from its frame, the rows of its minibatch recomputed from their address."""
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import MINIBATCH

    ds = _run({"ensemble.replicas": 50, "record.every": 1, "data.sets": 3})
    machine = machines(ds)[0]
    data, sets = machine.data, machine.data_set()
    assert len(np.unique(sets)) == 3
    for step in (1, 2, 7):
        uniform = 1.0 - uniform_array(5, MINIBATCH, step, 0, (2, 50))
        rows = sets * data.rows + np.floor(uniform * data.rows).astype(int)
        theta = ds.theta.values[step - 1][:, :2]
        slope = PRECISION * (theta - data.values[rows].mean(axis=0))
        assert np.allclose(ds.theta.values[step][:, :2], theta - 0.15 * slope, atol=1e-13)


def test_there_and_back_meets_the_same_minibatches() -> None:
    """One step and its undoing: theta~ - theta = r (U_b(theta) - U_b(theta')) ascending, exactly -r^2 J U_b here."""
    ds = _run({"ensemble.replicas": 200, "record.every": 1, "run.direction": "there-and-back", "run.steps": 2})
    theta = ds.theta.values[..., :2]
    step = theta[1] - theta[0]  # -r U_b
    assert np.allclose(theta[2] - theta[0], 0.15 * PRECISION * step, atol=1e-13)
    longer = _run({"ensemble.replicas": 200, "record.every": 1, "run.direction": "there-and-back", "run.steps": 12})
    theta = longer.theta.values[..., :2]
    rows = (theta[5] - theta[6]) / 0.15 / PRECISION  # U_b/k = theta - b
    expected = theta[6] + 0.15 * PRECISION * (theta[6] - (theta[5] - rows))
    assert np.allclose(theta[7], expected, atol=1e-12)


def test_the_way_back_undoes_every_step_at_its_own_learning_rate() -> None:
    """A falling learning rate there and back: step N + 1 - u climbs at the rate, and by the minibatch, of step u."""
    ramp = {"kind": "linear", "initial": 0.3, "final": 0.05}
    ds = _run(
        {
            "ensemble.replicas": 20,
            "record.every": 1,
            "run.direction": "there-and-back",
            "run.steps": 8,
            "theta.learning_rate": ramp,
        }
    )
    theta, rates = ds.theta.values[..., :2], np.linspace(0.3, 0.05, 5)  # the way there ends at its last step
    for u in (4, 3, 2, 1):
        row = theta[u - 1] + (theta[u] - theta[u - 1]) / (rates[u] * PRECISION)
        back = theta[8 - u] + rates[u] * PRECISION * (theta[8 - u] - row)
        np.testing.assert_allclose(theta[9 - u], back, atol=1e-12)


def test_the_ratio_of_theta_is_that_of_its_densities() -> None:
    """langevin and sgld: ln p(theta'|theta, b) - ln p(theta|theta', b) from the normal densities themselves."""
    by_group = {"mean": 0.4, "log_precision": 0.2}
    for dynamics, temperature in (("langevin", by_group), ("sgld", by_group), ("sgld", 0.3)):
        changes: dict[str, Any] = {"theta.dynamics": dynamics, "theta.learn": None, "theta.weight_decay": 0.3}
        changes |= {"theta.temperature": temperature, "ensemble.replicas": 30}
        changes |= {"record.every": 1, "run.steps": 3, "theta.batch": None if dynamics == "langevin" else 2}
        ds = _run(changes)
        machine = machines(ds)[0]
        warmth = [0.4, 0.4, 0.2, 0.2] if temperature is by_group else [0.3] * 4
        total, variance = np.zeros(30), 2.0 * 0.15 * np.array(warmth)
        for step in range(1, 4):
            rows = _minibatch(machine, step, changes["theta.batch"])
            old, new = ds.theta.values[step - 1], ds.theta.values[step]

            def drift(theta: np.ndarray, machine: Machine = machine, rows: np.ndarray = rows) -> np.ndarray:
                gradient = machine.evaluator.data_gradient(rows, theta)[1]
                return theta - 0.15 * (gradient + 0.3 * theta)

            forward = -((new - drift(old)) ** 2) / (2.0 * variance)
            backward = -((old - drift(new)) ** 2) / (2.0 * variance)
            total = total + (forward - backward).sum(axis=1)
            assert np.allclose(ds.log_ratio_theta.values[step], total, atol=1e-10)


def _minibatch(machine: Any, step: int, batch: int | None) -> np.ndarray:
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import MINIBATCH

    if batch is None:
        return np.asarray(machine.data.values)
    replicas = machine.frames.sizes["replica"]
    uniform = 1.0 - uniform_array(5, MINIBATCH, step, 0, (batch, replicas))
    rows = np.floor(uniform * machine.data.rows).astype(int)
    return np.asarray(machine.data.values[rows.T])


def test_losses_are_those_of_the_minibatches() -> None:
    """loss_sum, the last loss and sum |g|^2, from the rows of every minibatch."""
    ds = _run({"ensemble.replicas": 30, "run.steps": 3, "record.every": 1, "theta.learn": None} | LOSSES)
    machine, total, squares = machines(ds)[0], np.zeros(30), np.zeros(30)
    for step in (1, 2, 3):
        loss, gradient = machine.evaluator.data_gradient(_minibatch(machine, step, 2), ds.theta.values[step - 1])
        total, squares = total + loss, squares + (gradient**2).sum(axis=1)
        np.testing.assert_allclose(ds.minibatch_loss[step], loss, rtol=1e-12)
        np.testing.assert_allclose(ds.loss_sum[step], total, rtol=1e-12)
        np.testing.assert_allclose(ds.gradient_square[step], squares, rtol=1e-12)


def test_a_recorded_path_prescribes_theta(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The conditional view: every replica follows the path of one, whatever its own noise."""
    path = tmp_path / "path.h5"
    first = _run({"ensemble.replicas": 4, "record.every": 1}, output=path)
    text = GAUSSIAN[: GAUSSIAN.index("[theta]")] + '[theta]\ndynamics = "protocol"\n'
    text += 'recording = { file = "path.h5", replica = 2 }\n' + GAUSSIAN[GAUSSIAN.index("[x]") :]
    text = text[: text.index("[data]")] + text[text.index("[ensemble]") :]
    follow = thermosim.simulate(thermosim.load_case(text, {"ensemble.replicas": 10, "record.every": 1}, tmp_path))
    assert np.array_equal(follow.theta.values, np.repeat(first.theta.values[:, 2:3], 10, axis=1))
    back = {"ensemble.replicas": 10, "record.every": 1, "run.direction": "reversed"}
    reverse = thermosim.simulate(thermosim.load_case(text, back, tmp_path))
    assert np.array_equal(reverse.theta.values, follow.theta.values[::-1])


def test_chains_restart_from_data() -> None:
    """With no move worth mentioning after it, a restarted chain is a data row; the ledger still closes."""
    ds = _run({"x.restart": True, "x.time_step": 1e-20, "ensemble.replicas": 400, "record.every": 1})
    rows = machines(ds)[0].data.values
    distance = np.abs(ds.x.values[1:, :, None, :] - rows).max(axis=-1).min(axis=-1)
    assert distance.max() < 1e-8
    assert abs(ds.phi - ds.phi[0] - ds.work - ds.heat).max() < 1e-11
    assert "log_ratio_x" not in ds


@pytest.mark.parametrize("start", ["zero", "normal", "data", "equilibrium"])
def test_starts(start: str) -> None:
    ds = _run({"x.initial": start, "x.samples": 2, "run.steps": 1, "record.every": 1})
    x, theta = ds.x.values[0].reshape(-1, 2), np.repeat(ds.theta.values[0], 2, axis=0)
    if start == "zero":
        assert not x.any()
        return
    rows = machines(ds)[0].data
    mean, variance = {
        "normal": (np.zeros(2), np.ones(2)),
        "data": (rows.mean(), np.diag(rows.covariance())),
        "equilibrium": (theta[:, :2], 1.0 / PRECISION),
    }[start]
    error = np.sqrt(variance / len(x))
    assert_within((x - mean).mean(axis=0), error, 0.0, catches="start at another mean")
    spread, error = mean_and_error(((x - mean) ** 2).T)
    assert_within(spread, error, variance, catches="variance and precision exchanged", mistake=0.2 * variance)


def test_starts_on_data_are_rows_of_the_own_set() -> None:
    ds = _run({"x.initial": "data", "data.sets": 5, "ensemble.replicas": 50, "run.steps": 1, "record.every": 1})
    machine = machines(ds)[0]
    for replica, number in enumerate(machine.data_set()):
        assert (ds.x.values[0, replica] == machine.data.of_set(int(number))).all(axis=1).any()


def test_groups_that_do_not_learn_rest() -> None:
    ds = _run({"ensemble.replicas": 50})
    assert np.array_equal(ds.theta.values[-1, :, 2:], np.tile([0.4, 1.1], (50, 1)))
    everything = _run({"ensemble.replicas": 50, "theta.learn": None})
    assert (everything.theta.values[-1, :, 2:] != [0.4, 1.1]).all()


def test_teacher_rows_are_samples_of_the_model() -> None:
    given = {"source": "teacher", "teacher": {"mean": [2.0, -1.0], "log_precision": [1.0, -1.0]}, "rows": 4000}
    ds = _run({"data": given, "ensemble.replicas": 2, "run.steps": 1})
    data = machines(ds)[0].data
    mean, error = mean_and_error(data.values.T)
    assert_within(mean, error, [2.0, -1.0], catches="another parameter", mistake=np.array([1.0, 1.0]))
    variance, error = mean_and_error((data.values - [2.0, -1.0]).T ** 2)
    assert_within(variance, error, np.exp([-1.0, 1.0]), catches="precision taken for variance")


def test_contrast_learns_what_likelihood_learns() -> None:
    """With exact samples the contrast is an unbiased gradient: the mean path of theta is the same."""
    changes: dict[str, Any] = {"x.dynamics": "exact", "x.time_step": None, "x.tau": 1, "x.samples": 4}
    likelihood, contrast = _run(changes), _run(changes | {"theta.gradient": "contrast"})
    mean, error = mean_and_error((contrast.theta - likelihood.theta).values[1:, :, :2], axis=1)
    assert_within(mean, error, 0.0, catches="sign or weight of the sample term")
    drift = abs(likelihood.theta.values[-1, :, :2].mean(axis=0) - [1.0, -0.5])
    assert (drift / error[-1] > 8.0).all()


def test_resume_needs_nothing_but_the_parts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A user's data file may go while the run lies interrupted."""
    import threading

    from thermosim.run.execution import Interrupted

    rows = np.random.default_rng(0).normal(size=(30, 2))
    np.save(tmp_path / "mine.npy", rows)
    text = (
        GAUSSIAN[: GAUSSIAN.index("[data]")] + '[data]\nfile = "mine.npy"\n' + GAUSSIAN[GAUSSIAN.index("[ensemble]") :]
    )
    changes = {"ensemble.replicas": 64, "run.steps": 4000, "record.every": 10}
    case = thermosim.load_case(text, changes, tmp_path)
    whole = thermosim.simulate(case)
    output = tmp_path / "out.h5"

    def stop(state: Any) -> None:
        if state.done > 64 * 500:
            import signal

            signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(Interrupted):
        thermosim.simulate(case, output, report=stop, segment_frames=5)
    (tmp_path / "mine.npy").unlink()
    resumed = thermosim.resume(output)
    assert whole.drop_attrs().equals(resumed.load().drop_attrs())
    assert json.loads(resumed.attrs["settings"])["data"]["file"] == "mine.npy"


def test_theta_learns_alike_without_samples() -> None:
    """No [x]: the same minibatches, the same path."""
    text = GAUSSIAN[: GAUSSIAN.index("[x]")] + GAUSSIAN[GAUSSIAN.index("[data]") :]
    changes = {"ensemble.replicas": 50, "theta.learn": None}
    alone = thermosim.simulate(thermosim.load_case(text, changes))
    assert np.array_equal(alone.theta.values, _run(changes).theta.values)
    assert "x" not in alone


SPINS = """
[model]
name = "boltzmann-machine"
dimension = 3
[theta]
dynamics = "frozen"
initial = { bias = [0.5, -0.3, 0.2], coupling = [0.9, -0.6, 0.7] }
[x]
dynamics = "gibbs"
initial = "random"
[ensemble]
replicas = 100000
[run]
steps = 1
[record]
variables = ["x"]
"""


@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_a_reversed_run_sweeps_in_the_reverse_order(direction: str) -> None:
    """Frequencies of all 64 transitions of one sweep against the product of site moves in one order, not the other."""
    ds = thermosim.simulate(thermosim.load_case(SPINS, {"run.direction": direction}))
    states = 1.0 - 2.0 * ((np.arange(8)[:, None] >> np.arange(3)) & 1)
    bias, (j01, j02, j12) = np.array([0.5, -0.3, 0.2]), (0.9, -0.6, 0.7)
    coupling = np.array([[0.0, j01, j02], [j01, 0.0, j12], [j02, j12, 0.0]])
    sites = np.zeros((3, 8, 8))
    for i in range(3):
        for s, state in enumerate(states):
            up = 1.0 / (1.0 + np.exp(-2.0 * (bias[i] + coupling[i] @ state)))
            sites[i, s, s & ~(1 << i)], sites[i, s, s | (1 << i)] = up, 1.0 - up
    index = (ds.x.values < 0) @ (1 << np.arange(3))
    counts = np.zeros((8, 8))
    np.add.at(counts, (index[0], index[1]), 1)
    scores = []
    for order in ((0, 1, 2), (2, 1, 0)):
        sweep = sites[order[0]] @ sites[order[1]] @ sites[order[2]]
        expected = counts.sum(axis=1, keepdims=True) * sweep
        scores.append(np.max(np.abs(counts - expected) / np.sqrt(expected * (1.0 - sweep))))
    right, wrong = scores if direction == "forward" else scores[::-1]
    assert right < 4.5, scores  # the largest of 56 free deviations
    assert wrong > 20.0, scores
