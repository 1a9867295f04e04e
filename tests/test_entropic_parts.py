"""Discretisation and noise in the entropic loss: closed forms of quadratic rows, coefficients measured in runs."""

from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import expm

import thermosim
from tests.assertions import assert_within
from thermosim.analysis import entropic_parts, training
from thermosim.analysis.machine import machines
from thermosim.exact import entropic_parts as theory
from thermosim.plots.picture import picture

CASE = (Path(__file__).parent.parent / "cases" / "training" / "entropic_parts.toml").read_text("utf-8")
SMALL = {"ensemble.replicas": 80, "run.steps": 60, "record.every": 6, "sweep": {"theta.batch": {"values": ["all", 4]}}}
START = np.array([[1.0, -0.4], [0.3, 0.8]])


def run(**changes):
    return thermosim.simulate(
        thermosim.load_case(CASE, SMALL | {key.replace("__", "."): to for key, to in changes.items()})
    )


def quadratic_rows():
    """l_k = (theta - b_k)'A_k (theta - b_k)/2 with A_k that do not commute: (K, 2, 2), (K, 2)."""
    random = np.random.default_rng(3)
    root = random.normal(size=(5, 2, 2)) * [[[1.0], [0.5]]]
    return root @ root.transpose(0, 2, 1) + 0.1 * np.eye(2), random.normal(size=(5, 2))


CURVATURES, CENTRES = quadratic_rows()
MEAN = CURVATURES.mean(0)
FORCE = np.einsum("kij,kj->i", CURVATURES, CENTRES) / len(CENTRES)


def each(theta):
    return np.einsum("kij,krj->kri", CURVATURES, np.broadcast_to(theta, (5, *theta.shape[-2:])) - CENTRES[:, None])


def test_responses_are_those_in_closed_form():
    """D_d = -2 t H^2 exp(-H t)(theta - theta*), and D_n by a sum over small times of what drives it."""
    times = np.array([0.0, 0.4, 0.9])
    found = theory.responses(lambda theta: each(theta).mean(0), each, START, times)
    rest, grid = np.linalg.solve(MEAN, FORCE), np.linspace(0.0, 0.9, 2001)
    exact = -2.0 * 0.9 * (START - rest) @ (MEAN @ MEAN @ expm(-0.9 * MEAN))
    assert np.allclose(found[-1, 0], exact, rtol=1e-3)
    assert not found[0].any()
    drive = []
    for time in grid:
        here = rest + (START - rest) @ expm(-time * MEAN)
        slopes = each(here)
        pull = 2.0 * np.einsum("kij,krj->ri", CURVATURES, slopes) / 5 - 2.0 * slopes.mean(0) @ MEAN
        drive.append(-pull @ expm(-(0.9 - time) * MEAN))
    assert np.allclose(found[-1, 1], np.trapezoid(drive, grid, axis=0), rtol=1e-3)


@pytest.mark.parametrize("number", [1, 3])
def test_the_table_of_protocols(number):
    """Means over all minibatches of one row, exact at any rate by linear recursions: the error of order r halves."""

    def displacement(rate, noisy):
        curved, centres = (CURVATURES, CENTRES) if noisy else (MEAN[None], np.linalg.solve(MEAN, FORCE)[None])
        of_steps = np.stack([np.linalg.matrix_power(np.eye(2) - rate / number * one, number) for one in curved])
        of_flow = np.stack([expm(-rate * one) for one in curved])
        ends = []
        for matrices in (of_steps, of_flow):
            theta = START
            for _ in range(round(0.9 / rate)):
                theta = (np.einsum("kij,krj->ri", matrices, theta[None] - centres[:, None]) + centres.sum(0)) / len(
                    centres
                )
            ends.append(theta)
        return (ends[0] - ends[1]) / rate

    response = theory.responses(lambda theta: each(theta).mean(0), each, START, np.array([0.0, 0.9]))[-1]
    for noisy in (False, True):
        exact = np.tensordot(theory.coefficients(number, noisy), response, 1)
        off = [np.abs(displacement(rate, noisy) - exact).max() for rate in (0.002, 0.001)]
        assert off[1] < 0.55 * off[0]
        assert off[1] < 0.02 * np.abs(exact).max()
        assert np.abs(0.25 / number * response).max((1, 2)).min() > 10.0 * off[1]  # either part left out, or twice


def test_a_step_of_the_flow_is_of_fifth_order():
    gradient = lambda theta: each(theta).mean(0)  # noqa: E731
    rest = np.linalg.solve(MEAN, FORCE)
    off = [theory.flow_step(gradient, START, t) - rest - (START - rest) @ expm(-t * MEAN) for t in (0.2, 0.1)]
    assert 4.6 < np.log2(np.abs(off[0]).max() / np.abs(off[1]).max()) < 5.4


def test_pseudo_values_are_those_of_weighted_least_squares():
    random = np.random.default_rng(0)
    response = random.normal(size=(2, 6, 4)) * random.uniform(0.2, 3.0, (6, 1))
    noise = 0.1 * random.normal(size=(6, 4))
    moved = 0.25 * response[0] - 0.7 * response[1] + noise
    weight = 1.0 / np.sqrt((response**2).sum((0, 2)))

    def fit(kept):
        design = (response * weight[:, None])[:, kept].reshape(2, -1).T
        return np.linalg.lstsq(design, (moved * weight[:, None])[kept].ravel(), rcond=None)[0]

    whole = fit(np.arange(6))
    expected = [6 * whole - 5 * fit(np.delete(np.arange(6), k)) for k in range(6)]
    assert np.allclose(theory.pseudo_values(moved, response), expected)


@pytest.fixture(scope="module")
def both():
    return run()


@pytest.fixture(scope="module")
def found(both):
    return entropic_parts(both)


def test_coefficients_of_both_parts_are_a_quarter(found):
    """Of SGD within errors that would show a factor 2 or a part left out; of gradient descent to five digits."""
    sgd = found.sel(batch="4")
    for number in (1, 2):
        here = sgd.sel(substeps=number)
        assert_within(here.coefficient, here.coefficient_error, 0.25 / number, catches="a factor 2, or a part left out")
        assert float(here.coefficient_error.max()) < 0.125 / number / 4.0
    assert np.allclose(found.coefficient.sel(batch="all"), [[0.25, 0.0], [0.125, 0.0]], atol=1e-4)
    assert np.array_equal(found.exact, [[[0.25, 0.0], [0.125, 0.0]], [[0.25, 0.25], [0.125, 0.125]]])
    shift = found.coefficient_at_rate.sel(batch="all", substeps=1, of_entropy="discretisation") - 0.25
    assert float(shift[0] / shift[1]) == pytest.approx(2.0, abs=0.1)  # what is extrapolated is of order r


def test_the_parts_along_the_path_are_those_of_training(both, found):
    of_training = training(both)
    for part, name in (("discretisation", "gradient_square"), ("noise", "minibatch_noise")):
        assert np.allclose(found.entropy.sel(of_entropy=part), 0.0025 * of_training[name], rtol=1e-10)
    last = found.isel(step=-1)
    assert np.allclose(last.displacement, last.predicted_displacement, rtol=0.1)
    assert np.all(last.displacement > 0.0)


def test_the_check_compares_and_notices_half_steps(both):
    report = thermosim.check(both)
    assert report.consistent
    assert len(report.comparisons) == 2
    other = both.copy(deep=True)  # a run whose steps on all rows were made as two
    machine = machines(both.isel(batch=[0]))[0]
    theta, paths = machine.theta(0), []
    for step in range(int(both.step[-1]) + 1):
        if step in both.step:
            paths.append(theta)
        for _ in range(2):
            theta = theta - 0.005 * machine.evaluator.data_gradient(machine.data.values, theta)[1]
    moved = both.theta.transpose("step", "batch", "replica", "theta_dim").copy()
    moved[:, 0] = np.stack(paths)
    assert not thermosim.check(other.assign(theta=moved)).consistent


def test_the_picture_shows_them(both):
    words = [axes.get_ylabel() for axes in picture(both.isel(step=slice(3))).axes]
    assert any("coefficient $c$" in word for word in words)
    assert any("parts of the entropic loss" in word for word in words)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta__momentum": 0.5}, "plain gradient descent"),
        ({"data__fresh": True, "data__rows": None, "theta__batch": 2, "sweep": {}}, "fresh"),
        ({"ensemble__replicas": 2}, "too few"),
    ],
)
def test_what_tells_no_parts_is_refused(changes, message):
    ds = run(**({"ensemble__replicas": 4, "run__steps": 10} | changes))
    with pytest.raises(ValueError, match=message):
        entropic_parts(ds)


def test_numbers_of_substeps_are_whole(both):
    with pytest.raises(ValueError, match="whole numbers from 1"):
        entropic_parts(both, [0])
