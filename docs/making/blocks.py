"""The code of a page runs, block by block, in one folder: the same for the tests and for the site.

    python -m docs.making.blocks PAGE FOLDER    what its blocks printed and drew, as JSON

A block whose first line names a file (```toml drag.toml) is that file; `sh` is commands of thermosim, a line each;
`python` runs in one namespace for the page, in order. Any other block is only shown.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BLOCK", "Block", "PageError", "Result", "blocks_of", "run_page"]

BLOCK = re.compile(r"^```(\w*)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class PageError(Exception):
    """A command of a page failed."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the file it is (or ""), its text, and where in the page it ends."""

    language: str
    file: str
    text: str
    end: int

    @property
    def runs(self) -> bool:
        """Whether it is commands, or Python, rather than a file or something to look at."""
        return not self.file and self.language in ("sh", "python")


@dataclass
class Result:
    """What a block that ran has printed, how many commands it had, and the pictures that it drew."""

    block: int
    commands: int = 0
    printed: str = ""
    pictures: list[str] = field(default_factory=list)


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(found[1], found[2], found[3], found.end()) for found in BLOCK.finditer(text)]


def run_page(page: Path, folder: Path) -> Iterator[Result]:
    """Write the files of a page and run its blocks in a folder, which must be the current one.

    Raises PageError with what a command said that ends with another code than 0, and whatever the Python raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(blocks_of(page.read_text("utf-8"))):
        if block.file:
            (folder / block.file).write_text(block.text, "utf-8")
        if not block.runs:
            continue
        before = _pictures(folder)
        result, said = Result(number), io.StringIO()
        with contextlib.redirect_stdout(said):
            if block.language == "python":
                exec(compile(block.text, page.name, "exec"), names)
            else:
                result.commands = _run_commands(block.text)
        result.printed = said.getvalue()
        result.pictures = [name for name, when in _pictures(folder).items() if before.get(name) != when]
        yield result


def _pictures(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.png"))}


def _run_commands(text: str) -> int:
    from thermosim.__main__ import main

    lines = [line.partition(" #")[0].split() for line in text.splitlines()]
    for words in lines:
        if not words or words[0] != "thermosim":
            raise PageError(f"not a command of thermosim: {' '.join(words)}")
        previous, sys.argv = sys.argv, words
        faults = io.StringIO()
        try:
            with contextlib.redirect_stderr(faults):
                main()
        except SystemExit as stop:
            if stop.code:
                raise PageError(f"{' '.join(words)}: exit code {stop.code}\n{faults.getvalue()}") from None
        finally:
            sys.argv = previous
    return len(lines)


if __name__ == "__main__":
    made = list(run_page(Path(sys.argv[1]), Path.cwd()))
    print(json.dumps([asdict(result) for result in made]))
