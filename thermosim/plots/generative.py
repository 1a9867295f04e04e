"""Networks that learn a law of x: losses, L-info, work of the jumps of theta, what theta knows of its data, samples.

Samples are exact ones that the analysis draws; points of work and information are means over replicas. Source: S. S.
Parsi, Entropy 26, 112 (2024).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis.fresh_work import work_of_fresh_samples
from thermosim.analysis.information import learned_information
from thermosim.analysis.learning import MEAN_ENERGY, exact_samples
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.path_information import path_information, why_no_bounds
from thermosim.analysis.settings import axes
from thermosim.checks.generative import has_law
from thermosim.data.tables import DataError
from thermosim.plots import style
from thermosim.plots.labels import label
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw, page
from thermosim.plots.samples import image_rows, law

__all__ = ["generative"]

_FRAMES, _MARKS = 9, 21  # of information, and of work
_REPLICAS = 200  # of information and work
_SAMPLES = 2048  # of information, over all replicas
_DRAWN = 1 << 33  # products of a weight and a component that samples take
_BOUNDED, _COLUMNS = 16, 1 << 15  # replicas of bounds, and rows of all their Gram matrices
_ROWS, _COLUMNS_OF_IMAGES = 4, 10


def generative(ds: xr.Dataset) -> Figure | None:
    """The picture of networks with exact ln p(x) and samples; None for any other, and for a sweep."""
    if axes(ds) or not all(has_law(machine) for machine in machines(ds)):
        return None
    (machine,) = machines(ds)
    kinds = (_loss, _players, _information, _work, _theorem, _bounds, _images, _law)
    draws = [draw for kind in kinds if (draw := kind(ds, machine)) is not None]
    if not draws:
        return None
    with style.style():
        return page(str(ds.attrs.get("title", "")), draws, over="replicas")


def _loss(ds: xr.Dataset, machine: Machine) -> Draw | None:
    """-ln p of data, and the loss where that is another number."""
    noisy = machine.evaluator.noisy  # then the loss is a bound of -ln p
    names = [name for name in ("data_surprisal", "full_loss", "minibatch_loss") if name in ds]
    if not machine.model.potential:  # the loss is that of a game, and no bound
        names = [name for name in ("data_surprisal", "test_surprisal") if name in ds][:1]
        noisy = False
    names = names[: 2 if noisy else 1]
    held_out = {"data_surprisal": "test_surprisal", "full_loss": "test_loss"}.get(names[0] if names else "", "")
    names += [held_out] if held_out in ds else []
    if not names or ds.sizes["step"] < 2:
        return None
    words = {
        "data_surprisal": r"$-\ln p$ of all data",
        "full_loss": "loss of all data",
        "minibatch_loss": "loss of a minibatch",
        "test_surprisal": r"$-\ln p$ of rows held out",
        "test_loss": "loss of rows held out",
    }

    several = len(names) > 1

    def draw(panel: Axes) -> None:
        for name, look in zip(names, (style.WORK, style.HEAT, style.ENERGY)):
            some = ds[name].isel(step=slice(int(name == "minibatch_loss"), None))  # the first has none yet
            style.band(
                panel, some["step"], some.transpose("step", "replica").values, look, words[name] if several else ""
            )
        of = {"minibatch_loss": "of a minibatch", "test_surprisal": "of rows held out"}
        what = "" if several else of.get(names[0], "of all data")
        panel.set(xlabel="step", ylabel=label("loss" if noisy else rf"$\langle-\ln p_\theta\rangle$ {what}", "nat"))
        legend(panel)

    return draw


def _players(ds: xr.Dataset, machine: Machine) -> Draw | None:
    """Losses of both players of a game, less what they are where the discriminator cannot tell data from samples."""
    names = ("discriminator_loss", "generator_loss")
    if ds.sizes["step"] < 2 or not set(names) <= set(ds):
        return None

    def draw(panel: Axes) -> None:
        for name, look, times in zip(names, (style.WORK, style.HEAT), (2, 1)):
            values = ds[name].transpose("step", "replica").values - times * np.log(2.0)
            words = f"{name.removesuffix('_loss')}, less {'2 ' if times == 2 else ''}ln 2"
            style.band(panel, ds["step"], values, look, words)
        panel.axhline(0.0, color="0.4", ls=":", lw=1.0)
        panel.set(xlabel="step", ylabel=label("loss of a player", "nat"))
        legend(panel)

    return draw


def _information(ds: xr.Dataset, machine: Machine) -> Draw | None:
    if ds.sizes["replica"] < 2:
        return None
    some = ds.isel(step=style.pick(ds.sizes["step"], _FRAMES), replica=slice(_REPLICAS))
    found = learned_information(some, "nested", max(4, _SAMPLES // some.sizes["replica"]))

    def draw(panel: Axes) -> None:
        style.data(panel, found["step"], found["learned_information"], found["learned_information_error"])
        panel.fill_between(found["step"], found["lower_bound"], found["upper_bound"], color="0.88", label="its bounds")
        panel.set(xlabel="step", ylabel=label(r"L-info $I(X;\Theta)$", "nat"))
        panel.set_ylim(bottom=0.0)
        legend(panel)

    return draw


def _jumps(ds: xr.Dataset, machine: Machine) -> xr.Dataset | None:
    """Work on fresh samples of some replicas, at every step; None where it is not to be had within seconds."""
    if not np.array_equal(machine.steps, np.arange(len(machine.steps))) or len(machine.steps) < 2:
        return None
    some = ds.isel(replica=slice(_REPLICAS))
    evaluator = machine.evaluator
    if some["theta"].size / evaluator.parameters * evaluator.components * evaluator.parameters > _DRAWN:
        return None
    return work_of_fresh_samples(some, divergence=False)


def _work(ds: xr.Dataset, machine: Machine) -> Draw | None:
    found = _jumps(ds, machine)
    if found is None:
        return None

    def draw(panel: Axes) -> None:
        few = found.isel(step=style.pick(found.sizes["step"], _MARKS)[1:])
        style.data(panel, few["step"], few["mean_work"], few["mean_work_error"])
        panel.set(xlabel="step", ylabel=label(r"work on fresh samples $\langle w\rangle$", "nat"))
        panel.set_ylim(bottom=0.0)

    return draw


def _theorem(ds: xr.Dataset, machine: Machine) -> Draw | None:
    found = _jumps(ds, machine)
    if found is None or found.sizes["replica"] < 2:
        return None

    def draw(panel: Axes) -> None:
        few = found.isel(step=style.pick(found.sizes["step"], _MARKS)[1:])
        style.data(panel, few["step"], few["jump_theorem"], few["jump_theorem_error"])
        style.theory(panel, few["step"], np.ones(few.sizes["step"]), color=style.WORK.color)
        panel.set(xlabel="step", ylabel=r"$\langle e^{-w}\rangle$ of one jump")

    return draw


def _bounds(ds: xr.Dataset, machine: Machine) -> Draw | None:
    if why_no_bounds(machine, _COLUMNS // ds.sizes["step"]):
        return None
    found = path_information(ds, replicas=_BOUNDED)
    sets = machine.settings.data.sets if machine.settings.data is not None else 1

    def draw(panel: Axes) -> None:
        few = found.isel(step=style.pick(found.sizes["step"], _MARKS))
        if "information_lower" in few:
            what = r"$I(\Theta;S)$, from below"
            style.data(panel, few["step"], few["information_lower"], few["information_lower_error"], label=what)
            panel.axhline(np.log(sets), color="0.4", ls=":", lw=1.0, label=f"ln {sets}")
        for name, what, look in (
            ("set_bound", "from above: data set and any minibatches", style.MODEL),
            ("minibatch_bound", "from above: minibatches of a set", style.OTHER),
        ):
            if few[name].values.any():
                style.data(panel, few["step"], few[name], few[f"{name}_error"], look=look, label=what)
        panel.set(xlabel="step", ylabel=label("information in theta", "nat"))
        legend(panel)

    return draw


def _law(ds: xr.Dataset, machine: Machine) -> Draw | None:
    if machine.model.discrete or machine.evaluator.components > 2:
        return None
    x = exact_samples(machine, len(machine.steps) - 1, MEAN_ENERGY, max(1, _SAMPLES // ds.sizes["replica"]))
    return law(Point({}, "", ds), x.reshape(-1, x.shape[2]))


def _images(ds: xr.Dataset, machine: Machine) -> Draw | None:
    side = round(machine.evaluator.components**0.5)
    if side * side != machine.evaluator.components or side < 3:
        return None
    frames = style.pick(len(machine.steps), _ROWS)
    few = ds.isel(replica=slice(_COLUMNS_OF_IMAGES))
    (some,) = machines(few)
    rows = [exact_samples(some, frame, MEAN_ENERGY, 1)[:, 0].reshape(-1, side, side) for frame in frames]
    names = [f"step {machine.steps[frame]}" for frame in frames]
    try:
        data = machine.data.of_set(0)
        rows.insert(0, data[np.linspace(0, len(data) - 1, len(rows[0])).astype(int)].reshape(-1, side, side))
        names.insert(0, "data")
    except (ValueError, DataError, OSError):
        pass
    return partial(image_rows, rows=rows, names=names, title="exact samples: one replica a column")
