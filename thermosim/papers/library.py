"""The list of papers, and how one is found by what a user calls it."""

from __future__ import annotations

import difflib
import re

from thermosim.papers.claims import Paper
from thermosim.papers.entropic_forces import ENTROPIC_FORCES
from thermosim.papers.ideal_gas import IDEAL_GAS
from thermosim.papers.irreversibility import IRREVERSIBILITY
from thermosim.papers.learning import LEARNING

__all__ = ["PAPERS", "find_paper"]

PAPERS: tuple[Paper, ...] = (LEARNING, IDEAL_GAS, ENTROPIC_FORCES, IRREVERSIBILITY)


def find_paper(word: str) -> Paper:
    """By its arXiv number, with or without a version, or its short name. Raises ValueError with the names there are."""
    plain = re.sub(r"^(https?://arxiv\.org/(abs|pdf)/|arxiv:)", "", word.strip().lower())
    plain = re.sub(r"(?<=\d)v\d+$", "", plain)
    for paper in PAPERS:
        if plain in (paper.arxiv, paper.name):
            return paper
    names = [name for paper in PAPERS for name in (paper.arxiv, paper.name)]
    near = difflib.get_close_matches(plain, names, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    there = ", ".join(f"{paper.arxiv} ({paper.name})" for paper in PAPERS)
    raise ValueError(f"{word!r}: no paper of that number or name.{meant} There are {there}.")
