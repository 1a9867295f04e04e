"""What the bits of a block depend on in this engine: the code of its kernels, the compiler, and what surrounds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thermosim.engines.lanes.link import addresses_of
from thermosim.kernels import signatures
from thermosim.kernels.advance import advance
from thermosim.kernels.compile import compiler_versions
from thermosim.kernels.identity import identity_of_modules, kernel_identity
from thermosim.kernels.types import Signature
from thermosim.plan.block import Block

__all__ = ["engine_versions", "fingerprint"]

_KERNELS = ("derived quantities", "move of theta", "energy", "restart", "move of x")  # as `addresses_of` gives them


def fingerprint(block: Block) -> dict[str, str]:
    """Digests of the kernels of a block, by what they do; they are not compiled."""
    kernels = dict(zip(_KERNELS, addresses_of(block, _digest), strict=True))
    return kernels | {"advance": _digest(advance, signatures.ADVANCE)} | engine_versions()


def engine_versions() -> dict[str, str]:
    """The part of it that is the same for every block."""
    return compiler_versions() | {"guard": identity_of_modules("thermosim.engines.lanes.tiles").digest}


def _digest(template: Callable[..., Any], signature: Signature, **bindings: Any) -> Any:
    return kernel_identity(template, signature, bindings).digest
