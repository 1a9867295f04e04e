"""Architectures by SGD in float32: the engines of dense layers and of networks against loops of JAX and of torch.

Rivals do the steps and nothing else: value and gradient of all replicas in a jitted scan, or a plain training loop of
one network after another. Ours draw their rows by address, book loss, |g|^2 and |dtheta|^2 in float64, and hand over
the ensemble. Inputs are normal numbers, which cost as much as pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.timing import BENCH, Row, installed, interleaved, missing, target

__all__ = ["rows"]

TITLE = "Architectures by SGD, loss, |g|^2 and |dtheta|^2 booked: float32"
RATE, DATA_ROWS, THREADS, CLASSES = 1e-3, 2000, 2, 10
BOOKS = ["loss_sum", "gradient_square", "displacement_square"]


@dataclass(frozen=True)
class Net:
    """One model of the library, on rows of normal numbers with ten classes, and how much work."""

    name: str
    model: dict[str, Any]
    engine: str
    inputs: int
    batch: int
    replicas: int
    steps: int
    theta: dict[str, Any] | None = None
    tile: int = 4
    tokens: int = 0  # of a vocabulary, of which rows are made instead

    @property
    def more(self) -> dict[str, Any]:
        """What [theta] needs besides."""
        constraint = {"constraint": "fixed-lr"} if self.inputs == 3072 else {}
        return constraint | (self.theta or {})

    def case(self, folder: Any, books: list[str], steps: int | None = None) -> Any:
        """The run as a user writes it."""
        import thermosim

        x, y = rows_of(self)
        np.save(folder / f"x{self.inputs}.npy", x)
        np.save(folder / f"y{self.inputs}.npy", y)
        steps = steps or self.steps
        engine: dict[str, Any] = {"name": self.engine}
        engine |= {"tile_width": self.tile} if self.engine == "networks" else {}
        sections = {
            "model": self.model,
            "theta": {"dynamics": "sgd", "learning_rate": RATE, "batch": self.batch, **self.more},
            "data": {"file": f"x{self.inputs}.npy"} | ({} if self.tokens else {"targets": f"y{self.inputs}.npy"}),
            "ensemble": {"replicas": self.replicas},
            "run": {"steps": steps},
            "record": {"first": steps, "every": 1, "variables": books},
            "engine": engine,
        }
        return thermosim.load_case(sections, folder=folder)


def _perceptron(engine: str, widths: list[int], batch: int, replicas: int, steps: int) -> Net:
    model = {"name": "multilayer-perceptron", "widths": widths, "loss": "cross-entropy", "bias": "yes"}
    name = f"{'-'.join(map(str, widths))}, batch {batch}, {replicas} replicas: {engine}"
    return Net(name, model, engine, widths[0], batch, replicas, steps, {"initial": "lecun"})


_TOKENS = {"width": 64, "layers": 2, "context": 32, "vocabulary": 64}
_SMALL, _WIDE = [784, 64, 64, 64, 10], [784, 200, 200, 200, 10]
NETS = (
    *(_perceptron(engine, _SMALL, 10, 16, 200) for engine in ("dense", "networks")),
    _perceptron("dense", _WIDE, 1, 16, 100),
    _perceptron("dense", _WIDE, 10, 16, 40),
    _perceptron("dense", _WIDE, 100, 16, 8),
    Net("convnet of width 8 on 32 x 32 x 3, batch 32, 4 replicas", {"name": "convnet"}, "networks", 3072, 32, 4, 4),
    Net("resnet18 of width 4 on 32 x 32 x 3, batch 32, 4 replicas", {"name": "resnet18"}, "networks", 3072, 32, 4, 2),
    Net(
        "gru of width 64, context 32, batch 16, 4 replicas",
        _TOKENS | {"name": "gru"},
        "networks",
        33,
        16,
        4,
        8,
        tokens=64,
    ),
    Net(
        "transformer of width 64, context 32, batch 16, 4 replicas",
        _TOKENS | {"name": "transformer"},
        "networks",
        33,
        16,
        4,
        8,
        tokens=64,
    ),
)


def rows_of(net: Net) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and classes."""
    random = np.random.default_rng(net.inputs)
    if net.tokens:
        return random.integers(0, net.tokens, (DATA_ROWS, net.inputs)).astype(np.float32), np.zeros((DATA_ROWS, 0))
    return random.standard_normal((DATA_ROWS, net.inputs)).astype(np.float32), random.integers(0, CLASSES, DATA_ROWS)


def own(net: Net, folder: Any, books: list[str]) -> Callable[[], Any]:
    """thermosim.simulate, from the case to the dataset."""
    import thermosim

    case = net.case(folder, books)
    return lambda: thermosim.simulate(case, threads=THREADS)


def jax_scan(net: Net) -> Callable[[], Any]:
    """vmap of value_and_grad of the same loss inside a jitted lax.scan over steps; nothing is booked."""
    import jax
    import jax.numpy as jnp

    from thermosim.models import MODELS

    model = MODELS[net.model["name"]]
    constants = _constants(net)
    assert model.network is not None
    network = model.network(constants)
    x, y = map(jnp.asarray, rows_of(net))
    y = y if net.tokens else y.astype(jnp.int32)
    shapes = [(group.name, group.shape(constants)) for group in model.groups(constants)]

    def one(theta: Any, key: Any) -> Any:
        rows = jax.random.randint(key, (net.batch,), 0, DATA_ROWS)
        g = jax.grad(network.loss)(theta, x[rows], y[rows])
        return {name: w - np.float32(RATE) * g[name] for name, w in theta.items()}

    def step(theta: Any, key: Any) -> Any:
        return jax.vmap(one)(theta, jax.random.split(key, net.replicas)), None

    @jax.jit
    def learn(theta: Any) -> Any:
        return jax.lax.scan(step, theta, jax.random.split(jax.random.PRNGKey(0), net.steps))[0]

    random = np.random.default_rng(0)
    start = {
        name: jnp.asarray(random.standard_normal((net.replicas, *shape)) / np.sqrt(shape[-1]), jnp.float32)
        for name, shape in shapes
    }
    return lambda: jax.block_until_ready(learn(start))


def _constants(net: Net) -> dict[str, Any]:
    from thermosim.case.model import resolved_model
    from thermosim.models import MODELS

    return dict(resolved_model(net.model, MODELS[net.model["name"]])[0].constants)


def torch_eager(net: Net) -> Callable[[], Any]:
    """A plain training loop, one network after another: what most people run."""
    import torch

    torch.set_num_threads(THREADS)
    widths = net.model["widths"]
    x, y = map(torch.tensor, rows_of(net))

    def run() -> None:
        for _ in range(net.replicas):
            parts: list[Any] = []
            for a, b in itertools.pairwise(widths):
                parts += [torch.nn.Linear(a, b), torch.nn.ReLU()]
            network = torch.nn.Sequential(*parts[:-1])
            descent = torch.optim.SGD(network.parameters(), lr=RATE)
            for _ in range(net.steps):
                rows = torch.randint(DATA_ROWS, (net.batch,))
                descent.zero_grad()
                torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
                descent.step()

    return run


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        for full in NETS:
            net = replace(full, replicas=4, steps=2) if quick else full
            runs: dict[str, Callable[[], Any]] = {"thermosim": own(net, Path(temporary), BOOKS)}
            rivals = {"JAX vmap in a jitted scan": jax_scan} if installed("jax") else {}
            if installed("torch") and "widths" in net.model:
                rivals["torch, eager"] = torch_eager
            runs |= {name: build(net) for name, build in rivals.items()}
            for run in runs.values():  # compiles
                run()
            seconds = interleaved(runs, 1 if quick else 3)
            work = net.replicas * net.steps
            lines.append(Row(net.name, f"{1e6 * seconds['thermosim'] / work:.0f} us per replica-step"))
            for name in rivals:
                ratio = seconds[name] / seconds["thermosim"]
                theirs = f"{name}: {1e6 * seconds[name] / work:.0f} us"
                lines.append(Row("", theirs, f"{ratio:.1f} x slower", **target(ratio, at_least=1.0, unit=" x")))
    absent = [("jax", BENCH), ("torch", "pip install torch")]
    return lines + [missing(name, remedy) for name, remedy in absent if not installed(name)]
