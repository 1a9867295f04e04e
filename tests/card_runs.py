"""Whole runs on a graphics card: their files are those of the processor, byte for byte, however they come about.

Run like `card_bits`: with the simulator by test_cards.py, on the cards of this machine by `scripts/test --gpu`.
"""

import hashlib
import os

import numpy as np
import pytest
from numba.cuda.cudadrv.driver import CudaAPIError

import thermosim
from tests.conftest import TRAP
from tests.tiny_cases import CASES, write_files
from thermosim.engines.cuda import cards
from thermosim.engines.cuda.group import Group
from thermosim.engines.engine import DeviceError
from thermosim.plan.outline import plan
from thermosim.run import devices
from thermosim.run import simulate as running
from thermosim.run.execution import Interrupted
from thermosim.run.kept import bytes_of_sums
from thermosim.run.stepper import Stepper
from thermosim.storage import parts_folder, read_manifest

pytestmark = pytest.mark.skipif(
    bool(cards.device_faults("cuda")), reason=" ".join(cards.device_faults("cuda")) or "there is a card"
)
SIMULATED = bool(os.environ.get("NUMBA_ENABLE_CUDASIM"))

SUMMARIES = (
    TRAP.replace("replicas = 200", "replicas = 33")
    .replace("steps = 101", "steps = 7")
    .replace("tau = 3", "tau = 1")
    .replace("every = 7", "every = 3")
    .replace("tau = 1", "tau = 1\nsamples = 2")
    + """
variables = ["work", "phi"]
[record.x]
first = 1
every = 2
keep = ["frames", "mean", "variance", "last", "histogram", "correlation", "ensemble_mean", "ensemble_variance"]
range = [-1.5, 2.0]
bins = 20
lags = 2
[record.heat]
keep = ["mean", "histogram"]
range = [-9.0, 9.0]
"""
)
DIVERGING = """
[model]
name = "quadratic"
curvature = [[1.0, 0.25], [0.25, 0.5]]
quartic = 0.5
[theta]
dynamics = "sgd"
learning_rate = 0.25
batch = 1
spread = 1.5
[data]
source = "gaussian"
mean = [0.5, -0.5]
covariance = [[2.0, 0.0], [0.0, 2.0]]
rows = 12
[ensemble]
replicas = 9
seed = 4
[run]
steps = 24
[record]
every = 2
[record.theta]
keep = ["frames", "mean", "last", "histogram", "ensemble_mean"]
range = [-3.0, 3.0]
bins = 6
every = 2
"""
TERMS = """
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = 0.1
batch = 2
[x]
dynamics = "ula"
time_step = 0.2
samples = 2
initial = "normal"
[data]
source = "gaussian"
mean = [0.5, -0.5]
covariance = [[2.0, 0.0], [0.0, 2.0]]
rows = 12
[ensemble]
replicas = 6
seed = 5
[run]
steps = 6
[record]
every = 2
variables = ["work"]
[record.shadow]
keep = ["mean", "last", "ensemble_variance"]
[record.entropy_production]
keep = ["mean", "histogram"]
range = [-2.0, 2.0]
bins = 8
"""
SWEPT = (
    TRAP.replace("replicas = 200", "replicas = 3").replace("steps = 101", "steps = 9").replace("every = 7", "every = 3")
    + """
[sweep]
"x.tau" = { values = [1, 3] }
"x.temperature" = { values = [0.5, 1.0] }
"""
)


@pytest.fixture
def cases(tmp_path):
    """By name: tests of this file go through these."""
    write_files(tmp_path)
    text = {"summaries": SUMMARIES, "diverging": DIVERGING, "several terms": TERMS, "several blocks": SWEPT}
    made = {name: thermosim.load_case(each) for name, each in text.items()}
    return made | {"warm-up": thermosim.load_case(CASES["trap warm-up"], folder=tmp_path)}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_same(a, b):
    assert a.attrs == b.attrs
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        assert a[name].dtype == b[name].dtype, name
        equal_nan = a[name].dtype.kind == "f"
        assert np.array_equal(a[name].values, b[name].values, equal_nan=equal_nan), name
        assert a[name].attrs == b[name].attrs, name


def stop_once(progress):
    """A report that interrupts a run as soon as there are steps."""
    if progress.made > 0 and progress.what == "replica-steps":
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["summaries", "diverging", "several terms", "several blocks", "warm-up"])
def test_a_run_on_a_card_is_that_of_the_processor(name, cases, tmp_path):
    case, here, there = cases[name], tmp_path / "cpu.h5", tmp_path / "card.h5"
    whole = thermosim.simulate(case, here).load()
    thermosim.simulate(case, there, device="cuda", tile_width=5, threads=2, segment_frames=2).close()
    assert digest(there) == digest(here)
    assert_same(thermosim.simulate(case, device="cuda", tile_width=4), thermosim.simulate(case))
    if name == "diverging":  # at different steps, and not all
        lost = whole.status.values != 0
        assert 2 <= lost.sum() <= 7
        assert len(set(whole.diverged_step.values[lost])) > 1


@pytest.mark.parametrize(
    ("name", "first", "then"),
    [
        ("summaries", "cuda", "cpu"),
        ("diverging", "cpu", "cuda"),
        ("diverging", "cuda", "cpu"),
        ("several blocks", "cpu", "cuda"),
    ],
)
def test_begun_on_one_and_gone_on_with_on_the_other(name, first, then, cases, tmp_path):
    case, here, there = cases[name], tmp_path / "cpu.h5", tmp_path / "card.h5"
    thermosim.simulate(case, here).close()
    with pytest.raises(Interrupted):
        thermosim.simulate(case, there, device=first, segment_frames=1, report=stop_once)
    assert read_manifest(parts_folder(there)).segments
    thermosim.resume(there, device=then).close()
    assert digest(there) == digest(here)


def test_a_lane_that_was_lost_stays_lost_though_it_is_finite_again(cases):
    """As where theta is prescribed and x is drawn anew; a stretch begins with what was lost before."""
    (outline,) = plan(cases["summaries"])
    begun = Stepper(outline, 0, 33, most_frames=9)
    begun.advance_chunk(3)
    snapshot, ends = begun.snapshot(), []
    snapshot["status"][[4, 20]], snapshot["diverged_step"][[4, 20]] = 2, 1
    for device, width in (("cpu", 32), ("cuda", 7)):
        stepper = Stepper(outline, 0, 33, snapshot, 3, tile_width=width, most_frames=9, device=device)
        while stepper.recorded < 7:
            stepper.advance_chunk(7)
        ends.append(stepper.snapshot() | stepper.take())
        stepper.close()
    here, there = ends
    assert here.keys() == there.keys()
    assert sum(there[name].nbytes for name in there if "/" in name) == pytest.approx(33 * bytes_of_sums(outline))
    assert np.isnan(here["summary/x/last"][..., [4, 20]]).all()
    assert here["diverged_step"].max() == 1
    for name, array in here.items():
        assert np.array_equal(array, there[name], equal_nan=array.dtype.kind == "f"), name


@pytest.mark.parametrize("more", [{"steps": 5}, {"replicas": 3}])
def test_extended_on_a_card(more, cases, tmp_path):
    case, here, there = cases["summaries" if "steps" not in more else "diverging"], tmp_path / "a.h5", tmp_path / "b.h5"
    thermosim.simulate(case, here).close()
    thermosim.simulate(case, there, device="cuda").close()
    thermosim.extend(here, **more).close()
    thermosim.extend(there, **more, device="cuda").close()
    assert digest(there) == digest(here)


@pytest.mark.skipif(not SIMULATED, reason="so many cards can only be simulated")
def test_two_cards(cases, tmp_path, monkeypatch):
    """Each of them makes steps, of lanes of its own."""
    used, launch = set(), Group.launch

    def watched(group, *arguments):
        used.add((kept["card"], group._block.first_lane))
        launch(group, *arguments)

    kept = {}
    true = cards.current

    def current(card):
        kept["card"] = card.number
        return true(card)

    monkeypatch.setattr(cards, "SIMULATED_CARDS", 2)
    for module in (running, devices):  # whichever cuts the lanes
        monkeypatch.setattr(module, "_FEWEST_LANES", 1, raising=False)
    monkeypatch.setattr("thermosim.engines.cuda.engine.current", current)
    monkeypatch.setattr(Group, "launch", watched)
    case, here, there = cases["summaries"], tmp_path / "cpu.h5", tmp_path / "card.h5"
    thermosim.simulate(case, here).close()
    thermosim.simulate(case, there, device="cuda").close()
    assert digest(there) == digest(here)
    assert {lane for _, lane in used} != {0}
    assert len(used) >= 2
    with pytest.raises(thermosim.CaseError, match="no such card"):
        thermosim.simulate(case, device="cuda:2")


@pytest.mark.slow
def test_workers_with_a_card(cases, tmp_path):
    case, here, there = cases["summaries"], tmp_path / "cpu.h5", tmp_path / "card.h5"
    thermosim.simulate(case, here).close()
    thermosim.simulate(case, there, device="cuda", workers=2).close()
    assert digest(there) == digest(here)


def test_a_card_that_fails_on_the_way(cases, tmp_path, monkeypatch):
    """What was sealed stays, the message says what to do, and the processor goes on to the same file."""
    case, here, there = cases["diverging"], tmp_path / "cpu.h5", tmp_path / "card.h5"
    thermosim.simulate(case, here).close()
    launch, calls = Group.launch, []

    def failing(group, *arguments):
        calls.append(group)
        if len(calls) == 5:
            raise CudaAPIError(700, "CUDA_ERROR_ILLEGAL_ADDRESS")
        launch(group, *arguments)

    how = {"device": "cuda", "tile_width": 20, "segment_frames": 1, "threads": 2}
    with monkeypatch.context() as patched:
        patched.setattr(Group, "launch", failing)
        with pytest.raises(DeviceError, match=r"ILLEGAL_ADDRESS.*--device cpu"):
            thermosim.simulate(case, there, **how)
    sealed = read_manifest(parts_folder(there)).segments
    assert sealed
    thermosim.resume(there).close()
    assert digest(there) == digest(here)


@pytest.mark.skipif(SIMULATED, reason="as plain Python it would take hours")
@pytest.mark.parametrize("name", ["trap", "summaries"])
def test_a_hundred_thousand_lanes(name, cases, tmp_path):
    """Several groups of a card, thousands of steps."""
    more = {"ensemble.replicas": 300_000 if name == "trap" else 100_000, "run.steps": 500}
    case = thermosim.load_case(TRAP if name == "trap" else SUMMARIES, more | {"record.every": 50})
    here, there = tmp_path / "cpu.h5", tmp_path / "card.h5"
    thermosim.simulate(case, here).close()
    thermosim.simulate(case, there, device="cuda").close()
    assert digest(there) == digest(here)
