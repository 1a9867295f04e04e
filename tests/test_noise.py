"""Addressable noise: the published vectors, the distribution, and that no two addresses share a number."""

import numpy as np
import pytest
from scipy import stats

from thermosim import streams
from thermosim.kernels import noise, types
from thermosim.kernels.compile import compiled

ALL = 2**64 - 1

# known answers of Random123 for threefry2x64 with 13 rounds: counter, key, result
VECTORS = [
    ((0, 0), (0, 0), (0xF167B032C3B480BD, 0xE91F9FEE4B7A6FB5)),
    ((ALL, ALL), (ALL, ALL), (0xCCDEC5C917A874B1, 0x4DF53ABCA26CEB01)),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344),
        (0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0xC3AAC71561042993, 0x3FE7AE8801AFF316),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_published_vectors(counter, key, expected):
    with np.errstate(over="ignore"):
        words = noise.threefry(*(np.uint64(word) for word in (*key, *counter)))
    assert tuple(int(word) for word in words) == expected


def _pair(seed=7, stream=streams.X_NOISE, block=3, first_replica=0, first_index=0, shape=(1, 64)):
    even, odd = np.empty(shape), np.empty(shape)
    signature = types.void(*[types.int64] * 5, *[types.float64[:, ::1]] * 2)
    compiled(noise.fill_normal_pair, signature)(seed, stream, block, first_replica, first_index, even, odd)
    return even, odd


def test_an_address_gives_one_number_however_it_is_reached():
    whole, odd = _pair(shape=(4, 96))
    part, part_odd = _pair(first_replica=40, first_index=1, shape=(2, 37))
    assert np.array_equal(part, whole[1:3, 40:77])
    assert np.array_equal(part_odd, odd[1:3, 40:77])


def test_no_two_addresses_share_noise():
    """A stream, step, replica or index left out of the address would repeat numbers."""
    parts = [
        _pair(seed=seed, stream=stream, block=block, shape=(4, 64))
        for seed in (7, 8)
        for stream in (streams.X_NOISE, streams.THETA_NOISE, streams.INITIAL)
        for block in (0, 1, 255, 256, 2**40)
    ]
    numbers = np.concatenate([np.ravel(part) for pair in parts for part in pair])
    assert len(np.unique(numbers)) == numbers.size


def test_no_stream_runs_into_the_steps_of_another():
    """Every stream, also one that may be added, at neighbouring steps and at steps that are powers of two."""
    steps = [*range(40), *(1 << k for k in range(6, 40))]
    parts = [noise.uniform_array(7, stream, step, 0, (1, 2)) for stream in range(16) for step in steps]
    numbers = np.concatenate([np.ravel(part) for part in parts])
    assert len(np.unique(numbers)) == numbers.size


def test_streams_are_numbered_for_good():
    """Stored results name these numbers: they never change."""
    names = ("INITIAL", "X_NOISE", "THETA_NOISE", "MINIBATCH", "ACCEPTANCE", "DATA", "BOOTSTRAP", "RESTART")
    assert [getattr(streams, name) for name in (*names, "THETA_ACCEPTANCE")] == list(range(9))


def test_normals_are_normal_and_independent():
    """Moments to four, the tails, and the correlation of the two normals of a block and of neighbours."""
    even, odd = _pair(shape=(8, 2**17))
    both = np.concatenate([even.ravel(), odd.ravel()])
    n = both.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(both**power) - moment) < 4 * np.sqrt(variance / n)
    beyond = np.mean(np.abs(both) > 4.0)
    expected = 2 * stats.norm.sf(4.0)
    assert abs(beyond - expected) < 4 * np.sqrt(expected / n)
    assert stats.kstest(both[: 2**18], "norm").pvalue > 1e-5
    for a, b in ((even, odd), (even**2, odd**2), (even[:, 1:], even[:, :-1]), (even[1:], even[:-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)


def test_the_angle_of_a_pair_is_uniform():
    """Each of the eight octants, and the angle within them: a wrong swap or sign would fill some of them twice."""
    even, odd = _pair(shape=(4, 2**17))
    angle = np.arctan2(odd.ravel(), even.ravel())
    octants = np.histogram(angle, bins=np.linspace(-np.pi, np.pi, 9))[0]
    assert stats.chisquare(octants).pvalue > 1e-5
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-5
    assert abs(np.corrcoef(angle, (even**2 + odd**2).ravel())[0, 1]) < 4 / np.sqrt(angle.size)


def test_uniforms_are_uniform():
    out = np.empty((2, 2**17))
    compiled(noise.fill_uniform, types.void(*[types.int64] * 5, types.float64[:, ::1]))(
        5, streams.ACCEPTANCE, 9, 0, 0, out
    )
    assert out.min() > 0.0
    assert out.max() <= 1.0
    assert stats.kstest(out.ravel(), "uniform").pvalue > 1e-5


def test_scalar_and_vector_code_agree_to_the_bit():
    """The same template compiled for one lane and for many."""
    whole, _ = _pair(shape=(1, 97))
    single = [_pair(first_replica=r, shape=(1, 1))[0][0, 0] for r in range(97)]
    assert np.array_equal(whole[0], single)


def test_compiled_code_is_cached_by_its_sources():
    """A binding, like a source, is part of the name: two values never share machine code."""

    def template(out):
        out[0] = VALUE  # noqa: F821

    signature = types.void(types.float64[::1])
    out = np.zeros(1)
    for value in (1, 2):
        compiled(template, signature, VALUE=value)(out)
        assert out[0] == value
