"""What the compiler is told: widths of vectors, two vectors at a time, arrays passed as address and shape; tiles."""

import itertools
import re

import numpy as np
import pytest

import thermosim
from thermosim.engines.lanes.tiles import Tile, shapes_of_tile, tile_width
from thermosim.kernels import types
from thermosim.kernels.compile import address_of, compiled
from thermosim.kernels.declare import Part, function_at, inlined, two_vectors
from thermosim.kernels.identity import identity_of
from thermosim.plan.outline import plan

TILE, STACK = types.float64[:, ::1], types.float64[:, :, ::1]
ON_TILE = types.void(TILE)


@inlined
def _twice(s):
    s = (s * s + 2.0) / (s + 1.0)
    return (s * s + 3.0) / (s + 1.5)


def _chain(x):
    for i in range(x.shape[0]):
        for lane in range(x.shape[1]):
            x[i, lane] = _twice(_twice(_twice(_twice(x[i, lane]))))


@two_vectors
def _chain_in_pairs(x):
    for i in range(x.shape[0]):
        for lane in range(x.shape[1]):
            x[i, lane] = _twice(_twice(_twice(_twice(x[i, lane]))))


def _divisions(function):
    """Divisions of whole vectors in the loop with most of them, and the code."""
    from thermosim.kernels.machine_code import compile_part  # numba, not before

    code = next(iter(compile_part(Part(function, {}), ON_TILE, None).inspect_llvm().values()))
    blocks = re.split(r"\n\n|\n[\w.]+:", code)
    return max(len(re.findall(r"= fdiv <\d+ x double>", block)) for block in blocks), code


def test_a_marked_loop_takes_two_vectors_of_512_bits_and_keeps_every_bit():
    once, code = _divisions(_chain)
    twice, marked = _divisions(_chain_in_pairs)
    assert (once, twice) == (8, 16)
    assert all('"prefer-vector-width"="512"' in text for text in (code, marked))
    x = np.random.default_rng(1).uniform(0.5, 2.0, (3, 77))  # 77: with a remainder after either
    expected, found = x.copy(), x.copy()
    compiled(_chain, ON_TILE)(expected)
    compiled(_chain_in_pairs, ON_TILE)(found)
    assert found.tobytes() == expected.tobytes() != x.tobytes()


def test_the_mark_is_part_of_what_a_kernel_is_known_by():
    assert identity_of(_chain).digest != identity_of(_chain_in_pairs).digest


_sum_at = function_at(types.void(STACK, TILE, types.float64[::1], types.int64))


def weighted_sum(stack, tile, row, first):
    for s in range(stack.shape[0]):
        for i in range(stack.shape[1]):
            for lane in range(stack.shape[2]):
                tile[i, lane] += (first + s) * stack[s, i, lane] + row[lane]


def _passed_on(address, stack, tile, row):
    add = _sum_at(address)
    add(stack, tile, row, 1)
    add(stack[1:], tile[0:2], row, 10)  # views, of another shape


def test_views_passed_by_address_keep_their_shapes():
    rng = np.random.default_rng(3)
    stack, tile, row = rng.normal(size=(3, 2, 5)), rng.normal(size=(4, 5)), rng.normal(size=5)
    expected = tile.copy()
    expected[:2] += np.einsum("s,sil->il", [1.0, 2.0, 3.0], stack) + 3 * row
    expected[:2] += np.einsum("s,sil->il", [10.0, 11.0], stack[1:]) + 2 * row
    address = address_of(weighted_sum, types.void(STACK, TILE, types.float64[::1], types.int64))
    compiled(_passed_on, types.void(types.int64, STACK, TILE, types.float64[::1]))(address, stack, tile, row)
    assert np.allclose(tile, expected, rtol=1e-13, atol=1e-13)


def test_what_is_not_contiguous_is_refused():
    with pytest.raises(TypeError):
        compiled(_chain, ON_TILE)(np.ones((4, 8))[:, ::2])


def test_a_tile_lies_in_one_piece_and_the_last_is_no_wider_than_its_lanes():
    text = """
    [model]
    name = "harmonic-trap"
    dimension = 2
    [theta]
    dynamics = "protocol"
    protocol = { center = { kind = "linear", initial = [0.0, 0.0], final = [1.0, 2.0] } }
    [x]
    dynamics = "ula"
    time_step = 0.01
    [ensemble]
    replicas = 100
    [run]
    steps = 2
    """
    block = plan(thermosim.load_case(text))[0].block()
    tiles = [Tile.empty(block, first, 64, shapes_of_tile(block)) for first in (0, 64)]
    assert [(tile.width, tile.used) for tile in tiles] == [(64, 64), (64, 36)]
    assert Tile.empty(block, 64, 96, shapes_of_tile(block)).width == 64  # 36 lanes in whole vectors
    for tile in tiles:
        arrays = [a for a in tile.arrays.values() if a.dtype == float and a.size]
        places = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
        assert all(start % 64 == 0 for start, _ in places)
        assert places[-1][1] - places[0][0] < sum(end - start for start, end in places) + len(tile.arrays) * 1024
    lanes = tiles[1].arrays["x_hyper"]
    assert np.array_equal(lanes[:, :36], block.x_hyper[:, 64:])
    assert np.array_equal(lanes[:, 36:], np.tile(block.x_hyper[:, -1:], (1, 28)))


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("rows", [10, 24, 25, 60, 5000])
def test_tiles_hold_all_lanes_and_work_for_every_thread(threads, rows):
    for lanes in (1, 31, 64, 1000, 8192, 30001):
        width = tile_width(lanes, rows, threads)
        assert width % 32 == 0
        assert width <= (320 if rows <= 24 else 992)
        assert 8 * rows * width <= 400_000 or width == 32
        tiles = -(-lanes // width)
        assert tiles >= threads or width == 32 or lanes <= 32 * threads * 2
