"""Charges between neighbouring layers of a network, which SGD changes by an exact amount at every step.

A network without biases, whose hidden units are linear or ReLU, keeps its output under W_k -> W_k e^s,
W_(k+1) -> W_(k+1) e^-s. So <W_k, g_k> is the same for all layers and every minibatch, and the charge
C_k = (|W_(k+1)|^2 - |W_k|^2)/2 obeys, at learning rate r and weight decay lambda,

    C_k' = (1 - r lambda)^2 C_k + (r^2/2) (|g_(k+1)|^2 - |g_k|^2)

whatever the data, the batch and the step: no continuous time, no average over noise. Without weight decay the sums of
the ledger say it between any two frames, with it between frames of neighbouring steps.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025), whose balance of layers is its stationary state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.models.multilayer_perceptron import layers
from thermosim.models.network_books import LAYER, layer_gradient_square

__all__ = ["charge_comparisons", "charges_of", "obeys"]

_STORED = 8.0  # spacings of the numbers that are stored, which may be float32
_REFERENCE = "exact recursion of the charge (|W_(k+1)|^2 - |W_k|^2)/2 at every step of SGD, to rounding"


def charge_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """The largest residual of any replica, pair of layers and frame; none where the recursion does not hold."""
    found = [_residual(machine) for machine in everyone if obeys(machine)]
    if len(found) < len(everyone) or not found:
        return []
    residual, tolerance, scale = (max(values) for values in zip(*found, strict=True))
    degrees_of_freedom = max(ds.sizes["replica"] - 1, 1)
    return [
        Comparison(
            "largest residual of a charge between layers",
            np.asarray(residual),
            np.zeros(()),
            np.zeros(()),
            degrees_of_freedom,
            _REFERENCE,
            tolerance=tolerance,
            scale=scale,
        )
    ]


def obeys(machine: Machine) -> bool:
    """Whether it is a network with the symmetry, under plain SGD of all layers at a constant rate, with its books."""
    constants, theta, ds = machine.constants, machine.settings.theta, machine.frames
    if layer_gradient_square not in machine.model.functionals or not {layer_gradient_square.name, "theta"} <= set(ds):
        return False
    if constants.get("bias") != "no" or constants.get("activation") not in ("linear", "relu"):
        return False
    plain = theta.dynamics == "sgd" and not theta.momentum and theta.learn is None
    constant = all(isinstance(value, (int, float)) for value in (theta.learning_rate, theta.weight_decay))
    steps = ds["step"].values
    close = not theta.weight_decay or bool(np.all(np.diff(steps) == 1))
    forward = machine.settings.run.direction == "forward"
    return plain and constant and close and forward and len(steps) > 1 and len(constants["widths"]) > 2


def charges_of(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """C_k, and the sum over steps of (r^2/2)(|g_(k+1)|^2 - |g_k|^2), each (F, R, D - 1)."""
    ds, rate = machine.frames, float(machine.settings.theta.learning_rate)
    path = ds["theta"].transpose("step", "replica", "theta_dim").values
    squares = np.stack([(w**2).sum((-2, -1)) for w in layers(path, machine.constants)], axis=-1)
    sums = ds[layer_gradient_square.name].transpose("step", "replica", LAYER).values
    return 0.5 * np.diff(squares, axis=-1), 0.5 * rate**2 * np.diff(sums, axis=-1)


def _residual(machine: Machine) -> tuple[float, float, float]:
    """The largest residual, what rounding may make of it, and the size of what is compared."""
    theta, ds = machine.settings.theta, machine.frames
    rate, decay = float(theta.learning_rate), float(theta.weight_decay)
    charge, gained = charges_of(machine)
    expected = (1.0 - rate * decay) ** 2 * charge[:-1] + np.diff(gained, axis=0)
    booked = rate**2 * float(np.abs(ds[layer_gradient_square.name].values).max())
    scale = float((ds["theta"] ** 2).sum("theta_dim").max()) + booked
    stored = max(np.finfo(ds[name].dtype).eps for name in ("theta", layer_gradient_square.name))
    steps = int(np.diff(ds["step"].values).max())
    rounding = _STORED * scale * (stored + np.finfo(float).eps * np.sqrt(steps))
    return float(np.abs(charge[1:] - expected).max()), rounding, scale
