"""Running summaries of a variable: every value is folded in as its frame comes, in order of steps.

values (F, R, L) are F frames of R components in L lanes, `count` the frames folded before. Lanes do not mix, and each
frame is folded by itself: the bits depend neither on how frames are grouped into calls nor on how lanes are cut. A
block of lanes takes all its frames before the next block begins, so that its sums stay in the first-level cache.

    moments    y_n: m <- m + (y - m)/n,  q <- q + (y - m_before)(y - m_after);  variance q/(n - 1)
               (B. P. Welford, Technometrics 4, 419 (1962))
    products   z = y - y_0: sum_t z_t,  p_l = sum_t z_t z_(t+l),  the first and the last z; relative to the lane's first
               value, so that a large offset does not cancel
"""

from __future__ import annotations

from thermosim.kernels import types
from thermosim.kernels.declare import inlined

__all__ = [
    "COUNTS",
    "GROUPS",
    "MOMENTS",
    "PRODUCTS",
    "fold_counts",
    "fold_groups",
    "fold_moments",
    "fold_products",
    "place_of",
]

_BLOCK = 64  # lanes

_tile = types.float64[:, ::1]
_stack = types.float64[:, :, ::1]

MOMENTS = types.void(_stack, types.int64, _tile, _tile)
PRODUCTS = types.void(_stack, types.int64, _tile, _tile, _stack, _stack, _stack)
COUNTS = types.void(_stack, types.int64, types.int64[::1], types.float64[::1], types.int64[:, :, ::1])
GROUPS = types.void(_stack, types.int64[::1], _stack, _stack)


@inlined
def fold_moments(values, count, mean, square):  # type: ignore[no-untyped-def]
    """Bring mean and sum of squared deviations, (R, L) each, up to date."""
    frames, rows, lanes = values.shape
    for row in range(rows):
        for first in range(0, lanes, _BLOCK):
            m, q = mean[row, first : first + _BLOCK], square[row, first : first + _BLOCK]
            for frame in range(frames):
                y = values[frame, row, first : first + _BLOCK]
                share = 1.0 / (count + frame + 1)
                for lane in range(m.shape[0]):
                    before = y[lane] - m[lane]
                    after = m[lane] + before * share
                    q[lane] += before * (y[lane] - after)
                    m[lane] = after


@inlined
def fold_products(values, count, reference, total, head, ring, products):  # type: ignore[no-untyped-def]
    """Bring the sums of an autocovariance at lags 0 to K up to date.

    reference (R, L) is the first value, total (R, L) the sum of all z, head (K, R, L) the first K of them, ring
    (K, R, L) the last K, z_t in place t mod K and 0 where there has been none; products (K + 1, R, L).
    """
    frames, rows, lanes = values.shape
    lags = ring.shape[0]
    for row in range(rows):
        for first in range(0, lanes, _BLOCK):
            last = min(first + _BLOCK, lanes)
            origin, sum_of_z = reference[row, first:last], total[row, first:last]
            for frame in range(frames):
                y = values[frame, row, first:last]
                now = count + frame
                place = now % lags
                z = ring[place, row, first:last]  # until it is replaced, the value of K frames ago
                oldest, square = products[lags, row, first:last], products[0, row, first:last]
                if now == 0:
                    for lane in range(y.shape[0]):
                        origin[lane] = y[lane]
                for lane in range(y.shape[0]):
                    new = y[lane] - origin[lane]
                    oldest[lane] += z[lane] * new
                    square[lane] += new * new
                    sum_of_z[lane] += new
                    z[lane] = new
                if now < lags:
                    early = head[now, row, first:last]
                    for lane in range(y.shape[0]):
                        early[lane] = z[lane]
                for lag in range(1, lags):
                    past = ring[place - lag if place >= lag else place - lag + lags, row, first:last]
                    product = products[lag, row, first:last]
                    for lane in range(y.shape[0]):
                        product[lane] += past[lane] * z[lane]


@inlined
def place_of(y, edges):  # type: ignore[no-untyped-def]
    """Where a value is counted: bin b, edges[b] <= y < edges[b + 1], in b + 1; NaN in -1, which is nowhere."""
    bins = edges.shape[0] - 1
    lowest, highest = edges[0], edges[bins]
    if y < lowest:
        return 0
    if y >= highest:
        return bins + 1
    if y >= lowest:
        b = min(int((y - lowest) * (bins / (highest - lowest))), bins - 1)
        while y < edges[b]:  # rounding may be one off next to an edge
            b -= 1
        while y >= edges[b + 1]:
            b += 1
        return b + 1
    return -1


def fold_counts(values, used, cohort_of_lane, edges, counts):  # type: ignore[no-untyped-def]
    """Count the values of the first `used` lanes, each in its cohort: counts (R, bins + 2, C).

    Bin b holds edges[b] <= y < edges[b + 1]; the first and the last row count what lies below and above all of them.
    NaN is counted nowhere.
    """
    frames, rows, _ = values.shape
    for frame in range(frames):
        for row in range(rows):
            for lane in range(used):
                place = place_of(values[frame, row, lane], edges)
                if place >= 0:
                    counts[row, place, cohort_of_lane[lane]] += 1


@inlined
def mean_and_variance(values):  # type: ignore[no-untyped-def]
    """Mean and unbiased variance of values (L,), in their order and relative to the first of them.

    Equal values have exactly their value as mean. The variance is NaN where there is one only.
    """
    size = values.shape[0]
    origin, total, square = values[0], 0.0, 0.0
    for lane in range(1, size):
        total += values[lane] - origin
    mean = origin + total / size
    for lane in range(size):
        square += (values[lane] - mean) * (values[lane] - mean)
    return mean, square / (size - 1)


def fold_groups(values, edges, mean, variance):  # type: ignore[no-untyped-def]
    """Mean and unbiased variance over runs of lanes: of values (F, K, lanes), lanes edges[c] to edges[c + 1] - 1.

    mean and variance (F, C, K).
    """
    for frame in range(values.shape[0]):
        for k in range(values.shape[1]):
            for group in range(edges.shape[0] - 1):
                m, v = mean_and_variance(values[frame, k, edges[group] : edges[group + 1]])
                mean[frame, group, k], variance[frame, group, k] = m, v
