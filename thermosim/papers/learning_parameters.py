"""What arXiv:2310.19802 says of the parameters Theta: temperature, stored information, Clausius, ideal learning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.analysis.machine import machines
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.numbers import known, last, of_replicas

__all__ = [
    "boltzmann",
    "canonical",
    "clausius",
    "dissipated",
    "ideal",
    "ideal_in_theory",
    "loss",
    "loss_less_entropy",
    "low_variance",
    "of_noise",
    "processing",
    "spread_in_theory",
    "stored",
    "told",
]

_LOW = 0.1  # spread over mean that is called low


def _relative_entropies(ensembles: Ensembles) -> tuple[np.ndarray, np.ndarray, float]:
    """U_B and D(data || model) at the last step, (R,), and the entropy of the data, by a sum over all states."""
    machine = machines(ensembles["spins"])[0]
    theta, rows = machine.theta(len(machine.steps) - 1)[:256], machine.data.of_set(0)
    rule = machine.model.support(machine.constants)
    assert rule is not None
    states = rule[0]
    surprisal = machine.evaluator.surprisals(states, theta)
    if not machine.model.normalised:
        surprisal = surprisal + np.log(np.exp(-surprisal).sum(axis=1, keepdims=True))
    share = (rows[:, None, :] == states[None]).all(axis=2).mean(axis=0)
    seen = share > 0.0
    content = -float(np.sum(share[seen] * np.log(share[seen])))
    loss = machine.evaluator.surprisals(rows, theta).mean(axis=1)
    if not machine.model.normalised:
        loss = loss + np.log(np.exp(-machine.evaluator.surprisals(states, theta)).sum(axis=1))
    divergence = (share[seen] * (np.log(share[seen]) + surprisal[:, seen])).sum(axis=1)
    return loss, divergence, content


def loss(ensembles: Ensembles) -> list[Number]:
    loss, divergence, _ = _relative_entropies(ensembles)
    return [of_replicas("loss over D(data || model)", loss / divergence, claimed=1.0)]


def loss_less_entropy(ensembles: Ensembles) -> list[Number]:
    loss, divergence, content = _relative_entropies(ensembles)
    largest = float(np.abs(loss - content - divergence).max())
    return [Number("largest |loss - S(data) - D(data || model)|", largest, 0.0, claimed=0.0)]


def _temperatures(ensembles: Ensembles, of_claim: Callable[[float, float], float], words: str) -> list[Number]:
    """Variance of each parameter times curvature, which is its temperature, over what that is claimed to be."""
    ds = ensembles["still"]
    found, resolved = analysis.naive_reservoir(ds), machines(ds)[0].settings
    if not (bool(found["minimum"]) and bool(found["stationary"])):
        return [Number(words, np.nan, np.nan, claimed=1.0)]
    rate, tau = float(resolved.theta.learning_rate), float(resolved.of_x.tau)
    linear = {"prediction": "linear"}
    freedom, numbers = found["residual_error"].attrs["degrees_of_freedom"], []
    for i in range(found.sizes["theta_dim"]):
        one = found.isel(theta_dim=i, other_dim=i)
        curvature, warm = float(one["hessian"]), float(one["noise_temperature"])
        seen = float(one["covariance"]) * curvature * (1.0 - rate * curvature / 2.0)
        error = seen * float(one["residual_error"].sel(linear) / one["predicted"].sel(linear))
        claimed = of_claim(warm, tau)
        numbers.append(Number(f"{words}, m_{i + 1}", seen / claimed, error / claimed, 1.0, freedom))
    return numbers


def boltzmann(ensembles: Ensembles) -> list[Number]:
    return _temperatures(ensembles, lambda warm, tau: warm / tau, "T over mu <eta^2>/2, mu = r/tau")


def canonical(ensembles: Ensembles) -> list[Number]:
    return _temperatures(ensembles, lambda warm, tau: 1.0, "T of exp(-U_B/T)")


def of_noise(ensembles: Ensembles) -> list[Number]:
    return _temperatures(ensembles, lambda warm, tau: warm, "T over r <eta^2>/2")


def stored(ensembles: Ensembles) -> list[Number]:
    found = last(analysis.memory(ensembles["still"]))
    return [known("S(Theta) in nats", found["entropy"], found["entropy_error"], 0.0, bool(found["valid"]), sense=">")]


def told(ensembles: Ensembles) -> list[Number]:
    found = last(analysis.data_processing(ensembles["sets"]))
    words = "I(Theta; B), B the data set learned from: lower bound"
    return [known(words, found["theta_set"], found["theta_set_error"], claimed=0.0, sense=">")]


def processing(ensembles: Ensembles) -> list[Number]:
    found = last(analysis.data_processing(ensembles["sets"]))
    rows = {"theta_margin": "I(Theta; B) - I(X; B)", "x_margin": "I(X; Theta) - I(X; B)"}
    return [
        known(words, found[name], found[f"{name}_error"], 0.0, bool(found["valid"]), sense=">")
        for name, words in rows.items()
    ]


def _halves(ds: xr.Dataset) -> xr.Dataset:
    """The first frame, that of half the run, and the last: a balance that is no law is not met twice by chance."""
    return ds.isel(step=[0, ds.sizes["step"] // 2, -1])


def _over(found: xr.Dataset, deficit: str, whole: str, words: str) -> list[Number]:
    """1 + deficit/whole, the ratio of two changes, with the error of their difference, after half the run and all."""
    numbers = []
    for frame in (1, 2):
        one = found.isel(step=frame)
        size, error = float(one[whole]), one[f"{deficit}_error"]
        relative = (error / abs(size)).assign_attrs(error.attrs)
        trusted = bool(one["valid"]) if "valid" in one else True
        at = f"{words}, {int(one['step'])} steps"
        numbers.append(known(at, 1.0 + one[deficit] / size, relative, 1.0, trusted))
    return numbers


def clausius(ensembles: Ensembles) -> list[Number]:
    return _over(analysis.clausius(_halves(ensembles["ideal"])), "residual", "released_heat", "dS_Theta/(-Q_X)")


def dissipated(ensembles: Ensembles) -> list[Number]:
    """The precisions, and with them the entropy of x given theta, stay what they were."""
    ds = ensembles["ideal"]
    whole = float(last(analysis.averaged_work_and_heat(ds))["mean_divergence"])
    ratio = -last(ds)["heat"].values / whole
    return [of_replicas("-Q_X/(sum of D(p_i-1 || p_i) - dS_X|Theta)", ratio, claimed=1.0)]


def _changes(ensembles: Ensembles) -> xr.Dataset:
    return analysis.ideal_learning(_halves(ensembles["ideal"]), frames=3)


def ideal(ensembles: Ensembles) -> list[Number]:
    found = _changes(ensembles)
    return [
        *_over(found, "dissipated_deficit", "learned_information", "-Q_X/dI"),
        *_over(found, "memory_deficit", "learned_information", "dS_Theta/dI"),
    ]


def _spread_of(ds: xr.Dataset, frame: int) -> np.ndarray:
    """V (k^-1 + V)^-1 of the means, V their covariance over replicas and k the precisions of the model."""
    machine = machines(ds)[0]
    n = int(machine.constants["dimension"])
    theta = machine.theta(frame)
    own, spread = np.diag(np.exp(-theta[0, n:])), np.cov(theta[:, :n].T)
    return np.asarray(spread @ np.linalg.inv(own + spread))


def _information_of_normal(matrix: np.ndarray) -> float:
    """I(X; Theta) = (1/2) ln det(1 + k V) of x ~ N(m, 1/k) with normal m."""
    return -0.5 * float(np.linalg.slogdet(np.eye(len(matrix)) - matrix)[1])


def ideal_in_theory(ensembles: Ensembles) -> list[Number]:
    found, ds = last(_changes(ensembles)), ensembles["ideal"]
    whole = _information_of_normal(_spread_of(ds, -1)) - _information_of_normal(_spread_of(ds, 0))
    error = (found["learned_information_error"] / whole).assign_attrs(found["learned_information_error"].attrs)
    words = "dI over that of the spread of theta"
    return [known(words, found["learned_information"] / whole, error, claimed=1.0), *dissipated(ensembles)]


def low_variance(ensembles: Ensembles) -> list[Number]:
    end = ensembles["ideal"].isel(step=[-1])
    found = analysis.low_variance(end, analysis.learned_information(end, samples=16)).isel(step=0)
    words = "spread of L-info over computers/mean"
    freedom = ensembles["ideal"].sizes["replica"] - 1.0
    error = float(found["ratio_error"]) if bool(found["reliable"]) else np.nan
    return [Number(words, float(found["ratio"]), error, _LOW, freedom, sense="<")]


def spread_in_theory(ensembles: Ensembles) -> list[Number]:
    """D(p(x|m) || p_t) of normal m is quadratic in m, with variance (1/2) tr M^2, M = V (1/k + V)^-1."""
    matrix = _spread_of(ensembles["ideal"], -1)
    claimed = float(np.sqrt(0.5 * np.trace(matrix @ matrix))) / _information_of_normal(matrix)
    (found,) = low_variance(ensembles)
    words = "the same, claimed by normal theory"
    return [Number(words, found.measured, found.error, claimed, found.degrees_of_freedom)]
