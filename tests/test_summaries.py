"""Running summaries against numpy and against double loops over the stored values, however the frames are cut."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from thermosim.run.fold import TileSummary, fold_cohorts
from thermosim.storage.manifest import Cadence, StoredVariable, Summary
from thermosim.storage.summaries import RESULTS, declared, finish

REPLICA = ("mean", "variance", "last", "correlation")
OVER_STEPS = (*REPLICA, "histogram")


def summary_of(keep=OVER_STEPS, *, shape=(1,), ends=(-1.5, 2.0), bins=7, lags=4, first=0, every=1):
    return Summary("x", shape, Cadence(first, every), tuple(keep), ends, bins, lags)


def folded(summary, values, cuts=(), used=None, cohort_of_lane=None):
    """A tile that took values (F, R, L), cut into several calls."""
    frames, rows, width = values.shape
    cohorts = np.zeros(width, np.int64) if cohort_of_lane is None else cohort_of_lane
    tile = TileSummary(summary, rows, width, cohorts)
    edges = [0, *cuts, frames]
    for first, last in itertools.pairwise(edges):
        tile.fold(np.ascontiguousarray(values[first:last]), first, width if used is None else used)
    return tile


def results(summary, values, shape=None, **how):
    tile = folded(summary, values, **how)
    summary = replace(summary, shape=(values.shape[1],) if shape is None else shape)
    return finish(summary, tile.lanes | tile.cohorts, len(values))


def autocovariance(y, lags):
    """Direct double loop over exact sums, of one series."""
    mean = math.fsum(y) / len(y)
    return [
        math.fsum((y[t] - mean) * (y[t + lag] - mean) for t in range(len(y) - lag)) / (len(y) - lag)
        for lag in range(lags + 1)
    ]


def drifting(frames, rows, lanes, seed=1):
    """No stationary process: mean, variance and correlation differ between beginning and end."""
    time = np.arange(frames)[:, None, None] / frames
    noise = np.random.default_rng(seed).normal(size=(frames, rows, lanes))
    noise[1:] += 0.8 * noise[:-1]
    return 3.0 * time**2 + np.exp(-5.0 * time) + (0.3 + time) * noise


def test_moments_and_last():
    values = drifting(53, 3, 70)
    found = results(summary_of(), values)
    np.testing.assert_allclose(found["x_mean"], values.mean(0).T, rtol=1e-13)
    np.testing.assert_allclose(found["x_variance"], values.var(0, ddof=1).T, rtol=1e-12)
    assert np.array_equal(found["x_last"], values[-1].T)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 6, 37])
@pytest.mark.parametrize("lags", [1, 4, 5])
def test_autocovariance(frames, lags):
    """Exact at every lag shorter than the record, NaN from there on: lags below, at and past the number of values."""
    values = drifting(frames, 2, 66)
    found = results(summary_of(lags=lags), values)["x_autocovariance"]
    assert found.shape == (66, 2, lags + 1)
    assert np.all(np.isnan(found[..., frames:]))
    for lane in (0, 63, 64, 65):  # across the edge of a block of lanes
        for row in range(2):
            exact = autocovariance(values[:, row, lane], min(lags, frames - 1))
            np.testing.assert_allclose(found[lane, row, :frames], exact, rtol=1e-11, atol=1e-14)


def test_a_large_offset_cancels_nowhere():
    """Noise of 1e-3 on 1e8, whose squares have no digit of the noise left.

    The running variance keeps as many digits as one value has of its own deviation, spacing / sigma; the
    autocovariance, relative to the first value, has them all.
    """
    rng = np.random.default_rng(2)
    noise = np.round(rng.normal(size=(400, 2, 5)) * 2**10) / 2**20  # exact beside 1e8, up to a few ulp of 2^-26
    values = 1e8 + noise
    exact = values - 1e8
    assert np.array_equal(exact, noise)
    found = results(summary_of(lags=6), values)
    # the k-th update rounds by at most half a unit in the last place and weighs k/n: sqrt(n/3) roundings of 0.3 units
    rounding = 0.3 * np.spacing(1e8) * np.sqrt(400 / 3)
    np.testing.assert_allclose(found["x_mean"] - 1e8, exact.mean(0).T, rtol=0.0, atol=5 * rounding)
    digits = np.spacing(1e8) / exact.std()
    np.testing.assert_allclose(found["x_variance"], exact.var(0, ddof=1).T, rtol=digits)
    for lane in range(5):
        for row in range(2):
            covariance = autocovariance(exact[:, row, lane], 6)
            np.testing.assert_allclose(
                found["x_autocovariance"][lane, row], covariance, rtol=0.0, atol=1e-12 * covariance[0]
            )
    mean, variance = fold_cohorts(values, np.array([0, 2, 5]))
    np.testing.assert_allclose(variance[:, 1], exact[..., 2:].var(2, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(mean[:, 1] - 1e8, exact[..., 2:].mean(2), rtol=0.0, atol=np.spacing(1e8))


def test_a_start_far_from_the_rest():
    """An outlying first value A costs digits, but few: sqrt(n) roundings of n A^2, beside a variance of A^2/n."""
    values = drifting(1000, 1, 3)
    values[0] += 1e6
    found = results(summary_of(lags=3), values)["x_autocovariance"]
    for lane in range(3):
        exact = autocovariance(values[:, 0, lane], 3)
        np.testing.assert_allclose(found[lane, 0], exact, rtol=0.0, atol=1000**1.5 * np.finfo(float).eps * exact[0])


def test_equal_values_have_no_variance_at_all():
    values = np.full((300, 2, 33), 0.1)
    found = results(summary_of(), values)
    assert np.all(found["x_mean"] == 0.1)
    assert np.all(found["x_variance"] == 0.0)
    assert np.all(found["x_autocovariance"] == 0.0)
    mean, variance = fold_cohorts(np.full((2, 3, 1000), 0.1), np.array([0, 7, 1000]))
    assert np.all(mean == 0.1)
    assert np.all(variance == 0.0)


def test_histogram_in_cohorts():
    values = drifting(40, 3, 50)
    cohort_of_lane = np.repeat([0, 1, 2], [20, 5, 25])
    used = 43
    found = results(summary_of(), values, used=used, cohort_of_lane=cohort_of_lane)
    edges = np.linspace(-1.5, 2.0, 8)
    assert found["x_histogram"].dtype == found["x_outside"].dtype == np.int64
    for cohort, lanes in enumerate((slice(0, 20), slice(20, 25), slice(25, used))):
        for row in range(3):
            y = values[:, row, lanes]
            assert np.array_equal(found["x_histogram"][cohort, row], np.histogram(y[y < 2.0], edges)[0])
            assert found["x_outside"][cohort, row].tolist() == [np.sum(y < -1.5), np.sum(y >= 2.0)]
    assert found["x_histogram"].sum() + found["x_outside"].sum() == 40 * 3 * used


@pytest.mark.parametrize("ends", [(0.1, 0.7), (-1.0, 1.0), (1e8, 1e8 + 1e-5), (-1e-300, 3e-300), (-1e308, 7e307)])
@pytest.mark.parametrize("bins", [1, 3, 100])
def test_bins_are_half_open(ends, bins):
    """A value on an edge opens its bin; the number below it closes the one before. All edges, any rounding."""
    edges = np.linspace(*ends, bins + 1)
    below = np.nextafter(edges, -np.inf)
    for y, shift in ((edges, 1), (below, 0)):
        summary = summary_of(("histogram",), ends=ends, bins=bins)
        counts = folded(summary, y.reshape(-1, 1, 1).copy()).cohorts["counts"][0, :, 0]
        exact = np.zeros(bins + 2, int)
        exact[np.arange(bins + 1) + shift] = 1
        assert np.array_equal(counts, exact)


def test_values_that_are_no_numbers():
    """A diverged lane is NaN in its own summaries, counted nowhere from there on, and touches no other lane."""
    values = drifting(30, 2, 8)
    clean = results(summary_of(), values, cohort_of_lane=np.arange(8))
    values[11:, :, 3] = np.nan
    values[5, 1, 6] = np.inf
    found = results(summary_of(), values, cohort_of_lane=np.arange(8))
    others = [0, 1, 2, 4, 5, 7]
    for name, array in found.items():
        assert np.array_equal(array[others], clean[name][others])
    for name in ("x_mean", "x_variance", "x_last", "x_autocovariance"):
        assert np.all(np.isnan(found[name][3]))
    assert np.isnan(found["x_variance"][6, 1])
    assert not np.isnan(found["x_variance"][6, 0])
    assert (found["x_histogram"][3].sum(-1) + found["x_outside"][3].sum(-1)).tolist() == [11, 11]
    assert found["x_histogram"][6, 1].sum() + found["x_outside"][6, 1].sum() == 30
    mean, variance = fold_cohorts(values, np.array([0, 3, 5, 8]))
    assert np.isnan(mean[11:, 1]).all()
    assert np.isnan(variance[11:, 1]).all()
    assert np.isfinite(mean[:, 0]).all()


def test_bits_do_not_depend_on_how_frames_and_lanes_are_cut():
    values = drifting(41, 3, 130)
    summary = summary_of()
    whole = folded(summary, values)
    for cuts in ((1, 2, 3), (4, 4, 5, 30), (0, 17, 41), tuple(range(1, 41))):
        pieces = folded(summary, values, cuts)
        for name, array in (whole.lanes | whole.cohorts).items():
            assert np.array_equal(array, (pieces.lanes | pieces.cohorts)[name]), name
    counts = np.zeros_like(whole.cohorts["counts"])
    for lanes in (slice(0, 1), slice(1, 37), slice(37, 130)):
        part = folded(summary, np.ascontiguousarray(values[..., lanes]), (7, 23))
        for name, array in part.lanes.items():
            assert np.array_equal(array, whole.lanes[name][..., lanes]), name
        counts += part.cohorts["counts"]
    assert np.array_equal(counts, whole.cohorts["counts"])


def test_going_on_from_the_arrays():
    values = drifting(29, 2, 5)
    summary = summary_of(shape=(2,))
    before = folded(summary, values[:13])
    after = TileSummary(summary, 2, 5, np.zeros(5, np.int64))
    for arrays, held in ((after.lanes, before.lanes), (after.cohorts, before.cohorts)):
        for name in arrays:
            arrays[name][...] = held[name]
    after.fold(np.ascontiguousarray(values[13:]), 13, 5)
    whole = results(summary, values)
    for name, array in finish(summary, after.lanes | after.cohorts, 29).items():
        assert np.array_equal(array, whole[name], equal_nan=True), name


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_values(count):
    found = results(summary_of(), drifting(4, 2, 3)[:count])
    assert np.all(np.isnan(found["x_variance"]))
    assert np.all(np.isnan(found["x_autocovariance"][..., count:]))
    for name in ("x_mean", "x_last"):
        assert np.all(np.isnan(found[name]) == (count == 0))
    assert found["x_histogram"].sum() + found["x_outside"].sum() == count * 6


def test_shapes_and_declarations_agree():
    """Every result has the declared name, type and shape; components are in order, also where there are none."""
    for dims, shape in (((), ()), (("sample", "x_dim"), (2, 3)), (("x_dim",), (0,))):
        rows = math.prod(shape)
        summary = summary_of(tuple(RESULTS), shape=shape)
        values = drifting(9, rows, 4)
        cohort_of_lane = np.array([0, 0, 1, 1])
        attributes = {"units": "kT", "long_name": "samples", "equation": "x_t"}
        recorded = StoredVariable(dims, shape, "float64", "replica", None, attributes)
        variables, coordinates = declared(summary, recorded, "step")
        found = results(summary, values, shape, cohort_of_lane=cohort_of_lane)
        assert set(found) == {name for name, variable in variables.items() if variable.cadence is None}
        for name, array in found.items():
            variable = variables[name]
            assert array.shape == ({"replica": 4, "cohort": 2}[variable.over], *variable.shape)
            assert str(array.dtype) == variable.dtype
            for dim, size in list(zip(variable.dims, variable.shape, strict=True))[len(dims) :]:
                assert coordinates[dim].dims == (dim,)
                assert len(coordinates[dim].values) == size
        for lane in range(4 if rows else 0):
            assert np.array_equal(found["x_last"][lane].reshape(-1), values[-1, :, lane])


def test_declarations():
    attributes = {"units": "kT", "long_name": "work", "equation": "w"}
    variable = StoredVariable(("sample",), (3,), "float64", "replica", None, attributes)
    summary = summary_of(tuple(RESULTS), ends=(0.0, 2.0), bins=4, lags=2, first=3, every=5)
    variables, coordinates = declared(summary, variable, "x_step")
    endings = ("mean", "variance", "last", "histogram", "outside", "autocovariance", "ensemble_mean")
    assert list(variables) == [f"x_{ending}" for ending in (*endings, "ensemble_variance")]
    framed = {name: v.cadence for name, v in variables.items() if v.cadence is not None}
    assert framed == {"x_ensemble_mean": "x_step", "x_ensemble_variance": "x_step"}
    over_cohorts = {name for name, v in variables.items() if v.over == "cohort"}
    assert over_cohorts == {"x_histogram", "x_outside", "x_ensemble_mean", "x_ensemble_variance"}
    units = [v.attributes["units"] for v in variables.values()]
    assert units == ["kT", "kT^2", "kT", "1", "1", "kT^2", "kT", "kT^2"]
    assert variables["x_histogram"].dims == ("sample", "x_bin")
    assert coordinates["x_bin"].values == (0.25, 0.75, 1.25, 1.75)
    assert coordinates["x_bin"].attributes["range"] == [0.0, 2.0]
    assert coordinates["x_bin"].attributes["number"] == 4
    assert coordinates["x_lag"].values == (0, 5, 10)
    assert coordinates["x_side"].values == ("below", "above")
    assert all(v.attributes["equation"] for v in variables.values())
    for unit, square in (("1", "1"), ("kT/step", "(kT/step)^2")):
        other = declared(summary, replace(variable, attributes=attributes | {"units": unit}), "x_step")[0]
        assert other["x_variance"].attributes["units"] == square
    alone, none = declared(summary_of(("last",)), variable, None)
    assert list(alone) == ["x_last"]
    assert none == {}


def test_cohorts_of_a_frame():
    values = np.random.default_rng(4).gamma(2.0, size=(3, 5, 40)) * np.arange(1, 6)[:, None]
    edges = np.array([0, 1, 3, 33, 40])
    mean, variance = fold_cohorts(values, edges)
    assert mean.shape == variance.shape == (3, 4, 5)
    for cohort, (first, last) in enumerate(itertools.pairwise(edges)):
        np.testing.assert_allclose(mean[:, cohort], values[..., first:last].mean(2), rtol=1e-14)
        if last - first > 1:
            np.testing.assert_allclose(variance[:, cohort], values[..., first:last].var(2, ddof=1), rtol=1e-12)
    assert np.all(np.isnan(variance[:, 0]))
    alone = fold_cohorts(values[1:2, :, 3:33], np.array([0, 30]))
    assert np.array_equal(alone[0][0, 0], mean[1, 2])
    assert np.array_equal(alone[1][0, 0], variance[1, 2])
    assert fold_cohorts(values[:0], edges)[0].shape == (0, 4, 5)
    assert fold_cohorts(values[:, :0], edges)[1].shape == (3, 4, 0)


def test_how_many_values_by_a_step():
    for first, every in ((0, 1), (0, 3), (4, 3), (7, 10)):
        steps, cadence = np.arange(first, 40, every), Cadence(first, every)
        assert [cadence.until(s) for s in range(-1, 40)] == [int(np.sum(steps <= s)) for s in range(-1, 40)]
        between = [range(*cadence.between(a, b)) for a, b in ((-1, 0), (5, 39), (6, 7))]
        expected = [np.flatnonzero((steps > a) & (steps <= b)) for a, b in ((-1, 0), (5, 39), (6, 7))]
        assert all(np.array_equal(found, right) for found, right in zip(between, expected, strict=True))


def test_only_what_is_kept_is_held():
    for keep, names in (
        (("mean",), {"mean", "square"}),
        (("last",), {"last"}),
        (("histogram",), {"counts"}),
        (("ensemble_mean",), set()),
    ):
        tile = folded(summary_of(keep), drifting(3, 2, 4))
        assert set(tile.lanes | tile.cohorts) == names


SCRIPT = """
import numpy as np
from thermosim.run.fold import TileSummary, fold_cohorts
from thermosim.storage.manifest import Cadence, Summary
keep = ("mean", "variance", "last", "histogram", "correlation")
tile = TileSummary(Summary("x", (2,), Cadence(0, 1), keep, (-1.0, 1.0), 5, 2), 2, 3, np.array([0, 0, 1]))
values = np.random.default_rng(0).normal(size=(6, 2, 3))
values[3, 0, 1] = np.nan
tile.fold(values, 0, 3)
arrays = [*tile.lanes.values(), *tile.cohorts.values(), *fold_cohorts(values, np.array([0, 1, 2]))]
print(" ".join(a.tobytes().hex() for a in arrays))
"""


def test_without_compiler():
    """The interpreted kernels give the same bits: there is no fused arithmetic in them."""
    bits = []
    for off in ("0", "1"):
        environment = os.environ | {"NUMBA_DISABLE_JIT": off}
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT], check=True, env=environment, capture_output=True, text=True
        )
        bits.append([np.frombuffer(bytes.fromhex(part)) for part in run.stdout.split()])
    for one, other in zip(*bits, strict=True):
        assert np.array_equal(one, other, equal_nan=True)
