"""Cohorts: the replicas of one point of a sweep, cut into runs that are summed together and distributed together.

Sums over replicas are taken cohort by cohort, in the order of the replicas, and a block is only ever cut at the edge of
a cohort; so such sums do not depend on threads, tiles or workers, and their spread over cohorts gives an error bar.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["bounds", "lanes_of", "numbers", "per_point", "slice_of"]

_FEWEST = 32  # enough for an error bar that is itself known to an eighth
_LARGEST = 1024


def per_point(replicas: int) -> int:
    """Cohorts of each point of a sweep with so many replicas."""
    return replicas if replicas <= _FEWEST else max(_FEWEST, math.ceil(replicas / _LARGEST))


def bounds(replicas: int) -> np.ndarray:
    """First replica of every cohort of a point, and the number of replicas: (cohorts + 1,)."""
    cohorts = per_point(replicas)
    return np.arange(cohorts + 1) * replicas // cohorts


def lanes_of(replicas: int, first: int, last: int) -> tuple[int, int]:
    """First lane of cohort `first` and of cohort `last` of a block, both counted over all its points."""
    edges, cohorts = bounds(replicas), per_point(replicas)
    return tuple(c // cohorts * replicas + int(edges[c % cohorts]) for c in (first, last))  # type: ignore[return-value]


def slice_of(replicas: int, first_lane: int, lanes: int) -> slice:
    """The cohorts, counted over all points of a block, that make up these lanes of it.

    Raises ValueError when the lanes do not begin and end at the edge of a cohort.
    """
    edges, cohorts = bounds(replicas), per_point(replicas)
    ends = []
    for lane in (first_lane, first_lane + lanes):
        point, replica = divmod(lane, replicas)
        cohort = int(np.searchsorted(edges, replica))
        if edges[cohort] != replica:
            raise ValueError(f"lane {lane} is inside a cohort")
        ends.append(point * cohorts + cohort)
    return slice(*ends)


def numbers(replicas: int, lanes: np.ndarray) -> np.ndarray:
    """The cohort of each of these lanes, both counted over all points of a block."""
    points, replica = np.divmod(lanes, replicas)
    return np.asarray(points * per_point(replicas) + np.searchsorted(bounds(replicas), replica, side="right") - 1)
