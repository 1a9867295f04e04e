"""Pictures of learning machines: cases draw what they should, marks are the numbers, nothing missing is fatal."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import thermosim
from tests.assertions import assert_within, mean_and_error
from tests.learning_cases import GAUSSIAN
from thermosim.exact.learning_machine import partial_averages
from thermosim.plots import learning, style
from thermosim.plots.learning_points import points, spread
from thermosim.plots.legends import legend
from thermosim.plots.page import page
from thermosim.plots.samples import _mixture

CASES = Path(__file__).parent.parent / "cases" / "learning"
SHRUNK = {"ensemble.replicas": 12, "run.steps": 20, "record.every": 10, "record.first": 0}

LEDGER, INFORMATION, MEMORY, BALANCE = (
    "since the first frame",
    "learned information",
    "memory",
    "entropy production (nat",
)
LOSS, SAMPLES, IMAGES = "loss", ("$x$", "$x_1$", "component 1", "state"), "samples: one chain a column"
TOTALS = ("mean total work", "mean entropy production", "mean total heat", "mean work since")

EXPECTED = {
    "boltzmann_machine": (LEDGER, INFORMATION, BALANCE, LOSS, "state", "magnetisation", "couplings"),
    "double_well": (LEDGER, INFORMATION, MEMORY, BALANCE, LOSS, "barrier", "cell", "$x$"),
    "gaussian_machine": (LEDGER, INFORMATION, MEMORY, BALANCE, LOSS, "component 1"),
    "mixture": (LEDGER, INFORMATION, BALANCE, LOSS, "$x_1$", "number of", "deviation"),
    "network_ring": (LEDGER, INFORMATION, "minibatch", "network", "weight vector", "$x_1$"),
    "least_dissipation": (*TOTALS, "learned information"),
    "price_of_time": TOTALS,
    "rbm_digits": (LEDGER, "minibatch", "visible", "weights", IMAGES),
    "thermal_machine": (LEDGER, INFORMATION, MEMORY, BALANCE, LOSS, "$x$"),
    "reservoir": ("parameter", "loss on all data", "variance", r"\eta"),
}


def words(figure: Figure) -> list[str]:
    """Labels and titles of each panel."""
    shown = [panel for panel in figure.axes if panel.get_label() != "<colorbar>"]
    return ["\n".join((p.get_xlabel(), p.get_ylabel(), p.get_title(loc="right"))) for p in shown]


def notes(figure: Figure) -> str:
    return figure.get_supxlabel()


def panel_of(figure: Figure, label: str):
    return next(panel for panel, text in zip(figure.axes, words(figure)) if label in text)


SMALL = {"ensemble.replicas": 60}
BOOKS = ["phi", "work", "heat", "log_ratio_x", "status"]  # draw one panel


def simulated(case=GAUSSIAN, **overrides):
    return thermosim.simulate(thermosim.load_case(case, overrides))


@functools.cache
def machine():
    return simulated(**SMALL)


@functools.cache
def in_tau():
    return simulated(**SMALL, sweep={"x.tau": {"values": [1, 2]}})


@functools.cache
def case(name):
    steps = {"run.steps": 8, "record.every": 1} if name in ("reservoir", "price_of_time") else {}
    return simulated(CASES / f"{name}.toml", **SHRUNK | steps)


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.toml")))
def test_cases(name):
    """A case draws its panels, no more and no less, and says why the others are not there."""
    figure = learning.figure(case(name))
    found = words(figure)
    assert len(found) == len(EXPECTED[name]), (found, notes(figure))
    for expected in EXPECTED[name]:
        assert any(expected in text for text in found), (expected, found)
    assert ("No memory" in notes(figure)) == (name in ("mixture", "network_ring", "rbm_digits", "boltzmann_machine"))


def test_marks_are_the_ledger():
    ds = machine()[BOOKS]
    panel = panel_of(learning.figure(ds), LEDGER)
    measured = {container.get_label(): container.lines[0].get_xydata() for container in panel.containers}
    work = measured[r"work $\langle w\rangle$"]
    assert work[-1, 0] == ds.step[-1]
    np.testing.assert_allclose(work[-1, 1], ds.work.isel(step=-1).mean(), rtol=1e-12)
    error = panel.containers[0].lines[2][0].get_segments()[-1]
    size = ds.sizes["replica"]
    np.testing.assert_allclose(np.ptp(error[:, 1]) / 2, ds.work.isel(step=-1).std(ddof=1) / np.sqrt(size), rtol=1e-9)


def test_dashed_line_is_the_sum_of_divergences():
    """Of the models that theta passed at the largest tau, where the work tends to it; at tau = 1 it is far from it."""
    overrides = {"sweep": {"x.tau": {"values": [1, 256]}}, "ensemble.replicas": 300}
    ds = thermosim.simulate(thermosim.load_case(CASES / "price_of_time.toml", overrides))
    panel = panel_of(learning.figure(ds), "mean total work")
    dashed = next(line for line in panel.lines if line.get_linestyle() == "--").get_ydata()
    theta = ds.theta.isel(tau=-1).transpose("step", "replica", "theta_dim").values
    averages = partial_averages(theta[..., :2], np.exp(theta[..., 2:]))
    np.testing.assert_allclose(dashed, averages.divergence[-1].mean(), rtol=1e-9)
    work, error = mean_and_error(ds.work.isel(step=-1).transpose("tau", "replica").values)
    mistake = work[0] - dashed[0]
    assert_within(work[1], error[1], dashed[0], catches="the sum of another quantity", mistake=mistake)


def test_there_and_back():
    overrides = {"run.direction": "there-and-back", "run.steps": 12, "record.every": 1}
    ds = simulated(**SMALL, **overrides)
    panel = panel_of(learning.figure(ds), "mean distance")
    first = panel.containers[0].lines[0].get_xydata()
    gap = ds.theta.sel(step=12) - ds.theta.sel(step=0)
    np.testing.assert_allclose(first[0], [0, np.sqrt((gap**2).sum("theta_dim")).mean()], rtol=1e-12)
    values = {"theta.learning_rate": {"values": [0.01, 0.1]}, "theta.batch": {"values": [1, 4, 2]}}
    several = simulated(**SMALL, **overrides, sweep=values)
    figure = learning.figure(several)
    assert len(panel_of(figure, "mean distance").containers) == 4
    colours = next(bar for panel in figure.axes if (bar := style.bar_of(panel)) is not None)
    ends = several.theta.sel(step=12) - several.theta.sel(step=0)
    distance = np.sqrt((ends**2).sum("theta_dim")).mean("replica").transpose("batch", "learning_rate").sortby("batch")
    np.testing.assert_allclose(colours.mappable.get_array(), distance, rtol=1e-12)


@pytest.mark.parametrize(
    "values",
    [{"theta.learning_rate": [0.05, 0.2]}, {"x.dynamics": ["ula", "mala"]}, {"x.tau": [1, 2], "theta.batch": [1, 4]}],
)
def test_sweeps(values):
    ds = simulated(**SMALL, sweep={key: {"values": value} for key, value in values.items()})
    found = words(learning.figure(ds))
    for expected in TOTALS + (() if "x.tau" in values else (INFORMATION, LOSS)):
        assert any(expected in text for text in found), expected


@pytest.mark.parametrize(
    ("names", "panels"),
    [
        (["theta"], 3),  # L-info, M-info, and the data
        (["x", "phi"], 1),
        (["phi", "work", "heat", "log_ratio_x"], 1),
        (["minibatch_loss"], 1),
        (["status"], 0),
    ],
)
def test_what_is_not_recorded_is_not_drawn(names, panels):
    ds = machine()
    few = ds[[*names, "status"]]
    figure = learning.figure(few)
    assert len(words(figure)) == max(panels, 0)
    assert ("No samples" in notes(figure)) == (not {"x", "theta"} & set(names))


def test_no_minibatches():
    """Without samples and without the noise of minibatches two panels are left, and the reason."""
    overrides = {"run.steps": 8, "record.every": 1, "sweep": {}, "theta.batch": "all", "ensemble.replicas": 3}
    ds = thermosim.simulate(thermosim.load_case(CASES / "reservoir.toml", overrides))
    figure = learning.figure(ds)
    assert len(words(figure)) == 2
    assert "No noise of minibatches" in notes(figure)


@pytest.mark.parametrize(
    "cut",
    [
        lambda ds: ds.isel(replica=slice(1)),
        lambda ds: ds.isel(step=[-1]),
        lambda ds: ds.isel(step=[0]),
        lambda ds: ds.isel(step=slice(2), replica=slice(2)),
    ],
    ids=["one replica", "last frame", "first frame", "two of each"],
)
@pytest.mark.parametrize("ensemble", [machine, in_tau], ids=["run", "sweep"])
def test_little(cut, ensemble):
    learning.figure(cut(ensemble()))


def test_diverged_replicas_are_left_out():
    """The ledger is that of the others, and the figure says how many are missing."""
    ds = machine()[BOOKS]
    bad = ds.replica < 3
    broken = ds.where(~bad)
    broken["status"], broken.attrs = ds.status.where(~bad, 1), ds.attrs
    figure = learning.figure(broken)
    assert "3 of 60 replicas diverged" in notes(figure)
    work = panel_of(figure, LEDGER).containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(work[-1], ds.work.isel(step=-1)[3:].mean(), rtol=1e-12)
    broken["status"] = ds.status + 1
    assert words(learning.figure(broken)) == []


def test_data_that_are_gone(monkeypatch):
    """Without its data a run still shows what it recorded."""
    ds = machine()[["x", "theta", "status"]]

    def gone(*_):
        raise ValueError("no such file")

    monkeypatch.setattr("thermosim.data.sources.data_of", gone)
    figure = learning.figure(ds)
    assert any("$x_1$" in text for text in words(figure))


def test_states_are_those_of_the_data(monkeypatch):
    """Frequencies of the data, from the largest on, which add up to one where all states are listed."""
    monkeypatch.setattr("thermosim.plots.samples._LISTED", 256)
    ds = case("boltzmann_machine")[["x", "theta", "status"]]
    panel = panel_of(learning.figure(ds), "state")
    data = np.nan_to_num(panel.patches[0].get_data().values)
    assert np.all(np.diff(data) <= 0.0)
    np.testing.assert_allclose(data.sum(), 1.0)
    samples, model = (next(line for line in panel.lines if line.get_label().startswith(name)).get_ydata()
                      for name in ("samples", "mean of"))  # fmt: skip
    np.testing.assert_allclose([np.nansum(samples), model.sum()], 1.0, rtol=1e-9)
    rows = points(ds)[0].machine.data.values
    assert np.max(data) == np.unique(rows, axis=0, return_counts=True)[1].max() / len(rows)


@pytest.mark.parametrize("name", ["double_well", "network_ring"])
def test_mean_density_is_normalised(name):
    point = points(case(name).isel(replica=slice(3)))[0]
    axis = np.linspace(-8.0, 8.0, 201)
    n = point.machine.evaluator.components
    grid = np.stack(np.meshgrid(*[axis] * n), axis=-1).reshape(-1, n)
    density = _mixture(point, grid)
    assert density is not None
    np.testing.assert_allclose(density.sum() * (axis[1] - axis[0]) ** n, 1.0, rtol=1e-3)


def test_legends_cover_and_stretch_nothing():
    x = np.linspace(0.0, 1.0, 40)
    curves = {"rising": x**2, "falling": -x, "hump": np.sin(np.pi * x), "band": 0 * x, "noise": np.cos(999 * x)}
    limits = []

    def draw(panel, name):
        y = curves[name]
        style.data(panel, x, y, 0.1 * np.ones_like(x), label="measured values")
        style.data(panel, x, y, label="not valid")
        if name == "band":
            panel.fill_between(x, y - 1.0, y + 1.0, label="one standard deviation")
        panel.plot(x, y, label=r"theory, $\Sigma_{X|\Theta}$")
        panel.set(xlabel="x", ylabel="y")
        limits.append(panel.get_ylim())
        legend(panel)

    with style.style():
        figure = page("", [functools.partial(draw, name=name) for name in curves])
        figure.draw_without_rendering()
    for panel, limit, (name, y) in zip(figure.axes, limits, curves.items(), strict=True):
        box = panel.get_legend().get_window_extent()
        pixels = panel.transData.transform(np.stack([x, y + (1.0 if name == "band" else 0.1)], axis=1))
        assert not any(box.contains(*pixel) for pixel in pixels), name
        assert panel.get_ylim() == limit
        assert figure.bbox.contains(box.x0, box.y0), name
        assert figure.bbox.contains(box.x1, box.y1), name
        assert panel.get_legend().get_texts()[-1].get_text() == "not valid"


@pytest.mark.parametrize(
    ("length", "most"), [(61, 12), (41, 12), (21, 12), (21, 7), (2, 12), (1, 12), (100, 12), (7, 7)]
)
def test_frames_are_spread_evenly(length, most):
    frames = spread(length, most)
    assert frames[0] == 0
    assert frames[-1] == length - 1
    assert len(frames) <= most
    assert len(frames) > min(length, most) // 2
    if length != 100:
        assert len(set(np.diff(frames))) <= 1
