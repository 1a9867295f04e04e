"""The isotropic sphere: cost of a step at two dimensions, and the whole grid of the ideal-gas paper.

    g = P (mu + sigma xi)/|w|,   w' = w - eta |w|^2 (g + lambda w)

The grid is that of arXiv 2511.07308: fixed effective learning rate, 17 x 17 values of learning rate and weight decay,
one chain each, 2,000,000 steps recorded every 50. Loops over steps in numpy and PyTorch are measured on a short run of
the same grid and extrapolated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.timing import Row, installed, interleaved, missing, target

__all__ = ["case_text", "grid_text", "rows"]

TITLE = "Isotropic sphere, SGD at fixed effective learning rate, float64, two threads"
THREADS = 2
GRID_STEPS, EVERY = 2_000_000, 50
RATES = np.geomspace(1e-3, 1e-1, 17)


def grid_text(steps: int) -> str:
    """The paper's grid, shortened to `steps`."""
    return (
        case_text(3, 1, steps, 0, EVERY)
        + """
    [sweep]
    "theta.learning_rate" = { logspace = [1e-3, 1e-1], num = 17 }
    "theta.weight_decay" = { logspace = [1e-3, 1e-1], num = 17 }
    """
    )


def case_text(dimension: int, replicas: int, steps: int, first: int, every: int) -> str:
    """The run as a user writes it."""
    return f"""
    [model]
    name = "isotropic-sphere"
    dimension = {dimension}
    [theta]
    dynamics = "sgd"
    constraint = "fixed-elr"
    learning_rate = 0.01
    weight_decay = 0.01
    [ensemble]
    replicas = {replicas}
    seed = 42
    [run]
    steps = {steps}
    [record]
    first = {first}
    every = {every}
    variables = ["theta"]
    """


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    lines = [_cost_of_step(3, 4096, 200 if quick else 10_000), _cost_of_step(100, 1024, 50 if quick else 2_000)]
    return lines + _grid(20_000 if quick else GRID_STEPS, 200 if quick else 5_000)


def _cost_of_step(dimension: int, replicas: int, steps: int) -> Row:
    import thermosim

    case = thermosim.load_case(case_text(dimension, replicas, steps, steps, 1))
    thermosim.simulate(case, threads=THREADS)
    seconds = interleaved({"": lambda: thermosim.simulate(case, threads=THREADS)}, 7)[""]
    step = 1e9 * seconds / (replicas * steps)
    return Row(f"d = {dimension}", f"{step:.2f} ns per replica-step", f"{step / dimension:.2f} ns per component")


def _grid(steps: int, sample: int) -> list[Row]:
    """thermosim runs `steps`; the loops run `sample` steps, and theirs is multiplied up."""
    import thermosim

    case = thermosim.load_case(grid_text(steps))
    loops: dict[str, Callable[[], object]] = {"numpy, loop over steps": _numpy_loop(sample)}
    if installed("torch"):
        loops["PyTorch, loop over steps"] = _torch_loop(sample)
    thermosim.simulate(thermosim.load_case(grid_text(EVERY)), threads=THREADS)
    for loop in loops.values():
        loop()
    seconds = interleaved({"thermosim": lambda: thermosim.simulate(case, threads=THREADS), **loops}, 2)
    own = seconds.pop("thermosim")
    lines = [
        Row(
            f"289 chains x {steps:,} steps, every 50 recorded",
            f"{own:.2f} s",
            "1",
            **target(own, below=10.0, unit=" s"),
        )
    ]
    for name, measured in seconds.items():
        whole = measured * steps / sample
        lines.append(Row(f"  {name}", f"{whole:,.0f} s, from {sample:,} steps", f"{whole / own:,.0f} x slower"))
    if not installed("torch"):
        lines.append(missing("  PyTorch, loop over steps", "pip install torch"))
    return lines


def _numpy_loop(steps: int) -> Callable[[], np.ndarray]:
    """All chains of the grid as one array, a Python loop over steps."""
    rate, decay = (grid.reshape(-1, 1) for grid in np.meshgrid(RATES, RATES, indexing="ij"))
    mu = np.full(3, 3**-0.5)

    def run() -> np.ndarray:
        generator = np.random.default_rng(42)
        w = generator.standard_normal((rate.size, 3))
        recorded = np.empty((steps // EVERY, *w.shape))
        for step in range(steps):
            square = np.sum(w * w, axis=1, keepdims=True)
            pull = mu + generator.standard_normal(w.shape)
            gradient = (pull - np.sum(pull * w, axis=1, keepdims=True) / square * w) / np.sqrt(square)
            w = w - rate * square * (gradient + decay * w)
            if step % EVERY == 0:
                recorded[step // EVERY] = w
        return recorded

    return run


def _torch_loop(steps: int) -> Callable[[], object]:
    """The same with tensors, and the gradient of the loss by autograd."""
    import torch

    rate, decay = (torch.tensor(grid.reshape(-1, 1)) for grid in np.meshgrid(RATES, RATES, indexing="ij"))
    mu = torch.full((3,), 3**-0.5, dtype=torch.float64)

    def run() -> object:
        generator = torch.Generator().manual_seed(42)
        w = torch.randn((rate.numel(), 3), generator=generator, dtype=torch.float64)
        recorded = torch.empty((steps // EVERY, *w.shape), dtype=torch.float64)
        for step in range(steps):
            w.requires_grad_(True)
            pull = mu + torch.randn(w.shape, generator=generator, dtype=torch.float64)
            loss = (w * pull).sum(1) / w.norm(dim=1)
            (gradient,) = torch.autograd.grad(loss.sum(), w)
            with torch.no_grad():
                w = w - rate * (w * w).sum(1, keepdim=True) * (gradient + decay * w)
                if step % EVERY == 0:
                    recorded[step // EVERY] = w
        return recorded

    return run
