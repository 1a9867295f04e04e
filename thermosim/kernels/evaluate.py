"""A model's compiled functions applied to arrays: surprisals, gradients, exact samples, mixtures over replicas.

What analysis, exact references and starts need of a model outside the step loop. Arrays have replicas first, as in a
Dataset: theta (R, m), x (R, n). Results do not depend on how the replicas are cut into tiles, except for the rounding
of sums over replicas.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from thermosim.kernels import apply, energies
from thermosim.kernels.aligned import aligned_zeros
from thermosim.kernels.compile import compiled
from thermosim.kernels.noise import normal_array, uniform_array
from thermosim.model import Model

__all__ = ["Evaluator", "energy_bindings"]

_WIDEST, _NARROWEST = 128, 8  # lanes of a tile
_TILE_BYTES = 4_000_000
_FEWEST_ROWS = 64  # of a thread, where rows are shared out


def energy_bindings(model: Model, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a template needs to meet the model's energy: names, `prepare`, PREPARED and `evaluate`, in binding order."""
    bindings: dict[str, Any] = dict(model.names(values))
    bindings["PREPARED"] = model.prepare is not None
    bindings["prepare"] = model.prepare or energies.no_prepare
    if model.surprisal_and_force is not None:
        bindings["evaluate"] = model.surprisal_and_force
    elif model.surprisal is not None:
        bindings |= {"surprisal": model.surprisal, "evaluate": energies.from_surprisal}
    elif model.energy is not None and model.force is not None:
        bindings |= {"energy": model.energy, "force": model.force, "evaluate": energies.from_lanes}
    else:
        bindings["evaluate"] = energies.no_energy
    return bindings


class Evaluator:
    """A model at given constants. `values` are the case's [model] settings, one number for each scalar constant.

    With threads = 1 none is started, which takes longer than to evaluate a small ensemble once.
    """

    def __init__(self, model: Model, values: Mapping[str, Any], threads: int | None = None) -> None:
        self.model, self.values = model, dict(values)
        names = model.names(values)
        self.components, self.parameters = names["COMPONENTS"], names["PARAMETERS"]
        self._row_length = model.row_length(values)
        self._derived_rows = names["DERIVED"]
        self._bindings = energy_bindings(model, values)
        self._scalars, self._shared = model.packed(values)
        rows = (
            names["DERIVED"]
            + model.scratch_rows(values)
            + 2 * self.parameters
            + 4 * max(self.components, self._row_length)
        )
        self._width = max(_NARROWEST, min(_WIDEST, _TILE_BYTES // (8 * max(rows, 1)) // 8 * 8))
        self._threads = threads or os.cpu_count() or 1

    def surprisal(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """phi of x (R, n), each under its own theta (R, m): (R,)."""
        return self._pointwise(x, theta)[0]

    def force(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """-d phi/dx at x (R, n), each under its own theta (R, m): (R, n)."""
        return self._pointwise(x, theta)[1]

    def surprisals(self, points: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """phi of every point (P, n) under every theta (R, m): (R, P)."""
        kernel = self._compiled(apply.surprisals, apply.SURPRISALS)
        points = _packed(points)
        out = np.empty((len(theta), len(points)))

        def work(lanes: slice, tile: tuple[np.ndarray, ...]) -> None:
            values = aligned_zeros((len(points), self._width))
            kernel(*tile, points, *self._rows(), aligned_zeros((self._width,)), values, *self._rows()[:1])
            out[lanes] = values[:, : lanes.stop - lanes.start].T

        self._run(work, self._tiles(theta))
        return out

    def log_sum(self, points: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """ln sum_r exp(-phi_r(x)) over all theta (R, m), at every point (P, n): (P,)."""
        kernel = self._compiled(apply.log_sum, apply.LOG_SUM)
        points = _packed(points)
        top, total = np.full(len(points), -1e300), np.zeros(len(points))
        tiles = [(lanes, tile) for lanes, tile in self._tiles(theta, ragged=True)]

        def work(piece: slice, _: Any) -> None:
            for lanes, tile in tiles:
                width = lanes.stop - lanes.start
                x, force, phi = np.empty((self.components, width)), np.empty((self.components, width)), np.empty(width)
                derived, scratch = np.empty_like(tile[1]), np.empty_like(tile[4])  # tiles are shared between threads
                mine = (tile[0], derived, tile[2], tile[3], scratch)
                kernel(*mine, points[piece], x, force, phi, top[piece], total[piece])

        size = max(1, math.ceil(len(points) / self._threads / 4))
        pieces = [slice(first, min(first + size, len(points))) for first in range(0, len(points), size)]
        self._run(work, [(piece, None) for piece in pieces])
        return np.asarray(top + np.log(total))

    def gradient(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """d phi/d theta at x (R, n), each under its own theta (R, m): (R, m)."""
        return self._gradient(x[:, None, :], theta)[1]

    def data_gradient(self, rows: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean of phi over rows, and of d phi/d theta, for every theta (R, m): (R,), (R, m).

        rows (K, n) are the same for all, or (R, K, n) each its own.
        """
        return self._gradient(np.asarray(rows, float), theta)

    def gradient_moments(self, rows: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean over rows (K, n) of phi, and mean and variance of d phi/d theta of one row, for every theta (R, m).

        Returns (R,), (R, m), (R, m).
        """
        bindings = {"parameter_gradient": self.model.parameter_gradient}
        kernel = self._compiled(apply.gradient_moments, apply.MOMENTS, **bindings)
        rows = _packed(rows)
        loss, (mean, variance) = np.empty(len(theta)), np.empty((2, len(theta), self.parameters))

        def work(lanes: slice, tile: tuple[np.ndarray, ...]) -> None:
            width, used = tile[0].shape[1], lanes.stop - lanes.start
            gradient, total, square = (aligned_zeros((self.parameters, width)) for _ in range(3))
            phi = aligned_zeros((width,))
            kernel(*tile, rows, aligned_zeros((self._row_length, width)), phi, gradient, total, square)
            loss[lanes] = phi[:used] / len(rows)
            mean[lanes] = total[:, :used].T / len(rows)
            variance[lanes] = square[:, :used].T / len(rows) - mean[lanes] ** 2

        self._run(work, self._tiles(theta, shared=True))
        return loss, mean, variance

    def row_losses(self, rows: np.ndarray, theta: np.ndarray, classes: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Loss of every row (K, n) for every theta (R, m), and whether its class is that of least loss: (R, K) both.

        Where several classes have the least loss each is predicted in part; without classes the second is NaN.
        """
        kernel = self._compiled(apply.row_losses, apply.ROW_LOSSES, parameter_gradient=self.model.parameter_gradient)
        rows = _packed(rows)
        loss, right = np.empty((2, len(theta), len(rows)))

        def work(place: tuple[slice, slice], tile: tuple[np.ndarray, ...]) -> None:
            here, width = rows[place[1]], tile[0].shape[1]
            derived, scratch = np.empty_like(tile[1]), np.empty_like(tile[4])  # tiles are shared between threads
            mine = (tile[0], derived, tile[2], tile[3], scratch)
            row, gradient = aligned_zeros((self._row_length, width)), aligned_zeros((self.parameters, width))
            of_row, predicted = np.empty((len(here), width)), np.full((len(here), width), np.nan)
            kernel(*mine, here, classes, row, np.empty(width), gradient, of_row, predicted)
            loss[place], right[place] = of_row.T, predicted.T

        size = max(_FEWEST_ROWS, math.ceil(len(rows) / self._threads))
        parts = [slice(first, first + size) for first in range(0, len(rows), size)]
        tiles = self._tiles(theta, ragged=True)
        self._run(work, [((lanes, part), tile) for lanes, tile in tiles for part in parts])
        return loss, right

    def own_surprisals(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """phi of x (R, K, n), those of a replica under its own theta (R, m): (R, K)."""
        many = np.repeat(theta, x.shape[1], axis=0)
        return self.surprisal(np.reshape(x, (len(many), -1)), many).reshape(x.shape[:2])

    def row_gradients(self, rows: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Gradient of the loss of every row (K, n) for every theta (R, m): (R, K, m)."""
        each = np.tile(rows, (len(theta), 1))[:, None, :]
        slope = self.data_gradient(each, np.repeat(theta, len(rows), axis=0))[1]
        return slope.reshape(len(theta), len(rows), -1)

    def draw(self, theta: np.ndarray, seed: int, stream: int, block: int, first_replica: int = 0) -> np.ndarray:
        """One exact sample of exp(-phi) for each theta (R, m): (R, n). The noise has the address given."""
        model, count = self.model, len(theta)
        normals, uniforms = model.fresh_normals(self.values), model.fresh_uniforms(self.values)
        normal = normal_array(seed, stream, 2 * block, first_replica, (normals, count))
        uniform = uniform_array(seed, stream, 2 * block + 1, first_replica, (uniforms, count))
        kernel = self._compiled(apply.draw, apply.DRAW, fresh=model.fresh)
        out = np.empty((count, self.components))

        def work(lanes: slice, tile: tuple[np.ndarray, ...]) -> None:
            x = aligned_zeros((self.components, self._width))
            kernel(*tile, x, _columns(normal, lanes, self._width), _columns(uniform, lanes, self._width))
            out[lanes] = x[:, : lanes.stop - lanes.start].T

        self._run(work, self._tiles(theta))
        return out

    def draws(
        self, theta: np.ndarray, count: int, seed: int, stream: int, block: int, first_replica: int = 0
    ) -> np.ndarray:
        """`count` exact samples of each theta (R, m): (R, count, n); sample k of replica r is that of lane k R + r."""
        x = self.draw(np.tile(theta, (count, 1)), seed, stream, block, first_replica)
        return np.ascontiguousarray(x.reshape(count, len(theta), -1).swapaxes(0, 1))

    def _pointwise(self, x: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kernel = self._compiled(apply.surprisals, apply.SURPRISALS)
        x = np.asarray(x, float)
        phi, forces = np.empty(len(x)), np.empty((len(x), self.components))

        def work(lanes: slice, tile: tuple[np.ndarray, ...]) -> None:
            position, force = self._rows()
            position[:] = _columns(x.T, lanes, self._width)
            values, none = aligned_zeros((1, self._width)), np.empty((0, self.components))
            kernel(*tile, none, position, force, values[0].copy(), values, force)
            phi[lanes] = values[0, : lanes.stop - lanes.start]
            forces[lanes] = force[:, : lanes.stop - lanes.start].T

        self._run(work, self._tiles(theta))
        return phi, forces

    def _gradient(self, x: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kernel = self._compiled(apply.gradients, apply.GRADIENTS, parameter_gradient=self.model.parameter_gradient)
        loss, slope = np.empty(len(theta)), np.empty((len(theta), self.parameters))
        common, none = _packed(x) if x.ndim == 2 else None, np.empty((0, self._row_length))
        factor = 1.0 / x.shape[-2]

        def work(lanes: slice, tile: tuple[np.ndarray, ...]) -> None:
            width = tile[0].shape[1]
            of_loss, of_theta = aligned_zeros((width,)), aligned_zeros((self.parameters, width))
            if common is not None:
                kernel(*tile, common, aligned_zeros((1, self._row_length, width)), factor, of_loss, of_theta)
            else:
                kernel(*tile, none, _columns(x.transpose(1, 2, 0), lanes, width), factor, of_loss, of_theta)
            loss[lanes] = of_loss[: lanes.stop - lanes.start]
            slope[lanes] = of_theta[:, : lanes.stop - lanes.start].T

        self._run(work, self._tiles(theta, shared=True))
        return loss, slope

    def _compiled(self, template: Callable[..., None], signature: Any, **more: Any) -> Any:
        return compiled(template, signature, **self._bindings, **more)

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        return aligned_zeros((self.components, self._width)), aligned_zeros((self.components, self._width))

    def _tiles(
        self, theta: np.ndarray, ragged: bool = False, shared: bool = False
    ) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]]:
        """Lanes, and (theta, derived, constants, shared, scratch) of each tile.

        The last is narrower where `ragged`; where `shared`, few thetas are shared out over all threads.
        """
        theta = np.asarray(theta, float)
        step = self._width
        if shared:
            step = min(step, max(_NARROWEST, -(-len(theta) // (self._threads * _NARROWEST)) * _NARROWEST))
        for first in range(0, len(theta), step):
            lanes = slice(first, min(first + step, len(theta)))
            width = lanes.stop - lanes.start if ragged else step
            constants = np.repeat(self._scalars[:, None], width, axis=1)
            derived, scratch = np.zeros((self._derived_rows, width)), self._scratch(width)
            yield lanes, (_columns(theta.T, lanes, width), derived, constants, self._shared, scratch)

    def _scratch(self, width: int) -> np.ndarray:
        return np.zeros((self.model.scratch_rows(self.values), width))

    def _run(self, work: Callable[[Any, Any], None], pieces: Any) -> None:
        pieces = list(pieces)
        if self._threads == 1 or len(pieces) == 1:  # a thread takes longer to start than most single tiles take
            for piece in pieces:
                work(*piece)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            for future in [pool.submit(work, *piece) for piece in pieces]:
                future.result()


def _columns(array: np.ndarray, lanes: slice, width: int) -> np.ndarray:
    """These columns of (..., R), the last repeated up to the width of a tile."""
    part = aligned_zeros((*array.shape[:-1], width))
    part[:] = array[..., np.minimum(np.arange(lanes.start, lanes.start + width), lanes.stop - 1)]
    return part


def _packed(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, float)
