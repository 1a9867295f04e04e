"""The claims of arXiv:2511.07308 about networks, on one of our own: a normalised perceptron on 8 x 8 digits.

Published numbers are those of the authors' networks (ResNet-18, ConvNet; CIFAR), from the outputs of their notebooks.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.analysis.network_entropy import published_entropy
from thermosim.papers.claims import Claim, Ensembles, Number, Published

__all__ = ["CLAIMS", "NETWORKS"]

NETWORKS = "networks"  # name of the ensemble
_NOTEBOOKS = "their notebooks: largest relative error of a fit to a grid of one run each, over networks and data"
_ERRORS = Published(0.0190, 0.0, _NOTEBOOKS, "errors of 1.9 to 6.5 %")


def _gas(ensembles: Ensembles) -> tuple[xr.Dataset, int]:
    ds = ensembles[NETWORKS]
    return analysis.network_gas(ds), ds.sizes["replica"] - 1


def _collapse(ensembles: Ensembles) -> list[Number]:
    """Noise and loss at the largest decay over those at the smallest, at every rate of the direction."""
    gas, freedom = _gas(ensembles)
    numbers = []
    for name, words in (("temperature", "noise"), ("U", "loss")):
        value, error = gas[name], gas[f"{name}_error"]
        ends = {"weight_decay": [0, -1]}
        least, most = gas["weight_decay"].values[[0, -1]]
        for rate in gas["learning_rate"].values:
            at, its = value.sel(learning_rate=rate).isel(ends).values, error.sel(learning_rate=rate).isel(ends).values
            ratio = at[1] / at[0]
            numbers.append(
                Number(
                    f"{words} at decay {most:g} over that at {least:g}, rate {rate:g}",
                    float(ratio),
                    float(ratio * np.hypot(*(its / at))),
                    claimed=1.0,
                    degrees_of_freedom=freedom,
                )
            )
    return numbers


def _noise_alone(ensembles: Ensembles) -> list[Number]:
    return _compressibility(ensembles, "pV_over_RT", "p V/(R T), T of the noise")


def _with_gradient(ensembles: Ensembles) -> list[Number]:
    return _compressibility(ensembles, "balance", "the same with |grad L|^2")


def _compressibility(ensembles: Ensembles, name: str, words: str) -> list[Number]:
    gas, freedom = _gas(ensembles)
    numbers = []
    for rate in gas["learning_rate"].values[[0, -1]]:
        cells = gas.sel(learning_rate=rate)  # each of which has noise of its own
        errors = cells[f"{name}_error"].values
        value, error = float(cells[name].mean()), float(np.sqrt(np.square(errors).sum()) / errors.size)
        numbers.append(Number(f"{words}, rate {rate:g}", value, error, 1.0, freedom))
    return numbers


def _entropies(ensembles: Ensembles) -> tuple[np.ndarray, np.ndarray]:
    """Published S and its part (D-1) ln <r> of each replica at each point, (replica, rate, decay), over R = (D-1)/2."""
    ds = ensembles[NETWORKS].transpose("replica", "learning_rate", "weight_decay", "step", ...)
    theta = ds["theta"].values
    found = np.array([published_entropy(run)[:2] for run in theta.reshape(-1, *theta.shape[-2:])])
    found = found.reshape(*theta.shape[:3], 2) / ((theta.shape[-1] - 1) / 2)
    return found[..., 0], found[..., 1]


def _maxwell(ensembles: Ensembles) -> list[Number]:
    decay = np.log(ensembles[NETWORKS]["weight_decay"].values)
    weights = (decay - decay.mean()) / ((decay - decay.mean()) ** 2).sum()
    numbers: list[Number] = []
    for part, words in zip(_entropies(ensembles), ("S by the published estimate", "(D-1) ln r alone"), strict=True):
        slopes = (part @ weights).mean(axis=1)  # of each replica, in the mean over rates
        count = len(slopes)
        numbers.append(
            Number(
                f"dS/d ln(decay) over R, {words}",
                float(slopes.mean()),
                float(slopes.std(ddof=1) / np.sqrt(count)),
                claimed=-1.0,
                degrees_of_freedom=count - 1,
                allowed=0.1,
                because="the 10 % that are claimed",
                published=None if numbers else _ERRORS,
            )
        )
    return numbers


def _neighbours(ensembles: Ensembles) -> list[Number]:
    found = analysis.network_entropy(ensembles[NETWORKS])
    ds = ensembles[NETWORKS]
    share, error = found["adjacent"].mean(), found["adjacent_error"].max()
    by_chance = 2.0 / (ds.sizes["step"] - 1)
    words = "share of weights whose nearest one is of a neighbouring frame"
    return [Number(words, float(share), float(error), by_chance, ds.sizes["replica"] - 1)]


CLAIMS = (
    Claim(
        "Noise and loss of a network depend on the rate of the direction alone", "experiments", _collapse, (NETWORKS,)
    ),
    Claim(
        "The radius of a network follows p V = R T with the temperature of the noise",
        "experiments",
        _noise_alone,
        (NETWORKS,),
        why="the mean gradient pushes outwards, too; the authors' own correction adds it, and then it is exact",
        corrected=_with_gradient,
    ),
    Claim("The entropy of networks obeys the Maxwell relation within 10 %", "experiments", _maxwell, (NETWORKS,)),
    Claim(
        "Distances between nearest weights of one run give the entropy of the stationary law",
        "Eq. 101",
        _neighbours,
        (NETWORKS,),
        why=(
            "the nearest weights are those of the frame before or after, no independent draws: what is measured is how "
            "far a few steps go; the Maxwell relation above follows from (D-1) ln r, and tests the radius"
        ),
    ),
)
