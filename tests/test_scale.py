"""What `info` says a run will take, against what it takes."""

import gc
import resource
import time
from pathlib import Path

import pytest

import thermosim
from thermosim.case.faults import CaseError
from thermosim.case.library import listing
from thermosim.data.tables import data_folder
from thermosim.plan.outline import plan
from thermosim.run.budget import needs_of_case
from thermosim.run.machine import Memory, cgroup_limits
from thermosim.run.weighing import weight_of

SUMMARIES = """
[record]
variables = []
[record.x]
every = 2
keep = ["mean", "variance", "histogram", "correlation", "ensemble_mean"]
range = [-3.0, 3.0]
"""


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("trap", {}),
        ("trap", {"x.samples": 3, "ensemble.replicas": 3000}),
        ("sphere", {"ensemble.replicas": 300}),
        ("summaries", {}),
        ("summaries", {"ensemble.replicas": 5000}),
        ("structural", {}),
        ("trap", {"ensemble.replicas": 1}),
        ("trap", {"ensemble.replicas": 600, "record.storage": "float32"}),
        ("trap", {"ensemble.replicas": 3, "run.steps": 9000, "record.every": 1}),
    ],
)
def test_the_size_of_the_file_is_bounded_and_not_by_much(name, changes, trap, sphere, tmp_path):
    text = {
        "trap": trap,
        "sphere": sphere,
        "summaries": trap.replace("[record]\nevery = 7\n", SUMMARIES),
        "structural": trap + '[sweep]\n"x.tau" = { values = [1, 2, 5] }\n',
    }[name]
    case = thermosim.load_case(text, changes)
    needs = needs_of_case(case, trial=False)
    path = tmp_path / "out.h5"
    thermosim.simulate(case, path).close()
    assert path.stat().st_size <= needs.file <= 1.02 * path.stat().st_size + 100_000
    assert needs.disk > max(needs.disk_virtual, needs.file)


def test_times_of_blocks_add_up_and_machines_share_them(trap, monkeypatch):
    """Each block counts at the cost of its moves; those that are not tried lie between those that are."""
    cost = {1: 1e-9, 2: 2e-9, 3: 3e-9, 4: 4e-9, 5: 5e-9, 6: 6e-9, 7: 7e-9, 8: 8e-9}
    monkeypatch.setattr(
        "thermosim.run.budget.seconds_per_replica_step", lambda block, seconds, devices: cost[block.settings.x.tau]
    )
    case = thermosim.load_case(
        trap + f'[sweep]\n"x.tau" = {{ values = {list(cost)} }}\n', {"run.steps": 10**9, "record.every": 10**7}
    )
    needs = needs_of_case(case)
    assert needs.replica_steps == 8 * 200 * 1e9
    assert needs.seconds == pytest.approx(200 * 1e9 * sum(cost.values()), rel=1e-12)
    spread = needs.on(4)
    assert spread.seconds == pytest.approx(needs.seconds / 4)
    assert spread.files == 2 * spread.tasks


@pytest.fixture
def no_other_litter():
    """What other tests left in this process is not searched for garbage meanwhile: a user's process has none of it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def packaged_images():
    return (data_folder(None, Path()) / "mnist").is_dir()


@pytest.mark.parametrize("name", sorted(listing()))
def test_every_case_is_weighed_without_compiling(name):
    """Of its file, its disk and its memory none is nothing, and none is smaller than with fewer replicas."""
    if name == "networks/mnist_perceptron" and not packaged_images():
        pytest.skip("its images are fetched, and are not here")
    case = thermosim.load_case(name)
    weight = weight_of(case, plan(case))
    few = weight.with_replicas(1)
    assert 0 < few.file <= weight.file < weight.disk()
    assert weight.disk(virtual=True) < weight.disk()
    assert few.memory() <= weight.memory() <= weight.memory_of_dataset() + 1e9


def test_what_does_not_fit_is_refused_with_the_largest_that_does(trap, tmp_path, monkeypatch):
    """In memory, to a file, on its disk; what is told to fit does, and may be forced."""
    monkeypatch.setattr("thermosim.run.machine.memory", lambda: Memory(24e9, 2e9))
    with pytest.raises(CaseError, match=r"2 GB free of 24 GB; the largest that fits is ensemble\.replicas") as refused:
        thermosim.simulate(thermosim.load_case(trap, {"ensemble.replicas": 10**9}))
    told = int(str(refused.value).split("ensemble.replicas = ")[1].split(";")[0].split(". ")[0].replace(",", ""))
    case = thermosim.load_case(trap)
    assert weight_of(case, plan(case)).with_replicas(told).memory_of_dataset() < 2e9
    assert weight_of(case, plan(case)).with_replicas(2 * told).memory_of_dataset() > 1.5e9
    monkeypatch.setattr("thermosim.run.machine.free_disk", lambda path: 3e5)
    with pytest.raises(CaseError, match=r"parts and finished file at once; 300 kB are free there"):
        thermosim.simulate(case, tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())
    thermosim.simulate(case, tmp_path / "out.h5", force=True).close()
    assert (tmp_path / "out.h5").is_file()
    with pytest.raises(CaseError, match="are free there"):
        thermosim.extend(tmp_path / "out.h5", 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]


STIRRED = """
[model]
name = "rotational-trap"
[x]
dynamics = "ula"
time_step = 0.1
tau = 1
[ensemble]
replicas = 100
[run]
steps = 100
"""

LEARNING = """
[model]
name = "gaussian"
[theta]
dynamics = "sgd"
learning_rate = 0.01
batch = 2
[x]
dynamics = "exact"
tau = 1
[data]
source = "gaussian"
[ensemble]
replicas = 1000
[run]
steps = 100
"""
MANY = {"ensemble.replicas": 10**9}
KNOTS = list(range(50_000))


@pytest.fixture
def small_machine():
    """As after `ulimit -v`: what is made of such a size does not fit."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 10**9, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("text", "changes", "told"),
    [
        ("trap", {"ensemble.replicas": 10**12}, "largest that fits is ensemble.replicas"),
        ("trap", {"x.samples": 10**6, "ensemble.replicas": 10**6}, "largest that fits is ensemble.replicas"),
        ("trap", {"x.samples": 10**12}, "x.samples"),
        ("trap", {"model.dimension": 10**9}, "at most 1000"),
        ("trap", {"run.steps": 10**15, "record.every": 1}, "less than 281474976710656"),
        ("trap", {"run.steps": 2**48 - 1, "record.every": 1}, "two million at most"),
        ("trap", MANY | {"run.steps": 2**48 - 1, "record.every": 2**40}, "largest that fits is ensemble.replicas"),
        (
            "trap",
            MANY | {"run.steps": 10**12, "record": {"every": 1, "variables": [], "x": {"keep": ["mean"]}}},
            "a single replica of each point fits with record.every",
        ),
        ("trap", {"record.x": {"keep": ["correlation"], "lags": 10**9}}, "less than or equal to 1000"),
        ("trap", {"record.x": {"keep": ["histogram"], "range": [-1.0, 1.0], "bins": 10**9}}, "or equal to 100000"),
        (
            "trap",
            MANY | {"record.x": {"keep": ["histogram"], "range": [-1.0, 1.0], "bins": 10**5}},
            "largest that fits is ensemble.replicas",
        ),
        ("trap", {"sweep": {"x.time_step": {"linspace": [0.01, 0.1], "num": 10**9}}}, "n from 2 to 100,000"),
        (
            "trap",
            {"sweep": {key: {"linspace": [0.05, 0.1], "num": 10**5} for key in ("x.time_step", "x.temperature")}},
            "not even a single replica of each point fits",
        ),
        ("trap", MANY | {"sweep": {"x.tau": {"values": KNOTS[1:10_001]}}}, "largest that fits is ensemble.replicas"),
        (
            "trap",
            MANY | {"x.time_step": {"kind": "table", "steps": KNOTS, "values": [0.1] * len(KNOTS)}, "run.steps": 10**5},
            "largest that fits is ensemble.replicas",
        ),
        (STIRRED, {"model.dimension": 10**12}, "134,217,728 at most; make model.dimension smaller"),
        (STIRRED, {"model.dimension": 10**8, "x.mobility": 2.0}, "a single replica of each point fits with record"),
        (LEARNING, {"model.name": "rbm", "model.dimension": 10**6, "model.hidden": 10**6}, "make model.dimension or"),
        (LEARNING, {"model.name": "boltzmann-machine", "model.dimension": 10**5}, "at most 16"),
        (LEARNING, {"model.name": "full-gaussian", "model.dimension": 10**5}, "at most 100"),
        (LEARNING, {"model.name": "gaussian-mixture", "model.dimension": 10**6, "model.mixtures": 10**6}, "smaller"),
        (LEARNING, {"model.name": "network-energy", "model.dimension": 10**6, "model.hidden": 10**6}, "smaller"),
        (LEARNING, {"model.dimension": 10**6, "data.rows": 100}, "largest that fits is ensemble.replicas"),
        (LEARNING, {"data.rows": 10**12}, "less than or equal to 1000000000"),
        (LEARNING, {"data.rows": 10**9}, "takes 32.1 GB of memory"),
        (LEARNING, {"data.rows": 10**9, "model.dimension": 2}, "8 at most"),
        (LEARNING, {"theta.batch": 10**12}, "at most 1,000,000"),
    ],
)
@pytest.mark.usefixtures("no_other_litter")
def test_the_largest_sizes_are_refused_at_once_with_what_fits(text, changes, told, trap, tmp_path, small_machine):
    """Nothing of the size that is asked for is made or compiled: a gigabyte would take longer."""

    def ask() -> None:
        case = thermosim.load_case(trap if text == "trap" else text, changes)
        needs_of_case(case, trial=False)
        thermosim.simulate(case, tmp_path / "out.h5")

    begin = time.process_time()
    with pytest.raises(CaseError) as refused:
        ask()
    assert told in str(refused.value)
    assert time.process_time() - begin < 5.0
    assert not list(tmp_path.iterdir())


def test_a_container_limits_memory(tmp_path):
    """Version 2: the group and those it is in; version 1; what is a cache of files is free."""
    (tmp_path / "own").write_text("4:memory:/box\n0::/slice/run\n")
    for folder in ("slice/run", "memory/box"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "slice/memory.max").write_text("4000\n")
    (tmp_path / "slice/memory.current").write_text("3000\n")
    (tmp_path / "slice/memory.stat").write_text("inactive_file 500\nactive_file 100\nanon 7\n")
    (tmp_path / "slice/run/memory.max").write_text("max\n")
    (tmp_path / "memory/box/memory.limit_in_bytes").write_text("9000\n")
    (tmp_path / "memory/box/memory.usage_in_bytes").write_text("1000\n")
    (tmp_path / "memory/box/memory.stat").write_text("total_inactive_file 10\n")
    found = set(cgroup_limits(tmp_path, tmp_path / "own"))
    assert found == {Memory(4000.0, 1600.0), Memory(9000.0, 8010.0)}
