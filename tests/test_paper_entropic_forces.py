"""The claims of arXiv:2505.12387 at a small size: what each comes to, and that planted errors turn it."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from thermosim.papers import entropic_solutions as solutions
from thermosim.papers import entropic_steps as steps
from thermosim.papers import entropic_symmetries as symmetries
from thermosim.papers.claims import Outcome, judged
from thermosim.papers.entropic_forces import ENTROPIC_FORCES
from thermosim.papers.library import find_paper
from thermosim.papers.reproduction import case_of
from thermosim.run.simulate import simulate

SMALLER = {
    "descent": {"ensemble.replicas": 64, "run.steps": 80},
    "neuron": {"ensemble.replicas": 64, "run.steps": 30_000, "record.every": 300},
    "matrices": {"ensemble.replicas": 64, "run.steps": 30_000, "record.every": 300},
    "relu": {"ensemble.replicas": 32, "run.steps": 40_000, "record.every": 200},
    "decay": {"ensemble.replicas": 64},
    "networks": {
        "ensemble.replicas": 24,
        "run.steps": 50_000,
        "record.every": 500,
        "sweep": ENTROPIC_FORCES.runs["networks"].changes["sweep"]
        | {"theta.learning_rate": {"values": [0.01, 0.015, 0.02]}},
    },
    "unequal noise": {"ensemble.replicas": 64},
    "equal noise": {"ensemble.replicas": 32},
}
WRONG = {
    "Descent follows",
    "Two steps of",
    "What makes a step reversible",
    "F has no non-compact",
    "F has the symmetry",
    "Along every such",
    "The symmetric state",
    "W_i E[G'G] W_i'",
    "Hidden layers of networks",
}


@pytest.fixture(scope="module")
def ensembles():
    runs = {name: run for name, run in ENTROPIC_FORCES.runs.items() if name != "digits"}
    return {
        name: simulate(case_of(replace(run, changes={**run.changes, **SMALLER.get(name, {})}), full=False))
        for name, run in runs.items()
    }


@pytest.fixture(scope="module")
def tables(ensembles):
    return {claim.says: claim.measure(ensembles) for claim in ENTROPIC_FORCES.claims if "digits" not in claim.runs}


@pytest.fixture(scope="module")
def rate(tables):
    """The false-alarm rate of a single number."""
    return judged(list(tables.values()))[0]


def outcome(numbers, rate):
    return max((one.outcome(rate) for one in numbers), key=list(Outcome).index)


def test_it_is_found_by_both_names():
    assert find_paper("entropic-forces") is find_paper("arXiv:2505.12387v4") is ENTROPIC_FORCES


def test_every_claim_comes_out_as_theory_has_it(tables, rate):
    for says, numbers in tables.items():
        wrong = any(says.startswith(words) for words in WRONG)
        assert outcome(numbers, rate) is (Outcome.FAILS if wrong else Outcome.HOLDS), says
    assert sum(any(says.startswith(words) for words in WRONG) for says in tables) == len(WRONG)


def test_what_is_right_instead_holds(ensembles, rate):
    found = [claim for claim in ENTROPIC_FORCES.claims if claim.corrected is not None]
    assert len(found) == len(WRONG)
    for claim in found:
        assert claim.why
        for one in claim.corrected(ensembles):
            open_too = "SGD, B = 4" in one.quantity  # to be told these take more replicas and steps than here
            assert one.outcome(rate) in (Outcome.HOLDS, *[Outcome.OPEN] * open_too), one


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_other_coefficients_than_a_quarter_do_not_hold(ensembles, rate, factor):
    numbers = steps.coefficients(ensembles, 0.25 * factor)
    assert numbers[0].outcome(rate) is Outcome.FAILS
    assert all(one.outcome(rate) is not Outcome.HOLDS for one in numbers)
    flow = steps.by_smaller_steps(ensembles, factor * 0.25)[-1]
    assert flow.outcome(rate) is Outcome.FAILS


def test_gradients_of_one_layer_that_are_doubled_break_the_balance(ensembles, rate):
    relu, decay = ensembles["relu"], ensembles["decay"]
    doubled = relu.assign(
        layer_gradient_square=relu.layer_gradient_square * xr.DataArray([1.0, 2.0], dims="layer"),
        outgoing_gradient_square=2.0 * relu.outgoing_gradient_square,
    )
    found = {**ensembles, "relu": doubled, "decay": decay.assign(layer_weight_square=2.0 * decay.layer_weight_square)}
    assert outcome(symmetries.balance_of_layers(found), rate) is Outcome.FAILS
    assert outcome(symmetries.balance_of_units(found), rate) is Outcome.FAILS
    assert outcome(symmetries.balance_of_decay(found), rate) is Outcome.FAILS
    found["decay"] = decay.assign(layer_gradient_square=-decay.layer_gradient_square)
    assert outcome(symmetries.balance_of_decay(found), rate) is Outcome.FAILS


def test_charges_know_the_square_of_the_step(ensembles, rate):
    chain, slow = ensembles["chain"], ensembles["slow chain"]
    found = {
        **ensembles,
        "chain": chain.assign(layer_gradient_square=1.001 * chain.layer_gradient_square),
        "slow chain": slow.assign(charge=slow.charge**2),
    }
    assert outcome(symmetries.charges(found), rate) is Outcome.FAILS
    assert outcome(symmetries.charge_on_average(found), rate) is Outcome.FAILS


def test_matrices_that_are_transposed_are_not_in_balance(ensembles, rate):
    """The second layer, row by row at the end of theta, transposed."""
    ds = ensembles["matrices"]
    order = [0, 1, 2, 3, 4, 5, 6, 8, 7, 9]
    assert outcome(symmetries.matrices({"matrices": ds.isel(theta_dim=order)}), rate) is Outcome.FAILS


def test_a_network_that_sees_inputs_otherwise_is_not_aligned(ensembles, rate):
    """W_1 X of network B for W_1, row by row at the start of theta."""
    ds = ensembles["networks"]
    theta = ds["theta"].transpose("embedding", ..., "theta_dim")
    values = theta.values.copy()
    shape = values.shape[1:-1]
    first = values[1, ..., :18].reshape(*shape, 6, 3) @ np.diag([1.8, 1.0, 0.5])
    values[1, ..., :18] = first.reshape(*shape, 18)
    found = {"networks": ds.assign(theta=theta.copy(data=values))}
    inside, _, across = solutions.aligned(found)
    assert inside.outcome(rate) is Outcome.HOLDS
    assert across.outcome(rate) is Outcome.FAILS
    assert outcome(solutions.universal(found), rate) is Outcome.FAILS
    assert outcome(solutions.sizes(found, alike=False), rate) is Outcome.FAILS


def test_noise_that_is_exchanged_does_neither_sharpen_nor_flatten(ensembles, rate):
    exchanged = {"unequal noise": ensembles["equal noise"], "equal noise": ensembles["unequal noise"]}
    assert outcome(solutions.sharpened(exchanged), rate) is Outcome.FAILS
    assert outcome(solutions.flattened(exchanged), rate) is Outcome.FAILS
