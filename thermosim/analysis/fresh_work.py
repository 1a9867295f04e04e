"""Work of jumps of theta on fresh samples of the model: each x_{i-1} drawn anew from p_{theta_{i-1}}.

    w = sum_i phi_i(x_{i-1}) - phi_{i-1}(x_{i-1}),   x_{i-1} ~ p_{theta_{i-1}},   phi = -ln p            [Eq. 42]
    <w> = sum_i D(p_{i-1} || p_i),    <exp(-w)> = 1                                          given the path of theta

Samples relax at once, so that all work is dissipated (tau -> infinity in the paper's terms). Both hold for any path of
theta that does not follow these samples, recorded at every step, for each of its jumps as for their sum. The analysis
draws them, at addresses of their own: a machine whose steps know nothing of samples has its work as well.

Source: S. S. Parsi, Entropy 26, 112 (2024), arXiv 2310.19802, Eqs. 42 and 51; C. Jarzynski, Phys. Rev. Lett. 78, 2690
(1997).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, put_mean
from thermosim.analysis.exponential_averages import exponential_average, put_reliability
from thermosim.analysis.learning import JUMPS, exact_samples
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.partial_averages import averaged_work_and_heat
from thermosim.analysis.skewed_means import put_skewed_mean

__all__ = ["work_of_fresh_samples"]


@of_survivors
def work_of_fresh_samples(ds: xr.Dataset, samples: int = 1, divergence: bool = True) -> xr.Dataset:
    """The work of every replica's path of theta since step 0, on `samples` fresh samples: dims step, axes[, replica].

    work (with dim sample where there are several) and mean_work; theorem, <exp(-w)> of the sum to each step, and
    jump_theorem, that of the jump to each step alone: 1 in theory; `reliable` is about the former. Where a sum over all
    x, or a closed form, gives sum D(p_{i-1} || p_i) of each path, and `divergence` asks for it, it is mean_divergence;
    excess, the work of a replica less its own sum, and mean_excess are 0 in theory. Raises ValueError where theta was
    not recorded at every step, or the model has no exact samples of a phi with its normaliser.
    """
    points = machines(ds)
    model, steps = points[0].model, ds["step"].values
    if model.fresh is None or not model.normalised:
        raise ValueError(f"model {model.name!r} has no exact samples of a phi = -ln p with its normaliser")
    if not np.array_equal(steps, np.arange(len(steps))):
        raise ValueError("work is done by every jump of theta: record.first = 0 and record.every = 1")
    jumps = gathered(ds, [_jumps(machine, samples) for machine in points], ("step", "replica", "sample"))
    jumps = jumps.isel(sample=0) if samples == 1 else jumps
    work = jumps.cumsum("step")
    work = work.assign_coords(step=ds["step"])
    condition = "fresh samples at every step; theta does not follow them"
    result = xr.Dataset()
    put(result, "work", work, 0.0, "nat", "work on fresh samples since step 0", condition)
    put_skewed_mean(result, "mean_work", work, "nat", "mean work on fresh samples since step 0", condition)
    for name, exponent in {"jump_theorem": -jumps, "theorem": -work}.items():
        found = exponential_average(exponent)
        average, bounds = xr.DataArray(np.exp(found.logarithm)), (np.exp(found.low), np.exp(found.high))
        what = "<exp(-w)> of " + ("the jump to this step" if name == "jump_theorem" else "all jumps so far")
        put(result, name, average, average * found.error, "1", f"{what}, 1 in theory", condition, bounds=bounds)
    put_reliability(result, found.sample_size, found.reliable)
    known = model.cross_entropy is not None or model.support(points[0].constants) is not None
    if divergence and known:
        exact = averaged_work_and_heat(ds)["divergence"]
        what = "sum of D(p_{i-1} || p_i) over the jumps so far"
        put_mean(result, "mean_divergence", exact, "nat", f"mean of the {what}", condition)
        excess = (work.mean("sample") if samples > 1 else work) - exact
        put(result, "excess", excess, np.nan, "nat", f"work of a replica less its {what}", condition)
        result["excess_error"].attrs["undefined"] = "the noise of one replica's samples is not told"
        put_mean(result, "mean_excess", excess, "nat", f"mean of the work less the {what}, 0 in theory", condition)
    return result


def _jumps(machine: Machine, samples: int) -> np.ndarray:
    """w of the jump to every step, (F, R, K): 0 to the first."""
    replicas, frames = machine.frames.sizes["replica"], len(machine.steps)
    work = np.zeros((frames, replicas, samples))
    for frame in range(1, frames):
        x = exact_samples(machine, frame - 1, JUMPS, samples)
        before, after = (machine.evaluator.own_surprisals(x, machine.theta(f)) for f in (frame - 1, frame))
        work[frame] = after - before
    return work
