"""Learning rates of parameter groups, and a symmetric matrix of them: steps, charges, what is compared and refused."""

import numpy as np
import pytest

import thermosim
from tests.test_network_charges import CASE
from thermosim.exact import symmetry_charges as theory

INPUTS = np.array([[1.0, 0.5, -0.3], [-0.4, 2.0, 0.2], [0.3, -1.0, 1.5], [0.7, 0.1, -0.9]])
TARGETS = np.array([[0.5, -1.0], [1.5, 0.3], [-0.2, 0.8], [0.9, -0.4]])
START = np.array([[0.3, -0.2, 0.5], [1.0, 0.1, -0.7]])
RATE, DECAY, STEPS = 0.05, 0.3, 12


def spd(size, seed=3):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T / size + 0.3 * np.eye(size)


def regression(tmp_path, variables=("theta",), **theta):
    np.savetxt(tmp_path / "rows.csv", np.hstack([INPUTS, TARGETS]), delimiter=",")
    case = {
        "model": {"name": "linear-regression", "inputs": 3, "outputs": 2},
        "theta": {
            "dynamics": "sgd",
            "learning_rate": RATE,
            "weight_decay": DECAY,
            "batch": "all",
            "initial": {"weights": START.tolist()},
            **theta,
        },
        "data": {"file": str(tmp_path / "rows.csv")},
        "ensemble": {"replicas": 2},
        "run": {"steps": STEPS},
        "record": {"variables": list(variables)},
    }
    return thermosim.simulate(thermosim.load_case(case))


def slope(theta):
    off = INPUTS @ theta.reshape(2, 3).T - TARGETS
    return 2.0 * (off.T @ INPUTS).ravel() / len(INPUTS) + DECAY * theta


def by_hand(rates, momentum=0.0, ahead=False):
    """theta after STEPS steps of the equations of `kernels.theta_moves.preconditioned`, in plain numpy."""
    theta, velocity = START.ravel().copy(), np.zeros(6)
    for _ in range(STEPS):
        kick = -RATE * rates @ slope(theta)
        velocity = momentum * velocity + kick
        theta = theta + (momentum * velocity + kick if ahead else velocity)
    return theta


@pytest.mark.parametrize(("dynamics", "momentum"), [("sgd", 0.0), ("sgd", 0.7), ("nesterov", 0.7)])
def test_a_matrix_of_rates_moves_theta_as_the_equations_say(tmp_path, dynamics, momentum):
    """A matrix that does not commute with the Hessian; against plain numpy, to rounding."""
    rates = spd(6)
    ds = regression(tmp_path, dynamics=dynamics, momentum=momentum, preconditioner=rates.tolist())
    expected = by_hand(rates, momentum, dynamics == "nesterov")
    assert np.allclose(ds.theta.isel(step=-1, replica=0), expected, rtol=1e-11, atol=1e-12)
    assert np.abs(expected - by_hand(np.eye(6), momentum, dynamics == "nesterov")).max() > 0.05


def test_the_unit_matrix_and_factors_of_one_change_nothing(tmp_path):
    plain = regression(tmp_path).theta
    assert np.array_equal(plain, regression(tmp_path, learning_rate_factors={"weights": 1.0}).theta)
    assert np.allclose(plain, regression(tmp_path, preconditioner=np.eye(6).tolist()).theta, rtol=1e-13)


@pytest.mark.parametrize("dynamics", ["sgd", "nesterov", "adam", "adamw"])
def test_a_factor_is_a_rate(tmp_path, dynamics):
    twice = regression(tmp_path, dynamics=dynamics, learning_rate_factors={"weights": 2.0}).theta
    assert np.allclose(twice, regression(tmp_path, dynamics=dynamics, learning_rate=2 * RATE).theta, rtol=1e-12)


def run(**changes):
    return thermosim.simulate(thermosim.load_case(CASE, {key.replace("__", "."): to for key, to in changes.items()}))


def test_every_group_has_the_rate_of_its_own():
    """First step from the same start: the step of layer k is f_k times that without factors."""
    factors = {"layer_1": 2.0, "layer_3": 0.25}
    steps = [
        run(run__steps=1, record__every=1, **more).theta.diff("step").isel(step=0).transpose("replica", ...).values
        for more in ({}, {"theta__learning_rate_factors": factors})
    ]
    expected = np.repeat([2.0, 1.0, 0.25], [24, 30, 10])
    assert np.allclose(steps[1], expected * steps[0], rtol=1e-9, atol=1e-14)


FACTORS = {"layer_1": 3.0, "layer_2": 0.5, "layer_3": 1.5}


@pytest.mark.parametrize(
    "changes",
    [
        {"theta__learning_rate_factors": FACTORS},
        {"theta__learning_rate_factors": FACTORS, "theta__weight_decay": 0.3, "model__activation": "linear"},
        {"theta__preconditioner": spd(64).tolist(), "theta__weight_decay": 0.3},
    ],
)
def test_no_step_goes_along_an_orbit_at_several_rates(changes):
    """(A theta).L^-1 (theta' - theta) = -r lambda (A theta).theta, to rounding; with other rates it is far from it."""
    ds = run(run__steps=20, record__every=1, **changes)
    found = [one for one in thermosim.check(ds).comparisons if "charge" in one.quantity]
    assert len(found) >= 2
    assert all(float(np.max(one.measured)) < 0.5 * one.tolerance < 1e-9 for one in found)
    moved = ds.theta.copy()
    moved[{"step": slice(1, None), "theta_dim": slice(24)}] += 1e-6 * (ds.theta[1:, :, :24] - ds.theta[0, :, :24])
    assert not thermosim.check(ds.assign(theta=moved)).consistent


def test_charges_between_far_frames_are_not_compared_at_several_rates_and_said_so():
    report = thermosim.check(run(theta__learning_rate_factors=FACTORS))
    assert not [one for one in report.comparisons if "charge" in one.quantity]
    assert "rates of their own" in str(report)


def test_theory_of_one_rate_is_not_compared_with_several():
    """Variance and temperature of minibatch noise, the reservoir: all are of one rate."""
    ds = run(theta__learning_rate_factors={"layer_1": 2.0}, data__fresh=False, data__rows=32, record__every=1)
    assert not [one for one in thermosim.check(ds).comparisons if "noise" in one.quantity]
    with pytest.raises(ValueError, match="one learning rate"):
        thermosim.analysis.noise_statistics(ds)
    plain = run(data__fresh=False, data__rows=32, record__every=1)
    assert [one for one in thermosim.check(plain).comparisons if "noise" in one.quantity]


def matrix_problem():
    """g of l = |(u w) x - y|^2 for u (3), w (3): A = diag(-1, -1, -1, 1, 1, 1) is a generator of its symmetry."""
    generator = np.diag([-1.0] * 3 + [1.0] * 3)
    x, y = 0.7, 1.3

    def gradient(theta):
        off = 2.0 * x * (theta[:3] @ theta[3:] * x - y)
        return off * np.concatenate([theta[3:], theta[:3]])

    return generator, gradient


def test_charges_with_a_matrix_of_rates_are_exact_where_it_commutes():
    generator, gradient = matrix_problem()
    rates, theta = np.zeros((6, 6)), np.random.default_rng(1).normal(size=6)
    rates[:3, :3], rates[3:, 3:] = 0.1 * spd(3, 5), 0.1 * spd(3, 8)
    assert abs(theta @ generator @ gradient(theta)) < 1e-12
    after = theta - rates @ gradient(theta)
    before = theory.preconditioned_charge(theta, generator, rates)
    expected = theory.next_preconditioned_charge(before, gradient(theta), generator, rates)
    assert np.isclose(theory.preconditioned_charge(after, generator, rates), expected, rtol=1e-12)
    scalar = theory.next_charge(theory.charge(theta, generator), gradient(theta), generator, learning_rate=0.1)
    assert abs(theory.charge(after, generator) - scalar) > 1e-3  # the charge of one rate is not that of a matrix
    assert abs(before - expected) > 1e-4
    one_rate = theory.preconditioned_charge(theta, generator, 0.1 * np.eye(6)) * 0.1
    assert np.isclose(one_rate, theory.charge(theta, generator), rtol=1e-12)
    for function, arguments in (
        (theory.preconditioned_charge, (theta, generator, spd(6))),
        (theory.next_preconditioned_charge, (before, gradient(theta), generator, spd(6))),
    ):
        with pytest.raises(ValueError, match="do not commute"):
            function(*arguments)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        ({"learning_rate_factors": {"layer_9": 2.0}}, "layer_9: unknown parameter group; there are layer_1"),
        (
            {"learning_rate_factors": {"layer_5": 2.0}},
            "layer_5: unknown parameter group; there are layer_1, layer_2, layer_3",
        ),
        ({"learning_rate_factors": {"layer_1": 0.0}}, "theta.learn leaves out"),
        ({"learning_rate_factors": {"layer_1": -1.0}}, "expected more than 0"),
        ({"learning_rate_factors": {"layer_1": "2"}}, "expected a number"),
        ({"learning_rate_factors": {}}, "is empty"),
        ({"learning_rate_factors": 2.0}, "belongs into theta.learning_rate"),
        ({"learning_rate_factors": {"layer_1": 2.0}, "learn": ["layer_2"]}, "name it in theta.learn"),
        ({"learning_rate_factors": {"layer_1": 2.0}, "dynamics": "frozen", "learning_rate": None}, "learns"),
        ({"learning_rate_factors": {"layer_1": 2.0}, "dynamics": "sgld", "temperature": 1.0}, "'sgd' or 'nesterov' or"),
        ({"preconditioner": np.eye(64).tolist(), "dynamics": "adam"}, "'sgd' or 'nesterov', not 'adam'"),
        (
            {"preconditioner": np.eye(64).tolist(), "learning_rate_factors": {"layer_1": 2.0}},
            "both give learning",
        ),
        ({"preconditioner": np.eye(63).tolist()}, "63 rows of 63 numbers; expected 64 rows"),
        ({"preconditioner": [1.0] * 64}, "64 rows of 64 numbers"),
        ({"preconditioner": (np.eye(64) + 0.1 * np.eye(64, k=1)).tolist()}, "not symmetric, row 0 has 0.1 in column 1"),
        ({"preconditioner": (np.eye(64) - np.ones((64, 64))).tolist()}, "least eigenvalue is -63"),
        ({"preconditioner": np.ones((64, 64)).tolist()}, "is not positive"),
        ({"preconditioner": (np.nan * np.eye(64)).tolist()}, "finite numbers"),
    ],
)
def test_rates_that_cannot_be_are_refused(theta, message):
    with pytest.raises(thermosim.CaseError, match=message.replace("[", r"\[")):
        thermosim.load_case(CASE, {f"theta.{key}": value for key, value in theta.items()})


def test_groups_that_rest_stay_where_a_matrix_mixes_parameters():
    ds = run(theta__preconditioner=spd(64).tolist(), theta__learn=["layer_1", "layer_3"], run__steps=5)
    moved = abs(ds.theta.isel(step=-1) - ds.theta.isel(step=0)).max("replica")
    assert float(moved[24:54].max()) == 0.0
    assert float(moved[:24].min()) > 0.0 < float(moved[54:].min())


@pytest.mark.parametrize("dynamics", ["sgd", "nesterov"])
def test_displacements_are_booked_at_a_matrix_of_rates(dynamics):
    matrix = {"theta__preconditioner": spd(64).tolist(), "theta__dynamics": dynamics, "theta__momentum": 0.5}
    names = ["theta", "displacement_square"]
    ds = run(run__steps=5, record__every=1, record__variables=names, **matrix)
    moved = (ds.theta.diff("step") ** 2).sum("theta_dim").cumsum("step")
    assert np.allclose(ds.displacement_square[1:], moved, rtol=1e-9)
    assert float(moved.mean()) > 0.0


def test_regression_at_several_rates_is_not_compared_with_that_of_one():
    case = {"model": {"name": "linear-regression", "inputs": 3}, "ensemble": {"replicas": 200}, "run": {"steps": 9}}
    case |= {"data": {"source": "linear", "matrix": [[1.0, -1.0, 0.5]], "noise": 0.1, "rows": 12}}
    rates = {"learning_rate_factors": {"weights": 2.0}}
    theta = {"dynamics": "sgd", "learning_rate": 0.05, "batch": 2}
    one, several = (
        thermosim.check(thermosim.simulate(thermosim.load_case(case | {"theta": theta | more}))) for more in ({}, rates)
    )
    assert [row for row in one.comparisons if "theta" in row.quantity]
    assert not several.comparisons
