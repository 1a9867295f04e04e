"""What a run prints: progress line, how to go on, summary. Each function returns the exit code."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim.cli.exits import Exit
from thermosim.report.console import duration, make_console, si, size_text

if TYPE_CHECKING:
    from thermosim.case.load import Case

_LOG_SECONDS = 60.0
_TOLD_SECONDS = 1.0  # after which it is told what takes so long
_CHECK_SECONDS = 10.0  # that a check may take, or as long as the run, before it is told how to leave it out


@dataclass(frozen=True)
class After:
    """What is done with a complete ensemble."""

    check: bool = True
    picture: bool = True


def run(case: Case, output: Path, overwrite: bool, after: After, how: Mapping[str, Any]) -> Exit:
    """Run a case with a progress line, then check, draw and summarise. `how` is the rest `simulate` takes."""
    from thermosim.cli.proofs import proofs
    from thermosim.run.simulate import simulate

    def work(report: Any) -> Any:
        return simulate(case, output, overwrite=overwrite, report=report, **how)

    return _with_progress(case.title, output, work, after, overwrite, proofs(case))


def resume(file: Path, after: After, how: Mapping[str, Any]) -> Exit:
    """Go on with an interrupted run."""
    from thermosim.run.resume import resume as go_on
    from thermosim.storage import parts_folder
    from thermosim.storage.durable import command
    from thermosim.storage.open import open_ensemble
    from thermosim.storage.verification import verify_file

    if file.is_file() and not parts_folder(file).exists():
        open_ensemble(file).close()  # or says what else it is
        if not verify_file(file):
            longer = command("extend", file, "--steps", "N")
            print(f"{file} is complete: nothing to go on with. For more steps: {longer}")
            return Exit.FINE
    return _with_progress(f"resuming {file}", file, lambda report: go_on(file, report=report, **how), after, False)


def extend(file: Path, steps: int, replicas: int, after: After, how: Mapping[str, Any]) -> Exit:
    """Go on past the end of a complete run, with more steps, more replicas, or both."""
    from thermosim.run.extend import extend as go_on

    def work(report: Any) -> Any:
        return go_on(file, steps, replicas=replicas, report=report, **how)

    by = [f"{number:,} {what}" for number, what in ((steps, "steps"), (replicas, "replicas")) if number]
    return _with_progress(f"extending {file} by {' and '.join(by)}", file, work, after, True)


def replay(file: Path, replica: int, output: Path, overwrite: bool, what: Mapping[str, Any]) -> Exit:
    """Make one replica again with a progress line, and say how it compares with the file."""
    from rich.markup import escape

    from thermosim.run.execution import Interrupted
    from thermosim.run.replay import replay as again
    from thermosim.storage.claim import refuse_what_is_there

    refuse_what_is_there(output, overwrite, [file])
    console = make_console()
    try:
        ds = live(lambda report: again(file, replica, report=report, **what))
    except Interrupted as stop:
        console.print(f"{stop}.")
        return Exit.INTERRUPTED
    ds.to_netcdf(output, engine="h5netcdf")
    steps = ds["step"].values
    told = f"replica {replica}: {len(steps):,} frames, steps {steps[0]:,} to {steps[-1]:,}; {ds.attrs['replayed']}"
    console.print(escape(told))
    console.print(f"[bold]{escape(str(output))}[/bold] opens with xarray.open_dataset")
    return Exit.FINE


def fork(
    file: Path, step: int, sets: Mapping[str, Any], output: Path, overwrite: bool, after: After, how: Mapping[str, Any]
) -> Exit:
    """Go on from a frame with changed keys and the same noise."""
    from thermosim.run.fork import fork as twin

    keys = ", ".join(f"{key} = {value!r}" for key, value in sets.items()) or "nothing changed"

    def work(report: Any) -> Any:
        return twin(file, step, output, sets, report=report, overwrite=overwrite, **how)

    return _with_progress(f"{file.name} from step {step:,}, {keys}", output, work, after, overwrite)


def torture(arguments: list[str], folder: Path, kills: int, seconds: float, seed: int) -> Exit:
    """Kill runs, and print what came of it."""
    from collections import Counter

    from rich.markup import escape
    from rich.table import Table

    from thermosim.cli.torture import torture as kill_runs

    console = make_console()
    outcome = kill_runs(arguments, folder, kills, seconds, seed, report=lambda said: console.print(escape(said)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("killed at")
    for heading in ("kills", "unreadable or wrong"):
        table.add_column(heading, justify="right")
    faults = Counter(kill.caught for kill in outcome.kills if kill.fault)
    for caught, count in sorted(Counter(kill.caught for kill in outcome.kills).items()):
        table.add_row(caught, str(count), str(faults[caught]))
    console.print(table)
    runs, same = len(outcome.identical), sum(outcome.identical)
    word = "[green]nothing was lost[/green]" if outcome.good else "[red]something was lost[/red]"
    console.print(f"{len(outcome.kills)} kills in {runs} runs, {same} of them identical to the unharmed run: {word}")
    if outcome.folder is not None:
        console.print(f"What was found is kept in {escape(str(outcome.folder))}")
    return Exit.FINE if outcome.good else Exit.FAILED


def _with_progress(
    title: str,
    output: Path,
    work: Any,
    after: After,
    overwrite: bool,
    told: Sequence[tuple[str, str]] = (),
) -> Exit:
    from rich.markup import escape

    from thermosim.run.execution import Interrupted
    from thermosim.storage.durable import command

    console, begin = make_console(), time.perf_counter()
    console.print(f"[bold]{escape(title)}[/bold]")
    for name, what in told:
        console.print(escape(f"{name}: {what}" if name else f"  {what}"))
    try:
        with _warnings_as_lines():
            ds = live(work)
    except Interrupted as stop:
        going_on = escape(command("resume", output))
        console.print(f"{stop}. Everything up to here is sealed; to go on: [bold]{going_on}[/bold]")
        return Exit.INTERRUPTED
    seconds = time.perf_counter() - begin
    try:
        console.print(escape(_done_line(ds, output, seconds)))
        return _finish(ds, output, after, overwrite, seconds, console)
    except KeyboardInterrupt:
        remedy = f"[bold]{escape(command('check', output))}[/bold] checks it"
        console.print(f"Interrupted after the run: the ensemble is complete; {remedy}.")
        return Exit.INTERRUPTED


def _finish(ds: Any, output: Path, after: After, overwrite: bool, seconds: float, console: Any) -> Exit:
    """What diverged, the check and the picture of an ensemble that took so many seconds to run."""
    from rich.markup import escape

    from thermosim.checks.admission import Unfit, in_memory
    from thermosim.checks.report import check
    from thermosim.cli import results
    from thermosim.plots.picture import is_picture
    from thermosim.report.text import diverged, print_report
    from thermosim.storage.durable import command

    lost, report = diverged(ds), None
    for line in lost:
        console.print(line)
    code = Exit.DIVERGED if lost else Exit.FINE
    if not (after.check or after.picture):
        return code
    try:
        ds = in_memory(ds)
    except Unfit as too_large:
        console.print(escape(str(too_large)))
        return code
    if after.check:
        begin = time.perf_counter()
        with _told("checking ..."):
            report = check(ds)
        print_report(report, console)
        if (took := time.perf_counter() - begin) > max(seconds, _CHECK_SECONDS):
            console.print(f"The check took {duration(took)}, the run {duration(seconds)}; --no-check leaves it out.")
    target = output.with_suffix(".png")
    if after.picture and target.exists() and not (overwrite and is_picture(target)):
        another = escape(command("plot", output, "-o", "NAME.png"))
        console.print(f"{escape(str(target))} exists and was left alone; {another} draws another.")
    elif after.picture:
        with _told("drawing ..."):
            why_none = results.draw(ds, target)
        console.print(escape(why_none) or f"Picture: [bold]{escape(str(target))}[/bold]")
    return Exit.FAILED if report is not None and report.consistent is False and not lost else code


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say on a terminal what is going on, once it has taken a while."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield
        return
    status = console.status(what)
    timer = threading.Timer(_TOLD_SECONDS, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings of ours are sentences, and said without where in the program they come from."""
    import warnings

    told = warnings.showwarning

    def say(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if category is UserWarning:
            print(message, file=sys.stderr)
        else:
            told(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.showwarning = say
        yield


def live(work: Any) -> Any:
    """Do the work with a live line, or where nobody watches a line of the log now and then."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = make_console(stderr=True)
    columns = (
        BarColumn(bar_width=40),
        TextColumn("{task.percentage:>5.1f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("run", total=None, rate="compiling kernels")
        logged = time.monotonic()

        def report(state: Any) -> None:
            nonlocal logged
            if state.note:
                console.print(state.note)
            rate = _rate(state)
            progress.update(task, total=state.total, completed=state.done, rate=rate)
            if not console.is_terminal and time.monotonic() - logged > _LOG_SECONDS:
                logged = time.monotonic()
                left = (state.total - state.done) * state.seconds / max(state.made, 1)
                console.print(f"{100.0 * state.done / state.total:5.1f} %, {rate}, {duration(left)} left")

        return work(report)


def _rate(state: Any) -> str:
    if state.what not in ("replica-steps", "B"):
        return str(state.what)
    if not state.made or not state.seconds:
        return "starting"
    rate = f"{si(state.made / state.seconds)}{state.what}/s"
    return f"{rate}, writing the file" if state.what == "B" else rate


def _done_line(ds: Any, output: Path, seconds: float) -> str:
    from thermosim.analysis.settings import settings as settings_of

    settings = settings_of(ds)
    replicas = int(np.prod(ds.status.shape))
    steps = settings.run.steps - settings.run.first_step
    work = replicas * steps
    return (
        f"{replicas:,} replicas x {steps:,} steps in {seconds:.1f} s; {output} ({size_text(output.stat().st_size)})"
        if work
        else ""
    )
