"""Summaries of whole runs: what the engine folds is what numpy makes of all the frames, however the run is cut."""

import itertools

import numpy as np
import pytest

import thermosim
from thermosim import analysis, cohorts
from thermosim.plots.picture import picture
from thermosim.run.execution import Interrupted

EVERYTHING = """
[record]
every = 7
variables = ["work"]
storage = "float32"
[record.x]
first = 2
every = 3
keep = ["frames", "mean", "variance", "last", "histogram", "correlation", "ensemble_mean", "ensemble_variance"]
storage = "float64"
range = [-1.5, 2.0]
bins = 20
lags = 5
[record.heat]
keep = ["mean"]
"""


@pytest.fixture
def summarised(trap):
    return thermosim.load_case(trap.replace("[record]\nevery = 7\n", EVERYTHING))


@pytest.fixture
def frames(trap):
    """All frames of the same run."""
    return thermosim.simulate(thermosim.load_case(trap, {"record.every": 1}))


def test_summaries_are_those_of_the_frames(summarised, frames):
    ds = thermosim.simulate(summarised)
    x = frames.x.sel(step=range(2, 102, 3))
    assert np.array_equal(ds.x, x)
    assert ds.x.dims == ("x_step", "replica", "x_dim")
    assert np.array_equal(ds.x_step, x.step)
    assert np.allclose(ds.x_mean, x.mean("step"), rtol=0, atol=1e-13)
    assert np.allclose(ds.x_variance, x.var("step", ddof=1), rtol=1e-12)
    assert np.array_equal(ds.x_last, x.isel(step=-1))
    assert np.allclose(ds.heat_mean, frames.heat.sel(step=range(0, 102, 7)).mean("step"), atol=1e-12)
    centred = (x - x.mean("step")).values
    for lag in range(6):
        expected = (centred[: len(centred) - lag] * centred[lag:]).sum(0) / (len(centred) - lag)
        assert np.allclose(ds.x_autocovariance[..., lag], expected, atol=1e-12)
    assert np.array_equal(ds.x_lag, 3 * np.arange(6))


def test_cohorts_are_runs_of_replicas(summarised, frames):
    ds, edges = thermosim.simulate(summarised), cohorts.bounds(200)
    x = frames.x.sel(step=range(2, 102, 3)).values
    assert np.array_equal(ds.cohort_replicas, np.diff(edges))
    for cohort, (first, last) in enumerate(itertools.pairwise(edges)):
        mine = x[:, first:last]
        assert np.allclose(ds.x_ensemble_mean[:, cohort], mine.mean(1), atol=1e-13)
        assert np.allclose(ds.x_ensemble_variance[:, cohort], mine.var(1, ddof=1), rtol=1e-12)
        for dim in range(2):
            counts, _ = np.histogram(mine[..., dim], np.linspace(-1.5, 2.0, 21))
            assert np.array_equal(ds.x_histogram[cohort, dim], counts)
            beyond = [(mine[..., dim] < -1.5).sum(), (mine[..., dim] >= 2.0).sum()]
            assert np.array_equal(ds.x_outside[cohort, dim], beyond)
    assert ds.x_outside.sum() > 100  # the range leaves something out


def test_frames_in_single_precision(summarised, frames):
    ds = thermosim.simulate(summarised)
    assert ds.work.dtype == np.float32
    assert ds.x.dtype == np.float64
    assert np.array_equal(ds.work, frames.work.sel(step=ds.step).astype(np.float32))


def test_summaries_do_not_depend_on_how_a_run_is_cut(summarised, tmp_path):
    whole = thermosim.simulate(summarised, tmp_path / "whole.h5").load()
    cuts = [
        {"tile_width": 32, "segment_frames": 1, "threads": 2},
        {"lanes_at_once": 37, "segment_frames": 3},
        {"threads": 1, "tile_width": 96, "lanes_at_once": 64},
    ]
    for number, how in enumerate(cuts):
        path = tmp_path / f"{number}.h5"
        thermosim.simulate(summarised, path, **how).close()
        assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes(), how

    def stop(progress):
        if progress.done > 9000:
            raise KeyboardInterrupt

    path = tmp_path / "stopped.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(summarised, path, report=stop, segment_frames=2, lanes_at_once=90)
    running = thermosim.open_ensemble(path)
    done = running.x_last.notnull().all("x_dim")
    assert 0 < int(done.sum()) < 200  # some lanes have not begun
    thermosim.resume(path, threads=1).close()
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert int(whole.x_histogram.sum() + whole.x_outside.sum()) == 34 * 200 * 2


def test_a_diverged_replica_is_nan_in_its_own_summaries_only(trap):
    """It is counted nowhere from there on, and the mean of its cohort is NaN rather than that of the survivors."""
    record = EVERYTHING.replace('["work"]', "[]").replace("[record.heat]", "[record.phi]")
    moves = trap.replace(
        'kind = "linear", initial = [0.0, 0.0], final = [2.0, 1.0]', 'kind = "constant", value = [0.0, 0.0]'
    )
    text = moves.replace("[record]\nevery = 7\n", record)
    warm, hot = 1.0, 1.6e307  # phi overflows where x is more than a standard deviation away
    ds = thermosim.simulate(thermosim.load_case(text + f'[sweep]\n"x.temperature" = {{ values = [{warm}, {hot}] }}\n'))
    lost = ds.status.sel(temperature=hot) != 0
    assert not (ds.status.sel(temperature=warm) != 0).any()
    assert int(lost.sum()) > 50
    assert np.array_equal(np.isnan(ds.x_mean.sel(temperature=hot)).all("x_dim"), lost)
    assert np.isfinite(ds.x_mean.sel(temperature=warm)).all()
    by_cohort = np.add.reduceat(lost.values, cohorts.bounds(200)[:-1]) > 0
    last = ds.x_ensemble_mean.sel(temperature=hot).isel(x_step=-1)
    assert np.array_equal(np.isnan(last).all("x_dim"), by_cohort)
    counted = ds.x_histogram.sum(["cohort", "x_bin"]) + ds.x_outside.sum(["cohort", "x_side"])
    assert (counted.sel(temperature=warm) == 34 * 200).all()
    assert (counted.sel(temperature=hot) < 34 * 200).all()


SUMMARIES = """
title = "summaries alone"
[model]
name = "gaussian"
dimension = 1
[theta]
dynamics = "sgd"
learning_rate = 0.1
batch = 2
spread = 0.2
[x]
dynamics = "exact"
[data]
source = "gaussian"
rows = 20
[ensemble]
replicas = 150
seed = 3
[run]
steps = 20
[record]
variables = []
[record.theta]
keep = ["mean", "variance", "ensemble_mean"]
every = 5
"""


def test_summaries_alone_are_no_complaint():
    """What was not to be recorded is not missed: what is there is compared, or it is said what to record."""
    ds = thermosim.simulate(thermosim.load_case(SUMMARIES))
    report = thermosim.check(ds)
    assert report.verdict is None
    assert report.why_nothing.startswith("Nothing to compare: no frames were kept")
    assert "record.variables some of theta, x, phi, work, heat" in report.why_nothing
    assert not report.notes
    assert picture(ds).axes
    with pytest.raises(
        ValueError, match=r"needs frames of theta, and of theta there is only what a table of \[record\]"
    ):
        analysis.memory(ds)
    frames = {"record.variables": ["phi", "work", "heat"]}
    report = thermosim.check(thermosim.simulate(thermosim.load_case(SUMMARIES, frames)))
    assert report.consistent
    assert {row.quantity for row in report.comparisons} >= {"largest first-law residual"}
    assert not report.notes


def test_nothing_that_can_be_compared_says_what_to_record():
    ds = thermosim.simulate(thermosim.load_case(SUMMARIES, {"record.variables": ["minibatch_loss"]}))
    assert "can also record theta, x, phi, work, heat" in thermosim.check(ds).why_nothing
