"""`replay` and `fork`: a complete ensemble once more, for noise has an address."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from thermosim.cli.options import Check, Device, Force, Plot, Scheduler, Sets, Threads, Virtual, Workers, app, overrides

__all__ = ["fork", "replay"]


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Ensemble file of a complete run.")],
    replica: Annotated[int, typer.Option("--replica", min=0, help="Its number.")],
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="KEY=VALUE", help="The point of a sweep, as in --at theta.learning_rate=0.1."),
    ] = None,
    steps: Annotated[
        str, typer.Option("--steps", metavar="A:B", help="From step A to step B, as in 100:200; default all.")
    ] = ":",
    every: Annotated[int, typer.Option("--every", min=1, help="Steps between frames.")] = 1,
    variables: Annotated[
        str | None, typer.Option("--variables", metavar="NAMES", help="What to record, as in x,work; default all.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where it goes; default FILE's name with _replica17.h5.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    threads: Threads = None,
    device: Device = "cpu",
) -> None:
    """Make the steps of one replica again, to the bit, and record every one of them."""
    from thermosim.cli import terminal

    start, colon, stop = steps.partition(":")
    if not colon or not all(part.strip().isdecimal() or not part.strip() for part in (start, stop)):
        raise typer.BadParameter(f"{steps!r}: expected A:B, as in 100:200, :50 or 1000:.", param_hint="--steps")
    names = None if variables is None else [name.strip() for name in variables.split(",") if name.strip()]
    what: dict[str, Any] = {"point": overrides(at, "--at"), "every": every, "variables": names}
    what |= {name: int(part) for name, part in (("start", start), ("stop", stop)) if part.strip()}
    target = output or file.with_name(f"{file.stem}_replica{replica}.h5")
    how: dict[str, Any] = {"threads": threads, "device": device}
    raise typer.Exit(terminal.replay(file, replica, target, overwrite, what | how))


@app.command()
def fork(
    file: Annotated[Path, typer.Argument(help="Ensemble file of a complete run.")],
    at: Annotated[int, typer.Option("--at", min=1, metavar="STEP", help="The recorded step to go on from.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the twin goes.")],
    sets: Sets = None,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    device: Device = "cpu",
    virtual: Virtual = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    compared: Check = True,
    picture: Plot = True,
    force: Force = False,
) -> None:
    """Go on from a frame with changed keys and the same noise: what differs from then on is what the keys do."""
    from thermosim.cli import terminal

    how: dict[str, Any] = {"threads": threads, "workers": workers, "scheduler": scheduler, "virtual": virtual}
    how |= {"device": device, "force": force}
    after = terminal.After(compared, picture)
    raise typer.Exit(terminal.fork(file, at, overrides(sets), output, overwrite, after, how))
