"""Summaries of a variable, kept instead of its frames or besides them: which, how they are folded, what results.

Values are those of the variable at steps first, first + every, ... `run/fold.py` folds them frame by frame; its arrays
are all there is to go on from. `finish` turns the arrays of any run of lanes into variables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["RESULTS", "Summary", "bin_edges", "declared", "finals", "finish", "summaries_of"]

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


@dataclass(frozen=True)
class Summary:
    """What is kept of one variable apart from its frames. `range` and `bins` are of the histogram, `lags` of the
    correlation, in units of `every`; they mean nothing where these are not kept."""

    variable: str
    first: int
    every: int
    keep: tuple[str, ...]
    range: tuple[float, float]
    bins: int
    lags: int

    def frames_until(self, step: int) -> int:
        """How many values have been folded once all steps up to this one are done, step 0 included."""
        return max(0, (step - self.first) // self.every + 1)


def summaries_of(settings: Mapping[str, Any]) -> tuple[Summary, ...]:
    """The summaries that resolved settings ask for, in their order; those of ensembles of format 1 have no tables.

    `keep` is without "frames".
    """
    summaries = []
    for variable, table in settings["record"].get("tables", {}).items():
        keep = tuple(kind for kind in table["keep"] if kind in RESULTS)
        low, high = table["range"] or (math.nan, math.nan)
        if keep:
            cadence = table["first"], table["every"]
            summaries.append(Summary(variable, *cadence, keep, (low, high), table["bins"], table["lags"]))
    return tuple(summaries)


def bin_edges(summary: Summary) -> np.ndarray:
    """Edges of the bins of a histogram: (bins + 1,)."""
    return np.linspace(*summary.range, summary.bins + 1)


def finals(manifest: Mapping[str, Any], state: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """The summaries of a run, from the state of any of its lanes after `step`: (lanes or cohorts, ...)."""
    shapes = {entry["variable"]: tuple(entry["shape"]) for entry in manifest["summaries"]}
    result: dict[str, np.ndarray] = {}
    for summary in summaries_of(manifest["settings"]):
        name = summary.variable
        arrays: dict[str, np.ndarray] = {}
        for prefix in (f"summary/{name}/", f"cohorts/{name}/"):
            arrays |= {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
        result |= finish(summary, arrays, summary.frames_until(step), shapes[name])
    return result


def finish(
    summary: Summary, arrays: Mapping[str, np.ndarray], count: int, shape: Sequence[int]
) -> dict[str, np.ndarray]:
    """The variables with one value per run, by name, lanes or cohorts first; NaN where there are too few values.

    `arrays` are those of `TileSummary` over any run of lanes, lanes or cohorts last; `count` the values folded, `shape`
    that of the variable in one lane. Of x: x_mean, x_variance, x_last (lanes, *shape), x_histogram (C, *shape, bins),
    x_outside (C, *shape, 2), x_autocovariance (lanes, *shape, lags + 1).
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
        result[f"{summary.variable}_{ending}"] = lanes_first.reshape(array.shape[-1], *shape, *lead)
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
    summary: Summary, variable: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Declarations of the variables of a summary, and of their coordinates, from that of the variable itself.

    `variable` and each declaration have "dims" and "shape" after the replica or cohort, and "attributes"; a declaration
    also has "dtype", "over" ("replica" or "cohort") and "final": whether it is one value per run, not one per frame.
    A coordinate has "dims", "values" and "attributes".
    """
    name, units, what = summary.variable, variable["attributes"]["units"], variable["attributes"]["long_name"]
    square = _squared(units)
    bins, side, lag = f"{name}_bin", f"{name}_side", f"{name}_lag"
    low, high = summary.range
    # ending: over, dimension of its own, its size, units, long name, equation
    table: dict[str, tuple[str, str | None, int, str, str, str]] = {
        "mean": ("replica", None, 0, units, f"mean over steps: {what}", "m = (1/n) sum_t y_t"),
        "variance": (
            "replica", None, 0, square, f"variance over steps: {what}", "sum_t (y_t - m)^2/(n - 1), m = (1/n) sum_t y_t"
        ),
        "last": ("replica", None, 0, units, f"last value: {what}", "y_t at the last t"),
        "histogram": (
            "cohort", bins, summary.bins, "1", f"histogram over steps and replicas: {what}",
            "number of (t, replica) with lo_b <= y_t < hi_b",
        ),
        "outside": (
            "cohort", side, 2, "1", f"values outside the histogram: {what}",
            f"number of (t, replica) with y_t < {low!r}, with y_t >= {high!r}",
        ),
        "autocovariance": (
            "replica", lag, summary.lags + 1, square, f"autocovariance over steps: {what}",
            "c_l = 1/(n - l) sum_t (y_t - m)(y_(t+l) - m), m = (1/n) sum_t y_t",
        ),
        "ensemble_mean": (
            "cohort", None, 0, units, f"mean over the replicas of a cohort: {what}", "m = (1/N) sum_r y_r"
        ),
        "ensemble_variance": (
            "cohort", None, 0, square, f"variance over the replicas of a cohort: {what}",
            "sum_r (y_r - m)^2/(N - 1), m = (1/N) sum_r y_r",
        ),
    }  # fmt: skip
    variables = {}
    for ending in (ending for kind in summary.keep for ending in RESULTS[kind]):
        over, dim, size, unit, long_name, equation = table[ending]
        variables[f"{name}_{ending}"] = {
            "dims": [*variable["dims"], *([dim] if dim else [])],
            "shape": [*variable["shape"], *([size] if dim else [])],
            "attributes": {"units": unit, "long_name": long_name, "equation": equation},
            "dtype": "int64" if ending in ("histogram", "outside") else "float64",
            "over": over,
            "final": not ending.startswith("ensemble"),
        }
    return variables, _coordinates(summary, units, what)


def _coordinates(summary: Summary, units: str, what: str) -> dict[str, dict[str, Any]]:
    name, coordinates = summary.variable, {}
    if "histogram" in summary.keep:
        edges = bin_edges(summary)
        of_bins = {"units": units, "long_name": f"centre of bin: {what}"}
        coordinates[f"{name}_bin"] = {
            "values": (edges[:-1] + 0.5 * np.diff(edges)).tolist(),
            "attributes": of_bins | {"range": list(summary.range), "number": summary.bins},
        }
        of_sides = {"units": "1", "long_name": "side of the range of the histogram"}
        coordinates[f"{name}_side"] = {"values": ["below", "above"], "attributes": of_sides}
    if "correlation" in summary.keep:
        values = [lag * summary.every for lag in range(summary.lags + 1)]
        of_lags = {"units": "1", "long_name": "lag in steps of theta"}
        coordinates[f"{name}_lag"] = {"values": values, "attributes": of_lags}
    return {dim: {"dims": [dim], **coordinate} for dim, coordinate in coordinates.items()}


def _squared(units: str) -> str:
    if units == "1":
        return "1"
    return f"{units}^2" if units.isalpha() else f"({units})^2"
