"""Alignment of activations against brute force, exact values, and what independent data give."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from tests.assertions import assert_within, mean_and_error
from thermosim.analysis import (
    alignment,
    gram_cosine,
    mutual_nearest_neighbours,
    permutation_null,
    unbiased_cka,
    unbiased_hsic,
)
from thermosim.analysis.alignment import crossed_error
from thermosim.analysis.estimates import interval
from thermosim.exact.entropic_forces import entropic_kernels

STATISTICS = {
    "gram_cosine": gram_cosine,
    "unbiased_cka": unbiased_cka,
    "mutual_nearest_neighbours": lambda a, b: mutual_nearest_neighbours(a, b, 3),
}


def _data(seed: int, *shape: int) -> np.ndarray:
    """Anisotropic normals with a mean, (..., probes, units)."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((shape[-1], shape[-1]))
    return random.standard_normal(shape) @ mixing + random.standard_normal(shape[-1])


def _related(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of 3 and 5 units that are partly functions of each other."""
    a = _data(seed, n, 3)
    return a, np.tanh(a @ _data(seed + 1, 3, 5)) + 0.3 * _data(seed + 2, n, 5)


def biased_cka(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|A'B|^2/(|A'A||B'B|) of centred activations (Kornblith et al. 2019)."""
    a, b = (x - x.mean(-2, keepdims=True) for x in (a, b))

    def square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return ((x.swapaxes(-2, -1) @ y) ** 2).sum((-2, -1))

    return square(a, b) / np.sqrt(square(a, a) * square(b, b))


@pytest.mark.parametrize("n", [6, 7])
def test_hsic_is_the_u_statistic_over_all_quadruples(n: int) -> None:
    """Mean over distinct i, j, q, r of K_ij (L_ij + L_qr - 2 L_iq), and Song's Eq. 5 as it is printed."""
    a, b = _related(n, n)
    k, m = a @ a.T, b @ b.T
    quadruples = itertools.permutations(range(n), 4)
    brute = math.fsum(k[i, j] * (m[i, j] + m[q, r] - 2.0 * m[i, q]) for i, j, q, r in quadruples) / math.perm(n, 4)
    kt, mt, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
    printed = np.trace(kt @ mt) + (one @ kt @ one) * (one @ mt @ one) / ((n - 1) * (n - 2))
    printed = (printed - 2.0 / (n - 2) * (one @ kt @ mt @ one)) / (n * (n - 3))
    size = np.abs(k).max() * np.abs(m).max()
    assert abs(brute) > 1e-3 * size
    assert abs(unbiased_hsic(a, b) - brute) < 1e-12 * size
    assert abs(unbiased_hsic(a, b) - printed) < 1e-12 * size


def test_cka_is_the_ratio_of_hsics() -> None:
    a, b = _related(3, 9)
    norm = np.sqrt(unbiased_hsic(a, a) * unbiased_hsic(b, b))
    assert unbiased_cka(a, b) == pytest.approx(unbiased_hsic(a, b) / norm, rel=1e-12)


@pytest.mark.parametrize("n", [32, 64, 128, 256])
def test_independent_data_average_to_no_cka(n: int) -> None:
    """Where the biased one has .2, .11, .06, .03: d/(n + d) for 8 units each."""
    random = np.random.default_rng(n)
    a, b = random.standard_normal((2, 60, n, 8))
    biased = biased_cka(a, b)
    assert biased.mean() == pytest.approx(8 / (n + 8), rel=0.05)
    assert_within(*mean_and_error(unbiased_cka(a, b)), 0.0, catches="the biased HSIC", mistake=biased.mean())


@pytest.mark.parametrize("k", [1, 5, 12])
def test_neighbours_of_independent_data_overlap_by_chance(k: int) -> None:
    n = 40
    a, b = _data(k, 600, n, 4), _data(k + 50, 600, n, 6)
    estimate, error = mean_and_error(mutual_nearest_neighbours(a, b, k))
    # whoever counts the probe itself as its neighbour has (1 + (k - 1)^2/(n - 1))/k
    mistake = (1 + (k - 1) ** 2 / (n - 1)) / k - k / (n - 1)
    assert_within(estimate, error, k / (n - 1), catches="a probe is its own neighbour", mistake=mistake)


def test_neighbours_are_those_of_a_loop() -> None:
    """Lists sorted by hand; by distance, or without unit length, they would be others."""
    a, b = _related(5, 30)
    for k in (1, 4, 28):
        shared = 0
        for i in range(30):
            lists = []
            for x in (a, b):
                cosines = [x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j]) for j in range(30)]
                lists.append(sorted((j for j in range(30) if j != i), key=lambda j, c=cosines: -c[j])[:k])
            shared += len(set(lists[0]) & set(lists[1]))
        assert mutual_nearest_neighbours(a, b, k) == pytest.approx(shared / (30 * k), abs=1e-12)
        assert 0.05 < shared / (30 * k) < 1.0


def test_equally_near_probes_share_the_places() -> None:
    """One unit has two directions, dead probes none: chance stays k/(n - 1), as a mean over all orders of probes."""
    random = np.random.default_rng(1)
    dead = random.standard_normal((7, 3)) * (np.arange(7) > 2)[:, None]
    orders = np.array(list(itertools.permutations(range(7))))
    for tied in (random.standard_normal((7, 1)), dead):
        for k in (1, 3):
            overlaps = mutual_nearest_neighbours(tied, tied[orders], k)
            assert overlaps.mean() == pytest.approx(k / 6, abs=1e-12)
            assert overlaps.max() < 1.0 + 1e-12
    two = np.array([1.0, 2.0, 3.0, -1.0, -2.0])[:, None]  # groups of 3 and 2: for k = 1, each of 2 others counts half
    assert mutual_nearest_neighbours(two, two, 1) == pytest.approx((3 * 0.5 + 2 * 1.0) / 5, abs=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_rotations_and_scales_change_nothing(name: str) -> None:
    """But other linear maps do; a shift only where the statistic is not CKA. Itself it is aligned with."""
    of = STATISTICS[name]
    a, b = _related(7, 40)
    rotation = np.linalg.qr(_data(8, 5, 5))[0]
    assert of(a, 1e3 * b @ rotation) == pytest.approx(of(a, b), rel=1e-11)
    assert of(1e-3 * a, b) == pytest.approx(of(b, a), rel=1e-11)
    assert of(a, 2.0 * a) == pytest.approx(1.0, abs=1e-12)
    assert abs(of(a, b @ np.diag([9.0, 1.0, 0.1, 1.0, 3.0])) - of(a, b)) > 0.01
    shifted = abs(of(a, b + [4.0, -3.0, 0.0, 5.0, 1.0]) - of(a, b))
    assert shifted < 1e-12 if name == "unbiased_cka" else shifted > 1e-3


def test_a_large_mean_costs_cka_no_digits() -> None:
    a, b = _related(7, 40)
    assert unbiased_cka(a + 1e6, b - 1e6) == pytest.approx(unbiased_cka(a, b), abs=1e-9)


def test_gram_cosine_of_orthonormal_probes() -> None:
    """With X'X = 1: Tr(A A' B B')/(|A A'||B B'|) for maps A and B, rectangular and without a common basis."""
    probes = np.linalg.qr(_data(1, 20, 4))[0]
    first, second = _data(2, 4, 3), _data(3, 4, 6)
    m, w = first @ first.T, second @ second.T
    exact = np.trace(m @ w) / np.linalg.norm(m) / np.linalg.norm(w)
    assert exact < 0.95
    assert gram_cosine(probes @ first, probes @ second) == pytest.approx(exact, rel=1e-12)


def test_views_of_one_task_align_perfectly_at_the_entropic_solution_only() -> None:
    """Hidden layers of two linear networks that see x and Z x, weights by W1'W1 of each; then W1 -> R W1."""
    x, view, matrix = _data(1, 30, 4), _data(2, 4, 4), _data(3, 3, 4)
    root = _data(4, 4, 4)
    inputs, noise = root @ root.T, np.diag([0.3, 1.0, 2.5])

    def weights(v: np.ndarray, s: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(entropic_kernels(v, s, noise)[0])
        return (vectors * np.sqrt(values.clip(0.0))).T

    first = weights(matrix, inputs)
    second = weights(matrix @ np.linalg.inv(view), view @ inputs @ view.T)
    a, b = x @ first.T, x @ view.T @ second.T
    assert gram_cosine(a, b) == pytest.approx(1.0, abs=1e-10)
    assert unbiased_cka(a, b) == pytest.approx(1.0, abs=1e-10)
    assert mutual_nearest_neighbours(a, b, 5) == pytest.approx(1.0, abs=1e-12)
    assert gram_cosine(a, b @ _data(6, 4, 4)) < 0.95


@pytest.mark.parametrize("name", STATISTICS)
def test_replicas_are_compared_one_by_one(name: str) -> None:
    of = STATISTICS[name]
    a, b = _data(1, 3, 1, 10, 4), _data(2, 2, 10, 5)
    values = of(a, b)
    assert values.shape == (3, 2)
    assert values[2, 1] == pytest.approx(of(a[2, 0], b[1]), rel=1e-12)


def test_mean_and_deviation_of_the_null_over_all_orders() -> None:
    """Against all 5040 orders of 7 probes, where the mean of CKA is 0 and that of overlaps k/(n - 1)."""
    a, b = _related(11, 7)
    orders = np.array(list(itertools.permutations(range(7))))
    for name, of in STATISTICS.items():
        every = of(a, b[orders])
        exact = {"unbiased_cka": 0.0, "mutual_nearest_neighbours": 3 / 6}.get(name, every.mean())
        assert every.mean() == pytest.approx(exact, abs=1e-12)
        null = permutation_null(of, a, b, 2000, 5)
        error = every.std() / np.sqrt(2000)
        assert_within(null.mean, error, exact, catches="probes of one set are not permuted", mistake=of(a, b) - exact)
        fourth = stats.kurtosis(every) + 2.0
        assert_within(null.deviation, every.std() * np.sqrt(fourth / 8000), every.std(), catches="orders that repeat")
        share = np.mean(every >= of(a, b) - 1e-12)
        assert_within(null.p_value, np.sqrt(share / 2000), share, catches="ties are not counted")


@pytest.mark.parametrize("name", ["gram_cosine", "unbiased_cka"])
def test_p_values_are_uniform_under_the_null(name: str) -> None:
    """P(p <= j/20) = j/20 for 19 permutations; data sets of one seed share them, so seeds are what is independent."""
    seeds, sets = 150, 20
    a, b = _data(1, seeds, sets, 12, 3), _data(2, seeds, sets, 12, 4)
    p = np.stack([permutation_null(STATISTICS[name], a[s], b[s], 19, s).p_value for s in range(seeds)])
    for j in (1, 5, 10, 15, 19):
        share, error = mean_and_error((p < (j + 0.5) / 20).mean(1))
        # with neither + 1 it would be (j + 1)/20; the other tail has the same law and is told by the next test
        assert_within(share, error, j / 20, catches="count/permutations", mistake=0.05 if j in (1, 19) else None)


def test_p_values_tell_related_data_and_ties_are_conservative() -> None:
    a, b = _related(1, 40)
    for of in STATISTICS.values():
        assert permutation_null(of, a, b, 99, 3).p_value == pytest.approx(0.01)
    n, sets = 6, 400  # overlaps of neighbours take few values
    data = _data(3, sets, n, 3), _data(4, sets, n, 3)
    p = permutation_null(lambda x, y: mutual_nearest_neighbours(x, y, 2), *data, 19, 1).p_value
    assert np.mean(p <= 0.25) < 0.25 + 4 * np.sqrt(0.25 * 0.75 / sets)
    assert permutation_null(lambda x, y: np.zeros(()), *data, 19, 1).p_value == 1.0


def test_permutations_have_addresses() -> None:
    """The first ones of more are the same; of another seed they are not."""
    seen: list[np.ndarray] = []

    def note(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        seen.append(b[:, 0])
        return np.zeros(())

    for count, seed in ((3, 8), (5, 8), (3, 9)):
        permutation_null(note, np.zeros((6, 1)), np.arange(6.0)[:, None], count, seed)
    few, more, other = np.array(seen[:4]), np.array(seen[4:10]), np.array(seen[10:])
    assert np.array_equal(few, more[:4])
    assert not np.array_equal(few, other)
    assert (np.sort(more, axis=1) == np.arange(6)).all()


def _networks(random: np.random.Generator, sets: int, replicas: int, probes: np.ndarray) -> dict[str, np.ndarray]:
    """Two ReLU layers of random networks, (sets replicas, probes, units)."""
    first, second = random.standard_normal((sets * replicas, 4, 6)), random.standard_normal((sets * replicas, 6, 5))
    one = np.maximum(probes @ first + 0.5, 0.0)
    return {"one": one, "two": one @ second + 1.0}


def test_the_dataset_is_what_the_functions_say() -> None:
    random, probes = np.random.default_rng(1), _data(1, 20, 4)
    first, second = _networks(random, 1, 5, probes), _networks(random, 1, 3, probes)
    same = alignment(first, neighbours=3, permutations=20, seed=4)
    different = alignment(first, second, pairs="different", neighbours=3, permutations=20, seed=4)
    for name, of in STATISTICS.items():
        for result, b in ((same, first["two"]), (different, second["two"][:, None])):
            cell = {"layer": "one", "other_layer": "two"}
            here, values = result.sel(cell), of(first["one"], b)
            assert here[name].item() == pytest.approx(values.mean(), rel=1e-12)
            null = permutation_null(lambda x, y, f=of: f(x, y).mean(), first["one"], b, 20, 4)
            for part, value in zip(("null", "null_deviation", "p_value"), null):
                assert here[f"{name}_{part}"].item() == pytest.approx(value, rel=1e-10)
            assert result[name].attrs["estimator"]
        error = of(first["one"], first["two"]).std(ddof=1) / np.sqrt(5)
        assert same[f"{name}_error"].values[0, 1] == pytest.approx(error, rel=1e-10)
        assert same[f"{name}_error"].attrs["degrees_of_freedom"] == 4
        assert np.allclose(np.diag(same[name]), 1.0)
        assert np.isfinite(interval(different, name)).all()
    assert same.attrs == {"probes": 20, "replicas": 5, "other_replicas": 5, "pairs": "same", "permutations": 20}
    assert different.attrs["other_replicas"] == 3
    assert "mutual_nearest_neighbours" not in alignment(first, neighbours=None, permutations=1)


@pytest.mark.parametrize("pairs", ["same", "different"])
def test_intervals_over_replicas_cover(pairs: str) -> None:
    """The mean over 40,000 networks is held by 95 of 100 intervals of ten replicas, or of 10 by 8 pairs of them.

    Means of the same replicas are skewed: Student's interval holds it in 91 of 100 ensembles. Each ensemble stands in
    the place of a layer.
    """
    random, probes = np.random.default_rng(3), _data(1, 8, 4)
    ensembles, same = 1200, pairs == "same"
    many = _networks(random, 1, 40_000, probes)
    exact = gram_cosine(many["one"], many["two"] if same else _networks(random, 1, 40_000, probes)["two"]).mean()
    means, errors, ends = [], [], []
    for _ in range(ensembles // 40):
        first, second = _networks(random, 40, 10, probes), _networks(random, 40, 8, probes)
        one, two = first["one"].reshape(40, 10, 8, -1), (first if same else second)["two"].reshape(40, -1, 8, 5)
        layers = [{str(i): of[i] for i in range(40)} for of in (one, two)]
        result = alignment(*layers, pairs=pairs, neighbours=None, permutations=1)
        means.append(np.diag(result.gram_cosine))
        errors.append(np.diag(result.gram_cosine_error))
        ends.append(np.diagonal(interval(result, "gram_cosine")))
    mean, error, (low, high) = np.concatenate(means), np.concatenate(errors), np.concatenate(ends, axis=1)
    allowed = 4.0 * np.sqrt(0.95 * 0.05 / ensembles)
    assert abs(np.mean((low < exact) & (exact < high)) - 0.95) < allowed
    middle, half = 0.5 * (low + high), 0.5 * (high - low) / np.sqrt(2.0)
    assert np.mean(abs(middle - exact) < half) < 0.95 - 2.0 * allowed, (
        "no power: a factor 2 of the variance is not seen"
    )
    assert_within(*mean_and_error(mean), exact, catches="a bias of the mean over replicas")
    # the error is what means of other replicas scatter by
    assert np.sqrt(np.mean(error**2)) == pytest.approx(np.std(mean), rel=8.0 / np.sqrt(2 * ensembles))


@pytest.mark.parametrize(("rows", "columns", "spread"), [(4, 25, (1.0, 1.0)), (25, 4, (1.0, 1.0)), (3, 3, (0.0, 0.0))])
def test_errors_of_pairs_are_those_of_a_table(rows: int, columns: int, spread: tuple[float, float]) -> None:
    """y_rs = a_r + b_s + e_rs: variance of the mean A/R1 + B/R2 + E/(R1 R2); more, but covering, where A = B = 0."""
    random, tables = np.random.default_rng(rows), 20_000
    of_row, of_column = random.standard_normal((tables, rows, 1)), random.standard_normal((tables, 1, columns))
    values = spread[0] * of_row + spread[1] * of_column + 2.0 * random.standard_normal((tables, rows, columns))
    exact = spread[0] ** 2 / rows + spread[1] ** 2 / columns + 4.0 / (rows * columns)
    error, freedom = crossed_error(values)
    held = np.abs(values.mean((1, 2))) < stats.t.ppf(0.975, freedom) * error
    square, own = mean_and_error(error**2)
    if any(spread):
        catches = "mean squares weighed by the other side, or the rest counted twice"
        assert_within(square, own, exact, catches=catches, mistake=4.0 / (rows * columns))
        assert 0.93 < held.mean() < 0.97
    else:
        assert exact < square < 2.0 * exact
        assert held.mean() > 0.95


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (_data(1, 3, 2), _data(2, 3, 2), "3 probes are too few"),
        (_data(1, 8, 2), _data(2, 9, 2), "of the same probes"),
        (np.arange(8.0), _data(2, 8, 2), "of the same probes"),
        (_data(1, 8, 2), np.full((8, 2), 0.1), "the same for every probe"),
        (_data(1, 8, 2), np.zeros((2, 8, 2)), "the same for every probe"),
        (_data(1, 8, 2), np.full((8, 2), np.nan), "not finite"),
    ],
)
@pytest.mark.parametrize("name", STATISTICS)
def test_what_cannot_be_compared_is_refused(name: str, a: np.ndarray, b: np.ndarray, message: str) -> None:
    for pair in ((a, b), (b, a)):
        with pytest.raises(ValueError, match=message):
            STATISTICS[name](*pair)


def test_what_one_estimator_or_the_dataset_refuses() -> None:
    a, b = _data(1, 8, 3), _data(2, 8, 3)
    for k in (0, 7):
        with pytest.raises(ValueError, match=f"k = {k} nearest neighbours of 8 probes: k must be from 1 to 6"):
            mutual_nearest_neighbours(a, b, k)
    with pytest.raises(ValueError, match="for all probes but one"):
        unbiased_cka(a, np.eye(8)[:, :2] @ np.diag([1.0, 0.0]))
    with pytest.raises(ValueError, match="make no null"):
        permutation_null(gram_cosine, a, b, 0, 1)
    ours, fewer = {"h": _data(1, 4, 8, 3)}, {"h": _data(2, 3, 8, 3)}
    for arguments, more, message in (
        (({},), {}, "not activations"),
        (({"h": a},), {}, "not activations"),
        ((ours | {"g": fewer["h"]},), {}, "of the same replicas"),
        ((ours, fewer), {}, "do not pair"),
        ((ours,), {"pairs": "different"}, "two independent ensembles"),
        ((ours,), {"pairs": "all"}, "pairs = 'all'"),
        ((ours, {"h": _data(2, 4, 9, 3)}), {}, "of the same probes"),
        ((ours,), {}, "k = 10 nearest"),
    ):
        with pytest.raises(ValueError, match=message):
            alignment(*arguments, **more)


def test_one_replica_has_no_error_and_equal_ones_have_none_to_show() -> None:
    ours = {"h": _data(1, 3, 8, 3)}
    one = {"h": ours["h"][:1]}
    assert np.isnan(alignment(one, neighbours=2, permutations=2).gram_cosine_error).all()
    assert np.isnan(alignment(ours, one, pairs="different", neighbours=2, permutations=2).unbiased_cka_error).all()
    equal = {"h": np.repeat(one["h"], 3, axis=0)}
    result = alignment(equal, equal, pairs="different", neighbours=2, permutations=2)
    assert result.gram_cosine.item() == pytest.approx(1.0)
    assert np.allclose(interval(result, "gram_cosine"), 1.0)
