"""What becomes of frames on the card: looked at, summed and counted by one thread for each lane or cohort.

Running sums are those of `kernels.folding`, one lane wide. Counts are whole numbers, which may be added in any order.
"""

from __future__ import annotations

import math

from numba import cuda

from thermosim.kernels import types
from thermosim.kernels.folding import fold_moments, fold_products, mean_and_variance, place_of

__all__ = ["ADD", "BEGIN", "BEYOND", "COUNT", "GROUP", "JUDGE", "LAST", "LOSE", "MOMENTS", "PRODUCTS"]
__all__ += ["add", "begin", "beyond", "count", "group", "judge", "last", "lose", "moments", "products"]

NAN = math.nan
_tile = types.float64[:, ::1]
_stack = types.float64[:, :, ::1]
_vector = types.float64[::1]
_integers = types.int64[::1]

BEGIN = types.void(types.int64[:, ::1], types.int64)
BEYOND = types.void(_stack, _vector, _integers, types.int64[:, ::1])
JUDGE = types.void(types.int64[:, ::1], types.int64, _integers, _integers)
LOSE = types.void(_stack, _integers)
ADD = types.void(_stack, _stack, types.int64, types.int64, types.int64, types.int64, types.boolean)
MOMENTS = types.void(_stack, types.int64, _tile, _tile)
LAST = types.void(_stack, _tile)
PRODUCTS = types.void(_stack, types.int64, _tile, _tile, _stack, _stack, _stack)
COUNT = types.void(_stack, _integers, _vector, types.int64[:, :, ::1])
GROUP = types.void(_stack, _integers, _stack, _stack)


def begin(first, frames):  # type: ignore[no-untyped-def]
    """Nothing is beyond anything yet."""
    lane = cuda.grid(1)
    if lane < first.shape[1]:
        for place in range(first.shape[0]):
            first[place, lane] = frames


def beyond(values, limits, places, first):  # type: ignore[no-untyped-def]
    """The first frame of values (F, R, L) in which a row is beyond its limit, or NaN; of row r in first[places[r]]."""
    lane = cuda.grid(1)
    if lane < values.shape[2]:
        for row in range(values.shape[1]):
            place = places[row]
            for frame in range(min(values.shape[0], first[place, lane])):
                if not abs(values[frame, row, lane]) <= limits[row]:
                    first[place, lane] = frame
                    break


def judge(first, frames, lost, bad):  # type: ignore[no-untyped-def]
    """The first bad frame of every lane, 0 of one that was lost before; then it is lost."""
    lane = cuda.grid(1)
    if lane < lost.shape[0]:
        worst = 0 if lost[lane] != 0 else frames
        for place in range(first.shape[0]):
            worst = min(worst, first[place, lane])
        bad[lane] = worst
        if worst < frames:
            lost[lane] = 1


def lose(values, bad):  # type: ignore[no-untyped-def]
    """NaN from the first bad frame on."""
    lane = cuda.grid(1)
    if lane < values.shape[2]:
        for frame in range(bad[lane], values.shape[0]):
            for row in range(values.shape[1]):
                values[frame, row, lane] = NAN


def add(target, source, first, stride, offset, step, again):  # type: ignore[no-untyped-def]
    """Some frames and rows of source (F, Q, L) put into target (F', R, L), or added to what is there."""
    lane = cuda.grid(1)
    if lane < target.shape[2]:
        for frame in range(target.shape[0]):
            for row in range(target.shape[1]):
                value = source[first + stride * frame, offset + step * row, lane]
                target[frame, row, lane] = target[frame, row, lane] + value if again else value


def moments(values, before, mean, square):  # type: ignore[no-untyped-def]
    """As `fold_moments`."""
    lane = cuda.grid(1)
    if lane < values.shape[2]:
        end = lane + 1
        fold_moments(values[:, :, lane:end], before, mean[:, lane:end], square[:, lane:end])


def last(values, kept):  # type: ignore[no-untyped-def]
    """The last of the frames."""
    lane = cuda.grid(1)
    if lane < values.shape[2]:
        for row in range(values.shape[1]):
            kept[row, lane] = values[values.shape[0] - 1, row, lane]


def products(values, before, reference, total, head, ring, sums):  # type: ignore[no-untyped-def]
    """As `fold_products`."""
    lane = cuda.grid(1)
    if lane < values.shape[2]:
        end = lane + 1
        fold_products(
            values[:, :, lane:end], before, reference[:, lane:end], total[:, lane:end], head[:, :, lane:end],
            ring[:, :, lane:end], sums[:, :, lane:end],
        )  # fmt: skip


def count(values, cohort_of_lane, edges, counts):  # type: ignore[no-untyped-def]
    """counts (R, bins + 2, C) of all cohorts, to which threads add together."""
    lane = cuda.grid(1)
    if lane < values.shape[2]:
        for frame in range(values.shape[0]):
            for row in range(values.shape[1]):
                place = place_of(values[frame, row, lane], edges)
                if place >= 0:
                    cuda.atomic.add(counts, (row, place, cohort_of_lane[lane]), 1)


def group(values, edges, mean, variance):  # type: ignore[no-untyped-def]
    """A thread for each frame, row and cohort."""
    number = cuda.grid(1)
    cohorts = edges.shape[0] - 1
    if number < values.shape[0] * values.shape[1] * cohorts:
        cohort, rest = number % cohorts, number // cohorts
        row, frame = rest % values.shape[1], rest // values.shape[1]
        m, v = mean_and_variance(values[frame, row, edges[cohort] : edges[cohort + 1]])
        mean[frame, cohort, row], variance[frame, cohort, row] = m, v
