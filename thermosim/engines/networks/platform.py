"""JAX as this engine uses it: where it is found, on which device, at which precision, and what decides its bits.

Whatever calls JAX does so inside `traced()`: 64-bit words for the addresses of random numbers and the sums of the
ledger, products of float32 at full precision. Nothing of the user's own JAX is changed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

from thermosim.kernels.disk_cache import root
from thermosim.network import INSTALL

__all__ = ["compiled", "device_faults", "device_of", "jax_faults", "kind_of", "traced", "versions"]

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


def device_faults(device: str) -> list[str]:
    """Why JAX has no such device, "cpu" or "cuda:1", with the remedy."""
    if found := jax_faults():
        return found
    if device == "cpu":
        return []
    try:
        device_of(device)
    except LookupError as error:
        return [f"device = {device!r}: {error}; use --device cpu."]
    return []


def device_of(device: str) -> Any:
    """The device of JAX with this name. Raises LookupError, saying what there is."""
    import jax

    if device == "cpu":
        return jax.devices("cpu")[0]
    number = int(device.partition(":")[2] or 0)
    try:
        found = jax.devices("cuda")
    except RuntimeError as error:
        why = "" if str(error).startswith("Unknown backend") else f" ({str(error).splitlines()[0]})"
        raise LookupError(
            f"JAX finds no graphics card here{why}; where there is one, pip install "
            '"jax[cuda12]" installs the build of JAX that uses it'
        ) from None
    if number >= len(found):
        there = "one graphics card, cuda:0" if len(found) == 1 else f"graphics cards cuda:0 to cuda:{len(found) - 1}"
        raise LookupError(f"JAX finds {there}")
    return found[number]


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


def kind_of(device: str) -> str:
    """What the bits of a program go with: the processor's instructions, or the model of a card."""
    if device != "cpu":
        return str(device_of(device).device_kind)
    import llvmlite.binding

    features = llvmlite.binding.get_host_cpu_features()
    telling = [name for name in ("sse4.2", "avx", "avx2", "fma", "avx512f", "neon", "sve") if features.get(name)]
    return f"processor with {' '.join(telling)}" if telling else llvmlite.binding.get_host_cpu_name()


def versions() -> dict[str, str]:
    """Of what compiles the programs."""
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")} if not jax_faults() else {}
