"""arXiv:2310.19802 reproduced at a small size: what holds, what does not, what is right instead, and planted errors."""

from dataclasses import replace

import numpy as np
import pytest

from thermosim.papers import Outcome, find_paper
from thermosim.papers.reproduction import _results, case_of

PAPER = find_paper("learning")
CLAIMS = {claim.measure.__name__: claim for claim in PAPER.claims}
HOLD = {"first_law", "fresh_theorem", "fresh_averages", "jarzynski", "information", "processing", "white", "of_batch"}
WITHIN = {"no_return", "lazy"}  # whose next order of the learning rate shows
SMALL = {
    "fresh": {"ensemble.replicas": 8192},
    "finite": {"ensemble.replicas": 8192},
    "euler": {"ensemble.replicas": 8192},
    "tau": {"ensemble.replicas": 1024, "sweep": {"x.tau": {"values": [1, 64]}}},
    "spins": {"ensemble.replicas": 8192},
    "still": {"ensemble.replicas": 2048},
    "sets": {"ensemble.replicas": 512},
    "back": {"ensemble.replicas": 256},
    "course": {"model.widths": [64, 8, 8, 10], "data.test": 0.9},
    "white": {"model.widths": [64, 8, 8, 10], "data.test": 0.9},
}


@pytest.fixture(scope="module")
def ensembles():
    import thermosim

    runs = PAPER.runs.items()
    cases = {name: case_of(replace(run, changes={**run.changes, **SMALL.get(name, {})}), False) for name, run in runs}
    return {name: thermosim.simulate(case) for name, case in cases.items()}


def outcomes(ensembles, *names):
    results = _results([CLAIMS[name] for name in names], ensembles, {})[0]
    return [one.outcome for one in results]


def test_what_holds_and_what_does_not(ensembles):
    results, rate = _results(PAPER.claims, ensembles, {})
    for one in results:
        name = one.claim.measure.__name__
        expected = Outcome.HOLDS if name in HOLD else Outcome.WITHIN if name in WITHIN else Outcome.FAILS
        assert one.outcome is expected, name
        for number in one.corrected:
            assert number.outcome(rate) is Outcome.HOLDS, number.quantity


def test_a_sign_of_the_heat_is_seen(ensembles):
    wrong = {name: ensembles[name].assign(heat=-ensembles[name]["heat"]) for name in ("fresh", "finite", "euler")}
    assert outcomes(wrong, "first_law", "fresh_averages") == [Outcome.FAILS, Outcome.FAILS]


def test_a_factor_of_two_of_the_work_is_seen(ensembles):
    wrong = {name: ensembles[name].assign(work=2.0 * ensembles[name]["work"]) for name in ("fresh", "finite")}
    assert outcomes(wrong, "jarzynski", "fresh_averages") == [Outcome.FAILS, Outcome.FAILS]


def test_moves_that_are_biased_are_no_samples_of_the_model(ensembles):
    assert outcomes({"finite": ensembles["euler"].isel(time_step=1)}, "jarzynski") == [Outcome.FAILS]


def test_a_factor_of_two_of_the_surprisal_is_seen(ensembles):
    ds = ensembles["spins"]
    assert outcomes({"spins": ds.assign(phi=2.0 * ds["phi"])}, "information") == [Outcome.FAILS]


def test_a_temperature_twice_as_high_is_no_longer_that_of_the_noise(ensembles):
    theta = ensembles["still"]["theta"]
    center = theta.mean("replica")
    wrong = {"still": ensembles["still"].assign(theta=center + np.sqrt(2.0) * (theta - center))}
    for number in CLAIMS["canonical"].corrected(wrong):
        assert number.measured == pytest.approx(2.0, rel=0.2)
        assert number.outcome(1e-4) is Outcome.FAILS


def test_frames_of_the_way_back_in_another_order_are_seen(ensembles):
    ds = ensembles["back"]
    wrong = ds.isel(step=[0, 2, 1]).assign_coords(step=ds["step"])
    assert outcomes({"back": wrong}, "no_return") == [Outcome.FAILS]


def test_a_mismatch_that_falls_with_the_rate_is_seen(ensembles):
    ds = ensembles["back"]
    wrong = ds.isel(learning_rate=[1, 0]).assign_coords(learning_rate=ds["learning_rate"])
    assert outcomes({"back": wrong}, "lazy") == [Outcome.FAILS]


def test_noise_of_another_number_of_rows_is_seen(ensembles):
    assert outcomes({"white": ensembles["white"].isel(batch=[2, 1, 0])}, "of_batch") == [Outcome.FAILS]


def test_too_few_replicas_decide_nothing(ensembles):
    few = {"fresh": ensembles["fresh"].isel(replica=slice(64))}
    assert outcomes(few, "fresh_averages") == [Outcome.OPEN]
