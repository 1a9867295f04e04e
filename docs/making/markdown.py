"""Plain text of declarations and docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

__all__ = ["cell", "code", "escaped", "pre", "prose", "table"]

_SPECIAL = re.compile(r"([\\*_<>\[\]#|$~])")


def escaped(text: str) -> str:
    """Text without marks of its own, but for what stands between backticks."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _SPECIAL.sub(r"\\\1", text.replace("`", "'"))
    return "".join(code(part) if i % 2 else _SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def code(text: str) -> str:
    """A span of code, also of text with backticks or bars."""
    if not text.strip():
        return ""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


def cell(text: str) -> str:
    """What may stand in a row of a table."""
    return " ".join(text.split("\n"))


def pre(text: str) -> str:
    """Text as it is."""
    return "````text\n" + text.rstrip() + "\n````\n\n"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where there are no rows."""
    lines = ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]
    head = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return "\n".join([*head, *lines]) + "\n\n" if lines else ""


def prose(docstring: str) -> str:
    """A docstring: paragraphs as text, indented ones, where formulas stand, and lists of names as they are."""
    said = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = paragraph.splitlines()
        head = [line for line in lines if not line.startswith(" ")]
        if lines and not head:
            said.append(pre(inspect.cleandoc("\n" + paragraph)).rstrip())
        elif len(head) < len(lines) or any(re.search(r"\S {3,}\S", line) for line in lines):
            said.append(pre(paragraph).rstrip())
        else:
            said.append(
                "\n".join(escaped(line) if not re.match(r"[-+=]", line) else "\\" + escaped(line) for line in lines)
            )
    return "\n\n".join(said) + "\n\n" if said else ""
