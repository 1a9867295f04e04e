"""What a run of networks is told of JAX, of its cards and of their memory, with cards that are made up."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import thermosim
from tests.test_cli import run
from thermosim.case.faults import CaseError
from thermosim.engines.networks import cards, platform
from thermosim.engines.networks.cards import Card, said_of_exhausted
from thermosim.plan.outline import plan
from thermosim.run import devices, on_cards
from thermosim.run.execution import Execution
from thermosim.run.footprint import lanes_at_once
from thermosim.run.simulate import ready, weigh
from thermosim.run.weighing import weight_of

CASE = """
[model]
name = "multilayer-perceptron"
widths = [4, 3, 2]
[engine]
name = "networks"
[theta]
dynamics = "sgd"
learning_rate = 0.1
batch = 8
[data]
source = "linear"
matrix = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
[ensemble]
replicas = 100
[run]
steps = 4
"""


@pytest.fixture
def case(tmp_path):
    (tmp_path / "case.toml").write_text(CASE)
    return tmp_path / "case.toml"


@pytest.fixture
def two_cards(monkeypatch):
    """Of a gigabyte each."""

    def put(free=1e9):
        numbers = {"cuda": (0, 1), "cuda:0": (0,), "cuda:1": (1,)}
        monkeypatch.setattr(platform, "device_faults", lambda device: [])
        monkeypatch.setattr(
            cards, "cards_of", lambda device: tuple(Card(n, "H100", 1e9, free) for n in numbers[device])
        )

    put()
    return put


def test_cards_are_those_that_jax_finds(case, two_cards, capsys):
    blocks = plan(thermosim.load_case(case))
    assert devices.devices_of("cuda", "networks") == ("cuda:0", "cuda:1")
    assert "kernel for a card" in devices.why_processor(blocks)
    assert devices.chosen("auto", plan(thermosim.load_case(case, {"run.steps": 10**8}))) == "cuda"
    code, out, _ = run(capsys, "info", case, "--device", "cuda", "--no-trial")
    assert code == 0
    assert out.count("H100, 1 GB") == 2
    assert "16 replicas go together" in out
    assert "all 100 fit" in out


def test_tiles_fit_the_memory_of_a_card(case, two_cards):
    (block,) = plan(thermosim.load_case(case, {"ensemble.replicas": 10**6}))
    fitting = lanes_at_once(block, devices=("cuda:0",))
    assert fitting % 16 == 0
    assert fitting * 8 * 18 < 1e9  # theta alone
    weigh(thermosim.load_case(case), [block], Execution(device="cuda"), "out.h5")
    two_cards(free=1e5)
    weight = weight_of(thermosim.load_case(case, {"ensemble.replicas": 10**6}), [block])
    (said,) = on_cards.card_faults(weight, ("cuda:0",), whole=True)
    assert "H100 has 100 kB free of 1 GB" in said


def test_a_memory_that_is_not_enough():
    error = RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12.50GiB.\nmore")
    takes = SimpleNamespace(temp_size_in_bytes=150e9, argument_size_in_bytes=10e9)
    program = SimpleNamespace(memory_analysis=lambda: takes)
    assert cards.is_exhausted(error)
    assert said_of_exhausted(error, "H100", 16, lambda: program, 64e9) == (
        "the memory of H100 is not enough for a tile of engine.tile_width = 16 replicas (12.50GiB more were wanted); "
        "about 6 would fit: set engine.tile_width = 6, or a smaller theta.batch."
    )

    def broken():
        raise error

    assert said_of_exhausted(error, "H100", 16, broken, 64e9).endswith(
        "; make engine.tile_width or theta.batch smaller."
    )


def test_without_jax(case, monkeypatch):
    for name in ("jax", "jaxlib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        CaseError, match=r'jax is not installed; pip install "thermosim-engine\[networks\]" installs it'
    ):
        ready(plan(thermosim.load_case(case)), Execution())


def test_a_card_that_is_not_there(case, monkeypatch):
    jax = pytest.importorskip("jax")

    def none(kind):
        raise RuntimeError("Unknown backend cuda. Available backends are ['cpu']")

    monkeypatch.setattr(jax, "devices", none)
    (said,) = devices.device_faults("cuda", engine="networks")
    assert said.startswith("device = 'cuda': JAX finds no graphics card here; ")
    assert said.endswith("; use --device cpu.")
    assert "runs on processors" in devices.device_faults("cuda", engine="dense")[0]
