"""Thermodynamics from synthetic ensembles of the documented layout, by an independent simulator."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from tests.assertions import assert_within
from tests.sphere_ensemble import sphere_ensemble
from thermosim.analysis import ideal_gas
from thermosim.analysis.comparison import judge
from thermosim.analysis.sphere_frames import cells, frames, jackknife
from thermosim.checks import ideal_gas as ideal_gas_check
from thermosim.exact import ideal_gas as theory
from thermosim.exact import sphere_chain
from thermosim.plots import ideal_gas as plots

RATES = np.geomspace(0.02, 0.1, 4)
DECAYS = np.geomspace(0.01, 0.1, 3)
GRID = {"theta.learning_rate": RATES, "theta.weight_decay": DECAYS}
RUNS = {
    "elr cell": ("fixed-elr", {"learning_rate": 0.05, "weight_decay": 0.02, "replicas": 128}),
    "elr grid": ("fixed-elr", {"sweep": GRID}),
    "lr grid": ("fixed-lr", {"sweep": GRID}),
    "lr d=10": ("fixed-lr", {"dimension": 10, "learning_rate": 0.05, "weight_decay": 0.05, "replicas": 128}),
    "sphere rates": ("fixed-sphere", {"sweep": {"theta.learning_rate": RATES}, "replicas": 256}),
    "sphere radii": ("fixed-sphere", {"learning_rate": 0.05, "sweep": {"theta.radius": [0.1, 1.0, 10.0]}}),
    "noise": ("fixed-elr", {"learning_rate": 0.05, "sweep": {"model.noise": [0.5, 1.0, 2.0]}}),
    "one chain": ("fixed-elr", {"learning_rate": 0.1, "replicas": 1, "steps": 20000, "every": 20}),
}


@pytest.fixture(scope="module")
def runs() -> dict[str, xr.Dataset]:
    return {
        name: sphere_ensemble(protocol, **({"replicas": 96, "steps": 2000, "every": 100} | options))
        for name, (protocol, options) in RUNS.items()
    }


@pytest.mark.parametrize("name", RUNS)
def test_check_accepts_right_runs(runs, name):
    """The comparison with the finite-step law, at a stated false-alarm rate; any shape of sweep."""
    rows = ideal_gas_check.check(runs[name])
    quantities = {row.quantity for row in rows}
    assert {"U", "gradient_square", "pV_over_RT", "S", "S_direction", "loss_drift"} <= quantities
    assert all("exact" in row.reference or "drift" in row.reference for row in rows)
    verdict = judge(rows)
    assert verdict.consistent, verdict


MISTAKES = {
    "loss off by a tenth": ("elr grid", lambda ds: ds.assign(loss_sum=1.1 * ds["loss_sum"])),
    "noise without its factor d-1": ("lr grid", lambda ds: ds.assign(gradient_square=ds["gradient_square"] / 2)),
    "pressure off by two": ("sphere rates", lambda ds: ds.assign(stretch=2 * ds["stretch"])),
    "radius squared": ("lr grid", lambda ds: ds.assign(theta=ds["theta"] * np.abs(ds["theta"]).max())),
    "gradient with the wrong sign": ("sphere rates", lambda ds: ds.assign(theta=-ds["theta"])),
    "a drifting radius": ("elr grid", lambda ds: ds.assign(theta=ds["theta"] * (1 + 1e-4 * ds["step"]))),
    "replicas that move together": ("elr cell", lambda ds: ds.isel(replica=np.arange(128) // 32)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_check_refuses_wrong_runs(runs, mistake):
    """The power of the check: each of these must fail."""
    name, spoil = MISTAKES[mistake]
    assert not judge(ideal_gas_check.check(spoil(runs[name]))).consistent


@pytest.mark.parametrize("name", ["elr grid", "sphere rates"])
def test_check_sees_the_order_of_the_step(runs, name):
    """Catches a check against the leading order only: pV/RT = 1 misses by many standard errors."""
    means = ideal_gas.thermodynamics(runs[name], angles=False)
    last = dict.fromkeys(cells(runs[name]).names, -1)
    measured = float(means["pV_over_RT"].isel(last))
    error = float(means["pV_over_RT_error"].isel(last))
    exact = ideal_gas_check.finite_step(cells(runs[name]))["pV_over_RT"][0][(-1,) * len(last)]
    assert_within(measured, error, exact, catches="leading order", mistake=exact - 1)


def test_identities_between_potentials(runs):
    """H, F and G are built from the same measured parts; catches a sign of T S or p V, and a lost (d-1) ln r."""
    m = ideal_gas.thermodynamics(runs["elr grid"])
    np.testing.assert_allclose(m.H, m.U + m.p * m.V)
    np.testing.assert_allclose(m.F, m.U - m["T"] * m.S)
    np.testing.assert_allclose(m.G, m.F + m.p * m.V)
    np.testing.assert_allclose(m.S - m.S_direction, 2 * np.log(m.radius), atol=5e-3)
    np.testing.assert_allclose(m["T"], 0.5 * m.learning_rate * xr.ones_like(m.weight_decay))
    assert set(m.U.dims) == {"learning_rate", "weight_decay"}
    assert np.all(m.S_direction_angles_error > 0)


def test_means_are_written_out(runs):
    """T = eta <1/r^2> sigma^2/2 and V = <r^2>/2 with radii spread over a decade: 1/<r^2> would be far off."""
    ds = runs["lr d=10"].copy(deep=True)
    ds["theta"] = ds["theta"] * np.geomspace(0.3, 3.0, ds.sizes["replica"])[:, None]
    m, record = ideal_gas.thermodynamics(ds, angles=False), frames(ds)
    square = np.exp(record.log_square)
    np.testing.assert_allclose(m["T"], 0.5 * 0.05 * (1 / square).mean(), rtol=1e-12)
    np.testing.assert_allclose(m.V, 0.5 * square.mean(), rtol=1e-12)
    np.testing.assert_allclose(m.radius, np.sqrt(square).mean(), rtol=1e-12)
    np.testing.assert_allclose(m.pV_over_RT, 0.05 * m.V / (4.5 * m["T"]), rtol=1e-12)
    np.testing.assert_allclose(m.heat_capacity, record.loss.var() / m["T"] ** 2, rtol=1e-12)
    assert float(m["T"]) * square.mean() > 1.5 * 0.5 * 0.05


def test_autocorrelation_time_of_the_loss(runs):
    """1/(2 eta_eff) at low temperature: L is quadratic in a direction that relaxes at eta_eff. Catches a factor 2."""
    m = ideal_gas.thermodynamics(runs["sphere rates"], angles=False)
    expected = 1 / (2 * m.learning_rate)
    assert_within(
        m.autocorrelation_time, m.autocorrelation_time_error, expected, catches="factor 2", mistake=expected / 1.05
    )


@pytest.mark.parametrize(
    ("name", "slope", "value"),
    [
        ("elr grid", "relation", -1.0),
        ("elr grid", "dlnr_dln_weight_decay", -0.5),
        ("lr grid", "relation", 1.0),
        ("lr grid", "dlnr_dln_weight_decay", -0.25),
        ("sphere radii", "relation", 2.0),
    ],
)
def test_maxwell_and_radius_slopes(runs, name, slope, value):
    """Exact at any step up to O(eta_eff); catches (d-1)/2 taken for d-1 and the exponents 1/2 and 1/4 of the radius."""
    m = ideal_gas.maxwell(runs[name])
    tolerance = 0.05 if slope == "relation" else 0.01  # O(eta_eff), and the estimator's bias at unequal sample numbers
    difference = np.clip(float(m[slope]) - value, -tolerance, tolerance)
    error = float(m[f"{slope}_error"])
    assert_within(float(m[slope]) - difference, error, value, catches="factor 2", mistake=abs(value) / 2 - tolerance)


def test_slopes_recover_a_plane_on_any_axes():
    """Catches axes in the wrong order and an axis of one value that makes the fit singular."""
    ds = sphere_ensemble("fixed-lr", sweep=GRID | {"model.noise": [1.0]}, replicas=8, steps=2, every=1)
    there = cells(ds)
    grid = np.log(there.learning_rate) * 3 - np.log(there.weight_decay) * 0.5 + 7
    fitted = ideal_gas.slopes(there, grid[..., None])
    assert fitted["learning_rate"][0] == pytest.approx(3)
    assert fitted["weight_decay"][0] == pytest.approx(-0.5)
    assert fitted["relation"][0] == pytest.approx(3.5)
    assert "noise" not in fitted


def test_free_energy_maps_have_their_minimum_at_the_target():
    """With exact states in place of the measured: catches T, p of the state used for those of the target."""
    rates, decays = np.geomspace(0.003, 0.1, 5), np.geomspace(0.003, 0.1, 5)
    for protocol, sweep in (
        ("fixed-elr", {"theta.learning_rate": rates, "theta.weight_decay": decays}),
        ("fixed-sphere", {"theta.learning_rate": rates, "theta.radius": [0.5, 1.0]}),
    ):
        ds = sphere_ensemble(protocol, sweep=sweep, replicas=256, steps=4000, every=500, seed=3)
        maps = ideal_gas.free_energy_maps(ds)
        assert int(maps["distance"].max()) <= 1, protocol
        assert ("F" in maps) == (protocol == "fixed-sphere")


@pytest.mark.parametrize("sweep", [GRID, {"theta.learning_rate": RATES}])
def test_too_few_samples_for_any_entropy(sweep):
    """Two replicas of a few steps: no entropy, so no state is the lowest, and the picture goes without."""
    ds = sphere_ensemble("fixed-elr", sweep=sweep, replicas=2, steps=12, every=1)
    maps = ideal_gas.free_energy_maps(ds)
    assert np.isnan(maps["G"]).all()
    assert (maps["distance"] == -1).all()
    assert (maps["minimum_learning_rate"] == -1).all()
    assert not any("entropy" in panel.get_ylabel() for panel in plots.figure(ds).axes)


@pytest.mark.parametrize(("protocol", "start"), [("fixed-lr", 0.3), ("fixed-elr", 3.0)])
def test_radius_transient(protocol, start):
    """Against walks of the exact chain; catches the rates of ln r, r^2 and r^4 taken for each other, and 1 % of r."""
    ds = sphere_ensemble(
        protocol,
        learning_rate=0.02,
        weight_decay=0.02,
        radius=start,
        initial="random",
        replicas=96,
        steps=1000,
        every=100,
    )
    rows = {row.quantity.rsplit(" at ")[0]: row for row in ideal_gas_check.check(ds)}
    assert {"mean loss", "mean radius", "mean gradient square"} <= set(rows)
    assert judge(list(rows.values())).consistent
    radius = rows["mean radius"]
    steps = np.array(radius.quantity.rsplit("step ")[1].split(", "), float)
    doubled = theory.radius_transient(protocol, 3, 1.0, 0.02, 0.02, start, 2 * steps)
    course = ideal_gas.radius_transient(ds)
    assert np.max(np.abs(course["radius"].sel(step=steps) - doubled)) > 0.05
    assert not judge([replace(radius, exact=doubled)]).consistent
    assert not judge([replace(radius, exact=1.01 * radius.exact)]).consistent


def test_radius_fluctuations(runs):
    """Finite-step spread of ln r^2, including its excess over eta_eff sigma; catches a factor sqrt 2."""
    found = ideal_gas.radius_fluctuations(runs["elr grid"]).isel(learning_rate=-1)
    exact = sphere_chain.stationary("fixed-elr", 3, 1.0, RATES[-1], DECAYS)["log_radius_square_deviation"][0]
    assert_within(
        found["log_radius_square_deviation"],
        found["log_radius_square_deviation_error"],
        exact,
        catches="sqrt 2",
        mistake=0.29 * exact,
    )
    np.testing.assert_allclose(found["leading_order"], RATES[-1])


def test_jackknife_of_a_nonlinear_function_leaves_out_diverged_replicas():
    """Catches means taken with NaN, the factor (n-1)/n, and replicas on the wrong axis."""
    random = np.random.default_rng(1)
    x = random.normal(2.0, 0.1, (3, 400))
    spoiled = np.concatenate([x, np.full((3, 5), np.nan)], axis=1)
    value, error = jackknife({"x": spoiled}, lambda m: m["x"] ** 2)
    np.testing.assert_allclose(value, x.mean(1) ** 2)
    np.testing.assert_allclose(error, 2 * x.mean(1) * x.std(1, ddof=1) / 20, rtol=0.01)


def test_diverged_replicas_do_not_spoil_the_rest(runs):
    """NaN replicas are left out of every quantity."""
    ds = runs["elr cell"].copy(deep=True)
    for name in ds.data_vars:
        ds[name][{"replica": 5, "step": slice(3, None)}] = np.nan
    means = ideal_gas.thermodynamics(ds, angles=False)
    assert all(np.all(np.isfinite(means[name])) for name in means)


def test_time_blocks_stand_for_replicas(runs):
    """One chain, as in the paper: sixteen blocks; catches cumulative sums not differenced within a block."""
    record = frames(runs["one chain"])
    assert record.replicas == 16
    mean = record.per_step("loss_sum").mean()
    exact = float(sphere_chain.stationary("fixed-elr", 3, 1.0, 0.1, 0.01)["loss"][0])
    error = record.per_step("loss_sum").std(ddof=1) / 4
    assert_within(mean, error, exact, catches="undifferenced sums", mistake=exact)


def test_schedules_have_nothing_to_compare(runs):
    """A schedule is refused by the analysis and gives no comparisons."""
    ds = runs["elr cell"].copy()
    ds.attrs["settings"] = ds.attrs["settings"].replace(
        '"learning_rate": 0.05', '"learning_rate": {"kind": "constant", "value": 0.05}'
    )
    assert list(ideal_gas_check.check(ds)) == []
    with pytest.raises(ValueError, match=r"theta\.learning_rate is a schedule"):
        cells(ds)


@pytest.mark.parametrize("name", ["elr cell", "lr grid", "sphere radii"])
def test_figures_draw(runs, name):
    """Every shape of run has a figure with labelled axes."""
    figure = plots.figure(runs[name])
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    assert len(shown) >= 4
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in shown)
