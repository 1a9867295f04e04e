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
import importlib
import multiprocessing.process
import os
import py_compile
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LIST", "ROOT", "Mutant", "mutants"]

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "scripts" / "mutants.toml"
CACHE = Path(tempfile.gettempdir()) / f"thermosim-mutants-{os.getuid()}"  # of kernels, in the place of the user's
SECONDS = 300.0  # after which a mutant that hangs is given up
PASSED, FAILED = 0, 1  # exit codes of pytest
PRELOADED = ("numba", "pytest", "pydantic", "rich", "scipy.interpolate", "scipy.spatial", "scipy.stats", "xarray")


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


def started(root: Path, tests: Sequence[str], log: Path) -> multiprocessing.process.BaseProcess:
    """A process that runs these tests in a copy of the tree, forked after everything but the package was imported."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(root, tests, log))
    process.start()
    return process


def _run(root: Path, tests: Sequence[str], log: Path) -> None:
    import pytest

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(root)
    sys.path.insert(0, str(root))
    os.environ |= {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(CACHE)}
    sys.dont_write_bytecode = True
    code = pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    os._exit(int(code))


@dataclass
class Trial:
    """A mutant that is being tried in a copy of the tree."""

    mutant: Mutant
    root: Path
    process: multiprocessing.process.BaseProcess
    begin: float

    @property
    def log(self) -> Path:
        return self.root / "log"

    def over(self) -> bool:
        """Whether there is an outcome; a process that hangs is ended."""
        if self.process.is_alive() and time.monotonic() - self.begin > SECONDS:
            self.process.terminate()
            self.process.join()
        return not self.process.is_alive()

    def outcome(self) -> Outcome:
        verdict = {PASSED: "survived", FAILED: "killed"}.get(self.process.exitcode or 0, "error")
        return Outcome(verdict, time.monotonic() - self.begin, said(self.log, verdict))


def said(log: Path, verdict: str) -> str:
    """The beginning of a failure, or the last line where tests did not run."""
    text = log.read_text("utf-8", "replace")
    lines = [line[1:].strip() for line in text.splitlines() if re.match(r"E +\S", line)]
    last = (text.strip().splitlines() or [""])[-1]
    return " ".join((" ".join(lines) if lines else last if verdict == "error" else "").split())[:160]


def tried(chosen: Sequence[Mutant], roots: list[Path]) -> Iterator[tuple[Mutant, Outcome]]:
    """The outcome of every mutant, as they come, in so many copies of the tree at a time."""
    waiting, running, free = list(chosen), list[Trial](), list(roots)
    while waiting or running:
        while waiting and free:
            mutant = waiting.pop(0)
            text = mutant.planted(ROOT)
            if text is None or mutant.equivalent:
                yield mutant, Outcome("stale" if text is None else "equivalent", said=mutant.equivalent)
                continue
            root = free.pop()
            (root / mutant.file).write_text(text, "utf-8")
            running.append(Trial(mutant, root, started(root, mutant.tests, root / "log"), time.monotonic()))
        for trial in [trial for trial in running if trial.over()]:
            running.remove(trial)
            shutil.copy(ROOT / trial.mutant.file, trial.root / trial.mutant.file)
            free.append(trial.root)
            yield trial.mutant, trial.outcome()
        time.sleep(0.05)


def main() -> int:
    """Judge the mutants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PATTERN", help="regular expression")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="mutants at a time")
    arguments = parser.parse_args()
    chosen = mutants(arguments.only)
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    for name in PRELOADED:
        importlib.import_module(name)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        roots = [copied(Path(folder) / str(number)) for number in range(max(1, arguments.jobs))]
        every, begin = sorted({test for mutant in chosen for test in mutant.tests}), time.monotonic()
        plain = started(roots[0], every, roots[0] / "log")
        plain.join()
        if plain.exitcode != PASSED:
            print(f"the tests fail without a mutant: {said(roots[0] / 'log', 'error')}")
            return 1
        print(f"{len(every)} tests and files pass as they are, {time.monotonic() - begin:.0f} s", flush=True)
        for mutant, result in tried(chosen, roots):
            counts[result.verdict] += 1
            print(f"{result.verdict:10s} {result.seconds:5.1f} s  {mutant.file}: {mutant.why}")
            print(f"{'':20s}{result.said}", flush=True)
    live = sum(counts.values()) - counts["equivalent"]
    print(f"{counts['killed']} of {live} killed ({100.0 * counts['killed'] / max(live, 1):.0f} %); {dict(counts)}")
    return 0 if counts["killed"] == live else 1


if __name__ == "__main__":
    sys.exit(main())
