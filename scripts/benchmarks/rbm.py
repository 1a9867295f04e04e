"""A restricted Boltzmann machine on the 8 x 8 digits, work and heat booked: thermosim against batched numpy and torch.

64 visible and 64 hidden units, 256 replicas, minibatches of 10 digits, one persistent chain and one Gibbs sweep a step.
Every engine draws its own noise; before anything is timed, mean work and heat of all must agree within 5 standard
errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.timing import Row, installed, interleaved, missing, target

__all__ = ["rows"]

TITLE = "Restricted Boltzmann machine 64 x 64 on digits, batch 10, one sweep a step: 256 replicas, float64"
REPLICAS, VISIBLE, HIDDEN, BATCH, RATE = 256, 64, 64, 10, 0.05
Booked = tuple[np.ndarray, np.ndarray]


def case_text(steps: int) -> str:
    """The run as a user writes it."""
    return f"""
    [model]
    name = "rbm"
    dimension = {VISIBLE}
    hidden = {HIDDEN}
    [theta]
    dynamics = "sgd"
    learning_rate = {RATE}
    batch = {BATCH}
    [x]
    dynamics = "gibbs"
    initial = "data"
    [data]
    source = "digits"
    encoding = "binary"
    [ensemble]
    replicas = {REPLICAS}
    [run]
    steps = {steps}
    [record]
    first = {steps}
    every = 1
    variables = ["work", "heat"]
    """


def own(steps: int) -> Callable[[], Booked]:
    """thermosim.simulate, from the case to the dataset."""
    import thermosim

    case = thermosim.load_case(case_text(steps))

    def run() -> Booked:
        last = thermosim.simulate(case).isel(step=-1)
        return last.work.values, last.heat.values

    return run


def numpy_batched(steps: int, data: np.ndarray) -> Callable[[], Booked]:
    """Arrays (replica, ...) and stacked matrix products."""

    def free_energy(v: np.ndarray, a: np.ndarray, b: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = b + np.matmul(v[:, None], w)[:, 0]
        return -(a * v).sum(1) - np.logaddexp(0.0, z).sum(1), z

    def run() -> Booked:
        rng = np.random.default_rng(0)
        w = 0.01 * rng.standard_normal((REPLICAS, VISIBLE, HIDDEN))
        a, b = np.zeros((REPLICAS, VISIBLE)), np.zeros((REPLICAS, HIDDEN))
        v = data[rng.integers(0, len(data), REPLICAS)]
        work, heat = np.zeros(REPLICAS), np.zeros(REPLICAS)
        phi, z = free_energy(v, a, b, w)
        for _ in range(steps):
            rows = data[rng.integers(0, len(data), (REPLICAS, BATCH))]
            on_data = 1.0 / (1.0 + np.exp(-(np.matmul(rows, w) + b[:, None])))
            on_sample = 1.0 / (1.0 + np.exp(-z))
            a = a + RATE * (rows.mean(1) - v)
            b = b + RATE * (on_data.mean(1) - on_sample)
            w += RATE * (np.matmul(rows.transpose(0, 2, 1), on_data) / BATCH - v[:, :, None] * on_sample[:, None])
            jumped, z = free_energy(v, a, b, w)
            h = (rng.random((REPLICAS, HIDDEN)) < 1.0 / (1.0 + np.exp(-z))).astype(float)
            field = a + np.matmul(w, h[:, :, None])[:, :, 0]
            v = (rng.random((REPLICAS, VISIBLE)) < 1.0 / (1.0 + np.exp(-field))).astype(float)
            moved, z = free_energy(v, a, b, w)
            work, heat, phi = work + jumped - phi, heat + moved - jumped, moved
        return work, heat

    return run


def torch_batched(steps: int, data: np.ndarray) -> Callable[[], Booked]:
    """The same in torch, float64, its own choice of threads."""
    import torch

    rows_of_data = torch.as_tensor(data)
    options: dict[str, Any] = {"dtype": torch.float64}

    def free_energy(v, a, b, w):  # type: ignore[no-untyped-def]
        z = b + torch.bmm(v[:, None], w)[:, 0]
        return -(a * v).sum(1) - torch.nn.functional.softplus(z).sum(1), z

    @torch.no_grad()
    def run() -> Booked:
        w = 0.01 * torch.randn(REPLICAS, VISIBLE, HIDDEN, **options)
        a, b = torch.zeros(REPLICAS, VISIBLE, **options), torch.zeros(REPLICAS, HIDDEN, **options)
        v = rows_of_data[torch.randint(0, len(data), (REPLICAS,))]
        work, heat = torch.zeros(REPLICAS, **options), torch.zeros(REPLICAS, **options)
        phi, z = free_energy(v, a, b, w)
        for _ in range(steps):
            rows = rows_of_data[torch.randint(0, len(data), (REPLICAS, BATCH))]
            on_data, on_sample = torch.sigmoid(torch.bmm(rows, w) + b[:, None]), torch.sigmoid(z)
            a = a + RATE * (rows.mean(1) - v)
            b = b + RATE * (on_data.mean(1) - on_sample)
            w = torch.baddbmm(w, rows.transpose(1, 2), on_data, alpha=RATE / BATCH)
            w = w - RATE * v[:, :, None] * on_sample[:, None]
            jumped, z = free_energy(v, a, b, w)
            h = torch.bernoulli(torch.sigmoid(z))
            v = torch.bernoulli(torch.sigmoid(a + torch.bmm(w, h[:, :, None])[:, :, 0]))
            moved, z = free_energy(v, a, b, w)
            work, heat, phi = work + jumped - phi, heat + moved - jumped, moved
        return work.numpy(), heat.numpy()

    return run


def require_agreement(name: str, booked: Booked, reference: Booked) -> None:
    """Stop when two engines did not do the same work."""
    for what, values, others in zip(("work", "heat"), booked, reference, strict=True):
        error = np.sqrt((values.var(ddof=1) + others.var(ddof=1)) / REPLICAS)
        z = (values.mean() - others.mean()) / error
        if not abs(z) < 5.0:
            raise SystemExit(f"{name}: mean {what} {values.mean():.5g} against {others.mean():.5g}, z = {z:.1f}")


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    if not installed("sklearn"):
        return [missing("the 8 x 8 digits", 'pip install "thermosim-engine[test]"')]
    import thermosim
    from thermosim.plan.outline import plan

    steps, repeats = (20, 2) if quick else (200, 5)
    data = plan(thermosim.load_case(case_text(1)))[0].data
    assert data is not None
    engines: dict[str, Callable[[], Booked]] = {"thermosim": own(steps), "numpy": numpy_batched(steps, data.values)}
    if installed("torch"):
        engines["torch"] = torch_batched(steps, data.values)
    results = {name: run() for name, run in engines.items()}
    for name, booked in results.items():
        require_agreement(name, booked, results["thermosim"])
    seconds = interleaved(engines, repeats)
    micro = {name: 1e6 * value / (REPLICAS * steps) for name, value in seconds.items()}
    lines = [Row("thermosim.simulate, two threads", f"{micro['thermosim']:.1f} us per replica-step")]
    for name in ("numpy", "torch"):
        if name not in engines:
            lines.append(missing(f"{name}, batched", "pip install torch"))
            continue
        ratio = micro[name] / micro["thermosim"]
        figure = f"{micro[name]:.1f} us per replica-step"
        lines.append(Row(f"{name}, batched", figure, f"{ratio:.1f} x slower", **target(ratio, at_least=1.0, unit=" x")))
    return lines
