"""What arXiv:2310.19802 says of samples X that follow the model: first law, fluctuation theorems, information."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.analysis.machine import machines
from thermosim.exact.learning_machine import LearningMachine, Start, moments
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.numbers import known, last, of_replicas

__all__ = [
    "euler",
    "first_law",
    "fresh_averages",
    "fresh_theorem",
    "information",
    "jarzynski",
    "jumps",
    "jumps_gone",
    "many_moves",
    "moves_in_theory",
    "path_ratio",
]


def first_law(ensembles: Ensembles) -> list[Number]:
    words = {"fresh": "fresh samples", "finite": "Metropolis-adjusted", "euler": "Eq. 26, Euler-Maruyama"}
    numbers = []
    for name, word in words.items():
        ds = ensembles[name]
        residual = float(analysis.learning_ledger(ds)["first_law_residual"].max())
        numbers.append(Number(f"largest |w + q - d phi| of a path, {word}", residual, 0.0, claimed=0.0))
    return numbers


def _average(ds: xr.Dataset, theorem: str, words: str) -> list[Number]:
    """An exponential average at the last step, at every point of a sweep of the time step."""
    found = last(analysis.fluctuation_theorems(ds)).sel(theorem=theorem)
    freedom, numbers = ds.sizes["replica"] - 1.0, []
    for index in np.ndindex(found["average"].shape):
        at = f", time step {float(found['time_step'][index]):g}" if "time_step" in found.dims else ""
        value, error = (float(found[name].values[index]) for name in ("average", "average_error"))
        reliable = bool(found["reliable"].values[index])  # a tail that no replica has seen has no error either
        numbers.append(
            Number(words + at, value, error if reliable else np.inf, claimed=1.0, degrees_of_freedom=freedom)
        )
    return numbers


def fresh_theorem(ensembles: Ensembles) -> list[Number]:
    return _average(ensembles["fresh"], "local-detailed-balance", "<exp(-sigma)>, fresh samples")


def jarzynski(ensembles: Ensembles) -> list[Number]:
    """And the mean, to show that samples do lag: it is that of Eq. 40, of fresh ones, only where they do not."""
    ds = ensembles["finite"]
    average = _average(ds, "work", "<exp(-sigma)>, 10 Metropolis-adjusted moves")
    whole = float(last(analysis.averaged_work_and_heat(ds))["mean_divergence"])
    lagging = last(ds)["work"].values / whole
    return [
        *average,
        of_replicas("<sigma> over that of fresh samples, sum of D(p_i-1 || p_i)", lagging, 1.0, sense=">"),
    ]


def euler(ensembles: Ensembles) -> list[Number]:
    return _average(ensembles["euler"], "local-detailed-balance", "<exp(-sigma)>, 10 moves")


def path_ratio(ensembles: Ensembles) -> list[Number]:
    return _average(ensembles["euler"], "path-ratio", "<exp(-sigma)>, sigma by transition densities")


def fresh_averages(ensembles: Ensembles) -> list[Number]:
    ds = ensembles["fresh"]
    averaged, numbers = last(analysis.averaged_work_and_heat(ds)), []
    for name, equation in (("work", 51), ("heat", 52)):
        whole = float(averaged[f"mean_{name}"])
        ratio = 1.0 + (last(ds)[name] - averaged[name]).values / whole
        numbers.append(of_replicas(f"mean {name} over that of Eq. {equation}", ratio, claimed=1.0))
    return numbers


def _of_tau(ensembles: Ensembles, claimed: Callable[[xr.Dataset, int], float], words: str) -> list[Number]:
    """Mean work of a finite number of moves over what it is claimed to be, at every point of the sweep."""
    ds = ensembles["tau"]
    numbers = []
    for place, tau in enumerate(ds["tau"].values):
        work = last(ds)["work"].isel(tau=place).values / claimed(ds, place)
        numbers.append(of_replicas(f"mean work over {words}, tau = {tau}", work, claimed=1.0))
    return numbers


def many_moves(ensembles: Ensembles) -> list[Number]:
    averaged = last(analysis.averaged_work_and_heat(ensembles["tau"]))["mean_work"]
    return _of_tau(ensembles, lambda _, place: float(averaged[place]), "that of Eq. 51")


def moves_in_theory(ensembles: Ensembles) -> list[Number]:
    def exact(ds: xr.Dataset, place: int) -> float:
        machine = machines(ds)[place]
        theta, x, n = machine.settings.theta, machine.settings.of_x, int(machine.constants["dimension"])
        start = machine.theta(0)[0]
        linear = LearningMachine(
            precision=np.exp(start[n:]),
            data_mean=machine.data.mean(),
            data_covariance=machine.data.covariance(),
            steps=int(machine.settings.run.steps),
            learning_rate=np.asarray(theta.learning_rate, float),
            batch=int(theta.batch),
            x_dynamics=x.dynamics,
            time_step=np.asarray(x.time_step, float),
            tau=int(x.tau),
        )
        return float(moments(linear, Start(start[:n])).work[-1])

    return _of_tau(ensembles, exact, "the exact recursion's")


def jumps_gone(ensembles: Ensembles) -> list[Number]:
    found = last(analysis.learning_ledger(ensembles["fresh"]))
    production = found["entropy_production"], found["entropy_production_error"]
    return [known("Sigma_X|Theta, fresh samples (tau -> infinity)", *production, claimed=0.0, enough=0.01)]


def jumps(ensembles: Ensembles) -> list[Number]:
    ds = ensembles["fresh"]
    divergence = float(last(analysis.averaged_work_and_heat(ds))["mean_divergence"])
    found = last(analysis.learning_ledger(ds))
    ratio = found["entropy_production"] / divergence
    error = (found["entropy_production_error"] / divergence).assign_attrs(found["entropy_production_error"].attrs)
    return [known("Sigma_X|Theta over sum of D(p_i-1 || p_i)", ratio, error, claimed=1.0)]


def information(ensembles: Ensembles) -> list[Number]:
    both = last(analysis.routes(ensembles["spins"]))
    direct, error = float(both["direct"]), both["difference_error"]
    if not bool(both["valid"]):
        return [Number("Sigma_X - Sigma_X|Theta over dI", np.nan, np.nan, claimed=1.0)]
    relative = (error / direct).assign_attrs(error.attrs)
    return [known("Sigma_X - Sigma_X|Theta over dI of the densities", both["fluctuation"] / direct, relative, 1.0)]
