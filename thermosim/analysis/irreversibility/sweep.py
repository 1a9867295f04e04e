"""The learning rate r swept at fixed theta: how the measures of irreversibility follow leading order, and where not.

    ratio        phi_i/(r |U|^2/4)                      projection   g_i.g_lead/|g_lead|^2,   g_lead = r J U/2
    remainder    |phi_i - r |U|^2/4|/r^2, |g_i - g_lead|/r^2, with upper bounds (`bounds`)
    order        d ln X/d ln r by least squares: 1 of phi, 2 of remainders, as r goes to 0
    departure    r h at which |ratio - 1| first reaches a tenth, h = U.(U - U')/(r |U|^2) the sharpness of the step

Against r h, not r, fields of any scale compare: at r h = 2 the step overshoots as far as it came, and leading order is
lost. Of a quadratic along an eigenvector the ratios are 1 (TR, TA), (1 - r h/2)^2 (ST) and 2 (exp(-x) - 1 + x)/x^2,
x = r h (DE). Of several minibatches each is reversed on itself, and X are averaged before they are divided.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), G33: a sweep at fixed theta.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.irreversibility.bounds import scalar_bounds, vector_bounds
from thermosim.analysis.irreversibility.fields import Field, critical_points, looked_at
from thermosim.analysis.irreversibility.mismatches import MEASURES
from thermosim.analysis.irreversibility.potentials import potentials

__all__ = ["DEPARTED", "departure", "sweep"]

DEPARTED = 0.1  # of leading order
_LINEAR = 0.1  # r h up to which orders are fitted
_LEAST_RATES = 3
_ROUNDING = 1e-8  # of leading order: a remainder below it has no order
_WORDS = {
    "phi": ("energy", "potential of irreversibility"),
    "leading_order": ("energy", "leading order r |U|^2/4 of potentials"),
    "ratio": ("1", "potential over its leading order"),
    "projection": ("1", "mismatch along its leading order, over it"),
    "cosine": ("1", "cosine between mismatch and its leading order"),
    "sharpness": ("energy", "curvature along the step"),
    "rate_sharpness": ("1", "learning rate times curvature along the step"),
    "remainder": ("energy^3", "distance of a potential from leading order, over r^2"),
    "remainder_bound": ("energy^3", "bound of remainder, by constants measured on the path"),
    "vector_remainder": ("energy^3", "distance of a mismatch from leading order, over r^2"),
    "vector_remainder_bound": ("energy^3", "bound of vector_remainder, by constants measured on the path"),
    "departure": ("1", "r h at which a potential is a tenth off leading order"),
    "vector_departure": ("1", "r h at which a mismatch, along its leading order, is a tenth off it"),
    "order": ("1", "order of a potential in the learning rate"),
    "remainder_order": ("1", "order of a potential less leading order"),
    "vector_remainder_order": ("1", "order of a mismatch less leading order"),
}


def sweep(
    field: Field | Sequence[Field],
    theta: np.ndarray,
    learning_rates: Sequence[float] | np.ndarray,
    *,
    origin: np.ndarray | None = None,
    scalars: bool = True,
) -> xr.Dataset:
    """Measures of irreversibility at theta (R, m) over learning rates (K,): dims replica and learning_rate.

    field, origin and scalars are those of `potentials`. Over `potential` (de, tr, ta, st; without scalars st): phi,
    ratio, remainder, remainder_bound, departure, order, remainder_order. Over `vector` (de, tr, ta): projection,
    cosine, vector_remainder, vector_remainder_bound, vector_departure, vector_remainder_order. Besides leading_order,
    sharpness, and rate_sharpness = r h. Orders are means over replicas, with X_error, fitted where r h is at most 0.1
    and the remainder more than 1e-8 of leading order; NaN at fewer than three such rates, as a departure is that lies
    outside the rates.

    Bounds are estimates, by constants measured at points of the path, lower than the true ones, and not to be had where
    a path crosses a kink (`bounds`). Raises ValueError as `potentials` does, and for fewer than three rates.
    """
    rates = np.asarray(learning_rates, float)
    if rates.ndim != 1 or len(rates) < _LEAST_RATES or not np.all(rates > 0.0) or np.any(np.diff(rates) <= 0.0):
        raise ValueError(f"learning_rates = {learning_rates!r}: expected three or more positive numbers that grow")
    theta = np.array(theta, float)
    fields = looked_at(field, theta)
    each = [_of_field(one, theta, rates, origin, scalars) for one in fields]
    raw = {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}
    lead, vector = raw["leading_order"], raw["mismatch_leading"]
    found = {"leading_order": lead, "sharpness": raw["sharpness"], "rate_sharpness": rates * raw["sharpness"]}
    names = [name for name in (*MEASURES, "st") if f"phi_{name}" in raw]
    found["phi"] = np.stack([raw[f"phi_{name}"] for name in names])
    found["ratio"] = _over(found["phi"], lead)
    found["remainder"] = np.abs(found["phi"] - lead) / rates**2
    found["remainder_bound"] = np.stack([raw[f"bound_phi_{name}"] for name in names]) / rates**2
    g, size = np.stack([raw[f"mismatch_{name}"] for name in MEASURES]), np.linalg.norm(vector, axis=-1)
    found["projection"] = _over((g * vector).sum(-1), size**2)
    found["cosine"] = _over((g * vector).sum(-1), size * np.linalg.norm(g, axis=-1))
    found["vector_remainder"] = np.linalg.norm(g - vector, axis=-1) / rates**2
    found["vector_remainder_bound"] = np.stack([raw[f"bound_{name}"] for name in MEASURES]) / rates**2
    place = found["rate_sharpness"]
    found["departure"], found["vector_departure"] = (departure(found[x], place) for x in ("ratio", "projection"))
    result = _labelled(found, rates, names)
    used = np.abs(place) <= _LINEAR
    _put_order(result, "order", found["phi"], rates, used & (lead > 0.0))
    rest = found["remainder"] * rates**2
    _put_order(result, "remainder_order", rest, rates, used & (rest > _ROUNDING * lead))
    rest = found["vector_remainder"] * rates**2
    _put_order(result, "vector_remainder_order", rest, rates, used & (rest > _ROUNDING * size))
    return result


def departure(ratio: np.ndarray, place: np.ndarray) -> np.ndarray:
    """|r h| at which |ratio - 1| first reaches a tenth: (...), of ratio and place = r h (..., K), rates growing.

    Interpolated as a power of r h between neighbours; NaN where it begins beyond, or never gets there.
    """
    off, place = np.abs(ratio - 1.0), np.broadcast_to(np.abs(place), ratio.shape)
    beyond = off >= DEPARTED
    after = np.argmax(beyond, -1)[..., None]
    known = (beyond.any(-1) & (after[..., 0] > 0)) & ~np.isnan(off).any(-1)
    low, high = (np.take_along_axis(off, np.maximum(after - back, 0), -1)[..., 0] for back in (1, 0))
    left, right = (np.take_along_axis(place, np.maximum(after - back, 0), -1)[..., 0] for back in (1, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(DEPARTED / low) / np.log(high / low)
        between = np.exp(np.log(left) + share * np.log(right / left))
    between = np.where(low > 0.0, between, right)
    return np.where(known, between, np.nan)


def _of_field(
    field: Field, theta: np.ndarray, rates: np.ndarray, origin: np.ndarray | None, scalars: bool
) -> dict[str, np.ndarray]:
    """What `potentials` gives of one minibatch, and bounds: (R, K[, m])."""
    if scalars and origin is None and not np.any(field(theta)):
        origin = theta
    measured = potentials(field, theta, rates, origin=origin, scalars=scalars)
    found = {str(name): np.asarray(values.values) for name, values in measured.items() if name != "asymmetry"}
    start = None
    if scalars:
        start = critical_points(field, theta) if origin is None else np.broadcast_to(origin, theta.shape)
    of_vectors = [vector_bounds(field, theta, float(rate)) for rate in rates]
    of_scalars = [scalar_bounds(field, theta, float(rate), start) for rate in rates]
    found |= {f"bound_{name}": np.stack([bounds[name] for bounds in of_vectors], 1) for name in of_vectors[0]}
    return found | {f"bound_phi_{name}": np.stack([bounds[name] for bounds in of_scalars], 1) for name in of_scalars[0]}


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0.0)


def _labelled(found: dict[str, np.ndarray], rates: np.ndarray, potential: list[str]) -> xr.Dataset:
    coords = {"learning_rate": rates, "potential": potential, "vector": list(MEASURES)}
    result = xr.Dataset(coords=coords)
    result["learning_rate"].attrs["units"] = "1/energy"
    vectors = {"projection", "cosine", "vector_remainder", "vector_remainder_bound", "vector_departure"}
    for name, values in found.items():
        tail = ["replica"] if name.endswith("departure") else ["replica", "learning_rate"]
        lead = [] if values.ndim == len(tail) else ["vector" if name in vectors else "potential"]
        units, words = _WORDS[name]
        result[name] = xr.DataArray(values, dims=[*lead, *tail], attrs={"units": units, "long_name": words})
    return result


def _put_order(result: xr.Dataset, name: str, values: np.ndarray, rates: np.ndarray, used: np.ndarray) -> None:
    """Slope of ln X (I, R, K) in ln r where it is used, mean over replicas and its standard error: (I,)."""
    weight = np.broadcast_to(used, values.shape).astype(float)
    count = weight.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = np.log(rates), np.where(weight > 0.0, np.log(np.abs(values)), 0.0)
        x = x - (weight * x).sum(-1, keepdims=True) / count[..., None]
        slope = np.where(count >= _LEAST_RATES, (weight * x * y).sum(-1) / (weight * x**2).sum(-1), np.nan)
    dim = "vector" if name.startswith("vector") else "potential"
    units, words = _WORDS[name]
    error = slope.std(-1, ddof=1) / np.sqrt(slope.shape[-1]) if slope.shape[-1] > 1 else np.full(len(slope), np.nan)
    attrs = {"units": units, "long_name": words}
    result[name] = xr.DataArray(slope.mean(-1), dims=[dim], attrs=attrs)
    result[f"{name}_error"] = xr.DataArray(error, dims=[dim], attrs=attrs | {"long_name": f"standard error of {name}"})
