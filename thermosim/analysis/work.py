"""Work, heat and entropy of an ensemble, and the fluctuation theorems they obey: Dataset in, Dataset out.

    Jarzynski   <e^{-w/T}> = e^{-dF/T}                            any frame of a protocol that starts in equilibrium
    integral    <e^{-Sigma}> = 1,  Sigma = sum ln p(x'|x)/p(x|x') + ln p_0(x_0) - ln p_end(x_t)
    Crooks      ln P_F(w)/P_R(-w) = (w - dF)/T                    a protocol and its reverse, both from equilibrium

Every estimate X comes with its standard error X_error. Errors are over independent replicas (samples of one replica
are averaged first); nothing is averaged over correlated times. The attribute `condition` of each variable says when
it is exact. Exponential averages live on rare replicas: they come with the effective sample size (sum w)^2/sum w^2,
and `reliable` is false where it is below MINIMUM_SAMPLE_SIZE.

Sources: C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997); U. Seifert, Phys. Rev. Lett. 95, 040602 (2005); G. E. Crooks,
Phys. Rev. E 60, 2721 (1999); C. H. Bennett, J. Comput. Phys. 22, 245 (1976); M. R. Shirts, J. Chem. Theory Comput. 9,
909 (2013), for the test of Crooks' line by maximum likelihood.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.estimates import put, put_sample_size, replica_mean, require
from thermosim.analysis.replicas import seeds, since
from thermosim.analysis.settings import axes, each_point, number, setting, settings
from thermosim.moves import X_MOVES

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
_BOOKS = "any move, at any time step: the books are exact; the mean is that of the finite-step chain"


def work_and_heat(ds: xr.Dataset) -> xr.Dataset:
    """Mean work, heat, log ratio and shadow (log ratio + heat/T) since step 0, and the largest first-law residual.

    dims step and the sweep axes; the residual is that of phi - work - heat between the first frame and each, over all
    replicas. The shadow is absent when there is no single temperature.
    """
    require(ds, "phi", "work", "heat", "log_ratio_x")
    result = xr.Dataset()
    put(result, "work", *replica_mean(ds["work"]), "kT", "mean work since step 0", _BOOKS)
    put(result, "heat", *replica_mean(ds["heat"]), "kT", "mean heat absorbed since step 0", _BOOKS)
    put(result, "log_ratio", *replica_mean(ds["log_ratio_x"]), "1", "mean log path ratio since step 0", _RATIO)
    temperature = _temperature(ds)
    if temperature is not None:
        shadow = replica_mean(ds["log_ratio_x"] + ds["heat"] / temperature)
        put(result, "shadow", *shadow, "1", "log ratio + heat/T, zero for a move in detailed balance", _RATIO)
    result["first_law_residual"] = first_law_residual(ds)
    return result


def first_law_residual(ds: xr.Dataset) -> xr.DataArray:
    """Largest |d phi - work - heat| over replicas since the first frame: dims step and the sweep axes, kT."""
    require(ds, "phi", "work", "heat")
    gap = ds["phi"] - ds["work"] - ds["heat"]
    residual = abs(gap - gap.isel(step=0)).max([d for d in ("replica", "sample") if d in gap.dims], skipna=False)
    return residual.assign_attrs(
        units="kT", long_name=f"largest |d phi - work - heat| {since(ds)}", condition="rounding, at any step"
    )


def jarzynski(ds: xr.Dataset) -> xr.Dataset:
    """Free-energy difference F(theta_t) - F(theta_0) from the work, at every frame; dims step and the sweep axes.

    Raises ValueError when the components have several temperatures, where there is no free energy.
    """
    require(ds, "work")
    temperature = _temperature(ds)
    if temperature is None:
        raise ValueError("x.temperature: Jarzynski's equality needs one temperature, constant in time")
    estimate, error, sample_size = _exponential_average(-ds["work"] / temperature)
    dynamics = np.unique(np.asarray(setting(ds, "x.dynamics"), object))
    condition = "x starts in equilibrium and moves leave the equilibrium of each theta invariant"
    biased = not all(X_MOVES[str(name)].invariant for name in dynamics)
    condition += " (ula: biased, first order in x.time_step)" if biased else " (exact)"
    result = xr.Dataset()
    value = -temperature * estimate
    put(result, "free_energy_difference", value, temperature * error, "kT", "F(theta_t) - F(theta_0)", condition)
    return put_sample_size(result, sample_size)


def integral_fluctuation_theorem(
    ds: xr.Dataset, log_density_start: xr.DataArray, log_density_end: xr.DataArray
) -> xr.Dataset:
    """<e^{-Sigma}>, which is 1, and <Sigma>, which is not negative, at every frame of `log_density_end`.

    log_density_start (axes, replica[, sample]) is ln p_0(x_0) of the density that x_0 was drawn from, and
    log_density_end (step, axes, replica[, sample]) is ln p_end(x_t) of any normalised density that is positive
    wherever x can be. With p_end the density of x_t, Sigma is the total entropy production.
    """
    require(ds, "log_ratio_x")
    entropy = ds["log_ratio_x"] + log_density_start - log_density_end
    logarithm, error, sample_size = _exponential_average(-entropy)
    average = xr.DataArray(np.exp(logarithm))
    condition = f"{_RATIO}; p_0 the true start, any normalised p_end"
    result = xr.Dataset()
    put(result, "average", average, average * error, "1", "<exp(-Sigma)>, 1 in theory", condition)
    put(result, "entropy_production", *replica_mean(entropy), "1", "mean Sigma, a relative entropy", condition)
    return put_sample_size(result, sample_size)


def crooks(forward: xr.Dataset, backward: xr.Dataset) -> xr.Dataset:
    """Free-energy difference of the whole protocol from a forward and a reversed ensemble; dims the sweep axes.

    free_energy_difference: Bennett's acceptance ratio (pymbar), `overlap` in [0, 1] of the two work distributions.
    slope, crossing: ln P_F(w)/P_R(-w) = slope (w - crossing)/T by maximum likelihood; theory: 1 and dF.

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
    results = np.empty((7, *works[0].shape[:-1]))
    for index in np.ndindex(*works[0].shape[:-1]):
        results[(slice(None), *index)] = _bennett(works[0][index], works[1][index]) + _line(
            works[0][index], works[1][index]
        )

    condition = (
        "both ensembles start in equilibrium; moves in detailed balance (exact-ou: exact; ula: first order in h)"
    )
    values = [xr.DataArray(r, dims=names, coords={n: forward[n] for n in names}) for r in results]
    scale = _temperature(forward)
    result = xr.Dataset()
    put(result, "free_energy_difference", scale * values[0], scale * values[1], "kT", "dF, acceptance ratio", condition)
    put(result, "slope", values[3], values[4], "1", "T times the slope of ln P_F(w)/P_R(-w), 1 in theory", condition)
    put(
        result,
        "crossing",
        scale * values[5],
        scale * values[6],
        "kT",
        "where P_F(w) = P_R(-w), dF in theory",
        condition,
    )
    result["overlap"] = values[2].assign_attrs(
        units="1", long_name="overlap of forward and reversed work", condition="a small overlap makes dF uncertain"
    )
    return result


def entropy_production(ds: xr.Dataset, first: int | None = None, last: int | None = None) -> xr.Dataset:
    """Entropy production per unit time between two recorded steps (default the first and the last): dims sweep axes.

    The mean log path ratio is the entropy that flows to the baths; in a steady state it is all the entropy produced.
    Raises ValueError for a single frame.
    """
    require(ds, "log_ratio_x")
    begin, end, time = _span(ds, first, last)
    ratio = ds["log_ratio_x"]
    mean, error = replica_mean((ratio.sel(step=end) - ratio.sel(step=begin)) / time)
    result = xr.Dataset()
    condition = f"steady state between the frames; {_RATIO}; reproduces the rate of the finite-step chain"
    put(result, "entropy_production_rate", mean, error, "1/time", "entropy production rate", condition)
    return result.assign_attrs(first=begin, last=end)


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
    put(result, "heat_current", arrays[0], arrays[1], "kT/time", "heat absorbed from the bath per unit time", condition)
    result["bath_temperature"] = arrays[2].assign_attrs(units="kT", long_name="temperature of the bath")
    return result


def _temperature(ds: xr.Dataset) -> Any:
    """The temperature, a number or an array over an axis; None when the components have several, or it is scheduled."""
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


def _exponential_average(exponent: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """ln <e^a> over replicas, its jackknife error, and the effective sample size."""
    every = [d for d in ("replica", "sample") if d in exponent.dims]
    size = exponent.sizes["replica"]
    shift = exponent.max(every, skipna=False)
    weights = xr.DataArray(np.exp(exponent - shift))
    if "sample" in weights.dims:
        weights = weights.mean("sample", skipna=False)
    total = weights.sum("replica", skipna=False)
    others = np.maximum(total - weights, np.finfo(float).tiny) / (size - 1)
    without = xr.DataArray(np.log(others))
    error = np.sqrt((size - 1) / size * ((without - without.mean("replica")) ** 2).sum("replica", skipna=False))
    return shift + np.log(total / size), xr.DataArray(error), total**2 / (weights**2).sum("replica", skipna=False)


def _bennett(forward: np.ndarray, backward: np.ndarray) -> list[float]:
    """dF/T, its error and the overlap, from work/T of a protocol and of its reverse."""
    logging.disable(logging.CRITICAL)  # pymbar announces on import that it would like JAX
    try:
        from pymbar import other_estimators

        answer = other_estimators.bar(forward, backward, uncertainty_method="MBAR")
        overlap = other_estimators.bar_overlap(forward, backward)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('crooks needs pymbar: pip install "thermosim-engine[analysis]"') from error
    finally:
        logging.disable(logging.NOTSET)
    return [float(answer["Delta_f"]), float(answer["dDelta_f"]), float(overlap)]


def _line(forward: np.ndarray, backward: np.ndarray) -> list[float]:
    """Slope and zero, each with its error, of ln P_F(w)/P_R(-w): logistic regression of the direction on w."""
    w = np.concatenate([forward, -backward])
    is_forward = np.arange(len(w)) < len(forward)
    offset = np.log(len(forward) / len(backward))
    design = np.stack([np.ones_like(w), w - w.mean()])
    beta = np.zeros(2)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(offset + beta @ design, -700.0, 700.0)))
        information = (design * (p * (1.0 - p))) @ design.T
        change = np.linalg.solve(information, design @ (is_forward - p))
        beta = beta + change
        if np.abs(change).max() < 1e-10:
            break
    covariance = np.linalg.inv(information)
    covariance[0, 0] -= 1.0 / len(forward) + 1.0 / len(backward)  # the numbers of works are fixed, not drawn
    gradient = np.array([-1.0 / beta[1], beta[0] / beta[1] ** 2])
    crossing = w.mean() - beta[0] / beta[1]
    return [beta[1], np.sqrt(covariance[1, 1]), crossing, np.sqrt(gradient @ covariance @ gradient)]
