"""What the bits of a block depend on in this engine: the code of its kernels, the compiler, and what surrounds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thermosim.engines.lanes.link import addresses_of
from thermosim.kernels.advance import advance
from thermosim.kernels.compile import arithmetic_versions, library_versions
from thermosim.kernels.identity import identity_of_modules, kernel_identity
from thermosim.kernels.signatures import signature_of
from thermosim.kernels.types import Signature
from thermosim.plan.block import Block

__all__ = ["engine_versions", "fingerprint"]

# what a reader calls them
_KERNELS = {
    "prepare_address": "derived quantities",
    "theta_move_address": "move of theta",
    "jump_address": "energy",
    "restart_address": "restart",
    "x_move_address": "move of x",
    "books_address": "functionals of theta",
}


def fingerprint(block: Block) -> dict[str, str]:
    """Digests of the kernels of a block, by what they do; they are not compiled."""
    digests = addresses_of(block, _digest)
    kernels = {_KERNELS[name]: digest for name, digest in digests.items()}
    of_user = library_versions() if block.model_source else {}
    return kernels | {"advance": _digest(advance, signature_of(advance))} | engine_versions() | of_user


def engine_versions() -> dict[str, str]:
    """The part of it that is the same for every block."""
    modules = identity_of_modules("thermosim.engines.lanes.tiles", "thermosim.engines.lanes.engine")
    return arithmetic_versions() | {"tiles": modules.digest}


def _digest(template: Callable[..., Any], signature: Signature, **bindings: Any) -> str:
    return kernel_identity(template, signature, bindings).digest
