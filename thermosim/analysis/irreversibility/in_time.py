"""The measures of irreversibility along a recorded run: each frame with the minibatch and rate of the step after it.

    U = grad L_B + lambda theta,   theta' = theta - r U(theta),   U' = U(theta')
    r h = 1 - U.U'/|U|^2,    phi_ST/(r |U|^2/4) = 1 - r h + |U - U'|^2/(4 |U|^2)                      (exact)

h, the sharpness along the step, comes from the way back alone; it is U'JU/|U|^2 up to r |U| times a third derivative,
and on one minibatch its batch sharpness. At the edge of stability, r h = 2, U' = -U: phi_ST vanishes, while the
mismatches of time reversal and renormalisation keep the size r J U/2 of their leading order up to third derivatives.

The minibatch is drawn once more by its address. Of fresh rows, which were not kept, others of the same law stand for
it, one minibatch for each replica. Plain descent only: the field of a move with memory is not one of theta alone.
Sources: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), appendix G; J. Cohen et al., ICLR 2021,
arXiv:2103.00065, for the edge; A. Andreyev, P. Beneventano, arXiv:2412.20553, for that of minibatches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put, put_mean, replica_mean, require
from thermosim.analysis.gradient_noise import learned_parameters
from thermosim.analysis.irreversibility.fields import Field
from thermosim.analysis.irreversibility.mismatches import MEASURES
from thermosim.analysis.irreversibility.potentials import potentials
from thermosim.analysis.loss_gradients import batch_size, gradient_of, next_minibatches, own_rows, require_loss
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.skewed_means import put_skewed_mean
from thermosim.schedules import values_at

__all__ = ["field_of_steps", "potentials_in_time", "rates_of_steps", "why_not_plain"]

_CHUNK = 1 << 22  # numbers at a time
_NAMES = {"de": "discretisation error", "tr": "time renormalisation", "ta": "time reversal"}


@of_survivors
def potentials_in_time(ds: xr.Dataset, scalars: bool = False, replicas: int = 16) -> xr.Dataset:
    """Irreversibility of the step after every recorded frame that has one: dims step and the sweep axes.

    phi_st and leading_order = r |U|^2/4, with scalars phi_de, phi_tr, phi_ta too (`potentials`: a critical point is
    sought for every frame, up to 512 parameters); ratio_st = phi_ST/leading_order; of the vectors g of `mismatches`
    and their leading order g_0 = r J U/2, projection_X = g.g_0/|g_0|^2 and cosine_X, X = de, tr, ta; sharpness h =
    U.(U - U')/(r |U|^2); rate_sharpness = r h, and weighted_rate_sharpness, weighted by
    |U|^2; rate_of_step r. Means over the first `replicas` replicas, with errors;
    NaN where U is 0, and of discretisation where the flow runs away.

    Raises ValueError without theta, for a model whose loss is not its surprisal, for moves that are not plain descent
    (momentum, noise of their own, rates of each parameter, there and back), without a frame before the last step, for
    less than one of `replicas`, and where scalars are asked for and there are none.
    """
    require(ds, "theta")
    if replicas < 1:
        raise ValueError(f"replicas = {replicas}: expected at least 1")
    every = machines(ds)
    for machine in every:
        require_loss(machine)
        if why := why_not_plain(machine):
            raise ValueError(why)
    before = np.flatnonzero(every[0].steps < int(every[0].settings.run.steps))
    if not before.size:
        raise ValueError("no step follows the recorded frames: keep a frame before the last step")
    some = ds.isel(step=before, replica=slice(replicas))
    found = [_of_machine(machine, scalars) for machine in machines(some)]
    values = {name: gathered(some, [one[name] for one in found], ("step", "replica")) for name in found[0]}
    rates = gathered(some, [rates_of_steps(machine)[0] for machine in machines(some)], ("step",))
    return _result(values, rates)


def why_not_plain(machine: Machine) -> str:
    """Why the steps are not theta' = theta - r U(theta) with U the gradient of a minibatch; empty where they are."""
    theta, move = machine.settings.theta, machine.theta_move
    said = f"theta.dynamics = {theta.dynamics!r}"
    if theta.has_several_rates:
        said, why = "learning rates of each parameter", "at which theta' - theta is not -r U with U a gradient"
    elif not move.descent or move.density or move.name == "nesterov":
        why = "whose steps follow memory or noise besides the gradient"
    elif theta.momentum:
        said, why = f"theta.momentum = {theta.momentum:g}", "whose steps follow a memory besides the gradient"
    elif machine.settings.run.direction != "forward":
        said, why = f"run.direction = {machine.settings.run.direction!r}", "whose minibatches come twice"
    else:
        return ""
    return (
        f"the irreversibility of steps is told of plain descent, not of {said}, {why}: run theta.dynamics = 'sgd' "
        "without momentum, or give `potentials` the field of the move"
    )


def field_of_steps(machine: Machine, frames: Sequence[int], decay: float, own: np.ndarray | None) -> Field:
    """U at the learned parameters of all replicas of these frames, theta (F R, learned): the others stay in place.

    own: rows (R, B, n) that stand for fresh ones; None where rows are kept.
    """
    gradient = gradient_of(machine, next_minibatches(machine, frames, own))
    learned, _ = learned_parameters(machine)
    there = np.concatenate([machine.theta(frame) for frame in frames])

    def field(theta: np.ndarray) -> np.ndarray:
        whole = there.copy()
        whole[:, learned] = theta
        return np.asarray(gradient(whole)[:, learned] + decay * theta)

    return field


def rates_of_steps(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """Learning rate and weight decay of the step after each frame: (F,) each."""
    theta, steps = machine.settings.theta, int(machine.settings.run.steps)
    rate = values_at(theta.learning_rate, steps, machine.steps + 1)
    return np.asarray(rate, float), np.asarray(values_at(theta.weight_decay or 0.0, steps, machine.steps + 1), float)


def _of_machine(machine: Machine, scalars: bool) -> dict[str, np.ndarray]:
    """Every number by name, (F, R), frames of one rate and decay together."""
    count, size = machine.frames.sizes["replica"], machine.frames.sizes["theta_dim"]
    section = machine.settings.data
    own = own_rows(machine, batch_size(machine)) if section is not None and section.fresh else None
    each, which = np.unique(np.stack(rates_of_steps(machine), 1), axis=0, return_inverse=True)
    together = max(1, _CHUNK // (count * size * (size if scalars else 16)))
    found: dict[str, np.ndarray] = {}
    for number, (rate, decay) in enumerate(each):
        frames = np.flatnonzero(np.ravel(which) == number)
        for first in range(0, len(frames), together):
            part = frames[first : first + together].tolist()
            for name, values in _of_frames(machine, part, rate, decay, own, scalars).items():
                found.setdefault(name, np.empty((len(machine.steps), count)))[part] = values.reshape(-1, count)
    return found


def _of_frames(
    machine: Machine, frames: Sequence[int], rate: float, decay: float, own: np.ndarray | None, scalars: bool
) -> dict[str, np.ndarray]:
    """The same of some frames: (F R,)."""
    learned, _ = learned_parameters(machine)
    theta = np.concatenate([machine.theta(frame)[:, learned] for frame in frames])
    told = potentials(field_of_steps(machine, frames, decay, own), theta, rate, scalars=scalars)
    found = {str(name): told[name].values for name in told if str(name).startswith("phi_")}
    found |= {name: told[name].values for name in ("leading_order", "sharpness")}
    first = told["mismatch_leading"].values
    square = (first**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found["ratio_st"] = found["phi_st"] / found["leading_order"]
        for name in MEASURES:
            vector = told[f"mismatch_{name}"].values
            product = (vector * first).sum(1)
            found[f"projection_{name}"] = product / square
            found[f"cosine_{name}"] = product / np.sqrt(square * (vector**2).sum(1))
    found["sharpness"] = np.where(found["leading_order"] > 0.0, found["sharpness"], np.nan)
    return found | {"rate_sharpness": rate * found["sharpness"]}


def _result(values: dict[str, xr.DataArray], rates: xr.DataArray) -> xr.Dataset:
    result, on = xr.Dataset(), "of the step after the frame, on its own minibatch"
    for name in [name for name in values if name.startswith("phi_")]:
        words = "entropy production" if name == "phi_st" else _NAMES[name[4:]]
        put_skewed_mean(result, name, values[name], "energy", f"mean potential of {words}", on)
    put_skewed_mean(result, "leading_order", values["leading_order"], "energy", "mean of r |U|^2/4", on)
    put_mean(result, "ratio_st", values["ratio_st"], "1", "mean of phi_ST over r |U|^2/4", on)
    for name, words in _NAMES.items():
        meaning = f"mean of g.g_0/|g_0|^2, g of {words}, g_0 = r J U/2"
        put_mean(result, f"projection_{name}", values[f"projection_{name}"], "1", meaning, on)
        meaning = f"mean cosine of the mismatch of {words} and r J U/2"
        put_mean(result, f"cosine_{name}", values[f"cosine_{name}"], "1", meaning, on)
    put_mean(result, "sharpness", values["sharpness"], "energy", "mean of U.(U - U')/(r |U|^2)", on)
    put_mean(result, "rate_sharpness", values["rate_sharpness"], "1", "mean of U.(U - U')/|U|^2", on)
    _put_weighted(result, values["rate_sharpness"], values["leading_order"], on)
    return result.assign(rate_of_step=rates.assign_attrs(units="1/energy", long_name="rate of the step after"))


def _put_weighted(result: xr.Dataset, sharpness: xr.DataArray, weight: xr.DataArray, on: str) -> None:
    """<U.(U - U')>/<|U|^2> over replicas, with the error of a ratio of means to first order."""
    total = weight.mean("replica", skipna=False)
    share = weight / total
    ratio = (share * sharpness).mean("replica", skipna=False)
    _, error = replica_mean(share * (sharpness - ratio))
    freedom = sharpness.sizes["replica"] - 1
    words = "<U.(U - U')>/<|U|^2>"
    put(result, "weighted_rate_sharpness", ratio, error, "1", words, on, degrees_of_freedom=freedom)
