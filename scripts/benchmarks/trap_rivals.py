"""The dragged trap written for other engines, each the way its users would write it.

    phi = k (x - c)^2/2,   x' = x - h k (x - c) + sqrt(2 h) xi

In each step c jumps from center[s] to center[s + 1] at fixed x (work), then x moves (heat, and the log ratio of the
densities of the move and of its reverse). float64 throughout; x starts at 0.

A rival is a function from a Drag to a function of no arguments that does the whole run and returns Booked.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Booked", "Drag", "cpp", "diffrax_solver", "jax_drag", "jax_scan", "numba_plain", "numpy_vectorised"]

SOURCE = Path(__file__).parent.parent / "bench_reference.cpp"
STIFFNESS = 1.0


@dataclass(frozen=True)
class Drag:
    """The work to be done."""

    replicas: int
    steps: int
    time_step: float = 0.05
    seed: int = 7
    threads: int = 2

    @property
    def center(self) -> np.ndarray:
        """Center of the trap at steps 0..steps."""
        return np.linspace(0.0, 5.0, self.steps + 1)


class Booked(NamedTuple):
    """Per replica at the end, (replicas,): the final x, and the ledger where there is one."""

    x: np.ndarray
    work: np.ndarray | None = None
    heat: np.ndarray | None = None
    log_ratio: np.ndarray | None = None


Run = Callable[[], Booked]


def numpy_vectorised(drag: Drag) -> Run:
    """A Python loop over steps, arrays over replicas; one thread."""
    h, k, center = drag.time_step, STIFFNESS, drag.center

    def run() -> Booked:
        generator = np.random.default_rng(drag.seed)
        x, work, heat, log_ratio = np.zeros((4, drag.replicas))
        for before, after in itertools.pairwise(center):
            jumped = 0.5 * k * (x - after) ** 2
            work += jumped - 0.5 * k * (x - before) ** 2
            force = -k * (x - after)
            moved = x + h * force + np.sqrt(2 * h) * generator.standard_normal(drag.replicas)
            force_new = -k * (moved - after)
            heat += 0.5 * k * (moved - after) ** 2 - jumped
            log_ratio += 0.5 * (force + force_new) * (moved - x + 0.5 * h * (force_new - force))
            x = moved
        return Booked(x, work, heat, log_ratio)

    return run


def numba_plain(drag: Drag) -> Run:
    """One replica after another inside a prange, with numba's np.random."""
    import numba

    @numba.njit(parallel=True)
    def drag_all(h, k, center, x_end, work, heat, log_ratio):  # type: ignore[no-untyped-def]
        amplitude = np.sqrt(2 * h)
        for replica in numba.prange(x_end.shape[0]):
            x = w = q = g = 0.0
            for s in range(center.shape[0] - 1):
                before, after = center[s], center[s + 1]
                jumped = 0.5 * k * (x - after) ** 2
                w += jumped - 0.5 * k * (x - before) ** 2
                force = -k * (x - after)
                moved = x + h * force + amplitude * np.random.normal()  # noqa: NPY002  what numba compiles
                force_new = -k * (moved - after)
                q += 0.5 * k * (moved - after) ** 2 - jumped
                g += 0.5 * (force + force_new) * (moved - x + 0.5 * h * (force_new - force))
                x = moved
            x_end[replica], work[replica], heat[replica], log_ratio[replica] = x, w, q, g

    def run() -> Booked:
        numba.set_num_threads(min(drag.threads, numba.config.NUMBA_NUM_THREADS))
        booked = Booked(*np.empty((4, drag.replicas)))
        drag_all(drag.time_step, STIFFNESS, drag.center, *booked)
        return booked

    return run


def jax_scan(drag: Drag) -> Run:
    """jit of lax.scan over steps, vectors over replicas, float64; XLA uses all processors."""
    drag_all = jax_drag(drag)
    return lambda: Booked(*map(np.asarray, drag_all()))


def jax_drag(drag: Drag) -> Callable[[], tuple[Any, ...]]:
    """The same, whose arrays x, work, heat, log ratio stay where JAX has made them."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    h, k, center = drag.time_step, STIFFNESS, jnp.asarray(drag.center)

    def step(carry, given):  # type: ignore[no-untyped-def]
        x, work, heat, log_ratio = carry
        before, after, key = given
        jumped = 0.5 * k * (x - after) ** 2
        work = work + jumped - 0.5 * k * (x - before) ** 2
        force = -k * (x - after)
        moved = x + h * force + jnp.sqrt(2 * h) * jax.random.normal(key, x.shape, jnp.float64)
        force_new = -k * (moved - after)
        heat = heat + 0.5 * k * (moved - after) ** 2 - jumped
        log_ratio = log_ratio + 0.5 * (force + force_new) * (moved - x + 0.5 * h * (force_new - force))
        return (moved, work, heat, log_ratio), None

    @jax.jit
    def drag_all(key):  # type: ignore[no-untyped-def]
        zero = jnp.zeros(drag.replicas)
        keys = jax.random.split(key, drag.steps)
        return jax.lax.scan(step, (zero, zero, zero, zero), (center[:-1], center[1:], keys))[0]

    return lambda: tuple(drag_all(jax.random.PRNGKey(drag.seed)))


def diffrax_solver(drag: Drag) -> Run:
    """diffeqsolve under vmap, Euler, with the Brownian path that is cheapest; no work or heat is booked."""
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    h, end, center = drag.time_step, drag.steps * drag.time_step, jnp.asarray(drag.center)

    def drift(t, x, args):  # type: ignore[no-untyped-def]
        return -STIFFNESS * (x - center[jnp.round(t / h).astype(int) + 1])

    def diffusion(t, x, args):  # type: ignore[no-untyped-def]
        return jnp.sqrt(2.0)

    def one(key):  # type: ignore[no-untyped-def]
        path = diffrax.UnsafeBrownianPath(shape=(), key=key)
        terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, path))
        return diffrax.diffeqsolve(
            terms,
            diffrax.Euler(),
            0.0,
            end,
            h,
            jnp.zeros(()),
            max_steps=drag.steps + 2,
            adjoint=diffrax.DirectAdjoint(),
        ).ys[0]

    @jax.jit
    def drag_all(key):  # type: ignore[no-untyped-def]
        return jax.vmap(one)(jax.random.split(key, drag.replicas))

    return lambda: Booked(np.asarray(drag_all(jax.random.PRNGKey(drag.seed))))


def cpp(drag: Drag) -> Run | None:
    """bench_reference.cpp, compiled on the spot; None without g++. Its numbers are thermosim's to rounding."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        code, library = f"{folder}/reference.o", f"{folder}/reference.so"
        optimised = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC", "-std=c++17"]
        subprocess.run([compiler, *optimised, "-c", str(SOURCE), "-o", code], check=True)
        # linked without -ffast-math, which would flush subnormal numbers to zero in the whole process
        subprocess.run([compiler, "-shared", "-fopenmp", code, "-o", library], check=True)
        function = ctypes.CDLL(library).drag
    doubles = np.ctypeslib.ndpointer(np.float64, ndim=1, flags="C_CONTIGUOUS")
    function.restype = None
    function.argtypes = [
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int, ctypes.c_uint64, ctypes.c_double, ctypes.c_double, *[doubles] * 5
    ]  # fmt: skip

    def run() -> Booked:
        booked = Booked(*(np.empty(drag.replicas) for _ in range(4)))
        function(
            drag.replicas, drag.steps, drag.threads, drag.seed, drag.time_step, STIFFNESS, drag.center, *booked
        )  # fmt: skip
        return booked

    return run
