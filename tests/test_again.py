"""A replica made again, and twins that go on from a frame: the same noise, so the same bits where nothing changed."""

import numpy as np
import pytest
import xarray as xr

import thermosim
from thermosim.case.faults import CaseError
from thermosim.run.execution import Interrupted
from thermosim.storage import StorageError

MACHINE = """
title = "a learning machine with minibatches"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
gradient = "contrast"
learning_rate = 0.05
batch = 3
[x]
dynamics = "ula"
time_step = 0.1
tau = 2
samples = 2
[data]
source = "ring"
rows = 40
[ensemble]
replicas = 40
seed = 5
[run]
steps = 60
[record]
every = 5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("again")


@pytest.fixture(scope="module")
def machine(folder):
    thermosim.simulate(thermosim.load_case(MACHINE), folder / "machine.h5").close()
    return folder / "machine.h5"


def test_a_replica_again_is_the_same_and_has_every_step(machine):
    with thermosim.open_ensemble(machine) as ds:
        again = thermosim.replay(machine, 17)
        assert again.sizes["step"] == 61
        same = ds.sel(replica=[17])
        for name in ("theta", "x", "phi", "work", "heat"):
            np.testing.assert_array_equal(again[name].sel(step=ds.step), same[name])
        assert again.address.item() == same.address.item() == 17
        count = sum(same[name].size for name in again.data_vars if "step" in same[name].dims)
        assert again.replayed == f"{count:,} numbers of machine.h5, the same to the bit"
        # other replicas differ, so an address that is off by one would have been seen
        assert not np.array_equal(again["x"].sel(step=ds.step), ds.x.sel(replica=[18]))
    first_law = again.phi - again.phi.isel(step=0) - again.work - again.heat
    assert abs(first_law).max() < 1e-12


def test_a_part_of_the_steps_and_of_the_variables(machine):
    whole, part = (
        thermosim.replay(machine, 3),
        thermosim.replay(machine, 3, start=10, stop=31, every=7, variables=["x"]),
    )
    assert list(part.step.values) == [10, 17, 24, 31]
    assert set(part.data_vars) == {"x", "status", "diverged_step"}
    np.testing.assert_array_equal(part.x, whole.x.sel(step=part.step))


def test_points_of_a_sweep_and_replicas_that_were_added(sphere, folder):
    """Along lane axes and structural ones, in the first series of addresses and in the second."""
    file = folder / "sphere.h5"
    text = sphere.replace("replicas = 7", "replicas = 34").replace("steps = 120", "steps = 40")
    text += '"theta.constraint" = { values = ["fixed-elr", "fixed-lr"] }\n'
    text = text.replace('initial = "stationary"', 'initial = "random"').replace("num = 5", "num = 2")
    thermosim.simulate(thermosim.load_case(text), file).close()
    thermosim.extend(file, replicas=5).close()
    with thermosim.open_ensemble(file) as ds:
        for replica in (33, 36):
            point = {"learning_rate": 0.2, "model.noise": 1.1, "constraint": "fixed-lr"}
            again = thermosim.replay(file, replica, point, start=20)
            there = ds.sel(learning_rate=0.2, noise=1.1, constraint="fixed-lr", replica=replica)
            np.testing.assert_array_equal(again.theta.squeeze().sel(step=ds.step), there.theta)
            assert again.address.item() == there.address.item()


def test_what_cannot_be_made_again(machine, folder, monkeypatch):
    for arguments, told in [
        ({"replica": 40}, r"replica 40: the ensemble has 0 to 39\."),
        ({"replica": 1, "stop": 61}, r"steps 0 to 61, every 1: expected steps from 0 to 60"),
        ({"replica": 1, "variables": ["speed"]}, "speed"),
        ({"replica": 1, "point": {"model.stiffness": 1.0}}, r"is no axis of the sweep; there are none"),
    ]:
        with pytest.raises(CaseError, match=told):
            thermosim.replay(machine, **arguments)
    with pytest.raises(StorageError, match="no such ensemble"):
        thermosim.replay(folder / "nothing.h5", 0)
    monkeypatch.setattr("thermosim.run.replay.machine.memory", lambda: type("M", (), {"free": 100.0}))
    with pytest.raises(CaseError, match=r"61 frames of a replica take .* record fewer steps"):
        thermosim.replay(machine, 0)


def test_a_twin_without_changes_is_the_ensemble(machine, folder):
    """Of samples, of parameters that learn from minibatches, and of what is booked from the fork on."""
    with thermosim.open_ensemble(machine) as ds, thermosim.fork(machine, 20, folder / "same.h5") as twin:
        assert list(twin.step.values) == list(range(20, 61, 5))
        for name in ("theta", "x", "phi"):
            np.testing.assert_array_equal(twin[name], ds[name].sel(step=twin.step))
        for name in ("work", "heat"):
            later = ds[name].sel(step=twin.step) - ds[name].sel(step=20)
            np.testing.assert_allclose(twin[name], later, atol=1e-12)
        assert not twin.work.sel(step=20).any()
    assert thermosim.check(folder / "same.h5").consistent


def test_a_twin_with_a_changed_key_leaves_where_it_is_changed(machine, folder):
    twin = folder / "warmer.h5"
    with (
        thermosim.open_ensemble(machine) as ds,
        thermosim.fork(machine, 20, twin, {"theta.learning_rate": 0.05000001}) as near,
    ):
        apart = abs(near.theta - ds.theta.sel(step=near.step)).max(("replica", "theta_dim"))
        assert apart.sel(step=20) == 0.0
        assert 0.0 < apart.sel(step=25) < 1e-5  # of one noise; of another it would be about 0.05
    assert thermosim.check(twin).consistent is not False


def test_a_twin_goes_on_is_resumed_and_is_forked(machine, folder):
    with thermosim.open_ensemble(machine) as ds:
        file = folder / "stopped.h5"

        def stop(progress):
            if progress.made:
                raise KeyboardInterrupt

        with pytest.raises(Interrupted):
            thermosim.fork(machine, 20, file, report=stop, lanes_at_once=10, segment_seconds=1e-6)
        thermosim.resume(file).close()
        with thermosim.fork(file, 40, folder / "again.h5") as twin:
            np.testing.assert_array_equal(twin.x, ds.x.sel(step=twin.step))
        with thermosim.fork(machine, 20, folder / "short.h5", {"run.steps": 30}) as twin:
            assert twin.step[-1] == 30
        longer = thermosim.extend(folder / "short.h5", 30)
        np.testing.assert_array_equal(longer.x, ds.x.sel(step=longer.step))
        longer.close()


def test_what_no_twin_can_begin_with(machine, folder, trap):
    for step, changes, told in [
        (21, {}, r"has no theta at step 21: recorded are steps 0, \.\.\., 60"),
        (60, {}, r"run\.first_step = 60: there are no steps after it"),
        (20, {"theta.momentum": 0.9}, r"run\.first_step = 20: 'sgd' remembers earlier steps"),
        (20, {"x.initial": "zero"}, r"x must be that of another run at this step"),
        (20, {"run.direction": "there-and-back"}, r"begins at step 0"),
    ]:
        with pytest.raises(CaseError, match=told):
            thermosim.fork(machine, step, folder / "never.h5", changes)
        assert not (folder / "never.h5").exists()
    with pytest.raises(StorageError, match="is what the fork starts from"):
        thermosim.fork(machine, 20, machine, overwrite=True)
    with pytest.raises(CaseError, match=r"theta must be that of another run"):
        thermosim.load_case(MACHINE, {"run.first_step": 20})
    taken = {"from": str(machine), "step": 20}
    with pytest.raises(CaseError, match=r"ensemble\.seed = 5: is that of"):  # the noise of steps 1 to 20 once more
        thermosim.load_case(MACHINE, {"theta.initial": taken, "x.initial": taken})


def test_a_protocol_goes_on_where_it_was(trap, folder):
    """theta is that of the step, not of the start."""
    with (
        thermosim.simulate(thermosim.load_case(trap), folder / "trap.h5") as ds,
        thermosim.fork(folder / "trap.h5", 42, folder / "dragged.h5") as twin,
    ):
        for name in ("theta", "x"):
            np.testing.assert_array_equal(twin[name], ds[name].sel(step=twin.step))


def test_the_commands(machine, folder, monkeypatch, capsys):
    from thermosim.cli.commands import main

    monkeypatch.chdir(folder)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["thermosim", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr()

    code, said = call("replay", "machine.h5", "--replica", "2", "--steps", "10:20")
    assert code == 0
    assert "replica 2: 11 frames, steps 10 to 20;" in said.out
    with xr.open_dataset("machine_replica2.h5") as ds:
        assert ds.sizes["step"] == 11
    code, said = call("replay", "machine.h5", "--replica", "2")
    assert code != 0
    assert "machine_replica2.h5" in said.err
    code, said = call("replay", "machine.h5", "--replica", "2", "--steps", "ten")
    assert code == 2
    assert "expected A:B" in said.err
    changed = ["--set", "theta.learning_rate=0.04", "-o", "fork.h5", "--no-plot"]
    code, said = call("fork", "machine.h5", "--at", "20", *changed)
    assert code == 0
    assert "40 replicas x 40 steps" in said.out


@pytest.mark.parametrize("engine", ["networks", pytest.param("dense", marks=pytest.mark.exhaustive)])
def test_networks_again_and_from_a_frame(engine, folder):
    """What is recorded by default is what every engine books; the same bits, in float32, too."""
    if engine == "networks":
        pytest.importorskip("jax")
    case = {
        "model": {"name": "multilayer-perceptron", "widths": [64, 8, 10], "loss": "cross-entropy"},
        "theta": {"dynamics": "sgd", "learning_rate": 0.05, "batch": 16, "initial": "he"},
        "engine": {"name": engine},
        "data": {"source": "digits"},
        "ensemble": {"replicas": 6},
        "run": {"steps": 20},
        "record": {"every": 5},
    }
    file = folder / f"{engine}.h5"
    with (
        thermosim.simulate(thermosim.load_case(case), file) as ds,
        thermosim.fork(file, 10, folder / f"{engine}_twin.h5") as twin,
    ):
        assert "layer_gradient_square" in ds
        np.testing.assert_array_equal(twin.theta, ds.theta.sel(step=twin.step))
        again = thermosim.replay(file, 4)
        np.testing.assert_array_equal(again.theta.sel(step=ds.step), ds.theta.sel(replica=[4]))
