"""What looking at a user's model gives, and what it is told of the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Examination", "Start"]


@dataclass
class Examination:
    """What is wrong, a sentence each, and what was compared."""

    faults: list[str] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """One of the model's named starts of theta, and the hyper-parameters of a case for it."""

    name: str
    hyper: Mapping[str, Any]
