"""The papers thermosim comes from: what they claim, and what comes of it when it is run again with error bars."""

from __future__ import annotations

from thermosim.papers.claims import Claim, Number, Outcome, Paper, Published, Run
from thermosim.papers.library import PAPERS, find_paper
from thermosim.papers.reproduction import Reproduction, Result, reproduce

__all__ = [
    "PAPERS",
    "Claim",
    "Number",
    "Outcome",
    "Paper",
    "Published",
    "Reproduction",
    "Result",
    "Run",
    "find_paper",
    "reproduce",
]
