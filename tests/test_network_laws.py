"""Rows of `check` that are exact of networks, to rounding: right runs pass, and a mistake of one per cent does not."""

import numpy as np
import pytest

import thermosim

pytest.importorskip("jax")

GROWTH = "largest residual of the growth of |w|^2 between frames, over its parts"
AT_RATE = "largest residual of |w|^2 between frames, over its sum"
RATE = "largest part of |dtheta|^2 that is off r^2 u^2"
GASES = {
    "joint": {"constraint": "fixed-elr", "learning_rate": 0.03, "weight_decay": 0.05, "radius": 2.0},
    "by-group": {"constraint": "fixed-elr", "learning_rate": 0.03, "weight_decay": 0.05, "radius": 1.1},
    "rate": {"constraint": "fixed-lr", "learning_rate": 0.1, "weight_decay": 0.05, "radius": 2.0},
}
RECORDED = (
    "loss_sum",
    "gradient_square",
    "layer_weight_square",
    "layer_gradient_square",
    "layer_weight_gain",
    "radius",
)


def run(model, theta, variables, steps, seed=1):
    case = {
        "model": model,
        "theta": {"dynamics": "sgd", "batch": 64} | theta,
        "engine": {"name": "networks", "tile_width": 8},
        "data": {"source": "digits"},
        "ensemble": {"replicas": 8, "seed": seed},
        "run": {"steps": steps},
        "measure": {"batches": 4},
        "record": {"first": steps // 3, "every": steps // 30, "variables": list(variables)},
    }
    return thermosim.simulate(thermosim.load_case(case))


@pytest.fixture(scope="module", params=list(GASES))
def gas(request):
    """A normalised perceptron of two scales, and what it is called."""
    model = thermosim.load_case("networks/gas_perceptron").settings.as_dict()["model"]
    more = ("radius_growth", "layer_gradient_noise_trace") if request.param != "rate" else ()
    radii = {"radii": "by-group"} if request.param == "by-group" else {}
    return request.param, run(model, GASES[request.param] | radii, (*RECORDED, *more), 600)


def row(ds, quantity):
    (found,) = (one for one in thermosim.check(ds).comparisons if one.quantity == quantity)
    return found


def fails(ds, quantity):
    found = row(ds, quantity)
    return not np.all(np.abs(found.measured) <= found.tolerance)


def test_radii_grow_as_they_must(gas):
    name, ds = gas
    quantity = AT_RATE if name == "rate" else GROWTH
    assert thermosim.check(ds).consistent
    assert not fails(ds, quantity)
    planted = ("layer_gradient_square", "layer_weight_gain") if name == "rate" else ("gradient_square", "radius_growth")
    for variable in planted:
        for factor in (0.99, 1.01, -1.0):
            wrong = ds.copy()
            wrong[variable] = factor * ds[variable]
            assert fails(wrong, quantity), (variable, factor)
            assert not thermosim.check(wrong).consistent
    for key, factor in (("learning_rate", 1.01), ("weight_decay", 2.0)):
        theta = GASES[name]
        before, after = (f'"{key}": {theta[key] * by}' for by in (1.0, factor))
        changed = ds.drop_vars("origin").assign_attrs(  # which would tell that the case is another
            settings=ds.settings.replace(before, after)
        )
        assert changed.settings != ds.settings
        assert fails(changed, quantity), key


def test_the_temperature_of_scales_is_that_of_their_noise(gas):
    """By group p V/R T is the balance times |w|^2 |g|^2 of all layers over |w|^2 Tr Sigma, but for spreads."""
    name, ds = gas
    if name != "by-group":
        pytest.skip("radii of all weights together")
    found = thermosim.analysis.network_gas(ds)
    steps = float(ds.step[-1] - ds.step[0])
    square, gradient = (
        (ds[f"layer_{of}_square"].isel(step=-1) - ds[f"layer_{of}_square"].isel(step=0)) / steps
        for of in ("weight", "gradient")
    )
    trace = ds.layer_gradient_noise_trace.mean("step")
    total = float((square * gradient).sum("layer").mean() / (square * trace).sum("layer").mean())
    assert float(found.pV_over_RT) == pytest.approx(float(found.balance) * total, rel=0.02)
    assert total > 1.05  # the mean gradient shows, so that 1 would be another number


@pytest.mark.parametrize("dynamics", ["adam", "adamw"])
def test_a_step_of_adam_is_its_rate_times_what_moments_say(dynamics):
    model = {"name": "multilayer-perceptron", "widths": [64, 8, 10], "loss": "cross-entropy"}
    decay = {"weight_decay": 0.1} if dynamics == "adamw" else {}
    theta = {"dynamics": dynamics, "learning_rate": 1e-3, "initial": "he"} | decay
    ds = run(model, theta, ("displacement_square", "update_square"), 60)
    assert thermosim.check(ds).consistent
    assert not fails(ds, RATE)
    for factor in (0.99, 1.01):
        wrong = ds.copy()
        wrong["displacement_square"] = factor * ds.displacement_square
        assert fails(wrong, RATE)
        assert not thermosim.check(wrong).consistent
