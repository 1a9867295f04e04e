"""Thermodynamics of learning trajectories: exact numbers, and the same assertions reject mistaken ledgers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.assertions import assert_within
from tests.learning_paths import HEAT, LANGEVIN, LEARNER, PRECISIONS, PROTOCOL, SPINS, STEPS, WORK, linear_machine, run
from thermosim.analysis import learning
from thermosim.analysis.machine import machines
from thermosim.analysis.partial_averages import averaged_work_and_heat, partial_entropies


def assert_reference_ledger(ds: xr.Dataset) -> None:
    """Mean books of PROTOCOL; <exp(-w)> = 1. The sizes are those of a factor 2 or of a wrong sign."""
    ledger = learning.learning_ledger(ds).isel(step=-1)
    exact = {"work": WORK, "heat": HEAT, "energy_change": -np.log(2.0), "entropy_production": WORK, "log_ratio": -HEAT}
    for name, value in exact.items():
        estimate, error = float(ledger[name]), float(ledger[f"{name}_error"])
        assert_within(estimate, error, value, catches=f"a factor 2 or a sign in {name}", mistake=abs(value))
    assert ledger.first_law_residual < 1e-12
    theorems = learning.fluctuation_theorems(ds).isel(step=-1)
    assert_within(theorems.average, theorems.average_error, 1.0, catches="books that are no path ratio")


def test_reference_numbers() -> None:
    """Ten jumps of a Gaussian, from the ledger, in closed form, and from the sum of divergences by another formula."""
    ds = run(PROTOCOL)
    assert_reference_ledger(ds)
    averaged = averaged_work_and_heat(ds).isel(step=-1, replica=0)
    np.testing.assert_allclose(averaged.work, WORK, atol=5e-9)
    np.testing.assert_allclose(averaged.heat, HEAT, atol=5e-9)
    np.testing.assert_allclose(averaged.work + averaged.heat, -np.log(2.0), rtol=1e-12)
    m, k = np.linspace(0.0, 1.0, STEPS + 1), PRECISIONS
    ratio = k[1:] / k[:-1]
    divergence = 0.5 * (ratio - 1.0 + k[1:] * np.diff(m) ** 2 - np.log(ratio))
    np.testing.assert_allclose(averaged.divergence, divergence.sum(), rtol=1e-12)
    np.testing.assert_allclose(ds.entropy_production, ds.work, atol=1e-12)
    assert bool(averaged.valid)


def _energies(ds: xr.Dataset) -> Callable[[int, int], np.ndarray]:
    """phi of frame a's theta at frame b's x, (R,), written out."""
    theta, x = ds.theta.values, ds.x.values[..., 0]

    def phi(a: int, b: int) -> np.ndarray:
        mean, logarithm = theta[a, :, 0], theta[a, :, 1]
        return np.asarray(0.5 * (np.exp(logarithm) * (x[b] - mean) ** 2 - logarithm + np.log(2.0 * np.pi)))

    return phi


def _books(ds: xr.Dataset, work: Callable[[int], np.ndarray], heat: Callable[[int], np.ndarray]) -> xr.Dataset:
    """The ensemble with a ledger of these increments (of step t) in place of its own."""
    count = ds.sizes["step"]
    columns = []
    for increment in (work, heat):
        steps = np.stack([increment(t) for t in range(1, count)])
        columns.append(np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)]))
    dims = ("step", "replica")
    return ds.assign(work=(dims, columns[0]), heat=(dims, columns[1]), log_ratio_x=(dims, -columns[1]))


def _is_rejected(ds: xr.Dataset) -> bool:
    try:
        assert_reference_ledger(ds)
    except AssertionError:
        return True
    return False


def test_mistaken_ledgers_are_rejected() -> None:
    """The right books, recomputed from frames, are the recorded ones; every mistaken one fails the same assertion."""
    ds = run(PROTOCOL)
    phi = _energies(ds)

    def work(t: int) -> np.ndarray:
        return phi(t, t - 1) - phi(t - 1, t - 1)

    def heat(t: int) -> np.ndarray:
        return phi(t, t) - phi(t, t - 1)

    right = _books(ds, work, heat)
    np.testing.assert_allclose(right.work, ds.work, atol=1e-12)
    np.testing.assert_allclose(right.heat, ds.heat, atol=1e-12)
    assert_reference_ledger(right)
    mistakes = {
        "work at the sample of after the move": (lambda t: phi(t, t) - phi(t - 1, t), heat),
        "heat at theta of before the jump": (work, lambda t: phi(t - 1, t) - phi(t - 1, t - 1)),
        "both, so that the first law holds": (
            lambda t: phi(t, t) - phi(t - 1, t),
            lambda t: phi(t - 1, t) - phi(t - 1, t - 1),
        ),
        "sign of heat": (work, lambda t: -heat(t)),
        "sign of work": (lambda t: -work(t), heat),
        "both signs": (lambda t: -work(t), lambda t: -heat(t)),
        "last move of x not booked": (work, lambda t: heat(t) if t < STEPS else 0.0 * heat(t)),
        "first jump not booked": (lambda t: work(t) if t > 1 else 0.0 * work(t), heat),
        "factor two": (lambda t: 2.0 * work(t), lambda t: 2.0 * heat(t)),
    }
    for name, (wrong_work, wrong_heat) in mistakes.items():
        assert _is_rejected(_books(ds, wrong_work, wrong_heat)), f"nobody noticed: {name}"


def test_finite_tau_against_exact_moments() -> None:
    """Books of SGD and ULA at tau = 3; at two or four moves per step they are far off."""
    ds = run(LEARNER, {"x.time_step": 0.05})
    ledger, exact = learning.learning_ledger(ds).isel(step=-1), linear_machine(ds, time_step=0.05)
    for tau in (2, 4):
        wrong = linear_machine(ds, time_step=0.05, tau=tau)
        for name in ("work", "heat", "log_ratio", "entropy_production"):
            estimate, error = float(ledger[name]), float(ledger[f"{name}_error"])
            value, mistake = getattr(exact, name)[-1], abs(getattr(wrong, name)[-1] - getattr(exact, name)[-1])
            assert_within(estimate, error, value, catches=f"tau = {tau} instead of 3 in {name}", mistake=mistake)
    ledger, exact = learning.learning_ledger(run(LEARNER)).isel(step=-1), linear_machine(run(LEARNER))
    shadow = exact.shadow[-1]
    assert_within(ledger.shadow, ledger.shadow_error, shadow, catches="no shadow term", mistake=abs(shadow))


def test_theorems_at_finite_tau() -> None:
    """MALA obeys all three at tau = 1; ULA only the one with its own path ratio, and its work is far off."""
    sweep = {"x.dynamics": "mala", "x.time_step": 0.3, "x.tau": 1}
    text = PROTOCOL + '[sweep]\n"x.dynamics" = { values = ["mala", "ula"] }\n'
    theorems = learning.fluctuation_theorems(run(text, sweep))
    assert theorems.average.dims == ("theorem", "step", "dynamics")
    assert theorems.exact.transpose("dynamics", "theorem").values.tolist() == [[True] * 3, [False, False, True]]
    last = theorems.isel(step=-1)
    assert bool(last.reliable.all())
    mala, ula = last.sel(dynamics="mala"), last.sel(dynamics="ula")
    assert_within(mala.average, mala.average_error, 1.0, catches="MALA that is not in balance")
    bias = abs(float(ula.average[0]) - 1.0)
    assert_within(
        ula.average[2], ula.average_error[2], 1.0, catches="heat in the place of the path ratio", mistake=bias
    )
    assert bias > 8.0 * float(ula.average_error[0])
    negated = run(text, sweep)
    negated = negated.assign(work=-negated.work, log_ratio_x=-negated.log_ratio_x)
    wrong = learning.fluctuation_theorems(negated).isel(step=-1).sel(dynamics="mala")
    assert abs(float(wrong.average[0]) - 1.0) > 8.0 * float(wrong.average_error[0])


@pytest.mark.parametrize("dynamics", ["mala", "exact"])
def test_theorems_of_a_learner(dynamics: str) -> None:
    """Paths of theta that differ between replicas, from minibatches that do not know x."""
    changes = LANGEVIN if dynamics == "mala" else {"x.dynamics": "exact", "x.time_step": None}
    ds = run(LEARNER, changes | {"x.samples": 2, "x.tau": 1, "theta.learning_rate": 0.1})
    theorems = learning.fluctuation_theorems(ds).isel(step=slice(1, None))
    assert bool(theorems.exact.all())
    assert bool(theorems.reliable.all())
    assert_within(theorems.average, theorems.average_error, 1.0, catches="work at the wrong theta")
    assert float(theorems.entropy_production[0, -1]) > 8.0 * float(theorems.entropy_production_error[0, -1])


def test_feedback_breaks_the_theorems() -> None:
    """Contrast lets theta follow x: theta' = m - r k (x - b), hence <exp(-w)> = prod (1 + r k)^{-t}, not 1."""
    changes = {"theta.gradient": "contrast", "x.dynamics": "exact", "x.time_step": None, "run.steps": 2}
    theorems = learning.fluctuation_theorems(run(LEARNER, changes | {"theta.learning_rate": 0.15}))
    assert not bool(theorems.exact.any())
    factor = float(np.prod(1.0 / (1.0 + 0.15 * np.exp([0.4, 1.1]))))
    for step in (1, 2):
        estimate = theorems.isel(step=step, theorem=0)
        assert_within(
            estimate.average,
            estimate.average_error,
            factor**step,
            catches="a theorem that forgets feedback",
            mistake=1.0 - factor**step,
        )


def test_known_start_out_of_equilibrium() -> None:
    """From standard normals or random spins the work says nothing, the path ratio still does."""
    start = {"x.initial": "normal", "theta.protocol.mean": {"kind": "linear", "initial": [0.7], "final": [1.0]}}
    gaussian = run(PROTOCOL, start | {"x.dynamics": "ula", "x.time_step": 0.1, "run.steps": 3})
    spins = run(SPINS, {"x.initial": "random", "theta.learning_rate": 0.1, "theta.spread": 0.4})
    for ds, initial in ((gaussian, "normal"), (spins, "random")):
        theorems = learning.fluctuation_theorems(ds)
        assert theorems.exact.values.tolist() == [False, False, True]
        ratio = theorems.isel(theorem=2)
        assert bool(ratio.reliable.all())
        late = ratio.isel(step=slice(1, None))
        assert_within(late.average, late.average_error, 1.0, catches="the density of another start")
        assert float(ratio.entropy_production[-1]) > 0.0
        mistaken = ds.drop_vars("origin").assign_attrs(
            settings=ds.attrs["settings"].replace(f'"initial": "{initial}"', '"initial": "zero"')
        )
        wrong = learning.fluctuation_theorems(mistaken).isel(theorem=2, step=-1)
        assert abs(float(wrong.average) - 1.0) > 8.0 * float(wrong.average_error)
        assert not bool(wrong.exact)


def test_reversed_protocol() -> None:
    """ln P_F(w)/P_R(-w) = w: no free energy to gain; another way back, Gibbs sweeps and single paths are told apart."""
    forward = run(PROTOCOL, LANGEVIN | {"x.tau": 1})
    backward = run(PROTOCOL, LANGEVIN | {"x.tau": 1, "run.direction": "reversed", "ensemble.seed": 2})
    result = learning.detailed(forward, backward)
    assert result.attrs["exact"] == 1
    assert float(result.expected) == 0.0
    assert_within(
        result.free_energy_difference,
        result.free_energy_difference_error,
        0.0,
        catches="work of the wrong sign in one direction",
        mistake=WORK,
    )
    assert_within(result.slope, result.slope_error, 1.0, catches="a factor 2 in work", mistake=0.5)
    elsewhere = run(
        PROTOCOL.replace("final = [1.0]", "final = [0.8]"),
        LANGEVIN | {"x.tau": 1, "run.direction": "reversed", "ensemble.seed": 2},
    )
    with pytest.raises(ValueError, match="one path of theta and its reverse"):
        learning.detailed(forward, elsewhere)
    with pytest.raises(ValueError, match=r"theta\.recording"):
        learning.detailed(run(LEARNER), backward)


def retraced(**changes: Any) -> xr.Dataset:
    base = {"run.direction": "there-and-back", "run.steps": 2, "ensemble.replicas": 500}
    return run(LEARNER, base | {key.replace("__", "."): value for key, value in changes.items()})


def test_retracing_of_a_quadratic() -> None:
    """One step there and back: -r^2 J U_b exactly, replica by replica and on average; nothing is lost on the way."""
    ds = retraced()
    k, rate = np.exp([0.4, 1.1]), 0.3
    theta = ds.theta.values[..., :2]
    gradient = (theta[0] - theta[1]) / rate
    np.testing.assert_allclose(theta[2] - theta[0], -(rate**2) * k * gradient, atol=1e-14)
    result = learning.retrace(ds).isel(step=0)
    np.testing.assert_allclose(result.mismatch, (ds.theta[2] - ds.theta[0]).mean("replica"), atol=1e-15)
    mean = -(rate**2) * k**2 * (np.array([1.0, -0.5]) - machines(ds)[0].data.mean())
    assert_within(
        result.mismatch[:2], result.mismatch_error[:2], mean, catches="a sign or factor 2", mistake=np.abs(mean)
    )
    lengths = np.linalg.norm(theta[2] - theta[0], axis=1)
    np.testing.assert_allclose(result.norm, lengths.mean(), rtol=1e-12)
    other = retraced(run__steps=6)
    paired = learning.retrace(other)
    np.testing.assert_array_equal(paired.step, [0, 1, 2])
    np.testing.assert_allclose(paired.mismatch[1], (other.theta[5] - other.theta[1]).mean("replica"), atol=1e-15)
    with pytest.raises(ValueError, match="there-and-back"):
        learning.retrace(run(LEARNER))


def test_retracing_to_leading_order() -> None:
    """Precisions learn too: the mismatch over r^2 tends to -J U_b, J by differences at the rows of the minibatch."""
    from thermosim.kernels.noise import uniform_array
    from thermosim.streams import MINIBATCH

    gaps = []
    for rate in (2e-3, 1e-3):
        ds = retraced(theta__learning_rate=rate, theta__learn=None, ensemble__replicas=20)
        machine = machines(ds)[0]
        unit = 1.0 - uniform_array(5, MINIBATCH, 1, 0, (2, 20))
        rows = machine.data.values[np.floor(unit * machine.data.rows).astype(int)].transpose(1, 0, 2)
        theta = machine.theta(0)
        u = machine.evaluator.data_gradient(rows, theta)[1]
        up, down = (machine.evaluator.data_gradient(rows, theta + s * 1e-5 * u)[1] for s in (1.0, -1.0))
        leading = -(rate**2) * (up - down) / 2e-5
        gaps.append(np.abs(machine.theta(2) - theta - leading).max() / np.abs(leading).max())
    assert gaps[0] < 0.03
    assert gaps[1] < 0.6 * gaps[0]


def test_relaxation_of_chains() -> None:
    """The gap of mean phi against exact moments; fresh samples are relaxed, three replicas cannot show it."""
    late = learning.relaxation(run(LEARNER)).isel(step=-1)
    exact = linear_machine(run(LEARNER)).energy_change[-1]
    assert_within(late.gap, late.gap_error, exact, catches="<phi> at another theta", mistake=abs(exact))
    assert not bool(late.relaxed)
    assert float(late.score) > 8.0
    fresh = run(LEARNER, {"x.dynamics": "exact", "x.time_step": None})
    assert bool(learning.relaxation(fresh).relaxed.all())
    assert not bool(learning.relaxation(fresh.isel(replica=slice(0, 3))).relaxed.any())
    spins = learning.relaxation(run(SPINS, {"x.dynamics": "exact"}))
    assert bool(spins.relaxed.all())


def test_mean_energy_by_support_and_samples() -> None:
    """Without a closed form: on the support, and from exact samples, right on average."""
    machine = machines(run(SPINS))[0]
    exact, how = learning.mean_energy(machine, 3)
    assert how == "closed form"
    open_model = replace(machine.model, cross_entropy=None)
    summed, how = learning.mean_energy(replace(machine, model=open_model), 3)
    assert how == "support"
    np.testing.assert_allclose(summed, exact, rtol=1e-10)
    sampled, how = learning.mean_energy(replace(machine, model=replace(open_model, support=lambda c: None)), 3)
    assert how == "exact samples"
    gap = sampled - exact
    error = gap.std(ddof=1) / np.sqrt(gap.size)
    assert_within(gap.mean(), error, 0.0, catches="phi without its normaliser", mistake=np.log(2.0))


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "temperature": (
        lambda: learning.fluctuation_theorems(
            run(LEARNER, {"x.temperature": 0.5, "x.initial": "normal", "ensemble.replicas": 10})
        ),
        "temperature 1",
    ),
    "late start": (lambda: learning.fluctuation_theorems(run(LEARNER).isel(step=slice(1, None))), "record.first = 0"),
    "no phi": (lambda: learning.learning_ledger(run(LEARNER).drop_vars("phi")), "needs phi"),
    "no theta": (lambda: learning.relaxation(run(LEARNER).drop_vars("theta")), "needs theta"),
    "odd frames": (lambda: learning.retrace(retraced().isel(step=slice(1, None))), "partner"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    attempt, words = REFUSALS[name]
    with pytest.raises(ValueError, match=words):
        attempt()


def test_estimates_are_labelled() -> None:
    """Every estimate has units, a name, a condition and an error."""
    ds = run(LEARNER)
    spins = run(SPINS, {"ensemble.replicas": 300})
    results = [learning.learning_ledger(ds), learning.fluctuation_theorems(ds), learning.retrace(retraced())]
    results += [learning.relaxation(ds), averaged_work_and_heat(spins), partial_entropies(spins)]
    for result in results:
        for name, variable in result.data_vars.items():
            assert variable.attrs.get("long_name"), name
            assert variable.attrs.get("condition"), name
            if f"{name}_error" in result:
                assert variable.attrs["units"] == result[f"{name}_error"].attrs["units"]


def test_sweep_keeps_its_axes() -> None:
    """Over a lane axis and a structural one, every point equals the same case run alone with its own address."""
    text = LEARNER + '[sweep]\n"theta.learning_rate" = { values = [0.1, 0.3] }\n"x.tau" = { values = [1, 2] }\n'
    ds = run(text, {"ensemble.replicas": 100})
    averaged = averaged_work_and_heat(ds)
    assert averaged.work.dims == ("step", "learning_rate", "tau", "replica")
    for place, machine in zip(np.ndindex(2, 2), machines(ds)):
        theta = machine.frames.theta.values
        k, m = np.exp(theta[..., 2:]), theta[..., :2]
        exact = 0.5 * (k[1:] * np.diff(m, axis=0) ** 2).sum(axis=(0, 2))
        np.testing.assert_allclose(averaged.work[-1, place[0], place[1]], exact, rtol=1e-10)
    ledger = learning.learning_ledger(ds)
    assert ledger.entropy_production.dims == ("step", "learning_rate", "tau")
    assert learning.fluctuation_theorems(ds).average.dims == ("theorem", "step", "learning_rate", "tau")
