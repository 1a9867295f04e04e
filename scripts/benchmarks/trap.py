"""Driven 1-D harmonic trap with work, heat and exact log ratio booked at every step: thermosim against other engines.

All engines do the same work in the same process by turns. Before anything is timed, the mean work and heat of each must
agree with the exact means of the discretised process within 5 standard errors, and its log ratio with the identity
log ratio = -(1 - h k/2) heat that holds for this move, replica by replica.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import trap_rivals
from benchmarks.timing import BENCH, Row, installed, interleaved, missing, target
from benchmarks.trap_rivals import STIFFNESS, Booked, Drag, Run

__all__ = ["case_text", "rows", "simulated"]

TITLE = "Dragged trap, work and heat booked: 8192 replicas x 2000 steps, float64"
OWN = ("thermosim.simulate, two threads", "thermosim, its kernel alone")
CPP, JAX, NUMBA = "C++, g++ -O3 -ffast-math, OpenMP simd", "JAX lax.scan, jit", "numba prange, np.random"
RIVALS: tuple[tuple[str, Callable[[Drag], Run | None], str, str], ...] = (
    (CPP, trap_rivals.cpp, "", "install g++"),
    (JAX, trap_rivals.jax_scan, "jax", BENCH),
    ("diffrax under vmap, nothing booked", trap_rivals.diffrax_solver, "diffrax", BENCH),
    (NUMBA, trap_rivals.numba_plain, "numba", "pip install numba"),
    ("numpy, vectorised, one thread", trap_rivals.numpy_vectorised, "numpy", "pip install numpy"),
)
TARGETS = {JAX: 10.0, NUMBA: 12.0}
LEDGER = ("x", "work", "heat", "log_ratio_x")


def case_text(drag: Drag, variables: Sequence[str] | None = LEDGER) -> str:
    """The run as a user writes it; `variables` None records all there are."""
    return f"""
    [model]
    name = "harmonic-trap"
    dimension = 1
    [theta]
    dynamics = "protocol"
    protocol = {{ center = {{ kind = "linear", initial = [0.0], final = [5.0] }} }}
    [x]
    dynamics = "ula"
    time_step = {drag.time_step}
    initial = "zero"
    [ensemble]
    replicas = {drag.replicas}
    seed = {drag.seed}
    [run]
    steps = {drag.steps}
    [record]
    first = {drag.steps}
    every = 1
    {f"variables = {list(variables)}" if variables else ""}
    """


def simulated(drag: Drag) -> Run:
    """What a user gets: thermosim.simulate, from the case to the dataset."""
    import thermosim

    case = thermosim.load_case(case_text(drag))

    def run() -> Booked:
        last = thermosim.simulate(case, threads=drag.threads).isel(step=-1)
        return Booked(last.x.values[:, 0], last.work.values, last.heat.values, last.log_ratio_x.values)

    return run


def kernel_alone(drag: Drag) -> Run:
    """The compiled step loop on tiles that are there already, without case, frames and dataset."""
    import thermosim
    from thermosim.engines import engine_of
    from thermosim.plan.outline import plan
    from thermosim.plan.starts import initial_state

    outline = plan(thermosim.load_case(case_text(drag)))[0]
    block, start = outline.block(), initial_state(outline, 0, outline.lanes)
    lanes = engine_of().open(block, drag.threads)

    def run() -> Booked:
        lanes.restore(start, 0)
        lanes.advance(drag.steps, drag.steps + 1, 1, lambda piece, frames, seen: None)
        state = lanes.state()
        sums = (state["x_path"][0, block.x_rows.index(name)] for name in ("work", "heat", "log_ratio_x"))
        return Booked(state["x"][0, 0], *sums)

    return run


def exact_means(drag: Drag) -> tuple[float, float, float]:
    """Means of final x, work and heat of the discretised process, from the moments of its Gaussian state."""
    h, k, center = drag.time_step, STIFFNESS, drag.center
    mean = variance = work = 0.0
    for before, after in itertools.pairwise(center):
        work += k * (before - after) * (mean - 0.5 * (before + after))
        mean += -h * k * (mean - after)
        variance = (1.0 - h * k) ** 2 * variance + 2.0 * h
    energy = 0.5 * k * (variance + (mean - center[-1]) ** 2)
    return mean, work, energy - 0.5 * k * center[0] ** 2 - work


def require_agreement(name: str, booked: Booked, drag: Drag) -> None:
    """Stop when an engine did not do the work. A step left out or a factor 2 is hundreds of standard errors off."""
    for what, values, exact in zip(("x", "work", "heat"), booked[:3], exact_means(drag), strict=True):
        if values is not None:
            z = (values.mean() - exact) / (values.std(ddof=1) / np.sqrt(drag.replicas))
            if not abs(z) < 5.0:
                raise SystemExit(f"{name}: mean {what} is {values.mean():.6g}, exactly {exact:.6g}, z = {z:.1f}")
    if booked.heat is not None and booked.log_ratio is not None:
        identity = -(1.0 - 0.5 * drag.time_step * STIFFNESS) * booked.heat
        if not np.allclose(booked.log_ratio, identity, rtol=1e-9, atol=1e-9):
            raise SystemExit(f"{name}: the log ratio differs from -(1 - h k/2) heat")


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    drag = Drag(1024, 200) if quick else Drag(8192, 2000)
    repeats = 2 if quick else 9
    engines: dict[str, Run] = {OWN[0]: simulated(drag), OWN[1]: kernel_alone(drag)}
    lines: dict[str, Row] = {}
    for name, make, module, remedy in RIVALS:
        run = make(drag) if not module or installed(module) else None
        if run is None:
            lines[name] = missing(name, remedy)
        else:
            engines[name] = run
    results = {name: run() for name, run in engines.items()}  # also compiles and warms up
    for name, booked in results.items():
        require_agreement(name, booked, drag)
    seconds = interleaved(engines, repeats)
    own = [seconds[name] for name in OWN]
    for name in engines:
        figure = f"{1e9 * seconds[name] / (drag.replicas * drag.steps):.2f} ns per replica-step"
        lines[name] = Row(name, figure) if name in OWN else _against(name, figure, seconds[name], own)
    fixed = Row("  what simulate adds to the kernel", f"{1e3 * (own[0] - own[1]):.1f} ms per run")
    return [lines[OWN[0]], lines[OWN[1]], fixed, *(lines[name] for name, *_ in RIVALS), *_same_numbers(results)]


def _against(name: str, figure: str, seconds: float, own: list[float]) -> Row:
    """A rival's line. The targets are for thermosim.simulate: what a user gets."""
    user, kernel = (seconds / one for one in own)
    if name == CPP:
        text = f"simulate takes {1 / user:.2f} x its time, the kernel {1 / kernel:.2f} x"
        return Row(name, figure, text, **target(1 / user, below=1.4, unit=" x"))
    text = f"{user:.1f} x slower than simulate, {kernel:.1f} x than the kernel"
    aim = TARGETS.get(name)
    return Row(name, figure, text, **(target(user, at_least=aim, unit=" x") if aim else {}))


def _same_numbers(results: dict[str, Booked]) -> list[Row]:
    """How far the work of single replicas differs between thermosim and C++, which share noise addresses."""
    if CPP not in results:
        return []
    difference = np.abs(results[OWN[0]].work - results[CPP].work).max()
    name = "  same noise in C++: largest difference of one replica's work"
    return [Row(name, f"{difference:.1e} kT", **target(difference, below=1e-9, unit=" kT"))]
