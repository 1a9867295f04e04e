"""Runs about their irreversibility against theory, where the case has a section [irreversibility].

    fresh minibatch   the mean over minibatches of what the way back through a fresh one sheds, at every theta
    there and back    one step there and one back leave -2 r g_TA, to rounding (Appendix A of Parsi 2024)
    drift             of the charge of a chain along its orbit, summed over all steps, at any rate
    least dissipation from starts of one loss r |g|^2/4 never rises, window by window

That <exp(-sigma)> = 1 of steps with noise is compared for every run that books densities (`checks.theta_entropy`).
Sources: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026); S. S. Parsi, Entropy 26, 112 (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.estimates import gathered
from thermosim.analysis.irreversibility.dissipation import chain_of, dissipation, drift_residual, why_no_chain
from thermosim.analysis.irreversibility.steps import Steps, require_steps, steps_of
from thermosim.analysis.machine import Machine
from thermosim.checks.means import is_nearly_normal, mean_comparison, skewness_of_mean
from thermosim.data.tables import DataError

__all__ = ["irreversibility_advice", "irreversibility_comparisons"]

_ROUNDING = 1e-13  # of one step, relative to theta
_WINDOWS, _FRAMES = 8, 100
_SAME = 1e-3  # relative, of two deviations


def irreversibility_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """None where the case has no [irreversibility]."""
    if any(machine.settings.irreversibility is None for machine in everyone) or "theta" not in ds:
        return []
    if not any(why_no_chain(machine) for machine in everyone):
        return _drift(ds, everyone) + _falling(ds, everyone)
    try:
        everyone = [_thinned(machine) for machine in everyone]
        each = [steps_of(machine) for machine in everyone]
    except (ValueError, DataError):  # told by the advice
        return []
    return [] if not each[0].rate.size else _fresh(ds, everyone, each) + _returned(everyone, each)


def irreversibility_advice(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[str]:
    """Why the entropy of steps is not compared, where the case asks for it."""
    if any(machine.settings.irreversibility is None for machine in everyone):
        return []
    if not any(why_no_chain(machine) for machine in everyone):
        every = bool(np.all(np.diff(ds["step"].values) == 1))
        return (
            [] if every else ["The drift of the charge is not compared: it is summed over all steps, record.every = 1."]
        )
    if "theta" not in ds:
        return ["The entropy of steps is not compared: add theta to record.variables."]
    try:
        for machine in everyone:
            require_steps(machine)
    except (ValueError, DataError) as error:
        return [f"The entropy of steps is not compared: {error}."]
    return [said for machine in everyone[:1] if (said := _other_noise(machine))]


def _other_noise(machine: Machine) -> str:
    """That steps have another noise than the virtual one, where they have some; empty where they do not."""
    section, theta = machine.settings.irreversibility, machine.settings.theta
    sigma = section.sigma if section else None
    rate, temperature = theta.learning_rate, theta.temperature
    if not (machine.theta_move.density and sigma and isinstance(rate, float) and isinstance(temperature, float)):
        return ""
    noise = np.sqrt(2.0 * rate * temperature)
    if abs(noise / sigma - 1.0) < _SAME:
        return ""
    return (
        f"Steps have noise of deviation {noise:.4g}, irreversibility.sigma is {sigma:.4g}: entropies of steps are "
        "those under the latter, the fluctuation theorem is of the former."
    )


def _thinned(machine: Machine) -> Machine:
    """A hundred frames at most, or all of a run there and back."""
    count = len(machine.steps)
    if count <= _FRAMES or machine.settings.run.direction == "there-and-back":
        return machine
    return replace(machine, frames=machine.frames.isel(step=np.linspace(0, count - 1, _FRAMES).astype(int)))


def _drift(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """The charges of starts off the least place; at it they stay 0."""
    moving = [machine for machine in everyone if np.abs(machine.frames["charge"].isel(step=0)).min() > 0.0]
    if not moving or np.any(np.diff(ds["step"].values) != 1):
        return []
    values = np.stack([drift_residual(machine) for machine in moving])
    error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
    quantity = "change of the charge less its drift, over the charge"
    reference = "E[C' - C] = -4 r^2 E(m^2) C, exact at any rate, summed over the steps"
    skewness = skewness_of_mean(values.T)
    exact = np.zeros(len(moving))
    comparison = Comparison(quantity, values.mean(1), error, exact, values.shape[1] - 1, reference, skewness=skewness)
    return [comparison] if is_nearly_normal(comparison) else []


def _falling(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """Rises between neighbouring windows: none is expected, so that what is beyond 0 is noise.

    But at first, while the misfit comes to rest: it adds some 2 r h to the rate, as 1 - exp(-r h t) in t steps.
    """
    found = dissipation(ds, _WINDOWS)
    value = found["dissipation"].transpose("step", ...).values
    error = found["dissipation_error"].transpose("step", ...).values
    rise = np.maximum(value[1:] - value[:-1], 0.0)
    spread = np.hypot(error[1:], error[:-1])
    quantity = f"rises of r |g|^2/4 between {len(value)} windows of the run"
    reference = "from starts of one loss it falls to its least, 2 r q n v/B and terms of order r^2"
    freedom = ds.sizes["replica"] - 1
    places = found["place"].transpose("step", ...).values[0].ravel()
    scaled = np.array([(c := chain_of(m)).rate * c.curvature(s) for m, s in zip(everyone, places, strict=True)])
    length = float(ds["step"][-1]) / len(value)
    first = 2.0 * value[0] * np.minimum(scaled, 1.0 / length).reshape(value[0].shape)
    fading = np.exp(-length * scaled).reshape(value[0].shape)
    resting = np.stack([first * fading**k for k in range(len(rise))])
    return [Comparison(quantity, rise, spread, np.zeros(rise.shape), freedom, reference, resting, units="energy")]


def _fresh(ds: xr.Dataset, everyone: Sequence[Machine], each: Sequence[Steps]) -> list[Comparison]:
    """Given theta and its step, the next minibatch is independent: differences of frames are uncorrelated, mean 0."""
    if any(machine.settings.theta.batch == "all" for machine in everyone):
        return []
    off = [((one.fresh - one.fresh_mean) / one.fresh_mean.mean()).mean(0) for one in each]
    quantity = "entropy of the way back, fresh minibatches, less their mean"
    reference = "(r^2/2 s^2) [|U_b + U(theta')|^2 + Tr Cov(theta')/B], exact at any learning rate"
    comparison = mean_comparison(ds, quantity, gathered(ds, off, ("replica",)), 0.0, reference)
    return [comparison] if is_nearly_normal(comparison) else []


def _returned(everyone: Sequence[Machine], each: Sequence[Steps]) -> list[Comparison]:
    """The largest difference between the run's own way back of one step and -2 r g_TA, against rounding."""
    largest, scale = 0.0, 0.0
    for machine, one in zip(everyone, each, strict=True):
        turn = int(machine.settings.run.steps) // 2
        pair = [np.flatnonzero(machine.steps == step) for step in (turn - 1, turn + 1)]
        if machine.settings.run.direction != "there-and-back" or not all(len(place) for place in pair):
            return []
        before, after = (machine.theta(int(place[0])) for place in pair)
        largest = max(largest, float(np.abs(after - before - one.returned[int(pair[0][0])]).max()))
        moved = one.returned[int(pair[0][0])]  # beside it the step itself, far larger where steps run away
        scale = max(scale, *(float(np.abs(at).max()) for at in (before, after, moved)), 1.0)
    bound = _ROUNDING * scale
    measured, error, exact = np.asarray(largest), np.asarray(bound), np.zeros(())
    quantity = "largest difference of the way back of one step from -2 r g_TA"
    reference = "time-reversal mismatch by two fields (B8; Appendix A of Parsi 2024), to rounding"
    return [Comparison(quantity, measured, error, exact, 10**9, reference, bound)]
