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
        cosine[i], sine[i] = elementary.cos_sin_quarter(x[i])


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


def test_cos_and_sin():
    x = RANDOM.uniform(-0.5, 0.5, 100_000)
    cosine, sine = np.empty_like(x), np.empty_like(x)
    _cos_sin(x, cosine, sine)
    assert _ulps(cosine, np.cos(0.5 * np.pi * x)).max() <= 2
    assert np.abs(sine - np.sin(0.5 * np.pi * x)).max() < 3e-16
    assert np.abs(cosine**2 + sine**2 - 1).max() < 1e-15
    assert elementary.cos_sin_quarter(0.0) == (1.0, 0.0)


def test_exact_points():
    assert elementary.log(1.0) == 0.0
    assert elementary.exp(0.0) == 1.0
    assert elementary.log(2.0) == np.log(2.0)
