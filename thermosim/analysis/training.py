"""How far training has come, in recorded frames: loss, the two parts of the gradient's square, curvature.

    L = <l> over the rows,   g_B: the gradient of a minibatch of B rows, drawn with replacement
    <|g_B|^2> = |grad L|^2 + Tr Cov(g_1)/B
    batch sharpness  <g_B'H_B g_B/|g_B|^2>, H_B the Hessian of the minibatch that follows the frame
    curvature        trace and largest eigenvalues of the Hessian H of L

Plain gradient descent on a quadratic is stable where the learning rate r < 2/h, h its largest eigenvalue. Full-batch
training settles where h = 2/r (J. Cohen et al., ICLR 2021, arXiv:2103.00065), SGD where the batch sharpness is (A.
Andreyev, P. Beneventano, arXiv:2412.20553). The parts of <|g_B|^2> are those of the entropic loss, L + (r/4) <|g_B|^2>
(L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387).

Products with a Hessian are central differences of the gradient (`loss_gradients`).

Fresh rows were not kept. Others of the same law, never met by theta, stand for them, each replica's own where an
average is wanted. Every estimate X comes with X_error over independent replicas.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.diverged import of_survivors
from thermosim.analysis.estimates import gathered, put_mean, require
from thermosim.analysis.loss_gradients import (
    Gradient,
    batch_size,
    gradient_of,
    hessian_product,
    next_minibatches,
    own_rows,
    require_loss,
    rows_of_sets,
)
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.skewed_means import FEWEST, enough_replicas, expected_skewness, put_skewed_mean
from thermosim.schedules import values_at

__all__ = ["curvature", "training"]

_DIRECT = 64  # parameters, up to which the whole Hessian is formed
_LANCZOS, _EVERY, _SETTLED = 48, 6, 1e-6  # products at most, between looks at the residual, and what that may be
_SIGNS = 8  # products for a trace
_CHUNK = 1 << 24  # numbers at a time
_STABLE = "curvature that the next step can bear"


@of_survivors
def training(ds: xr.Dataset, rows: int = 64) -> xr.Dataset:
    """Loss, the parts of <|g_B|^2> and batch sharpness in every frame: dims step and the sweep axes.

    loss L; gradient_square |grad L|^2; minibatch_noise Tr Cov(g_1)/B, 0 with theta.batch = "all";
    minibatch_gradient_square, their sum; batch_sharpness, of one minibatch for each replica. Over the rows that each
    replica learns from; of fresh ones, over `rows` new ones for each, without bias: then gradient_square may be
    negative. `stability` is the curvature that the next step can bear on a quadratic: 2/r for plain descent,
    2 (1 + beta)/r with momentum, less the weight decay; NaN of other moves and of the last frame.

    Squares of gradients that start from random weights are as skewed as log-normal numbers, and a few dozen replicas
    have not seen their tail: `reliable` says where they are enough, by the skewness that the bulk of |g_B|^2 tells;
    `loss_reliable`, whether they are 50.

    Weight decay is no part of the loss. Raises ValueError without theta, for a model whose loss is not its surprisal
    (learning by contrast), and for fewer than two `rows`.
    """
    require(ds, "theta")
    if rows < 2:
        raise ValueError(f"rows = {rows}: a covariance needs 2 rows")
    every = machines(ds)
    each = [_frames(machine, rows) for machine in every]  # (4, F, R)
    loss, slope, of_row, sharpness = (
        gathered(ds, [point[number] for point in each], ("step", "replica")) for number in range(4)
    )
    inverse = [0.0 if m.settings.theta.batch == "all" else 1.0 / int(m.settings.theta.batch) for m in every]
    noise = of_row * gathered(ds, [np.array(one) for one in inverse], ())
    kept, result = "over the rows of each replica", xr.Dataset()
    put_skewed_mean(result, "loss", loss, "energy", "mean of L", kept)
    skewness = expected_skewness(xr.DataArray(np.log(slope + noise)))
    for name, values, what in (
        ("gradient_square", slope, "|grad L|^2"),
        ("minibatch_noise", noise, "Tr Cov(g_1)/B"),
        ("minibatch_gradient_square", slope + noise, "|g_B|^2"),
    ):
        put_skewed_mean(result, name, values, "energy^2", f"mean of {what}", kept, expected=skewness)
    enough = enough_replicas(skewness, ds.sizes["replica"]).drop_attrs()
    result["reliable"] = enough.assign_attrs(long_name="replicas are enough for so skewed squares", condition=kept)
    fewest = xr.full_like(enough, ds.sizes["replica"] >= FEWEST)
    result["loss_reliable"] = fewest.assign_attrs(long_name=f"at least {FEWEST} replicas", condition="a flag, no proof")
    put_mean(result, "batch_sharpness", sharpness, "energy", "mean of g_B'H_B g_B/|g_B|^2", "of the next minibatch")
    stability = gathered(ds, [_stability(machine) for machine in every], ("step",))
    return result.assign(stability=stability.assign_attrs(units="energy", long_name=_STABLE))


@of_survivors
def curvature(ds: xr.Dataset, eigenvalues: int = 1, rows: int = 256) -> xr.Dataset:
    """Trace and largest eigenvalues of the Hessian of L in every frame: dims step, axes[, eigenvalue].

    With up to 64 parameters the whole matrix is formed; of larger ones up to 6 eigenvalues come from Lanczos, and the
    trace from 8 vectors of random signs (M. F. Hutchinson, Commun. Stat. Simul. Comput. 19, 433 (1990)), whose error is
    in that over replicas. `residual`: the largest |H v - h v|/h of any replica, within which of h an eigenvalue lies;
    of a whole matrix its asymmetry. Of fresh rows, over `rows` of the same law for each replica: right on average for
    the trace, while the largest eigenvalue of few rows is above that of all.

    Raises ValueError as `training` does, for `eigenvalues` that are not 1 to 6 or more than theta has parameters, and
    for less than one of `rows`.
    """
    require(ds, "theta")
    size = ds.sizes["theta_dim"]
    if not 1 <= eigenvalues <= min(size, _EVERY):
        raise ValueError(f"eigenvalues = {eigenvalues}: expected 1 to {min(size, _EVERY)}")
    if rows < 1:
        raise ValueError(f"rows = {rows}: expected at least 1")
    found = [_curvatures(machine, eigenvalues, rows) for machine in machines(ds)]
    trace, largest, residual = zip(*found, strict=True)
    result, condition = xr.Dataset(), "of the loss over all rows, weight decay left out"
    whole = gathered(ds, trace, ("step", "replica"))
    put_mean(result, "trace", whole, "energy", "mean trace of the Hessian of L", condition)
    coords = {"eigenvalue": np.arange(eigenvalues)}
    each = gathered(ds, largest, ("step", "replica", "eigenvalue"), coords)
    put_mean(
        result, "largest_eigenvalue", each, "energy", "mean of the largest eigenvalues of the Hessian of L", condition
    )
    worst = gathered(ds, residual, ("step", "replica")).max("replica")
    result["residual"] = worst.assign_attrs(units="1", long_name="largest |H v - h v|/h of any replica")
    stability = gathered(ds, [_stability(machine) for machine in machines(ds)], ("step",))
    return result.assign(stability=stability.assign_attrs(units="energy", long_name=_STABLE))


def _stability(machine: Machine) -> np.ndarray:
    """The curvature up to which the step after each frame is stable on a quadratic, (F,); NaN where it is not known."""
    theta, steps = machine.settings.theta, int(machine.settings.run.steps)
    if not machine.theta_move.descent or machine.theta_move.name == "nesterov":
        return np.full(len(machine.steps), np.nan)
    at = np.minimum(machine.steps + 1, steps)
    rate = np.where(machine.steps < steps, values_at(theta.learning_rate, steps, at), np.nan)
    decay = values_at(theta.weight_decay or 0.0, steps, at)
    return np.asarray(2.0 * (1.0 + float(theta.momentum or 0.0)) / rate - decay)


def _frames(machine: Machine, count: int) -> np.ndarray:
    """Of every frame and replica L, |grad L|^2, Tr Cov of one row, and batch sharpness: (4, F, R)."""
    require_loss(machine)
    section, replicas = machine.settings.data, machine.frames.sizes["replica"]
    own = own_rows(machine, max(count, batch_size(machine))) if section and section.fresh else None
    found = np.empty((4, len(machine.steps), replicas))
    for part in _parts(machine):
        theta = np.concatenate([machine.theta(frame) for frame in part])
        moments = _of_rows(machine, theta) if own is None else _of_law(machine, theta, own)
        batch = next_minibatches(machine, part, own)
        found[:, part] = np.stack([*moments, _sharpness(machine, theta, batch)]).reshape(4, len(part), replicas)
    return found


def _parts(machine: Machine, copies: int = 1) -> list[range]:
    """Frames that are worked on together, so many numbers for each of theta."""
    frames, size = len(machine.steps), machine.frames.sizes["replica"] * machine.frames.sizes["theta_dim"]
    count = max(1, _CHUNK // (size * copies))
    return [range(first, min(first + count, frames)) for first in range(0, frames, count)]


def _of_rows(machine: Machine, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L, |grad L|^2 and Tr Cov over the data set of each replica, theta (F R, m)."""
    loss, square, noise = np.empty((3, len(theta)))
    for mine, rows in rows_of_sets(machine, len(theta)):
        loss[mine], mean, variance = machine.evaluator.gradient_moments(rows, theta[mine])
        square[mine], noise[mine] = (mean**2).sum(1), variance.sum(1)
    return loss, square, noise


def _of_law(machine: Machine, theta: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same, estimated without bias from rows (R, K, n), each replica's own."""
    count, frames = own.shape[1], len(theta) // len(own)
    loss, total, squares = np.zeros(len(theta)), np.zeros_like(theta), np.zeros_like(theta)
    for place in range(count):
        value, slope = machine.evaluator.data_gradient(np.tile(own[:, place : place + 1], (frames, 1, 1)), theta)
        loss += value / count
        total += slope
        squares += slope**2
    noise = (squares - total**2 / count).sum(1) / (count - 1)
    return loss, ((total / count) ** 2).sum(1) - noise / count, noise


def _sharpness(machine: Machine, theta: np.ndarray, batch: np.ndarray | None) -> np.ndarray:
    """g'Hg/|g|^2 of each replica's minibatch; 0 where the gradient vanishes."""
    gradient = gradient_of(machine, batch)
    slope = gradient(theta)
    length = np.sqrt((slope**2).sum(1, keepdims=True))
    along = np.divide(slope, length, out=np.zeros_like(slope), where=length > 0.0)
    return np.asarray((along * hessian_product(gradient, theta, along)).sum(1))


def _curvatures(machine: Machine, count: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every frame and replica the trace (F, R), largest eigenvalues (F, R, count), their worst residual (F, R)."""
    require_loss(machine)
    section, replicas = machine.settings.data, machine.frames.sizes["replica"]
    gradient = gradient_of(machine, None)
    if section is not None and section.fresh:
        own = own_rows(machine, rows)

        def gradient(theta: np.ndarray) -> np.ndarray:
            frames = np.split(theta, len(theta) // len(own))
            return np.concatenate([machine.evaluator.data_gradient(own, one)[1] for one in frames])

    parts, size = [], machine.frames.sizes["theta_dim"]
    for part in _parts(machine, size if size <= _DIRECT else 2 * _LANCZOS):
        theta = np.concatenate([machine.theta(frame) for frame in part])
        if theta.shape[1] <= _DIRECT:
            parts.append(_direct(gradient, theta, count))
        else:
            parts.append((_signed_trace(gradient, theta, part[0]), *_lanczos(gradient, theta, count)))
    trace, values, residual = (np.concatenate(column) for column in zip(*parts, strict=True))
    return trace.reshape(-1, replicas), values.reshape(-1, replicas, count), residual.reshape(-1, replicas)


def _direct(gradient: Gradient, theta: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By the whole matrix; its asymmetry tells what the differences are worth."""
    size = theta.shape[1]
    unit = np.eye(size)
    hessian = np.stack(
        [hessian_product(gradient, theta, np.broadcast_to(unit[i], theta.shape)) for i in range(size)], axis=1
    )
    values = np.linalg.eigvalsh(0.5 * (hessian + hessian.transpose(0, 2, 1)))[:, ::-1]
    asymmetry = 0.5 * np.linalg.norm(hessian - hessian.transpose(0, 2, 1), axis=(1, 2))
    return (
        np.einsum("rii->r", hessian),
        values[:, :count],
        asymmetry / np.maximum(np.abs(values[:, 0]), np.finfo(float).tiny),
    )


def _lanczos(gradient: Gradient, theta: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest Ritz values (R, count), and the worst residual of their vectors (R).

    C. Lanczos, J. Res. Natl. Bur. Stand. 45, 255 (1950), every vector made orthogonal to all before it, twice.
    """
    products = min(_LANCZOS, theta.shape[1])
    basis, images = np.zeros((2, len(theta), products, theta.shape[1]))
    vector = np.random.default_rng(0).normal(size=theta.shape)
    for k in range(products):
        for _ in range(2):
            vector = vector - np.einsum("rk,rkm->rm", np.einsum("rkm,rm->rk", basis[:, :k], vector), basis[:, :k])
        length = np.sqrt((vector**2).sum(1, keepdims=True))
        basis[:, k] = np.divide(vector, length, out=np.zeros_like(vector), where=length > 0.0)
        vector = images[:, k] = hessian_product(gradient, theta, basis[:, k])
        if (k + 1) % _EVERY == 0 or k + 1 == products:
            values, residual = _ritz(basis[:, : k + 1], images[:, : k + 1], count)
            if residual.max() < _SETTLED:
                break
    return values, residual


def _ritz(basis: np.ndarray, images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values (R, count) and their worst |H v - h v|/h (R), of orthonormal vectors (R, K, m) and products H v."""
    projected = np.einsum("rkm,rlm->rkl", basis, images)
    values, vectors = np.linalg.eigh(0.5 * (projected + projected.transpose(0, 2, 1)))
    values, vectors = values[:, ::-1][:, :count], vectors[:, :, ::-1][:, :, :count]
    left = np.einsum("rkc,rkm->rcm", vectors, images) - values[..., None] * np.einsum("rkc,rkm->rcm", vectors, basis)
    return values, (np.linalg.norm(left, axis=2) / np.maximum(np.abs(values), np.finfo(float).tiny)).max(1)


def _signed_trace(gradient: Gradient, theta: np.ndarray, frame: int) -> np.ndarray:
    """Mean of z'Hz over random signs z, other ones for every replica and frame: (R,)."""
    random, total = np.random.default_rng((1, frame)), np.zeros(len(theta))
    scale = np.sqrt(theta.shape[1])
    for _ in range(_SIGNS):
        signs = random.choice([-1.0, 1.0], theta.shape)
        total += scale * (signs * hessian_product(gradient, theta, signs / scale)).sum(1)
    return total / _SIGNS
