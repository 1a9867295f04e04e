"""Models by formula against the same models written by hand: the step loop alone, one thread, work and heat booked."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Row, interleaved, target

__all__ = ["rows"]

TITLE = "Models by formula against models written by hand: ns per replica-step, one thread"
WELL = """
import numpy as np
from thermosim import Constant, Model, Parameter


def energy(x, theta, constants, shared, lane):
    q = x[0, lane] * x[0, lane] - 1.0
    return constants[BARRIER, lane] * q * q - theta[TILT, lane] * x[0, lane]


def force(i, x, theta, constants, shared, lane):
    q = x[0, lane] * x[0, lane] - 1.0
    return -4.0 * constants[BARRIER, lane] * q * x[0, lane] + theta[TILT, lane]


MODEL = Model(
    name="well",
    summary="a double well",
    source="this benchmark",
    constants=(Constant("barrier", 3.0, "height"),),
    components=lambda constants: 1,
    parameters=(Parameter("tilt", "force", lambda c: (1,), lambda c: np.zeros(1)),),
    energy=energy,
    force=force,
)
"""
CHAIN = """
from thermosim import Constant, Model


def surprisal_and_force(x, theta, constants, shared, phi, force, scratch):
    for lane in range(x.shape[1]):
        phi[lane] = 0.0
    for i in range(COMPONENTS):
        for lane in range(x.shape[1]):
            square = x[i, lane] * x[i, lane]
            phi[lane] += 0.25 * square * square
            force[i, lane] = -square * x[i, lane]
    for i in range(COMPONENTS - 1):
        for lane in range(x.shape[1]):
            apart = x[i + 1, lane] - x[i, lane]
            pull = constants[K, lane] * apart
            phi[lane] += 0.5 * pull * apart
            force[i, lane] += pull
            force[i + 1, lane] -= pull


MODEL = Model(
    name="chain",
    summary="a chain of quartic wells",
    source="this benchmark",
    constants=(Constant("k", 2.0, "stiffness"),),
    components=lambda constants: 24,
    surprisal_and_force=surprisal_and_force,
)
"""
TRAP = "0.5*sum((x[i] - center[i])*stiffness[i, j]*(x[j] - center[j]) for i in range(n) for j in range(n))"
CHAIN_FORMULA = "sum(x[i]**4/4 for i in range(n)) + 0.5*k*sum((x[i + 1] - x[i])**2 for i in range(n - 1))"


def _trap(n: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    center = {"kind": "linear", "initial": [0.0] * n, "final": [2.0] * n}
    theta = {"dynamics": "protocol", "protocol": {"center": center, "stiffness": (2.0 * np.eye(n) + 0.1).tolist()}}
    by_formula = {"n": n, "formula": {"energy": TRAP, "components": "n"}}
    return {"name": "harmonic-trap", "dimension": n}, by_formula, theta


def _systems() -> dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """By name: [model] by hand, [model] by formula, [theta]."""
    tilt = {"dynamics": "protocol", "protocol": {"tilt": {"kind": "linear", "initial": 0.0, "final": 4.0}}}
    well = {"barrier": 3.0, "formula": {"energy": "barrier*(x0**2 - 1)**2 - tilt*x0"}}
    beads = {"k": 1.0, "c": 1.0, "formula": {"energy": "k*(x0**2 + x1**2)/2 + c*(x0 - x1)**2/2"}}
    chain = {"k": 2.0, "n": 24, "formula": {"energy": CHAIN_FORMULA, "components": "n"}}
    return {
        "tilted double well": ({"file": "well.py", "barrier": 3.0}, well, tilt),
        "dragged trap, 2 components": _trap(2),
        "dragged trap, 3 components": _trap(3),
        "two beads": ({"name": "two-beads"}, beads, {}),
        "chain of 24 quartic wells": ({"file": "chain.py"}, chain, {}),
    }


def rows(quick: bool) -> list[Row]:
    """A line for each system: its time by formula, against that by hand."""
    replicas, steps = (512, 100) if quick else (4096, 1000)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("well.py", WELL), ("chain.py", CHAIN)):
            (Path(folder) / name).write_text(text)
        for name, (by_hand, by_formula, theta) in _systems().items():
            runs = {how: _run(model, theta, replicas, steps, folder) for how, model in
                    (("hand", by_hand), ("formula", by_formula))}  # fmt: skip
            for run in runs.values():
                run()
            seconds = interleaved(runs, 2 if quick else 9)
            ratio = seconds["formula"] / seconds["hand"]
            figure = f"{1e9 * seconds['formula'] / replicas / steps:.2f} ns per replica-step"
            lines.append(Row(name, figure, f"{ratio:.2f} x the time by hand", **target(ratio, below=1.2, unit=" x")))
    return lines


def _run(model: dict[str, Any], theta: dict[str, Any], replicas: int, steps: int, folder: str) -> Any:
    """The step loop of a case, from its start."""
    import thermosim
    from thermosim.engines import engine_of
    from thermosim.plan.outline import plan
    from thermosim.plan.starts import initial_state

    case = {
        "model": model,
        "x": {"dynamics": "ula", "time_step": 0.002, "initial": "zero"},
        "ensemble": {"replicas": replicas},
        "run": {"steps": steps},
        "record": {"every": steps, "variables": ["x", "work", "heat", "log_ratio_x"]},
    } | ({"theta": theta} if theta else {})
    outline = plan(thermosim.load_case(case, folder=folder))[0]
    block, start = outline.block(), initial_state(outline, 0, outline.lanes)
    lanes = engine_of().open(block, 1)

    def run() -> None:
        lanes.restore(start, 0)
        lanes.advance(steps, steps + 1, 1, lambda piece, frames, seen: None)

    return run
