"""The kernels fused by hand, against which those for cards are measured, have the bits of thermosim; by g++ here."""

import sys
from pathlib import Path

import numpy as np
import pytest

import thermosim
from thermosim.engines import engine_of
from thermosim.plan.outline import plan
from thermosim.plan.starts import initial_state

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
from benchmarks import fused, sphere, trap
from benchmarks.trap_rivals import Drag

LANES = 200


@pytest.fixture(scope="module")
def launch():
    found = fused.processor()
    if found is None:
        pytest.skip("no g++ is installed")
    return found


def lanes_of(text, **overrides):
    """The block, its start and its end by the engine of lanes."""
    outline = plan(thermosim.load_case(text, overrides=overrides))[0]
    block, start = outline.block(), initial_state(outline, 0, outline.lanes)
    lanes = engine_of().open(block, 1)
    lanes.restore(start, 0)
    lanes.advance(block.steps, block.steps + 1, 1, lambda *delivered: None)
    return block, start, lanes.state()


def test_the_dragged_trap_has_our_bits(launch):
    text = trap.case_text(Drag(LANES, 300, time_step=0.07))
    block, _, ours = lanes_of(text, **{"theta.protocol.stiffness": [1.7], "x.temperature": 0.6})
    booked = [np.zeros(LANES) for _ in range(4)]
    launch("drag", LANES, *fused.drag_arguments(block), *booked)
    ledger = [ours["x_path"][0, block.x_rows.index(name)] for name in trap.LEDGER[1:]]
    for theirs, own in zip(booked, (ours["x"][0, 0], *ledger), strict=True):
        assert np.unique(theirs).size == LANES
        np.testing.assert_array_equal(theirs.view(np.int64), own.view(np.int64))


@pytest.mark.parametrize("steps", [300, 301, 1])
def test_the_sphere_has_our_bits(launch, steps):
    changes = {"theta.learning_rate": 0.05, "theta.weight_decay": 0.02, "model.noise": 0.8}
    block, start, ours = lanes_of(sphere.case_text(3, LANES, steps, steps, 1), **changes)
    w = np.array(start["theta"])
    launch("roll", LANES, *fused.roll_arguments(block), w)
    assert not np.array_equal(w, start["theta"])
    np.testing.assert_array_equal(w.view(np.int64), ours["theta"].view(np.int64))


def test_nvrtc_translates_them_for_cards():
    core = pytest.importorskip("cuda.core", reason="numba-cuda is not installed")
    pytest.importorskip("cuda.bindings.nvrtc", reason="numba-cuda is not installed")
    try:
        code = fused.translated("sm_80")
    except Exception as error:  # whatever looks for the library says
        if "nvrtc" not in str(error).lower():
            raise
        pytest.skip(f"NVRTC is not installed: {error}")
    assert isinstance(code, core.ObjectCode)
    assert b"drag" in code.code


def test_without_a_card_the_section_says_what_is_missing(monkeypatch):
    import bench
    from benchmarks import gpu

    monkeypatch.setattr(gpu, "lacking", lambda: "no card is here")
    assert [(row.figure, row.met) for row in gpu.rows(True)] == [("no card is here", None)]
    assert bench._here() == tuple(name for name in bench.SECTIONS if name != "gpu")
