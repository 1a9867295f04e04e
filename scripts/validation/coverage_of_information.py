"""Whether intervals of entropies and informations cover: laws with exact answers, dimensions 1 to 10, 40 to 4,000."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from scripts.validation.coverage import Coverage, Estimate, Scenario, coverage, table
from tests.information_ensembles import ensemble, gaussian_settings, sets_information
from thermosim.analysis import entropy
from thermosim.analysis.estimates import interval
from thermosim.analysis.information import learned_information, mean_and_error
from thermosim.analysis.information_balance import information_balance
from thermosim.analysis.memorised_information import data_processing, dataset_information, memory
from thermosim.analysis.partial_averages import partial_entropies
from thermosim.analysis.sphere_entropy import sphere_entropy
from thermosim.exact import gaussian_information, von_mises_fisher

TITLE = "Coverage of entropies and informations"
REPEATS = 400

Draw = Callable[[np.random.Generator, int, int], np.ndarray]

_UNIT_NORMAL = 0.5 * np.log(2.0 * np.pi * np.e)
_TURN = np.random.default_rng(7).standard_normal((10, 10))


def _two_bumps(random: np.random.Generator, number: int, n: int) -> np.ndarray:
    x = random.standard_normal((number, n))
    x[:, 0] += 3.0 * random.choice([-1.0, 1.0], number)
    return x


def _turned(x: np.ndarray) -> np.ndarray:
    n = x.shape[1]
    return np.asarray(x * np.linspace(1.0, 2.0, n) @ np.linalg.qr(_TURN[:n, :n])[0])


def _turned_volume(n: int) -> float:
    return float(np.log(np.linspace(1.0, 2.0, n)).sum())


def _two_bumps_entropy() -> float:
    return sets_information(np.array([-3.0, 3.0]), 1.0) + _UNIT_NORMAL


# name: samples (N, n), entropy of n dimensions
LAWS: dict[str, tuple[Draw, Callable[[int], float]]] = {
    "normal": (lambda r, N, n: r.standard_normal((N, n)), lambda n: n * _UNIT_NORMAL),
    "correlated normal": (
        lambda r, N, n: _turned(r.standard_normal((N, n))),
        lambda n: n * _UNIT_NORMAL + _turned_volume(n),
    ),
    "uniform": (lambda r, N, n: r.random((N, n)), lambda n: 0.0),
    "gamma(4)": (lambda r, N, n: r.gamma(4.0, size=(N, n)), lambda n: n * float(stats.gamma(4.0).entropy())),
    "turned gamma(4)": (
        lambda r, N, n: _turned(r.gamma(4.0, size=(N, n))),
        lambda n: n * float(stats.gamma(4.0).entropy()) + _turned_volume(n),
    ),
    "turned uniform": (lambda r, N, n: _turned(r.random((N, n))), _turned_volume),
    "bimodal": (_two_bumps, lambda n: _two_bumps_entropy() + (n - 1) * _UNIT_NORMAL),
    "Student, 5 degrees": (
        lambda r, N, n: r.standard_t(5.0, size=(N, n)),
        lambda n: n * float(stats.t(5.0).entropy()),
    ),
    "lattice of 10^n points": (lambda r, N, n: r.integers(0, 10, (N, n)).astype(float), lambda n: np.nan),
}


def of_law(method: str, law: str, n: int, number: int) -> Scenario:
    """M-info of parameters with one of the LAWS."""
    sample, exact = LAWS[law]

    def draw(random: np.random.Generator) -> Estimate:
        return _estimate(memory(_means(sample(random, number, n)[None]), method), "entropy")

    return Scenario(f"memory, {method}", f"{law}, n = {n}, {number:,} replicas", exact(n), draw)


def on_sphere(d: int, kappa: float, number: int) -> Scenario:
    """Entropy of von Mises-Fisher samples."""

    def draw(random: np.random.Generator) -> Estimate:
        direction, spread = np.eye(d)[0], np.full(number, kappa)
        uniform, normal = random.random(number), random.standard_normal((d, number))
        found = sphere_entropy(von_mises_fisher.directions(spread, direction, uniform, normal).T)
        return _student(float(found.surprisals.mean()), found.error, number - 1, not found.reason)

    what = f"von Mises-Fisher, d = {d}, kappa = {kappa:g}, {number:,} samples"
    return Scenario("sphere_entropy", what, float(von_mises_fisher.entropy(d, kappa)), draw)


def of_states(states: int, tilt: float, replicas: int) -> Scenario:
    """Entropy of discrete x by frequencies, two dependent samples of each replica."""
    share = np.exp(-tilt * np.arange(states))
    share /= share.sum()

    def draw(random: np.random.Generator) -> Estimate:
        own = random.choice(states, (replicas, 1), p=share)
        x = np.where(random.random((replicas, 2)) < 0.5, own, random.choice(states, (replicas, 2), p=share))
        samples = x[..., None].astype(float)
        value, error = mean_and_error(entropy.empirical_entropy(samples), noise=entropy.empirical_noise(samples))
        return _student(value, error, replicas - 1, not entropy.empirical_reason(samples))

    exact = -float(np.sum(share * np.log(share)))
    return Scenario("information_balance, empirical S_X", f"{states} states, {replicas:,} replicas", exact, draw)


def of_sets(sets: int, replicas: int, pooled: bool = True) -> Scenario:
    """I(Theta; B) about normal data sets drawn anew, two parameters."""
    within, response = np.array([[0.5, 0.2], [0.2, 0.3]]), np.array([[0.9, 0.6], [-0.2, 0.4]])
    covariance = np.array([[1.6, -0.9], [-0.9, 1.1]])

    def draw(random: np.random.Generator) -> Estimate:
        centre = random.multivariate_normal([0.0, 0.0], covariance, (sets, 1)) @ response.T
        theta = centre + random.multivariate_normal([0.0, 0.0], within, (sets, replicas))
        return _estimate(dataset_information(_in_sets(theta), pooled=pooled), "information")

    exact = gaussian_information.data_information(within, response, covariance)
    kind = "" if pooled else ", not pooled"
    return Scenario("dataset_information, gaussian", f"{sets} sets of {replicas}{kind}", exact, draw)


def of_which_set(method: str, replicas: int) -> Scenario:
    """Which of four sets theta comes from, by one parameter; I(X; B) by `data_processing`."""
    centres, deviation = np.array([-1.5, -0.2, 0.4, 2.0]), 0.6

    def draw(random: np.random.Generator) -> Estimate:
        ds = _in_sets(centres[:, None, None] + deviation * random.standard_normal((4, replicas, 1)))
        if method == "x_set":
            return _estimate(data_processing(ds, samples=4), "x_set")
        return _estimate(dataset_information(ds, method), "information")

    exact = sets_information(centres, deviation**2 + (method == "x_set"))
    name = "data_processing, x_set" if method == "x_set" else f"dataset_information, {method}"
    return Scenario(name, f"4 sets of {replicas}", exact, draw)


def of_learning(n: int, variance: float, replicas: int) -> Scenario:
    """L-info of normal samples of unit variance about normal means."""

    def draw(random: np.random.Generator) -> Estimate:
        theta = np.sqrt(variance) * random.standard_normal((1, replicas, n))
        return _estimate(learned_information(_means(theta), "nested", samples=4), "learned_information")

    exact = 0.5 * n * float(np.log1p(variance))
    return Scenario("learned_information", f"n = {n}, {exact:.2g} nat, {replicas:,} replicas", exact, draw)


def of_partial(variance: float, replicas: int) -> Scenario:
    """The mean partial information, which is that of the ensemble where the overlap is large."""

    def draw(random: np.random.Generator) -> Estimate:
        theta = np.sqrt(variance) * random.standard_normal((2, replicas, 2))
        result = partial_entropies(_means(theta), frames=2, draws=4)
        return _estimate(result, "mean_information", "reliable")

    exact = float(np.log1p(variance))
    return Scenario("partial_entropies, mean", f"n = 2, {exact:.2g} nat, {replicas:,} replicas", exact, draw)


def of_balance(marginal: str, n: int, replicas: int) -> Scenario:
    """Change of the L-info by Eq. 44: means that become three times as wide."""
    deviations = np.array([0.5, 1.5])

    def draw(random: np.random.Generator) -> Estimate:
        theta = deviations[:, None, None] * random.standard_normal((2, replicas, n))
        noise = random.standard_normal((2, replicas, n))
        phi = 0.5 * np.sum(noise**2, axis=2) + 0.5 * n * np.log(2.0 * np.pi)
        books = {"phi": phi[..., None], "heat": np.zeros((2, replicas, 1))}
        ds = _means(theta, x=(theta + noise)[:, :, None], **books)
        ds["log_ratio_x"] = xr.zeros_like(ds["heat"])
        return _estimate(information_balance(ds, marginal), "learned_information_change")

    exact = 0.5 * n * float(np.diff(np.log1p(deviations**2))[0])
    return Scenario(f"information_balance, {marginal}", f"n = {n}, {replicas:,} replicas", exact, draw)


def measured(scenarios: list[Scenario], share: float) -> list[Coverage]:
    """Coverage of each, with this share of the repeats."""
    return [coverage(scenario, max(20, round(share * REPEATS))) for scenario in scenarios]


def sections(share: float, pictures: Path) -> str:
    """Tables for the page."""
    laws = [of_law(m, law, n, N) for m in ("nearest-neighbour", "gaussian") for law in LAWS for n, N in _sizes(m)]
    spheres = [on_sphere(d, k, N) for d in (3, 4, 6, 8, 10) for k in (0.0, 5.0, 100.0) for N in (400, 2000)]
    states = [of_states(*given) for given in ((4, 0.5, 40), (8, 0.0, 400), (64, 0.1, 400), (200, 0.02, 400))]
    sets = [of_sets(*given) for given in ((6, 10), (16, 10), (60, 30), (6, 10, False), (16, 10, False))]
    sets += [of_which_set(m, r) for m, r in (("classifier", 40), ("classifier", 400), ("nearest-neighbour", 400))]
    sets += [of_which_set("x_set", replicas) for replicas in (20, 200)]
    learned = [of_learning(n, v, r) for n, v, r in ((1, 0.1, 40), (2, 1.0, 40), (2, 1.0, 400), (8, 1.0, 400))]
    learned += [of_learning(8, 30.0, 400), of_partial(0.5, 100), of_partial(1.0, 1000)]
    learned += [of_balance("nearest-neighbour", n, r) for n, r in ((1, 400), (2, 400), (3, 2000))]
    learned += [of_balance("gaussian", n, 400) for n in (2, 5)] + [of_balance("mixture", 2, 400)]
    parts = {"Entropies of laws": laws, "Spheres": spheres, "States": states, "Data sets": sets, "L-info": learned}
    about = (
        f"95 % intervals over {max(20, round(share * REPEATS))} ensembles each. `flagged` is the share of estimates "
        "that call themselves not valid; the other columns are of those that do not."
    )
    texts = [f"### {title}\n\n{table(measured(scenarios, share))}" for title, scenarios in parts.items()]
    return "\n\n".join([about, *texts])


def _sizes(method: str) -> list[tuple[int, int]]:
    if method == "gaussian":
        return [(1, 40), (1, 400), (2, 100), (5, 400), (10, 1000), (10, 4000)]
    return [(1, 40), (1, 400), (1, 4000), (2, 400), (3, 400), (3, 2000), (5, 1000), (8, 2000), (10, 2000)]


def _means(theta: np.ndarray, **given: np.ndarray) -> xr.Dataset:
    """An ensemble whose learned means are theta (F, R, n), at precision 1."""
    settings = _settings(theta.shape[2], 1, theta.shape[1])
    return ensemble(np.concatenate([theta, np.zeros_like(theta)], axis=2), settings, **given)


@functools.cache
def _settings(n: int, sets: int, replicas: int) -> dict[str, Any]:
    return gaussian_settings(n, data__sets=sets, ensemble__replicas=replicas, theta__learn=["mean"])


def _in_sets(theta: np.ndarray) -> xr.Dataset:
    """theta (sets, replicas, n) as an ensemble of so many data sets."""
    sets, replicas, n = theta.shape
    flat = theta.reshape(1, sets * replicas, n)
    settings = _settings(n, sets, sets * replicas)
    return ensemble(np.concatenate([flat, np.zeros_like(flat)], axis=2), settings)


def _estimate(result: xr.Dataset, name: str, flag: str = "valid") -> Estimate:
    """What a result says of its last frame."""
    last = result.isel(step=-1)
    low, high = interval(last, name).values
    return Estimate(float(last[name]), float(low), float(high), bool(last[flag]))


def _student(value: float, error: float, freedom: int, sound: bool) -> Estimate:
    width = error * float(stats.t.ppf(0.975, freedom))
    return Estimate(value, value - width, value + width, sound)
