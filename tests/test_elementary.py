"""Our elementary functions against numpy's, in units in the last place."""

import numpy as np
import pytest

from thermosim.kernels import elementary, types
from thermosim.kernels.compile import compiled


def _log(x, out):
    for i in range(x.size):
        out[i] = elementary.log(x[i])


def _exp(x, out):
    for i in range(x.size):
        out[i] = elementary.exp(x[i])


def _cos_sin(x, cosine, sine):
    for i in range(x.size):
        cosine[i], sine[i] = elementary.cos_sin_quarter(x[i])


def _applied(template, x, results=1):
    """What a kernel makes of the numbers x."""
    vector = types.float64[::1]
    out = np.empty((results, x.size))
    compiled(template, types.void(vector, *[vector] * results))(np.ascontiguousarray(x, float), *out)
    return out


def _ulps(value, exact):
    return np.abs(value - exact) / np.spacing(np.abs(exact))


RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize(
    "x",
    [RANDOM.uniform(0, 1, 100_000), 10 ** RANDOM.uniform(-300, 300, 100_000), 1 + RANDOM.normal(0, 1e-6, 100_000)],
)
def test_log(x):
    """A wrong coefficient of the third term already costs 1e-6, a billion units."""
    (out,) = _applied(_log, x)
    assert _ulps(out, np.log(x)).max() <= 2


def test_exp():
    x = RANDOM.uniform(-700, 700, 100_000)
    (out,) = _applied(_exp, x)
    assert _ulps(out, np.exp(x)).max() <= 2


def test_cos_and_sin():
    x = RANDOM.uniform(-0.5, 0.5, 100_000)
    cosine, sine = _applied(_cos_sin, x, 2)
    assert _ulps(cosine, np.cos(0.5 * np.pi * x)).max() <= 2
    assert np.abs(sine - np.sin(0.5 * np.pi * x)).max() < 3e-16
    assert np.abs(cosine**2 + sine**2 - 1).max() < 1e-15
    assert np.array_equal(_applied(_cos_sin, np.zeros(1), 2), [[1.0], [0.0]])


def test_exact_points():
    assert np.array_equal(_applied(_log, np.array([1.0, 2.0]))[0], [0.0, np.log(2.0)])
    assert _applied(_exp, np.zeros(1))[0, 0] == 1.0


def test_they_are_functions_of_python_too():
    """In a model's plain functions, and without the compiler: a multiply-add is rounded once."""
    with np.errstate(over="ignore"):
        assert elementary.exp(1.0) == pytest.approx(np.e, rel=1e-14)
        assert elementary.log(10.0) == pytest.approx(np.log(10.0), rel=1e-14)
        assert elementary.fma(2.0, 3.0, 4.0) == 10.0
        assert elementary.fma(0.1, 10.0, -1.0) == 2.0**-54  # 0.1 is 2^-54/10 too large, and 0.1 * 10.0 == 1.0
        assert isinstance(elementary.fma(2.0, 3.0, 4.0), np.float64)
