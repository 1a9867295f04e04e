"""The command line itself, and the options that several of its commands take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

__all__ = [
    "Check",
    "Device",
    "Force",
    "Plot",
    "Scheduler",
    "Seal",
    "Sets",
    "Threads",
    "Virtual",
    "Workers",
    "app",
    "overrides",
]

app = typer.Typer(
    name="thermosim",
    help="Learning as a thermodynamic process: run a case, check it against exact results, plot it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="cpu, cuda (every card), cuda:1, or auto. The numbers are the same."),
]
Seal = Annotated[
    float | None, typer.Option("--seal-every", min=0.01, help="Seal at least every so many seconds; default 60.")
]
Check = Annotated[bool, typer.Option("--check/--no-check", help="Compare with exact results at the end.")]
Plot = Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the model's picture at the end.")]
Force = Annotated[bool, typer.Option("--force", help="Run also what memory or disk cannot hold.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the case, as in --set run.steps=1000."),
]

_EXAMPLES = {"--set": "run.steps=1000", "--at": "theta.learning_rate=0.1"}


def overrides(sets: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """KEY=VALUE pairs; a value is TOML, or else a string."""
    import tomllib

    pairs: dict[str, Any] = {}
    for item in sets or []:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(
                f"{item!r}: expected KEY=VALUE, as in {option} {_EXAMPLES[option]}.", param_hint=option
            )
        try:
            pairs[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            pairs[key.strip()] = value.strip()
    return pairs
