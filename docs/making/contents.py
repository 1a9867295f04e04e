"""Sphinx: pages beside the index that no table of contents names are listed under "More", so that none is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["setup"]

_MARK = "<!-- other pages -->"


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("source-read", _add)
    return {"version": "1", "parallel_read_safe": True}


def _add(app: Any, name: str, content: list[str]) -> None:
    if name != "index":
        return
    named = set(re.findall(r"^[\w/]+$", content[0], re.MULTILINE))
    others = sorted(path.stem for path in Path(app.srcdir).glob("*.md") if path.stem not in named | {"index"})
    content[0] = content[0].replace(_MARK, "\n".join(others))
