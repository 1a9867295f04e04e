"""Panels of one run of a learning machine: ledger, L-info, M-info, entropy production, loss, the model's observables.

Each function does its analysis for a point of a sweep and gives a function that draws it, or None where the run is not
about it. Raises ValueError, with the reason, where it is but cannot be told.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from thermosim.analysis import work
from thermosim.analysis.estimates import replica_mean
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.learning import learning_ledger
from thermosim.analysis.memorised_information import memory as stored_information
from thermosim.analysis.mixtures import support_size
from thermosim.case.faults import CaseError
from thermosim.data.tables import DataError
from thermosim.exact import gaussian_information
from thermosim.exact.learning_machine import Moments
from thermosim.plots import style
from thermosim.plots.energies import largest_residual
from thermosim.plots.labels import label, of_variable, plain, temperature_of
from thermosim.plots.learning_points import Point
from thermosim.plots.legends import legend
from thermosim.plots.page import Draw
from thermosim.plots.style import ENERGY, ENTROPY, HEAT, INFORMATION, LOSS, MEMORY, OTHER, WORK, Look

__all__ = [
    "collected",
    "entropies",
    "exact_line",
    "information",
    "judged",
    "ledger",
    "loss",
    "loss_label",
    "marks",
    "memory",
    "observables",
    "why_not",
]

_BOOKS = {"phi", "work", "heat", "log_ratio_x"}
_NEIGHBOURS = 10  # parameters, at most, for nearest neighbours
_REASON = 220  # characters
_ADVICE = re.compile(r"\w\(\w*\)|\b[a-z_]+\.[a-z_]+\b|\w = |\brecord\b")  # calls, keys of a case
_VISIBLE = 0.01  # distance of bounds, in heights of the panel


def collected(makers: Iterable[tuple[str, Callable[[], Draw | None]]]) -> tuple[list[Draw], list[str]]:
    """What can be drawn, in order, and why the others cannot."""
    draws, why = [], []
    for name, make in makers:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing: they are NaN, and not drawn
                draw = make()
        except (ValueError, CaseError, DataError) as error:
            why.append(why_not(name, error))
        else:
            draws += [] if draw is None else [draw]
    return draws, why


def why_not(name: str, error: Exception) -> str:
    """A sentence: what there is none of, and the reason, without advice on calls and keys, which is not for paper."""
    clauses = re.split(r"(?<=[;:.])\s+", " ".join(str(error).split()))
    reason = " ".join(clause for clause in clauses if not _ADVICE.search(clause)).rstrip(" ;.:")
    reason = textwrap.shorten(reason or "it is not to be had from what is recorded", _REASON, placeholder=" ...")
    return f"No {name}: {plain(reason)}."


def ledger(point: Point) -> Draw | None:
    """Mean work, heat, change of phi and entropy production since the first frame, and the worst first-law residual."""
    if not set(point.ds) >= _BOOKS:
        return None
    _two_frames(point)
    model = point.machine.model
    books = learning_ledger(point.few) if model.normalised or support_size(point.machine) else _books(point.few)
    worst = float(work.first_law_residual(point.ds).max())
    rows = (
        ("work", r"work $\langle w\rangle$", WORK),
        ("heat", r"heat $\langle q\rangle$", HEAT),
        ("energy_change", r"energy $\Delta\langle\varphi\rangle$", ENERGY),
        ("entropy_production", r"entropy production $\langle\sigma\rangle$", ENTROPY),
    )

    def draw(panel: Axes) -> None:
        panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
        for name, words, look in rows:
            if name in books:
                exact_line(panel, point.moments, attrgetter(name), look, change=True)
                start = books[name].isel(step=0)
                marks(panel, books[name] - start, books[f"{name}_error"], look, words)
        temperature = temperature_of(point.ds)
        panel.set(xlabel="step", ylabel=label("since the first frame", "energy", temperature))
        panel.set_title(largest_residual(worst), loc="right")
        legend(panel)

    return draw


def information(point: Point) -> Draw | None:
    """L-info by densities with its bounds, and by the fluctuation theorem, Eq. 44, added to that of the first frame."""
    if "theta" not in point.ds or not point.machine.settings.x:
        return None
    direct = point.information
    theorem, title = _if_possible(point)

    def draw(panel: Axes) -> None:
        low, high = direct["lower_bound"].values, direct["upper_bound"].values
        step, value = direct["step"].values, direct["learned_information"]
        if theorem is not None:
            moved = theorem["learned_information_change"] + float(value[0])
            error = theorem["learned_information_change_error"]
            judged(panel, moved, error, theorem["valid"], ENTROPY, r"from $\Sigma_X-\Sigma_{X|\Theta}$")
            exact_line(panel, point.moments, _exact_change, ENTROPY, ls=(0, (5, 1.5)))
        judged(panel, value, direct["learned_information_error"], direct["valid"], INFORMATION, "from densities")
        exact_line(panel, point.moments, lambda m: _exact_information(point, m), INFORMATION)
        panel.set(xlabel="step", ylabel=label(r"learned information $I(X;\Theta)$", "nat"))
        panel.set_title(title, loc="right")
        bottom, top = panel.get_ylim()
        if np.nanmax(high - low) > _VISIBLE * (top - bottom):
            panel.fill_between(step, low, high, color=INFORMATION.color, alpha=0.2, lw=0, label="bounds")
        legend(panel)

    return draw


def memory(point: Point) -> Draw | None:
    """Change of S(Theta), and the heat that the samples gave off, which Clausius would have it equal (Eq. 49)."""
    if "theta" not in point.ds or not point.machine.settings.data:
        return None
    _two_frames(point)
    normal = stored_information(point.some)
    near = _neighbours(point)
    reference = int(normal["reference_step"].values[0])

    def draw(panel: Axes) -> None:
        panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
        for result, look, words in (
            (normal, MEMORY, r"$\Delta S_\Theta$, normal law"),
            (near, MEMORY._replace(mark="x"), r"$\Delta S_\Theta$, nearest neighbours"),
        ):
            if result is not None:
                change = result["entropy_change"].where(np.isfinite(result["entropy_change"]))
                judged(panel, change, result["entropy_change_error"], result["valid"], look, words)
        exact_line(panel, point.moments, lambda m: _since(m, reference, _entropy(m)), MEMORY)
        if "clausius_entropy_change" in normal:
            released = normal["clausius_entropy_change"].where(normal["step"] >= reference)
            marks(panel, released, normal["clausius_entropy_change_error"], HEAT, r"heat given off, $-Q_X$")
            exact_line(panel, point.moments, lambda m: _since(m, reference, -m.heat), HEAT)
            panel.set_title("Clausius: not equal in general", loc="right")
        panel.set(xlabel="step", ylabel=label(f"memory since step {reference}", "nat"))
        legend(panel)

    return draw


def entropies(point: Point) -> Draw | None:
    """Sigma_X and Sigma_{X|Theta} since the first frame, and their difference (Eqs. 44, 45)."""
    if not set(point.ds) >= _BOOKS | {"theta", "x"}:
        return None
    _two_frames(point)
    balance = point.balance
    rows: tuple[tuple[str, str, Look, Callable[[Moments], Any]], ...] = (
        (
            "marginal_entropy_production",
            r"of samples, $\Sigma_X$",
            OTHER._replace(mark="s"),
            lambda m: _samples_entropy(m) + m.log_ratio,
        ),
        (
            "conditional_entropy_production",
            r"given parameters, $\Sigma_{X|\Theta}$",
            ENTROPY,
            attrgetter("entropy_production"),
        ),
        ("learned_information_change", r"difference $\Delta I$", INFORMATION, _exact_change),
    )

    def draw(panel: Axes) -> None:
        panel.axhline(0.0, color="0.85", lw=0.8, zorder=0)
        for name, words, look, exact in rows:
            exact_line(panel, point.moments, exact, look, change=True)
            sound = balance["valid"] | (name == "conditional_entropy_production")
            judged(panel, balance[name], balance[f"{name}_error"], sound, look, words)
        panel.set(xlabel="step", ylabel=label("entropy production", "nat"))
        panel.set_title(f"$S_X$: {balance.attrs['method']} estimate", loc="right")
        legend(panel)

    return draw


def loss(point: Point) -> Draw | None:
    """Loss of the last minibatch: mean and spread over replicas."""
    if "minibatch_loss" not in point.ds:
        return None
    values = point.ds["minibatch_loss"]
    values = values.sel(step=values["step"] > 0).transpose("step", "replica")  # no minibatch before the first step
    if values.sizes["step"] < 2:
        raise ValueError("one frame is no course in time")
    batch = point.machine.settings.theta.batch
    words = loss_label(point)

    def draw(panel: Axes) -> None:
        style.band(panel, values["step"].values, values.values, LOSS)
        panel.set(xlabel="step", ylabel=words)
        panel.set_title("" if batch == "all" else f"batch size {batch}", loc="right")

    return draw


def loss_label(point: Point) -> str:
    """What the loss of a minibatch is, with its unit."""
    if point.machine.settings.theta.gradient == "contrast":
        return label("energy of minibatch less that of samples", "energy", temperature_of(point.ds))
    if point.machine.model.is_loss:
        return label("loss of minibatch", "energy")
    if not point.machine.model.normalised:
        return label(r"loss of minibatch, without $\ln Z$", "energy", temperature_of(point.ds))
    return label("loss of minibatch", "nat")


def observables(point: Point) -> list[Draw]:
    """The model's own observables, as recorded: mean and spread over replicas."""
    result = []
    for name in point.machine.model.observables:
        if name in point.ds and point.ds.sizes["step"] > 1:
            values = point.ds[name].transpose("step", "replica", ...)
            values = values.mean("sample") if "sample" in values.dims else values
            result.append(_observable(values, of_variable(point.ds, name)))
    return result


def marks(panel: Axes, mean: xr.DataArray, error: xr.DataArray | None, look: Look, words: str, **more: Any) -> None:
    """Measured values at the steps of `mean`."""
    bars = None if error is None else error.values
    style.data(panel, mean["step"].values, mean.values, bars, look=look, label=words, **more)


def judged(
    panel: Axes, mean: xr.DataArray, error: xr.DataArray, valid: xr.DataArray, look: Look, words: str, **more: Any
) -> None:
    """Measured values in colour where they are valid, else in grey."""
    sound = np.asarray(valid.values, bool)
    if sound.any() or not np.isfinite(mean.values).any():
        marks(panel, mean.where(sound), error, look, words, **more)
    doubtful = ~sound & np.isfinite(mean.values)
    if doubtful.any():
        words = f"{words}, not valid" if not sound.any() else "not valid"
        grey = look._replace(color=style.DOUBTFUL)
        marks(panel, mean.where(doubtful), error, grey, words, **({"zorder": 2.5} | more))


def exact_line(
    panel: Axes,
    moments: Moments | None,
    value: Callable[[Moments], Any],
    look: Look,
    change: bool = False,
    **more: Any,
) -> None:
    """A line at the recorded steps of a machine that is exactly known; of the change since the first of them."""
    if moments is not None and len(moments.step) > 1:
        values = np.asarray(value(moments))
        style.theory(panel, moments.step, values - values[0] if change else values, color=look.color, **more)


def _books(ds: xr.Dataset) -> xr.Dataset:
    """The ledger of an energy whose normaliser is not at hand."""
    result = work.work_and_heat(ds)
    mean, error = replica_mean(ds["phi"] - ds["phi"].isel(step=0))
    return result.assign(energy_change=mean, energy_change_error=error)


def _two_frames(point: Point) -> None:
    if point.ds.sizes["step"] < 2:
        raise ValueError("one frame is no course in time")


def _if_possible(point: Point) -> tuple[xr.Dataset | None, str]:
    """The balance of entropy productions, if there is one, and a title."""
    if not set(point.ds) >= _BOOKS | {"x"} or point.ds.sizes["step"] < 2:
        return None, ""
    try:
        return point.balance, "equal once samples relax"
    except ValueError:
        return None, ""  # its own panel says why


def _neighbours(point: Point) -> xr.Dataset | None:
    """The same of few parameters by nearest neighbours, where that is valid at some frame."""
    if len(learned_parameters(point.machine)[0]) > _NEIGHBOURS:
        return None
    try:
        result = stored_information(point.some, "nearest-neighbour")
    except ValueError:
        return None
    return result if bool(result["valid"].any()) else None


def _observable(values: xr.DataArray, words: str) -> Draw:
    def draw(panel: Axes) -> None:
        style.band(panel, values["step"].values, values.values, OTHER)
        panel.set(xlabel="step", ylabel=words)

    return draw


def _since(moments: Moments, reference: int, values: Any) -> np.ndarray:
    """Change of values (F) since the reference step, NaN before it."""
    base = np.asarray(values)[moments.step == reference]
    return np.where(moments.step >= reference, values - base, np.nan) if base.size else np.full(len(values), np.nan)


def _entropy(moments: Moments) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return gaussian_information.entropy(moments.theta_covariance)


def _samples_entropy(moments: Moments) -> np.ndarray:
    """Entropy of x of all replicas, a normal."""
    return gaussian_information.entropy(moments.x_covariance)


def _exact_change(moments: Moments) -> np.ndarray:
    """L-info by the fluctuation theorem: dS_X less the change of mean phi."""
    change = _samples_entropy(moments) - moments.energy_change
    return np.asarray(change - change[0])


def _exact_information(point: Point, moments: Moments) -> Sequence[float]:
    n = moments.theta_mean.shape[1]
    precision = np.exp(point.machine.theta(0)[0, n:])
    return [float(gaussian_information.learned_information(precision, c)) for c in moments.theta_covariance]
