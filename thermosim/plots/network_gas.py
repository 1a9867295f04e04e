"""Scale-invariant networks as a gas: energy, radius, temperature, equation of state and turns of a step.

Marks are measured, against the effective learning rate, one curve for each weight decay or radius. Lines are what the
measured g_t^2 makes of them in a stationary state (`analysis.network_gas`); an unswept run is shown along its steps.

Source: I. Sadrtdinov et al., arXiv:2511.07308.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thermosim.analysis.network_gas import Gas, gases, network_gas
from thermosim.analysis.settings import axes, settings
from thermosim.plots import style
from thermosim.plots.labels import label, named
from thermosim.plots.legends import legend
from thermosim.plots.maps import swept_axes
from thermosim.plots.page import Draw, page

__all__ = ["kind"]

_MOST = 5  # curves
_RATE = r"effective learning rate $\eta_{\rm eff}$"
_LINES = "Lines: stationary state with the measured $g_t^2$."
_DRIFTS = "Grey: loss or radius of the two halves of the record differ."


@dataclass(frozen=True)
class _Curve:
    """Points along the main axis: their places in the flat sweep, and what they are called."""

    places: np.ndarray
    label: str
    look: style.Look


def kind(ds: xr.Dataset) -> Figure | None:
    """The picture, where the run is one of scale-invariant networks under a constraint."""
    there = gases(ds)
    if not there or ds.sizes["replica"] < 2:
        return None
    with style.style():
        swept = swept_axes(ds)
        draws = _in_time(there[0]) if not swept else _over_sweep(ds, there)
        still = all(gas.is_stationary for gas in there)
        notes = [_size(there[0]), "" if still or not swept else _DRIFTS]
        return page(settings(ds).title or "A scale-invariant network as a gas", draws, notes, exact=_LINES)


def _size(gas: Gas) -> str:
    return f"{gas.machine.model.name}, {gas.constraint}, D = {_parameters(gas):,}."


def _over_sweep(ds: xr.Dataset, there: Sequence[Gas]) -> list[Draw]:
    found = network_gas(ds)
    curves = _curves(ds)
    values = {str(name): np.ravel(found[name].transpose(*axes(ds)).values) for name in found.data_vars}
    rates, decays = (np.array([getattr(gas, key) for gas in there]) for key in ("rate", "decay"))
    eta, gradient, held = values["effective_learning_rate"], values["gradient"], there[0].constraint == "fixed-sphere"
    law = None if held else np.sqrt(eta * gradient / (2.0 * decays - rates * decays**2 * _of_length(there, values)))

    def panel(name: str, words: str, line: np.ndarray | None = None, logarithmic: bool = True) -> Draw:
        return lambda area: _quantity(area, values, curves, name, words, line, logarithmic)

    draws = [
        panel("U", label("internal energy $U$", "energy")),
        panel("gradient", label(r"$g_t^2 = \langle|w|^2|g|^2\rangle$", "energy^2")),
    ]
    draws += [] if held else [panel("radius", label("radius $r$"), law)]
    if held and "pressure" in values:
        draws.append(panel("pressure", label("pressure $p$", "energy"), eta * gradient / (2.0 * values["radius"] ** 2)))
    if "temperature" in values:
        of_all = eta * gradient / (2.0 * (_parameters(there[0]) - 1))
        draws.append(panel("temperature", label(r"temperature $\eta_{\rm eff}\sigma^2/2$", "energy"), of_all))
    if "balance" in values:
        draws.append(lambda area: _state(area, values, curves))
    if "turn" in values:
        turn = np.sqrt(2.0 * rates * decays) if there[0].constraint == "fixed-lr" else eta * np.sqrt(gradient)
        draws.append(panel("turn", label("turn of a step (rad)"), turn))
    return draws


def _of_length(there: Sequence[Gas], values: dict[str, np.ndarray]) -> np.ndarray:
    """|w|^2 where the rate is an effective one, else 1: what r lambda is times."""
    return np.ones(len(there)) if there[0].constraint == "fixed-lr" else values["radius"] ** 2


def _parameters(gas: Gas) -> int:
    machine = gas.machine
    return sum(int(np.prod(group.shape(machine.constants))) for group in machine.model.groups(machine.constants))


def _curves(ds: xr.Dataset) -> list[_Curve]:
    """Along the learning rate, or the first axis that is swept; of the others a few values."""
    swept = [axis.name for axis in swept_axes(ds)]
    main = "learning_rate" if "learning_rate" in swept else swept[0]
    sizes = [ds.sizes[name] for name in axes(ds)]
    places = np.moveaxis(np.arange(int(np.prod(sizes))).reshape(sizes), axes(ds).index(main), -1)
    table = places.reshape(-1, ds.sizes[main])
    chosen = style.pick(len(table), _MOST)
    found = []
    for look, row in zip(style.looks(len(chosen)), chosen, strict=True):
        index = dict(zip(axes(ds), np.unravel_index(int(table[row][0]), sizes), strict=True))
        others = {name: int(index[name]) for name in swept if name != main}
        found.append(_Curve(table[row], named(ds, others), look))
    return found


def _quantity(
    area: Axes,
    values: dict[str, np.ndarray],
    curves: Sequence[_Curve],
    name: str,
    words: str,
    line: np.ndarray | None,
    logarithmic: bool,
) -> None:
    for curve in curves:
        _marks(area, values, curve, name)
        if line is not None:
            at = curve.places[np.argsort(values["effective_learning_rate"][curve.places])]
            style.theory(area, values["effective_learning_rate"][at], line[at], color=curve.look.color)
    area.set(xlabel=_RATE, ylabel=words)
    style.log_ticks(area, "xy" if logarithmic else "x")
    legend(area)


def _marks(area: Axes, values: dict[str, np.ndarray], curve: _Curve, name: str, words: str | None = None) -> None:
    """Those of points that drift are grey."""
    named_yet = False
    for still in (True, False):
        at = curve.places[values["stationary"][curve.places] == still]
        if len(at):
            look = curve.look if still else style.Look(style.DOUBTFUL, curve.look.mark)
            told = "" if named_yet else (curve.label if words is None else words)
            x, y, error = values["effective_learning_rate"][at], values[name][at], values[f"{name}_error"][at]
            style.data(area, x, y, error, look=look, label=told)
            named_yet = True


def _state(area: Axes, values: dict[str, np.ndarray], curves: Sequence[_Curve]) -> None:
    """The equation of state, with the noise alone where it is known, and with all of g_t^2."""
    both = "pV_over_RT" in values
    for number, curve in enumerate(curves):
        _marks(area, values, curve, "balance", "with $g_t^2$" if number == 0 and both else "")
        if both:
            filled = _Curve(curve.places, curve.label, style.Look(curve.look.color, "x"))
            _marks(area, values, filled, "pV_over_RT", "with the noise $\\sigma^2$" if number == 0 else "")
    area.axhline(1.0, color=style.GREY, lw=1.2, ls="--")
    words = "equation of state $pV/RT$" if both else r"equation of state $pV/(\eta_{\rm eff} g_t^2/4)$"
    area.set(xlabel=_RATE, ylabel=label(words))
    style.log_ticks(area, "x")
    if both:
        legend(area)


def _in_time(gas: Gas) -> list[Draw]:
    """Loss, squared gradient and radius of a single point along its steps."""
    sums: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
        label("internal energy $U$", "energy"): lambda ds: ds["loss_sum"],
        label(r"$g_t^2 = \langle|w|^2|g|^2\rangle$", "energy^2"): lambda ds: ds["gradient_square"],
        label("squared radius $r^2$"): lambda ds: ds["layer_weight_square"].sum("layer"),
    }
    ds = gas.machine.frames
    steps = ds["step"].values
    draws: list[Draw] = []
    for words, of in sums.items():
        rates = np.diff(of(ds).transpose("step", "replica").values, axis=0) / np.diff(steps)[:, None]
        draws.append(lambda area, words=words, rates=rates: _course(area, steps, rates, words))  # type: ignore[misc]
    return draws


def _course(area: Axes, steps: np.ndarray, rates: np.ndarray, words: str) -> None:
    style.band(area, 0.5 * (steps[1:] + steps[:-1]), rates, style.LOSS)
    area.set(xlabel="step", ylabel=words)
