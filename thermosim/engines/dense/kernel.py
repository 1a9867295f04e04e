"""Steps of one replica of a perceptron, its weights in the cache: loops over contiguous rows that vectorise.

The network is that of `models.multilayer_perceptron`: group layer_k of theta is a matrix (out, in), or (out, in + 1)
with the biases last. The inputs of a layer with biases end with a one, so that biases are weights like others. On the
way back the gradient of a row of weights is made, booked and applied while it is in the first-level cache. Moves are
those of `kernels.theta_moves`; sums of the ledger are float64, of rows at the precision of theta.

Sizes are read at run time: one compilation serves all widths, for each precision. Sums may be taken in any order that
vectors have, which is the same in every process on processors of one kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from thermosim.engines.dense.layout import ADAM, ADAMW, CROSS_ENTROPY, GELU, NESTEROV, RELU, TANH
from thermosim.kernels import types
from thermosim.kernels.free_code import compiled_freely
from thermosim.kernels.signatures import argument_names
from thermosim.streams import MINIBATCH

__all__ = ["compiled", "judge", "row_drawn", "steps"]

_FREE: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
_fast: Any = numba.njit(**_FREE)
_SLOPE, _CUBE = math.sqrt(2.0 / math.pi), 0.044715


@_fast
def row_drawn(seed, step, replica, place, count):  # type: ignore[no-untyped-def]
    """The row that `kernels.minibatch` draws there: the first word of Threefry-2x64 with 13 rounds."""
    key0, key1 = np.uint64(seed), (np.uint64(step) << np.uint64(8)) | np.uint64(MINIBATCH)
    key2 = np.uint64(0x1BD11BDAA9FC1A22) ^ key0 ^ key1
    a, b = np.uint64(replica) + key0, np.uint64(place) + key1
    rotations = (16, 42, 12, 31, 16, 32, 24, 21, 16, 42, 12, 31, 16)
    for number in range(13):
        rotation = np.uint64(rotations[number])
        a = a + b
        b = ((b << rotation) | (b >> (np.uint64(64) - rotation))) ^ a
        if number == 3:
            a, b = a + key1, b + key2 + np.uint64(1)
        elif number == 7:
            a, b = a + key2, b + key0 + np.uint64(2)
        elif number == 11:
            a, b = a + key0, b + key1 + np.uint64(3)
    return np.int64(np.float64(a >> np.uint64(12)) * 2.0**-52 * count)


@_fast
def _products(x, w, z):  # type: ignore[no-untyped-def]
    """z (B, m) = x (B, n) w' of weights (m, n): four rows and two units at a time, each weight loaded once for four."""
    rows, units, n = x.shape[0], w.shape[0], w.shape[1]
    none = x.dtype.type(0)
    for j in range(0, units - 1, 2):
        v, u = w[j], w[j + 1]
        for k in range(0, rows - 3, 4):
            x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
            a0, a1, a2, a3, b0, b1, b2, b3 = none, none, none, none, none, none, none, none
            for i in range(n):
                a0 += x0[i] * v[i]
                a1 += x1[i] * v[i]
                a2 += x2[i] * v[i]
                a3 += x3[i] * v[i]
                b0 += x0[i] * u[i]
                b1 += x1[i] * u[i]
                b2 += x2[i] * u[i]
                b3 += x3[i] * u[i]
            z[k, j], z[k + 1, j], z[k + 2, j], z[k + 3, j] = a0, a1, a2, a3
            z[k, j + 1], z[k + 1, j + 1], z[k + 2, j + 1], z[k + 3, j + 1] = b0, b1, b2, b3
        for k in range(rows - rows % 4, rows):
            x0, a0, b0 = x[k], none, none
            for i in range(n):
                a0 += x0[i] * v[i]
                b0 += x0[i] * u[i]
            z[k, j], z[k, j + 1] = a0, b0
    if units % 2:
        v = w[units - 1]
        for k in range(rows):
            x0, a0 = x[k], none
            for i in range(n):
                a0 += x0[i] * v[i]
            z[k, units - 1] = a0


@_fast
def _add_rows(d, w, below):  # type: ignore[no-untyped-def]
    """below (B, n) = d (B, m) w, of weights (m, n): four units at a time."""
    rows, units, n = d.shape[0], w.shape[0], w.shape[1]
    for k in range(rows):
        out = below[k]
        for i in range(n):
            out[i] = 0
    for j in range(0, units - 3, 4):
        w0, w1, w2, w3 = w[j], w[j + 1], w[j + 2], w[j + 3]
        for k in range(rows):
            out, d0, d1, d2, d3 = below[k], d[k, j], d[k, j + 1], d[k, j + 2], d[k, j + 3]
            for i in range(n):
                out[i] += d0 * w0[i] + d1 * w1[i] + d2 * w2[i] + d3 * w3[i]
    for j in range(units - units % 4, units):
        w0 = w[j]
        for k in range(rows):
            out, d0 = below[k], d[k, j]
            for i in range(n):
                out[i] += d0 * w0[i]


@_fast
def _gradient_of_row(d, j, x, g):  # type: ignore[no-untyped-def]
    """g (n) = sum over the batch of d_j x: four rows of the batch at a time."""
    rows, n = x.shape[0], g.shape[0]
    if rows >= 4:
        x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
        d0, d1, d2, d3 = d[0, j], d[1, j], d[2, j], d[3, j]
        for i in range(n):
            g[i] = d0 * x0[i] + d1 * x1[i] + d2 * x2[i] + d3 * x3[i]
    else:
        x0, d0 = x[0], d[0, j]
        for i in range(n):
            g[i] = d0 * x0[i]
    first = 4 if rows >= 4 else 1
    for k in range(first, rows - (rows - first) % 4, 4):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        d0, d1, d2, d3 = d[k, j], d[k + 1, j], d[k + 2, j], d[k + 3, j]
        for i in range(n):
            g[i] += d0 * x0[i] + d1 * x1[i] + d2 * x2[i] + d3 * x3[i]
    for k in range(rows - (rows - first) % 4, rows):
        x0, d0 = x[k], d[k, j]
        for i in range(n):
            g[i] += d0 * x0[i]


@_fast
def _activate(kind, z, h, slopes):  # type: ignore[no-untyped-def]
    """h (B, b), or (B, b + 1) whose last column stays, of z (B, b), and the slopes (B, b)."""
    of = z.dtype.type
    none, one, half = of(0), of(1), of(0.5)
    slope, cube, three = of(_SLOPE), of(_CUBE), of(3.0 * _CUBE)
    for k in range(z.shape[0]):
        for j in range(z.shape[1]):
            v = z[k, j]
            if kind == RELU:
                h[k, j] = v if v > none else none * v
                slopes[k, j] = one if v > none else none
            elif kind == TANH:
                t = np.tanh(v)
                h[k, j], slopes[k, j] = t, one - t * t
            elif kind == GELU:
                t = np.tanh(slope * (v + cube * v * v * v))
                h[k, j] = half * v * (one + t)
                slopes[k, j] = half * (one + t + v * (one - t * t) * slope * (one + three * v * v))
            else:
                h[k, j], slopes[k, j] = v, one


@_fast
def _loss(kind, f, classes, targets, d):  # type: ignore[no-untyped-def]
    """The mean loss of outputs f (B, b), and d (B, b), its derivatives."""
    of, rows, units, total = f.dtype.type, f.shape[0], f.shape[1], 0.0
    share = of(1.0 / rows)
    for k in range(rows):
        if kind == CROSS_ENTROPY:
            top = f[k, 0]
            for j in range(1, units):
                top = max(top, f[k, j])
            norm = of(0)
            for j in range(units):
                norm += np.exp(f[k, j] - top)
            total += np.float64(np.log(norm) + top - f[k, classes[k]])
            for j in range(units):
                d[k, j] = np.exp(f[k, j] - top) / norm * share
            d[k, classes[k]] -= share
        else:
            for j in range(units):
                gap = f[k, j] - targets[k, j]
                total += np.float64(gap * gap)
                d[k, j] = of(2) * gap * share
    return total / rows


@_fast
def _move_row(move, w, g, memory, hyper, rate, share1, share2, sums):  # type: ignore[no-untyped-def]
    """Apply the gradient g (n) to a row w (n) with what it remembers (0 to 2, n); add |g|^2, |w|^2, |w' - w|^2."""
    of, decay = w.dtype.type, hyper[1]
    n, of_g, of_w, of_step = w.shape[0], of(0), of(0), of(0)
    for i in range(n):
        of_g += g[i] * g[i]
        of_w += w[i] * w[i]
    if move in (ADAM, ADAMW):
        mean, square, beta1, beta2, epsilon = memory[0], memory[1], hyper[2], hyper[3], hyper[4]
        coupled, apart = (decay, of(0)) if move == ADAM else (of(0), decay)
        for i in range(n):
            slope = g[i] + coupled * w[i]
            mean[i] = beta1 * mean[i] + (of(1) - beta1) * slope
            square[i] = beta2 * square[i] + (of(1) - beta2) * slope * slope
            pull = mean[i] / share1 / (np.sqrt(square[i] / share2) + epsilon) + apart * w[i]
            step = -rate * pull
            of_step += step * step
            w[i] += step
    elif memory.shape[0] > 0:
        velocity, beta = memory[0], hyper[2]
        ahead = of(1) if move == NESTEROV else of(0)
        for i in range(n):
            kick = -rate * (g[i] + decay * w[i])
            velocity[i] = beta * velocity[i] + kick
            step = (of(1) - ahead) * velocity[i] + ahead * (beta * velocity[i] + kick)
            of_step += step * step
            w[i] += step
    else:
        for i in range(n):
            step = -rate * (g[i] + decay * w[i])
            of_step += step * step
            w[i] += step
    sums[0] += np.float64(of_g)
    sums[1] += np.float64(of_w)
    sums[2] += np.float64(of_step)


@_fast
def _part(buffers, place, rows, columns):  # type: ignore[no-untyped-def]
    return buffers[place : place + rows * columns].reshape(rows, columns)


@_fast
def _forward(shapes, bias, activation, theta, buffers, places, count):  # type: ignore[no-untyped-def]
    """Outputs of every layer of `count` inputs that are in place; what goes into the next has a last column of ones."""
    first, depth, one = 0, shapes.shape[0], theta.dtype.type(1)
    for layer in range(depth):
        b, a = shapes[layer, 0], shapes[layer, 1]
        w, x = _part(theta, first, b, a), _part(buffers, places[0, layer], count, a)
        z = _part(buffers, places[1, layer], count, b)
        _products(x, w, z)
        if layer + 1 < depth:
            h = _part(buffers, places[0, layer + 1], count, b + bias)
            _activate(activation, z, h, z)
            for k in range(count if bias else 0):
                h[k, b] = one
        first += b * a


@_fast
def _take_row(x_data, row, bias, out):  # type: ignore[no-untyped-def]
    source, n = x_data[row], x_data.shape[1]
    for i in range(n):
        out[i] = source[i]
    if bias:
        out[n] = 1


def steps(  # type: ignore[no-untyped-def]
    seed, replica, drawn, x_data, classes, targets, first_row, row_count, batch, shapes, bias, activation, loss_kind,
    move, hyper, rates, theta, memory, shares, single, of_layers, buffers, places,
):  # fmt: skip
    """As many steps of one replica as there are `drawn` (steps,): the addresses of their minibatches.

    shapes (D, 2) of the weights; hyper (H, F) of every step, or of all; rates (D) factors of the learning rate; theta
    (m), memory (0 to 2, m), shares (2) of Adam; single (4) and of_layers (2, D) the ledger, see `layout`. buffers hold
    inputs, outputs and derivatives of a minibatch, those of layer k from places[:, k] on.
    """
    depth, of, n = shapes.shape[0], theta.dtype.type, x_data.shape[1]
    count = batch if batch > 0 else row_count
    chosen, wanted = np.empty(count, np.int64), np.empty((count, targets.shape[1]), theta.dtype)
    sums = np.zeros(3)
    for s in range(drawn.shape[0]):
        now = hyper[min(s, hyper.shape[0] - 1)]
        x = _part(buffers, places[0, 0], count, n + bias)
        for k in range(count):
            row = first_row + (row_drawn(seed, drawn[s], replica, k, row_count) if batch > 0 else k)
            _take_row(x_data, row, bias, x[k])
            if classes.shape[0] > 0:
                chosen[k] = classes[row]
            for j in range(targets.shape[1]):
                wanted[k, j] = targets[row, j]
        _forward(shapes, bias, activation, theta, buffers, places, count)
        last = depth - 1
        f, d = _part(buffers, places[1, last], count, shapes[last, 0]), places[2, last]
        value = _loss(loss_kind, f, chosen, wanted, _part(buffers, d, count, shapes[last, 0]))
        single[0] += value
        single[1] = value
        if move in (ADAM, ADAMW):
            shares[0] = now[2] * shares[0] + (of(1) - now[2])
            shares[1] = now[3] * shares[1] + (of(1) - now[3])
        first = theta.shape[0]
        for back in range(depth):
            layer = last - back
            b, a = shapes[layer, 0], shapes[layer, 1]
            first -= b * a
            w, x = _part(theta, first, b, a), _part(buffers, places[0, layer], count, a)
            d = _part(buffers, places[2, layer], count, b)
            if layer > 0:
                below, passed = a - bias, _part(buffers, places[3, 0], count, a)
                slopes = _part(buffers, places[1, layer - 1], count, below)
                d_below = _part(buffers, places[2, layer - 1], count, below)
                _add_rows(d, w, passed)
                for k in range(count):
                    for i in range(below):
                        d_below[k, i] = passed[k, i] * slopes[k, i]
            sums[:] = 0
            g, rate = buffers[places[3, 1] : places[3, 1] + a], now[0] * rates[layer]
            for j in range(b):
                begin = first + j * a
                _gradient_of_row(d, j, x, g)
                _move_row(move, w[j], g, memory[:, begin : begin + a], now, rate, shares[0], shares[1], sums)
            single[2] += sums[0]
            single[3] += sums[2]
            of_layers[0, layer] += sums[0]
            of_layers[1, layer] += sums[1]


def judge(  # type: ignore[no-untyped-def]
    x_data, classes, targets, first_row, row_count, rows, shapes, bias, activation, loss_kind, theta, buffers, places,
    result,
):  # fmt: skip
    """result (2): the mean loss of row_count rows, and the share whose class is predicted; buffers hold `rows`."""
    depth, n = shapes.shape[0], x_data.shape[1]
    chosen, wanted = np.empty(rows, np.int64), np.empty((rows, targets.shape[1]), theta.dtype)
    result[:] = 0.0
    units = shapes[depth - 1, 0]
    for begin in range(0, row_count, rows):
        count = min(rows, row_count - begin)
        x = _part(buffers, places[0, 0], count, n + bias)
        for k in range(count):
            row = first_row + begin + k
            _take_row(x_data, row, bias, x[k])
            if classes.shape[0] > 0:
                chosen[k] = classes[row]
            for j in range(targets.shape[1]):
                wanted[k, j] = targets[row, j]
        _forward(shapes, bias, activation, theta, buffers, places, count)
        f = _part(buffers, places[1, depth - 1], count, units)
        for k in range(count if classes.shape[0] > 0 else 0):
            best = 0
            for j in range(1, units):
                best = j if f[k, j] > f[k, best] else best
            result[1] += 1.0 if best == chosen[k] else 0.0
        result[0] += count * _loss(loss_kind, f, chosen, wanted, _part(buffers, places[2, depth - 1], count, units))
    result[0] /= row_count
    result[1] /= row_count


def compiled(function: Callable[..., Any], precision: str) -> Any:
    """Machine code of `steps` or `judge` at a precision, from the disk if it is there."""
    scalar = types.Scalar(precision)
    kinds = {"x_data": scalar[:, ::1], "targets": scalar[:, ::1], "hyper": scalar[:, ::1], "memory": scalar[:, ::1]}
    kinds |= dict.fromkeys(("rates", "theta", "shares", "buffers"), scalar[::1])
    kinds |= {"drawn": types.int64[::1], "classes": types.int64[::1], "single": types.float64[::1]}
    kinds |= {"of_layers": types.float64[:, ::1], "result": types.float64[::1]}
    kinds |= {"shapes": types.int64[:, ::1], "places": types.int64[:, ::1]}
    signature = types.void(*(kinds.get(name, types.int64) for name in argument_names(function)))
    return compiled_freely(function, signature, _FREE)
