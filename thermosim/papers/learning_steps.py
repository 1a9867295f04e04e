"""What arXiv:2310.19802 says of steps of SGD: their reversal (Appendix A), and the noise of minibatches (Fig. 5.1)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.numbers import known, mean_of

__all__ = ["BATCHES", "constant", "lazy", "no_return", "of_batch", "white"]

BATCHES = (1, 10, 100)
_LAGS = (1, 5)


def _lengths(ds: xr.Dataset) -> np.ndarray:
    """Mismatch over length of the step there, one step there and back: (rates, R)."""
    theta = ds["theta"].transpose("step", "learning_rate", "replica", "theta_dim").values
    return np.asarray(np.linalg.norm(theta[2] - theta[0], axis=-1) / np.linalg.norm(theta[1] - theta[0], axis=-1))


def no_return(ensembles: Ensembles) -> list[Number]:
    rates, lengths = ensembles["back"]["learning_rate"].values, _lengths(ensembles["back"])
    words = "mismatch over step, r = "
    return [mean_of(f"{words}{rate:g}", length, 0.0, sense=">") for rate, length in zip(rates, lengths, strict=True)]


def lazy(ensembles: Ensembles) -> list[Number]:
    rates, lengths = ensembles["back"]["learning_rate"].values, _lengths(ensembles["back"])
    slopes = np.log(lengths[0] / lengths[-1]) / np.log(rates[0] / rates[-1])
    allowed = 2.0 * float(lengths.max())
    words = "d ln(mismatch over step)/d ln r"
    return [mean_of(words, slopes, claimed=1.0, allowed=allowed, because="the next order of r, twice the mismatch")]


def white(ensembles: Ensembles) -> list[Number]:
    found, numbers = analysis.noise_statistics(ensembles["white"], max_lag=max(_LAGS)), []
    for batch in BATCHES:
        for lag in _LAGS:
            one = found.sel(batch=batch, lag=lag)
            pair = one["mean_autocorrelation"], one["mean_autocorrelation_error"]
            freedom = found["mean_autocorrelation_error"].attrs.get("degrees_of_freedom")
            pair[1].attrs["degrees_of_freedom"] = freedom or ensembles["white"].sizes["replica"] - 1.0
            numbers.append(known(f"C({lag})/C(0), {batch} rows", *pair, claimed=0.0))
    return numbers


def _ratio(
    found: xr.Dataset, name: str, above: dict[str, int], below: dict[str, int], words: str, **to: object
) -> Number:
    """Of two means of independent noise."""
    pairs = [(float(found[name].sel(at)), float(found[f"{name}_error"].sel(at))) for at in (above, below)]
    value = pairs[0][0] / pairs[1][0]
    error = value * float(np.hypot(*(e / v for v, e in pairs)))
    return Number(words, value, error, 1.0, found.attrs["replicas"] - 1.0, **to)  # type: ignore[arg-type]


def _noise(ensembles: Ensembles) -> xr.Dataset:
    ds = ensembles["course"]
    return analysis.noise_statistics(ds).assign_attrs(replicas=ds.sizes["replica"])


def of_batch(ensembles: Ensembles) -> list[Number]:
    found, first = _noise(ensembles), {"step": 0}
    return [
        _ratio(
            found,
            "variance_times_batch",
            first | {"batch": batch},
            first | {"batch": BATCHES[0]},
            f"B <eta^2> of {batch} rows over that of 1, at the start",
        )
        for batch in BATCHES[1:]
    ]


def constant(ensembles: Ensembles) -> list[Number]:
    found = _noise(ensembles)
    end = int(found["step"][-1])
    return [
        _ratio(
            found,
            "mean_variance",
            {"step": end, "batch": batch},
            {"step": 0, "batch": batch},
            f"<eta^2> at step {end} over step 0, {batch} rows",
        )
        for batch in BATCHES
    ]
