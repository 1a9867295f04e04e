"""Devices: what is said where there is no card, or an old driver; what fits a card, and what `info` tells of it."""

import importlib.util
import os
import pickle
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import thermosim
from tests.test_cli import run
from thermosim.case.faults import CaseError
from thermosim.engines import engine_of
from thermosim.engines.cuda import cards, memory, obstacles
from thermosim.engines.cuda.cards import Card
from thermosim.plan.outline import plan
from thermosim.run import devices, machine, on_cards, tasks
from thermosim.run.execution import Execution
from thermosim.run.footprint import footprint, lanes_at_once
from thermosim.run.machine import Memory
from thermosim.run.simulate import weigh
from thermosim.run.weighing import weight_of

pytest.importorskip("numba_cuda", reason="on Linux only")

INIT = "Error at driver init: Call to cuInit results in CUDA_ERROR_{0} (<CUresult.CUDA_ERROR_{0}: 1>)"
NOT_FOUND = (
    "Error at driver init: \n\nCUDA driver library cannot be found.\n"
    "Ensure that a compatible NVIDIA driver is installed and available on your system path.\n:"
)
UNLOADED = (
    "Error at driver init: \n\nPossible CUDA driver libraries are found but error occurred during load:\n"
    "version `GLIBC_2.99' not found\n:"
)


class CudaError(Exception):
    """As cuda.core and numba-cuda raise them."""


CudaError.__module__ = "cuda.core._utils.cuda_utils"


@pytest.mark.parametrize(
    ("text", "told"),
    [  # of numba-cuda 0.30.4
        (NOT_FOUND, "no driver of NVIDIA is installed here"),
        (INIT.format("NO_DEVICE"), "the driver shows no card to this process"),
        (INIT.format("STUB_LIBRARY"), "take its folder out of LD_LIBRARY_PATH"),
        (INIT.format("SYSTEM_DRIVER_MISMATCH"), "restart the machine"),
        (INIT.format("SYSTEM_NOT_READY"), "nvidia-fabricmanager must run"),
        (INIT.format("UNKNOWN"), r"does not answer \(.* results in CUDA_ERROR_UNKNOWN\); `nvidia-smi` may say more"),
        (
            "Error at driver init: \nCUDA is disabled due to setting NUMBA_DISABLE_CUDA=1 in the environment:",
            "unset it",
        ),
        (UNLOADED, "the driver is found and cannot be loaded: version `GLIBC_2.99' not found"),
        ("function cuCtxGetDevice_v2 is not found", "too old for the libraries of CUDA installed here"),
        ("module 'numpy' has no attribute 'row_stack'", "numba-cuda cannot be used here .* brings what was tested"),
    ],
)
def test_what_the_driver_says_is_told_with_the_remedy(text, told, monkeypatch):
    class Gpus:
        def __len__(self):
            raise CudaError(text)

    monkeypatch.setattr("numba.cuda.gpus", Gpus())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (fault,) = devices.device_faults("cuda")
    assert fault.startswith("device = 'cuda': ")
    assert fault.endswith("; or use --device cpu.")
    assert re.search(told, fault), fault
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hides = "CUDA_VISIBLE_DEVICES = ''" in devices.device_faults("cuda")[0]
    assert hides == ("NO_DEVICE" in text)


@pytest.mark.parametrize(
    ("knows", "made_for", "told"),
    [
        ((12, 2), (13, 5), "brings those of CUDA 12"),
        ((11, 8), (12, 9), "update the driver, to 525 or later"),
        ((12, 0), (12, 9), ""),  # compatible within a major version
        ((13, 0), (12, 9), ""),
    ],
)
def test_a_driver_runs_what_libraries_of_its_version_made(knows, made_for, told, monkeypatch):
    monkeypatch.setattr("numba.cuda.cudadrv.runtime.get_version", lambda: made_for)
    monkeypatch.setattr("numba.cuda.cudadrv.libs.open_libdevice", lambda: b"")
    monkeypatch.setattr("numba.cuda.cudadrv.nvvm.NVVM.get_version", lambda self: made_for, raising=False)
    monkeypatch.setattr("numba.cuda.cudadrv.driver.driver.get_version", lambda: knows, raising=False)
    said = obstacles.why_no_compiler()
    assert (told in said) if told else not said


def test_libraries_and_numba_cuda_that_are_missing_are_named(monkeypatch):
    def none():
        raise RuntimeError('Failure finding "libnvrtc.so.13": No such file, and more')

    monkeypatch.setattr("numba.cuda.cudadrv.runtime.get_version", none)
    assert 'libnvrtc.so.13": No such file): pip install "thermosim-engine[cuda]"' in obstacles.why_no_compiler()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba_cuda" else find(name))
    assert "which is not installed: pip install" in devices.device_faults("cuda")[0]


def test_names_of_devices(trap, tmp_path):
    for name in ("gpu", "cuda:", "cuda:-1", "CUDA", "cuda:1:2", ""):
        with pytest.raises(CaseError, match=r"expected cpu, cuda, cuda:1 .* or auto"):
            thermosim.simulate(thermosim.load_case(trap), tmp_path / "out.h5", device=name)
    with pytest.raises(CaseError, match="expected cpu"):  # before any worker is asked
        thermosim.simulate(thermosim.load_case(trap), tmp_path / "out.h5", device="gpu", scheduler="tcp://localhost:1")
    assert not list(tmp_path.iterdir())


def test_failures_of_a_card_are_told_from_those_of_the_program():
    from thermosim.engines.cuda.engine import _failure

    card = Card(1, "H100", (9, 0), 8e10, 132, 2048, 2)
    ran_out = CudaError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed because it was unable to allocate enough memory")
    assert obstacles.is_of_cuda(ran_out)
    assert not obstacles.is_of_cuda(KeyError("theta"))
    said = _failure(card, ran_out)
    assert "H100 (cuda:1) failed: the memory of the card ran out" in said
    assert "`thermosim resume` goes on" in said
    pinned = CudaError("[CUresult.CUDA_ERROR_OUT_OF_MEMORY] Call to cuMemHostAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
    assert "the memory of this machine is not enough" in _failure(card, pinned)
    other = CudaError("[2] Call to cuStreamSynchronize results in CUDA_ERROR_ILLEGAL_ADDRESS")
    assert "cuStreamSynchronize results in CUDA_ERROR_ILLEGAL_ADDRESS" in _failure(card, other)


def test_processes_of_a_machine_take_its_cards_in_turn(tmp_path, monkeypatch):
    """Numbers from 0 on; that of a process which has ended is free again."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    take = "from thermosim.run.tasks import _number_here as n; print(n(), n(), flush=True); input()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    how = {"env": environment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", take], **how) as other:
        assert other.stdout.readline().split() == ["0", "0"]
        assert tasks._number_here.__wrapped__() == 1
        other.communicate("\n")
    assert tasks._number_here.__wrapped__() == 0
    assert tasks._number_here.__wrapped__() == 2


def test_a_worker_sends_its_refusal_whole():
    fault = pickle.loads(pickle.dumps(CaseError(["device = 'cuda': none."], "the worker on n1")))
    assert str(fault) == "the worker on n1 has 1 fault:\n\n  device = 'cuda': none."


@pytest.fixture
def trap_file(trap, tmp_path):
    path = tmp_path / "trap.toml"
    path.write_text(trap)
    return path


@pytest.fixture
def two_cards(monkeypatch):
    """Two cards of a gigabyte, of which nothing is taken."""

    def put(slower=2, memory_of_card=1e9):
        monkeypatch.setattr(cards, "_card", lambda n: Card(n, "H100", (9, 0), memory_of_card, 132, 2048, slower))
        monkeypatch.setattr(cards, "_count", lambda: 2)
        for name in ("why_no_card", "why_no_compiler"):
            monkeypatch.setattr(cards, name, str)
        monkeypatch.setattr(cards, "oldest_capability", lambda: (5, 0))
        for module in (memory, cards):
            monkeypatch.setattr(module, "free_memory", lambda card: memory_of_card)

    put()
    return put


def test_a_number_names_one_of_the_cards(two_cards, monkeypatch):
    assert devices.devices_of("cuda") == ("cuda:0", "cuda:1")
    assert devices.devices_of("cuda:1") == ("cuda:1",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    (fault,) = devices.device_faults("cuda:2")
    assert "this process sees cards cuda:0 to cuda:1 (CUDA_VISIBLE_DEVICES = '3,5')" in fault
    monkeypatch.setattr(cards, "oldest_capability", lambda: (10, 0))
    assert "H100 has compute capability 9.0, and the libraries of CUDA installed here compile for 10.0" in str(
        devices.device_faults("cuda")
    )


def test_tasks_of_a_worker_share_its_card():
    """Of three workers on two cards one card has two, each with two tasks."""
    cards_here = ("cuda:0", "cuda:1")
    assert devices.shared(cards_here, None, 8) == cards_here
    assert devices.shared(cards_here, 3, 2).count("cuda:0") == 4
    assert devices.shared(cards_here, 2, 3).count("cuda:1") == 3


def test_what_fits_the_processor_goes_at_one_time(trap, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: Memory(8e9, 8e9))
    (block,) = plan(thermosim.load_case(trap, {"ensemble.replicas": 100_000}))
    assert lanes_at_once(block) == 100_000


def test_lanes_fit_the_memory_of_the_card_and_of_the_machine(trap, two_cards, monkeypatch):
    """State, hyper-parameters and a frame of each lane, counted here by hand; two cards share the machine's."""
    monkeypatch.setattr(machine, "memory", lambda: Memory(1e13, 1e13))
    (block,) = plan(thermosim.load_case(trap, {"ensemble.replicas": 10**8}))
    lane = block.lane
    state = sum(int(np.prod(shape)) for shape in engine_of().state_shapes(lane).values())
    held = len(lane.constants) + len(lane.theta_hyper) + len(lane.x_hyper) + 1
    beside = 132 * 2048 * memory.bytes_of_thread(lane)
    fits = (0.8e9 - beside) / (8 * (state + held + lane.frame_size))
    found = lanes_at_once(block, 2, devices=("cuda:0", "cuda:1"))
    assert abs(found - fits) < 0.002 * fits
    assert lanes_at_once(block, 2, devices=("cuda:0",) * 3) == pytest.approx(fits / 3, rel=0.002)
    monkeypatch.setattr(machine, "memory", lambda: Memory(1e9, 1e9))
    one, two = (lanes_at_once(block, 2, devices=("cuda:0", "cuda:1")[:number]) for number in (1, 2))
    assert two < one < fits
    takes = footprint(block, "cuda:0")
    assert 0.15e9 < takes.running(two, 2) <= 0.2e9
    assert 0.3e9 < takes.running(one, 2) <= 0.4e9


def test_running_sums_take_their_share_of_a_card(trap, two_cards, monkeypatch):
    """With 1000 lags 3005 numbers of each component, beside which the state of a trap is nothing."""
    monkeypatch.setattr(machine, "memory", lambda: Memory(1e13, 1e13))
    kept = '[record.x]\nevery = 7\nkeep = ["correlation", "mean"]\nlags = 1000\n'
    more = {"run.steps": 10**4}
    (block,) = plan(thermosim.load_case(trap + kept, {"ensemble.replicas": 10**7} | more))
    sums = 8 * block.lane.components * (2 + 2 * 1000 + 1001 + 2)
    beside = 132 * 2048 * memory.bytes_of_thread(block.lane)
    fits = (0.8e9 - beside) / (memory.bytes_of_lane(block.lane, engine_of()) + sums)
    assert lanes_at_once(block, 2, devices=("cuda:0",)) == pytest.approx(fits, rel=0.002)
    assert on_cards.on_cards(thermosim.load_case(trap + kept, more), "cuda:0").lane > sums


def test_the_memory_of_a_thread_is_that_of_its_arrays(trap, sphere):
    from thermosim.engines.cuda.kernel import shapes_of_lane

    for text in (trap, sphere):
        lane = plan(thermosim.load_case(text))[0].lane
        assert memory.bytes_of_thread(lane) == 8 * sum(int(np.prod(shape)) for shape in shapes_of_lane(lane).values())


def test_what_a_card_cannot_hold_is_refused_before_anything_is_made(trap, two_cards, tmp_path, monkeypatch):
    """Without a file all replicas; with one a cohort. What is told to fit does, and twice as many do not."""
    monkeypatch.setattr(machine, "memory", lambda: Memory(1e13, 1e13))
    monkeypatch.setattr(machine, "free_disk", lambda path: 1e15)
    case = thermosim.load_case(trap, {"ensemble.replicas": 10**8})
    blocks = plan(case)
    lacks = r"without a file all .* 1 GB free of 1 GB, which holds .* with an output"
    with pytest.raises(CaseError, match=lacks) as no:
        weigh(case, blocks, Execution(device="cuda"), None)
    told = int(str(no.value).split("ensemble.replicas = ")[1].split(";")[0].replace(",", ""))
    weight = weight_of(case, blocks)
    assert not on_cards.card_faults(weight.with_replicas(told), ("cuda:0",), whole=True)
    assert on_cards.card_faults(weight.with_replicas(2 * told), ("cuda:0",), whole=True)
    weigh(case, blocks, Execution(device="cuda"), tmp_path / "out.h5")
    weigh(case, blocks, Execution(device="cuda", force=True), None)
    two_cards(memory_of_card=1e5)
    with pytest.raises(CaseError, match="a cohort of replicas takes"):
        weigh(case, blocks, Execution(device="cuda"), tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())


def test_why_a_run_is_left_to_the_processor(trap, two_cards):
    few, many = (plan(thermosim.load_case(trap, {"ensemble.replicas": n, "run.steps": 10**6})) for n in (10, 10**6))
    assert "no longer than a kernel" in devices.why_processor(few)
    two_cards(slower=32)
    assert devices.why_processor(many) == "H100 makes float64 at 1/32 of the speed of float32"
    two_cards(memory_of_card=1e8)
    assert "has not the memory" in devices.why_processor(many, whole=True)
    assert devices.chosen("auto", many, whole=True) == "cpu"


def test_info_tells_what_a_card_takes(trap_file, two_cards, capsys, monkeypatch):
    code, out, _ = run(capsys, "info", trap_file, "--device", "cuda", "--no-trial")
    assert code == 0
    assert "H100, compute capability 9.0, 1 GB, float64 at 1/2 of the speed of float32" in out
    assert "all 200 fit, in 1 launch" in out
    assert "ensemble.replicas = 40,000 may take no longer" in out
    many = run(capsys, "info", trap_file, "--device", "cuda:1", "--no-trial", "--set", "ensemble.replicas=1000000")[1]
    assert "8 launches side by side" in many
    assert "may take no longer" not in many
    assert "--device auto leaves it to the processor" in run(capsys, "info", trap_file, "--no-trial")[1]
    monkeypatch.setattr(memory, "LOCAL", 100.0)
    assert "a thread of H100 can have 100 B: use --device cpu" in run(capsys, "info", trap_file, "--device", "cuda")[1]


def test_info_without_a_card(trap_file, capsys, monkeypatch):
    monkeypatch.setattr(cards, "why_no_card", lambda: "there is none; or use --device cpu.")
    code, out, _ = run(capsys, "info", trap_file, "--device", "cuda")
    assert code == 0
    assert "cuda: there is none" in out
    assert "is measured where there is a card" in out
    assert "16 GB hold about" in out


def test_a_trial_on_a_card_of_the_simulator(trap_file):
    changes = [word for key in ("ensemble.replicas=3", "run.steps=4") for word in ("--set", key)]
    command = [sys.executable, "-m", "thermosim", "info", str(trap_file), *changes, "--device", "cuda"]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "a simulated card" in out
    assert "1 card, " in out
