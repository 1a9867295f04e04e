"""Losses and gradients in recorded frames: the rows behind a step, the gradient over them, products with its Hessian.

The minibatch that follows a frame is drawn once more, by the address of its random numbers. Fresh rows were not kept:
others of the same law, never met by theta, stand for them, each replica's own where an average is wanted.

Products with a Hessian are central differences of the gradient, H v = [g(theta + e v) - g(theta - e v)]/(2 e), v of
length 1: exact where the gradient is quadratic in theta; elsewhere off by e^2/6 times its third derivative along v, and
by rounding, eps |g|/e. With e = eps^(1/3) (1 + rms theta) both are some 1e-10. A row whose ReLU has its kink between
the two points is wrong: a share e of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from thermosim.analysis.gradient_noise import minibatch
from thermosim.analysis.machine import Machine
from thermosim.data.sources import data_of

__all__ = [
    "Gradient",
    "batch_size",
    "gradient_of",
    "hessian_product",
    "next_minibatches",
    "own_rows",
    "require_loss",
    "rows_of_sets",
]

_STEP = float(np.finfo(float).eps) ** (1.0 / 3.0)
Gradient = Callable[[np.ndarray], np.ndarray]  # of theta (R, m)


def require_loss(machine: Machine) -> None:
    """Raise ValueError where theta does not descend a loss of data."""
    model, theta = machine.model, machine.settings.theta
    if model.no_potential:
        raise ValueError(model.no_potential)
    if not machine.theta_move.learns or not (model.is_loss or theta.gradient == "likelihood"):
        raise ValueError(
            f"theta.dynamics = {theta.dynamics!r} of model {model.name!r} does not descend a loss of data: these are "
            'results of losses, and of theta.gradient = "likelihood"'
        )


def batch_size(machine: Machine) -> int:
    """Rows of a minibatch; 0 where all are taken."""
    batch = machine.settings.theta.batch
    return 0 if batch == "all" else int(batch)


def own_rows(machine: Machine, count: int) -> np.ndarray:
    """Rows (R, count, n) of the law of fresh ones, other ones for every replica, on a stream of their own."""
    assert machine.settings.data is not None
    replicas = machine.frames.sizes["replica"]
    seed = int(machine.settings.ensemble.seed)  # so that ensembles of other seeds have other rows
    section = machine.settings.data.model_copy(update={"fresh": False, "rows": replicas * count, "seed": seed})
    rows = data_of(machine.model, machine.constants, section, machine.folder).values
    return np.asarray(rows.reshape(replicas, count, -1))


def rows_of_sets(machine: Machine, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which of `count` thetas, all replicas of some frames, learn from each data set, and its rows (K, n)."""
    number = np.resize(machine.data_set(), count)
    return [(number == one, machine.data.of_set(int(one))) for one in np.unique(number)]


def next_minibatches(machine: Machine, frames: Sequence[int], own: np.ndarray | None) -> np.ndarray | None:
    """Rows (F R, B, n) of the minibatch that follows each frame; None: all rows.

    own: rows (R, at least B, n) of the law of fresh ones, whose first stand for the minibatch in every frame.
    """
    batch = machine.settings.theta.batch
    if batch == "all":
        return None
    if own is None:
        return np.concatenate([minibatch(machine, int(machine.steps[frame]) + 1) for frame in frames])
    return np.tile(own[:, : int(batch)], (len(frames), 1, 1))


def gradient_of(machine: Machine, batch: np.ndarray | None) -> Gradient:
    """The mean gradient over rows (F R, B, n), or over the data set of each replica; weight decay is no part of it."""
    if batch is not None:
        return lambda theta: machine.evaluator.data_gradient(batch, theta)[1]

    def gradient(theta: np.ndarray) -> np.ndarray:
        slope = np.empty_like(theta)
        for mine, rows in rows_of_sets(machine, len(theta)):
            slope[mine] = machine.evaluator.data_gradient(rows, theta[mine])[1]
        return slope

    return gradient


def hessian_product(gradient: Gradient, theta: np.ndarray, along: np.ndarray) -> np.ndarray:
    """H v at theta (R, m) of unit vectors v (R, m), or 0: central differences of the gradient."""
    step = _STEP * (1.0 + np.sqrt((theta**2).mean(1, keepdims=True)))
    return np.asarray((gradient(theta + step * along) - gradient(theta - step * along)) / (2.0 * step))
