"""Mistakes planted one at a time, and whether a test fails: the list stands in scripts/mutants.toml.

    python scripts/mutants.py [--only PATTERN] [--jobs N]

Each mutant replaces a few words of one line of the package: a factor, a sign, an index, a step of a schedule. The tree
is copied to a temporary folder, the checkout is never touched; the tests of all mutants must pass there as they are,
then each mutant is planted and its own tests are run. PATTERN is a regular expression looked for in the file, the
words and the reason. Kernels are compiled into a cache of their own, which is kept for the next time.

Exit code 1 when a mutant survives, is stale (its words no longer stand exactly once in its file), or its tests do not
run. A mutant marked `equivalent` cannot be told from the original, and is counted apart.
"""

from __future__ import annotations

import argparse
import compileall
import os
import py_compile
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LIST", "ROOT", "Mutant", "mutants"]

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "scripts" / "mutants.toml"
CACHE = Path(tempfile.gettempdir()) / f"thermosim-mutants-{os.getuid()}"  # of kernels, in the place of the user's
SECONDS = 300.0  # after which a mutant that hangs is given up
PASSED, FAILED = 0, 1  # exit codes of pytest


@dataclass(frozen=True)
class Mutant:
    """`new` in the place of `old` in `file`, which one of `tests` (files, or file::test) must notice."""

    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...] = ()
    equivalent: str = ""  # the reason why nothing can notice

    def planted(self, root: Path) -> str | None:
        """The text of the file with the mistake, None where the words do not stand there exactly once."""
        text = (root / self.file).read_text("utf-8")
        return text.replace(self.old, self.new) if text.count(self.old) == 1 else None


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: killed, survived, stale, equivalent, or an error of its tests."""

    verdict: str
    seconds: float = 0.0
    said: str = ""  # the first line of the failure


def mutants(pattern: str = "") -> list[Mutant]:
    """The list, or those of it that match a regular expression."""
    entries = tomllib.loads(LIST.read_text("utf-8"))["mutant"]
    every = [Mutant(**{**entry, "tests": tuple(entry.get("tests", ()))}) for entry in entries]
    return [m for m in every if re.search(pattern, "\n".join((m.file, m.old, m.new, m.why)))]


def copied(folder: Path) -> Path:
    """A copy of the tree that Python takes its sources from: byte code follows the text, not the time of a file."""
    wanted = shutil.ignore_patterns(".*", "__pycache__", "*.h5", "*.h5.parts")
    for name in ("thermosim", "tests", "cases", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=wanted)
    shutil.copy(ROOT / "pyproject.toml", folder)
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "thermosim", quiet=2, invalidation_mode=mode)
    return folder


def outcome(root: Path, tests: Sequence[str], seconds: float = SECONDS) -> Outcome:
    """The outcome of these tests in a copy of the tree."""
    settings = {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(CACHE), "PYTHONDONTWRITEBYTECODE": "1"}
    settings |= {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    begin = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=root, env=os.environ | settings, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome("error", seconds, f"no answer within {seconds:g} s")
    verdict = {PASSED: "survived", FAILED: "killed"}.get(done.returncode, "error")
    lines = [line[1:].strip() for line in done.stdout.splitlines() if re.match(r"E +\S", line)]
    last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""])[-1]
    return Outcome(verdict, time.monotonic() - begin, lines[0] if lines else last if verdict == "error" else "")


def judged(mutant: Mutant, root: Path) -> Outcome:
    """Plant a mutant in a copy of the tree, run its tests, and take it out again."""
    if mutant.equivalent:
        return Outcome("equivalent" if mutant.planted(root) is not None else "stale", said=mutant.equivalent)
    text = mutant.planted(root)
    if text is None:
        return Outcome("stale")
    file = root / mutant.file
    original = file.read_text("utf-8")
    file.write_text(text, "utf-8")
    try:
        return outcome(root, mutant.tests)
    finally:
        file.write_text(original, "utf-8")


def main() -> int:
    """Judge the mutants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="mutants at a time")
    arguments = parser.parse_args()
    chosen = mutants(arguments.only)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(max(1, arguments.jobs)):
            copies.put(copied(Path(folder) / str(number)))
        every = sorted({test for mutant in chosen for test in mutant.tests})
        first = copies.get()
        plain = outcome(first, every, 20.0 * SECONDS) if every else Outcome("survived")
        copies.put(first)
        if plain.verdict != "survived":
            print(f"the tests fail without a mutant: {plain.said}")
            return 1
        print(f"{len(every)} tests and files pass as they are, {plain.seconds:.0f} s", flush=True)

        def judge(mutant: Mutant) -> Outcome:
            root = copies.get()
            try:
                return judged(mutant, root)
            finally:
                copies.put(root)

        counts: Counter[str] = Counter()
        with ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
            for mutant, result in zip(chosen, pool.map(judge, chosen), strict=True):
                counts[result.verdict] += 1
                print(f"{result.verdict:10s} {result.seconds:5.1f} s  {mutant.file}: {mutant.why}")
                print(f"{'':20s}{' '.join(result.said.split())[:160]}", flush=True)
    live = sum(counts.values()) - counts["equivalent"]
    print(f"{counts['killed']} of {live} killed ({100.0 * counts['killed'] / max(live, 1):.0f} %); {dict(counts)}")
    return 0 if counts["killed"] == live else 1


if __name__ == "__main__":
    sys.exit(main())
