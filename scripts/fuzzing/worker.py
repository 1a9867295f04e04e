"""The process in which trials run, one after another: numbers come in, what is wrong goes out, a line of JSON each."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.fuzzing import cases, ensembles, models, places, sizes, tables
from scripts.fuzzing.trial import Said, Trial, faults_of, run_here, snapshot

__all__ = ["LARGEST", "RUNS", "Result", "main", "originals_in", "perform"]

LARGEST = 60_000  # replica-steps, moves of x included, of a run that is made; a larger one is only described
RUNS = 12  # one in so many mutants that turn out to be right is run: each may compile kernels of its own
_MEMORY = 6 * 2**30
_SHARES = (
    ("case", 69.0), ("ends", 0.7), ("ensemble", 3.0), ("rows", 9.0), ("output", 2.0), ("words", 5.0), ("model", 6.0),
    ("size", 5.0), ("surroundings", 0.3),
)  # fmt: skip


@dataclass
class Result:
    """What a trial was, and its faults: each with the command, and what that said."""

    number: int
    kind: str
    what: str
    seconds: float = 0.0
    codes: list[int | str] = field(default_factory=list)
    faults: list[dict[str, str]] = field(default_factory=list)


def perform(
    seed: int, number: int, place: Path, only: str | None = None, busy: Callable[[], None] = lambda: None
) -> Result:
    """Make and run one trial in `place`, which is emptied. Nothing decides it but the seed and the number.

    `busy` is called before each command.
    """
    chance, begin = random.Random(f"{seed}:{number}"), time.perf_counter()
    folder, originals = place / "trial", originals_in(place)
    _emptied(folder)
    kind = only or chance.choices([kind for kind, _ in _SHARES], [share for _, share in _SHARES])[0]
    trial = _made(kind, chance, folder, originals)
    (place / "what.json").write_text(json.dumps({"number": number, "kind": kind, "what": trial.what}))
    result = Result(number, kind, trial.what)
    os.chdir(folder)
    try:
        _run(trial, folder, result, busy)
    finally:
        os.chdir(place)
    result.seconds = time.perf_counter() - begin
    return result


def originals_in(place: Path) -> Path:
    """Where the ensembles are that trials damage."""
    return place.parent / "originals"


def _made(kind: str, chance: random.Random, folder: Path, originals: Path) -> Trial:
    if kind == "case":
        return cases.hostile(chance, folder, originals)
    if kind == "ends":
        return cases.ends(chance, folder)
    if kind == "ensemble":
        return ensembles.damaged(chance, folder, originals)
    if kind == "rows":
        return tables.rows(chance, folder)
    if kind == "output":
        return places.outputs(chance, folder, originals)
    if kind == "model":
        return models.users(chance, folder)
    if kind == "size":
        return sizes.huge(chance, folder)
    if kind == "words":
        return places.words(chance, folder)
    return places.surroundings(chance, folder, originals)


def _run(trial: Trial, folder: Path, result: Result, busy: Callable[[], None]) -> None:
    pending = list(trial.commands)
    while pending:
        busy()
        command = pending.pop(0) if result.kind == "size" else _within_reach(pending.pop(0), result)
        before = snapshot(folder)
        said = _apart(command, trial) if trial.apart else run_here(command)
        result.codes.append(said.code)
        for fault in faults_of(said, before, snapshot(folder), trial):
            told = (said.err or said.out)[-3000:]
            result.faults.append({"fault": fault, "command": " ".join(map(repr, command)), "said": told})
        if trial.after and said.command[:1] == ["run"] and (folder / "out.h5").exists():
            pending, trial.after = trial.after, []


def _within_reach(command: list[str], result: Result) -> list[str]:
    """A run as it is, unless it is right and takes minutes, or is one of most mutants: that one is only described."""
    if command[:1] != ["run"] or len(command) < 4:
        return command
    import thermosim
    from thermosim.cli.options import overrides

    sets = [command[i + 1] for i, word in enumerate(command[:-1]) if word == "--set"]
    try:
        if not Path(command[1]).is_file():
            return command
        case = thermosim.load_case(Path(command[1]), overrides(sets))
        settings = case.settings
        moves = settings.x.tau * settings.x.samples if settings.x is not None else 1
        numbers = sum(abs(int(v)) for v in settings.model.constants.values() if isinstance(v, int))
        rows = (settings.data.rows or 1) * settings.data.sets if settings.data is not None else 1
        chosen = result.kind != "case" or result.number % RUNS == 0
        if chosen and case.replicas_in_all * settings.run.steps * moves < LARGEST and numbers < 150 and rows < 100_000:
            return command
    except BaseException:  # the command itself says what is wrong with it
        return command
    changes = [word for change in sets for word in ("--set", change)]
    return ["info", command[1], "--no-trial", *changes]


def _apart(command: list[str], trial: Trial) -> Said:
    environment = {**os.environ, **{name: value for name, value in trial.environment.items() if value is not None}}
    for name, value in trial.environment.items():
        if value is None:
            environment.pop(name, None)
    line = f'"$0" -m thermosim "$@" {trial.shell}; exit ${{PIPESTATUS[0]}}'
    begin = time.perf_counter()
    done = subprocess.run(["bash", "-c", line, sys.executable, *command], capture_output=True, env=environment)
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    closed = any(mark in trial.shell for mark in (">&-", "2>&-"))
    code = done.returncode
    return Said(command, code, out, err + " (streams are closed: give nothing)" * closed, time.perf_counter() - begin)


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def main() -> None:
    """Numbers from stdin, results to a pipe that nothing else writes to."""
    place, seed, only = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
    pipe = os.fdopen(os.dup(1), "w")
    numbers = os.fdopen(os.dup(0), "r")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, resource.RLIM_INFINITY))
    print("ready", file=pipe, flush=True)
    for line in numbers:
        result = perform(seed, int(line), place, only, lambda: print(file=pipe, flush=True))
        print(json.dumps(asdict(result)), file=pipe, flush=True)


if __name__ == "__main__":
    main()
