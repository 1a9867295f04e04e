"""What holds for every run: the same bytes however it is cut, the first law, frames where they are due, the guard."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import thermosim

SPHERE_RADIUS = {"theta.constraint": "fixed-sphere", "theta.weight_decay": 0.0, "theta.radius": 1.7}


def assert_same(a, b):
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        assert np.array_equal(a[name].values, b[name].values, equal_nan=True), name


VARIANTS = [
    ("trap", {}),
    ("trap", {"x.dynamics": "exact-ou"}),
    ("trap", {"run.direction": "reversed", "x.samples": 3}),
    ("trap", {"x.dynamics": "exact-ou", "run.direction": "reversed"}),
    ("sphere", {}),
    ("sphere", {"theta.constraint": "fixed-lr"}),
    ("sphere", SPHERE_RADIUS),
    ("sphere", {"theta.initial": "random", "theta.learning_rate": {"kind": "cosine", "initial": 0.1, "final": 0.01}}),
]


@pytest.mark.parametrize(("name", "overrides"), VARIANTS)
def test_bytes_do_not_depend_on_how_a_run_is_cut(name, overrides, request):
    """Threads, tile width and segment length."""
    text = request.getfixturevalue(name)
    if isinstance(overrides.get("theta.learning_rate"), dict):
        text = text.replace('"theta.learning_rate" = { logspace = [0.01, 0.2], num = 5 }', "")
    case = thermosim.load_case(text, overrides)
    whole = thermosim.simulate(case, threads=2)
    assert_same(whole, thermosim.simulate(case, threads=1, tile_width=32))
    assert_same(whole, thermosim.simulate(case, threads=2, tile_width=96, segment_frames=1))
    assert np.isfinite(whole[next(iter(whole.data_vars))]).all()


def test_each_value_of_a_structural_axis_is_the_run_of_that_value(trap):
    """tau changes the moves per step; the values run in turn and only the replica numbers differ."""
    swept = thermosim.simulate(thermosim.load_case(trap + '[sweep]\n"x.tau" = { values = [1, 3] }\n'))
    assert swept.work.dims == ("step", "tau", "replica")
    alone = thermosim.simulate(thermosim.load_case(trap, {"x.tau": 1}))
    assert np.array_equal(swept.x.sel(tau=1), alone.x)


def test_lanes_of_a_sweep_have_noise_of_their_own(sphere):
    ds = thermosim.simulate(thermosim.load_case(sphere))
    starts = ds.theta.isel(step=0).values.reshape(-1, 5)
    assert len(np.unique(starts[:, 0])) == len(starts)


@pytest.mark.parametrize("overrides", [{}, {"x.dynamics": "exact-ou"}, {"run.direction": "reversed"}, {"x.samples": 3}])
def test_first_law_in_every_replica_at_every_frame(trap, overrides):
    """phi_t - phi_0 = work + heat; an energy taken at the wrong theta or x leaves a gap of order 1."""
    ds = thermosim.simulate(thermosim.load_case(trap, overrides))
    gap = ds.phi - ds.phi.isel(step=0) - ds.work - ds.heat
    assert np.abs(gap).max() < 1e-12 * (1 + np.abs(ds.phi).max())
    assert ds.work.isel(step=-1).std() > 0.1


def test_first_law_of_a_driven_system():
    """The work of a rotational force is booked as work, so that heat is what leaves the energy balance."""
    text = """
[model]
name = "rotational-trap"
rotation = 1.5
[x]
dynamics = "ula"
time_step = 0.05
temperature = 0.5
[ensemble]
replicas = 50
[run]
steps = 200
"""
    ds = thermosim.simulate(thermosim.load_case(text))
    gap = ds.phi - ds.phi.isel(step=0) - ds.work - ds.heat
    assert np.abs(gap).max() < 1e-11
    assert ds.work.isel(step=-1).mean() > 5.0
    assert abs(ds.heat.isel(step=-1).mean() + ds.work.isel(step=-1).mean()) < 1.0


def test_frames_are_those_asked_for(sphere):
    ds = thermosim.simulate(thermosim.load_case(sphere))
    assert ds.step.values.tolist() == list(range(20, 121, 10))
    every = thermosim.simulate(thermosim.load_case(sphere, {"record.first": 0, "record.every": 1}))
    assert every.sizes["step"] == 121
    for name in ("theta", "loss_sum", "gradient_square", "radius"):
        assert np.array_equal(every[name].sel(step=ds.step), ds[name]), name


def test_a_frame_is_what_its_name_says(sphere):
    ds = thermosim.simulate(thermosim.load_case(sphere, {"record.first": 0, "record.every": 1}))
    mu = np.array(json.loads(ds.attrs["settings"])["model"]["direction"])
    norm = np.linalg.norm(ds.theta, axis=-1)
    assert np.allclose(ds.radius, norm, rtol=1e-14)
    assert np.allclose(ds.loss, 1 + ds.theta.values @ mu / norm, atol=1e-14)
    assert np.allclose(ds.loss_sum, np.concatenate([0 * ds.loss[:1], np.cumsum(ds.loss[:-1], axis=0)]), atol=1e-11)


def test_schedules_act_at_the_step_they_name(sphere):
    """With the rate zero until step 60 nothing moves; a schedule shifted by one step moves early or late."""
    text = sphere.replace('"theta.learning_rate" = { logspace = [0.01, 0.2], num = 5 }', "")
    rate = {"kind": "table", "steps": [0, 59, 60, 120], "values": [1e-300, 1e-300, 0.1, 0.1]}
    overrides = {"theta.learning_rate": rate, "theta.initial": "random", "record.first": 0, "record.every": 1}
    ds = thermosim.simulate(thermosim.load_case(text, overrides))
    moved = (ds.theta != ds.theta.isel(step=0)).any("theta_dim").all(("replica", "noise"))
    assert moved.values.argmax() == 60


def test_protocol_is_followed_and_reversed_to_the_bit(trap):
    forward = thermosim.simulate(thermosim.load_case(trap, {"record.every": 1}))
    backward = thermosim.simulate(thermosim.load_case(trap, {"record.every": 1, "run.direction": "reversed"}))
    assert np.array_equal(forward.theta.values, backward.theta.values[::-1])
    assert np.allclose(forward.theta[-1, 0], [2.0, 1.0, 2.0, -0.5, -0.5, 1.0], atol=1e-15)


def test_diverging_replicas_are_named_and_the_others_finish():
    """A weight decay far too large; the other replicas must be as if they were alone."""
    text = """
[model]
name = "isotropic-sphere"
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
learning_rate = 0.05
radius = 10.0
[ensemble]
replicas = 5
[run]
steps = 900
[record]
every = 100
[sweep]
"theta.weight_decay" = { values = [0.01, 5.0] }
"""
    ds = thermosim.simulate(thermosim.load_case(text))
    assert ds.status.values.tolist() == [[0] * 5, [1] * 5]
    assert ds.diverged_step.values.tolist() == [[-1] * 5, [100] * 5]
    for name in ("theta", "radius", "loss_sum"):
        assert np.isnan(ds[name].isel(weight_decay=1).sel(step=slice(100, None))).all()
        assert np.isfinite(ds[name].isel(weight_decay=1, step=0)).all()
    alone = thermosim.simulate(thermosim.load_case(text.replace("[0.01, 5.0]", "[0.01]")))
    assert np.array_equal(ds.theta.isel(weight_decay=0), alone.theta.isel(weight_decay=0))
    assert_same(ds, thermosim.simulate(thermosim.load_case(text), tile_width=32, segment_frames=2, threads=1))


def test_kernels_run_without_the_compiler(trap, sphere, tmp_path):
    """NUMBA_DISABLE_JIT=1, for stepping through a kernel: the same numbers, to the bit."""
    overrides = {"ensemble.replicas": 2, "run.steps": 6, "record.first": 0, "record.every": 3}
    script = f"""
import thermosim
for number, text in enumerate(({trap!r}, {sphere!r})):
    case = thermosim.load_case(text, {overrides!r})
    thermosim.simulate(case, f"{tmp_path}/{{number}}.h5", threads=1, tile_width=4)
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"NUMBA_DISABLE_JIT": "1"})
    for number, text in enumerate((trap, sphere)):
        compiled = thermosim.simulate(thermosim.load_case(text, overrides))
        interpreted = thermosim.open_ensemble(tmp_path / f"{number}.h5")
        for name in compiled.data_vars:
            assert np.array_equal(compiled[name], interpreted[name]), name


def test_the_same_move_bound_to_two_models_in_one_process(trap):
    """One particle's move and two coupled particles' move share a template, never machine code: also from the cache."""
    one_component = {
        "model.dimension": 1,
        "theta.protocol": {"center": {"kind": "linear", "initial": [0.0], "final": [1.0]}, "stiffness": [[1.5]]},
    }
    before = thermosim.simulate(thermosim.load_case(trap))
    thermosim.simulate(thermosim.load_case(trap, one_component))
    after = thermosim.simulate(thermosim.load_case(trap))
    assert before.equals(after)
