"""What every picture owes its reader: limits that hold all that is drawn, true units, words that are legible."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

import thermosim
from tests.learning_cases import GAUSSIAN
from thermosim.checks.admission import Unfit
from thermosim.plots import labels, style
from thermosim.plots.maps import edges
from thermosim.plots.picture import picture

CASES = Path(__file__).parent.parent / "cases"
LONG = "a price of $5 for x_1, " * 6
TRAP = CASES / "driven/dragged_trap.toml"
SPHERE = CASES / "ideal_gas/fixed_elr.toml"
DIGITS, APART = CASES / "training/digits.toml", CASES / "training/alignment_nonlinear.toml"
FEW = {"ensemble.replicas": 40}
DIGITS_FEW = {"ensemble.replicas": 8, "run.steps": 60, "record.every": 10, "data.rows": 60, "data.test": 40}
GRID = {"x.temperature": {"values": [0.5, 2.0]}, "x.time_step": {"logspace": [0.002, 0.05], "num": 3}}
RATES = {"theta.learning_rate": {"logspace": [0.01, 0.2], "num": 3}, "theta.batch": {"values": [1, 4]}}
PAPER = {name: {"logspace": [1e-3, 1e-1], "num": 3} for name in ("theta.learning_rate", "theta.weight_decay")}
# name: case, changes, variable; and the temperature of the whole picture
ENSEMBLES = {
    "machine": (GAUSSIAN, FEW, None, 1.0),
    "machine, grid": (GAUSSIAN, FEW | {"sweep": RATES}, None, 1.0),
    "machine, loss": (GAUSSIAN, FEW | {"sweep": RATES}, "minibatch_loss", 1.0),
    "machine, one replica": (GAUSSIAN, {"ensemble.replicas": 1, "title": LONG}, None, 1.0),
    "machine, one frame": (GAUSSIAN, FEW | {"record.first": 12}, None, 1.0),
    "trap": (TRAP, FEW | {"run.steps": 50, "x.temperature": 0.5, "title": LONG}, None, 0.5),
    "trap, grid": (TRAP, FEW | {"run.steps": 50, "sweep": GRID}, None, None),
    "trap, theta": (TRAP, FEW | {"run.steps": 50, "sweep": GRID}, "x", None),
    "classes": (DIGITS, DIGITS_FEW, None, None),
    "classes, sweep": (DIGITS, DIGITS_FEW | {"sweep": {"theta.batch": {"values": [4, 64]}}}, None, None),
    "networks that learn apart": (APART, DIGITS_FEW | {"data.test": 70}, None, None),
    "sphere": (SPHERE, {"ensemble.replicas": 8, "run.steps": 100, "record.every": 20, "sweep": PAPER}, None, None),
}


@functools.cache
def ensemble(name):
    case, changes, _, _ = ENSEMBLES[name]
    return thermosim.simulate(thermosim.load_case(case, changes))


@functools.cache
def drawn(name) -> Figure:
    figure = picture(ensemble(name), ENSEMBLES[name][2])
    figure.draw_without_rendering()
    return figure


def panels(figure):
    """Panels, and the colour bars of those that are maps."""
    return [axes for panel in figure.axes for axes in (panel, *panel.child_axes)]


@functools.cache
def words(figure):
    """Texts that are drawn, with their boxes."""
    ticks, shown = set(), set()
    for panel in panels(figure):
        for axis in (panel.xaxis, panel.yaxis):
            every = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            low, high = sorted(axis.get_view_interval())
            ticks |= {label for tick in every for label in (tick.label1, tick.label2)}
            inside = [tick for tick in every if low <= tick.get_loc() <= high]
            shown |= {label for tick in inside for label in (tick.label1, tick.label2)}
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent()) for text in found if text not in ticks or text in shown]


@pytest.mark.parametrize("name", ENSEMBLES)
def test_words_are_legible(name):
    """Nothing lies over other words or is cut off, and nothing is smaller than 6 points."""
    figure, texts = drawn(name), words(drawn(name))
    for k, (text, box) in enumerate(texts):
        assert text.get_fontsize() >= 6.0 or text.get_text() in ("0.1", "1", "10")
        assert figure.bbox.padded(1.0).contains(box.x0, box.y0), text.get_text()
        assert figure.bbox.padded(1.0).contains(box.x1, box.y1), text.get_text()
        for other, there in texts[k + 1 :]:
            width = min(box.x1, there.x1) - max(box.x0, there.x0)
            height = min(box.y1, there.y1) - max(box.y0, there.y0)
            assert width < 1.5 or height < 1.5, (text.get_text(), other.get_text())
    assert figure.get_figwidth() * 2.54 == pytest.approx(17.0) or len(figure.axes) == 1


@pytest.mark.parametrize("name", ENSEMBLES)
def test_limits_hold_what_is_drawn(name):
    """Lines, marks, error bars and bands, also on logarithmic axes; legends stretch nothing."""
    for panel in drawn(name).axes:
        if panel.get_aspect() != "auto" or style.bar_of(panel):  # clouds may lose a few strays, maps have no margins
            continue
        low, high = sorted(panel.get_ylim())
        values = [
            np.asarray(line.get_ydata(), float) for line in panel.lines if line.get_transform() == panel.transData
        ]
        bands = [part for part in panel.collections if isinstance(part, PolyCollection)]
        values += [path.vertices[:, 1] for band in bands for path in band.get_paths()]
        both = np.concatenate([np.ravel(one) for one in values]) if values else np.zeros(0)
        both = both[np.isfinite(both) & ((both > 0.0) | (panel.get_yscale() != "log"))]
        if not both.size or "T^*" in panel.get_ylabel():  # potentials show their wells
            continue
        assert low <= both.min() + 1e-9 * abs(low), panel.get_ylabel()
        assert high >= both.max() - 1e-9 * abs(high), panel.get_ylabel()
        scale = panel.transData.transform([(0.5, one) for one in (low, both.min(), both.max(), high)])[:, 1]
        if panel.get_ylabel() and np.ptp(both) > 0.0 and not panel.patches and not panel.containers:
            assert scale[2] - scale[1] > 0.5 * (scale[3] - scale[0]), panel.get_ylabel()
        if bands and both.min() >= 0.0 and "loss" in panel.get_ylabel():
            assert low >= 0.0


@pytest.mark.parametrize("name", ENSEMBLES)
def test_axes_have_labels_and_true_units(name):
    temperature, figure = ENSEMBLES[name][3], drawn(name)
    for panel in panels(figure):
        bar = panel not in figure.axes
        assert panel.get_xlabel(), panel.get_ylabel()
        assert panel.get_ylabel() or bar, panel.get_xlabel()
    everything = "\n".join(text.get_text() for text, _ in words(figure))
    assert ("kT)" in everything) <= (temperature == 1.0)
    assert ("kT = 0.5" in everything) == (name in ("trap", "trap, grid"))
    assert "Eq." not in everything
    assert "analysis." not in everything
    assert "record" not in everything.replace("recorded", "")


def test_what_marks_and_bands_are_is_said():
    note = drawn("machine").get_supxlabel()
    assert "Points: mean and standard error over 40 replicas" in note
    assert "5 to 95 % of replicas" in note.replace("\n", " ")
    assert "exact" in note
    assert drawn("machine, one replica").get_supxlabel().startswith("One replica")


def test_sweeps_have_maps():
    """Over two axes, on the scales of the sweep, with the mean of each point where it belongs."""
    ds, figure = ensemble("machine, loss"), drawn("machine, loss")
    panel = next(panel for panel in figure.axes if style.bar_of(panel) is not None)
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log" if style.is_logarithmic([1, 4]) else "linear")
    expected = ds.minibatch_loss.isel(step=-1).mean("replica").transpose("batch", "learning_rate")
    np.testing.assert_allclose(panel.collections[0].get_array(), expected, rtol=1e-12)
    assert all(
        sum(style.bar_of(panel) is not None for panel in drawn(name).axes) >= 1 for name in ENSEMBLES if "grid" in name
    )
    assert any(style.bar_of(panel) is not None for panel in drawn("sphere").axes)
    np.testing.assert_allclose(edges(np.array([1.0, 10.0, 100.0]), True), 10.0 ** np.array([-0.5, 0.5, 1.5, 2.5]))


def test_a_title_of_the_users_is_no_mathematics():
    title = drawn("trap").get_suptitle()
    assert "\n" in title
    assert title.replace("\n", " ").replace(r"\$", "$").strip() == LONG.strip()


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_formats(suffix, tmp_path):
    from thermosim.plots.picture import save

    save(drawn("machine, loss"), tmp_path / f"out.{suffix}")
    assert (tmp_path / f"out.{suffix}").stat().st_size > 10_000


def test_a_variable_that_is_not_there():
    with pytest.raises(Unfit, match=r"'los' is not recorded.*minibatch_loss"):
        picture(ensemble("machine"), "los")


@pytest.mark.parametrize(
    ("units", "temperature", "expected"),
    [
        ("energy", 1.0, "work (kT)"),
        ("kT", 0.5, "work (kT)"),
        ("energy", 0.5, "work\n(units of energy, kT = 0.5)"),
        ("nat", 0.5, "work (nats)"),
        ("1", 1.0, "work"),
        ("nm", None, "work (nm)"),
    ],
)
def test_units(units, temperature, expected):
    assert labels.label("work", units, temperature) == expected


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [([1, 2, 4, 8], True), ([1, 2, 3, 4], False), ([0.0, 1.0], False), ([1.0, 10.0], True), ([0.5, 1.0, 2.0], True)],
)
def test_logarithmic_sweeps_are_known(values, logarithmic):
    assert style.is_logarithmic(values) == logarithmic
