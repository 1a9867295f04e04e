"""Why a function of torch cannot be one of JAX."""

from __future__ import annotations

__all__ = ["Refused"]


class Refused(Exception):
    """What a module does that a pure function of its parameters cannot, as a sentence."""
