"""Small networks trained by SGD, losses, gradients and displacements booked: thermosim against JAX and torch.func.

Two-layer nets at batch 1, where thousands of replicas are wanted, and one of three layers on rows of 64 numbers. Every
engine draws its own rows from the same data; before anything is timed, the mean sums of loss, squared gradient and
squared displacement of all must agree within 5 standard errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.timing import BENCH, Row, installed, interleaved, missing, target

__all__ = ["rows"]

TITLE = "Networks by SGD, loss, |g|^2 and |dtheta|^2 booked: float64, two threads"
RATE, DATA_ROWS, THREADS = 0.01, 256, 2
BOOKS = ("loss_sum", "gradient_square", "displacement_square")
Booked = tuple[np.ndarray, ...]  # the three sums of every replica


@dataclass(frozen=True)
class Net:
    """One network, and how much work."""

    widths: tuple[int, ...]
    activation: str
    batch: int
    replicas: int
    steps: int
    target: dict[str, float]  # how many times faster than each rival

    @property
    def parameters(self) -> int:
        """Weights of one replica."""
        return sum(a * b for a, b in zip(self.widths[:-1], self.widths[1:], strict=True))

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{'-'.join(map(str, self.widths))} {self.activation}, batch {self.batch}, {self.replicas} replicas"


_SMALL = {"JAX vmap in a jitted scan": 5.0, "torch.func vmap": 20.0}
NETS = (
    Net((3, 6, 1), "relu", 1, 1024, 4000, _SMALL),
    Net((5, 6, 5), "linear", 1, 1024, 2000, _SMALL),
    Net((64, 32, 32, 10), "relu", 10, 128, 100, dict.fromkeys(_SMALL, 1.0)),
)


def case_text(net: Net) -> str:
    """The run as a user writes it."""
    matrix = np.random.default_rng(1).normal(size=(net.widths[-1], net.widths[0])) / np.sqrt(net.widths[0])
    return f"""
    [model]
    name = "multilayer-perceptron"
    widths = {list(net.widths)}
    activation = "{net.activation}"
    [theta]
    dynamics = "sgd"
    learning_rate = {RATE}
    batch = {net.batch}
    initial = "lecun"
    [data]
    source = "linear"
    matrix = {matrix.tolist()}
    noise = 0.1
    rows = {DATA_ROWS}
    [ensemble]
    replicas = {net.replicas}
    [run]
    steps = {net.steps}
    [record]
    first = {net.steps}
    every = 1
    variables = {list(BOOKS)}
    """.replace("'", '"')


def own(net: Net) -> Callable[[], Booked]:
    """What a user gets: thermosim.simulate, from the case to the dataset."""
    import thermosim

    case = thermosim.load_case(case_text(net))

    def run() -> Booked:
        last = thermosim.simulate(case).isel(step=-1)
        return tuple(last[name].values for name in BOOKS)

    return run


def data_rows(net: Net) -> np.ndarray:
    """Inputs and targets (K, a + b)."""
    import thermosim
    from thermosim.plan.outline import plan

    data = plan(thermosim.load_case(case_text(net)))[0].data
    assert data is not None
    return np.asarray(data.values)


def jax_scan(net: Net) -> Callable[[], Booked]:
    """vmap of value_and_grad inside a jitted lax.scan over steps."""
    learn = jax_learn(net)
    return lambda: tuple(map(np.asarray, learn()))


def jax_learn(net: Net) -> Callable[[], tuple[Any, ...]]:
    """The same, whose sums stay where JAX has made them."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    data, inputs, last = jnp.asarray(data_rows(net)), net.widths[0], len(net.widths) - 2

    def loss(weights: Any, row: Any) -> Any:
        h = row[:inputs]
        for k, w in enumerate(weights):
            h = w @ h
            h = jnp.maximum(h, 0.0) if net.activation == "relu" and k < last else h
        return ((h - row[inputs:]) ** 2).sum()

    def mean_loss(weights: Any, rows: Any) -> Any:
        return jax.vmap(loss, (None, 0))(weights, rows).mean()

    gradient = jax.vmap(jax.value_and_grad(mean_loss))

    def step(carry: Any, key: Any) -> Any:
        weights, sums = carry
        rows = data[jax.random.randint(key, (net.replicas, net.batch), 0, DATA_ROWS)]
        value, slope = gradient(weights, rows)
        square = sum((g**2).sum((1, 2)) for g in slope)
        new = [w - RATE * g for w, g in zip(weights, slope, strict=True)]
        moved = sum(((a - b) ** 2).sum((1, 2)) for a, b in zip(new, weights, strict=True))
        return (new, (sums[0] + value, sums[1] + square, sums[2] + moved)), None

    @jax.jit
    def learn(key: Any) -> Any:
        first, key = jax.random.split(key)
        shapes = list(zip(net.widths[1:], net.widths[:-1], strict=True))
        keys = jax.random.split(first, len(shapes))
        weights = [
            jax.random.normal(k, (net.replicas, *shape), jnp.float64) / jnp.sqrt(shape[1])
            for k, shape in zip(keys, shapes, strict=True)
        ]
        zero = jnp.zeros(net.replicas)
        return jax.lax.scan(step, (weights, (zero, zero, zero)), jax.random.split(key, net.steps))[0][1]

    return lambda: tuple(learn(jax.random.PRNGKey(0)))


def torch_func(net: Net) -> Callable[[], Booked]:
    """vmap of torch.func's gradient over replicas, one call a step."""
    import torch
    from torch.func import grad_and_value, vmap

    torch.set_num_threads(THREADS)
    data, inputs, last = torch.tensor(data_rows(net)), net.widths[0], len(net.widths) - 2
    shapes = list(zip(net.widths[1:], net.widths[:-1], strict=True))

    def mean_loss(weights: Any, rows: Any) -> Any:
        h = rows[:, :inputs]
        for k, w in enumerate(weights):
            h = h @ w.T
            h = torch.relu(h) if net.activation == "relu" and k < last else h
        return ((h - rows[:, inputs:]) ** 2).sum(1).mean()

    gradient = vmap(grad_and_value(mean_loss))

    def run() -> Booked:
        torch.manual_seed(0)
        weights = tuple(torch.randn(net.replicas, *s, dtype=torch.float64) / s[1] ** 0.5 for s in shapes)
        sums = [torch.zeros(net.replicas, dtype=torch.float64) for _ in BOOKS]
        for _ in range(net.steps):
            slope, value = gradient(weights, data[torch.randint(DATA_ROWS, (net.replicas, net.batch))])
            new = tuple(w - RATE * g for w, g in zip(weights, slope, strict=True))
            sums[0] += value
            sums[1] += sum((g**2).sum((1, 2)) for g in slope)
            sums[2] += sum(((a - b) ** 2).sum((1, 2)) for a, b in zip(new, weights, strict=True))
            weights = new
        return tuple(total.numpy() for total in sums)

    return run


def require_agreement(net: Net, booked: dict[str, Booked]) -> None:
    """Stop when the engines did not do the same work."""
    ours = booked["thermosim"]
    for name, theirs in booked.items():
        for what, a, b in zip(BOOKS, ours, theirs, strict=True):
            error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
            if not abs(z := (a.mean() - b.mean()) / error) < 5.0:
                raise SystemExit(f"{net.name}: the mean {what} of {name} differs by {z:.1f} standard errors")


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    lines = []
    for full in NETS:
        net = replace(full, replicas=64, steps=50) if quick else full
        engines: dict[str, Callable[[], Booked]] = {"thermosim": own(net)}
        engines |= {name: build(net) for name, (module, build, _) in RIVALS.items() if installed(module)}
        require_agreement(net, {name: run() for name, run in engines.items()})
        seconds = interleaved(engines, 2 if quick else 5)
        work = net.replicas * net.steps
        each = 1e9 * seconds["thermosim"] / work
        figure = f"{each:.1f} ns per replica-step, {each / net.parameters:.2f} per parameter"
        lines.append(Row(net.name, figure))
        for name in [name for name in RIVALS if name in seconds]:
            ratio = seconds[name] / seconds["thermosim"]
            theirs = f"{name}: {1e9 * seconds[name] / work:.1f} ns"
            aim = target(ratio, at_least=net.target[name], unit=" x")
            lines.append(Row("", theirs, f"{ratio:.1f} x slower", **aim))
    return lines + [missing(name, remedy) for name, (module, _, remedy) in RIVALS.items() if not installed(module)]


# module, what builds a run of it, and how to install it
RIVALS: dict[str, tuple[str, Callable[[Net], Callable[[], Booked]], str]] = {
    "JAX vmap in a jitted scan": ("jax", jax_scan, BENCH),
    "torch.func vmap": ("torch", torch_func, "pip install torch"),
}
