"""Threads, start-up and memory: what a user waits for before and besides the physics."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

from benchmarks.timing import Row, interleaved, target
from benchmarks.trap import case_text
from benchmarks.trap_rivals import Drag

__all__ = ["rows"]

TITLE = "Threads, start-up, memory"
COMMAND = [sys.executable, "-c", "from thermosim.cli.commands import main; main()"]  # what the command `thermosim` does
FIRST_STEP = """
import os, sys
import thermosim
thermosim.simulate(thermosim.load_case(sys.argv[1]), report=lambda progress: progress.done and os._exit(0))
"""


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    return [*_threads(quick), *_start(2 if quick else 5), _memory(quick)]


def _threads(quick: bool) -> list[Row]:
    import thermosim

    steps = 500 if quick else 20_000
    case = thermosim.load_case(case_text(Drag(8192, steps)))
    thermosim.simulate(case, threads=2)
    runs = {str(n): lambda n=n: thermosim.simulate(case, threads=n) for n in (1, 2)}
    seconds = interleaved(runs, 2 if quick else 5)
    figure = f"{seconds['1']:.3f} s and {seconds['2']:.3f} s"
    return [
        Row(f"dragged trap, {steps:,} steps: 1 and 2 threads", figure, f"{seconds['1'] / seconds['2']:.2f} x faster")
    ]


def _start(repeats: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "tiny.toml"
        case.write_text(case_text(Drag(replicas=256, steps=20), variables=None))
        run = [*COMMAND, "run", str(case), "-o", str(Path(folder) / "tiny.h5"), "--overwrite"]

        def call(command: list[str], cache: str) -> None:
            environment = os.environ | {"XDG_CACHE_HOME": cache}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode not in (0, 1):  # 1: the check of 256 replicas may be off by chance
                raise SystemExit(f"{' '.join(command[2:])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

        def cold() -> None:
            call(run, tempfile.mkdtemp(dir=folder))

        warm_cache = tempfile.mkdtemp(dir=folder)
        call(run, warm_cache)
        cold_seconds = interleaved({"cold": cold}, 1)["cold"]
        seconds = interleaved(
            {
                "bare": lambda: call([sys.executable, "-c", "pass"], warm_cache),
                "help": lambda: call([*COMMAND, "--help"], warm_cache),
                "run": lambda: call(run, warm_cache),
                "step": lambda: call([sys.executable, "-c", FIRST_STEP, str(case)], warm_cache),
            },
            repeats,
        )
    return [
        Row("python -c pass", f"{seconds['bare']:.2f} s"),
        Row("thermosim --help", f"{seconds['help']:.2f} s", **target(seconds["help"], below=0.3, unit=" s")),
        Row(
            "first steps taken, kernels in the cache",
            f"{seconds['step']:.2f} s",
            **target(seconds["step"], below=1.5, unit=" s"),
        ),
        Row("thermosim run, tiny case, kernels in the cache", f"{seconds['run']:.2f} s"),
        Row(
            "thermosim run, tiny case, kernels compiled",
            f"{cold_seconds:.1f} s",
            f"{cold_seconds / seconds['run']:.1f} x",
        ),
    ]


def _memory(quick: bool) -> Row:
    """Peak of what Python and numpy allocate during a run that records its last frame, per replica."""
    import thermosim

    replicas = 20_000 if quick else 200_000
    case = thermosim.load_case(case_text(Drag(replicas, 10)))
    thermosim.simulate(thermosim.load_case(case_text(Drag(64, 10))))
    gc.collect()
    tracemalloc.start()
    kept = thermosim.simulate(case, threads=2)
    peak, result = tracemalloc.get_traced_memory()[1] / replicas, kept.nbytes / replicas
    tracemalloc.stop()
    return Row("dragged trap: memory per replica, at its peak", f"{peak:.0f} bytes", f"the dataset: {result:.0f} bytes")
