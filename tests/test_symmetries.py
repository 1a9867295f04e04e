"""The seven symmetries of a table, a case each: where SGD takes what gradient flow would keep, and what it keeps."""

from pathlib import Path

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.test_readme import run_page
from thermosim.checks.charges import charges
from thermosim.exact.symmetry_charges import layer_charge
from thermosim.exact.symmetry_orbits import collapse_exponent, double_rotation
from thermosim.models import MODELS

CASES = Path(__file__).parent.parent / "cases" / "training" / "symmetries"


def run(name, **changes):
    return thermosim.simulate(
        thermosim.load_case(CASES / f"{name}.toml", {key.replace("__", "."): to for key, to in changes.items()})
    )


def frames(ds):
    return ds.theta.transpose(..., "step", "replica", "theta_dim").values


def residuals(ds):
    return [one for one in thermosim.check(ds).comparisons if one.quantity.startswith("largest residual of a")]


@pytest.mark.parametrize(
    ("name", "quantities", "changes"),
    [
        ("translation", ["a sum of weights over classes"], {}),
        ("translation", ["a sum of weights over classes"], {"theta__weight_decay": 0.2}),
        ("rescaling", ["a charge between layers"], {}),
        ("rescaling", ["a charge between layers", "a charge of a hidden unit"], {"record__every": 1}),
        ("double_rotation", ["a charge between layers", "a charge of a hidden unit"], {}),
        (
            "double_rotation",
            [
                "a charge between layers",
                "a charge of a hidden unit",
                "a charge of two hidden units",
                "a step along a rotation of two hidden units",
            ],
            {"record__every": 1, "model__widths": [3, 3, 2, 2], "theta__initial": "lecun", "theta__weight_decay": 0.1},
        ),
        ("rotation", ["a step along a rotation of hidden units"], {"theta__weight_decay": 0.2}),
        ("sign_flip", ["a charge between layers"], {"theta__initial": {"weight": [0.7, 0.2]}}),
        (
            "sign_flip",
            ["a charge between layers"],
            {
                "theta__initial": {"weight": [0.7, 0.2]},
                "theta__weight_decay": 0.4,
                "record__variables": ["theta", "layer_gradient_square", "layer_weight_square"],
            },
        ),
    ],
)
def test_charges_of_models_obey_their_recursion_to_rounding(name, quantities, changes):
    few = {"run__steps": 200, "ensemble__replicas": 16, "record__every": 10} if name != "rotation" else {}
    found = residuals(run(name, **few | changes))
    assert [one.quantity for one in found] == [f"largest residual of {words}" for words in quantities]
    for one in found:
        assert float(np.max(one.measured)) < 0.5 * one.tolerance < 1e-10


def test_with_weight_decay_the_books_of_weights_are_asked_for():
    changes = {"theta__weight_decay": 0.4, "theta__initial": {"weight": [0.7, 0.2]}, "run__steps": 100}
    ds = run("sign_flip", **changes)
    assert not residuals(ds)
    assert any("they need layer_weight_square in record.variables, or every step" in note
               for note in thermosim.check(ds).notes)  # fmt: skip
    ds = run("sign_flip", **changes, record__variables=["theta", "layer_gradient_square", "layer_weight_square"])
    assert not thermosim.check(ds.assign(layer_weight_square=ds.layer_weight_square * (1.0 + 1e-5))).consistent


def test_the_length_of_scale_invariant_weights_obeys_too():
    (found,) = [one for one in thermosim.check(run("scaling")).comparisons if "squared length" in one.quantity]
    assert float(found.measured) < 0.5 * found.tolerance < 1e-10


def test_generators_of_pairs_are_those_of_double_rotations():
    """Of B and the sign of charges: C of all symmetric B is the matrix U'U - W W'."""
    network = MODELS["multilayer-perceptron"]
    constants = {"activation": "linear", "loss": "squared", "bias": "no", "widths": [4, 3, 2]}
    generators = {one.name: one.generators(constants) for one in network.symmetries}
    pairs = [(0, 1), (0, 2), (1, 2)]
    for name, sign in (("pairs", 1.0), ("rotations", -1.0)):
        for found, (a, b) in zip(generators[name], pairs, strict=True):
            mixing = np.zeros((3, 3))
            mixing[a, b], mixing[b, a] = 1.0, sign
            assert np.array_equal(found, double_rotation(4, 3, 2, -mixing))
    theta = np.random.default_rng(1).normal(size=18)
    first, second = theta[:12].reshape(3, 4), theta[12:].reshape(2, 3)
    charge = -layer_charge(first, second)
    assert np.allclose(charges(theta, generators["pairs"]), [charge[pair] for pair in pairs])
    assert np.allclose(charges(theta, generators["units"]), 0.5 * np.diag(charge))
    assert np.allclose(charges(theta, generators["layers"]), 0.5 * np.trace(charge))


@pytest.mark.parametrize("name", ["translation", "rotation", "scaling", "sign_flip", "rescaling", "double_rotation"])
def test_one_step_of_another_kind_is_a_deviation(name):
    """A millionth of a step in one component; with books, the books a millionth larger."""
    changes = {"run__steps": 100, "ensemble__replicas": 8, "record__every": 1}
    changes |= {"theta__initial": {"weight": [0.7, 0.2]}} if name == "sign_flip" else {}
    ds = run(name, **changes)
    assert thermosim.check(ds).consistent
    assert not thermosim.check(ds.assign(theta=ds.theta + kicked(ds.theta))).consistent
    for book in ("gradient_square", "layer_gradient_square"):
        if book in ds:
            assert not thermosim.check(ds.assign({book: ds[book] * (1.0 + 1e-5)})).consistent
            assert not thermosim.check(ds.assign({book: ds[book] * 2.0})).consistent


def kicked(theta):
    """1e-7 in component 0 from the middle frame on."""
    late = theta.step >= theta.step[theta.sizes["step"] // 2]
    return 1e-7 * late * (theta.theta_dim == theta.theta_dim[0])


def test_rescaling_goes_to_the_balance_of_gradients_and_not_of_weights():
    """From |u| = |w|, C = (u^2 - |w|^2)/2 goes to that of |w|^2 = u^2 tr S |V|^2/(V'SV), linear in the rate near 0."""
    ds = run("rescaling", run__steps=40_000, record__every=400, sweep={"theta.learning_rate": {"values": [0.01, 0.02]}})
    theta = frames(ds)
    charge = 0.5 * (theta[..., 3] ** 2 - (theta[..., :3] ** 2).sum(-1))
    assert np.all(charge[:, 0] == 0.0)
    mean, error = mean_and_error(charge[:, 50:].mean(1))
    limit, its_error = 2.0 * mean[0] - mean[1], np.hypot(2.0 * error[0], error[1])
    ratio = 3.0 / (0.64 * 1.0 + 0.36 * 0.5)  # |w|^2/u^2
    exact = 0.5 * (1.0 / np.sqrt(ratio) - np.sqrt(ratio))
    assert_within(limit, its_error, exact, catches="|u| = |w|, at C = 0", mistake=abs(exact))
    halved = 0.5 * (1.0 / np.sqrt(ratio / 2.0) - np.sqrt(ratio / 2.0))
    assert abs(halved - exact) > 20.0 * its_error


def test_of_layers_alone_the_books_say_that_balance_is_reached():
    ds = run("rescaling", run__steps=16_000, record__every=160)
    each = np.diff(ds.layer_gradient_square.transpose("step", "replica", "layer").values, axis=0) / 160.0
    early, late = each[:3].mean((0, 1)), each[-40:].mean(0)
    assert early[0] > 2.0 * early[1]
    difference, error = mean_and_error(late[:, 1] - late[:, 0])
    assert_within(difference, error, 0.0, catches="no balance", mistake=early[0] - early[1])


def test_scaling_grows_for_ever_as_the_fourth_root_of_time():
    """|w|^4 grows by 2 r^2 c in a step, c = |g|^2|w|^2 = 4 E e^2 (tr S - V'SV/|V|^2) at the fit, which it comes to."""
    ds = run("scaling")
    square = ds["norm"].transpose("step", "replica").values
    assert np.all(np.diff(square, axis=0) > 0.0)
    growth, error = mean_and_error((square[-1] ** 2 - square[50] ** 2) / 10_000)
    c = 4.0 * 0.25 * (3.0 - (0.64 * 1.5 + 0.36 * 1.0))
    exact = 2.0 * 0.1**2 * c
    assert_within(growth, error + 0.02 * exact, exact, catches="a factor 2 in the growth", mistake=0.5 * exact)
    flow = square[0] ** 2
    assert np.all(square[-1] ** 2 > 400.0 * flow)  # gradient flow would keep it


def test_translation_and_rotation_go_nowhere():
    ds = run("translation")
    sums = frames(ds).reshape(*frames(ds).shape[:2], 3, 5).sum(2)
    assert np.abs(sums - sums[0]).max() < 1e-12 < 0.2 < np.abs(frames(ds) - frames(ds)[0]).max()


def test_identical_units_stay_identical_whatever_the_noise():
    """Bit for bit, at a rate at which units that differ by a millionth part."""
    ds = run("permutation", theta__spread=0.0)
    theta = frames(ds)
    assert np.array_equal(theta[..., :2], theta[..., 2:4])
    assert np.array_equal(theta[..., 4], theta[..., 5])
    assert np.abs(np.diff(theta, axis=-3)).max() > 0.1
    apart = frames(run("permutation"))
    distance = np.log(np.abs(apart[..., 4] - apart[..., 5]))
    assert distance[1, -1].mean() - distance[1, 0].mean() > 8.0


def test_a_sign_flip_binds_at_a_large_rate_and_not_at_a_small_one():
    """(1/t) ln|u_t/u_0| is E ln|1 + 2 r z y|: of one sign at one rate and of the other at the other."""
    ds = run("sign_flip")
    logarithm = np.log(np.abs(frames(ds)[..., 0]))
    z, e = np.random.default_rng(3).normal(size=(2, 4_000_000))
    signs = []
    for rate, path in zip((0.01, 0.1), logarithm, strict=True):
        mean, error = mean_and_error((path[-1] - path[0]) / 1000.0)
        samples = collapse_exponent(-2.0 * z * (0.3 * z + 3.0 * e), rate)
        exact, of_exact = mean_and_error(samples)
        assert_within(mean, np.hypot(error, of_exact), exact, catches="a factor 2 in h", mistake=0.5 * abs(exact))
        signs.append(np.sign(mean))
    assert signs == [1.0, -1.0]


WRONG = {
    "another generator": (
        'np.ones((1, int(constants["inputs"])))',
        "np.array([[1.0, -1.0, 1.0]])",
        "it changes, by 0.",
    ),
    "a shape": ('np.ones((1, int(constants["inputs"])))', "np.ones(3)", r"expected diagonals \(G, 3\) or matrices"),
    "a translation": ('books=("gradient_square",)', "translation=True", "the loss does not have the symmetry 'length'"),
    "no book": ("gradient_square", "gradients", "is told by 'gradients', which is no functional"),
    "no tuple": ("symmetries=(", "symmetries=[", "expected a tuple"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_symmetry_that_the_loss_does_not_have_is_refused_before_the_run(fault, tmp_path):
    old, new, said = WRONG[fault]
    text = (CASES / "normalised_regression.py").read_text("utf-8")
    assert old in text
    text = text.replace(old, new)
    if fault == "no tuple":
        text = text.rpartition("),\n)")[0] + "],\n)"
    (tmp_path / "normalised_regression.py").write_text(text)
    (tmp_path / "case.toml").write_text((CASES / "scaling.toml").read_text("utf-8"))
    with pytest.raises(thermosim.CaseError, match=said):
        thermosim.load_case(tmp_path / "case.toml")


def test_the_page_shows_what_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, ((least, apart), rates) = run_page("docs/symmetries.md", tmp_path)
    place, error, measured = (float(word) for word in least.split())
    assert abs(place - measured) < 1e-5 < error < 0.02
    assert float(apart) < 1e-12
    assert (tmp_path / "orbit.png").stat().st_size > 10_000
    told = {name: [float(word) for word in words] for name, *words in map(str.split, rates)}
    assert len(told) == 7
    for name in ("scaling", "rescaling", "double_rotation"):
        by_st, by_ta, theory = told[name]
        assert abs(theory) > 1.0
        np.testing.assert_allclose([by_st, by_ta], theory, rtol=2e-3)
    for name in ("translation", "rotation"):
        np.testing.assert_allclose(told[name], 0.0, atol=0.03)  # of order r; squared gradients are some hundreds
    for name in ("permutation", "sign_flip"):
        np.testing.assert_allclose(told[name], 0.0, atol=1e-12)
    told = {name: [float(word) for word in words] for name, *words in map(str.split, rates)}
    assert len(told) == 7
    for name in ("scaling", "rescaling", "double_rotation"):
        by_st, by_ta, theory = told[name]
        assert abs(theory) > 1.0
        np.testing.assert_allclose([by_st, by_ta], theory, rtol=2e-3)
    for name in ("translation", "rotation"):
        np.testing.assert_allclose(told[name], 0.0, atol=0.03)  # of 1e3, the squared gradient; order r^2
    for name in ("permutation", "sign_flip"):
        np.testing.assert_allclose(told[name], 0.0, atol=1e-12)


def test_every_symmetry_of_the_table_has_a_case_and_a_line():
    page = (CASES.parents[2] / "docs" / "symmetries.md").read_text("utf-8")
    for path in CASES.glob("*.toml"):
        assert f"| {path.stem.replace('_', ' ')} |" in page
    assert len(list(CASES.glob("*.toml"))) == 7
