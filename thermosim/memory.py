"""How much memory there is."""

from __future__ import annotations

import os

__all__ = ["memory_of_machine"]


def memory_of_machine() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
