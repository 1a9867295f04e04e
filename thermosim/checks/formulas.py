"""Models by formula against what quadrature knows of exp(-phi/T): theorems whose free energies are its normalisers.

    moves that keep each equilibrium      <exp(-(w - dF)/T)> = 1,  dF = -T ln Z(theta_t)/Z(theta_0)
    any move that books its exact ratio   <exp(-Sigma)> = 1,  Sigma = log ratio + ln p_0(x_0) - ln p_t(x_t)

p_t is the equilibrium at theta_t, which need not be the law of x_t. Of one and two components, from equilibrium or from
a normal start. Sources: C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997); U. Seifert, Phys. Rev. Lett. 95, 040602 (2005).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.settings import axes
from thermosim.checks.exponential import exponential_average
from thermosim.checks.first_law import BOOKS, first_law
from thermosim.checks.means import is_nearly_normal, mean_comparison

if TYPE_CHECKING:
    from thermosim.models.formula.quadrature import Law

__all__ = ["advice", "check"]

_FRAMES, _FRAMES_OF_ALL = 12, 600  # at which the normaliser is computed: of a point, of all points together
_COST = {1: 1, 2: 8}  # of quadrature, by components


def check(ds: xr.Dataset) -> list[Comparison]:
    """The first law, the theorems, and where theta rests the moments of x."""
    comparisons = [first_law(ds)] if set(ds) >= BOOKS else []
    everyone = machines(ds)
    if _why_not(ds, everyone):
        return comparisons
    points = len(everyone)
    some = max(2, min(_FRAMES, _FRAMES_OF_ALL // points // _COST[everyone[0].model.components(everyone[0].constants)]))
    few = ds.isel(step=np.unique(np.linspace(0, ds.sizes["step"] - 1, some).astype(int)))
    everyone = machines(few)
    laws = [_laws(machine) for machine in everyone]
    invariant = all(machine.x_move.invariant for machine in everyone)
    in_equilibrium = all(machine.settings.of_x.starts_in_equilibrium for machine in everyone)
    if invariant and in_equilibrium and "work" in few:
        comparisons += _work(few, everyone, laws)
    elif {"x", "log_ratio_x"} <= set(few):  # of moves in detailed balance from equilibrium it is the same number
        comparisons += _theorem(few, everyone, laws)
    if invariant and in_equilibrium and "x" in few and all(machine.theta_move.rests for machine in everyone):
        comparisons += _moments(few, everyone, laws)
    return comparisons


def advice(ds: xr.Dataset) -> list[str]:
    """What is not compared, and why."""
    why = _why_not(ds, machines(ds))
    return [f"{why}: only the first law is compared."] if why else []


def _why_not(ds: xr.Dataset, everyone: list[Machine]) -> str:
    """Why no law is known by quadrature."""
    for machine in everyone:
        x, model = machine.settings.x, machine.model
        if x is None or model.components(machine.constants) > 2:
            return "x has more than two components, whose normaliser is not computed"
        if model.drive is not None:
            return "x is driven by a force that is no gradient"
        if not isinstance(x.temperature, (int, float)) or x.temperature <= 0.0:
            return "x has no single temperature above 0"
        if x.restart or not (x.starts_in_equilibrium or x.start.has_density):
            return "x starts from no known density; x.initial = 'equilibrium' has one"
        if "theta" not in ds and not machine.theta_move.rests:
            return "theta was not recorded"
    if int(ds["step"][0]) != 0 or ds.sizes["step"] < 2:
        return "step 0, or any other, was not recorded"
    from thermosim.models.formula.quadrature import NoNormaliser

    try:
        for machine in everyone[:1]:
            _law(machine, 0)
    except NoNormaliser as error:
        return str(error)
    return ""


def _law(machine: Machine, frame: int) -> Law:
    """exp(-phi/T)/Z at the theta of a frame, the same in all replicas."""
    if "theta" in machine.frames:
        theta = machine.theta(frame)[0]
    else:
        groups = machine.model.groups(machine.constants)
        theta = np.concatenate([*(np.ravel(group.default(machine.constants)) for group in groups), np.zeros(0)])
    from thermosim.models.formula.laws import law_at

    assert machine.temperature is not None
    return law_at(machine.model.formula, machine.constants, theta, machine.temperature)


def _laws(machine: Machine) -> list[Law]:
    return [_law(machine, frame) for frame in range(machine.frames.sizes["step"])]


def _gathered(ds: xr.Dataset, everyone: list[Machine], of: Callable[[int, Machine], np.ndarray]) -> xr.DataArray:
    """An array like log_ratio_x or work, filled at each point; `of` gives (step, replica, sample)."""
    like = ds["log_ratio_x"] if "log_ratio_x" in ds else ds["work"]
    out = xr.full_like(like, np.nan, dtype=float)
    for number, machine in enumerate(everyone):
        values = of(number, machine)
        values = values if "sample" in like.dims else values[..., 0]
        here = out[dict(machine.index)]
        dims = [name for name in ("step", "replica", "sample") if name in like.dims]
        out[dict(machine.index)] = xr.DataArray(values, dims=dims).transpose(*here.dims)
    return out


def _work(ds: xr.Dataset, everyone: list[Machine], laws: list[list[Law]]) -> list[Comparison]:
    exponent = xr.zeros_like(ds["work"])
    for machine, of_frames in zip(everyone, laws):
        index, temperature = dict(machine.index), float(machine.temperature or np.nan)
        gain = np.array([of_frames[0].log_normaliser - one.log_normaliser for one in of_frames])
        part = ds["work"].isel(index) / temperature - xr.DataArray(gain, dims="step")
        exponent[index] = part.transpose(*exponent[index].dims)
    reference = "Jarzynski's equality, dF of normalisers by quadrature: moves leave each equilibrium invariant"
    return exponential_average(ds, exponent, "<exp(-(work - dF)/T)>", reference)


def _theorem(ds: xr.Dataset, everyone: list[Machine], laws: list[list[Law]]) -> list[Comparison]:
    def end(number: int, machine: Machine) -> np.ndarray:
        frames = range(machine.frames.sizes["step"])
        return np.stack([laws[number][k].log_density(np.moveaxis(machine.x(k), -1, 0)) for k in frames])

    def start(number: int, machine: Machine) -> np.ndarray:
        x = np.moveaxis(machine.x(0), -1, 0)
        begin = machine.settings.of_x
        if begin.starts_in_equilibrium:
            density = laws[number][0].log_density(x)
        else:
            mean, deviation = (np.reshape(part, (-1, 1, 1)) for part in (begin.start.mean, begin.start.deviation))
            terms = -0.5 * ((x - mean) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2.0 * np.pi)
            density = np.broadcast_to(terms, x.shape).sum(axis=0)
        return np.broadcast_to(density, (machine.frames.sizes["step"], *density.shape))

    exponent = ds["log_ratio_x"] + _gathered(ds, everyone, start) - _gathered(ds, everyone, end)
    reference = "integral fluctuation theorem to the equilibrium of theta, normalisers by quadrature; at any time step"
    return exponential_average(ds, exponent, "<exp(-Sigma)>", reference)


def _moments(ds: xr.Dataset, everyone: list[Machine], laws: list[list[Law]]) -> list[Comparison]:
    last, step = ds["x"].isel(step=-1), int(ds["step"][-1])
    shape = [ds.sizes[name] for name in axes(ds)]
    comparisons = []
    for power in (1, 2):
        exact = np.stack([of[-1].mean(lambda x, power=power: x**power) for of in laws])  # type: ignore[misc]
        quantity = f"mean of x{'' if power == 1 else '^2'} at step {step}"
        reference = "exp(-phi/T)/Z by quadrature, which the moves leave invariant"
        wanted = exact.reshape(*shape, -1)
        found = mean_comparison(ds, quantity, last**power, wanted, reference, "x_dim")
        comparisons += [found] if is_nearly_normal(found) else []
    return comparisons
