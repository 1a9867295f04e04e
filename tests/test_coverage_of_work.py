"""95 % intervals of work, noise, reservoir and ideal gas cover; flags mean what they say, and do not select by luck."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from scripts.validation import coverage_of_work as validation
from scripts.validation.coverage import Estimate
from scripts.validation.coverage_of_work import Many, bimodal, ensemble, estimates, gamma, gaussian
from tests import driven_ensembles, information_ensembles
from tests.assertions import assert_within, mean_and_error
from tests.driven_ensembles import trap
from tests.learning_paths import RBM, run
from thermosim.analysis import gradient_noise, learning, mixtures, reservoir, work
from thermosim.analysis.estimates import interval
from thermosim.analysis.exponential_averages import exponential_average
from thermosim.analysis.machine import machines
from thermosim.analysis.skewed_means import expected_skewness, mean_interval
from thermosim.analysis.sphere_frames import jackknife
from thermosim.checks import driven as driven_check
from thermosim.exact import ideal_gas, sphere_chain
from thermosim.exact.linear_langevin import Gaussian

SCENARIOS: dict[str, tuple[Many, int]] = {}
for _many, _repeats in (
    *((validation.of_jarzynski(law, 200), 600) for law in (gaussian(0.5), gaussian(1.0), gamma(1.0, 2.0))),
    *((validation.of_jarzynski(law, 1000), 400) for law in (gaussian(1.5), gaussian(2.0), gamma(4.0, -0.25))),
    (validation.of_jarzynski(bimodal(0.5, 3.0, 0.3), 5000), 300),
    (validation.of_integral_theorem(gaussian(0.5), 60), 600),
    *((many, 200) for many in validation.of_crooks(gaussian(1.5), (60, 40))),
    *((many, 300) for many in validation.of_currents(8)),
    *((many, 600) for many in validation.of_spread(0.3, 200)),
    (validation.of_noise(1, 40), 600),
    (validation.of_loss_variance(0.0, 100), 600),
    (next(validation.of_reservoir(12)), 300),
    *((many, 300) for many in validation.of_gas(16) if not many.estimator.endswith("slope")),
):
    SCENARIOS[f"{_many.estimator}: {_many.ensemble}"] = (_many, _repeats)


@pytest.mark.parametrize("name", SCENARIOS)
def test_intervals_cover(name: str) -> None:
    """What is not flagged covers in 93 to 97 of 100 ensembles, as far as so many tell."""
    many, repeats = SCENARIOS[name]
    found = many.coverage(repeats)
    assert found.allowed(), (found.covered, found.sound)
    assert found.sound > 0.9 * repeats or "1.5, 1000" in name or "2, 1000" in name or "-0.25" in name


def test_the_old_intervals_and_flags_would_fail() -> None:
    """Two errors about the mean of squares, and a flag from the weights themselves: both are refused by far."""

    def of_squares(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        squares = xr.DataArray(rng.standard_normal((repeats, 40)) ** 2, dims=("step", "replica"))
        mean, error = mean_and_error(squares.values)
        return [Estimate(m, m - 1.96 * e, m + 1.96 * e) for m, e in zip(mean, error)]

    def of_weights(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        a = xr.DataArray(2.0 * rng.standard_normal((repeats, 1000)), dims=("step", "replica"))
        found = exponential_average(a)
        columns = (found.logarithm, found.logarithm - 1.96 * found.error, found.logarithm + 1.96 * found.error)
        sound = (found.sample_size >= 60.0).values
        return [Estimate(*numbers) for numbers in zip(*(c.values for c in columns), sound)]

    assert not Many("squares", "40", 1.0, of_squares).coverage(3000).allowed()
    weights = Many("weights", "deviation 2", 2.0, of_weights).coverage(600)
    assert weights.sound > 60
    assert weights.covered < 0.7


def test_the_flag_does_not_look_at_rare_weights() -> None:
    """At deviation 2 it is down in nearly all ensembles, lucky or not; at 0.5 up; and no rare replica moves it."""
    rng = np.random.default_rng(4)
    for deviation, least, most in ((2.0, 0.0, 0.01), (0.5, 1.0, 1.0)):
        a = xr.DataArray(deviation * rng.standard_normal((400, 1000)), dims=("step", "replica"))
        assert least <= float(exponential_average(a).reliable.mean()) <= most
    a = np.sort(rng.standard_normal(1000))
    skewness = [float(expected_skewness(xr.DataArray(b, dims="replica"))) for b in (a, a[:-3])]
    weights = [np.exp(b) for b in (a, a[:-3])]
    shown = [float(np.mean((w - w.mean()) ** 3) / w.std() ** 3) for w in weights]
    assert abs(skewness[0] / skewness[1] - 1.0) < 0.2 < abs(shown[0] / shown[1] - 1.0)
    exact = (np.exp(1.0) + 2.0) * np.sqrt(np.expm1(1.0))
    assert abs(skewness[0] / exact - 1.0) < 0.3
    long = xr.DataArray(rng.standard_exponential(2000), dims="replica")  # <e^{3 a}> does not exist
    assert np.isinf(float(expected_skewness(0.5 * long)))
    assert np.isfinite(float(expected_skewness(-2.0 * long)))


def test_bias_of_few_replicas_is_taken_out() -> None:
    """Sixty replicas, deviation 0.8: the logarithm of the plain mean is off by ten standard errors."""
    rng = np.random.default_rng(2)
    found = exponential_average(xr.DataArray(0.8 * rng.standard_normal((20_000, 60)), dims=("step", "replica")))
    mistake = abs(float(found.bias.mean()))
    mean, error = mean_and_error(found.logarithm.values)
    assert abs(mean - 0.32) > 8.0 * error
    mean, error = mean_and_error((found.logarithm - found.bias).values)
    assert_within(mean, error, 0.32, sigmas=5.0, catches="the bias of order 1/R", mistake=mistake)


def test_interval_of_a_skewed_mean() -> None:
    """Wider above than below, Student's for what is not skewed, and a replica that diverged leaves none."""
    rng = np.random.default_rng(0)
    values = xr.DataArray(rng.standard_exponential((3, 50)), dims=("step", "replica"))
    low, high = mean_interval(values)
    mean = values.mean("replica")
    assert bool((high - mean > mean - low).all())
    even = xr.DataArray(np.concatenate([-np.ones(10), np.ones(10)]), dims="replica")
    width = 2.093 * np.sqrt(20 / 19) / np.sqrt(20)
    np.testing.assert_allclose([float(end) for end in mean_interval(even)], [-width, width], rtol=1e-3)
    values[1, 7] = np.nan
    assert np.isnan(mean_interval(values)[0]).values.tolist() == [False, True, False]


CONTRAST = information_ensembles.settings(
    theta__gradient="contrast", theta__dynamics="sgd", theta__temperature=None, theta__batch=1
)
STARTS: dict[str, tuple[dict[str, Any], str]] = {
    "equilibrium": (trap(x__dynamics="exact-ou"), "(exact)"),
    "zero": (trap(x__dynamics="exact-ou", x__initial="zero"), "x starts from 'zero'"),
    "ula": (trap(), "ula: biased, first order in x.time_step"),
    "restart": (trap(x__dynamics="exact-ou", x__restart=True), "restart from data"),
    "drive": (
        trap(
            model={"name": "rotational-trap", "dimension": 2, "stiffness": 1.0, "rotation": 0.5},
            theta={"dynamics": "frozen"},
        ),
        "no gradient",
    ),
    "feedback": (CONTRAST, "contrast lets theta follow x"),
}


@pytest.mark.parametrize("name", STARTS)
def test_jarzynski_knows_its_start(name: str) -> None:
    """`valid` is false, and the condition says why, wherever the equality does not hold; not where it does."""
    settings, words = STARTS[name]
    works = np.random.default_rng(1).normal(0.1, 0.3, (3, 100))
    given = settings | {"record": {"first": 0, "every": 1}}
    result = work.jarzynski(ensemble(given, ("step", "replica"), work=works))
    assert bool(result["valid"]) is (name == "equilibrium")
    assert words in result["free_energy_difference"].attrs["condition"]
    assert bool(result["reliable"].all())


def test_jarzynski_of_a_sweep_over_starts() -> None:
    """One flag for each point; work counts from step 0 also where the first frame is a later one."""
    settings = trap(x__dynamics="exact-ou", sweep={"x.initial": ["equilibrium", "zero"]})
    works = np.random.default_rng(1).normal(0.1, 0.3, (3, 2, 100))
    ds = ensemble(settings, ("step", "initial", "replica"), work=works).assign_coords(initial=["equilibrium", "zero"])
    result = work.jarzynski(ds)
    assert result["valid"].values.tolist() == [True, False]
    late = work.jarzynski(ds.isel(step=slice(1, None)))
    xr.testing.assert_identical(result.isel(step=slice(1, None)), late)


def _pair(forward: list[np.ndarray], backward: list[np.ndarray]) -> xr.Dataset:
    """Crooks' results of points of a sweep with these works."""
    swept = {"x.time_step": [0.1 * (k + 1) for k in range(len(forward))]}
    sides = []
    for direction, works in (("forward", forward), ("reversed", backward)):
        settings = trap(x__dynamics="exact-ou", x__temperature=1.0, run__steps=1, run__direction=direction, sweep=swept)
        values = np.stack([np.zeros_like(works), works])
        ds = ensemble(settings, ("step", "time_step", "replica"), work=values)
        sides.append(ds.assign_coords(time_step=swept["x.time_step"]))
    return work.crooks(*sides)


def test_crooks_keeps_the_good_points_of_a_sweep() -> None:
    """Equal works, no overlap and a diverged replica beside a good point: NaN and flags, no exception."""
    rng, law = np.random.default_rng(7), gaussian(1.0)
    assert law.backward is not None
    good = law.forward(rng, (1, 500))[0], law.backward(rng, (1, 500))[0]
    broken = good[0].copy()
    broken[3] = np.nan
    forward = [good[0], np.full(500, 0.7), good[0] + 400.0, broken]
    backward = [good[1], np.full(500, -0.7), good[1] + 400.0, good[1]]
    result = _pair(forward, backward)
    assert result["reliable"].values.tolist() == [True, True, False, False]
    assert result["crossing_reliable"].values.tolist() == [True, False, False, False]
    assert np.isnan(result["slope"]).values.tolist() == [False, True, True, True]
    assert np.isnan(result["crossing"]).values.tolist() == [False, True, True, True]
    alone = _pair([good[0]], [good[1]])
    for name in ("free_energy_difference", "slope", "crossing"):
        assert float(result[name][0]) == float(alone[name][0])
    np.testing.assert_allclose(result["free_energy_difference"][1], 0.7, atol=1e-9)
    assert np.isnan(result["free_energy_difference"][3])
    assert float(result["overlap"][2]) < 1e-6 < float(result["overlap"][0])


def test_crooks_of_two_replicas() -> None:
    """Too few to say anything: flagged, with a wide interval, whatever the works are."""
    for works in (([0.1, 0.4], [0.2, -0.3]), ([0.1, 0.1], [-0.1, -0.1]), ([5.0, 6.0], [5.0, 6.0])):
        result = _pair(*([np.array(side)] for side in works))
        assert not bool(result["reliable"][0])
        assert not bool(result["crossing_reliable"][0])


def test_crooks_line_away_from_the_mean_work() -> None:
    """dF = 3 at unequal numbers of works: the zero of the line, not its height at the mean work."""
    law = gaussian(1.5, free_energy=3.0)
    rng = np.random.default_rng(3)
    assert law.backward is not None
    forward, backward = law.forward(rng, (1, 20_000))[0], law.backward(rng, (1, 4_000))[0]
    result = _pair([forward], [backward[:4_000]])
    mean = abs(np.concatenate([forward, -backward]).mean() - 3.0)
    for name, exact, mistake in (("crossing", 3.0, mean), ("slope", 1.0, 0.5), ("free_energy_difference", 3.0, mean)):
        value, error = result[name], result[f"{name}_error"]
        assert_within(value, error, exact, catches="the mean work, or a sign of the height", mistake=mistake)


def test_acceptance_ratio_of_pymbar() -> None:
    """The same number, and about the same error, as the reference implementation."""
    bar = pytest.importorskip("pymbar").other_estimators.bar
    rng, law = np.random.default_rng(5), gaussian(1.5)
    assert law.backward is not None
    forward, backward = law.forward(rng, (1, 300))[0], law.backward(rng, (1, 200))[0]
    answer = bar(forward, backward, uncertainty_method="MBAR")
    found = _pair([forward], [backward[:200]])
    np.testing.assert_allclose(found["free_energy_difference"][0], answer["Delta_f"], atol=1e-6)
    np.testing.assert_allclose(found["free_energy_difference_error"][0], answer["dDelta_f"], rtol=0.1)


def _leave_one_out(values: np.ndarray, of: Callable[[np.ndarray], float]) -> float:
    """The jackknife's standard error, one replica left out in turn."""
    without = np.array([of(np.delete(values, r, axis=0)) for r in range(len(values))])
    return float(np.sqrt((len(values) - 1) / len(values) * np.sum((without - without.mean()) ** 2)))


def test_jackknife_errors_have_their_factor() -> None:
    """(R - 1)/R, with five replicas: a mean's error is its standard error, exactly; others as by brute force."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal(5)
    standard = x.std(ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(jackknife({"x": x}, lambda m: m["x"])[1], standard, rtol=1e-12)
    found = exponential_average(xr.DataArray(x, dims="replica"))
    np.testing.assert_allclose(found.error, _leave_one_out(x, lambda y: np.log(np.exp(y).mean())), rtol=1e-12)
    theta, heat = rng.standard_normal((2, 5)), np.stack([np.zeros(5), x])
    result = reservoir.clausius(validation._machine(theta, heat=heat)).isel(step=1)
    np.testing.assert_allclose(result["released_heat_error"], standard, rtol=1e-12)
    ds = validation._machine(rng.standard_normal((4, 5)))
    noise = gradient_noise.gradient_noise(machines(ds)[0]).noise[..., 0].T
    found_noise = gradient_noise.noise_statistics(ds, max_lag=1)

    def correlation(part: np.ndarray) -> float:
        return float((part[:, :-1] * part[:, 1:]).mean(axis=1).sum() / (part**2).mean(axis=1).sum())

    expected = _leave_one_out(noise, correlation)
    np.testing.assert_allclose(found_noise["mean_autocorrelation_error"][0], expected, rtol=1e-12)
    law = reservoir.naive_reservoir(ds, first=0)
    warm = 0.1 * (noise**2).mean(axis=1)
    np.testing.assert_allclose(law["noise_temperature_error"][0], warm.std(ddof=1) / np.sqrt(5), rtol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "reversed"])
def test_free_energy_of_an_energy_without_normaliser(direction: str) -> None:
    """A restricted Boltzmann machine whose ln Z changes by 0.97, up or down: dropped or turned, it shows by far."""
    ds = run(RBM, {} if direction == "forward" else {"run.direction": direction})
    gain = learning.normaliser_gain(machines(ds)[0])[0].values[-1, 0]
    assert abs(abs(gain) - 0.9687) < 1e-3
    last = learning.fluctuation_theorems(ds).isel(step=-1)
    ratio = last.isel(theorem=2)
    mistake = min(abs(np.expm1(gain)), abs(np.expm1(2.0 * gain)))
    assert_within(ratio.average, ratio.average_error, 1.0, catches="dF dropped, or turned", mistake=mistake)
    start = float(ds["phi"].isel(step=0).mean()) - 3.0 * np.log(2.0)
    first = learning.log_normaliser(machines(ds)[0], 0)[0][0]
    gaps = last.entropy_production[2] - last.entropy_production[:2]
    np.testing.assert_allclose(gaps, start + first, rtol=1e-10)  # of work and heat, which bring the same dF


@pytest.mark.parametrize("end", ["state", "equilibrium"])
def test_entropy_production_has_the_end_of_its_step(end: str) -> None:
    """Mean Sigma against the exact books: the law of a step before would leave <exp(-Sigma)> = 1 as it is."""
    ds = driven_ensembles.simulate(trap(run__steps=1, ensemble__replicas=20_000), seed=2)
    cell = driven_check.exact_results(ds)[0]
    result = driven_check.fluctuation_theorem(ds, end).isel(step=-1)

    def exact(step: int) -> float:
        """<ln ratio + ln p_0 - ln p_end>, with the end distribution of a step."""
        last, first = cell.ledger.state(1), cell.ledger.state(0)
        ends = cell.ends(end)
        of_end = Gaussian(ends.mean[step], ends.covariance[step])
        return float(cell.ledger.log_ratio[1] - _cross_entropy(first, first) + _cross_entropy(last, of_end))

    mistake = abs(exact(0) - exact(1))
    value, error = result["entropy_production"], result["entropy_production_error"]
    assert_within(value, error, exact(1), catches="the end distribution of a step before", mistake=mistake)


def _cross_entropy(law: Any, other: Any) -> float:
    """-<ln q> over p, both normal."""
    inverse, gap = np.linalg.inv(other.covariance), law.mean - other.mean
    quadratic = np.trace(inverse @ law.covariance) + gap @ inverse @ gap
    return 0.5 * float(quadratic + np.linalg.slogdet(2.0 * np.pi * other.covariance)[1])


def test_radius_fluctuation_at_fixed_learning_rate() -> None:
    """sqrt(eta lambda/(d - 1)), against the finite-step chain at d = 3: d in its place is 18 % off."""
    rate, decay = 1e-3, 1e-2
    chain = sphere_chain.stationary("fixed-lr", 3, 1.0, rate, decay)["log_radius_square_deviation"][0]
    leading = float(ideal_gas.radius_fluctuation("fixed-lr", 3, 1.0, rate, decay))
    np.testing.assert_allclose(leading, chain, rtol=0.02)


def test_temperature_is_that_of_the_mean_inverse_square() -> None:
    """T = eta sigma^2 <1/r^2>/2 at radii that spread in time and over replicas: 1/<r^2> of either is 4 % off."""
    for many in validation.of_gas(64):
        if many.estimator == "ideal gas, T":
            values = [estimate.value for estimate in many.draw(np.random.default_rng(1), 300)]
            mean, error = mean_and_error(values)
            mistake = many.exact * -np.expm1(-0.5 * 0.3**2)
            assert_within(mean, error, many.exact, catches="1/<r^2> for <1/r^2>", mistake=mistake)


def test_mixture_is_over_all_replicas() -> None:
    """Three replicas, by hand: p_t is the mean over three, and over the other two without the replica itself."""
    means = np.array([0.0, 0.7, -1.1])
    theta = np.stack([means, np.zeros(3)], axis=1)
    machine = machines(validation._machine(means[None]))[0]
    x = np.array([0.3, -0.4, 1.2])
    found = mixtures.surprisals_of(machine, theta, x[:, None, None], np.zeros(3), np.zeros(1, int))
    density = np.exp(-0.5 * (x[:, None] - means) ** 2) / np.sqrt(2.0 * np.pi)
    own = np.diag(density)
    np.testing.assert_allclose(found.own[:, 0], -np.log(own), rtol=1e-12)
    np.testing.assert_allclose(found.included[:, 0], -np.log(density.sum(axis=1) / 3.0), rtol=1e-12)
    np.testing.assert_allclose(found.excluded[:, 0], -np.log((density.sum(axis=1) - own) / 2.0), rtol=1e-12)


def test_means_over_replicas_have_degrees_of_freedom() -> None:
    """Student's interval of eight replicas is 2.365 errors wide on either side."""
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal((2, 8)) for name in ("work", "heat", "log_ratio_x", "phi")}
    result = work.work_and_heat(ensemble(trap(), ("step", "replica"), **values))
    for name in ("work", "heat", "log_ratio", "shadow"):
        width = (interval(result, name).sel(bound="high") - result[name]) / result[f"{name}_error"]
        np.testing.assert_allclose(width, 2.3646, rtol=1e-4)
    assert len(estimates(result, "work")) == 2
