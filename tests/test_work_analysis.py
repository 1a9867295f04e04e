"""Estimators of work, free energy and entropy: right within their errors, and failing by far on a mistaken ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from tests import driven_ensembles
from tests.assertions import assert_within, mean_and_error
from tests.driven_ensembles import changed, trap
from thermosim.analysis import estimates, work
from thermosim.analysis.acceptance_ratio import crooks_line
from thermosim.analysis.comparison import judge
from thermosim.analysis.estimates import MINIMUM_SAMPLE_SIZE
from thermosim.analysis.exponential_averages import exponential_average
from thermosim.analysis.settings import settings
from thermosim.case.settings import Settings
from thermosim.checks import driven as analysis
from thermosim.exact import driven

FROZEN: dict[str, Any] = {"dynamics": "frozen", "protocol": {}}
ROTATION = trap(
    model={"name": "rotational-trap", "dimension": 2, "stiffness": 1.3, "rotation": 0.9},
    theta=FROZEN,
    x__time_step=0.1,
    x__tau=1,
    run__steps=40,
)
BEADS = changed(
    ROTATION, model={"name": "two-beads", "stiffness": 1.0, "coupling": 1.5}, x__temperature=[1.0, 2.5], x__tau=2
)
LARGE_STEP = trap(
    theta__protocol={
        "center": {"kind": "linear", "initial": [0.0, 0.2], "final": [0.6, -0.3]},
        "stiffness": {"kind": "linear", "initial": [[1.8, 0.6], [0.6, 1.0]], "final": [[2.4, -0.5], [-0.5, 1.2]]},
    },
    x__time_step=0.3,
    x__tau=1,
    run__steps=20,
)
SYSTEMS = {
    "ula": trap(),
    "exact-ou": trap(x__dynamics="exact-ou"),
    "reversed": trap(run__direction="reversed"),
    "exact-ou reversed": trap(run__direction="reversed", x__dynamics="exact-ou"),
    "large step": LARGE_STEP,
    "samples and sweep": trap(x__samples=2, sweep={"x.temperature": [0.5, 1.0]}),
    "two axes": trap(sweep={"x.temperature": [0.5, 1.0], "x.time_step": [0.1, 0.2, 0.3]}),
    "rotation": ROTATION,
    "rotation sweep": changed(ROTATION, sweep={"x.temperature": [0.5, 1.0, 2.0]}),
    "beads": BEADS,
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_check_accepts_a_right_ensemble(name: str) -> None:
    """Every comparison of every system, from a simulation that shares no formula with the references."""
    comparisons = analysis.check(driven_ensembles.simulate(SYSTEMS[name], seed=11))
    assert judge(comparisons).consistent, [(c.quantity, c.z) for c in comparisons]
    quantities = " ".join(c.quantity for c in comparisons)
    wanted = ["first-law", "log ratio", "covariance", "exp(-Sigma)"]
    wanted += ["variance of the work", "exp(-work/T)"] if SYSTEMS[name]["theta"] != FROZEN else ["entropy production"]
    assert all(word in quantities for word in wanted), quantities


def _late_theta(settings: dict[str, Any]) -> xr.Dataset:
    """An engine that reads the protocol one step late: step 1 finds the initial theta, the last value is never used."""
    protocol = settings["theta"]["protocol"]
    steps = settings["run"]["steps"]
    longer = changed(settings, run__steps=steps + 1)
    for name, ramp in protocol.items():
        first, last = np.asarray(ramp["initial"], float), np.asarray(ramp["final"], float)
        final = first + (last - first) * (steps + 1) / steps
        longer["theta"]["protocol"][name] = {"kind": "linear", "initial": first.tolist(), "final": final.tolist()}
    whole = driven_ensembles.simulate(longer, seed=11)
    late = xr.concat([whole.isel(step=[0]), whole.isel(step=slice(0, steps))], "step")
    return late.assign_coords(step=np.arange(steps + 1)).assign_attrs(settings=json.dumps(settings))


def _mutant(change: Callable[[xr.Dataset], dict[str, xr.DataArray]]) -> Callable[[dict[str, Any]], xr.Dataset]:
    def make(settings: dict[str, Any]) -> xr.Dataset:
        ds = driven_ensembles.simulate(settings, seed=11)
        return ds.assign(change(ds))

    return make


MUTANTS = {
    "heat sign": (_mutant(lambda ds: {"heat": -ds["heat"]}), "ula"),
    "log ratio sign": (_mutant(lambda ds: {"log_ratio_x": -ds["log_ratio_x"]}), "ula"),
    "work doubled": (_mutant(lambda ds: {"work": 2.0 * ds["work"]}), "exact-ou"),
    "ratio without the shadow": (_mutant(lambda ds: {"log_ratio_x": -ds["heat"] / 0.8}), "large step"),
    "temperature forgotten": (_mutant(lambda ds: {"log_ratio_x": 0.8 * ds["log_ratio_x"]}), "exact-ou"),
    "components swapped": (_mutant(lambda ds: {"x": ds["x"].isel(x_dim=[1, 0])}), "ula"),
    "theta late": (_late_theta, "exact-ou"),
    "rotation backwards": (_mutant(lambda ds: {"work": -ds["work"], "heat": -ds["heat"]}), "rotation"),
    "baths exchanged": (_mutant(lambda ds: {"x": ds["x"].isel(x_dim=[1, 0])}), "beads"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_check_refuses_a_mistaken_ensemble(name: str) -> None:
    """Each mutant fails by far, not at the margin."""
    make, system = MUTANTS[name]
    verdict = judge(analysis.check(make(SYSTEMS[system])))
    assert not verdict.consistent
    assert verdict.smallest < 1e-12


def test_jarzynski() -> None:
    """Free-energy difference at every frame, T = 0.8; the heat in place of the work, or its sign, would be far off."""
    settings = trap(x__dynamics="exact-ou", ensemble__replicas=20_000)
    ds = driven_ensembles.simulate(settings, seed=3)
    result = work.jarzynski(ds)
    exact = driven.free_energy_difference(analysis.linear_protocol(Settings.from_dict(settings)).stiffness, 0.8)
    value, error = result["free_energy_difference"][1:], result["free_energy_difference_error"][1:]
    assert_within(value, error, exact[1:], catches="sign of w, or T missing in the exponent")
    flipped = work.jarzynski(ds.assign(work=-ds["work"]))["free_energy_difference"]
    assert abs(flipped[-1] - exact[-1]) > 20.0 * error[-1]
    weight = np.exp(-ds["work"][-1] / 0.8)
    np.testing.assert_allclose(result["effective_sample_size"][-1], weight.sum() ** 2 / (weight**2).sum(), rtol=1e-10)
    assert bool(result["reliable"].all())
    assert "exact" in result["free_energy_difference"].attrs["condition"]


def test_jackknife_error_is_the_spread() -> None:
    """Over 100 independent ensembles the spread of dF is the reported error, within the error of a spread."""
    ds = driven_ensembles.simulate(trap(x__dynamics="exact-ou", ensemble__replicas=100 * 200), seed=4)
    parts = [work.jarzynski(ds.isel(replica=slice(i, i + 200))).isel(step=-1) for i in range(0, 20_000, 200)]
    spread = np.std([p["free_energy_difference"] for p in parts], ddof=1)
    reported = np.sqrt(np.mean([p["free_energy_difference_error"] ** 2 for p in parts]))
    assert_within(spread, spread / np.sqrt(2 * 99), reported, catches="a jackknife without its factor R - 1")


def test_jackknife_error_is_that_of_replicas_left_out() -> None:
    """Five replicas: the estimate without each in turn, spread times (R - 1)/R; the effective sample size."""
    ds = driven_ensembles.simulate(trap(x__samples=2)).isel(replica=slice(0, 5))
    result, exponent = work.jarzynski(ds).isel(step=-1), -ds["work"][-1] / 0.8
    parts = [exponent.isel(replica=[r for r in range(5) if r != out]) for out in range(5)]
    without = np.array([float(exponential_average(part).logarithm) for part in parts])
    error = 0.8 * np.sqrt(0.8 * ((without - without.mean()) ** 2).sum())
    np.testing.assert_allclose(result["free_energy_difference_error"], error, rtol=1e-10)
    weight = np.exp(exponent).mean("sample")
    bias = 4.0 * (without.mean() - np.log(weight.mean()))
    np.testing.assert_allclose(result["free_energy_difference"], -0.8 * (np.log(weight.mean()) - bias), rtol=1e-10)
    np.testing.assert_allclose(result["effective_sample_size"], weight.sum() ** 2 / (weight**2).sum(), rtol=1e-10)


def test_intervals_of_few_replicas_are_students() -> None:
    """2.776 errors with four degrees of freedom, 1.960 with many; or what the estimator says itself."""
    result, value = xr.Dataset(), xr.DataArray(3.0)
    estimates.put(result, "few", value, 0.5, "1", "few", "five replicas", degrees_of_freedom=4)
    estimates.put(result, "many", value, 0.5, "1", "many", "many replicas")
    estimates.put(result, "own", value, 0.5, "1", "own", "skewed", bounds=(2.9, 7.0))
    np.testing.assert_allclose(estimates.interval(result, "few"), [3.0 - 1.38822, 3.0 + 1.38822], rtol=1e-5)
    np.testing.assert_allclose(estimates.interval(result, "many"), [3.0 - 0.97998, 3.0 + 0.97998], rtol=1e-5)
    np.testing.assert_allclose(estimates.interval(result, "own"), [2.9, 7.0])


def test_few_effective_replicas_are_flagged() -> None:
    """A violent pull with 500 replicas: the flag must fall, whatever the error bar says."""
    settings = trap(x__dynamics="exact-ou", ensemble__replicas=500)
    settings["theta"]["protocol"]["center"]["final"] = [4.0, -3.0]
    result = work.jarzynski(driven_ensembles.simulate(settings))
    assert not bool(result["reliable"][-1])
    assert float(result["effective_sample_size"][-1]) < MINIMUM_SAMPLE_SIZE


@pytest.mark.parametrize("end", ["state", "equilibrium"])
@pytest.mark.parametrize("samples", [1, 2])
def test_integral_fluctuation_theorem_at_a_large_time_step(end: str, samples: int) -> None:
    """ula at h K of order one: exact with the true ratio, far off with -heat/T in its place."""
    settings = changed(LARGE_STEP, x__samples=samples, x__time_step=0.4, ensemble__replicas=10_000)
    ds = driven_ensembles.simulate(settings, seed=5)
    result = analysis.fluctuation_theorem(ds, end)
    average, error = result["average"][1:], result["average_error"][1:]
    assert_within(average, error, 1.0, catches="sign of ln p_0 or ln p_end, or a theta index off by one")
    assert np.all(result["entropy_production"][1:] > 0.0)
    if end == "equilibrium":  # then Sigma with -heat/T is the dissipated work, and the average has a variance
        naive = analysis.fluctuation_theorem(ds.assign(log_ratio_x=-ds["heat"] / 0.8), end)
        assert abs(float(naive["average"][-1]) - 1.0) > 8.0 * float(naive["average_error"][-1])


@pytest.mark.parametrize("end", ["state", "equilibrium"])
def test_densities_of_the_fluctuation_theorem_are_those_of_their_steps(end: str) -> None:
    """Sigma of few replicas by hand: ln p_0 of the start, ln p_end of theta or of the state at the frame's own step."""
    ds = driven_ensembles.simulate(trap(ensemble__replicas=6)).isel(step=[0, 2, 3, 7])
    result = analysis.fluctuation_theorem(ds, end)
    protocol = analysis.linear_protocol(settings(ds))
    ledger = driven.ledger(protocol, driven.equilibrium(protocol.stiffness[0], protocol.center[0], 0.8))
    for frame, step in enumerate(ds["step"].values):
        laws = []
        for t, of_run in ((0, False), (int(step), end == "state")):
            mean = ledger.mean[t] if of_run else protocol.center[t]
            laws.append((mean, ledger.covariance[t] if of_run else 0.8 * np.linalg.inv(protocol.stiffness[t])))
        densities = [stats.multivariate_normal(*law).logpdf(ds["x"].values[k]) for law, k in zip(laws, (0, frame))]
        sigma = ds["log_ratio_x"].values[frame] + densities[0] - densities[1]
        np.testing.assert_allclose(result["entropy_production"][frame], sigma.mean(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(result["average"][frame], np.exp(-sigma).mean(), rtol=1e-9)


def test_crooks() -> None:
    """dF by the acceptance ratio, and the line ln P_F(w)/P_R(-w) = (w - dF)/T; a lost minus sign ruins both."""
    forward = trap(x__dynamics="exact-ou", ensemble__replicas=10_000, run__steps=3)
    backward = changed(forward, run__direction="reversed", ensemble__replicas=8_000)
    first, second = driven_ensembles.simulate(forward, 6), driven_ensembles.simulate(backward, 7)
    result = work.crooks(first, second)
    exact = driven.free_energy_difference(analysis.linear_protocol(Settings.from_dict(forward)).stiffness, 0.8)[-1]
    for name, value in (("free_energy_difference", exact), ("crossing", exact), ("slope", 1.0)):
        assert_within(result[name], result[f"{name}_error"], value, catches=f"{name}: sign of the reversed work or T")
    assert 0.1 < float(result["overlap"]) < 1.0
    wrong = work.crooks(first, second.assign(work=-second["work"]))
    assert abs(float(wrong["slope"]) - 1.0) > 8.0 * float(wrong["slope_error"])
    warm = [
        ds.assign_attrs(settings=json.dumps(trap(run__direction=d, run__steps=3, x__temperature=1.2)))
        for ds, d in ((first, "forward"), (second, "reversed"))
    ]
    wrong = work.crooks(*warm)
    assert abs(float(wrong["slope"]) - 1.0) > 8.0 * float(wrong["slope_error"])


def test_line_of_crooks_in_many_small_ensembles() -> None:
    """Normal works of variance 2 (<w> - dF) in unequal numbers: no bias of slope and crossing, and honest errors."""
    rng, gain, dissipated = np.random.default_rng(14), 0.7, 0.8
    deviation = np.sqrt(2.0 * dissipated)
    lines = [
        crooks_line(
            gain + dissipated + deviation * rng.standard_normal(400),
            dissipated - gain + deviation * rng.standard_normal(100),
        )
        for _ in range(600)
    ]
    for name, exact in (("slope", 1.0), ("crossing", gain)):
        values, errors = np.array([[getattr(line, name).value, getattr(line, name).error] for line in lines]).T
        value, error = mean_and_error(values)
        assert_within(value, error, exact, catches="unequal numbers taken for equal ones", mistake=0.3)
        spread, reported = values.std(ddof=1), np.sqrt((errors**2).mean())
        assert_within(spread, spread / np.sqrt(2 * 599), reported, catches="numbers of works drawn, not fixed")


def test_entropy_production_of_the_rotational_trap() -> None:
    """The rate is that of the finite-step chain, the same at every temperature, and has the power to see a factor 2."""
    settings = changed(ROTATION, sweep={"x.temperature": [0.5, 2.0]}, run__steps=120)
    result = work.entropy_production(driven_ensembles.simulate(settings, seed=8), first=30)
    exact = driven.rotational_trap_rate(1.3, 0.9, 2, 0.1)
    rate, error = result["entropy_production_rate"], result["entropy_production_rate_error"]
    assert rate.dims == ("temperature",)
    assert_within(rate, error, exact, catches="a factor 2, or steps taken for time", mistake=0.5 * exact)


def test_heat_currents_of_two_beads() -> None:
    """Heat leaves the hot bath, here that of the second bead, and enters the cold one."""
    settings = changed(BEADS, x__time_step=0.02, x__tau=5, run__steps=100, ensemble__replicas=10_000)
    ds = driven_ensembles.simulate(settings, seed=9)
    result = work.heat_currents(ds, first=30)
    protocol = analysis.linear_protocol(Settings.from_dict(settings))
    ledger = driven.ledger(protocol, analysis.start_state(protocol, "equilibrium"))
    exact = (ledger.heat_of_component[100] - ledger.heat_of_component[30])[::-1] / 7.0
    assert list(result["bath_temperature"].values) == [2.5, 1.0]
    value, error = result["heat_current"], result["heat_current_error"]
    assert_within(value, error, exact, catches="baths exchanged or a sign", mistake=2.0 * np.abs(exact))
    limit = driven.two_bead_current(1.0, 1.5, 2.5, 1.0)
    np.testing.assert_allclose(exact, [limit, -limit], rtol=0.05)


def test_work_and_heat() -> None:
    """Means, errors and the first law; the shadow of exact-ou is rounding."""
    ds = driven_ensembles.simulate(trap(x__dynamics="exact-ou", x__samples=2))
    result = work.work_and_heat(ds)
    per_replica = ds["work"].values[-1].mean(axis=-1)
    np.testing.assert_allclose(result["work"][-1], per_replica.mean())
    np.testing.assert_allclose(result["work_error"][-1], per_replica.std(ddof=1) / np.sqrt(4096))
    assert float(result["first_law_residual"].max()) < 1e-12
    assert float(abs(result["shadow"]).max()) < 1e-10
    assert all("condition" in variable.attrs for variable in result.data_vars.values())


def test_a_diverged_replica_is_not_averaged_away() -> None:
    """NaN in one replica gives NaN, and an inconsistent check: never a mean over the survivors."""
    ds = driven_ensembles.simulate(trap())
    ds["work"][5:, 17] = np.nan
    assert np.isnan(work.work_and_heat(ds)["work"][-1])
    assert np.isnan(work.jarzynski(ds)["free_energy_difference"][-1])
    assert not judge(analysis.check(ds)).consistent


def test_refusals() -> None:
    """Questions without an answer are refused in words."""
    ds, beads = driven_ensembles.simulate(trap(ensemble__replicas=8)), driven_ensembles.simulate(BEADS)
    with pytest.raises(ValueError, match="in this order"):
        work.crooks(ds, ds)
    with pytest.raises(ValueError, match="two frames"):
        work.entropy_production(ds.isel(step=[3]))
    with pytest.raises(ValueError, match="two temperatures"):
        work.heat_currents(ds)
    with pytest.raises(ValueError, match="one temperature"):
        work.jarzynski(beads)
    with pytest.raises(ValueError, match="step 0"):
        analysis.fluctuation_theorem(ds.isel(step=slice(1, None)))
