"""The same case gives the same bits, wherever it runs: a table of digests holds every model and every move to it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import thermosim
import thermosim.engines
from tests.bits_of_cases import TABLE, all_bits, bits_of_case, case_of, differences, digest, stored
from tests.tiny_cases import CASES, COMPILED_ONLY, MODELS, write_files
from thermosim.kernels import elementary, types
from thermosim.kernels.compile import compiled
from thermosim.kernels.declare import Part
from thermosim.kernels.interpreted import interpreted
from thermosim.ledger import FUNCTIONALS
from thermosim.models import MODELS as BUILT_IN
from thermosim.models import networks
from thermosim.moves import CONSTRAINED, THETA_MOVES, X_MOVES
from thermosim.plan.outline import plan

ROOT = Path(__file__).parent.parent
# whose machine code is held to the table each time: every move and constraint once, of as many models as that takes;
# plain Python makes the bits of all cases each time, and `--all` compiles all
COMPILED = (
    *COMPILED_ONLY, "trap metropolis", "trap equilibrium", "trap exact-ou", "two beads", "rbm", "squared cosine",
    "gaussian exact, noise in theta", "nesterov", "perceptron gelu", "adamw", "langevin", "gradient flow",
    "theta metropolis", "sphere fixed-lr", "sphere fixed-elr",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("tiny")
    write_files(place)
    return place


@pytest.fixture(scope="module")
def expected():
    return stored()


@pytest.mark.parametrize(
    "name", [name if name in COMPILED else pytest.param(name, marks=pytest.mark.exhaustive) for name in CASES]
)
def test_every_bit_is_that_of_the_table(name, folder, expected):
    wrong = differences(name, bits_of_case(name, folder), expected[name])
    assert not wrong, "\n".join([f"differs from {TABLE.name}:", *wrong])


def test_plain_python_makes_the_same_bits():
    """Without the compiler, for the debugger: a multiply-add that is rounded twice differs in every case with noise."""
    command, environment = [sys.executable, "-m", "tests.bits_of_cases"], os.environ | {"NUMBA_DISABLE_JIT": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[:2000] + run.stderr[-2000:]
    assert run.stdout.startswith(f"{len(CASES) - len(COMPILED_ONLY)} cases: every bit")


SPECIAL = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.1,
        -3.7,
        1.5,
        5e-324,
        2.3e-308,
        -1e-300,
        1e300,
        -1e300,
        7.5e-9,
        708.5,
        -708.5,
        np.inf,
        -np.inf,
        np.nan,
        1.0 + 2.0**-52,
        1.0 - 2.0**-53,
    ]
)


def _arithmetic(a, b, c, out):
    for lane in range(a.shape[0]):
        out[0, lane] = elementary.fma(a[lane], b[lane], c[lane])
        out[1, lane] = math.sqrt(a[lane])
        out[2, lane] = a[lane] / b[lane]
        out[3, lane] = 1.0 / math.sqrt(a[lane])
        out[4, lane] = max(a[lane], b[lane])
        out[5, lane] = min(max(a[lane], b[lane]), c[lane])
        out[6, lane] = max(-a[lane], 0.0)
        out[7, lane] = elementary.exp(a[lane])
        out[8, lane] = elementary.tanh(a[lane])
        out[9, lane] = elementary.log(abs(a[lane]) + 1e-300)
        out[10, lane] = abs(a[lane]) if a[lane] < b[lane] else -c[lane]
        out[11, lane], out[12, lane] = elementary.cos_sin_quarter(a[lane])
        out[13, lane] = a[lane] * b[lane] + c[lane]


def test_arithmetic_is_the_same_in_plain_python():
    """Of all triples of special numbers: NaN in min and max, division by zero, roots of negative numbers, overflow."""
    a, b, c = (np.ascontiguousarray(part.ravel()) for part in np.meshgrid(SPECIAL, SPECIAL, SPECIAL))
    vector, made = types.float64[::1], []
    for kernel in (
        compiled(_arithmetic, types.void(vector, vector, vector, types.float64[:, ::1])),
        interpreted(Part(_arithmetic, {})),
    ):
        out = np.zeros((14, a.size))
        kernel(a, b, c, out)
        made.append(np.where(np.isnan(out), np.nan, out).view(np.uint64))
    assert np.isnan(made[0].view(float)).any(axis=1).sum() > 10
    for row, (one, other) in enumerate(zip(*made, strict=True)):
        assert np.array_equal(one, other), row


def test_the_table_has_these_cases_and_no_others(expected):
    assert set(expected) == set(CASES)


def test_the_cases_meet_every_model_move_and_row(folder):
    blocks = [outline.block() for name in CASES for outline in plan(case_of(name, folder))]
    assert {block.model_name for block in blocks} >= {name for name, model in BUILT_IN.items() if model.has_kernels}
    assert {block.theta_dynamics for block in blocks} == set(THETA_MOVES)
    assert {block.x_dynamics for block in blocks} - {None} == set(X_MOVES)
    assert {block.constraint for block in blocks} - {None} == set(CONSTRAINED)
    booked = {(block.theta_dynamics, block.constraint, row) for block in blocks for row in block.theta_rows}
    booked |= {(block.x_dynamics, row) for block in blocks for row in block.x_rows}
    wanted = {(move.name, None, row) for move in THETA_MOVES.values() for row in move.books}
    wanted |= {(move.name, kind, row) for kind, move in CONSTRAINED.items() for row in move.books}
    wanted |= {(move.name, row) for move in X_MOVES.values() for row in move.books}
    assert not wanted - booked
    assert {row for block in blocks for row in (*block.theta_rows, *block.x_rows)} >= set(FUNCTIONALS)
    assert {block.tau for block in blocks} == {0, 1, 2, 3}
    for met in (
        lambda block: block.preconditioned and not block.used & {"momentum"},
        lambda block: block.preconditioned and "momentum" in block.used,
        lambda block: block.batch == 0 and block.theta.learns,
        lambda block: block.batch > 1,
        lambda block: block.fresh,
        lambda block: block.contrast,
        lambda block: block.restarts and block.samples > 1,
        lambda block: block.reversed,
        lambda block: block.turn,
        lambda block: block.time_steps > 1 and block.temperatures > 1,
        lambda block: block.first_rows.any(),
        lambda block: (block.theta_hyper != block.theta_hyper[:, :1]).any(),
        lambda block: set(block.theta_rows) - set(FUNCTIONALS),
    ):
        assert any(met(block) for block in blocks)


def test_those_compiled_meet_every_move(folder):
    blocks = [outline.block() for name in COMPILED for outline in plan(case_of(name, folder))]
    assert {block.theta_dynamics for block in blocks} == set(THETA_MOVES)
    assert {block.x_dynamics for block in blocks} - {None} == set(X_MOVES)
    assert {block.constraint for block in blocks} - {None} == set(CONSTRAINED)


def test_the_networks_meet_every_layer_and_every_loss():
    text = "".join(source.rpartition("\nMODEL")[2] for source in MODELS.values() if "network(" in source)
    kinds = set(networks.__all__) - {"network", "activation"}
    assert not {kind for kind in kinds if kind not in text}


def test_what_a_digest_sees():
    """One bit of one number, the sign of a zero; not the sign of a NaN, which no standard fixes."""
    numbers = np.array([1.0, 0.0, np.nan])
    assert digest(numbers) == digest(np.array([1.0, 0.0, -np.nan]))
    assert digest(numbers[:2]) != digest(np.array([1.0, -0.0]))
    assert digest(numbers) != digest(np.array([np.nextafter(1.0, 2.0), 0.0, np.nan]))
    assert digest(np.arange(6.0).reshape(2, 3).T) == digest(np.ascontiguousarray(np.arange(6.0).reshape(2, 3).T))


def test_a_difference_is_named(expected):
    """An engine that is off by one bit of one row, in one frame, is told by case, block, part and array."""
    name = "trap metropolis"
    found = all_bits([name], _OffByOneBit())[name]
    assert differences(name, found, expected[name]) == [
        f"{name}: block 0, delivered, heat: {found['block 0, delivered, heat']}, not "
        + expected[name]["block 0, delivered, heat"]
    ]


class _OffByOneBit:
    """The engine of lanes, but for the last bit of the heat of one lane in the last frame."""

    def open(self, block, threads=1, width=None):
        lanes = thermosim.engines.engine_of().open(block, threads, width)
        true = lanes.advance

        def advance(stop, first, every, take):
            def spoilt(piece, given, seen):
                given = {name: array.copy() for name, array in given.items()}
                if stop == block.steps:
                    given["heat"][-1, 1] = np.nextafter(given["heat"][-1, 1], 1e9)
                take(piece, given, seen)

            true(stop, first, every, spoilt)

        lanes.advance = advance
        return lanes
