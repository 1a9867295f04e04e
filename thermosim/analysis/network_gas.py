"""Scale-invariant networks as a gas: energy, temperature, radius, pressure and volume of every point of a sweep.

    U = <L>,  V = <|w|^2>/2,  g_t^2 = <|w|^2 |g|^2>,  eta_eff = r, or r/<|w|^2> at a fixed learning rate r
    p = lambda, on a sphere of radius R the mean stretch over eta_eff R^2,  R_gas = (D - 1)/2
    sigma^2 = <|w|^2> Tr Sigma/(D - 1),  T = eta_eff sigma^2/2,  pV/(R_gas T)

D are all parameters, Tr Sigma the mean of |g_b - g|^2 over minibatches, g the gradient of all data, where it is
recorded (gradient_noise_trace). With g_t^2, which has the mean gradient in it besides, in place of |w|^2 Tr Sigma,

    r^4 = eta g_t^2/(2 lambda - eta lambda^2)   fixed-lr,      r^2 = eta_eff g_t^2/(2 lambda)   fixed-elr

hold in a stationary state whatever the noise, so that p V = eta_eff g_t^2/4 at every protocol (`balance`). Means are
over the steps between the first frame, or the middle of a run that is recorded from step 0, and the last.

Source: I. Sadrtdinov et al., arXiv:2511.07308; finite steps as in `checks.scale_invariance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.network_noise import own_frames
from thermosim.analysis.settings import needs_frames

__all__ = ["NEEDED", "Gas", "alike", "gases", "network_gas"]

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
    loss: np.ndarray  # (F - 1, R), as what follows
    radius_square: np.ndarray
    gradient: np.ndarray  # |w|^2 |g|^2
    stretch: np.ndarray | None
    moved: np.ndarray | None  # |w' - w|^2

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Over all steps: (R,)."""
        return np.asarray(np.average(values, axis=0, weights=np.diff(self.steps)))

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
    numbers = float(theta.learning_rate), float(theta.weight_decay)
    rest = of_interval("stretch"), of_interval("displacement_square")
    return Gas(machine, str(theta.constraint), *numbers, steps, loss, square, gradient, *rest)


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
    if (trace := _noise(gas)) is not None:
        size = _parameters(gas.machine)
        found["temperature"] = rate * square * trace / (size - 1) / 2.0
        if "pressure" in found:
            found["pV_over_RT"] = found["pressure"] * square / ((size - 1) * found["temperature"])
    return found


def _noise(gas: Gas) -> np.ndarray | None:
    """Tr Sigma, mean over the frames of the later part (R,); None where it is not recorded."""
    frames = gas.machine.frames
    if "gradient_noise_trace" not in frames:
        return None
    if gas.machine.settings.theta.radii == "by-group":
        return None  # every scale has a rate and a temperature of its own
    late = own_frames(frames, "gradient_noise_trace").sel(step=slice(int(gas.steps[0]), None))
    return np.asarray(late.mean("step").values)


def _parameters(machine: Machine) -> int:
    return int(sum(np.prod(group.shape(machine.constants)) for group in machine.model.groups(machine.constants)))


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
