"""One trial: files made in a folder, commands run there in this process, and what is wrong with what came of it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import sys
import time
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Said", "Trial", "faults_of", "run_here", "snapshot"]

CODES = {0: "fine", 1: "failed", 2: "refused", 3: "diverged", 130: "interrupted", 141: "the reader has gone"}
_REMEDY = re.compile(
    r"expected|did you mean|valid here|there (are|is)|looked for|missing|twice|instead|needs?|requires|without|nothing"
    r"|cannot|--\w|`|\.py, line \d|is called as|recorded are|that of this model|is not finite at|defines no"
    r"|model '[\w-]+' has|\b(give|use|choose|remove|save|make|write|name|run|take|try|put|must|only|keep|add|set|start"
    r"|record|move|index|delete|sweep|rename|get|install|lists?|wait|ask|copy|mend|free|is complete|end)\b"
    r"|has no key|usage",
    re.IGNORECASE,
)
_MEANT = re.compile(r"^\s*([\w.\"']+)(?: = [^:]*)?: unknown key\. Did you mean ([\w.\"']+)\?", re.MULTILINE)
_WARNING = re.compile(r"^\S+\.py:\d+: \w*Warning|^Exception ignored|HDF5-DIAG", re.MULTILINE)


@dataclass
class Trial:
    """Commands to be run in a folder; `ours` are names there (or what begins with them) that may change."""

    what: str
    commands: list[list[str]] = field(default_factory=list)
    after: list[list[str]] = field(default_factory=list)  # only when the first command made its output
    ours: tuple[str, ...] = ("out.",)
    environment: dict[str, str | None] = field(default_factory=dict)  # of a process apart, where there is any
    shell: str = ""  # what a shell adds to the command of a process apart, as in >&-
    apart: bool = False
    seconds: float = 1e9  # that a command may take, on a machine that has nothing else to do


@dataclass
class Said:
    """What one command ended with."""

    command: list[str]
    code: int | str
    out: str
    err: str
    seconds: float


def snapshot(folder: Path) -> dict[str, str]:
    """Every name below a folder, and what it is: a digest, the target of a link, or the kind."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(root, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                told = "-> " + os.readlink(path)
            elif stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    told = hashlib.file_digest(file, "md5").hexdigest()
            else:
                told = str(stat.S_IFMT(mode))
            found[os.path.relpath(path, folder)] = told
    return found


def run_here(arguments: list[str]) -> Said:
    """One command of thermosim in this process, as its entry point runs it."""
    from thermosim.__main__ import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    before, sys.argv = sys.argv, ["thermosim", *arguments]
    begin, code = time.perf_counter(), 0
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            main()
    except SystemExit as ended:
        code = ended.code if ended.code is not None else 0
    except BaseException:
        code = "traceback"
        err.write(traceback.format_exc())
    finally:
        sys.argv = before
    seconds = time.perf_counter() - begin
    told = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]
    return Said(arguments, int(code) if isinstance(code, int) else code, *told, seconds)


def faults_of(said: Said, before: dict[str, str], after: dict[str, str], trial: Trial) -> list[str]:
    """What no command may do."""
    found, words = [], (said.out + said.err).strip()
    if said.code not in CODES:
        found.append(f"ends in {said.code}")
    if "Traceback (most recent call last)" in words:
        found.append("a traceback")
    if "fault of the program" in words:
        found.append("says it is a fault of the program")
    if said.code == 2:
        if not words:
            found.append("an empty message")
        elif not _REMEDY.search(words):
            found.append("no remedy")
    if said.seconds > trial.seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)):
        found.append(f"takes more than {trial.seconds:g} s")
    if _WARNING.search(said.err):
        found.append("a bare warning")
    for typed, meant in _MEANT.findall(words):
        if typed == meant:
            found.append("a hint that repeats what was typed")
    changed = [name for name, told in before.items() if after.get(name) != told and not _is_ours(name, trial)]
    if changed:
        found.append(f"changed {', '.join(changed[:3])}")
    parts = tuple(f"{name}/" for name in before if name.endswith(".parts"))  # where a run goes on
    made = [name for name in after.keys() - before.keys() if not name.startswith(parts)]
    new = [name for name in made if not _is_ours(name, trial) or said.code == 2]
    if new:
        found.append(f"left {', '.join(sorted(new)[:3])}")
    return found


def _is_ours(name: str, trial: Trial) -> bool:
    return name.startswith(trial.ours)
