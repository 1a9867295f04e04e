"""Work, heat and entropy of an ensemble, and the fluctuation theorems they obey: Dataset in, Dataset out.

    Jarzynski   <e^{-w/T}> = e^{-dF/T}                            any frame of a protocol that starts in equilibrium
    integral    <e^{-Sigma}> = 1,  Sigma = sum ln p(x'|x)/p(x|x') + ln p_0(x_0) - ln p_end(x_t)
    Crooks      ln P_F(w)/P_R(-w) = (w - dF)/T                    a protocol and its reverse, both from equilibrium

Every estimate X comes with its standard error X_error, and `estimates.interval` gives its 95 % interval. Errors are
over independent replicas (samples of one replica are averaged first); nothing is averaged over correlated times. The
attribute `condition` of each variable says when it is exact. Exponential averages live on rare replicas: they come with
the effective sample size (sum w)^2/sum w^2, and `reliable` is false where replicas are too few for their interval.

Sources: C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997); U. Seifert, Phys. Rev. Lett. 95, 040602 (2005); G. E. Crooks,
Phys. Rev. E 60, 2721 (1999).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.acceptance_ratio import acceptance_ratio, crooks_line
from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, put_mean, replica_mean, require
from thermosim.analysis.exponential_averages import exponential_average, put_reliability, why_work_theorem_fails
from thermosim.analysis.machine import machines
from thermosim.analysis.replicas import seeds, since
from thermosim.analysis.settings import axes, each_point, number, setting, settings
from thermosim.analysis.skewed_means import FEWEST_FOR_MEAN

__all__ = [
    "crooks",
    "entropy_production",
    "first_law_residual",
    "heat_currents",
    "integral_fluctuation_theorem",
    "jarzynski",
    "work_and_heat",
]

_RATIO = "any move that books its exact transition ratio, at any time step"
_SHARED = 5.0  # works that forward and reversed ensemble could both have made
_TOLD = 4.0  # standard errors of a slope that has a zero
_BOOKS = "any move, at any time step: the books are exact; the mean is that of the finite-step chain"


@of_survivors
def work_and_heat(ds: xr.Dataset) -> xr.Dataset:
    """Mean work, heat, log ratio and shadow (log ratio + heat/T) since step 0, and the largest first-law residual.

    dims step and the sweep axes; the residual is that of phi - work - heat between the first frame and each, over all
    replicas. The shadow is absent when there is no single temperature.
    """
    require(ds, "phi", "work", "heat", "log_ratio_x")
    result = xr.Dataset()
    put_mean(result, "work", ds["work"], "energy", "mean work since step 0", _BOOKS)
    put_mean(result, "heat", ds["heat"], "energy", "mean heat absorbed since step 0", _BOOKS)
    put_mean(result, "log_ratio", ds["log_ratio_x"], "nat", "mean log path ratio since step 0", _RATIO)
    temperature = _temperature(ds)
    if temperature is not None:
        shadow = ds["log_ratio_x"] + ds["heat"] / temperature
        put_mean(result, "shadow", shadow, "nat", "log ratio + heat/T, zero for a move in detailed balance", _RATIO)
    result["first_law_residual"] = first_law_residual(ds)
    return result


def first_law_residual(ds: xr.Dataset) -> xr.DataArray:
    """Largest |d phi - work - heat| over replicas since the first frame: dims step and the sweep axes."""
    require(ds, "phi", "work", "heat")
    gap = ds["phi"] - ds["work"] - ds["heat"]
    residual = abs(gap - gap.isel(step=0)).max([d for d in ("replica", "sample") if d in gap.dims], skipna=False)
    return residual.assign_attrs(
        units="energy", long_name=f"largest |d phi - work - heat| {since(ds)}", condition="rounding, at any step"
    )


@of_survivors
def jarzynski(ds: xr.Dataset) -> xr.Dataset:
    """Free-energy difference F(theta_t) - F(theta_0) from the work, at every frame; dims step and the sweep axes.

    Its bias of order 1/R is taken out. `reliable`: replicas are enough for the interval. `valid` (axes): the equality
    holds exactly; `condition` says why not where it does not. The ledger counts from step 0, whatever was recorded.
    Raises ValueError when the components have several temperatures, where there is no free energy.
    """
    require(ds, "work")
    temperature = _temperature(ds)
    if temperature is None:
        raise ValueError("x.temperature: Jarzynski's equality needs one temperature, constant in time")
    average = exponential_average(-ds["work"] / temperature)
    reasons = [why_work_theorem_fails(machine) for machine in machines(ds)]
    condition = "x starts in equilibrium and moves leave the equilibrium of each theta invariant"
    all_reasons = list(dict.fromkeys(reason for some in reasons for reason in some))
    condition += f" (not so: {'; '.join(all_reasons)})" if all_reasons else " (exact)"
    result = xr.Dataset()
    value, error = -temperature * (average.logarithm - average.bias), temperature * average.error
    bounds = -temperature * average.high, -temperature * average.low
    what = "F(theta_t) - F(theta_0)"
    put(result, "free_energy_difference", value, error, "energy", what, condition, bounds=bounds)
    put_reliability(result, average.sample_size, average.reliable)
    result["valid"] = gathered(ds, [np.array(not some) for some in reasons], ()).assign_attrs(
        long_name="whether Jarzynski's equality is exact", condition=condition
    )
    return result


@of_survivors
def integral_fluctuation_theorem(
    ds: xr.Dataset, log_density_start: xr.DataArray, log_density_end: xr.DataArray
) -> xr.Dataset:
    """<e^{-Sigma}>, which is 1, and <Sigma>, which is not negative, at every frame of `log_density_end`.

    log_density_start (axes, replica[, sample]) is ln p_0(x_0) of the density that x_0 was drawn from, and
    log_density_end (step, axes, replica[, sample]) is ln p_end(x_t) of any normalised density that is positive
    wherever x can be. With p_end the density of x_t, Sigma is the total entropy production. `reliable`: replicas are
    enough for the interval of the average.
    """
    require(ds, "log_ratio_x")
    entropy = ds["log_ratio_x"] + log_density_start - log_density_end
    found = exponential_average(-entropy)
    average = xr.DataArray(np.exp(found.logarithm))
    condition = f"{_RATIO}; p_0 the true start, any normalised p_end"
    result = xr.Dataset()
    bounds = np.exp(found.low), np.exp(found.high)
    error = average * found.error
    put(result, "average", average, error, "1", "<exp(-Sigma)>, 1 in theory", condition, bounds=bounds)
    put_mean(result, "entropy_production", entropy, "nat", "mean Sigma, a relative entropy", condition)
    return put_reliability(result, found.sample_size, found.reliable)


@of_survivors
def crooks(forward: xr.Dataset, backward: xr.Dataset) -> xr.Dataset:
    """Free-energy difference of the whole protocol from a forward and a reversed ensemble; dims the sweep axes.

    free_energy_difference: Bennett's acceptance ratio. slope, crossing: ln P_F(w)/P_R(-w) = slope (w - crossing)/T by
    maximum likelihood; theory: 1 and dF. Both are NaN where works are all alike or those of one run all exceed those of
    the other, and the crossing where the slope is not told from 0. `overlap` in [0, 1] of the two work distributions.
    `reliable`: enough works that both runs could have made; `crossing_reliable`: the slope is well above 0 besides.

    Raises ValueError unless the ensembles are a protocol and its reverse at one temperature.
    """
    for ds in (forward, backward):
        require(ds, "work")
    directions = [setting(ds, "run.direction") for ds in (forward, backward)]
    if directions != ["forward", "reversed"]:
        raise ValueError(f"crooks needs a forward and a reversed ensemble, in this order; these are {directions}")
    if seeds(forward) & seeds(backward):
        raise ValueError(
            f"both ensembles have seed {settings(backward).ensemble.seed}, so they share their noise and are not "
            "independent, as the errors assume: give the reversed run another ensemble.seed"
        )
    if settings(forward).sweep != settings(backward).sweep:
        raise ValueError("the two ensembles have different sweeps: select the same points of both, in the same order")
    names = axes(forward)
    works = []
    for ds in (forward, backward):
        temperature = _temperature(ds)
        if temperature is None:
            raise ValueError("x.temperature: Crooks' theorem needs one temperature, constant in time")
        if int(ds["step"][-1]) != setting(ds, "run.steps"):
            raise ValueError("crooks needs the work of the whole protocol: record the last step")
        reduced = (ds["work"].isel(step=-1) / temperature).transpose(*names, "replica", ...)
        works.append(reduced.values.reshape(*reduced.shape[: len(names)], -1))
    shape = works[0].shape[:-1]
    estimates, shared = np.empty((3, 4, *shape)), np.empty(shape)
    for index in np.ndindex(shape):
        ratio = acceptance_ratio(works[0][index], works[1][index])
        line = crooks_line(works[0][index], works[1][index])
        estimates[(slice(None), slice(None), *index)] = [ratio.free_energy, line.slope, line.crossing]
        shared[index] = ratio.shared
    return _put_crooks(forward, estimates, shared, works)


def _put_crooks(ds: xr.Dataset, estimates: np.ndarray, shared: np.ndarray, works: list[np.ndarray]) -> xr.Dataset:
    """estimates: dF, slope, crossing, each with value, error, low, high, over the axes, at temperature 1."""
    scale, names, result = _temperature(ds), axes(ds), xr.Dataset()
    condition = (
        "both ensembles start in equilibrium; moves in detailed balance (exact-ou: exact; ula: first order in h)"
    )
    meanings = {
        "free_energy_difference": (scale, "energy", "dF, acceptance ratio"),
        "slope": (1.0, "1", "T times the slope of ln P_F(w)/P_R(-w), 1 in theory"),
        "crossing": (scale, "energy", "where P_F(w) = P_R(-w), dF in theory"),
    }
    for (name, (unit, units, meaning)), numbers in zip(meanings.items(), estimates, strict=True):
        parts = [unit * xr.DataArray(n, dims=names, coords={axis: ds[axis] for axis in names}) for n in numbers]
        put(result, name, parts[0], parts[1], units, meaning, condition, bounds=(parts[2], parts[3]))
    result["slope"].attrs["undefined"] = "no line through works of one run that all lie beyond, or equal, the other's"
    works_shared = xr.DataArray(shared, dims=names, coords={axis: ds[axis] for axis in names})
    overlap = works_shared * (1.0 / works[0].shape[-1] + 1.0 / works[1].shape[-1])
    result["overlap"] = overlap.assign_attrs(
        units="1", long_name="overlap of forward and reversed work", condition="a small overlap makes dF uncertain"
    )
    result["reliable"] = (works_shared >= _SHARED) & (min(works[0].shape[-1], works[1].shape[-1]) >= FEWEST_FOR_MEAN)
    result["reliable"].attrs = {
        "long_name": f"at least {_SHARED:g} works that both runs could have made, and {FEWEST_FOR_MEAN} of each",
        "condition": "a flag, not a proof",
    }
    told = result["slope"] >= _TOLD * result["slope_error"]
    result["crossing_reliable"] = (result["reliable"] & told).assign_attrs(
        long_name=f"reliable, and a slope of at least {_TOLD:g} standard errors", condition="a flag, not a proof"
    )
    return result


@of_survivors
def entropy_production(ds: xr.Dataset, first: int | None = None, last: int | None = None) -> xr.Dataset:
    """Entropy production per unit time between two recorded steps (default the first and the last): dims sweep axes.

    The mean log path ratio is the entropy that flows to the baths; in a steady state it is all the entropy produced.
    Raises ValueError for a single frame.
    """
    require(ds, "log_ratio_x")
    begin, end, time = _span(ds, first, last)
    rate = (ds["log_ratio_x"].sel(step=end) - ds["log_ratio_x"].sel(step=begin)) / time
    result = xr.Dataset()
    condition = f"steady state between the frames; {_RATIO}; reproduces the rate of the finite-step chain"
    put_mean(result, "entropy_production_rate", rate, "nat/time", "entropy production rate", condition)
    return result.assign_attrs(first=begin, last=end)


@of_survivors
def heat_currents(ds: xr.Dataset, first: int | None = None, last: int | None = None) -> xr.Dataset:
    """Heat per unit time that x absorbs from each of two baths, between two recorded steps: dims axes and bath.

    The ledger holds the total heat Q_1 + Q_2 and the log ratio, which in a steady state of linear forces is
    -Q_1/T_1 - Q_2/T_2 on average at any time step; the two give Q_1 and Q_2. Raises ValueError unless the components
    have two different temperatures.
    """
    require(ds, "heat", "log_ratio_x")
    begin, end, time = _span(ds, first, last)
    increments = {name: ds[name].sel(step=end) - ds[name].sel(step=begin) for name in ("heat", "log_ratio_x")}
    size, names = ds.sizes["replica"], axes(ds)
    shape = [ds.sizes[name] for name in names]
    mean, error, baths = np.empty((*shape, 2)), np.empty((*shape, 2)), np.empty((*shape, 2))
    time = (xr.DataArray(np.zeros(shape), dims=names) + time).transpose(*names).values
    for index, resolved in each_point(ds):
        hot_and_cold = np.unique(np.asarray(resolved.of_x.temperature, float))[::-1]
        if len(hot_and_cold) != 2:
            raise ValueError(
                f"heat_currents needs components at two temperatures; here they are {hot_and_cold.tolist()}"
            )
        place = tuple(index[name] for name in names)
        heat, ratio = (increments[name].isel(index) for name in ("heat", "log_ratio_x"))
        for bath, (own, other) in enumerate((hot_and_cold, hot_and_cold[::-1])):
            current = (heat / other + ratio) / (1.0 / other - 1.0 / own) / time[place]
            mean[(*place, bath)], error[(*place, bath)] = (float(v) for v in replica_mean(current))
        baths[place] = hot_and_cold
    coordinates = {n: ds[n] for n in names} | {"bath": ["hot", "cold"]}
    arrays = [xr.DataArray(v, dims=[*names, "bath"], coords=coordinates) for v in (mean, error, baths)]
    condition = "steady state between the frames, linear forces, any time step"
    result = xr.Dataset(attrs={"first": begin, "last": end, "replicas": size})
    what = "heat absorbed from the bath per unit time"
    put(result, "heat_current", arrays[0], arrays[1], "energy/time", what, condition, degrees_of_freedom=size - 1)
    result["bath_temperature"] = arrays[2].assign_attrs(units="energy", long_name="temperature of the bath")
    return result


def _temperature(ds: xr.Dataset) -> Any:
    """The temperature, a number or an array over an axis; None for several of components, or a schedule."""
    sweep = settings(ds).sweep
    given = sweep.get("x.temperature", [settings(ds).of_x.temperature])
    values = [value[0] if isinstance(value, list) and len(set(value)) == 1 else value for value in given]
    if not all(isinstance(value, (int, float)) for value in values):
        return None
    if "x.temperature" not in sweep:
        return float(values[0])
    return xr.DataArray(np.array(values, float), dims="temperature", coords={"temperature": ds["temperature"]})


def _span(ds: xr.Dataset, first: int | None, last: int | None) -> tuple[int, int, Any]:
    """First and last step, and the time between them."""
    begin = int(ds["step"][0] if first is None else first)
    end = int(ds["step"][-1] if last is None else last)
    if not begin < end:
        raise ValueError(f"a rate needs two frames; these are steps {begin} and {end}")
    missing = {begin, end}.difference(ds["step"].values.tolist())
    if missing:
        raise ValueError(f"step {min(missing)} is not among the frames; take first and last from ds.step")
    step = number(ds, "x.time_step")
    if step is None:
        raise ValueError("x.time_step: rates need a constant time step")
    return begin, end, (end - begin) * number(ds, "x.tau") * step
