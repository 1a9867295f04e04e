"""Charges of layers and hidden units of a network, which SGD changes by an exact amount at every step.

Hidden units that are linear or ReLU, without biases, keep the output where what comes into a layer, or a unit, is
scaled up and what goes out of it is scaled down. The charge C = (|out|^2 - |in|^2)/2 of these weights obeys, at the
learning rate r and weight decay lambda,

    C' = (1 - r lambda)^2 C + (r^2/2) (|g_out|^2 - |g_in|^2)

whatever the data, the batch and the step: no continuous time, no average over noise. Summed over the steps from s to t,
with gamma = lambda/2,

    sum (|g_out|^2 - |g_in|^2) = (4 gamma/r) (1 - r gamma) sum (|out|^2 - |in|^2) + (2/r^2) (C_t - C_s)

which is the balance of layers and units where C has come to rest, and exact where it has not. The ledger has these
sums, so it is compared between any two frames; without those of the weights, where there is no weight decay, or between
frames of neighbouring steps.

Linear layers have a charge for every pair of hidden units: M = W_k W_k' - W_(k+1)'W_(k+1) gains r^2 (g_k g_k' -
g_(k+1)'g_(k+1)) in one step, and no cross terms. It is compared where theta is recorded at neighbouring steps, which
tell the gradients. Off the diagonal its balance says nothing of SGD where V, Sx and Se have no common bases: hidden
units are turned for ever, and the mean of M over these turns is that of its trace.

Every step rounds theta and the sums, by eps/2 of their size at most. In minibatches these errors go either way: 0.9
sqrt(n) eps times the size was the most from 10 to 1e6 steps n between frames. The full batch comes to rest where the
same number is added for ever, always rounded the same way: 0.5 n eps. The tolerance is n eps, and what storage takes.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), whose balance is its stationary state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.exact.symmetry_charges import layer_charge, next_layer_charge
from thermosim.models.multilayer_perceptron import layers
from thermosim.models.network_books import (
    LAYER,
    UNIT,
    incoming,
    incoming_weights,
    layer_gradient_square,
    layer_weight_square,
    outgoing,
    outgoing_weights,
)

__all__ = ["LAYERS", "UNITS", "charge_comparisons", "charges_of", "has_charges", "is_exact", "why_no_charges"]

_STORED = 8.0  # spacings of the numbers that are stored, which may be float32
_REFERENCE = "exact recursion of (|out|^2 - |in|^2)/2 at every step of SGD, to rounding"
_OF_MATRICES = "exact recursion of W_k W_k' - W_(k+1)'W_(k+1) at every step of SGD, to rounding"
_PAIRS = 64  # of neighbouring frames whose matrices of charges are compared


@dataclass(frozen=True)
class Charges:
    """Charges of one kind. `squares` are those of what goes out and what comes in, of the matrices (F, R, out, in) of
    all layers; `between` those of sums of the ledger, in the order of its books, of the weights and of their gradients.
    """

    of: str
    dim: str
    gradients: tuple[str, ...]
    weights: tuple[str, ...]
    squares: Callable[[list[np.ndarray]], tuple[np.ndarray, np.ndarray]]
    between: Callable[..., np.ndarray]


LAYERS = Charges(
    "between layers",
    LAYER,
    (layer_gradient_square.name,),
    (layer_weight_square.name,),
    lambda path: (_norms(path[1:]), _norms(path[:-1])),
    lambda sums: np.diff(sums, axis=-1),
)
UNITS = Charges(
    "of a hidden unit",
    UNIT,
    (outgoing.name, incoming.name),
    (outgoing_weights.name, incoming_weights.name),
    lambda path: (
        np.concatenate([(w**2).sum(-2) for w in path[1:]], axis=-1),
        np.concatenate([(w**2).sum(-1) for w in path[:-1]], axis=-1),
    ),
    lambda out, into: out - into,
)


def charge_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """The largest residual of any replica, charge and frame; none where the recursion does not hold."""
    found = [
        _comparison(ds, f"largest residual of a charge {kind.of}", [_residual(m, kind) for m in everyone], _REFERENCE)
        for kind in (LAYERS, UNITS)
        if all(is_exact(machine, kind) for machine in everyone)
    ]
    if all(_has_matrices(machine) for machine in everyone):
        residuals = [_matrix_residual(machine) for machine in everyone]
        quantity = "largest residual of a charge of two hidden units"
        found.append(_comparison(ds, quantity, residuals, _OF_MATRICES))
    return found


def _comparison(
    ds: xr.Dataset, quantity: str, each: Sequence[tuple[float, float, float]], reference: str
) -> Comparison:
    """The largest residual, tolerance and scale of all points."""
    residual, tolerance, scale = (max(values) for values in zip(*each, strict=True))
    zero, degrees_of_freedom, measured = np.zeros(()), max(ds.sizes["replica"] - 1, 1), np.asarray(residual)
    return Comparison(quantity, measured, zero, zero, degrees_of_freedom, reference, tolerance=tolerance, scale=scale)


def has_charges(machine: Machine) -> bool:
    """Whether it is a network with the symmetry, under plain SGD of all layers at a constant rate, theta recorded."""
    constants, theta, ds = machine.constants, machine.settings.theta, machine.frames
    if layer_gradient_square not in machine.model.functionals or "theta" not in ds:
        return False
    if constants.get("bias") != "no" or constants.get("activation") not in ("linear", "relu"):
        return False
    plain = machine.theta_move.retraces and not theta.momentum and theta.learn is None
    constant = all(isinstance(value, (int, float)) for value in (theta.learning_rate, theta.weight_decay))
    forward = machine.settings.run.direction == "forward"
    return plain and constant and forward and ds.sizes["step"] > 1 and len(constants["widths"]) > 2


def is_exact(machine: Machine, kind: Charges) -> bool:
    """Whether what is recorded tells its charges of this kind in the next frame from those in the last."""
    if not has_charges(machine) or not set(kind.gradients) <= set(machine.frames):
        return False
    close = bool(np.all(np.diff(machine.steps) == 1))
    return close or not machine.settings.theta.weight_decay or set(kind.weights) <= set(machine.frames)


def why_no_charges(everyone: Sequence[Machine]) -> str:
    """What to record, where charges would be told but for that; empty where they are, or can not be."""
    for kind in (LAYERS, UNITS):
        for machine in everyone:
            booked = has_charges(machine) and set(kind.gradients) <= set(machine.frames)
            if booked and not is_exact(machine, kind):
                missing = [name for name in kind.weights if name not in machine.frames]
                return f"with weight decay they need {' and '.join(missing)} in record.variables, or every step"
    return ""


def charges_of(machine: Machine, kind: Charges) -> tuple[np.ndarray, np.ndarray]:
    """C, and what the sums of the ledger say it has gained since step 0, each (F, R, charges).

    Without the sums of the weights, what weight decay takes is not in it.
    """
    out, into = kind.squares(_weights(machine))
    rate, decay = _rates(machine)
    gained = 0.5 * rate**2 * kind.between(*_sums(machine, kind, kind.gradients))
    if set(kind.weights) <= set(machine.frames):
        gained = gained - rate * decay * (1.0 - 0.5 * rate * decay) * kind.between(*_sums(machine, kind, kind.weights))
    return 0.5 * (out - into), gained


def _norms(path: list[np.ndarray]) -> np.ndarray:
    return np.stack([(w**2).sum((-2, -1)) for w in path], axis=-1)


def _sums(machine: Machine, kind: Charges, names: Sequence[str]) -> list[np.ndarray]:
    return [machine.frames[name].transpose("step", "replica", kind.dim).values for name in names]


def _weights(machine: Machine, frames: slice | np.ndarray = slice(None)) -> list[np.ndarray]:
    """Matrices (F, R, out, in) of all layers, of some frames."""
    path = machine.frames["theta"].isel(step=frames).transpose("step", "replica", "theta_dim").values
    return layers(np.asarray(path, float), machine.constants)


def _rates(machine: Machine) -> tuple[float, float]:
    theta = machine.settings.theta
    return float(theta.learning_rate), float(theta.weight_decay)


def _residual(machine: Machine, kind: Charges) -> tuple[float, float, float]:
    """The largest residual, what rounding may make of it, and the size of what is compared."""
    ds, (rate, decay), told = machine.frames, _rates(machine), set(kind.weights) <= set(machine.frames)
    charge, gained = charges_of(machine, kind)
    expected = (1.0 if told else (1.0 - rate * decay) ** 2) * charge[:-1] + np.diff(gained, axis=0)
    factors = dict.fromkeys(kind.gradients, rate**2) | {name: 2.0 * rate * decay for name in kind.weights if told}
    booked = sum(factor * float(np.abs(ds[name].values).max()) for name, factor in factors.items())
    scale = float((ds["theta"] ** 2).sum("theta_dim").max()) + booked
    stored = max(np.finfo(ds[name].dtype).eps for name in ("theta", *factors))
    rounding = scale * (_STORED * stored + np.finfo(float).eps * int(np.diff(machine.steps).max()))
    return float(np.abs(charge[1:] - expected).max()), rounding, scale


def _has_matrices(machine: Machine) -> bool:
    linear = has_charges(machine) and machine.constants["activation"] == "linear"
    return linear and bool(np.any(np.diff(machine.steps) == 1))


def _matrix_residual(machine: Machine) -> tuple[float, float, float]:
    """The same of the matrices of charges, the gradients being those of the step from one frame to the next."""
    first = np.flatnonzero(np.diff(machine.steps) == 1)[:_PAIRS]
    (rate, decay), residual, ds = _rates(machine), 0.0, machine.frames
    before, after = (_weights(machine, first + late) for late in (0, 1))
    gradients = [(one - other) / rate - decay * one for one, other in zip(before, after, strict=True)]
    for k in range(len(before) - 1):
        both = slice(k, k + 2)
        expected = next_layer_charge(
            layer_charge(*before[both]), *gradients[both], learning_rate=rate, decay=0.5 * decay
        )
        residual = max(residual, float(np.abs(layer_charge(*after[both]) - expected).max()))
    scale = float((ds["theta"] ** 2).sum("theta_dim").max())
    return residual, _STORED * float(np.finfo(ds["theta"].dtype).eps) * scale, scale
