"""Products of many maps in few operations on arrays: powers by squaring, and running products by blocks.

A map is a tuple of arrays whose last axis counts maps; `compose(first, second)` is the map that does `first` and then
`second`, for all pairs at once, and must be associative. With N maps in blocks of N^(1/3), all blocks are multiplied up
side by side, and the product of the blocks before, found in the same way, is put in front: some 2 N^(1/3) calls of
`compose` in place of N.

Source: G. E. Blelloch, Prefix sums and their applications, CMU-CS-90-190 (1990).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["Compose", "Maps", "power", "running_products"]

Maps = tuple[np.ndarray, ...]
Compose = Callable[[Maps, Maps], Maps]
_BYTES = 1 << 25  # of maps that are multiplied side by side


def power(one: Maps, exponent: np.ndarray, compose: Compose) -> Maps:
    """Each map (S of them) as often after itself as `exponent` (S), at least once, says."""
    left, base = np.asarray(exponent, np.int64), one
    result, begun = one, np.zeros(left.shape, bool)
    while True:
        odd = left % 2 == 1
        if np.any(odd & begun):
            product = compose(result, base)
            result = tuple(np.where(odd & begun, new, old) for new, old in zip(product, result, strict=True))
        result = tuple(np.where(odd & ~begun, new, old) for new, old in zip(base, result, strict=True))
        begun, left = begun | odd, left // 2
        if not np.any(left):
            return result
        base = compose(base, base)


def running_products(make: Callable[[np.ndarray], Maps], count: int, keep: np.ndarray, compose: Compose) -> Maps:
    """Maps 0..k one after another, for each k of `keep`, increasing; make(indices) gives maps of 0..count - 1."""
    bulk = count * sum(part.nbytes for part in make(np.zeros(1, int)))
    length = max(2, round(count ** (1.0 / 3.0)), -(-bulk // _BYTES))
    starts, block, offset = np.arange(0, count, length), keep // length, keep % length
    order = np.argsort(offset, kind="stable")
    ends = np.searchsorted(offset[order], np.arange(length + 1))
    product: Maps = make(starts)
    kept = tuple(np.empty((*part.shape[:-1], len(keep))) for part in product)
    for within in range(length):
        if within:  # the last block may be shorter: what goes on past its end is not kept
            product = compose(product, make(np.minimum(starts + within, count - 1)))
        here = order[ends[within] : ends[within + 1]]
        if here.size:
            for part, now in zip(kept, product, strict=True):
                part[..., here] = now[..., block[here]]
    later = int(np.searchsorted(block, 1))  # the first that is kept of the second block or one after it
    if later == len(keep):
        return kept
    full = np.arange(len(starts) - 1)
    whole = running_products(lambda at: tuple(part[..., at] for part in product), len(full), full, compose)
    lead = tuple(part[..., block[later:] - 1] for part in whole)
    rest = compose(lead, tuple(part[..., later:] for part in kept))
    return tuple(np.concatenate([part[..., :later], new], axis=-1) for part, new in zip(kept, rest, strict=True))
