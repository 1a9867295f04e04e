"""What is measured of networks at frames, where their parameters are: the table, and the physics, a file for each."""

from __future__ import annotations

from thermosim.models.architectures.measures.table import MEASURES, no_test

__all__ = ["MEASURES", "no_test"]
