"""The command line. Commands parse arguments, call the library and print; there is no physics here."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from thermosim.cli.exits import Exit, explained
from thermosim.cli.options import (
    Check,
    Device,
    Force,
    Plot,
    Scheduler,
    Seal,
    Sets,
    Threads,
    Virtual,
    Workers,
    app,
    overrides,
)
from thermosim.cli.streams import close_what_is_broken, flush_streams, open_streams


def _show_version(wanted: bool) -> None:
    if wanted:
        from thermosim import __version__

        print(f"thermosim {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also after a command.")] = False,
) -> None:
    """Learning as a thermodynamic process: run a case, check it against exact results, plot it."""


def main() -> None:
    """Entry point: every error a user can cause is a paragraph and an exit code, never a traceback."""
    arguments, debug = _without_debug(sys.argv[1:])
    open_streams()
    os.environ["NUMEXPR_NUM_THREADS"] = "1"  # xarray may import it, nothing uses it; OMP_NUM_THREADS=4,2 would end it
    hook = sys.unraisablehook
    if not debug:  # what fails while objects are thrown away adds nothing to the error before it
        sys.unraisablehook = lambda _: None
    try:
        code = _command(arguments)
        flush_streams()
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:  # the reader has gone, as in `thermosim check out.h5 | head -1`
        code = Exit.BROKEN_PIPE
    except SystemExit as error:
        from thermosim.models.user_file.blame import blamed

        if not blamed(error):
            raise
        code = _explain(error, debug)
    except Exception as error:
        code = _explain(error, debug)
    finally:
        sys.unraisablehook = hook
    close_what_is_broken()
    sys.exit(code)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without --debug, wherever it stands before a `--`, and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [word for word in arguments[:end] if word != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _command(arguments: list[str]) -> int:
    """Run a command; not by typer's own `main`, which calls a reader that has gone a failure."""
    command = _parser()
    try:
        with command.make_context("thermosim", arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return Exit.FINE


@functools.cache
def _parser() -> Any:
    for module in ("again", "papers"):  # which register commands that come after those here
        importlib.import_module(f"thermosim.cli.{module}")
    return typer.main.get_command(app)


def _explain(error: BaseException, debug: bool) -> Exit:
    with contextlib.suppress(OSError):  # nobody reads it
        if debug:
            traceback.print_exception(error)
        if isinstance(error, typer.Abort):
            return Exit.INTERRUPTED
        if isinstance(error, TyperException):
            error.show()  # type: ignore[attr-defined]
            return Exit.REFUSED
        message, code = explained(error)
        print(f"thermosim: {message}", file=sys.stderr)
        return code
    return Exit.REFUSED


@app.command()
def run(
    case: Annotated[Path, typer.Argument(help="Case file (TOML), or a name from `thermosim cases`.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Ensemble file; default CASE's name with .h5 here.")
    ] = None,
    sets: Sets = None,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "cpu",
    virtual: Virtual = False,
    seal_every: Seal = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    compared: Check = True,
    picture: Plot = True,
    force: Force = False,
) -> None:
    """Run a case; ends with the table of measured against exact, and a picture."""
    from thermosim.case.load import load_case
    from thermosim.cli import terminal

    loaded = load_case(case, overrides(sets))
    target = output or Path(case.stem + ".h5")
    model = loaded.folder / (loaded.settings.model.file or ".")
    if os.path.realpath(target) in map(os.path.realpath, (case, model)):
        raise typer.BadParameter(f"{target} is the case or its model; choose another output.", param_hint="-o")
    if target.suffix in (".png", ".pdf", ".svg", ".toml", ".py"):
        raise typer.BadParameter(f"{target}: an ensemble is an HDF5 file; call it {target.stem}.h5.", param_hint="-o")
    how: dict[str, Any] = {"threads": threads, "workers": workers, "scheduler": scheduler, "virtual": virtual}
    how["device"] = device
    how |= {"segment_seconds": seal_every, "force": force}
    raise typer.Exit(terminal.run(loaded, target, overwrite, terminal.After(compared, picture), how))


@app.command()
def resume(
    file: Annotated[Path, typer.Argument(help="Output of an interrupted run.")],
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "cpu",
    virtual: Virtual = False,
    seal_every: Seal = None,
    repair: Annotated[bool, typer.Option("--repair", help="Compute anew what is damaged or missing.")] = False,
    compared: Check = True,
    picture: Plot = True,
    force: Force = False,
) -> None:
    """Go on with an interrupted run, to the bit; needs nothing but the file."""
    from thermosim.cli import terminal

    how: dict[str, Any] = {"threads": threads, "workers": workers, "scheduler": scheduler, "virtual": virtual}
    how["device"] = device
    how |= {"segment_seconds": seal_every, "repair": repair, "force": force}
    raise typer.Exit(terminal.resume(file, terminal.After(compared, picture), how))


@app.command()
def extend(
    file: Annotated[Path, typer.Argument(help="Ensemble file of a complete run.")],
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="How many steps more.")] = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", min=1, help="How many replicas more, at each point of a sweep.")
    ] = None,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "cpu",
    virtual: Virtual = False,
    seal_every: Seal = None,
    compared: Check = True,
    picture: Plot = True,
    force: Force = False,
) -> None:
    """Go on past the end of a complete run; schedules hold their last value. Or add replicas to it, or both."""
    from thermosim.cli import terminal

    if steps is None and replicas is None:
        raise typer.BadParameter("say by how much: --steps N, --replicas N, or both.")
    how: dict[str, Any] = {"threads": threads, "workers": workers, "scheduler": scheduler, "virtual": virtual}
    how["device"] = device
    how |= {"segment_seconds": seal_every, "force": force}
    raise typer.Exit(terminal.extend(file, steps or 0, replicas or 0, terminal.After(compared, picture), how))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Ensemble file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; thermosim schema --check describes it.")] = False,
) -> None:
    """Measured, standard error, exact value and z, for everything the model knows exactly.

    Exit code 0: consistent; 1: not; 2: nothing to compare.
    """
    from thermosim.cli import results

    raise typer.Exit(results.check(file, as_json))


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(help="Ensemble file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Picture, .png, .pdf or .svg; default FILE's name with .png.")
    ] = None,
    variable: Annotated[
        str | None, typer.Option("--variable", metavar="NAME", help="Draw one recorded variable or observable.")
    ] = None,
) -> None:
    """Draw the pictures this model's papers show, or one variable: its course, distribution, map over a sweep."""
    from thermosim.cli import results
    from thermosim.storage import parts_folder

    parts_folder(file)  # refuses a path that names no file
    name = file.with_suffix(".png") if variable is None else file.with_name(f"{file.stem}_{variable}.png")
    raise typer.Exit(results.plot(file, output or name, variable))


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="Ensemble file; it may be damaged, or its run not be complete.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Page; default FILE's name with .html.")] = None,
    points: Annotated[
        int, typer.Option("--points", min=1, help="Of a sweep: points with a table and pictures of their own.")
    ] = 6,
) -> None:
    """One HTML page of all there is to say: what was asked, pictures, the table, the ledger, how to make it again.

    Exit code 0: it is written; 1: it is, and something is missing in it; 2: there is no such file.
    """
    from thermosim.cli import results
    from thermosim.storage import parts_folder

    parts_folder(file)  # refuses a path that names no file
    raise typer.Exit(results.report(file, output, points))


@app.command()
def info(
    target: Annotated[Path, typer.Argument(help="Ensemble file, case file or name of a case.")],
    sets: Sets = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Of a case: the time on so many machines.")] = 10,
    trial: Annotated[bool, typer.Option("--trial/--no-trial", help="Of a case: measure its speed.")] = True,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="Of a case: cpu, cuda (every card), cuda:1, or auto.")
    ] = "auto",
) -> None:
    """What it is, how big, how long; of an ensemble also whether its checksums agree."""
    from thermosim.cli import listings

    raise typer.Exit(listings.info(target, overrides(sets), workers, trial, device))


@app.command()
def torture(
    case: Annotated[Path, typer.Argument(help="Case file (TOML), or a name from `thermosim cases`.")],
    sets: Sets = None,
    kills: Annotated[int, typer.Option("--kills", min=1, help="Stop after so many kills.")] = 30,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="Stop after so many minutes.")] = 5.0,
    folder: Annotated[Path, typer.Option("--in", help="Folder on the file system to be tried.")] = Path("."),
    seed: Annotated[int, typer.Option("--seed", help="Of the instants of the kills.")] = 0,
) -> None:
    """Kill runs of a case at random instants, resume them, and compare the bytes with an unharmed run.

    Exit code 0: nothing was lost; 1: something was.
    """
    from thermosim.case.load import load_case
    from thermosim.cli import terminal

    load_case(case, overrides(sets))
    changes = [part for item in sets or [] for part in ("--set", item)]
    raise typer.Exit(terminal.torture([str(case), *changes], folder, kills, 60.0 * minutes, seed))


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model, for its constants; or your own, FILE.py.")] = None,
    sets: Sets = None,
) -> None:
    """The models there are, or one model's constants and parameters; FILE.py is checked too, as a case would check it.

    Exit code 0: nothing is wrong with it; 2: something is.
    """
    from thermosim.cli import listings

    raise typer.Exit(listings.models(name, overrides(sets)))


@app.command()
def moves(
    name: Annotated[str | None, typer.Argument(help="A move, for its source and what is true of it.")] = None,
) -> None:
    """The moves of theta and x: what each does, and the keys it takes."""
    from thermosim.cli import listings

    raise typer.Exit(listings.moves(name))


@app.command()
def schedules(
    kind: Annotated[str | None, typer.Argument(help="A kind, for its keys.")] = None,
) -> None:
    """The kinds of schedules: numbers that change from step to step, and the keys of each."""
    from thermosim.cli import listings

    raise typer.Exit(listings.schedules(kind))


@app.command()
def cases() -> None:
    """The cases that come with thermosim: names to run."""
    from thermosim.cli import listings

    raise typer.Exit(listings.cases())


@app.command()
def schema(
    of_check: Annotated[bool, typer.Option("--check", help="Of what check --json prints, instead of a case.")] = False,
    text: Annotated[bool, typer.Option("--text", help="A table to read: every key, its default and meaning.")] = False,
) -> None:
    """The JSON schema of a case file, or of a report."""
    if text and of_check:
        raise typer.BadParameter("a table is made of a case only; leave out --check.", param_hint="--text")
    if text:
        from thermosim.cli import listings

        raise typer.Exit(listings.schema_text())
    if of_check:
        from thermosim.report.as_json import report_schema as described
    else:
        from thermosim.case.schema import json_schema as described
    print(json.dumps(described(), indent=2))
