"""The command line. Commands parse arguments, call the library and print; there is no physics here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from thermosim.cli.exits import Exit, explained

app = typer.Typer(
    name="thermosim",
    help="Learning as a thermodynamic process: run a case, check it against exact results, plot it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", hidden=True)]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads (of each worker, if any); default all."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, max=4096, help="Run in so many worker processes on this machine.")
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="Run on a dask cluster, as in tcp://10.0.0.1:8786.")
]
Virtual = Annotated[
    bool, typer.Option("--virtual", help="Leave frames in their segments; the file holds views of them, not a copy.")
]
Seal = Annotated[
    float | None, typer.Option("--seal-every", min=0.01, help="Seal at least every so many seconds; default 60.")
]
Plot = Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the model's picture at the end.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the case, as in --set run.steps=1000."),
]


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
) -> None:
    """Learning as a thermodynamic process: run a case, check it against exact results, plot it."""


def main() -> None:
    """Entry point: every error a user can cause is a paragraph and an exit code, never a traceback."""
    try:
        sys.exit(app(standalone_mode=False, prog_name="thermosim") or Exit.FINE)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:  # the reader has gone, as in `thermosim check out.h5 | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.BROKEN_PIPE)
    except Exception as error:
        sys.exit(_explain(error))


def _explain(error: Exception) -> Exit:
    if "--debug" in sys.argv:
        raise error
    if isinstance(error, typer.Abort):
        return Exit.INTERRUPTED
    if isinstance(error, TyperException):
        error.show()  # type: ignore[attr-defined]
        return Exit.REFUSED
    message, code = explained(error)
    print(f"thermosim: {message}", file=sys.stderr)
    return code


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
    virtual: Virtual = False,
    seal_every: Seal = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    picture: Plot = True,
    debug: Debug = False,
) -> None:
    """Run a case; ends with the table of measured against exact, and a picture."""
    from thermosim.case.load import load_case
    from thermosim.cli import terminal

    loaded = load_case(case, _overrides(sets))
    target = output or Path(case.stem + ".h5")
    if target.resolve() in {case.resolve(), (loaded.folder / (loaded.settings.model.file or ".")).resolve()}:
        raise typer.BadParameter(f"{target} is the case or its model; choose another output.", param_hint="-o")
    if target.suffix in (".png", ".pdf", ".svg", ".toml", ".py"):
        raise typer.BadParameter(f"{target}: an ensemble is an HDF5 file; call it {target.stem}.h5.", param_hint="-o")
    how: dict[str, Any] = {"threads": threads, "workers": workers, "scheduler": scheduler, "virtual": virtual}
    how["segment_seconds"] = seal_every
    raise typer.Exit(terminal.run(loaded, target, overwrite, picture, how))


@app.command()
def resume(
    file: Annotated[Path, typer.Argument(help="Output of an interrupted run.")],
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    virtual: Virtual = False,
    seal_every: Seal = None,
    repair: Annotated[bool, typer.Option("--repair", help="Compute anew what is damaged or missing.")] = False,
    picture: Plot = True,
    debug: Debug = False,
) -> None:
    """Go on with an interrupted run, to the bit; needs nothing but the file."""
    from thermosim.cli import terminal

    how: dict[str, Any] = {"threads": threads, "workers": workers, "scheduler": scheduler, "virtual": virtual}
    how |= {"segment_seconds": seal_every, "repair": repair}
    raise typer.Exit(terminal.resume(file, picture, how))


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
    virtual: Virtual = False,
    seal_every: Seal = None,
    picture: Plot = True,
    debug: Debug = False,
) -> None:
    """Go on past the end of a complete run; schedules hold their last value. Or add replicas to it, or both."""
    from thermosim.cli import terminal

    if steps is None and replicas is None:
        raise typer.BadParameter("say by how much: --steps N, --replicas N, or both.")
    how: dict[str, Any] = {"threads": threads, "workers": workers, "scheduler": scheduler, "virtual": virtual}
    how["segment_seconds"] = seal_every
    raise typer.Exit(terminal.extend(file, steps or 0, replicas or 0, picture, how))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Ensemble file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; thermosim schema --check describes it.")] = False,
    debug: Debug = False,
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
        Path | None, typer.Option("-o", "--output", help="Picture; default FILE's name with .png.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw the pictures this model's papers show."""
    from thermosim.cli import results

    raise typer.Exit(results.plot(file, output or file.with_suffix(".png")))


@app.command()
def info(
    target: Annotated[Path, typer.Argument(help="Ensemble file, case file or name of a case.")],
    sets: Sets = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Of a case: the time on so many machines.")] = 10,
    trial: Annotated[bool, typer.Option("--trial/--no-trial", help="Of a case: measure its speed.")] = True,
    debug: Debug = False,
) -> None:
    """What it is, how big, how long; of an ensemble also whether its checksums agree."""
    from thermosim.cli import listings

    raise typer.Exit(listings.info(target, _overrides(sets), workers, trial))


@app.command()
def torture(
    case: Annotated[Path, typer.Argument(help="Case file (TOML), or a name from `thermosim cases`.")],
    sets: Sets = None,
    kills: Annotated[int, typer.Option("--kills", min=1, help="Stop after so many kills.")] = 30,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="Stop after so many minutes.")] = 5.0,
    folder: Annotated[Path, typer.Option("--in", help="Folder on the file system to be tried.")] = Path("."),
    seed: Annotated[int, typer.Option("--seed", help="Of the instants of the kills.")] = 0,
    debug: Debug = False,
) -> None:
    """Kill runs of a case at random instants, resume them, and compare the bytes with an unharmed run.

    Exit code 0: nothing was lost; 1: something was.
    """
    from thermosim.case.load import load_case
    from thermosim.cli import terminal

    load_case(case, _overrides(sets))
    changes = [part for item in sets or [] for part in ("--set", item)]
    raise typer.Exit(terminal.torture([str(case), *changes], folder, kills, 60.0 * minutes, seed))


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model, for its constants.")] = None,
    debug: Debug = False,
) -> None:
    """The models there are, or one model's constants and parameters."""
    from thermosim.cli import listings

    raise typer.Exit(listings.models(name))


@app.command()
def moves(
    name: Annotated[str | None, typer.Argument(help="A move, for its source and what is true of it.")] = None,
    debug: Debug = False,
) -> None:
    """The moves of theta and x: what each does, and the keys it takes."""
    from thermosim.cli import listings

    raise typer.Exit(listings.moves(name))


@app.command()
def cases(debug: Debug = False) -> None:
    """The cases that come with thermosim: names to run."""
    from thermosim.cli import listings

    raise typer.Exit(listings.cases())


@app.command()
def schema(
    of_check: Annotated[bool, typer.Option("--check", help="Of what check --json prints, instead of a case.")] = False,
    debug: Debug = False,
) -> None:
    """The JSON schema of a case file, or of a report."""
    if of_check:
        from thermosim.report.as_json import report_schema as described
    else:
        from thermosim.case.schema import json_schema as described
    print(json.dumps(described(), indent=2))


def _overrides(sets: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE pairs; a value is TOML, or else a string."""
    import tomllib

    pairs: dict[str, Any] = {}
    for item in sets or []:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{item!r}: expected KEY=VALUE, as in --set run.steps=1000.", param_hint="--set")
        try:
            pairs[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            pairs[key.strip()] = value.strip()
    return pairs
