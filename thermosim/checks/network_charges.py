"""Charges of layers and hidden units of a network, which SGD changes by an exact amount at every step.

Hidden units that are linear or ReLU, without biases, keep the output where what comes into a layer, or a unit, is
scaled up and what goes out of it is scaled down. The charge C = (|out|^2 - |in|^2)/2 of these weights obeys, at the
learning rate r and weight decay lambda,

    C' = (1 - r lambda)^2 C + (r^2/2) (|g_out|^2 - |g_in|^2)

whatever the data, the batch and the step: no continuous time, no average over noise. Without weight decay the sums of
the ledger say it between any two frames, with it between frames of neighbouring steps. Where layer k learns at the
rate r f_k, without weight decay, the charge is C = (|out|^2/f_out - |in|^2/f_in)/2 and gains
(r^2/2)(f_out |g_out|^2 - f_in |g_in|^2): theta'Lambda^-1 A theta/2 and g'A Lambda g, see `exact.symmetry_charges`. With
a full matrix of rates gradients would have to be booked in its metric; nothing is compared.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), whose balance is its stationary state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.models.multilayer_perceptron import layers
from thermosim.models.network_books import LAYER, UNIT, incoming, layer_gradient_square, outgoing
from thermosim.moves import THETA_MOVES

__all__ = ["charge_comparisons", "layer_charges", "obeys"]

_STORED = 8.0  # spacings of the numbers that are stored, which may be float32
_REFERENCE = "exact recursion of (|out|^2 - |in|^2)/2 at every step of SGD, to rounding"
_LAYERS, _UNITS = ("layer_gradient_square",), ("incoming_gradient_square", "outgoing_gradient_square")
Charges = tuple[np.ndarray, np.ndarray]


def charge_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """The largest residual of any replica, charge and frame; none where the recursion does not hold."""
    found = []
    for quantity, names, charges in (
        ("largest residual of a charge between layers", _LAYERS, layer_charges),
        ("largest residual of a charge of a hidden unit", _UNITS, _unit_charges),
    ):
        if not set(names) <= set(ds) or not all(obeys(machine) for machine in everyone):
            continue
        each = [_residual(machine, names, *charges(machine)) for machine in everyone]
        residual, tolerance, scale = (max(values) for values in zip(*each, strict=True))
        zero, degrees_of_freedom = np.zeros(()), max(ds.sizes["replica"] - 1, 1)
        measured = np.asarray(residual)
        found.append(
            Comparison(quantity, measured, zero, zero, degrees_of_freedom, _REFERENCE, tolerance=tolerance, scale=scale)
        )
    return found


def obeys(machine: Machine) -> bool:
    """Whether it is a network with the symmetry, under plain SGD of all layers at constant rates, theta recorded."""
    constants, theta, ds = machine.constants, machine.settings.theta, machine.frames
    if layer_gradient_square not in machine.model.functionals or "theta" not in ds:
        return False
    if constants.get("bias") != "no" or constants.get("activation") not in ("linear", "relu"):
        return False
    plain = THETA_MOVES[theta.dynamics].retraces and not theta.momentum and theta.learn is None
    plain = plain and theta.preconditioner is None and not (theta.has_several_rates and theta.weight_decay)
    constant = all(isinstance(value, (int, float)) for value in (theta.learning_rate, theta.weight_decay))
    steps = ds["step"].values
    close = not theta.weight_decay or bool(np.all(np.diff(steps) == 1))
    forward = machine.settings.run.direction == "forward"
    return plain and constant and close and forward and len(steps) > 1 and len(constants["widths"]) > 2


def layer_charges(machine: Machine) -> Charges:
    """C_k, and the sum over steps of (r^2/2)(|g_(k+1)|^2 - |g_k|^2), each (F, R, D - 1)."""
    factors = _factors(machine)
    squares = np.stack([(w**2).sum((-2, -1)) for w in _weights(machine)], axis=-1) / factors
    sums = machine.frames[layer_gradient_square.name].transpose("step", "replica", LAYER).values * factors
    return 0.5 * np.diff(squares, axis=-1), 0.5 * _rate(machine) ** 2 * np.diff(sums, axis=-1)


def _unit_charges(machine: Machine) -> Charges:
    """C_i, and the sum over steps of (r^2/2)(|g_u|^2 - |g_w|^2), each (F, R, units)."""
    path, ds, factors = _weights(machine), machine.frames, _factors(machine)
    widths = np.asarray(machine.constants["widths"][1:-1], int)
    of_into, of_out = np.repeat(factors[:-1], widths), np.repeat(factors[1:], widths)
    into = np.concatenate([(w**2).sum(-1) for w in path[:-1]], axis=-1)
    out = np.concatenate([(w**2).sum(-2) for w in path[1:]], axis=-1)
    sums = [ds[one.name].transpose("step", "replica", UNIT).values for one in (outgoing, incoming)]
    gained = of_out * sums[0] - of_into * sums[1]
    return 0.5 * (out / of_out - into / of_into), 0.5 * _rate(machine) ** 2 * gained


def _weights(machine: Machine) -> list[np.ndarray]:
    """Matrices (F, R, out, in) of all layers."""
    return layers(machine.frames["theta"].transpose("step", "replica", "theta_dim").values, machine.constants)


def _rate(machine: Machine) -> float:
    return float(machine.settings.theta.learning_rate)


def _factors(machine: Machine) -> np.ndarray:
    """What multiplies the learning rate of each layer: (D,)."""
    given = machine.settings.theta.learning_rate_factors or {}
    return np.array([float(given.get(group.name, 1.0)) for group in machine.model.parameters][: _depth(machine)])


def _depth(machine: Machine) -> int:
    return len(machine.constants["widths"]) - 1


def _residual(
    machine: Machine, names: Sequence[str], charge: np.ndarray, gained: np.ndarray
) -> tuple[float, float, float]:
    """The largest residual, what rounding may make of it, and the size of what is compared."""
    ds, rate, decay = machine.frames, _rate(machine), float(machine.settings.theta.weight_decay)
    expected = (1.0 - rate * decay) ** 2 * charge[:-1] + np.diff(gained, axis=0)
    factors = _factors(machine)
    booked = rate**2 * factors.max() * max(float(np.abs(ds[name].values).max()) for name in names)
    scale = float((ds["theta"] ** 2).sum("theta_dim").max() / factors.min()) + booked
    stored = max(np.finfo(ds[name].dtype).eps for name in ("theta", *names))
    rounding = _STORED * scale * (stored + np.finfo(float).eps * np.sqrt(int(np.diff(ds["step"].values).max())))
    return float(np.abs(charge[1:] - expected).max()), rounding, scale
