"""Replica-steps on a graphics card: thermosim's kernels against kernels fused by hand, JAX and the processor beside it.

Before anything is timed, results must agree: the card's states with the processor's and with those of the fused
kernels in every bit, and JAX, which has noise of its own, in its means within 5 standard errors. Times are the shortest
of several, by turns, each from the call to the synchronised end; what is loaded before a run is not in them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks import fused
from benchmarks.gpu_systems import SYSTEMS, System
from benchmarks.timing import Row, installed, missing, target

__all__ = ["lacking", "rows"]

TITLE = "On the graphics card: float64, ps per replica-step"
SIZES = (100_000, 1_000_000, 10_000_000)  # lanes
COMPARED = 4096  # lanes that the processor makes too
OWN, FUSED, JAX, SIMULATE = "thermosim, its kernel alone", "  fused by hand, CUDA C++", "  JAX on the card", "simulate"
Timed = tuple[Callable[[], object], Callable[[], object]]  # what comes before a run, and the run


def lacking() -> str:
    """Why nothing can be measured here, in a sentence; empty where there is a card."""
    from thermosim.run.devices import device_faults

    return " ".join(device_faults("cuda"))


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    if said := lacking():
        return [Row("no row is measured", said)]
    from thermosim.engines.cuda.cards import cards_of, current

    card = cards_of("cuda")[0]
    lines = [Row(card.name, f"{card.memory / 2**30:.0f} GiB, {card.processors} multiprocessors")]
    if reason := no_jax():
        lines.append(missing(JAX.strip(), reason))
    with current(card):
        for system in SYSTEMS:
            for lanes in SIZES[:1] if quick else SIZES:
                lines += _or_why_not(system, lanes, quick)
    return lines


def _or_why_not(system: System, lanes: int, quick: bool) -> list[Row]:
    """The lines of one system; where the card fails, as when its memory runs out, what it said."""
    from thermosim.engines.engine import DeviceError

    try:
        return list(_of_system(system, lanes, quick))
    except DeviceError as error:
        return [Row(_name(system, lanes), str(error))]


def no_jax() -> str:
    """How to have JAX on the card; empty where it is."""
    remedy = 'pip install "jax[cuda13]"'
    if not installed("jax"):
        return remedy
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # else it takes three quarters of the card
    import jax

    backend = jax.default_backend()
    return "" if backend == "gpu" else f"JAX runs on {backend} here; {remedy}"


def _name(system: System, lanes: int) -> str:
    return f"{system.name}, {lanes:.0e} lanes".replace("e+0", "e")


def _of_system(system: System, lanes: int, quick: bool) -> Iterator[Row]:
    """The lines of one system with so many lanes."""
    import thermosim
    from thermosim.engines import engine_of
    from thermosim.plan.outline import plan
    from thermosim.plan.starts import initial_state
    from thermosim.run.footprint import lanes_at_once

    name, steps = _name(system, lanes), max(2, system.steps // (10 if quick else 1))
    case = system.case(lanes, steps)
    outline, engine = plan(case)[0], engine_of("cuda")
    if faults := engine.faults(outline.cohort):
        yield Row(name, faults[0])
        return
    if (most := lanes_at_once(outline, device="cuda")) < lanes:
        yield Row(name, f"left out: {most:,} lanes at a time fit the memory of this machine and its card")
        return
    block, start = outline.block(), initial_state(outline, 0, lanes)
    on_card = engine.open(block)
    runs: dict[str, Timed] = {OWN: _advancing(on_card, start, steps)}
    runs[SIMULATE] = (_nothing, lambda: thermosim.simulate(case, device="cuda"))
    ours = _state_after(runs[OWN], on_card)
    processor = _require_the_processors_bits(system, outline, ours, steps)
    if system.fused is not None:
        runs[FUSED] = _fused_run(system, block, start, ours)
    said = "no rival is written"
    if system.jax is not None and not (said := no_jax()):
        run, said = _jax_run(system, lanes, steps, ours, block)
        if run is not None:
            runs[JAX] = run
    seconds = by_turns(runs, 2 if quick else 3 if lanes == SIZES[-1] else 7)
    on_card.close()
    yield from _lines(name, {key: 1e12 * value / (lanes * steps) for key, value in seconds.items()}, processor)
    if JAX not in runs and not no_jax():
        yield Row(JAX, f"skipped: {said}")


def _jax_run(
    system: System, lanes: int, steps: int, ours: Mapping[str, np.ndarray], block: Any
) -> tuple[Timed | None, str]:
    """JAX on the same work, once it agrees; or why it did not come to an end, such as that its memory ran out."""
    import jax

    assert system.jax is not None
    run, agree = system.jax(lanes, steps)
    try:
        result = jax.block_until_ready(run())
    except jax.errors.JaxRuntimeError as error:
        return None, " ".join(str(error).split())[:100]
    agree(ours, block, result)
    return (_nothing, lambda: jax.block_until_ready(run())), ""


def _lines(name: str, cost: Mapping[str, float], processor: float) -> Iterator[Row]:
    """ps per replica-step of each, as rows with what they are compared with."""
    own = cost[OWN]
    beside = f"{os.cpu_count()} cores of the processor {processor:,.0f} ps, {processor / own:.0f} x slower"
    yield Row(name, f"{own:.2f} ps the kernel, {cost[SIMULATE]:.2f} ps simulate", beside)
    if FUSED in cost:
        ratio = own / cost[FUSED]
        yield Row(FUSED, f"{cost[FUSED]:.2f} ps", f"ours takes {ratio:.2f} x", **target(ratio, below=1.15, unit=" x"))
    if JAX in cost:
        ratio = cost[JAX] / own
        yield Row(JAX, f"{cost[JAX]:.2f} ps", f"{ratio:.1f} x slower", **target(ratio, at_least=4.0, unit=" x"))


def by_turns(runs: Mapping[str, Timed], repeats: int) -> dict[str, float]:
    """Shortest wall time of each run in seconds, without what comes before it."""
    shortest = dict.fromkeys(runs, math.inf)
    for _ in range(repeats):
        for name, (before, run) in runs.items():
            before()
            begin = time.perf_counter()
            run()
            shortest[name] = min(shortest[name], time.perf_counter() - begin)
    return shortest


def _nothing() -> None:
    pass


def _advancing(lanes: Any, start: Mapping[str, np.ndarray], steps: int) -> Timed:
    """All steps of lanes, without frames; `advance` comes back when they are made."""
    return lambda: lanes.restore(start, 0), lambda: lanes.advance(steps, steps + 1, 1, lambda *delivered: None)


def _state_after(timed: Timed, lanes: Any) -> dict[str, np.ndarray]:
    before, run = timed
    before()
    run()
    return dict(lanes.state())


def _require_the_processors_bits(system: System, outline: Any, ours: Mapping[str, np.ndarray], steps: int) -> float:
    """Stop where a lane of the card differs; ps per replica-step of all cores of the processor."""
    from thermosim.engines import engine_of
    from thermosim.plan.starts import initial_state

    count = min(outline.lanes, COMPARED)
    lanes = engine_of().open(outline.block(0, count))
    expected = _state_after(_advancing(lanes, initial_state(outline, 0, count), steps), lanes)
    for name, array in expected.items():
        _require_same(f"{system.name}: {name} of the card and of the processor", ours[name][..., :count], array)
    count = min(outline.lanes, SIZES[0])
    lanes = engine_of().open(outline.block(0, count), os.cpu_count() or 1)
    timed = _advancing(lanes, initial_state(outline, 0, count), steps)
    seconds = by_turns({"": timed}, 2)[""]
    lanes.close()
    return 1e12 * seconds / (count * steps)


def _fused_run(system: System, block: Any, start: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]) -> Timed:
    """The fused kernel on the same start; stops where its end is not ours in every bit."""
    from numba import cuda

    assert system.fused is not None
    name, arguments, written, expected = system.fused(block, start, ours)
    launch = fused.card()
    given = [cuda.to_device(np.array(value)) if isinstance(value, np.ndarray) else value for value in arguments]
    arrays = [cuda.to_device(array) for array in written]

    def before() -> None:
        for array, values in zip(arrays, written, strict=True):
            array.copy_to_device(values)
        cuda.synchronize()

    def run() -> None:
        launch(name, block.lanes, *given, *arrays)
        cuda.synchronize()

    before()
    run()
    for array, values in zip(arrays, expected, strict=True):
        _require_same(f"{system.name}: the kernel fused by hand and ours", array.copy_to_host(), values)
    return before, run


def _require_same(what: str, values: np.ndarray, expected: np.ndarray) -> None:
    different = np.ascontiguousarray(values).view(np.int64) != np.ascontiguousarray(expected).view(np.int64)
    if different.any():
        raise SystemExit(f"{what} differ in {different.sum():,} of {different.size:,} numbers; nothing was timed.")
