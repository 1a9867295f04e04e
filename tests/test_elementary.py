"""Our elementary functions against numpy's, in units in the last place."""

import numpy as np
import pytest

from thermosim.kernels import elementary
from thermosim.kernels.compile import inlined


@inlined
def _log(x, out):
    for i in range(x.size):
        out[i] = elementary.log(x[i])


@inlined
def _exp(x, out):
    for i in range(x.size):
        out[i] = elementary.exp(x[i])


@inlined
def _cos_sin(x, cosine, sine):
    for i in range(x.size):
        cosine[i], sine[i] = elementary.cos_sin_turn(x[i])


def _ulps(value, exact):
    return np.abs(value - exact) / np.spacing(np.abs(exact))


RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize(
    "x",
    [RANDOM.uniform(0, 1, 100_000), 10 ** RANDOM.uniform(-300, 300, 100_000), 1 + RANDOM.normal(0, 1e-6, 100_000)],
)
def test_log(x):
    """A wrong coefficient of the third term already costs 1e-6, a billion units."""
    out = np.empty_like(x)
    _log(x, out)
    assert _ulps(out, np.log(x)).max() <= 2


def test_exp():
    x = RANDOM.uniform(-700, 700, 100_000)
    out = np.empty_like(x)
    _exp(x, out)
    assert _ulps(out, np.exp(x)).max() <= 2


def test_cos_and_sin_of_a_turn():
    x = RANDOM.uniform(-4, 4, 100_000)
    cosine, sine = np.empty_like(x), np.empty_like(x)
    _cos_sin(x, cosine, sine)
    assert np.abs(cosine - np.cos(2 * np.pi * x)).max() < 4e-15  # the reference rounds 2 pi x
    assert np.abs(sine - np.sin(2 * np.pi * x)).max() < 4e-15
    assert np.abs(cosine**2 + sine**2 - 1).max() < 1e-15
    for turn, exact in ((0.0, (1, 0)), (0.25, (0, 1)), (0.5, (-1, 0)), (0.75, (0, -1))):
        assert elementary.cos_sin_turn(turn) == exact


def test_exact_points():
    assert elementary.log(1.0) == 0.0
    assert elementary.exp(0.0) == 1.0
    assert elementary.log(2.0) == np.log(2.0)
