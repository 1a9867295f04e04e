"""What arXiv:2310.19802 says of steps of SGD: their reversal (Appendix A), and the noise of minibatches (Fig. 5.1)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.analysis.gradient_noise import gradient_noise, minibatch
from thermosim.analysis.machine import Machine, machines
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.numbers import known, of_replicas

__all__ = ["BATCHES", "constant", "forces", "lazy", "no_return", "of_batch", "white"]

BATCHES = (1, 10, 100)
_LAGS = (1, 5)
_SHIFT = 1e-4  # of theta along the gradient, for a derivative
_NEXT = "the next order of r, up to twice mismatch over step"


def _lengths(ds: xr.Dataset) -> np.ndarray:
    """Mismatch over length of the step there, one step there and back: (rates, R)."""
    theta = ds["theta"].transpose("step", "learning_rate", "replica", "theta_dim").values
    return np.asarray(np.linalg.norm(theta[2] - theta[0], axis=-1) / np.linalg.norm(theta[1] - theta[0], axis=-1))


def no_return(ensembles: Ensembles) -> list[Number]:
    """Along the leading order -r^2 J U, U the gradient of the minibatch and J its Jacobian, by differences."""
    numbers = []
    for machine, length in zip(machines(ensembles["back"]), _lengths(ensembles["back"]), strict=True):
        rate, rows, begin = float(machine.settings.theta.learning_rate), minibatch(machine, 1), machine.theta(0)
        slope = (begin - machine.theta(1)) / rate
        up, down = (machine.evaluator.data_gradient(rows, begin + way * slope)[1] for way in (_SHIFT, -_SHIFT))
        leading = -(rate**2) * (up - down) / (2.0 * _SHIFT)
        ratio = ((machine.theta(2) - begin) * leading).sum(axis=1) / (leading**2).sum(axis=1)
        allowed = 2.0 * float(length.max())
        numbers.append(of_replicas(f"mismatch over -r^2 J U, r = {rate:g}", ratio, 1.0, allowed=allowed, because=_NEXT))
    return numbers


def lazy(ensembles: Ensembles) -> list[Number]:
    rates, lengths = ensembles["back"]["learning_rate"].values, _lengths(ensembles["back"])
    slopes = np.log(lengths[0] / lengths[-1]) / np.log(rates[0] / rates[-1])
    allowed = 2.0 * float(lengths.max())
    words = "d ln(mismatch over step)/d ln r"
    return [of_replicas(words, slopes, claimed=1.0, allowed=allowed, because=_NEXT)]


def white(ensembles: Ensembles) -> list[Number]:
    found, numbers = analysis.noise_statistics(ensembles["white"], max_lag=max(_LAGS)), []
    for batch in BATCHES:
        for lag in _LAGS:
            one = found.sel(batch=batch, lag=lag)
            pair = one["mean_autocorrelation"], one["mean_autocorrelation_error"]
            numbers.append(known(f"C({lag})/C(0), B = {batch}", *pair, claimed=0.0))
    return numbers


def _row_variance(machine: Machine, theta: np.ndarray) -> np.ndarray:
    """Variance of one row's gradient over all rows, mean over parameters, (R,) of theta (R, m)."""
    return np.asarray(machine.evaluator.gradient_moments(machine.data.of_set(0), theta)[2].mean(axis=-1))


def of_batch(ensembles: Ensembles) -> list[Number]:
    """At equal theta: of every frame and replica, the noise of its minibatch beside the rows' variance there."""
    numbers = []
    for batch, machine in zip(BATCHES, machines(ensembles["white"]), strict=True):
        noise = gradient_noise(machine).noise
        square = (noise**2).mean(axis=-1)
        rows = np.array([_row_variance(machine, machine.theta(frame)) for frame in range(len(square))])
        ratio = (square / rows).mean(axis=0) * batch
        numbers.append(of_replicas(f"B <eta^2> over the variance of a row, B = {batch}", ratio, claimed=1.0))
    return numbers


def constant(ensembles: Ensembles) -> list[Number]:
    """By the variance of rows, which is that of the noise for a given theta without the chance of its minibatch."""
    numbers, steps = [], ensembles["course"]["step"].values
    for batch, machine in zip(BATCHES, machines(ensembles["course"]), strict=True):
        first, last = (_row_variance(machine, machine.theta(frame)) for frame in (0, -1))
        words = f"<eta^2> of step {steps[-1]} over that of step {steps[0]}, B = {batch}"
        numbers.append(of_replicas(words, last / first.mean(), claimed=1.0))
    return numbers


def forces(ensembles: Ensembles) -> list[Number]:
    numbers = []
    for batch, machine in zip(BATCHES, machines(ensembles["white"]), strict=True):
        found = gradient_noise(machine)
        pull, noise = ((force**2).mean(axis=(0, 2)) for force in (found.pull, found.noise))
        numbers.append(of_replicas(f"<|grad U_B|^2>/<|eta|^2>, B = {batch}", pull / noise.mean(), 1.0, sense=">"))
    return numbers
