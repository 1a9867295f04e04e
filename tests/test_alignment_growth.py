"""Alignment of networks that learn apart: against plain loops, laws under both nulls, what it must and must not see."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim.analysis import (
    alignment,
    alignment_growth,
    mutual_nearest_neighbours,
    network_alignment,
    unbiased_cka,
)
from thermosim.analysis.alignment import estimators, mean_of_orders, null_of_orders
from thermosim.analysis.alignment_growth import growth
from thermosim.analysis.estimates import interval
from thermosim.analysis.machine import machines
from thermosim.checks.replica_alignment import learns_apart
from thermosim.models.multilayer_perceptron import layers

CASE = "training/alignment_nonlinear"
SMALL = {"ensemble.replicas": 12, "run.steps": 240, "record.every": 40}
TEACHER = """
[model]
name = "multilayer-perceptron"
widths = [4, 6, 5, 2]
[theta]
dynamics = "sgd"
learning_rate = 0.02
batch = 4
initial = "he"
[data]
source = "linear"
rows = 200
matrix = [[1.0, -0.5, 0.3, 0.2], [0.2, 0.4, -1.0, 0.6]]
covariance = [2.0, 1.0, 0.5, 0.2]
noise = 0.1
[ensemble]
replicas = 7
seed = 5
[run]
steps = 200
[record]
every = 100
variables = ["theta"]
[sweep]
"model.activation" = { values = ["relu", "tanh"] }
"""


def simulate(case=CASE, changes=SMALL):
    return thermosim.simulate(thermosim.load_case(case, changes)).load()


@pytest.fixture(scope="module")
def digits():
    return simulate()


def random_layers(random, sets, replicas, probes, units=5):
    """ReLU layers of random networks: one layer for each set, (replicas, probes, units)."""
    weights = random.standard_normal((sets, replicas, probes.shape[1], units))
    return {f"layer_{k}": np.maximum(probes @ weights[k] + 0.3, 0.0) for k in range(sets)}


def test_means_over_pairs_are_those_of_a_loop():
    """Halves by turns, groups by name, growth pair by pair; 4 and 3 replicas, so that a transpose has another shape."""
    ds, probes = simulate(TEACHER, {}), np.random.default_rng(1).normal(size=(15, 4))
    found = alignment_growth(ds, probes=probes, frames=[0, 2], neighbours=4, permutations=30)
    everyone = machines(ds)
    names, hidden = [], {0: [], 2: []}
    for machine, activation in zip(everyone, ("relu", "tanh")):
        s = np.tanh if activation == "tanh" else lambda z: np.maximum(z, 0.0)
        names += [(activation, 1), (activation, 2)]
        for frame, values in hidden.items():
            one, two, _ = layers(machine.theta(frame), machine.constants)
            first = s(probes @ one.swapaxes(1, 2))
            values += [first, s(first @ two.swapaxes(1, 2))]
    assert list(found["layer"].values) == [f"activation {one}, layer_{k}" for one, k in names]
    assert list(found["step"].values) == [0, 200]
    assert (found.attrs["replicas"], found.attrs["other_replicas"]) == (4, 3)
    for name, of in (("unbiased_cka", unbiased_cka),
                     ("mutual_nearest_neighbours", lambda a, b: mutual_nearest_neighbours(a, b, 4))):  # fmt: skip
        table = np.empty((2, 4, 4, 4, 3))
        for f, frame in enumerate(hidden):
            for i, j, r, s in np.ndindex(4, 4, 4, 3):
                table[f, i, j, r, s] = of(hidden[frame][i][2 * r], hidden[frame][j][2 * s + 1])
        assert np.allclose(found[name], table.mean((-2, -1)), rtol=1e-10)
        assert np.allclose(found[f"{name}_growth"], (table[1] - table[0]).mean((-2, -1)), rtol=1e-8)
        for group in found["group"].values:
            held = [
                (i, j)
                for i, j in np.ndindex(4, 4)
                if group == "all pairs of layers"
                or group
                == ("same network" if names[i][0] == names[j][0] else "other networks")
                + (", same layer" if names[i][1] == names[j][1] else ", other layers")
            ]
            assert len(held) == {"all pairs of layers": 16}.get(group, 4)
            of_group = np.mean([table[:, i, j] for i, j in held], axis=0)
            assert np.allclose(found[f"{name}_of_group"].sel(group=group), of_group.mean((-2, -1)), rtol=1e-10)
        here = alignment(
            {"a": hidden[2][1][::2]}, {"b": hidden[2][2][1::2]}, pairs="different", neighbours=4, permutations=30
        )
        for what in ("", "_error", "_null", "_null_deviation", "_p_value"):
            assert np.isclose(found[f"{name}{what}"][1, 1, 2], here[f"{name}{what}"][0, 0], rtol=1e-9)


def test_p_values_of_pairs_of_replicas_are_uniform_where_probes_are_unrelated():
    """P(p <= j/20) = j/20 for means over 3 by 4 pairs of ReLU networks that share no probe."""
    random, seeds, sets = np.random.default_rng(4), 160, 16
    found = {"unbiased_cka": [], "mutual_nearest_neighbours": []}
    for seed in range(seeds):
        weights = random.standard_normal((7, sets, 3, 5))
        both = [np.maximum(random.standard_normal((sets, 14, 3)) @ w + 0.3, 0.01) for w in (weights[:3], weights[3:])]
        for name, values in found.items():
            left, right = (estimators(3)[name][0](h.swapaxes(0, 1)) for h in both)
            null = null_of_orders(mean_of_orders(left, right, same=False), 14, 19, seed)
            values.append(np.diag(null.p_value))
    for name, values in found.items():
        for j in (1, 5, 10, 15, 19):
            share, error = mean_and_error((np.stack(values) < (j + 0.5) / 20).mean(1))
            mistake = 0.05 if j in (1, 19) else None
            assert_within(share, error, j / 20, catches=f"{name}: count/permutations", mistake=mistake)


def test_p_values_of_growth_are_uniform_where_nothing_grows():
    """Both frames have networks of one law; probes are shared, replicas of 8 and 8. Without the crossed error, that of
    64 independent pairs, every third p-value would be below 0.05."""
    random, probes = np.random.default_rng(5), np.random.default_rng(6).standard_normal((16, 3))
    p_values, naive = [], []
    for _ in range(22):
        frames = [[random_layers(random, 32, 8, probes) for _ in range(2)] for _ in range(2)]
        result = growth(frames[0], frames[1], True, None, 1, 0)
        p_values.append(np.diag(result["unbiased_cka_growth_p_value"]))
        for name in ("layer_0", "layer_1", "layer_2"):
            one, two = (unbiased_cka(frames[0][f][name][:, None], frames[1][f][name]).ravel() for f in (0, 1))
            naive.append(stats.ttest_rel(one, two).pvalue)
    p_values = np.concatenate(p_values)
    assert np.mean(np.array(naive) < 0.05) > 0.2
    for level in (0.01, 0.05, 0.2, 0.5):  # of 2000, the share below 0.05 is 0.036: on the safe side
        share, error = np.mean(p_values < level), np.sqrt(level * (1.0 - level) / p_values.size)
        assert 0.7 * level - 4.0 * error < share < level + 4.0 * error, (level, share)


def test_intervals_of_growth_cover():
    """The second frame has wider layers, which are more alike: the exact growth is that of 4000 pairs of networks."""
    random, probes, held, total = np.random.default_rng(7), np.random.default_rng(8).standard_normal((12, 3)), 0, 0
    many = [[random_layers(random, 1, 400, probes, units) for units in (4, 8)] for _ in range(2)]
    exact = growth(many[0], many[1], True, None, 1, 0)["unbiased_cka_growth"].item()
    assert exact > 0.1
    halved = 0
    for _ in range(12):
        frames = [[random_layers(random, 32, 8, probes, units) for units in (4, 8)] for _ in range(2)]
        result = growth(frames[0], frames[1], True, None, 1, 0)
        low, high = np.diagonal(interval(result, "unbiased_cka_growth").values).reshape(2, -1)
        held += np.sum((low < exact) & (exact < high))
        middle, half = 0.5 * (low + high), 0.5 * (high - low) / 2.0
        halved += np.sum(np.abs(middle - exact) < half)
        total += low.size
    assert abs(held / total - 0.95) < 4.0 * np.sqrt(0.95 * 0.05 / total) + 0.01
    assert halved / total < 0.85  # an error half as large is seen


def test_exact_facts_of_trained_networks(digits):
    """Units in another order, turned in sign (tanh) or scaled all alike (relu) see the same: every number is 1."""
    random, twin = np.random.default_rng(9), digits.copy(deep=True)
    probes = machines(digits)[0].test_rows[:40, :64]
    for k, activation in enumerate(("relu", "tanh")):
        path = digits["theta"].sel(activation=activation).transpose("step", "replica", "theta_dim").values
        one, two, three = (w.copy() for w in layers(path, machines(digits)[k].constants))
        order, factor = random.permutation(12), (-np.ones(12) if activation == "tanh" else np.full(12, 3.0))
        one, two = one[..., order, :] * factor[:, None], two[..., :, order] / factor
        moved = np.concatenate([w.reshape(*path.shape[:2], -1) for w in (one, two, three)], axis=-1)
        assert not np.allclose(moved, path)
        values = twin["theta"].sel(activation=activation)
        twin["theta"].loc[{"activation": activation}] = moved.transpose(
            *(("step", "replica", "theta_dim").index(d) for d in values.dims)
        )
    found = network_alignment(digits, twin, probes=probes, permutations=1)
    for name in ("gram_cosine", "unbiased_cka"):
        assert np.allclose(np.diag(found[name])[:4], 1.0, atol=1e-10)
        assert np.all(found[name].values[0, 1:4] < 0.99)
    tanh = np.diag(found["mutual_nearest_neighbours"])[2:4]
    assert np.allclose(tanh, 1.0)  # relu probes at which no unit is active share their places: below 1


def test_networks_that_learn_grow_alike_and_others_do_not(digits):
    found = alignment_growth(digits, permutations=99)
    for name in ("unbiased_cka", "mutual_nearest_neighbours"):
        value, null, width = (found[f"{name}_of_group{what}"] for what in ("", "_null", "_null_deviation"))
        assert np.all(value.isel(step=-1) > (null + 10.0 * width).isel(step=-1))
        assert np.all(found[f"{name}_of_group_growth"] > 8.0 * found[f"{name}_of_group_growth_error"])
        assert np.all(found[f"{name}_of_group_growth"] > 0.15)
        assert np.all(found[f"{name}_of_group_growth_p_value"] < 1e-4)
        assert np.all(found[f"{name}_p_value"] <= 0.02)
    assert np.allclose(found["mutual_nearest_neighbours_null"], 10 / 63, atol=0.02)
    assert np.all(np.abs(found["unbiased_cka_null"]) < 0.02)
    still = simulate(CASE, SMALL | {"theta.learning_rate": 1e-7, "run.steps": 40})
    found = alignment_growth(still, permutations=1)
    assert np.all(np.abs(found["unbiased_cka_growth"]) < 1e-4)


def test_other_widths_and_another_view_of_the_same_images(digits):
    """Means over 2 x 2 pixels, 8 units and one hidden layer less, in an ensemble of its own."""
    changes = SMALL | {"model.widths": [16, 8, 10], "data.shrink": 2, "ensemble.seed": 9, "ensemble.replicas": 8}
    other = simulate(CASE, changes)
    own, theirs = (machines(ds)[0].test_rows[:64, :-1] for ds in (digits, other))
    shrunk = own.reshape(64, 4, 2, 4, 2).mean((2, 4)).reshape(64, 16)
    assert np.allclose(shrunk, theirs)  # held out are the same images
    found = alignment_growth(digits, other, other_probes=theirs, permutations=99)
    assert found["unbiased_cka"].shape == (2, 6, 3)
    assert list(found["group"].values) == ["all pairs of layers", "same layer", "other layers"]
    assert np.all(found["unbiased_cka_of_group_growth"] > 5.0 * found["unbiased_cka_of_group_growth_error"])
    assert np.all(found["unbiased_cka_p_value"].isel(step=-1) <= 0.01)
    swapped = alignment_growth(digits, other, other_probes=theirs[::-1], permutations=99)  # other images than ours
    assert np.all(np.abs(swapped["unbiased_cka"].isel(step=-1)) < 0.25)


def test_the_check_tells_and_compares_nothing(digits):
    report = thermosim.check(digits)
    (note,) = [note for note in report.notes if "No theory is known" in note]
    found = alignment_growth(digits, permutations=1).sel(group="all pairs of layers")
    cka, of_cka = found["unbiased_cka_of_group"].values, found["unbiased_cka_of_group_error"].values
    assert f"unbiased CKA {cka[0]:.3f} ± {of_cka[0]:.3f} to {cka[1]:.3f} ± {of_cka[1]:.3f}" in note
    assert "is certain (p < 1e-6)" in note
    assert not any("alignment" in one.quantity or "CKA" in one.quantity for one in report.comparisons)
    theta = digits["theta"].transpose("step", ...)  # replicas of the first frame in another order: nothing has grown
    same = xr.concat([theta[:-1], theta[:1].roll(replica=2).assign_coords(step=[240])], "step").transpose(
        *digits["theta"].dims
    )
    still = thermosim.check(digits.assign(theta=same.assign_attrs(digits["theta"].attrs)))
    assert any("is not certain (p = 1)" in note for note in still.notes)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.activation": "relu", "sweep": {}},
        {"sweep": {"theta.learning_rate": {"values": [0.01, 0.1]}}},
        {"sweep": {"model.activation": {"values": ["linear", "relu"]}}},
        {"model.widths": [64, 10]},
        {"ensemble.replicas": 3},
    ],
)
def test_other_ensembles_are_not_told_of(changes):
    ds = simulate(CASE, SMALL | {"run.steps": 40} | changes)
    assert not learns_apart(ds, machines(ds))
    assert not any("No theory is known" in note for note in thermosim.check(ds).notes)


def test_what_cannot_be_measured_is_told(digits):
    dead = digits.copy(deep=True)
    dead["theta"].loc[{"activation": "relu", "replica": 3}] = 0.0
    with pytest.raises(ValueError, match="the same for every probe"):
        alignment_growth(dead)
    assert any("is not measured: activations are the same" in note for note in thermosim.check(dead).notes)
    with pytest.raises(ValueError, match="3 replicas make no two halves"):
        alignment_growth(digits.isel(replica=slice(3)))
    with pytest.raises(ValueError, match=r"frames are of steps \[0, 240\] and \[0, 200\]"):
        alignment_growth(digits, digits.isel(step=slice(6)))
    with pytest.raises(ValueError, match="k = 10 nearest"):
        alignment_growth(digits, probes=8)
