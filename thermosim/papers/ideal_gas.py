"""I. Sadrtdinov et al., arXiv:2511.07308: stationary SGD of scale-invariant weights is an ideal gas.

Published numbers of the isotropic model are means and standard deviations over rows of its 17 x 17 grid of one chain
each, as the notebook VMF.ipynb of the authors' code (isadrtdinov/neural-nets-ideal-gas) has them among its outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.papers.claims import Claim, Ensembles, Number, Paper, Published, Run
from thermosim.papers.gas_networks import CLAIMS, NETWORKS

__all__ = ["IDEAL_GAS"]

_PROTOCOLS = {"elr": "fixed rate of the direction", "lr": "fixed learning rate", "sphere": "fixed sphere"}
_STEP = "the finite step, of order learning_rate"
_NOTEBOOK = "VMF.ipynb, standard deviation over rows of the grid"


def _grid(second: str, ends: list[float]) -> dict[str, Any]:
    rates = {"logspace": [0.005, 0.08], "num": 5}
    sweep = {"theta.learning_rate": rates, f"theta.{second}": {"logspace": ends, "num": 5}}
    return {"sweep": sweep, "run.steps": 100_000, "record.every": 2500}


def _effective_rate(state: xr.Dataset) -> xr.DataArray:
    """Of the direction, at every state: T = eta_eff sigma^2/2 with sigma = 1."""
    return 2.0 * state["T"]


def _ends(ensembles: Ensembles, quantity: str, words: str, protocols: Sequence[str]) -> list[Number]:
    """A ratio that is 1, at the state of least and of largest temperature of each protocol."""
    numbers = []
    for protocol, name in ((one, _PROTOCOLS[one]) for one in protocols):
        state = analysis.thermodynamics(ensembles[protocol], angles=False)
        ratio, error = _ratio(state, quantity)
        order = np.argsort(state["T"].values, axis=None, kind="stable")
        for place, where in ((order[0], "coldest"), (order[-1], "hottest")):
            rate = float(_effective_rate(state).values.flat[place])
            numbers.append(
                Number(
                    f"{words}, {name}, {where} (rate {rate:.2g})",
                    float(ratio.values.flat[place]),
                    float(error.values.flat[place]),
                    claimed=1.0,
                    degrees_of_freedom=state.attrs["replicas"] - 1,
                    allowed=rate,
                    because=_STEP,
                )
            )
    return numbers


def _ratio(state: xr.Dataset, quantity: str) -> tuple[xr.DataArray, xr.DataArray]:
    if quantity == "pV":
        return state["pV_over_RT"], state["pV_over_RT_error"]
    return state["U"] / state["T"], state["U_error"] / state["T"]  # R = (d-1)/2 = 1


def _energy(ensembles: Ensembles) -> list[Number]:
    return _ends(
        ensembles, "U", "U/(R T)", ("elr", "lr")
    )  # the direction on a sphere is that at fixed-elr, step by step


def _gas_law(ensembles: Ensembles) -> list[Number]:
    return _ends(ensembles, "pV", "p V/(R T)", ("elr", "lr", "sphere"))


def _slope(found: xr.Dataset, name: str, words: str, claimed: float, rate: float, **more: Any) -> Number:
    error = found[f"{name}_error"]
    return Number(
        words,
        float(found[name]),
        float(error),
        claimed,
        degrees_of_freedom=error.attrs["degrees_of_freedom"],
        allowed=rate,
        because=_STEP,
        **more,
    )


def _hottest(ds: xr.Dataset) -> float:
    return float(_effective_rate(analysis.thermodynamics(ds, angles=False)).max())


def _radii(ensembles: Ensembles) -> list[Number]:
    numbers = []
    for protocol, of_rate, of_decay in (("elr", 0.5, -0.5), ("lr", 0.25, -0.25)):
        found, rate = analysis.maxwell(ensembles[protocol]), _hottest(ensembles[protocol])
        at = f"at {_PROTOCOLS[protocol]}"
        numbers.append(_slope(found, "dlnr_dln_weight_decay", f"d ln r/d ln(decay) {at}", of_decay, rate))
        numbers.append(_slope(found, "dlnr_dln_learning_rate", f"d ln r/d ln(rate) {at}", of_rate, rate))
    return numbers


def _of_elr(ensembles: Ensembles) -> list[Number]:
    published = Published(-0.9989, 0.0052, _NOTEBOOK)
    found, words = analysis.maxwell(ensembles["elr"]), "dS/d ln(decay)"
    return [_slope(found, "relation", words, -1.0, _hottest(ensembles["elr"]), published=published)]


def _of_lr(ensembles: Ensembles) -> list[Number]:
    found, rate = analysis.maxwell(ensembles["lr"]), _hottest(ensembles["lr"])
    rows = (
        ("dS_dln_weight_decay", "dS/d ln(decay)", 0.0, Published(0.0131, 0.0071, _NOTEBOOK)),
        ("dS_dln_learning_rate", "dS/d ln(rate)", 1.0, Published(1.0139, 0.0090, _NOTEBOOK)),
        ("relation", "difference", 1.0, Published(1.0008, 0.0, _NOTEBOOK)),
    )
    return [_slope(found, name, words, claimed, rate, published=there) for name, words, claimed, there in rows]


def _of_sphere(ensembles: Ensembles) -> list[Number]:
    found = analysis.maxwell(ensembles["sphere"])
    return [_slope(found, "relation", "dS/d ln r", 2.0, _hottest(ensembles["sphere"]))]


def _capacity(ensembles: Ensembles) -> list[Number]:
    state = analysis.thermodynamics(ensembles["elr"], angles=False).isel(learning_rate=0, drop=True)
    value, error = state["heat_capacity"], state["heat_capacity_error"]
    return [  # the direction has another noise at each decay, and the same law
        Number(
            f"Var L/T^2, {_PROTOCOLS['elr']}, coldest, mean of {value.size} decays",
            float(value.mean()),
            float(np.sqrt(np.square(error).sum()) / value.size),
            claimed=1.0,
            degrees_of_freedom=state.attrs["replicas"] - 1,
            allowed=2.0 * float(_effective_rate(state).max()),
            because=_STEP,
        )
    ]


def _minima(ensembles: Ensembles) -> list[Number]:
    names = {"elr": "G, fixed rate of the direction", "lr": "G, fixed learning rate", "sphere": "F, fixed sphere"}
    numbers = []
    for protocol, words in names.items():
        distance = analysis.free_energy_maps(ensembles[protocol])["distance"]
        number = Number(f"{words}: furthest in cells", float(distance.max()), 0.0, claimed=2.0, sense="<")
        numbers.append(number)
    return numbers


IDEAL_GAS = Paper(
    arxiv="2511.07308",
    name="ideal-gas",
    title=(
        "Can Stationary Distributions of Scale-Invariant Neural Networks Be Described "
        "by the Thermodynamics of an Ideal Gas?"
    ),
    authors="I. Sadrtdinov et al.",
    runs={
        "elr": Run("ideal_gas/fixed_elr", _grid("weight_decay", [0.0025, 0.04])),
        "lr": Run("ideal_gas/fixed_lr", _grid("weight_decay", [0.0025, 0.04])),
        "sphere": Run("ideal_gas/fixed_sphere", _grid("radius", [0.5, 2.0])),
        NETWORKS: Run("networks/gas_maps", {"ensemble.replicas": 16}, {"ensemble.replicas": 32}, needs="networks"),
    },
    claims=(
        Claim("The direction has the energy of an ideal gas, U = R T", "Sec. 3", _energy, ("elr", "lr")),
        Claim("p V = R T under all three protocols", "Sec. 3", _gas_law, ("elr", "lr", "sphere")),
        Claim("The radius is (2 R T/decay)^(1/2)", "Sec. 3", _radii, ("elr", "lr")),
        Claim("Maxwell relation at fixed rate of the direction", "Sec. 3", _of_elr, ("elr",)),
        Claim("Maxwell relation at fixed learning rate; the decay alone is adiabatic", "Sec. 3", _of_lr, ("lr",)),
        Claim("Maxwell relation on the sphere", "Sec. 3", _of_sphere, ("sphere",)),
        Claim("The heat capacity is R", "Sec. 3", _capacity, ("elr",)),
        Claim("The state minimises Gibbs' (sphere: Helmholtz') energy", "Sec. 3", _minima, ("elr", "lr", "sphere")),
        *CLAIMS,
    ),
    seconds=60.0,
    full_seconds=600.0,
)
