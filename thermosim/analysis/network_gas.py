"""Scale-invariant networks as a gas: energy, temperature, radius, pressure and volume of every point of a sweep.

    U = <L>,  V = <|w|^2>/2,  g_t^2 = <|w|^2 |g|^2>,  eta_eff = r, or r/<|w|^2> at a fixed learning rate r
    p = lambda, on a sphere of radius R the mean stretch over eta_eff R^2,  R_gas = (D - 1)/2
    sigma^2 = <|w|^2> Tr Sigma/(D - 1),  T = eta_eff sigma^2/2,  pV/(R_gas T)

D are all parameters, Tr Sigma the mean of |g_b - g|^2 over minibatches, g the gradient of all data, where it is
recorded (gradient_noise_trace). With g_t^2, which has the mean gradient in it besides, in place of |w|^2 Tr Sigma,

    r^4 = eta g_t^2/(2 lambda - eta lambda^2)   fixed-lr,      r^2 = eta_eff g_t^2/(2 lambda)   fixed-elr

hold in a stationary state whatever the noise, so that p V = eta_eff g_t^2/4 at every protocol (`balance`). Means are
over the steps between the first frame, or the middle of a run that is recorded from step 0, and the last.

Of radii by group every scale s is a gas by itself, with layer_gradient_noise_trace in place of Tr Sigma:
T_s = r |w_s|^2 Tr Sigma_s/(2 (D_s - 1)), and T is their mean with weights R_s = (D_s - 1)/2, so that p V = R T of all.

Source: I. Sadrtdinov et al., arXiv:2511.07308; finite steps as in `checks.scale_invariance`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.network_noise import own_frames
from thermosim.analysis.settings import needs_frames

__all__ = ["NEEDED", "Gas", "alike", "gases", "layers_of_radii", "layers_of_scales", "network_gas", "of_layers"]

NEEDED = ("loss_sum", "gradient_square", "layer_weight_square")
_ERRORS = 3.0  # that halves of a stationary record may differ by
_ABOUT = {
    "U": ("energy", "internal energy: mean loss of the minibatches"),
    "effective_learning_rate": ("1/energy", "learning rate over the squared radius where it is fixed"),
    "radius": ("1", "root mean square of the radius of all parameters"),
    "gradient": ("energy^2", "mean of |w|^2 |g|^2"),
    "volume": ("1", "volume: half the mean squared radius"),
    "pressure": ("energy", "weight decay, or what holds w on the sphere in its place"),
    "balance": ("1", "p V over eta_eff g_t^2/4: 1 where nothing drifts"),
    "turn": ("1", "root of <|w' - w|^2>/<|w|^2> of a step"),
    "temperature": ("energy", "temperature: eta_eff sigma^2/2"),
    "pV_over_RT": ("1", "p V over R T: 1 of an ideal gas whose mean gradient is small"),
}


@dataclass(frozen=True, eq=False)
class Gas:
    """One point: of its R replicas means over the later steps (R,), and over each interval of frames (F - 1, R)."""

    machine: Machine
    constraint: str
    rate: float
    decay: float
    steps: np.ndarray  # of the frames of the later part (F,)
    of_radii: np.ndarray  # |w|^2 of each radius that a constraint takes by itself (F - 1, R, radii)
    loss: np.ndarray  # (F - 1, R), as what follows
    radius_square: np.ndarray  # of all together
    gradient: np.ndarray  # |w|^2 |g|^2
    stretch: np.ndarray | None
    moved: np.ndarray | None  # |w' - w|^2

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Over all steps: (R,)."""
        return np.asarray(np.average(values, axis=0, weights=np.diff(self.steps)))

    def later(self, values: np.ndarray) -> np.ndarray:
        """The same with half of the first and of the last interval, which is the time that `drift` is of: (R,)."""
        return np.asarray(np.average(values, axis=0, weights=self._times))

    def drift(self, values: np.ndarray) -> np.ndarray:
        """By how much a mean of an interval (F - 1, R, ...) grows in a step, from the first to the last: (R, ...)."""
        return np.asarray((values[-1] - values[0]) / self._times.sum())

    @property
    def _times(self) -> np.ndarray:
        lengths = np.diff(self.steps).astype(float)
        lengths[[0, -1]] /= 2.0
        return lengths

    @property
    def effective_rate(self) -> np.ndarray:
        """(R,)."""
        square = self.mean(self.radius_square)
        return self.rate / square if self.constraint == "fixed-lr" else np.full_like(square, self.rate)

    @property
    def is_stationary(self) -> bool:
        """Whether loss and squared radius are the same in both halves, within three standard errors."""
        half = np.searchsorted(self.steps, (self.steps[0] + self.steps[-1]) // 2)
        if not 0 < half < len(self.loss):
            return False
        held = self.constraint == "fixed-sphere"
        for values in (self.loss,) if held else (self.loss, np.log(self.radius_square)):
            change = values[half:].mean(0) - values[:half].mean(0)
            if abs(change.mean()) > _ERRORS * change.std(ddof=1) / np.sqrt(len(change)):
                return False
        return True


def layers_of_scales(machine: Machine) -> list[list[int]]:
    """Numbers of the layers that share a scale, of each scale."""
    assert machine.model.scales is not None
    places = {group.name: place for place, group in enumerate(machine.model.groups(machine.constants))}
    return [[places[one] for one in names] for names in machine.model.scales(machine.constants)]


def layers_of_radii(machine: Machine) -> list[list[int]]:
    """Numbers of the layers of each radius that a constraint takes by itself: all, or those of a scale."""
    if machine.settings.theta.radii == "by-group":
        return layers_of_scales(machine)
    return [list(range(len(machine.model.groups(machine.constants))))]


def of_layers(values: np.ndarray, parts: Sequence[Sequence[int]]) -> np.ndarray:
    """Sums over the last axis, of layers, in parts: (..., parts)."""
    return np.stack([values[..., list(part)].sum(-1) for part in parts], axis=-1)


def gases(ds: xr.Dataset) -> list[Gas]:
    """Every point of the sweep, in order; none where a point has no constraint, or sums that are needed lack."""
    everyone = machines(ds)
    there = all(name in ds for name in NEEDED) and ds.sizes["step"] > 2
    if not there or any(_why_none(machine) for machine in everyone):
        return []
    return [_gas(machine) for machine in everyone]


def _why_none(machine: Machine) -> str:
    theta = machine.settings.theta
    if machine.model.scales is None or theta.constraint is None:
        return "a scale-invariant network under a constraint is a gas: set theta.constraint"
    if machine.settings.run.direction != "forward":
        return "a run there and back is not stationary"
    if not all(isinstance(value, (int, float)) for value in (theta.learning_rate, theta.weight_decay)):
        return "under a schedule nothing is stationary"
    return ""


def _gas(machine: Machine) -> Gas:
    theta, ds = machine.settings.theta, machine.frames
    steps = machine.steps
    first = int(np.searchsorted(steps, steps[-1] / 2)) if steps[0] == 0 else 0
    ds, steps = ds.isel(step=slice(first, None)), steps[first:]

    def of_interval(name: str) -> np.ndarray | None:
        if name not in ds:
            return None
        array = ds[name].sum("layer") if "layer" in ds[name].dims else ds[name]
        return np.asarray(np.diff(array.transpose("step", "replica").values, axis=0) / np.diff(steps)[:, None])

    loss, square, gradient = (of_interval(name) for name in ("loss_sum", "layer_weight_square", "gradient_square"))
    assert loss is not None
    assert square is not None
    assert gradient is not None
    layers = ds["layer_weight_square"].transpose("step", "replica", "layer").values
    of_radii = of_layers(np.diff(layers, axis=0) / np.diff(steps)[:, None, None], layers_of_radii(machine))
    numbers = float(theta.learning_rate), float(theta.weight_decay)
    rest = of_interval("stretch"), of_interval("displacement_square")
    return Gas(machine, str(theta.constraint), *numbers, steps, of_radii, loss, square, gradient, *rest)


@of_survivors
def network_gas(ds: xr.Dataset) -> xr.Dataset:
    """All that the module docstring names, dims the axes of the sweep, each with its standard error over replicas.

    `stationary` says whether loss and radius of a point are the same in both halves of what is averaged.
    Raises ValueError where a point is no gas, or a variable that is needed was not recorded.
    """
    if missing := [name for name in NEEDED if name not in ds]:
        raise ValueError(needs_frames(ds, missing))
    for machine in machines(ds):
        if why := _why_none(machine):
            raise ValueError(f"{machine.model.name!r}: {why}")
    everyone = gases(ds)
    if not everyone:
        raise ValueError("means of a gas are over the steps between frames: record three of them at least")
    result = xr.Dataset()
    found = [_values(gas) for gas in everyone]
    for name, (units, meaning) in _ABOUT.items():
        if all(name in values for values in found):
            values = gathered(ds, [one[name] for one in found], ("replica",))
            put_mean(result, name, values, units, meaning, "stationary")
    if all("scale_temperature" in values for values in found):
        values = gathered(ds, [one["scale_temperature"] for one in found], ("replica", "scale"))
        words = "temperature of each scale, which has a radius of its own"
        put_mean(result, "scale_temperature", values, "energy", words, "stationary")
    still = gathered(ds, [np.asarray(gas.is_stationary) for gas in everyone], ())
    meaning = "whether loss and radius are the same in both halves of what is averaged"
    result["stationary"] = still.assign_attrs(long_name=meaning)
    return result


def _values(gas: Gas) -> dict[str, np.ndarray]:
    """(R,) each."""
    square, gradient, rate = gas.mean(gas.radius_square), gas.mean(gas.gradient), gas.effective_rate
    found = {
        "U": gas.mean(gas.loss),
        "effective_learning_rate": rate,
        "radius": np.sqrt(square),
        "gradient": gradient,
        "volume": square / 2.0,
    }
    if gas.constraint != "fixed-sphere":
        found["pressure"] = np.full_like(square, gas.decay)
    elif gas.stretch is not None:
        found["pressure"] = gas.mean(gas.stretch) / (rate * square)
    if "pressure" in found:
        found["balance"] = found["pressure"] * square / 2.0 / (rate * gradient / 4.0)
    if gas.moved is not None:
        found["turn"] = np.sqrt(gas.mean(gas.moved) / square)
    if (noise := _heat(gas)) is not None:
        several, sizes = noise  # T of each, and what there are degrees of freedom to
        found["temperature"] = (several * sizes).sum(-1) / sizes.sum()
        if "pressure" in found:
            found["pV_over_RT"] = found["pressure"] * square / (several * sizes).sum(-1)
        if gas.machine.settings.theta.radii == "by-group":
            found["scale_temperature"] = several
    return found


def _heat(gas: Gas) -> tuple[np.ndarray, np.ndarray] | None:
    """T (R, radii) of every radius held by itself, and D - 1 of each; None where no Tr Sigma is recorded."""
    frames, parts, rate = gas.machine.frames, layers_of_radii(gas.machine), gas.effective_rate[:, None]
    by_group = gas.machine.settings.theta.radii == "by-group"
    name = "layer_gradient_noise_trace" if by_group else "gradient_noise_trace"
    if name not in frames:
        return None
    late = own_frames(frames, name).sel(step=slice(int(gas.steps[0]), None)).mean("step")
    trace = late.transpose("replica", ...).values
    trace = of_layers(trace, parts) if by_group else trace[:, None]
    groups = gas.machine.model.groups(gas.machine.constants)
    sizes = [sum(math.prod(groups[place].shape(gas.machine.constants)) for place in part) for part in parts]
    freedom = np.array(sizes) - 1.0
    square = gas.mean(gas.of_radii.reshape(len(gas.loss), -1)).reshape(trace.shape)
    return rate * square * trace / freedom / 2.0, freedom


def alike(everyone: Sequence[Gas]) -> list[list[int]]:
    """Points whose laws are the same but for the unit of length: w -> c w, lambda -> lambda/c^2, r -> c^2 r where it is
    fixed by itself. Numbers of points, the first of each group before the others; groups of two and more.
    """
    keys: dict[tuple[object, ...], list[int]] = {}
    for number, gas in enumerate(everyone):
        scale = gas.rate * gas.decay if gas.constraint == "fixed-lr" else gas.rate
        theta = gas.machine.settings.theta
        rest = [(key, value) for key, value in sorted(gas.machine.index.items()) if key not in _OF_LENGTH]
        keys.setdefault((gas.constraint, theta.radii, f"{scale:.9g}", str(rest)), []).append(number)
    return [group for group in keys.values() if len(group) > 1]


_OF_LENGTH = ("learning_rate", "weight_decay", "radius")  # names of axes
