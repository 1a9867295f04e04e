"""Layers of a neural network on lanes, forwards and backwards: every lane has weights of its own.

    z_j = sum_i w_ji h_i + b_j,   h'_j = s(z_j);        dl/dw_ji = d_j h_i,   dl/db_j = d_j,   dl/dh_i = sum_j w_ji d_j

with d_j = dl/dz_j; weights (b (a + bias), L) hold one unit after another, its bias last. A loop over lanes takes four
weights; the sum over the others is loaded and stored once for each four. Rectified and linear units need no pass of
their own: they are max(z, floor), with a floor of 0 or of minus infinity.

Sources: D. E. Rumelhart, G. E. Hinton, R. J. Williams, Nature 323, 533 (1986), for the way back; D. Hendrycks,
K. Gimpel, arXiv:1606.08415, sec. 2, for the Gaussian error linear unit in the form with tanh.
"""

from __future__ import annotations

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import exp, fma, log, tanh

__all__ = [
    "GELU",
    "LINEAR",
    "RELU",
    "TANH",
    "activate",
    "backward",
    "cross_entropy",
    "first_backward",
    "forward",
    "squared_error",
    "through",
]

LINEAR, RELU, TANH, GELU = 0, 1, 2, 3
_ROOT_TWO_OVER_PI = 0.7978845608028654
_CUBIC = 0.044715
_INFINITE = float("inf")


@inlined
def forward(weights, inputs, outputs, zero, floor):  # type: ignore[no-untyped-def]
    """outputs (b, L): max(z, floor) of inputs (a, L); zero (L) is a row of zeros."""
    a, b = inputs.shape[0], outputs.shape[0]
    stride = weights.shape[0] // b
    for j in range(b):
        total, first = outputs[j], j * stride
        start = weights[first + a] if stride > a else zero
        i = a % 4
        low = floor if a <= 4 else -_INFINITE
        if i == 1:
            _sum_1(weights[first:], inputs, start, total, low)
        elif i == 2:
            _sum_2(weights[first:], inputs, start, total, low)
        elif i == 3:
            _sum_3(weights[first:], inputs, start, total, low)
        else:
            i = 4
            _sum_4(weights[first:], inputs, start, total, low)
        while i < a:
            low = floor if i + 4 >= a else -_INFINITE
            _sum_4(weights[first + i :], inputs[i:], total, total, low)
            i += 4


@inlined
def activate(kind, z, slope):  # type: ignore[no-untyped-def]
    """Put s(z) in place of z (b, L), for tanh and gelu; of gelu slope (b, L) keeps s'(z)."""
    if kind == TANH:
        for j in range(z.shape[0]):
            row = z[j]
            for lane in range(z.shape[1]):
                row[lane] = tanh(row[lane])
    if kind == GELU:
        for j in range(z.shape[0]):
            row, of_row = z[j], slope[j]
            for lane in range(z.shape[1]):
                x = row[lane]
                square = x * x
                t = tanh(_ROOT_TWO_OVER_PI * x * fma(_CUBIC, square, 1.0))
                half = 0.5 * (1.0 + t)
                inner = _ROOT_TWO_OVER_PI * fma(3.0 * _CUBIC, square, 1.0)
                of_row[lane] = fma(0.5 * x * fma(-t, t, 1.0), inner, half)
                row[lane] = x * half


@inlined
def backward(weights, inputs, delta, of_weights, of_inputs, zero, floor):  # type: ignore[no-untyped-def]
    """Add to of_weights, and write of_inputs (a, L): dl/dh, or 0 where h <= floor."""
    a, b = inputs.shape[0], delta.shape[0]
    stride = weights.shape[0] // b
    _of_biases(delta, of_weights, a, stride)
    for i in range(a):
        x, total, j = inputs[i], of_inputs[i], b % 4
        low = floor if b <= 4 else -_INFINITE
        w, g = weights[i:], of_weights[i:]
        if j == 1:
            _back_1(w, delta, x, g, zero, total, low)
        elif j == 2:
            _back_2(w, delta, x, g, stride, zero, total, low)
        elif j == 3:
            _back_3(w, delta, x, g, stride, zero, total, low)
        else:
            j = 4
            _back_4(w, delta, x, g, stride, zero, total, low)
        while j < b:
            low = floor if j + 4 >= b else -_INFINITE
            _back_4(w[j * stride :], delta[j:], x, g[j * stride :], stride, total, total, low)
            j += 4


@inlined
def first_backward(inputs, delta, of_weights):  # type: ignore[no-untyped-def]
    """Add to of_weights of a layer whose inputs are data."""
    a, b = inputs.shape[0], delta.shape[0]
    stride = of_weights.shape[0] // b
    _of_biases(delta, of_weights, a, stride)
    for j in range(b):
        d, g, i = delta[j], of_weights[j * stride :], a % 4
        if i == 1:
            _add_1(d, inputs, g)
        elif i == 2:
            _add_2(d, inputs, g)
        elif i == 3:
            _add_3(d, inputs, g)
        while i < a:
            _add_4(d, inputs[i:], g[i:])
            i += 4


@inlined
def through(kind, outputs, slope, delta):  # type: ignore[no-untyped-def]
    """From dl/dh in delta (b, L) to dl/dz, for tanh and gelu."""
    for j in range(delta.shape[0]):
        d, h = delta[j], outputs[j]
        if kind == TANH:
            for lane in range(delta.shape[1]):
                d[lane] *= fma(-h[lane], h[lane], 1.0)
        if kind == GELU:
            s = slope[j]
            for lane in range(delta.shape[1]):
                d[lane] *= s[lane]


@inlined
def squared_error(outputs, targets, factor, loss, delta):  # type: ignore[no-untyped-def]
    """Add factor |f - y|^2 to loss (L), and write delta = 2 factor (f - y), (b, L)."""
    for j in range(outputs.shape[0]):
        f, y, d = outputs[j], targets[j], delta[j]
        for lane in range(f.shape[0]):
            error = f[lane] - y[lane]
            d[lane] = 2.0 * factor * error
            loss[lane] = fma(factor * error, error, loss[lane])


@inlined
def cross_entropy(outputs, target, factor, loss, delta, top, total):  # type: ignore[no-untyped-def]
    """Add factor (ln sum_k exp f_k - f_class) to loss (L), and write delta = factor (p_k - [k = class]), (b, L).

    The largest f, in top (L), is taken off first; total (L) is the sum.
    """
    for lane in range(top.shape[0]):
        top[lane] = outputs[0, lane]
        total[lane] = 0.0
    for j in range(1, outputs.shape[0]):
        f = outputs[j]
        for lane in range(top.shape[0]):
            top[lane] = max(top[lane], f[lane])
    for j in range(outputs.shape[0]):
        f, d = outputs[j], delta[j]
        for lane in range(top.shape[0]):
            d[lane] = exp(f[lane] - top[lane])
            total[lane] += d[lane]
    for lane in range(top.shape[0]):
        loss[lane] = fma(factor, log(total[lane]), loss[lane])
        total[lane] = factor / total[lane]
    for j in range(outputs.shape[0]):
        f, d = outputs[j], delta[j]
        for lane in range(top.shape[0]):
            here = factor if target[lane] == j else 0.0
            loss[lane] = fma(here, top[lane] - f[lane], loss[lane])
            d[lane] = fma(d[lane], total[lane], -here)


@inlined
def _of_biases(delta, of_weights, a, stride):  # type: ignore[no-untyped-def]
    for j in range(delta.shape[0] if stride > a else 0):
        d, g = delta[j], of_weights[j * stride + a]
        for lane in range(d.shape[0]):
            g[lane] += d[lane]


@inlined
def _sum_1(w, h, start, total, low):  # type: ignore[no-untyped-def]
    w0, h0 = w[0], h[0]
    for lane in range(total.shape[0]):
        z = fma(w0[lane], h0[lane], start[lane])
        total[lane] = low if low > z else z


@inlined
def _sum_2(w, h, start, total, low):  # type: ignore[no-untyped-def]
    w0, w1, h0, h1 = w[0], w[1], h[0], h[1]
    for lane in range(total.shape[0]):
        z = fma(w0[lane], h0[lane], fma(w1[lane], h1[lane], start[lane]))
        total[lane] = low if low > z else z


@inlined
def _sum_3(w, h, start, total, low):  # type: ignore[no-untyped-def]
    w0, w1, w2, h0, h1, h2 = w[0], w[1], w[2], h[0], h[1], h[2]
    for lane in range(total.shape[0]):
        z = fma(w0[lane], h0[lane], fma(w1[lane], h1[lane], fma(w2[lane], h2[lane], start[lane])))
        total[lane] = low if low > z else z


@inlined
def _sum_4(w, h, start, total, low):  # type: ignore[no-untyped-def]
    """total = max(low, start + sum of four products); a NaN stays one."""
    w0, w1, w2, w3, h0, h1, h2, h3 = w[0], w[1], w[2], w[3], h[0], h[1], h[2], h[3]
    for lane in range(total.shape[0]):
        z = fma(w0[lane], h0[lane], fma(w1[lane], h1[lane], start[lane]))
        z = fma(w2[lane], h2[lane], fma(w3[lane], h3[lane], z))
        total[lane] = low if low > z else z


@inlined
def _back_1(w, d, x, g, start, total, low):  # type: ignore[no-untyped-def]
    w0, d0, g0 = w[0], d[0], g[0]
    for lane in range(x.shape[0]):
        h = x[lane]
        s = fma(w0[lane], d0[lane], start[lane])
        g0[lane] = fma(d0[lane], h, g0[lane])
        total[lane] = 0.0 if h <= low else s


@inlined
def _back_2(w, d, x, g, stride, start, total, low):  # type: ignore[no-untyped-def]
    w0, w1, d0, d1, g0, g1 = w[0], w[stride], d[0], d[1], g[0], g[stride]
    for lane in range(x.shape[0]):
        h = x[lane]
        s = fma(w0[lane], d0[lane], fma(w1[lane], d1[lane], start[lane]))
        g0[lane], g1[lane] = fma(d0[lane], h, g0[lane]), fma(d1[lane], h, g1[lane])
        total[lane] = 0.0 if h <= low else s


@inlined
def _back_3(w, d, x, g, stride, start, total, low):  # type: ignore[no-untyped-def]
    w0, w1, w2, d0, d1, d2 = w[0], w[stride], w[2 * stride], d[0], d[1], d[2]
    g0, g1, g2 = g[0], g[stride], g[2 * stride]
    for lane in range(x.shape[0]):
        h = x[lane]
        s = fma(w0[lane], d0[lane], fma(w1[lane], d1[lane], fma(w2[lane], d2[lane], start[lane])))
        g0[lane], g1[lane] = fma(d0[lane], h, g0[lane]), fma(d1[lane], h, g1[lane])
        g2[lane] = fma(d2[lane], h, g2[lane])
        total[lane] = 0.0 if h <= low else s


@inlined
def _back_4(w, d, x, g, stride, start, total, low):  # type: ignore[no-untyped-def]
    """Four weights of one input: their gradients, and total = start + sum_j w_j d_j, or 0 where the input is <= low."""
    w0, w1, w2, w3 = w[0], w[stride], w[2 * stride], w[3 * stride]
    d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
    g0, g1, g2, g3 = g[0], g[stride], g[2 * stride], g[3 * stride]
    for lane in range(x.shape[0]):
        h = x[lane]
        s = fma(w0[lane], d0[lane], fma(w1[lane], d1[lane], start[lane]))
        s = fma(w2[lane], d2[lane], fma(w3[lane], d3[lane], s))
        g0[lane], g1[lane] = fma(d0[lane], h, g0[lane]), fma(d1[lane], h, g1[lane])
        g2[lane], g3[lane] = fma(d2[lane], h, g2[lane]), fma(d3[lane], h, g3[lane])
        total[lane] = 0.0 if h <= low else s


@inlined
def _add_1(d, x, g):  # type: ignore[no-untyped-def]
    x0, g0 = x[0], g[0]
    for lane in range(d.shape[0]):
        g0[lane] = fma(d[lane], x0[lane], g0[lane])


@inlined
def _add_2(d, x, g):  # type: ignore[no-untyped-def]
    x0, x1, g0, g1 = x[0], x[1], g[0], g[1]
    for lane in range(d.shape[0]):
        g0[lane], g1[lane] = fma(d[lane], x0[lane], g0[lane]), fma(d[lane], x1[lane], g1[lane])


@inlined
def _add_3(d, x, g):  # type: ignore[no-untyped-def]
    x0, x1, x2, g0, g1, g2 = x[0], x[1], x[2], g[0], g[1], g[2]
    for lane in range(d.shape[0]):
        g0[lane], g1[lane] = fma(d[lane], x0[lane], g0[lane]), fma(d[lane], x1[lane], g1[lane])
        g2[lane] = fma(d[lane], x2[lane], g2[lane])


@inlined
def _add_4(d, x, g):  # type: ignore[no-untyped-def]
    """Gradients of four weights of one unit."""
    x0, x1, x2, x3, g0, g1, g2, g3 = x[0], x[1], x[2], x[3], g[0], g[1], g[2], g[3]
    for lane in range(d.shape[0]):
        g0[lane], g1[lane] = fma(d[lane], x0[lane], g0[lane]), fma(d[lane], x1[lane], g1[lane])
        g2[lane], g3[lane] = fma(d[lane], x2[lane], g2[lane]), fma(d[lane], x3[lane], g3[lane])
