"""Learning of networks with exact ln p: information, work on fresh samples, and bounds along the path of theta."""

import numpy as np
import pytest

import thermosim
from thermosim.analysis.fresh_work import work_of_fresh_samples
from thermosim.analysis.information import learned_information
from thermosim.analysis.path_information import gram_bounds, path_information
from thermosim.exact.gaussian_information import relative_entropy
from thermosim.exact.linear_langevin import Gaussian

MADE = """
title = "bits"
[model]
name = "made"
dimension = 5
hidden = [8]
[theta]
dynamics = "sgd"
learning_rate = 0.4
batch = 4
[data]
source = "teacher"
rows = 64
seed = 7
sets = 2
[data.teacher]
biases_2 = [0.5, -1.0, 0.3, 0.0, 0.4]
weights_2 = 0.3
weights_1 = 0.5
[ensemble]
replicas = 400
seed = 5
[run]
steps = 12
[record]
every = 1
variables = ["theta"]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("jax")
    return _ensemble(tmp_path_factory.mktemp("made"), MADE)


def _ensemble(folder, text, **overrides):
    path = folder / "case.toml"
    path.write_text(text)
    return thermosim.simulate(thermosim.load_case(path, overrides))


def test_work_on_fresh_samples_is_the_sum_of_relative_entropies(made):
    """Five standard errors each; a jump taken at the wrong end, -w for w or half of it, is off by twenty and more."""
    found = work_of_fresh_samples(made, samples=8)
    last = found.isel(step=-1)
    assert abs(last.mean_excess) < 4.0 * last.mean_excess_error
    assert last.mean_divergence > 20.0 * last.mean_excess_error
    score = ((found.jump_theorem - 1.0) / found.jump_theorem_error).values[1:]
    assert np.abs(score).max() < 4.0
    assert abs(last.theorem - 1.0) < 4.0 * last.theorem_error
    assert last.mean_work / last.theorem_error > 8.0  # so that <exp(w)>, or <exp(-2 w)>, would be seen


def test_information_by_samples_is_that_by_enumeration(made):
    last = made.isel(step=[-1])
    exact, sampled = (learned_information(last, method) for method in ("exact", "nested"))
    difference = (sampled.replica_information - exact.replica_information).values[0]
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    assert abs(difference.mean()) < 4.0 * error
    assert float(exact.learned_information[0]) > 8.0 * error
    assert bool(exact.valid.all())
    assert float(exact.lower_bound[0]) <= float(exact.upper_bound[0])


def test_no_work_without_every_step(made):
    with pytest.raises(ValueError, match=r"record.every = 1"):
        work_of_fresh_samples(made.isel(step=[0, 5]))


def test_both_terms_of_a_step_are_those_of_whole_matrices():
    """Two sets of rows with a batch of one, against relative entropies of normals, row by row."""
    rng = np.random.default_rng(2)
    slopes, rate, temperature = rng.normal(size=(2, 5, 3)) + rng.normal(size=(2, 1, 3)), 0.3, 0.2
    means = slopes.mean(axis=1)
    every = means.mean(axis=0)
    flat = slopes.reshape(-1, 3) - every
    noise = 2.0 * rate * temperature * np.eye(3)
    anyone = Gaussian(-rate * every, noise + rate**2 * flat.T @ flat / 10)
    columns = np.concatenate([((slopes - means[:, None]) / np.sqrt(10)).reshape(-1, 3), (means - every) / np.sqrt(2)])
    label, of_rows = np.repeat([0, 1, 0, 1], [5, 5, 1, 1]), np.repeat([True, False], [10, 2])
    gram = np.tile(columns @ columns.T, (2, 1, 1))
    given, whole = gram_bounds(gram, label, of_rows, np.array([0, 1]), 2, 0.5 * rate / temperature)
    for number, rows in enumerate(slopes):
        each = [relative_entropy(Gaussian(-rate * row, noise), anyone) for row in rows]
        assert whole[number] == pytest.approx(np.mean(each), rel=1e-12)
        within = 0.5 * rate / temperature * np.cov(rows.T, ddof=0)
        assert given[number] == pytest.approx(0.5 * np.linalg.slogdet(np.eye(3) + within)[1], rel=1e-12)


GAUSSIAN = """
title = "a mean with thermal noise"
[model]
name = "gaussian"
dimension = 1
[theta]
dynamics = "langevin"
learning_rate = 0.2
temperature = 0.05
learn = ["mean"]
initial = { mean = 0.5, log_precision = 0.0 }
[data]
source = "gaussian"
rows = 10
sets = 40
[ensemble]
replicas = 1600
seed = 3
[run]
steps = 5
[record]
every = 1
variables = ["theta"]
"""


def mixture_information(means, variance):
    """I between which of equally likely normals of one variance it was and where it fell, by quadrature."""
    y = np.linspace(means.min() - 9.0 * variance**0.5, means.max() + 9.0 * variance**0.5, 4001)
    density = np.exp(-((y - means.ravel()[:, None]) ** 2) / (2.0 * variance)) / np.sqrt(2.0 * np.pi * variance)
    mixture = density.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(mixture > 0.0, -mixture * np.log(mixture), 0.0)
    return np.trapezoid(whole, y) - 0.5 * np.log(2.0 * np.pi * np.e * variance)


def test_bounds_hold_what_a_gaussian_mean_knows_of_its_set(tmp_path):
    """The information is exact by quadrature; the bound of one step is (1/2) ln(1 + c Var) and nearly all of it."""
    ds = _ensemble(tmp_path, GAUSSIAN)
    found, rate, temperature = path_information(ds, replicas=1600), 0.2, 0.05
    (machine,) = thermosim.analysis.machines(ds)
    means = np.array([machine.data.of_set(d).mean() for d in range(40)])
    first = 0.5 * np.log1p(rate / (2.0 * temperature) * means.var())
    assert float(found.set_bound[1]) == pytest.approx(first, rel=1e-12)
    assert float(found.set_bound_error[1]) < 1.0
    assert not found.minibatch_bound.values.any()
    for step in range(1, 6):
        kept = (1.0 - rate) ** step
        variance = 2.0 * rate * temperature * (1.0 - kept**2) / (1.0 - (1.0 - rate) ** 2)
        exact = mixture_information((1.0 - kept) * means, variance)
        at = found.isel(step=step)
        assert float(at.information_lower) < exact + 4.0 * float(at.information_lower_error)
        assert exact < float(at.set_bound) + 4.0 * float(at.set_bound_error)
        if step == 1:
            assert exact == pytest.approx(first, rel=0.03)  # half of c, or twice, is off by a third and more
    assert float(found.information_lower[-1]) > 0.7 * exact
    assert bool(found.valid.all())


def test_bounds_hold_what_it_knows_of_its_minibatch(tmp_path):
    overrides = {"theta.dynamics": "sgld", "theta.batch": 2, "data.sets": 1, "data.rows": 40, "run.steps": 1}
    ds = _ensemble(tmp_path, GAUSSIAN, **overrides)
    found, c = path_information(ds), 0.2 / (2.0 * 0.05)
    (machine,) = thermosim.analysis.machines(ds)
    rows = machine.data.of_set(0).ravel()
    bound = 0.5 * np.log1p(c * rows.var() / 2)
    assert float(found.minibatch_bound[1]) == pytest.approx(bound, rel=1e-12)
    assert float(found.set_bound[1]) == pytest.approx(bound, rel=1e-12)
    pairs = 0.5 * (rows[:, None] + rows)
    exact = mixture_information(0.2 * pairs, 2.0 * 0.2 * 0.05)
    assert exact < bound
    assert exact == pytest.approx(bound, rel=0.03)
    assert "information_lower" not in found


def test_bounds_need_thermal_noise(made):
    with pytest.raises(ValueError, match="sgld"):
        path_information(made)
