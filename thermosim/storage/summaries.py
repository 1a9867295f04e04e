"""Summaries of a variable, kept instead of its frames or besides them: how they are folded, and what results.

Values are those of the variable at the steps of the summary's cadence. `run/fold.py` folds them frame by frame; its
arrays are all there is to go on from. `finish` turns the arrays of any run of lanes into variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thermosim.storage.manifest import Manifest, StoredCoordinate, StoredVariable, Summary

__all__ = ["RESULTS", "bin_edges", "declared", "finals", "finish"]

# what is kept, and the endings of the names of its variables
RESULTS: dict[str, tuple[str, ...]] = {
    "mean": ("mean",),
    "variance": ("variance",),
    "last": ("last",),
    "histogram": ("histogram", "outside"),
    "correlation": ("autocovariance",),
    "ensemble_mean": ("ensemble_mean",),
    "ensemble_variance": ("ensemble_variance",),
}


_PER_FRAME = ("ensemble_mean", "ensemble_variance")  # results that are not one value of the whole run
_COUNTS = ("histogram", "outside")


def bin_edges(summary: Summary) -> np.ndarray:
    """Edges of the bins of a histogram: (bins + 1,)."""
    assert summary.range is not None
    return np.linspace(*summary.range, summary.bins + 1)


def finals(manifest: Manifest, state: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """The summaries of a run, from the state of any of its lanes after `step`: (lanes or cohorts, ...)."""
    result: dict[str, np.ndarray] = {}
    for summary in manifest.summaries:
        arrays: dict[str, np.ndarray] = {}
        for prefix in (f"summary/{summary.variable}/", f"cohorts/{summary.variable}/"):
            arrays |= {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
        result |= finish(summary, arrays, summary.cadence.until(step))
    return result


def finish(summary: Summary, arrays: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The variables with one value per run, by name, lanes or cohorts first; NaN where there are too few values.

    `arrays` are those of `TileSummary` over any run of lanes, lanes or cohorts last; `count` the values folded. Of x:
    x_mean, x_variance, x_last (lanes, *shape), x_histogram (C, *shape, bins), x_outside (C, *shape, 2),
    x_autocovariance (lanes, *shape, lags + 1).
    """
    found: dict[str, np.ndarray] = {}  # (..., R, lanes or C)
    with np.errstate(invalid="ignore", over="ignore"):  # lanes that diverged
        if "mean" in summary.keep:
            found["mean"] = np.where(count > 0, arrays["mean"], np.nan)
        if "variance" in summary.keep:
            found["variance"] = arrays["square"] / (count - 1) if count > 1 else np.full_like(arrays["square"], np.nan)
        if "last" in summary.keep:
            found["last"] = np.where(count > 0, arrays["last"], np.nan)
        if "correlation" in summary.keep:
            found["autocovariance"] = _autocovariance(arrays, count)
    if "histogram" in summary.keep:
        counts = np.moveaxis(arrays["counts"], 1, 0)
        found |= {"histogram": counts[1:-1], "outside": counts[[0, -1]]}
    result = {}
    for ending, array in found.items():
        lead = array.shape[:-2]
        lanes_first = np.ascontiguousarray(array.T)  # (lanes, R, ...)
        result[f"{summary.variable}_{ending}"] = lanes_first.reshape(array.shape[-1], *summary.shape, *lead)
    return result


def _autocovariance(arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """c_l = 1/(n - l) sum_t (y_t - m)(y_(t+l) - m) at lags 0 to K, m the mean over all n values: (K + 1, R, lanes).

    With z = y - y_0 the sum is p_l - z_mean (sum_(t < n-l) z_t + sum_(t >= l) z_t) + (n - l) z_mean^2.
    """
    products, total = arrays["products"], arrays["total"]
    lags = len(products) - 1
    result = np.full_like(products, np.nan)
    mean = total / max(count, 1)
    first, last = np.zeros_like(total), np.zeros_like(total)  # sums of the first and the last l values
    for lag in range(min(lags + 1, count)):
        if lag > 0:
            first += arrays["head"][lag - 1]
            last += arrays["ring"][(count - lag) % lags]
        terms = count - lag
        result[lag] = (products[lag] - mean * (2.0 * total - first - last)) / terms + mean * mean
    return result


def declared(
    summary: Summary, variable: StoredVariable, cadence: str | None
) -> tuple[dict[str, StoredVariable], dict[str, StoredCoordinate]]:
    """Declarations of the variables of a summary, and of their coordinates, from that of the variable itself.

    `cadence` is the dimension of the results that are kept for every frame.
    """
    name, units, what = summary.variable, variable.attributes["units"], variable.attributes["long_name"]
    square, variables = _squared(units), {}
    bins, side = [(f"{name}_bin", summary.bins)], [(f"{name}_side", 2)]
    lag = [(f"{name}_lag", summary.lags + 1)]
    low, high = summary.range or (None, None)
    # ending: over, dimensions of its own and their sizes, units, long name, equation
    table: dict[str, tuple[str, list[tuple[str, int]], str, str, str]] = {
        "mean": ("replica", [], units, "mean over steps", "m = (1/n) sum_t y_t"),
        "variance": (
            "replica", [], square, "variance over steps", "sum_t (y_t - m)^2/(n - 1), m = (1/n) sum_t y_t"
        ),
        "last": ("replica", [], units, "last value", "y_t at the last t"),
        "histogram": (
            "cohort", bins, "1", "histogram over steps and replicas", "number of (t, replica) with lo_b <= y_t < hi_b"
        ),
        "outside": (
            "cohort", side, "1", "values outside the histogram",
            f"number of (t, replica) with y_t < {low!r}, with y_t >= {high!r}",
        ),
        "autocovariance": (
            "replica", lag, square, "autocovariance over steps",
            "c_l = 1/(n - l) sum_t (y_t - m)(y_(t+l) - m), m = (1/n) sum_t y_t",
        ),
        "ensemble_mean": ("cohort", [], units, "mean over the replicas of a cohort", "m = (1/N) sum_r y_r"),
        "ensemble_variance": (
            "cohort", [], square, "variance over the replicas of a cohort",
            "sum_r (y_r - m)^2/(N - 1), m = (1/N) sum_r y_r",
        ),
    }  # fmt: skip
    for ending in (ending for kind in summary.keep for ending in RESULTS[kind]):
        over, own, unit, meaning, equation = table[ending]
        variables[f"{name}_{ending}"] = StoredVariable(
            dims=(*variable.dims, *(dim for dim, _ in own)),
            shape=(*variable.shape, *(size for _, size in own)),
            dtype="int64" if ending in _COUNTS else "float64",
            over=over,
            cadence=cadence if ending in _PER_FRAME else None,
            attributes={"units": unit, "long_name": f"{meaning}: {what}", "equation": equation},
        )
    return variables, _coordinates(summary, units, what)


def _coordinates(summary: Summary, units: str, what: str) -> dict[str, StoredCoordinate]:
    name = summary.variable
    given: dict[str, tuple[list[Any], dict[str, Any]]] = {}
    if "histogram" in summary.keep:
        edges = bin_edges(summary)
        labels: dict[str, Any] = {"units": units, "long_name": f"centre of bin: {what}"}
        of_bins = labels | {"range": list(edges[[0, -1]]), "number": summary.bins}
        given[f"{name}_bin"] = (edges[:-1] + 0.5 * np.diff(edges)).tolist(), of_bins
        given[f"{name}_side"] = ["below", "above"], {"units": "1", "long_name": "side of the range of the histogram"}
    if "correlation" in summary.keep:
        lags = [lag * summary.cadence.every for lag in range(summary.lags + 1)]
        given[f"{name}_lag"] = lags, {"units": "1", "long_name": "lag in steps of theta"}
    return {dim: StoredCoordinate((dim,), tuple(values), labels) for dim, (values, labels) in given.items()}


def _squared(units: str) -> str:
    if units == "1":
        return "1"
    return f"{units}^2" if units.isalpha() else f"({units})^2"
