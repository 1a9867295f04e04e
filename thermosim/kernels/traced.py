"""JAX as thermosim calls it: whether it is there, at which precision, and compiled so that its bits are reproducible.

Whatever calls JAX does so inside `traced()`: 64-bit words for the addresses of random numbers and the sums of the
ledger, products of float32 at full precision. Nothing of the user's own JAX is changed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

from thermosim.kernels.disk_cache import root
from thermosim.network import INSTALL

__all__ = ["compiled", "jax_faults", "traced"]

_REPRODUCIBLE = {
    # one thread to a product: which sums it makes must not go with the processors there are; tiles have threads
    "cpu": {"xla_cpu_multi_thread_eigen": False},
    # the fastest of several algorithms is another in every process
    "gpu": {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0},
}


def jax_faults() -> list[str]:
    """Why there is no JAX, with the remedy; none where there is."""
    missing = [name for name in ("jax", "jaxlib") if importlib.util.find_spec(name) is None]
    if missing:
        return [f"engine: networks run in JAX, and {missing[0]} is not installed; {INSTALL} installs it."]
    return []


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """In which everything of this engine is traced and called; of the thread that is in it alone."""
    import jax

    _keep_compiled()
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


@functools.cache
def _keep_compiled() -> None:
    """Programs are kept on the disk, beside the kernels, unless the user keeps them elsewhere."""
    import jax

    if not getattr(jax.config, "jax_compilation_cache_dir", None) and not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(root() / "networks"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def compiled(function: Callable[..., Any], device: str, **options: Any) -> Callable[..., Any]:
    """A function for a device, so that its bits are those of every process."""
    import jax

    of_device: Any = _REPRODUCIBLE["cpu" if device == "cpu" else "gpu"]
    return jax.jit(function, compiler_options=of_device, **options)
