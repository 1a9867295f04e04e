"""Precision of currents: bounds on every path of small chains, exact moments, an analysis that mistakes would fail."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import linalg

import thermosim
from tests import driven_ensembles
from tests.assertions import assert_within
from tests.driven_ensembles import changed, trap
from thermosim import analysis
from thermosim.checks import driven
from thermosim.exact import currents, linear_langevin
from thermosim.exact import driven as exact_driven
from thermosim.exact import uncertainty_bounds as bounds
from thermosim.exact.linear_langevin import LinearForce

FROZEN: dict[str, Any] = {"dynamics": "frozen", "protocol": {}}
ROTATION = trap(
    model={"name": "rotational-trap", "dimension": 2, "stiffness": 1.3, "rotation": 0.9},
    theta=FROZEN,
    x__time_step=0.5,
    x__tau=1,
    run__steps=18,
)
BEADS = changed(ROTATION, model={"name": "two-beads", "stiffness": 1.0, "coupling": 1.5}, x__temperature=[2.5, 1.0])
FORCE = LinearForce(1.3 * np.eye(2), np.zeros(2), 0.9 * np.array([[0.0, -1.0], [1.0, 0.0]]))


def test_the_discrete_bound_solves_its_equation() -> None:
    """sinh^2 x with 2 x tanh x = Sigma, between the continuous and the exponential one."""
    entropy = np.array([1e-8, 1e-3, 0.5, 2.0, 9.0, 60.0, 400.0])
    found = bounds.discrete_bound(entropy)
    x = np.arcsinh(np.sqrt(found))
    np.testing.assert_allclose(2.0 * x * np.tanh(x), entropy, rtol=1e-10)
    assert np.all((bounds.continuous_bound(entropy) <= found) & (found <= bounds.exponential_bound(entropy)))
    assert bounds.discrete_bound(0.0) == 0.0
    assert np.isnan(bounds.discrete_bound(-1.0))


@pytest.fixture(scope="module")
def chains() -> dict[str, float]:
    """The largest ratio of a precision to each bound, over all currents of 200 chains of three states."""
    rng, worst = np.random.default_rng(0), dict.fromkeys(("discrete", "additive", "any", "continuous", "moves"), 0.0)
    missing = dict.fromkeys(("theorem", "without boundary"), 0.0)
    for _ in range(200):
        steps = int(rng.integers(1, 6))
        p = np.exp(rng.normal(size=(3, 3)) * rng.choice([0.5, 1.5, 3.0])) * (
            1.0 + rng.uniform(0, 20) * np.roll(np.eye(3), 1, 1)
        )
        p /= p.sum(axis=1, keepdims=True)
        law = np.linalg.matrix_power(p, 4096)[0]
        paths = np.array(list(itertools.product(range(3), repeat=steps + 1)))
        before, after = paths[:, :-1], paths[:, 1:]
        chance = law[paths[:, 0]] * p[before, after].prod(axis=1)
        ratio = np.log(p[before, after] / p[after, before]).sum(axis=1)
        sigma = ratio + np.log(law[paths[:, 0]] / law[paths[:, -1]])
        counts = [
            ((before == a) & (after == b)).sum(1) - ((before == b) & (after == a)).sum(1)
            for a, b in [(0, 1), (1, 2), (2, 0)]
        ]
        flow = np.array(counts, float)
        entropy, mean = chance @ ratio, flow @ chance
        additive = mean @ np.linalg.pinv((flow * chance) @ flow.T - np.outer(mean, mean)) @ mean
        t = chance @ np.tanh(sigma / 2.0) ** 2
        every = t / (1.0 - t)
        for name, value, bound in (
            ("discrete", max(additive, every), bounds.discrete_bound(entropy)),
            ("additive", additive, bounds.additive_bound(entropy, steps)),
            ("any", every, bounds.additive_bound(entropy, steps)),
            ("continuous", additive, bounds.continuous_bound(entropy)),
            ("moves", additive, bounds.moves_bound(p, law, steps)),
        ):
            worst[name] = max(worst[name], float(value / bound))
        for name, exponent in (("theorem", sigma), ("without boundary", ratio)):
            missing[name] = max(missing[name], float(np.abs((flow * np.tanh(exponent / 2.0)) @ chance - mean).max()))
    return worst | missing


def test_bounds_of_small_chains(chains: dict[str, float]) -> None:
    """The discrete one holds for every current, the additive one for sums over steps, the continuous one not."""
    assert chains["discrete"] < 1.0 + 1e-9
    assert chains["additive"] < 1.0 + 1e-9
    assert chains["moves"] < 1.0
    assert chains["any"] > 1.5
    assert chains["continuous"] > 3.0


def test_the_theorem_needs_the_boundary_term(chains: dict[str, float]) -> None:
    """<J tanh(sigma/2)> = <J> on the whole, path by path, for currents of any chain."""
    assert chains["theorem"] < 1e-12
    assert chains["without boundary"] > 0.1


def _path(move: linear_langevin.Transition, start: np.ndarray, steps: int) -> np.ndarray:
    """Covariance of (x_0, ..., x_n), from its independent noises."""
    n, parts = len(start), []
    for k in range(steps + 1):
        noise = start if k == 0 else move.noise
        parts.append(
            np.vstack([np.zeros((k * n, n)), *[np.linalg.matrix_power(move.matrix, j) for j in range(steps + 1 - k)]])
            @ linalg.sqrtm(noise)
        )
    return np.asarray(sum(part @ part.T for part in parts)).real


TWISTED = LinearForce(
    np.array([[1.4, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 2.0]]),
    np.zeros(3),
    np.array([[0.0, -0.8, 0.2], [0.6, 0.0, 0.0], [0.1, 0.3, 0.0]]),
)


@pytest.mark.parametrize("name", ["work", "heat", "log_ratio_x", "swept"])
def test_moments_of_currents(name: str) -> None:
    """Three temperatures, forces that do not commute, no stationary start: against the law of whole paths."""
    h, t, mobility, steps = 0.3, np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.7, 1.2]), 4
    move = linear_langevin.transition(TWISTED, "ula", h, t, mobility)
    start = np.array([[1.0, 0.3, 0.0], [0.3, 0.7, 0.1], [0.0, 0.1, 2.0]])
    forms = currents.book_forms(TWISTED, "ula", h, t, mobility)
    form = currents.swept_form(3, (0, 2)) if name == "swept" else forms[name]
    whole = np.zeros((3 * (steps + 1), 3 * (steps + 1)))
    for k in range(steps):
        whole[3 * k : 3 * k + 6, 3 * k : 3 * k + 6] += form
    product = whole @ _path(move, start, steps)
    mean, variance = currents.current_moments(move, start, form, [2, steps])
    np.testing.assert_allclose(
        [mean[1], variance[1]], [np.trace(product), 2.0 * np.trace(product @ product)], rtol=1e-10
    )
    if name != "swept":  # the books, as they are reckoned elsewhere
        state = linear_langevin.Gaussian(np.zeros(3), start)
        books = linear_langevin.mean_books(state, TWISTED, "ula", h, t, mobility)[1]
        first = currents.current_moments(move, start, form, 1)[0]
        np.testing.assert_allclose(first, getattr(books, name.removesuffix("_x")), rtol=1e-10)


@pytest.mark.parametrize("h", [0.05, 0.5, 0.9])
def test_quadratic_currents_of_a_gaussian_chain_keep_the_continuous_bound(h: float) -> None:
    """The largest precision of any of them is sum l^2/(1 + l^2), half the entropy production sum l^2/(1 - l^2)."""
    state, move = (of(TWISTED, "ula", h, 1.0) for of in (linear_langevin.stationary_state, linear_langevin.transition))
    steps = 3
    covariance = _path(move, state.covariance, steps)
    turned = np.arange(3 * (steps + 1)).reshape(-1, 3)[::-1].ravel()
    back = covariance[np.ix_(turned, turned)]
    even, odd = 0.5 * (covariance + back), 0.5 * (covariance - back)
    squares = linalg.eigh(odd, even, eigvals_only=True) ** 2
    squares = np.sort(squares)[::2]  # each comes twice
    forms = currents.book_forms(TWISTED, "ula", h, 1.0)
    entropy = currents.current_moments(move, state.covariance, forms["log_ratio_x"], steps)[0]
    np.testing.assert_allclose(np.sum(squares / (1.0 - squares)), entropy / 2.0, rtol=1e-6)
    for name in ("work", "heat", "log_ratio_x"):
        mean, variance = currents.current_moments(move, state.covariance, forms[name], steps)
        assert mean**2 / variance <= np.sum(squares / (1.0 + squares)) * (1.0 + 1e-9)


def test_counting_steps_exceeds_the_continuous_bound() -> None:
    """The sign of one step's work, in closed form, against many steps; the entropy against the linear chain."""
    rng, h, k, e, n, size = np.random.default_rng(4), 0.8, 1.1, 0.8, 6, 400_000
    precision, half = currents.rotational_trap_sign(k, e, n, h)
    assert half == pytest.approx(0.5 * h * float(exact_driven.rotational_trap_rate(k, e, n, h)))
    spread = np.sqrt(2.0 * h / (1.0 - (1.0 - h * k) ** 2 - (h * e) ** 2))
    x, noise = spread * rng.standard_normal((size, n // 2, 2)), rng.standard_normal((size, n // 2, 2))
    turned = x[..., ::-1] * np.array([-1.0, 1.0])
    work = e * np.sum(turned * (x + h * (-k * x + e * turned) + np.sqrt(2.0 * h) * noise), axis=(1, 2))
    chance = np.mean(work > 0.0)
    measured, error = chance, np.sqrt(chance * (1.0 - chance) / size)
    exact = 0.5 + 0.5 * np.sqrt(precision / (1.0 + precision))
    assert_within(measured, error, exact, catches="a wrong tilt of the coin", mistake=0.02)
    strong = currents.rotational_trap_sign(1.0, 0.7, 6, 1.0)
    assert strong[0] > 1.4 * strong[1]
    assert strong[0] < bounds.discrete_bound(2.0 * strong[1])


@pytest.fixture(scope="module")
def stirred() -> xr.Dataset:
    return driven_ensembles.simulate(ROTATION, seed=5)


def _density(ds: xr.Dataset, h: float = 0.5) -> xr.DataArray:
    """ln p_st of x, but for a constant: that of the chain."""
    law = linear_langevin.stationary_state(FORCE, "ula", h, 0.8)
    return ds.x.isel(x_dim=0, drop=True).copy(data=law.log_density(ds.x.transpose("step", "replica", "x_dim").values))


def test_precision_of_the_books(stirred: xr.Dataset) -> None:
    """Against the moments of the chain, every frame; work and heat lost by a factor 2, or Sigma, would show."""
    found = analysis.uncertainty(stirred, first=12, log_density=_density(stirred))
    state, move = (of(FORCE, "ula", 0.5, 0.8) for of in (linear_langevin.stationary_state, linear_langevin.transition))
    forms = currents.book_forms(FORCE, "ula", 0.5, 0.8)
    moves = found.step.values - 12
    entropy = currents.current_moments(move, state.covariance, forms["log_ratio_x"], moves)[0]
    for name in ("work", "heat", "log_ratio_x"):
        mean, variance = currents.current_moments(move, state.covariance, forms[name], moves)
        here = found.sel(current=name)
        for of, exact in (("mean", mean), ("variance", variance), ("precision", mean**2 / variance)):
            assert_within(here[of], here[f"{of}_error"], exact, catches=f"{of} of {name}")
        exact = 2.0 * mean**2 / variance / entropy
        efficiency, error = here.continuous_efficiency, here.continuous_efficiency_error
        assert_within(efficiency, error, exact, catches="Sigma twice", mistake=exact / 2.0)
        discrete = mean**2 / variance / bounds.discrete_bound(entropy)
        assert_within(
            here.discrete_efficiency, here.discrete_efficiency_error, discrete, catches="g of Sigma, not Sigma/2"
        )
    assert not found.drifts
    assert not found.discrete_exceeded.any()
    assert not found.joint_continuous_exceeded.any()
    assert np.all(found.joint_precision > found.precision.max("current") - 4.0 * found.joint_precision_error)
    assert np.all(found.joint_precision < found.attainable_precision)


@pytest.mark.parametrize("mistake", ["none", "Sigma twice", "no boundary term", "shifted step"])
def test_the_detailed_theorem(stirred: xr.Dataset, mistake: str) -> None:
    """<J tanh(sigma/2)> = <J> with the density of the state."""
    ratio, density = stirred.log_ratio_x, _density(stirred)
    if mistake == "Sigma twice":
        stirred = stirred.assign(log_ratio_x=2.0 * ratio)
    if mistake == "no boundary term":
        density = 0.0 * density
    if mistake == "shifted step":
        stirred = stirred.assign(log_ratio_x=ratio.shift(step=1, fill_value=0.0))
    found = analysis.uncertainty(stirred, ["work", "heat"], first=12, log_density=density).isel(step=1)
    z = float(abs((found.theorem - 1.0) / found.theorem_error).max())
    assert z < 4.0 if mistake == "none" else z > 8.0, z


def test_heat_between_two_baths() -> None:
    """Both heats, and what they say together."""
    ds = driven_ensembles.simulate(changed(BEADS, x__time_step=0.1), seed=3)
    found = analysis.uncertainty(ds, first=8).isel(step=-1)
    assert list(found.current.values) == ["heat", "log_ratio_x", "heat_from_hot", "heat_from_cold"]
    hot, cold = (found["mean"].sel(current=f"heat_from_{name}") for name in ("hot", "cold"))
    assert hot > 0.0 > cold
    both = analysis.uncertainty(ds, ["heat", "log_ratio_x"], first=8).isel(step=-1)
    np.testing.assert_allclose(found.joint_precision, both.joint_precision, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        (ROTATION, "none"),
        (ROTATION, "Sigma twice"),
        (ROTATION, "shifted step"),
        (changed(BEADS, x__time_step=0.1), "none"),
        (changed(BEADS, x__time_step=0.1), "Sigma twice"),
    ],
    ids=["rotation", "Sigma twice", "shifted step", "beads", "beads, Sigma twice"],
)
def test_check_compares_precision(settings: dict[str, Any], mistake: str) -> None:
    ds = driven_ensembles.simulate(settings, seed=9)
    if mistake == "Sigma twice":
        ds = ds.assign(log_ratio_x=2.0 * ds.log_ratio_x)
    late = ds.isel(step=[9, 11])
    if mistake == "shifted step":
        names = ["work", "heat", "log_ratio_x"]
        ahead = ds.isel(step=[9, 12]).assign_coords(step=late.step)  # one move more
        late = late.assign({name: ahead[name] for name in names})
    rows = [row for row in driven.check(late) if row.quantity.startswith("precision")]
    assert len(rows) == 2
    worst = max(float(np.abs(row.z).max()) for row in rows)
    assert worst < 4.0 if mistake == "none" else worst > 5.0, worst


def test_a_start_that_is_not_stationary_is_told(stirred: xr.Dataset) -> None:
    """Fast relaxation after a quench: log ratios without the change of ln p are no entropy production."""
    quenched = changed(BEADS, x__time_step=0.1, x__temperature=[2.5, 1.0])
    ds = driven_ensembles.simulate(quenched, seed=2)
    early = xr.DataArray(np.exp(-0.2 * ds.step.values), dims="step", coords={"step": ds.step})
    assert bool(analysis.uncertainty(ds.assign(log_ratio_x=ds.log_ratio_x - 5.0 * early)).drifts)
    assert not bool(analysis.uncertainty(ds, first=6).drifts)


def test_what_is_refused(stirred: xr.Dataset) -> None:
    moving = driven_ensembles.simulate(changed(trap(), ensemble__replicas=8))
    with pytest.raises(ValueError, match=r"theta.protocol.center changes in time: .*steady state"):
        analysis.uncertainty(moving)
    with pytest.raises(ValueError, match=r"phi is no current of x: expected one of work, heat"):
        analysis.uncertainty(stirred, ["phi"])
    with pytest.raises(ValueError, match=r"distance never falls, on no path"):
        analysis.uncertainty(
            stirred,
            {"distance": abs(stirred.work.diff("step")).cumsum("step").reindex(step=stirred.step, fill_value=0.0)},
        )
    with pytest.raises(ValueError, match=r"w has no dimension \['replica'\]"):
        analysis.uncertainty(stirred, {"w": stirred.work.mean("replica")})
    with pytest.raises(ValueError, match=r"w lacks frames of the ensemble, such as step 4"):
        analysis.uncertainty(stirred, {"w": stirred.work.isel(step=slice(4))})
    with pytest.raises(ValueError, match=r"first = 18: expected a recorded step before the last, 18"):
        analysis.uncertainty(stirred, first=18)


def test_swept_area_of_the_frames(stirred: xr.Dataset) -> None:
    """The work of the drive is 2 eps times the area; the area of a stirred trap has its moments."""
    area = analysis.circulation(stirred, "x", (0, 1))
    np.testing.assert_allclose(2.0 * 0.9 * area.values, stirred.work.transpose(*area.dims).values, atol=1e-12)


def test_training_beyond_the_continuous_bound() -> None:
    """SGLD at a large rate: steps that the log ratio counts exceed Sigma/2, and it does not; sigma in closed form."""
    case = thermosim.load_case(
        {
            "model": {"name": "quadratic", "dimension": 6, "condition": 1.0},
            "theta": {"dynamics": "sgld", "learning_rate": 1.0, "temperature": 0.05, "batch": 4},
            "data": {"source": "gaussian", "rows": 4000, "seed": 1},
            "ensemble": {"replicas": 3000, "seed": 3},
            "run": {"steps": 16},
            "record": {"every": 1},
        }
    )
    ds = thermosim.simulate(case, threads=1)
    flows = {"log ratio": ds.log_ratio_theta, "steps": analysis.forward_steps(ds, "log_ratio_theta")}
    found = analysis.uncertainty(ds.isel(step=[4, 5, 10, 16]), flows)
    exact = currents.minibatch_entropy_production(np.eye(6), np.eye(6) / 4.0, 1.0, 0.05)
    one = found.isel(step=0)
    tolerance = 0.03 * exact  # of the covariance of 4000 rows
    assert abs(float(one.entropy_production) - exact) < 4.0 * float(one.entropy_production_error) + tolerance
    assert list(found.continuous_exceeded.isel(step=-1).values) == [False, True]
    assert not found.discrete_exceeded.any()
    assert not found.drifts
