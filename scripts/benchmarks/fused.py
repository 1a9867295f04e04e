"""The dragged trap and the sphere fused by hand, bench_fused.cu: compiled on the spot for a card, or for the processor.

The kernels take what a block of thermosim holds, so that their numbers can be compared with its own in every bit.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.plan.block import Block

__all__ = ["Launch", "card", "drag_arguments", "processor", "roll_arguments", "translated"]

SOURCE = Path(__file__).parent.parent / "bench_fused.cu"
THREADS = 64  # of a card's block, as many as thermosim's kernels have

# A kernel's name, replicas, then the rest of its arguments: numbers, and arrays where they are to be used.
Launch = Callable[..., None]


def drag_arguments(block: Block) -> tuple[Any, ...]:
    """Of `drag`, up to what it writes: x, work, heat, log_ratio, each (replicas,)."""
    table = block.timetable.tables(1, block.steps)[0]  # center and stiffness at steps 1, 2, ...
    start = block.timetable.theta_values(0, 0)[0]
    time_step, temperature = block.x_hyper[:, 0]
    center = np.concatenate([start[:1], table[:, 0]])
    return (*_run_of(block), float(time_step), float(temperature), float(table[0, 1]), center)


def roll_arguments(block: Block) -> tuple[Any, ...]:
    """Of `roll`, up to what it changes: w (3, replicas)."""
    rate, decay = block.theta_hyper[:2, 0]
    return (*_run_of(block), float(block.model_constants["noise"]), float(rate), float(decay), block.shared[:3])


def _run_of(block: Block) -> tuple[Any, ...]:
    return np.int64(block.first_replica), np.int64(block.steps), np.uint64(block.seed)


def processor() -> Launch | None:
    """Kernels whose threads are turns of a loop; None without g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    strict = ["-std=c++17", "-O2", "-march=native", "-ffp-contract=off", "-fPIC", "-shared"]
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/fused.so"
        subprocess.run([compiler, *strict, "-x", "c++", str(SOURCE), "-o", library], check=True)
        functions = ctypes.CDLL(library)

    def launch(name: str, replicas: int, *arguments: Any) -> None:
        getattr(functions, name)(*(_of_c(value) for value in (np.int64(replicas), *arguments)))

    return launch


def _of_c(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, np.uint64):
        return ctypes.c_ulonglong(int(value))
    return ctypes.c_double(value) if isinstance(value, float) else ctypes.c_longlong(int(value))


def translated(architecture: str) -> Any:
    """Machine code for cards such as "sm_90", by NVRTC, which contracts nothing; no card is needed."""
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(std="c++17", arch=architecture, fma=False)
    return Program(SOURCE.read_text("utf-8"), "c++", options).compile("cubin")


def card() -> Launch:
    """Kernels on the card that is current; arrays are those of numba, on the card. A launch returns at once."""
    from cuda.core import LaunchConfig, Stream, launch
    from numba import cuda

    major, minor = tuple(cuda.current_context().device.compute_capability)[:2]
    code = translated(f"sm_{major}{minor}")
    kernels = {name: code.get_kernel(name) for name in ("drag", "roll")}
    stream = Stream.from_handle(0)  # that of numba's copies

    def on_card(name: str, replicas: int, *arguments: Any) -> None:
        configuration = LaunchConfig(grid=-(-replicas // THREADS), block=THREADS)
        launch(stream, configuration, kernels[name], *(_of_card(value) for value in (np.int64(replicas), *arguments)))

    return on_card


def _of_card(value: Any) -> Any:
    """Pointers go as plain integers, numbers by their own types."""
    if hasattr(value, "__cuda_array_interface__"):
        return int(value.__cuda_array_interface__["data"][0])
    return np.float64(value) if isinstance(value, float) else value
