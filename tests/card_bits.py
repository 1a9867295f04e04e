"""The table of bits on a graphics card: whatever a card makes of a tiny case are the bits that a processor makes.

Run by test_cards.py with the simulator, which runs kernels as plain Python, and by `scripts/test --gpu` on the cards
of this machine. Alone: NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/card_bits.py. THERMOSIM_ALL=1 leaves nothing out.
"""

import os

import numpy as np
import pytest

from tests.bits_of_cases import bits_of_case, differences, stored
from tests.conftest import TRAP
from tests.tiny_cases import CASES, COMPILED_ONLY, write_files
from thermosim.case.load import load_case
from thermosim.engines import engine_of
from thermosim.engines.cuda import cards, group
from thermosim.models import MODELS
from thermosim.moves import CONSTRAINED, THETA_MOVES, X_MOVES
from thermosim.plan.outline import plan
from thermosim.plan.starts import initial_state

pytestmark = pytest.mark.skipif(
    bool(cards.device_faults("cuda")), reason=" ".join(cards.device_faults("cuda")) or "there is a card"
)
SIMULATED = bool(os.environ.get("NUMBA_ENABLE_CUDASIM"))
# with these each model, move, constraint and kind of lane is met: the simulator takes seconds for some
SOME = (
    "trap ula reversed", "trap mala", "trap metropolis", "trap exact-ou", "trap swept", "trap warm-up", "ring",
    "rotational trap", "two beads", "gaussian exact, noise in theta", "gaussian restarts", "gaussian two sets",
    "full gaussian", "mixture", "double well", "boltzmann machine", "rbm restarts", "network energy", "logistic fresh",
    "linear there and back", "linear matrix of rates, momentum", "nesterov", "adam", "adamw", "langevin scheduled",
    "gradient flow", "theta metropolis", "linear fresh rows", "logistic regression", "squared cosine",
    "softmax regression", "perceptron gelu", "deep linear", "matrix factorisation", "scalar chain", "quadratic",
    "fourth power", "sphere fixed-lr", "sphere fixed-elr", "linear diverging", "composed for sides",
)  # fmt: skip
EVERY = CASES if os.environ.get("THERMOSIM_ALL") or not SIMULATED else SOME
NAMES = [name for name in EVERY if not (SIMULATED and name in COMPILED_ONLY)]


class InGroups:
    """The engine of a card, whose lanes go in groups of three, taken by two threads in pieces of two."""

    def open(self, block, threads=1, width=None):
        return engine_of("cuda").open(block, 2, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny")
    write_files(place)
    return place


@pytest.fixture(scope="module")
def expected():
    return stored()


@pytest.mark.parametrize("name", NAMES)
def test_every_bit_is_that_of_the_table(name, folder, expected, monkeypatch):
    monkeypatch.setattr(group, "_PIECE", 2)
    wrong = differences(name, bits_of_case(name, folder, InGroups()), expected[name])
    assert not wrong, "\n".join(wrong)


def test_no_model_or_move_is_left_out():
    cases = [CASES[name] for name in NAMES]
    assert {case["model"].get("name") for case in cases} >= {
        name for name, model in MODELS.items() if model.has_kernels
    }
    assert {case["theta"].get("dynamics", "frozen") for case in cases} >= set(THETA_MOVES)
    assert {case["theta"].get("constraint") for case in cases} >= set(CONSTRAINED)
    assert {case["x"]["dynamics"] for case in cases if "x" in case} >= set(X_MOVES)


def advanced(device, block, start, width, threads):
    """The state and the frames after seven steps, made in two calls."""
    lanes = engine_of(device).open(block, threads, width)
    frames = {}

    def take(piece, given, seen=None):
        for name, array in given.items():
            room = frames.setdefault(name, np.full((array.shape[0], block.lanes, *array.shape[2:]), np.nan))
            room[:, piece] = array

    lanes.restore(start, 0)
    lanes.advance(3, 0, 2, lambda *_: None)
    lanes.advance(7, 5, 1, take)
    state = lanes.state()
    lanes.close()
    return {**state, **{f"frame {name}": array for name, array in frames.items()}}


@pytest.mark.parametrize(("width", "threads", "piece"), [(None, 1, 8192), (1, 3, 1), (4, 1, 3), (6, 2, 4)])
def test_neither_groups_nor_threads_nor_pieces_nor_large_numbers_matter(width, threads, piece, monkeypatch):
    """Seeds and numbers of replicas beyond 2^31, where a card might take an argument for a shorter integer."""
    case = load_case(TRAP, {"ensemble.replicas": 11, "ensemble.seed": 2**63 - 25})
    (outline,) = plan(case)
    block = outline.block()
    object.__setattr__(block, "first_replica", 2**31 + 5)
    monkeypatch.setattr(group, "_PIECE", piece)
    start = initial_state(outline, 0, 11)
    made, expected = advanced("cuda", block, start, width, threads), advanced("cpu", block, start, None, 1)
    assert made.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(made[name], array), name
