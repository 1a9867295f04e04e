"""The engine of networks: against lanes to rounding, and the same bits wherever a run is cut, resumed or dealt."""

import os
import signal

import numpy as np
import pytest

import thermosim
from thermosim.engines import engine_of
from thermosim.plan.outline import plan

pytest.importorskip("jax")

VARIABLES = ["theta", "loss_sum", "gradient_square", "minibatch_loss"]
CASE = {
    "model": {
        "name": "multilayer-perceptron",
        "widths": [4, 6, 5, 3],
        "loss": "cross-entropy",
        "bias": "yes",
        "activation": "tanh",
    },
    "theta": {"dynamics": "sgd", "learning_rate": 0.05, "weight_decay": 1e-3, "batch": 4},
    "data": {"source": "digits", "shrink": 4, "encoding": "unit", "rows": 60},
    "ensemble": {"replicas": 10, "seed": 3},
    "run": {"steps": 100},
    "record": {"every": 10, "variables": VARIABLES},
}
ON_NETWORKS = {"engine": {"name": "networks", "precision": "float64", "tile_width": 4}}
DENSE = {"engine": {"name": "dense", "precision": "float64"}}


def case_of(*changes):
    """The case above with sections changed."""
    merged = {name: dict(section) for name, section in CASE.items()}
    merged["model"]["widths"] = [4, 6, 5, 10]
    for change in changes:
        for name, section in change.items():
            merged.setdefault(name, {}).update(section)
    return thermosim.load_case(merged)


@pytest.mark.parametrize(
    "move",
    [
        {"dynamics": "sgd"},
        {"dynamics": "sgd", "momentum": 0.8, "learn": ["layer_1", "layer_3"]},
        {"dynamics": "nesterov", "momentum": 0.8, "learning_rate_factors": {"layer_2": 0.5}},
        {"dynamics": "adam", "learning_rate": {"kind": "cosine", "initial": 1e-2, "final": 1e-3}, "epsilon": 1e-6},
        {"dynamics": "adamw", "learning_rate": 1e-2, "epsilon": 1e-6},
        {"dynamics": "sgld", "temperature": 1e-3},
        {"dynamics": "langevin", "temperature": 1e-3, "batch": "all"},
    ],
    ids=lambda move: " ".join(map(str, move)),
)
def test_lanes_and_networks_agree_to_rounding(move):
    """The same perceptron, data and addresses in two implementations, over 100 steps of every move."""
    noisy = ["log_ratio_theta"] if "temperature" in move else []
    changes = {"theta": move, "record": {"variables": [*VARIABLES, *noisy]}}
    lanes, networks = (thermosim.simulate(case_of(changes, engine)) for engine in ({}, ON_NETWORKS))
    for name in [*VARIABLES, *noisy]:
        of_lanes, of_networks = lanes[name].values, networks[name].values
        assert abs(of_lanes - of_networks).max() <= 1e-12 * abs(of_lanes).max(), name
        assert abs(of_lanes).max() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"theta": {"dynamics": "sgd"}},
        {"theta": {"momentum": 0.8, "learn": ["layer_1", "layer_3"]}, "model": {"activation": "gelu"}},
        {"theta": {"dynamics": "nesterov", "momentum": 0.8}, "model": {"activation": "relu", "bias": "no"}},
        {"theta": {"dynamics": "adam", "learning_rate": 1e-2, "epsilon": 1e-6, "batch": "all"}},
        {
            "theta": {"dynamics": "adamw", "learning_rate": {"kind": "cosine", "initial": 1e-2, "final": 1e-3}},
            "model": {"activation": "linear", "widths": [4, 3, 10]},
        },
        {"model": {"loss": "squared", "widths": [4, 9, 10]}, "theta": {"batch": 7}},
    ],
    ids=str,
)
def test_lanes_and_dense_layers_agree_to_rounding(changes):
    """Every move, activation and loss, with and without biases, batches that are no multiple of four rows."""
    lanes, dense = (thermosim.simulate(case_of(changes, engine)) for engine in ({}, DENSE))
    for name in VARIABLES:
        of_lanes, of_dense = lanes[name].values, dense[name].values
        assert abs(of_lanes - of_dense).max() <= 1e-12 * abs(of_lanes).max(), name


def test_dense_layers_measure_what_networks_do():
    names = ["full_loss", "accuracy", "test_loss", "test_accuracy"]
    changes = {"record": {"variables": names}, "data": {"test": 30}}
    networks, dense = (thermosim.simulate(case_of(changes, engine)) for engine in (ON_NETWORKS, DENSE))
    for name in names:
        np.testing.assert_allclose(dense[name].values, networks[name].values, rtol=1e-6)


def test_dense_layers_keep_their_bits_in_files_and_cuts(tmp_path):
    from thermosim.run.extend import extend

    case = case_of({"engine": {"name": "dense"}, "theta": {"dynamics": "adam", "learning_rate": 1e-3}})
    whole = thermosim.simulate(case, threads=2).load()
    thermosim.simulate(thermosim.load_case(case.source, {"run.steps": 30}), tmp_path / "run.h5", threads=1).close()
    with extend(tmp_path / "run.h5", steps=70) as longer:
        assert equal(whole, longer.load())


@pytest.mark.parametrize("engine", [ON_NETWORKS, DENSE], ids=["networks", "dense"])
def test_books_of_layers_and_displacements_agree_with_lanes(engine):
    names = ["displacement_square", "layer_gradient_square", "layer_weight_square"]
    changes = {"record": {"variables": names}, "data": {"sets": 5}}
    lanes, others = (thermosim.simulate(case_of(changes, each)) for each in ({}, engine))
    for name in names:
        np.testing.assert_allclose(others[name].values, lanes[name].values, rtol=1e-12)


def test_there_and_back_retraces_the_same_minibatches():
    changes = {"run": {"direction": "there-and-back"}, "theta": {"weight_decay": 0.0}}
    lanes, networks = (thermosim.simulate(case_of(changes, engine)) for engine in ({}, ON_NETWORKS))
    np.testing.assert_allclose(networks["theta"].values, lanes["theta"].values, rtol=0, atol=1e-13)


def test_float32_is_the_default_and_its_ledger_is_float64():
    networks = thermosim.simulate(case_of({"engine": {"name": "networks"}}))
    theta, sums = networks["theta"].values, networks["loss_sum"].values
    assert np.array_equal(theta, theta.astype(np.float32))
    assert not np.array_equal(sums, sums.astype(np.float32))
    lanes = thermosim.simulate(case_of())
    np.testing.assert_allclose(theta, lanes["theta"].values, atol=1e-5)


@pytest.fixture(scope="module")
def alone():
    """Frames of the case in float32, tiles of 4, without interruption."""
    return thermosim.simulate(networks_case()).load()


def networks_case():
    """Momentum, so that there is memory, and a measure, at its own steps."""
    record = {"variables": [*VARIABLES, "displacement_square"], "full_loss": {"every": 20, "keep": ["frames"]}}
    return case_of({"engine": {"name": "networks", "tile_width": 4}, "theta": {"momentum": 0.5}, "record": record})


def equal(a, b):
    """Whether two datasets have the same bits in all their variables."""
    names = [name for name in a.data_vars if a[name].dtype.kind == "f"]
    assert names
    return [name for name in names if not np.array_equal(a[name].values, b[name].values, equal_nan=True)] == []


def test_one_replica_of_a_tile_is_that_replica_in_any_place(alone):
    """Replica 5 stands second in its tile: alone, first of its tile, it makes the same steps, to the bit."""
    outline = plan(networks_case())[0]
    from thermosim.plan.starts import initial_state

    for first, lanes in ((5, 1), (3, 4), (0, 10)):
        block = outline.make_block(first, lanes)
        found = engine_of(name="networks").open(block)
        found.restore(initial_state(outline, first, lanes), 0)
        found.advance(100, 200, 1, lambda *frames: None)
        theta = found.state()["theta"][:, 5 - first]
        assert np.array_equal(theta, alone["theta"].values[-1, 5])


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_cuts_of_the_steps_leave_no_trace(alone, cut):
    outline = plan(networks_case())[0]
    from thermosim.plan.starts import initial_state

    engine, state, step = engine_of(name="networks"), initial_state(outline, 0, 10), 0
    while step < 100:
        lanes = engine.open(outline.block(), threads=2)
        lanes.restore(state, step)
        step = min(100, step + cut)
        lanes.advance(step, 1000, 1, lambda *frames: None)
        state = lanes.state()
        lanes.close()
        if cut == 1 and step >= 5:
            break
    full = engine.open(outline.block())
    full.restore(initial_state(outline, 0, 10), 0)
    full.advance(step, 1000, 1, lambda *frames: None)
    reference = full.state()
    assert all(np.array_equal(state[name], reference[name]) for name in reference)


def test_files_memory_and_an_extended_run_have_the_same_bits(alone, tmp_path):
    file = tmp_path / "run.h5"
    short = networks_case()
    short = thermosim.load_case(short.source, {"run.steps": 40})
    thermosim.simulate(short, file, segment_frames=2).close()
    from thermosim.run.extend import extend

    with extend(file, steps=60) as longer:
        assert equal(alone, longer.load())
    with thermosim.simulate(networks_case(), tmp_path / "whole.h5", threads=1, lanes_at_once=4) as whole:
        assert equal(alone, whole.load())


def test_another_tile_width_or_precision_is_another_run(tmp_path):
    from thermosim.run.fingerprint import changes, fingerprint

    first, wider = (
        thermosim.load_case(networks_case().source, {"engine.tile_width": width, "engine.precision": precision})
        for width, precision in ((4, "float32"), (8, "float64"))
    )
    one, two = (fingerprint(case, plan(case)) for case in (first, wider))
    assert changes(one, one) == []
    assert changes(one, two) == ["tile width 4, now 8", "precision float32, now float64"]
    assert {"jax", "jaxlib", "device", "network"} <= set(one)


def test_diverging_replicas_are_set_apart_and_spoil_no_other():
    changes = {"sweep": {"theta.learning_rate": {"values": [0.05, 1e4]}}, "theta": {"dynamics": "sgd"}}
    relu = {"model": {"activation": "relu", "loss": "squared", "widths": [4, 6, 3]}}
    data = {"data": {"source": "linear", "rows": 60, "matrix": np.eye(3, 4).tolist()}}
    case = {name: dict(section) for name, section in CASE.items() if name != "data"}
    for change in (changes, relu, data, ON_NETWORKS):
        for name, section in change.items():
            case.setdefault(name, {}).update(section)
    ds = thermosim.simulate(thermosim.load_case(case))
    status = ds["status"].values
    assert (status[0] == 0).all()
    assert (status[1] != 0).all()
    assert np.isfinite(ds["loss_sum"].values[:, 0]).all()
    assert np.isnan(ds["loss_sum"].values[-1, 1]).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {
                "engine": {"name": "networks"},
                "theta": {"dynamics": "gradient-flow", "batch": "all"},
                "record": {"variables": ["theta"]},
            },
            "networks move by",
        ),
        ({"engine": {"name": "lanes", "tile_width": 8}}, "engine.tile_width = 8: belongs to engine.name = 'networks'"),
        ({"engine": {"name": "dense"}, "theta": {"dynamics": "sgld", "temperature": 1.0}}, "'dense': moves by"),
        ({"engine": {"name": "dense", "tile_width": 8}}, "here replicas go one at a time"),
        ({"measure": {"batches": 8}}, "only networks are measured at frames"),
        ({"engine": {"tile_width": 0}}, "engine.tile_width = 0"),
        ({"engine": {"precison": "float64"}}, "precison"),
        ({"engine": {"name": "networks"}, "record": {"variables": ["incoming_gradient_square"]}}, "can record"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(changes, said):
    with pytest.raises(thermosim.CaseError, match=said):
        thermosim.simulate(case_of(changes))


def test_an_interrupted_run_goes_on_to_the_bit(alone, tmp_path):
    from thermosim.run.execution import Interrupted
    from thermosim.run.resume import resume

    file, seen = tmp_path / "run.h5", []

    def stop_half_way(progress):
        seen.append(progress.done)
        if 300 <= progress.done < 1000 and progress.what == "replica-steps":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        thermosim.simulate(networks_case(), file, report=stop_half_way, lanes_at_once=4, threads=1)
    with resume(file) as whole:
        assert equal(alone, whole.load())


@pytest.mark.slow
def test_workers_of_a_cluster_make_the_same_bits(alone, tmp_path):
    with thermosim.simulate(networks_case(), tmp_path / "run.h5", workers=2) as whole:
        assert equal(alone, whole.load())
