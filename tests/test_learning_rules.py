"""What a learning machine cannot do is refused when the case is read, with the reason and what would work."""

from __future__ import annotations

from typing import Any

import pytest

import thermosim
from tests.learning_cases import GAUSSIAN

RBM = """
[model]
name = "rbm"
dimension = 4
hidden = 3
[theta]
dynamics = "sgd"
learning_rate = 0.1
batch = 2
[x]
dynamics = "gibbs"
initial = "random"
[data]
file = "rows.npy"
[ensemble]
replicas = 8
[run]
steps = 4
"""

FAULTS = [
    ({"theta.batch": None}, ["theta.batch: missing", '"all"']),
    ({"theta.batch": "many"}, ["theta.batch = 'many'", "at least 1"]),
    ({"theta.batch": 0}, ["at least 1"]),
    ({"theta.batch": 10**12}, ["theta.batch = 1000000000000", "at most 1,000,000"]),
    ({"theta.learning_rate": [0.1]}, ["theta.learning_rate = [0.1]", "one number, without brackets"]),
    ({"theta.learning_rate": {"kind": "linear", "initial": [0.1], "final": 0.1}}, ["without brackets"]),
    ({"theta.learning_rate": "0.1"}, ["not text in quotes"]),
    ({"theta.learn": ["bias"]}, ["theta.learn: 'bias'", "mean, log_precision"]),
    ({"theta.temperature": 0.3}, ["theta.temperature", "use 'sgld'"]),
    ({"theta.dynamics": "langevin", "theta.temperature": 0.1}, ["theta.batch = 2", "feels all of the data"]),
    ({"theta.dynamics": "sgld"}, ["theta.temperature: missing"]),
    ({"theta.dynamics": "sgld", "theta.temperature": {"mean": 1.0}}, ["theta.temperature.log_precision: missing"]),
    ({"theta.dynamics": "sgld", "theta.temperature": {"kind": "linear", "initial": 1.0}}, ["needs the key 'final'"]),
    ({"theta.initial": {"mean": [1.0, 2.0, 3.0]}}, ["theta.initial.mean", "shape [2]"]),
    ({"theta.initial": "warm"}, ["expected a table of parameter groups"]),
    ({"theta.spread": -1.0}, ["theta.spread = -1.0", "at least 0"]),
    ({"theta.constraint": "fixed-lr"}, ["not scale-invariant"]),
    ({"theta.momentum": 1.0}, ["theta.momentum", "less than 1"]),
    ({"theta.gradient": "score"}, ["theta.gradient = 'score'"]),
    ({"theta.dynamics": "protocol"}, ["theta.learning_rate", "only used when theta learns"]),
    ({"theta.recording": {"file": "a.h5"}}, ["theta.recording", "'protocol'"]),
    ({"run.direction": "reversed"}, ["there-and-back", "theta.recording"]),
    ({"run.direction": "there-and-back", "run.steps": 3}, ["even number"]),
    ({"run.direction": "there-and-back", "theta.momentum": 0.5}, ["plain SGD"]),
    ({"x.dynamics": "gibbs"}, ["no conditional law", "'ula' or 'mala' or 'metropolis' or 'exact'"]),
    ({"x.dynamics": "exact-ou"}, ["no exact propagator"]),
    ({"x.dynamics": "exact"}, ["x.time_step", "no meaning"]),
    ({"x.time_step": None}, ["x.time_step: missing"]),
    ({"x.temperature": 2.0}, ["exp(-phi) only"]),
    ({"x.initial": "random"}, ["continuous"]),
    ({"record.variables": ["log_ratio_theta"]}, ["no transition density", "'sgld' and 'langevin'"]),
    ({"x.restart": True, "record.variables": ["entropy_production"]}, ["persistent chains"]),
    ({"record.variables": ["accepted"]}, ["'accepted'", "do not have it"]),
    ({"data.sets": 30000}, ["data.sets = 30000", "more data sets than"]),
    ({"data": {"source": "teacher", "teacher": {"bias": 1.0}}}, ["data.teacher.bias"]),
    ({"data.source": "digits"}, ["64 components", "this model has 2"]),
    ({"data": {"file": "nowhere.npy"}}, ["nowhere.npy"]),
]


def _faults(text: str, changes: dict[str, Any], folder: Any = None) -> str:
    with pytest.raises(thermosim.CaseError) as caught:
        thermosim.load_case(text, changes, folder)
    return str(caught.value)


@pytest.mark.parametrize(("changes", "parts"), FAULTS, ids=lambda value: str(value)[:60])
def test_refusals(changes: dict[str, Any], parts: list[str]) -> None:
    message = _faults(GAUSSIAN, changes)
    for part in parts:
        assert part in message, message
    assert "Traceback" not in message
    assert len(message) < 1500


def test_learning_needs_data() -> None:
    text = GAUSSIAN[: GAUSSIAN.index("[data]")] + GAUSSIAN[GAUSSIAN.index("[ensemble]") :]
    assert "learning needs data" in _faults(text, {})


def test_data_that_nothing_uses() -> None:
    changes = {"theta": {"dynamics": "frozen", "initial": {"mean": 0.0}}}
    assert "nothing uses it" in _faults(GAUSSIAN, changes)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"theta.gradient": "likelihood"}, ["no normaliser", "'contrast'"]),
        ({"x": None}, ["x: missing"]),
        ({"x.initial": "equilibrium"}, ["no exact sampler", "use 'zero', 'random', 'data', a point"]),
        ({"x.initial": "normal"}, ["components", "use 'zero', 'random', 'data', a point"]),
        ({"x.dynamics": "ula", "x.time_step": 0.1}, ["its x is discrete", "'gibbs'"]),
        ({"x.dynamics": "exact"}, ["no exact sampler"]),
        ({"record.variables": ["entropy_production"]}, ["no normaliser", "record work and heat"]),
        ({"data": {"source": "teacher"}}, ["no exact sampler"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_refusals_of_an_energy_without_normaliser(tmp_path, changes, parts) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    np.save(tmp_path / "rows.npy", np.eye(4))
    text = RBM
    if changes.get("x", 1) is None:
        text, changes = RBM[: RBM.index("[x]")] + RBM[RBM.index("[data]") :], {}
    message = _faults(text, changes, tmp_path)
    for part in parts:
        assert part in message, message


def test_rows_that_discrete_components_cannot_be(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    np.save(tmp_path / "rows.npy", np.array([[0.0, 1.0, 0.5, 0.0]]))
    message = _faults(RBM, {}, tmp_path)
    assert "holds 0.5" in message
    assert "data.encoding = 'binary'" in message
    assert "real numbers" in _faults(RBM, {"data": {"source": "gaussian"}}, tmp_path)
    thermosim.load_case(RBM, {"data.encoding": "binary"}, tmp_path)


def test_a_sweep_records_what_every_point_has(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """No path ratio of restarted chains, no surprisal at another temperature; a swept switch is stored."""
    changes: dict[str, Any] = {"ensemble.replicas": 8, "sweep": {"x.restart": {"values": [False, True]}}}
    ds = thermosim.simulate(thermosim.load_case(GAUSSIAN, changes), tmp_path / "out.h5")
    assert ds.restart.values.tolist() == [0, 1]
    assert not {"log_ratio_x", "entropy_production", "shadow"} & set(ds)
    changes = {"ensemble.replicas": 8, "x.initial": "normal", "sweep": {"x.temperature": {"values": [1.0, 2.0]}}}
    ds = thermosim.simulate(thermosim.load_case(GAUSSIAN, changes))
    assert "log_ratio_x" in ds
    assert not {"entropy_production", "shadow"} & set(ds)


def test_a_recording_that_does_not_fit(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "path.h5"
    thermosim.simulate(thermosim.load_case(GAUSSIAN, {"ensemble.replicas": 2, "record.every": 4}), path)
    text = GAUSSIAN[: GAUSSIAN.index("[theta]")] + '[theta]\ndynamics = "protocol"\nrecording = { file = "path.h5" }\n'
    text += GAUSSIAN[GAUSSIAN.index("[x]") : GAUSSIAN.index("[data]")] + GAUSSIAN[GAUSSIAN.index("[ensemble]") :]
    assert "record.every = 1" in _faults(text, {}, tmp_path)
    assert "no such ensemble" in _faults(text, {"theta.recording.file": "other.h5"}, tmp_path)
