"""Folding frames into running summaries, tile by tile, and over the replicas of cohorts."""

from __future__ import annotations

import numpy as np

from thermosim.kernels.aligned import aligned_zeros
from thermosim.kernels.compile import compiled
from thermosim.kernels.folding import (
    COUNTS,
    GROUPS,
    MOMENTS,
    PRODUCTS,
    fold_counts,
    fold_groups,
    fold_moments,
    fold_products,
)
from thermosim.storage.manifest import Summary
from thermosim.storage.summaries import bin_edges

__all__ = ["TileSummary", "fold_cohorts", "shapes_of_sums"]


def shapes_of_sums(summary: Summary, rows: int) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Shapes of the running sums of a variable of R = `rows` components: those of each lane, and of each cohort."""
    lanes: dict[str, tuple[int, ...]] = {}
    keep, lags = set(summary.keep), summary.lags
    if keep & {"mean", "variance"}:
        lanes |= dict.fromkeys(("mean", "square"), (rows,))
    if "last" in keep:
        lanes["last"] = (rows,)
    if "correlation" in keep:
        lanes |= dict.fromkeys(("reference", "total"), (rows,))
        lanes |= dict.fromkeys(("head", "ring"), (lags, rows))
        lanes["products"] = (lags + 1, rows)
    return lanes, {"counts": (rows, summary.bins + 2)} if "histogram" in keep else {}


class TileSummary:
    """Running sums of one variable over the lanes of one tile: `lanes` (..., L) and counts of `cohorts` (..., C).

    `rows` is R, the components of the variable; `width` L; `cohort_of_lane` (L,) int64 the cohort of each lane, counted
    from 0 within the tile. To go on with a run, write into the arrays.
    """

    def __init__(self, summary: Summary, rows: int, width: int, cohort_of_lane: np.ndarray) -> None:
        of_lane, of_cohort = shapes_of_sums(summary, rows)
        cohorts = int(cohort_of_lane.max(initial=-1)) + 1
        self.lanes = {name: aligned_zeros((*shape, width)) for name, shape in of_lane.items()}
        self.cohorts = {name: np.zeros((*shape, cohorts), np.int64) for name, shape in of_cohort.items()}
        if "mean" in self.lanes:
            self._moments = compiled(fold_moments, MOMENTS)
        if "products" in self.lanes:
            self._products = compiled(fold_products, PRODUCTS)
        if "counts" in self.cohorts:
            self._counts = compiled(fold_counts, COUNTS)
            self._edges = bin_edges(summary)
            self._cohort_of_lane = np.ascontiguousarray(cohort_of_lane, np.int64)

    def fold(self, values: np.ndarray, count: int, used: int) -> None:
        """Fold frames (F, R, L), C-contiguous and in order of steps; `count` is the number folded before.

        Lanes from `used` on are padding, which is never counted.
        """
        if not len(values):
            return
        lanes = self.lanes
        if "mean" in lanes:
            self._moments(values, count, lanes["mean"], lanes["square"])
        if "last" in lanes:
            lanes["last"][:] = values[-1]
        if "products" in lanes:
            sums = (lanes[name] for name in ("reference", "total", "head", "ring", "products"))
            self._products(values, count, *sums)
        if "counts" in self.cohorts:
            self._counts(values, used, self._cohort_of_lane, self._edges, self.cohorts["counts"])


def fold_cohorts(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance over cohorts, (F, C, K) each, of values (F, K, lanes).

    Cohort c is lanes edges[c] to edges[c + 1] - 1, edges (C + 1,) increasing. A cohort with a NaN has NaN.
    """
    shape = (len(values), len(edges) - 1, values.shape[1])
    mean, variance = np.empty(shape), np.empty(shape)
    edges = np.ascontiguousarray(edges, np.int64)
    compiled(fold_groups, GROUPS)(np.ascontiguousarray(values, np.float64), edges, mean, variance)
    return mean, variance
