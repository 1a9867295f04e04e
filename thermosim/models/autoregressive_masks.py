"""Which weights an autoregressive network has: masks of stated degrees, the same for every replica, without chance.

    m_0(d) = d of input d = 1, ..., n;    m_l(k) = 1 + floor(k (n - 1)/H_l) of hidden unit k = 0, ..., H_l - 1
    hidden unit k sees unit j of the layer below where m_l(k) >= m_(l-1)(j);    output d sees it where d > m_L(j)

So output d depends on x_1, ..., x_(d-1) alone. Degrees are spread evenly, in order: what a unit sees comes first in the
layer below. Source: M. Germain, K. Gregor, I. Murray, H. Larochelle, MADE, ICML 2015, Eqs. 8, 9, 12 and 13.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

__all__ = ["degrees", "masks"]


def degrees(components: int, hidden: Sequence[int]) -> list[np.ndarray]:
    """Those of inputs, of every hidden layer, and of outputs."""
    ends = np.arange(1, components + 1)
    return [ends, *(1 + np.arange(units) * (components - 1) // units for units in hidden), ends]


def masks(components: int, hidden: Sequence[int]) -> list[np.ndarray]:
    """Of every layer, which weights there are: (out, in) of true and false."""
    *below, last = itertools.pairwise(degrees(components, hidden))
    return [above[:, None] >= lower for lower, above in below] + [last[1][:, None] > last[0]]
