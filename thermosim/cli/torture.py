"""Kill a run again and again, on the user's own file system, and see whether it still comes out to the byte.

A case is run once without harm, then again with its processes killed (SIGKILL) at random instants, some of them aimed
at a moment when a segment, or the file at the end, is being written. After every kill what is sealed must be readable
and equal to the unharmed run; `resume` goes on, with other threads each time, until the file is whole and compared.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from thermosim.storage import StorageError, parts_folder, read_manifest
from thermosim.storage.claim import WHOLE
from thermosim.storage.durable import digest

__all__ = ["Kill", "Outcome", "torture"]

_AIMS = ("anywhere", "a segment", "anywhere", "the file")
_POLL = 0.0005


@dataclass(frozen=True)
class Kill:
    """One kill, and what it left."""

    number: int
    command: str  # run or resume
    threads: int
    seconds: float  # after the command began
    caught: str  # what was being done
    step: int  # sealed by then, -1 for nothing
    fault: str  # what was wrong with what it left, empty if nothing


@dataclass
class Outcome:
    """All kills, and whether each run came out identical in the end."""

    start_seconds: float = 0.0  # of the unharmed run, until its first file
    work_seconds: float = 0.0  # from there until its file was whole
    kills: list[Kill] = field(default_factory=list)
    identical: list[bool] = field(default_factory=list)  # of each run that was killed and then completed
    folder: Path | None = None  # kept where something was wrong

    @property
    def good(self) -> bool:
        """Nothing unreadable, nothing different."""
        return bool(self.identical) and all(self.identical) and not any(kill.fault for kill in self.kills)


def torture(
    arguments: list[str], folder: Path, kills: int, seconds: float, seed: int = 0, report: Callable[[str], None] = print
) -> Outcome:
    """Torture `thermosim run` with these arguments (a case, --set), in a new folder inside `folder`.

    Ends after so many kills, or when the time is up; then the last run is completed and compared. Raises StorageError
    when the case does not run at all, or takes so long that there is no time to kill it.
    """
    chance = random.Random(seed)
    place = folder / f"torture-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        raise StorageError(f"{place}: cannot be made: {error.strerror}. Name a folder that exists with --in.") from None
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    try:
        _unharmed(arguments, place, outcome, seconds)
        start, work = outcome.start_seconds, outcome.work_seconds
        report(f"the unharmed run: {start:.1f} s to start, {work:.1f} s of work on files")
        reference = digest(place / "unharmed.h5")
        while len(outcome.kills) < kills and time.monotonic() < deadline - 2 * (start + work):
            target = place / f"killed-{len(outcome.identical)}.h5"
            for kill in _one_run(arguments, target, place, outcome, kills, deadline, chance):
                outcome.kills.append(kill)
                report(_told(kill))
            same = target.is_file() and digest(target) == reference
            outcome.identical.append(same)
            report(f"run {len(outcome.identical)} is complete: " + ("identical to the byte" if same else "DIFFERENT"))
            if same:
                target.unlink()
    finally:
        if outcome.good or not outcome.kills:
            shutil.rmtree(place, ignore_errors=True)
        else:
            outcome.folder = place
    return outcome


def _unharmed(arguments: list[str], place: Path, outcome: Outcome, seconds: float) -> None:
    """Run without harm, and see when the work on files begins and ends."""
    target, deadline = place / "unharmed.h5", time.monotonic() + seconds / 2
    command, said = _command(["run", *arguments, "-o", str(target), "--no-plot"]), place / "unharmed.txt"
    begin = time.monotonic()
    began = ended = 0.0
    with said.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        while process.poll() is None:
            at_work = parts_folder(target).exists()
            began = began or (time.monotonic() - begin if at_work else 0.0)
            ended = time.monotonic() - begin if at_work else ended
            if time.monotonic() > deadline:
                process.kill()
                raise StorageError(
                    f"the case runs for more than half of the {seconds:.0f} s there are: give more --minutes, or "
                    "shorten it, as in --set run.steps=1000."
                )
            time.sleep(_POLL)
    if not target.is_file():
        raise StorageError(f"the case does not run: {said.read_text().strip()}")
    outcome.start_seconds, outcome.work_seconds = began, max(ended - began, 0.05)


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "thermosim", *arguments]


def _one_run(
    arguments: list[str],
    target: Path,
    place: Path,
    outcome: Outcome,
    kills: int,
    deadline: float,
    chance: random.Random,
) -> Iterator[Kill]:
    """Kill one run until it survives: because it was faster, or because there have been kills enough."""
    lives = 0
    while True:
        begun = parts_folder(target).exists()
        threads = chance.randint(1, max(2, os.cpu_count() or 1))
        seal = ["--seal-every", f"{max(outcome.work_seconds / 50, 0.01):.3f}", "--threads", str(threads), "--no-plot"]
        what = ["resume", str(target)] if begun else ["run", *arguments, "-o", str(target)]
        spared = len(outcome.kills) >= kills or time.monotonic() > deadline or lives > 30
        aim = _AIMS[chance.randrange(len(_AIMS))]
        with subprocess.Popen(
            _command([*what, *seal]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            begin = time.monotonic()
            if spared:
                process.wait()
                return
            delay = outcome.start_seconds + chance.uniform(-0.1, 1.0) * outcome.work_seconds
            caught = _kill(process, target, aim, begin, delay)
        if caught is None and target.is_file() and not parts_folder(target).exists():
            return
        if caught is None:
            raise StorageError(f"`thermosim {what[0]}` failed without having been killed; what it left is in {place}")
        lives += 1
        step, fault = _left(target, place / "unharmed.h5")
        seconds = time.monotonic() - begin
        yield Kill(len(outcome.kills) + 1, what[0], threads, seconds, caught, step, fault)


def _kill(process: subprocess.Popen[bytes], target: Path, aim: str, begin: float, delay: float) -> str | None:
    """Kill when the time has come, and the aim is met if it ever is. Says what was caught; None if it ended first."""
    old = _stamp(_temporary(target))
    while process.poll() is None:
        doing = _doing(target, old)
        late = time.monotonic() - begin >= delay
        overdue = time.monotonic() - begin >= 2.0 * delay + 1.0
        if overdue or (aim == "anywhere" and late) or (doing == aim and (late or aim == "the file")):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return doing
        time.sleep(_POLL)
    return None


def _temporary(target: Path) -> Path:
    return parts_folder(target) / WHOLE


def _stamp(path: Path) -> int | None:
    """When a file was last written."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _doing(target: Path, old: int | None = None) -> str:
    """What a run is at, as its files show; `old` is the stamp of a temporary file that an earlier one left."""
    if _stamp(_temporary(target)) not in (None, old):
        return "the file"
    try:
        names = os.listdir(parts_folder(target))
    except OSError:
        return "the end" if target.exists() else "the start"
    if any(name.startswith("manifest.json.") for name in names):
        return "the manifest"
    return "a segment" if any(name.endswith(".tmp") and name != WHOLE for name in names) else "computing"


def _left(target: Path, unharmed: Path) -> tuple[int, str]:
    """The last sealed step, and what is wrong with what a kill left: it must be readable, and equal so far."""
    from thermosim.storage.open import open_ensemble

    if not target.exists() and not parts_folder(target).exists():
        return -1, ""
    try:
        if not target.exists() and not (parts_folder(target) / "manifest.json").exists():
            return -1, ""  # killed before it began
        step = -1
        if not target.exists():
            step = read_manifest(parts_folder(target)).reached
        with warnings.catch_warnings(), open_ensemble(target) as left, open_ensemble(unharmed) as whole:
            warnings.simplefilter("error")
            for name, variable in left.data_vars.items():
                steps = [str(d) for d in variable.dims if str(d).endswith("step") and "key" not in left[d].attrs]
                cadence = next(iter(steps), None)
                if cadence is None:
                    continue  # summaries and the status change until the end
                values, same = variable.values, whole[name].isel({cadence: slice(left.sizes[cadence])}).values
                if not np.all((values == same) | np.isnan(values)):
                    return step, f"{name} differs from the unharmed run"
        return step, ""
    except (StorageError, OSError, UserWarning) as error:
        return -1, str(error)


def _told(kill: Kill) -> str:
    left = f"sealed to step {kill.step:,}" if kill.step >= 0 else "nothing sealed yet"
    left = "the file is whole" if kill.caught == "the end" else left
    return f"kill {kill.number}: {kill.command} after {kill.seconds:.2f} s, at {kill.caught}; {kill.fault or left}"
