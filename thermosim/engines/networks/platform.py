"""JAX as this engine uses it: on which device, and what decides its bits. How it is called is in `kernels.traced`."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from thermosim.kernels.traced import compiled, jax_faults, traced

__all__ = ["compiled", "device_faults", "device_of", "jax_faults", "kind_of", "traced", "versions"]


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
