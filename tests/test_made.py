"""The masked autoencoder: its law against plain numpy, its masks, its gradient, its samples."""

import numpy as np
import pytest
from scipy import stats

from thermosim.data.sources import theta_of
from thermosim.kernels.evaluate_network import evaluator_of
from thermosim.models.made import MODEL
from thermosim.streams import DATA

pytest.importorskip("jax")

N, HIDDEN = 5, (7, 6)
CONSTANTS = {"dimension": N, "activation": "tanh", "hidden": list(HIDDEN)}
POINTS, _ = MODEL.support(CONSTANTS)


@pytest.fixture(scope="module")
def machine():
    return evaluator_of(MODEL, CONSTANTS)


@pytest.fixture(scope="module")
def theta(machine):
    return np.random.default_rng(3).normal(size=(2, machine.parameters))


def units(theta):
    """Of each layer, each unit's weights by name of the unit below, and its bias: from the rule of degrees alone."""
    degrees = [list(range(1, N + 1))] + [[1 + k * (N - 1) // units for k in range(units)] for units in HIDDEN]
    numbers, layers = iter(theta), []
    for number in range(len(HIDDEN) + 1):
        last = number == len(HIDDEN)
        above = degrees[0] if last else degrees[number + 1]
        seen = [[j for j, m in enumerate(degrees[number]) if (m < d if last else m <= d)] for d in above]
        weights = [{j: next(numbers) for j in row} for row in seen]
        layers.append([(row, next(numbers)) for row in weights])
    assert next(numbers, None) is None
    return layers


def plain_logits(theta, x):
    values = list(x)
    for number, layer in enumerate(units(theta)):
        sums = [sum(w * values[j] for j, w in row.items()) + bias for row, bias in layer]
        values = sums if number == len(HIDDEN) else [np.tanh(z) for z in sums]
    return np.array(values)


def test_ln_p_is_that_of_its_formula(machine, theta):
    phi = machine.surprisals(POINTS, theta)
    for one, row in zip(theta, phi, strict=True):
        for x, value in zip(POINTS[::7], row[::7], strict=True):
            chance = 1.0 / (1.0 + np.exp(-plain_logits(one, x)))
            assert value == pytest.approx(-np.log(np.where(x == 1.0, chance, 1.0 - chance)).sum(), rel=1e-12)
    np.testing.assert_allclose(machine.surprisal(POINTS[3:5], theta), phi[[0, 1], [3, 4]], rtol=1e-14)


def test_probabilities_of_all_states_add_up(machine, theta):
    np.testing.assert_allclose(np.exp(-machine.surprisals(POINTS, theta)).sum(axis=1), 1.0, rtol=1e-13)


def test_an_output_depends_on_components_before_it_and_on_no_other(theta):
    import jax

    from thermosim.kernels.traced import traced
    from thermosim.models.architectures.made import logits

    with traced():
        parameters, first = {}, 0
        for group in MODEL.groups(CONSTANTS):
            size = int(np.prod(group.shape(CONSTANTS)))
            parameters[group.name] = theta[0, first : first + size]
            first += size
        slope = jax.jacobian(lambda x: logits(parameters, CONSTANTS, x[None])[0])(np.full(N, 0.3))
    slope = np.asarray(slope)
    assert not np.triu(slope).any()
    assert (slope[np.tril_indices(N, -1)] != 0.0).all()


def test_the_gradient_is_that_of_differences(machine, theta):
    rows = POINTS[[3, 17, 30]]
    loss, gradient = machine.data_gradient(rows, theta)
    np.testing.assert_allclose(loss, machine.surprisals(rows, theta).mean(axis=1), rtol=1e-13)
    for k in (0, 11, machine.parameters - 2):
        step = 1e-5 * np.eye(machine.parameters)[k]
        ends = [machine.surprisals(rows, theta + sign * step).mean(axis=1) for sign in (1.0, -1.0)]
        np.testing.assert_allclose(gradient[:, k], (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-9)
    each = machine.data_gradient(rows[:, None], np.repeat(theta[:1], 3, axis=0))[1]
    mean, variance = machine.gradient_moments(rows, theta[:1])[1:]
    np.testing.assert_allclose(mean[0], each.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(variance[0], each.var(axis=0), atol=1e-13)


def test_samples_have_the_law(machine, theta):
    """A chi-squared test of all states, 4000 samples of each of two laws."""
    x = machine.draws(theta, 4000, 7, DATA, 3)
    states = x @ (1 << np.arange(N))
    for one, drawn in zip(theta, states, strict=True):
        expected = 4000 * np.exp(-machine.surprisals(POINTS, one[None])[0])
        seen = np.bincount(drawn.astype(int), minlength=len(POINTS))
        rare = expected < 5.0
        seen, expected = (np.append(v[~rare], v[rare].sum()) for v in (seen, expected))
        assert stats.chi2.sf(((seen - expected) ** 2 / np.maximum(expected, 1.0)).sum(), len(seen) - 1) > 1e-4
    np.testing.assert_array_equal(machine.draw(theta, 7, DATA, 3)[0], machine.draws(theta, 1, 7, DATA, 3)[0, 0])


def test_named_starts_have_the_variance_of_what_a_unit_sees():
    rng = np.random.default_rng(0)
    m = len(theta_of(MODEL, CONSTANTS, {}))
    made = MODEL.initial_theta["he"](CONSTANTS, {}, rng.normal(size=(m + 1, 4000)), None)
    first, last = made[0], made[MODEL.groups(CONSTANTS)[0].shape(CONSTANTS)[0] - 1]
    assert first.var() == pytest.approx(2.0 / 1.0, rel=0.1)  # sees x_1 alone
    assert last.var() == pytest.approx(2.0 / (1 + 6 * (N - 1) // 7), rel=0.1)
    assert not made[-N:].any()
