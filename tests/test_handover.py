"""Ensembles as other programs take them, compared with what those programs make of them and with exact values."""

import numpy as np
import pytest

import thermosim
from thermosim import analysis

TRAPS = """
title = "traps of three stiffnesses"
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
center = [0.5, 0.0]
[x]
dynamics = "mala"
time_step = 0.3
tau = 20
temperature = 2.0
[ensemble]
replicas = 300
seed = 4
[run]
steps = 2
[record]
every = 1
[sweep]
"theta.protocol.stiffness" = { values = [[[1.0,0.2],[0.2,1.5]], [[2.0,0.2],[0.2,1.5]], [[2.0,0.2],[0.2,3.0]]] }
"""
STIFFNESSES = [[[1.0, 0.2], [0.2, 1.5]], [[2.0, 0.2], [0.2, 1.5]], [[2.0, 0.2], [0.2, 3.0]]]


@pytest.fixture(scope="module")
def traps():
    return thermosim.simulate(thermosim.load_case(TRAPS))


def test_reduced_potentials_are_energies_over_temperature(traps):
    """Of every sample at every point, samples in the order that the index says; MBAR finds the exact free energies."""
    pymbar = pytest.importorskip("pymbar")
    u = analysis.reduced_potentials(traps, first=1)
    assert u.shape == (3 * 2 * 300, 3)
    assert u.index.names == ["time", "stiffness"]
    x = traps.x.sel(stiffness=1, step=2).values - [0.5, 0.0]
    for k, stiffness in enumerate(STIFFNESSES):
        energies = 0.5 * np.einsum("ri,ij,rj->r", x, np.array(stiffness), x)
        np.testing.assert_allclose(u.loc[(2, 1)][k], energies / 2.0, rtol=1e-12)
    found = pymbar.MBAR(u.to_numpy().T, [600, 600, 600]).compute_free_energy_differences()
    exact = 0.5 * np.log(np.linalg.det(STIFFNESSES))  # F/T, up to a constant
    errors = found["dDelta_f"][0, 1:] * np.sqrt(2.0)  # the two frames know of each other, at the most entirely
    assert np.all(np.abs(found["Delta_f"][0, 1:] - (exact[1:] - exact[0])) < 4.0 * errors)
    assert np.all(errors < 0.03)  # of differences .35 and .70


def test_work_is_reduced_as_pymbar_takes_it(trap):
    """Bennett's ratio of pymbar on our works is ours."""
    pymbar = pytest.importorskip("pymbar")
    changes = {"x.temperature": 1.5, "ensemble.replicas": 400, "run.steps": 98}
    forward = thermosim.simulate(thermosim.load_case(trap, changes))
    backward = thermosim.simulate(
        thermosim.load_case(trap, changes | {"run.direction": "reversed", "ensemble.seed": 9})
    )
    w_f, w_r = analysis.work_values(forward), analysis.work_values(backward)
    np.testing.assert_array_equal(w_f, forward.work.isel(step=-1) / 1.5)
    theirs = pymbar.bar(w_f, w_r)
    ours = analysis.crooks(forward, backward)
    np.testing.assert_allclose(1.5 * theirs["Delta_f"], float(ours["free_energy_difference"]), rtol=1e-4)
    assert len(analysis.work_values(forward, step=49)) == 400


def test_a_table_has_a_row_for_each_point(sphere, traps):
    ds = thermosim.simulate(thermosim.load_case(sphere))
    found = analysis.table(ds)
    assert found.index.names == ["learning_rate", "noise"]
    assert len(found) == 10
    last = ds.theta.isel(step=-1, learning_rate=3, noise=1, theta_dim=2)
    row = found.iloc[3 * 2 + 1]
    assert row["theta[2]"] == pytest.approx(float(last.mean()))
    assert row["theta[2]_error"] == pytest.approx(float(last.std(ddof=1)) / np.sqrt(7))
    one = analysis.table(traps.isel(stiffness=0), ["x", "phi"], step=1)
    assert list(one.columns) == ["x[0]", "x[0]_error", "x[1]", "x[1]_error", "phi", "phi_error"]
    assert one.shape == (1, 6)


def test_a_tree_for_arviz(traps):
    tree = analysis.to_arviz(traps, first=1)
    assert set(tree.children) == {"posterior", "sample_stats"}
    assert tree["posterior"]["x"].dims[:2] == ("chain", "draw")
    assert tree["posterior"].sizes["draw"] == 2
    moved = traps.x.sel(step=2, replica=7, stiffness=2)
    np.testing.assert_array_equal(tree["posterior"]["x"].sel(chain=7, draw=2, stiffness=2), moved)
    assert set(tree["sample_stats"].data_vars) >= {"phi", "work", "heat"}
    base = pytest.importorskip("arviz_base")
    summary = base.extract(tree, group="posterior", var_names="x")
    assert summary.sizes["sample"] == 600


def test_what_is_not_there_to_hand_over(traps, trap):
    with pytest.raises(ValueError, match=r"speed: not recorded at the common steps; there are .*x"):
        analysis.to_arviz(traps, ["speed"])
    with pytest.raises(ValueError, match="no frame is left"):
        analysis.to_arviz(traps, first=3)
    with pytest.raises(ValueError, match="step = 5: recorded are steps 0"):
        analysis.table(traps, step=5)
    with pytest.raises(ValueError, match="the sweep has 3 points; select one"):
        analysis.work_values(traps)
    dragged = thermosim.simulate(thermosim.load_case(trap, {"ensemble.replicas": 4}))
    with pytest.raises(ValueError, match="sweep over what differs"):
        analysis.reduced_potentials(dragged)
    moving = thermosim.load_case(trap, {"ensemble.replicas": 4, "sweep": {"x.temperature": {"values": [1.0, 2.0]}}})
    with pytest.raises(ValueError, match="theta moves"):
        analysis.reduced_potentials(thermosim.simulate(moving))
