"""Balance of adjacent linear layers: both matrices in closed form, at the entropic solution and off it."""

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.analysis import matrix_balance
from thermosim.analysis.gradient_noise import minibatch
from thermosim.analysis.matrix_balance import _squares
from thermosim.exact import entropic_forces as theory

MATRIX = np.array([[1.0, -0.6, 0.3], [0.4, 0.9, -0.5]])
INPUTS = np.array([[1.5, 0.4, 0.0], [0.4, 0.8, -0.2], [0.0, -0.2, 0.5]])
NOISE = np.array([[0.5, 0.2], [0.2, 0.3]])
PROBLEM = MATRIX, INPUTS, NOISE
CASE = {
    "model": {"name": "deep-linear", "widths": [3, 4, 2]},
    "theta": {"dynamics": "sgd", "learning_rate": 1e-9, "batch": 1},
    "data": {
        "source": "linear",
        "fresh": True,
        "matrix": MATRIX.tolist(),
        "covariance": INPUTS.tolist(),
        "noise": NOISE.tolist(),
    },
    "ensemble": {"replicas": 200, "seed": 2},
    "run": {"steps": 1},
    "record": {"every": 1, "variables": ["theta"]},
}


def run(weights=None, **changes):
    start = {} if weights is None else {f"layer_{k + 1}": one.tolist() for k, one in enumerate(weights)}
    case = CASE | {"theta": CASE["theta"] | {"initial": start or "lecun"}}
    return thermosim.simulate(thermosim.load_case(case, {key.replace("__", "."): to for key, to in changes.items()}))


def random_weights():
    random = np.random.default_rng(5)
    return random.normal(size=(4, 3)), random.normal(size=(2, 4))


def balanced(frame=None):
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0][:, :2]
    return theory.entropic_weights(*PROBLEM, 4, frame=turned if frame is None else frame)


@pytest.mark.parametrize("batch", [1, 3])
def test_both_matrices_are_those_in_closed_form(batch):
    """At random weights, where no two of them commute: transposes, and one for the other, are far off."""
    first, second = random_weights()
    found = matrix_balance(run((first, second), theta__batch=batch))
    right, left = theory.gradient_moments(second @ first - MATRIX, INPUTS, NOISE, batch)
    before, after = second.T @ left @ second, first @ right @ first.T
    for name, exact, other in (("before", before, after), ("after", after, before)):
        value, error = found[name].sel(pair=0).values, found[f"{name}_error"].sel(pair=0).values
        assert_within(value, error, exact, catches="another side, or a factor")
        assert np.abs((value - other) / error).max() > 10.0
    exact = ((before - after) ** 2).sum() / ((before + after) ** 2).sum()
    assert_within(found.imbalance[0], found.imbalance_error[0], exact, catches="D for S", mistake=1.0 - exact)
    assert not found.balanced.any()
    assert float(found.score[0]) > 5.0


def test_the_entropic_solution_is_balanced_and_another_of_the_same_loss_is_not():
    """Noise and inputs of no common basis; W -> B W, W B^-1 keeps the loss and the state of least L."""
    first, second = balanced()
    here = matrix_balance(run((first, second)))
    assert bool(here.balanced.all())
    assert abs(float(here.imbalance[0])) < 4.0 * float(here.imbalance_error[0])
    move = np.eye(4) + 0.3 * np.random.default_rng(2).normal(size=(4, 4))
    there = matrix_balance(run((move @ first, second @ np.linalg.inv(move))))
    assert not bool(there.balanced.any())
    assert float(there.imbalance[0]) > 10.0 * float(here.imbalance_error[0])


def test_what_is_balanced_is_seldom_called_unbalanced():
    """Nominally 1 in 100, above a score of 2.46; ensembles of other rows each."""
    ds, scores = run(balanced(), ensemble__replicas=30), []
    for seed in range(60):
        told = ds.assign_attrs(settings=ds.attrs["settings"].replace('"seed": 2', f'"seed": {seed + 10}'))
        scores.append(float(matrix_balance(told, 8).score[0]))
    assert len(np.unique(scores)) == 60
    assert (np.array(scores) > 2.46).sum() <= 3
    assert 0.75 < np.std(scores) < 1.3


def test_kept_rows_are_all_taken():
    """Means over all rows by plain numpy, of three layers of other widths; nothing is sampled, and no score told."""
    ds = run(data__fresh=False, data__rows=7, model__widths=[3, 4, 3, 2], theta__batch=2, ensemble__replicas=4)
    found = matrix_balance(ds, frame=0)
    assert "score" not in found
    assert list(found.pair.values) == [0, 1]
    rows = thermosim.analysis.machines(ds)[0].data.of_set(0)
    theta = ds.theta.isel(step=0).transpose("replica", "theta_dim").values
    before, after = np.zeros((2, 2, 4, 4))
    for one in theta:
        first, second, third = one[:12].reshape(4, 3), one[12:24].reshape(3, 4), one[24:].reshape(2, 3)
        pull = [2.0 * np.outer(third @ second @ first @ z - y, z) for z, y in zip(rows[:, :3], rows[:, 3:])]
        slopes = [(second.T @ third.T @ p, third.T @ p @ first.T, p @ first.T @ second.T) for p in pull]
        mean = [np.mean([s[k] for s in slopes], 0) for k in range(3)]
        for k, width in ((0, 4), (1, 3)):
            for weight, some in ((0.5, [mean]), (0.5, slopes)):
                part = np.s_[k, :width, :width]
                before[part] += weight * np.mean([s[k] @ s[k].T for s in some], 0) / 4
                after[part] += weight * np.mean([s[k + 1].T @ s[k + 1] for s in some], 0) / 4
    for name, exact in (("before", before), ("after", after)):
        assert np.allclose(np.nan_to_num(found[name]), exact, rtol=1e-10)
    assert np.isnan(found.before[1, 3, 3])


def test_the_matrix_charge_of_sgd_changes_by_what_is_compared():
    """W W' - W'W of neighbours, step by step to rounding, at a rate that is no limit: a transpose is far off."""
    rate = 0.02
    changes = {"theta__learning_rate": rate, "theta__batch": 2, "data__fresh": False, "data__rows": 9}
    ds = run(run__steps=5, ensemble__replicas=4, **changes)
    (machine,) = thermosim.analysis.machines(ds)
    weights = [machine.model.layers(machine.theta(frame), machine.constants) for frame in range(6)]
    charge = [np.einsum("rak,rbk->rab", w, w) - np.einsum("rpa,rpb->rab", v, v) for w, v in weights]
    for frame in range(5):
        slope = machine.evaluator.data_gradient(minibatch(machine, frame + 1), machine.theta(frame))[1]
        before, after = _squares(machine, slope, (0,))[:, :, 0]
        assert np.allclose(charge[frame + 1] - charge[frame], rate**2 * (before - after), rtol=1e-8, atol=1e-13)


def test_biases_are_no_part_of_the_product_and_nonlinear_layers_are_refused():
    perceptron = {"model__name": "multilayer-perceptron", "ensemble__replicas": 8}
    found = matrix_balance(run(model__activation="linear", model__bias="yes", **perceptron))
    assert list(found.pair.values) == [0]
    with pytest.raises(ValueError, match="linear networks only"):
        matrix_balance(run(model__activation="tanh", **perceptron))


def test_bad_input_is_told():
    ds = run(ensemble__replicas=4)
    with pytest.raises(ValueError, match="needs 2"):
        matrix_balance(ds, minibatches=1)
    with pytest.raises(ValueError, match="too few"):
        matrix_balance(ds.isel(replica=[0, 1]))
    with pytest.raises(ValueError, match="theta"):
        matrix_balance(ds.drop_vars("theta"))
