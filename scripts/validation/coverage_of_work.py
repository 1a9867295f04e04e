"""Coverage of work, free energies, fluctuation theorems, currents, noise, reservoir and ideal gas.

Repeats are frames, or points of a sweep over a key without influence, of one Dataset: an estimator is called once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import thermosim
from scripts.validation.coverage import Coverage, Estimate, Scenario, table, tally
from thermosim.addresses import origin_of
from thermosim.analysis import gradient_noise, ideal_gas, information, reservoir, work
from thermosim.analysis.estimates import interval
from thermosim.analysis.machine import machines
from thermosim.exact.gaussian_information import entropy

TITLE = "Work, heat, noise and reservoirs: do 95 % intervals cover?"
SEED, REPEATS, SLOW = 20, 1000, 4

Works = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class Many:
    """A scenario whose repeats are estimated together: `draw` takes the generator and how many."""

    estimator: str
    ensemble: str
    exact: float
    draw: Callable[[np.random.Generator, int], list[Estimate]]
    cost: int = 1  # fewer repeats by this factor

    def coverage(self, repeats: int, seed: int = SEED) -> Coverage:
        """How the intervals of so many ensembles fared."""
        generator = np.random.default_rng([seed, *f"{self.estimator} {self.ensemble}".encode()])
        scenario = Scenario(self.estimator, self.ensemble, self.exact, lambda _: Estimate(np.nan, np.nan, np.nan))
        return tally(scenario, self.draw(generator, repeats))


@dataclass(frozen=True)
class Law:
    """A law of the work of a protocol, in kT, with its free-energy difference, and that of its reverse if known."""

    name: str
    free_energy: float
    forward: Works
    backward: Works | None = None


def gaussian(deviation: float, free_energy: float = 0.7) -> Law:
    """Normal work: mean dF + s^2/2, in both directions."""
    dissipated = 0.5 * deviation**2

    def forward(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return free_energy + dissipated + deviation * rng.standard_normal(shape)

    def backward(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return -free_energy + dissipated + deviation * rng.standard_normal(shape)

    return Law(f"Gaussian work, deviation {deviation:g}", free_energy, forward, backward)


def gamma(shape_parameter: float, scale: float) -> Law:
    """Work of a gamma law; with a negative scale its long tail is the one that the exponential average lives on."""

    def forward(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return scale * rng.standard_gamma(shape_parameter, shape)

    def backward(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return -scale / (1.0 + scale) * rng.standard_gamma(shape_parameter, shape)

    value = float(shape_parameter * np.log1p(scale))
    return Law(f"gamma work, shape {shape_parameter:g}, scale {scale:g}", value, forward, backward)


def bimodal(share: float, depth: float, deviation: float) -> Law:
    """A share of works lower by `depth`."""

    def forward(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return deviation * rng.standard_normal(shape) - depth * (rng.random(shape) < share)

    value = -float(np.log1p(share * np.expm1(depth))) - 0.5 * deviation**2
    return Law(f"bimodal work, {share:g} lower by {depth:g}", value, forward)


def _settings(**sections: dict[str, Any]) -> dict[str, Any]:
    """Of a trap whose protocol does not matter: works are given."""
    ramp = {"kind": "linear", "initial": [0.0], "final": [1.0]}
    base: dict[str, dict[str, Any]] = {
        "model": {"name": "harmonic-trap", "dimension": 1},
        "theta": {"dynamics": "protocol", "protocol": {"center": ramp}},
        "x": {"dynamics": "exact-ou", "time_step": 0.1, "initial": "equilibrium"},
        "ensemble": {"replicas": 2, "seed": 1},
        "run": {"steps": 1, "direction": "forward"},
        "record": {"first": 0, "every": 1},
        "sweep": {},
    }
    return {name: value | sections.get(name, {}) for name, value in base.items()}


def ensemble(settings: dict[str, Any], dims: tuple[str, ...], **variables: np.ndarray) -> xr.Dataset:
    """A Dataset with these variables, and step 0, 1, ... where it is a dimension."""
    ds = xr.Dataset({name: (dims, values) for name, values in variables.items()})
    if "step" in dims:
        ds = ds.assign_coords(step=np.arange(ds.sizes["step"]))
        settings = settings | {"run": settings["run"] | {"steps": max(settings["run"]["steps"], ds.sizes["step"] - 1)}}
    return ds.assign_attrs(settings=json.dumps(settings))


def estimates(result: xr.Dataset, name: str, flag: str | None = None) -> list[Estimate]:
    """Every number of an estimate, with its interval and flag."""
    ends = interval(result, name)
    sound = np.ones(result[name].shape, bool) if flag is None else np.broadcast_to(result[flag], result[name].shape)
    columns = (result[name], ends.sel(bound="low"), ends.sel(bound="high"))
    values = [np.ravel(column.transpose(*result[name].dims)).tolist() for column in columns]
    return [Estimate(*numbers) for numbers in zip(*values, np.ravel(sound).tolist(), strict=True)]


def of_jarzynski(law: Law, replicas: int) -> Many:
    """dF by Jarzynski's equality."""

    def draw(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        ds = ensemble(_settings(), ("step", "replica"), work=law.forward(rng, (repeats, replicas)))
        return estimates(work.jarzynski(ds), "free_energy_difference", "reliable")

    return Many("jarzynski, dF", f"{law.name}, {replicas} replicas", law.free_energy, draw)


def of_integral_theorem(law: Law, replicas: int) -> Many:
    """<exp(-Sigma)>, with Sigma = w - dF."""

    def draw(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        sigma = law.forward(rng, (repeats, replicas)) - law.free_energy
        ds = ensemble(_settings(), ("step", "replica"), log_ratio_x=sigma)
        nothing = xr.zeros_like(ds["log_ratio_x"])
        return estimates(work.integral_fluctuation_theorem(ds, nothing, nothing), "average", "reliable")

    return Many("integral theorem", f"{law.name}, {replicas} replicas", 1.0, draw)


def of_crooks(law: Law, replicas: tuple[int, int]) -> Iterator[Many]:
    """dF, slope and crossing of a protocol and its reverse."""
    assert law.backward is not None
    flags = {"free_energy_difference": "reliable", "slope": "reliable", "crossing": "crossing_reliable"}
    for name, flag in flags.items():

        def draw(rng: np.random.Generator, repeats: int, name: str = name, flag: str = flag) -> list[Estimate]:
            assert law.backward is not None
            swept = {"x.time_step": np.linspace(0.1, 0.2, repeats).tolist()}  # has no influence on given works
            sides = []
            for direction, of, count in zip(("forward", "reversed"), (law.forward, law.backward), replicas):
                settings = _settings(run={"direction": direction}, sweep=swept)
                values = np.broadcast_to(of(rng, (repeats, count)), (2, repeats, count))
                ds = ensemble(settings, ("step", "time_step", "replica"), work=values)
                sides.append(ds.assign_coords(time_step=swept["x.time_step"]))
            return estimates(work.crooks(*sides), name, flag)

        exact = 1.0 if name == "slope" else law.free_energy
        yield Many(f"crooks, {name}", f"{law.name}, {replicas[0]} and {replicas[1]} replicas", exact, draw, SLOW)


def of_currents(replicas: int) -> Iterator[Many]:
    """Heat from the hot bath and rate of entropy production: normal books with known means."""
    flow, hot, cold, time = 0.3, 2.5, 1.0, 10.0

    def books(rng: np.random.Generator, repeats: int) -> xr.Dataset:
        swept = {"model.stiffness": np.linspace(1.0, 2.0, repeats).tolist()}  # has no influence on given books
        constants = {"name": "two-beads", "stiffness": 1.0, "coupling": 1.0}
        settings = _settings(
            x={"dynamics": "ula", "temperature": [cold, hot]}, model=constants, run={"steps": 100}, sweep=swept
        )
        from_hot = flow * time + 2.0 * rng.standard_normal((repeats, replicas))
        from_cold = -flow * time + 1.5 * rng.standard_normal((repeats, replicas))
        heat, ratio = from_hot + from_cold, -from_hot / hot - from_cold / cold
        values = {name: np.stack([0.0 * v, v]) for name, v in (("heat", heat), ("log_ratio_x", ratio))}
        ds = ensemble(settings, ("step", "stiffness", "replica"), **values)
        return ds.assign_coords(step=[0, 100], stiffness=swept["model.stiffness"])

    def currents(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        return estimates(work.heat_currents(books(rng, repeats)).isel(bath=0), "heat_current")

    def rates(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        return estimates(work.entropy_production(books(rng, repeats)), "entropy_production_rate")

    yield Many("heat current", f"two beads, {replicas} replicas", flow, currents)
    yield Many("entropy production", f"two beads, {replicas} replicas", flow * (1.0 / cold - 1.0 / hot), rates)


def of_spread(deviation: float, replicas: int) -> Iterator[Many]:
    """Spread and ratio of replicas' L-info: gamma laws with this deviation over mean."""
    shape = deviation**-2
    for name, exact in (("spread", 2.0 * deviation), ("ratio", deviation)):

        def draw(rng: np.random.Generator, repeats: int, name: str = name) -> list[Estimate]:
            values = 2.0 / shape * rng.standard_gamma(shape, (repeats, replicas))
            given = ensemble(_settings(), ("step", "replica"), replica_information=values)
            given["replica_information_error"] = xr.zeros_like(given["replica_information"])
            result = information.low_variance(given, given.assign_attrs(method="given"))
            return estimates(result, name, "reliable")

        what = f"L-info of a gamma law, deviation over mean {deviation:g}, {replicas} replicas"
        yield Many(f"low_variance, {name}", what, exact, draw)


MACHINE = """
title = "noise of minibatches"
[model]
name = "gaussian"
[theta]
{move}
learning_rate = 0.2
batch = {batch}
learn = ["mean"]
[x]
dynamics = "exact"
[data]
source = "gaussian"
rows = 200
[ensemble]
replicas = 2
seed = 3
[run]
steps = {steps}
[record]
every = 1
"""


@functools.cache
def _machine_settings(steps: int, replicas: int, batch: str, move: str, seed: int) -> str:
    text = MACHINE.format(steps=steps, batch=batch, move=move)
    changes = {"ensemble.replicas": replicas, "ensemble.seed": seed}
    return json.dumps(thermosim.load_case(text, changes).settings.as_dict())


def _machine(
    theta: np.ndarray, batch: int = 1, seed: int = 3, langevin: bool = False, **more: np.ndarray
) -> xr.Dataset:
    """An ensemble of the Gaussian model with these means (F, R); its precision is 1."""
    move = 'dynamics = "langevin"\ntemperature = 1.0' if langevin else 'dynamics = "sgd"'
    settings = _machine_settings(*theta.shape, '"all"' if langevin else str(batch), move, seed)
    whole = np.stack([theta, np.zeros_like(theta)], axis=-1)
    ds = ensemble(_settings(), ("step", "replica", "theta_dim"), theta=whole)
    ds = ds.assign({name: (("step", "replica"), value) for name, value in more.items()})
    own = np.arange(theta.shape[1])
    origin = ("replica", np.full(len(own), origin_of(json.loads(settings))))
    ds = ds.assign_coords(replica=own, address=("replica", own), origin=origin)
    return ds.assign_attrs(settings=settings, structural="[]", model_source="", data_sha256="")


def of_noise(batch: int, replicas: int) -> Many:
    """C_ii of minibatches drawn again."""
    rows = machines(_machine(np.zeros((2, 2))))[0].data.values

    def draw(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        ds = _machine(np.zeros((repeats + 1, replicas)), batch, seed=int(rng.integers(1 << 30)))
        result = gradient_noise.noise_statistics(ds, max_lag=1)
        return estimates(result.isel(theta_dim=0), "variance", "reliable")[:repeats]

    return Many("C_ii", f"batches of {batch}, {replicas} replicas", float(rows.var() / batch), draw)


def of_loss_variance(offset: float, replicas: int) -> Many:
    """Variance of U_B over replicas, U_B = (theta - mean)^2/2 + constant, theta normal about `offset` of the mean."""
    mean = float(machines(_machine(np.zeros((2, 2))))[0].data.values.mean())

    def draw(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        ds = _machine(mean + offset + rng.standard_normal((repeats + 1, replicas)))
        return estimates(gradient_noise.noise_statistics(ds, max_lag=1), "loss_variance", "loss_variance_reliable")

    return Many("variance of U_B", f"quadratic, offset {offset:g}, {replicas} replicas", 0.5 + offset**2, draw)


def of_reservoir(replicas: int) -> Iterator[Many]:
    """Entropy of theta and dS + Q of Clausius' relation; covariance of theta."""

    def entropies(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        ds = _machine(rng.standard_normal((repeats, replicas)), heat=np.zeros((repeats, replicas)))
        return estimates(reservoir.clausius(ds), "entropy")

    def residuals(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        results = []
        for _ in range(repeats):
            heat = np.stack([np.zeros(replicas), 0.5 + rng.standard_normal(replicas)])
            ds = _machine(rng.standard_normal((2, replicas)) * [[1.0], [0.5]], heat=heat)
            results.append(estimates(reservoir.clausius(ds).isel(step=1), "residual")[0])
        return results

    def covariances(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        results = []
        for _ in range(repeats):
            ds = _machine(rng.standard_normal((4, replicas)), langevin=True)
            results.append(estimates(reservoir.naive_reservoir(ds, first=0), "covariance", "reliable")[0])
        return results

    exact = float(entropy(np.eye(1)))
    yield Many("clausius, entropy", f"normal theta, {replicas} replicas", exact, entropies)
    yield Many("clausius, dS + Q", f"normal theta, {replicas} replicas", float(np.log(0.5)) + 0.5, residuals, SLOW)
    yield Many("covariance of theta", f"normal theta, four frames, {replicas} replicas", 1.0, covariances, SLOW)


def of_gas(replicas: int) -> Iterator[Many]:
    """Means, drift, fluctuations and transient of the ideal gas, and a Maxwell slope; directions uniform in space."""
    deviation, rate, frames = 0.3, 0.1, 12

    def gas(rng: np.random.Generator, cells: int, directions: bool = True) -> xr.Dataset:
        """Half of ln r^2 is constant in time, all else drawn anew at each frame; cells differ in nothing."""
        swept = {"theta.weight_decay": np.geomspace(0.1, 0.2, cells).tolist()}
        settings = {
            "model": {"name": "isotropic-sphere", "dimension": 3, "noise": 1.0, "direction": [0.0, 0.0, 1.0]},
            "theta": {"dynamics": "sgd", "constraint": "fixed-lr", "initial": "stationary"},
            "ensemble": {"replicas": replicas, "seed": 1},
            "run": {"steps": 100 * frames, "direction": "forward"},
            "sweep": swept,
        }
        settings["theta"] |= {"learning_rate": rate, "weight_decay": 0.1, "radius": 1.0}
        shape, dims = (frames, cells, replicas), ("step", "weight_decay", "replica")
        scatter = rng.standard_normal(shape[1:]) + rng.standard_normal(shape)
        radius = np.exp(0.5 * deviation * np.sqrt(0.5) * scatter)
        sums = np.cumsum(100.0 * (1.0 + 0.1 * rng.standard_normal(shape)), axis=0)
        ds = ensemble(settings, dims, loss_sum=sums, gradient_square=sums)
        if directions:
            direction = rng.standard_normal((*shape, 3))
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            ds["theta"] = ((*dims, "theta_dim"), radius[..., None] * direction)
        else:
            ds = ds.assign(radius=(dims, radius), loss=(dims, np.ones(shape)))
        return ds.assign_coords(step=100 * np.arange(frames), weight_decay=swept["theta.weight_decay"])

    def means(name: str) -> Callable[[np.random.Generator, int], list[Estimate]]:
        return lambda rng, repeats: estimates(ideal_gas.thermodynamics(gas(rng, repeats, directions=False)), name)

    def maxwell(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        return [estimates(ideal_gas.maxwell(gas(rng, 3)), "dS_dln_weight_decay")[0] for _ in range(repeats)]

    exact = {"U": 1.0, "T": 0.5 * rate * np.exp(0.5 * deviation**2), "V": 0.5 * np.exp(0.5 * deviation**2)}
    where = f"synthetic, {replicas} replicas"
    for name, value in exact.items():
        yield Many(f"ideal gas, {name}", where, float(value), means(name))
    others = {
        "loss_drift": (ideal_gas.drift, 0.0),
        "log_radius_square_deviation": (ideal_gas.radius_fluctuations, deviation),
    }
    for name, (of, value) in others.items():

        def draw(rng: np.random.Generator, repeats: int, name: str = name, of: Any = of) -> list[Estimate]:
            return estimates(of(gas(rng, repeats)), name)

        yield Many(f"ideal gas, {name}", where, value, draw)

    def transient(rng: np.random.Generator, repeats: int) -> list[Estimate]:
        return estimates(ideal_gas.radius_transient(gas(rng, repeats)).isel(step=0), "radius")

    yield Many("ideal gas, radius at a step", where, float(np.exp(0.125 * deviation**2)), transient)
    yield Many("ideal gas, Maxwell slope", where, 0.0, maxwell, SLOW)


LAWS = (
    *(gaussian(s) for s in (0.2, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)),
    *(gamma(*numbers) for numbers in ((1.0, 2.0), (4.0, 1.0), (1.0, -0.2), (4.0, -0.25), (1.0, -0.5), (0.5, -0.7))),
    bimodal(0.5, 3.0, 0.3),
    bimodal(0.2, 3.0, 0.3),
)
SIZES = (40, 200, 1000, 5000)


def scenarios() -> Iterator[Many]:
    """All of them."""
    for law in LAWS:
        for replicas in SIZES:
            yield of_jarzynski(law, replicas)
    for law in LAWS[:6]:
        for replicas in (40, 200, 1000):
            yield of_integral_theorem(law, replicas)
    for law in (*LAWS[:8], *LAWS[8:10]):
        for sizes in ((40, 40), (200, 100), (1000, 1000)):
            yield from of_crooks(law, sizes)
    for replicas in (8, 40):
        yield from of_currents(replicas)
    for deviation in (0.3, 1.0):
        for replicas in (40, 200, 1000):
            yield from of_spread(deviation, replicas)
    for batch, replicas in ((1, 40), (4, 40), (1, 200)):
        yield of_noise(batch, replicas)
    for offset in (0.0, 1.0, 3.0):
        for replicas in (40, 100, 200):
            yield of_loss_variance(offset, replicas)
    for replicas in (12, 40, 200):
        yield from of_reservoir(replicas)
    for replicas in (16, 64):
        yield from of_gas(replicas)


def sections(share: float, pictures: Path) -> str:
    """A table of all scenarios; share: of the repeats."""
    repeats = max(20, int(REPEATS * share))
    results = [many.coverage(max(20, repeats // many.cost)) for many in scenarios()]
    return f"{repeats} ensembles each, {repeats // SLOW} where an estimator is slow.\n\n{table(results)}"
