"""`reproduce`: a paper's claims beside what comes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermosim.cli.options import Threads, app

if TYPE_CHECKING:
    pass

__all__ = ["reproduce"]

_COLOURS = {"holds": "green", "holds within": "green", "does not hold": "red", "not decided": "yellow"}


@app.command()
def reproduce(
    paper: Annotated[
        str | None,
        typer.Argument(metavar="[PAPER]", help="arXiv number or short name; without one, the list of papers."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="At the paper's own size.")] = False,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FOLDER", help="Keep the ensembles there; go on with what is there."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    threads: Threads = None,
) -> None:
    """Run a paper's cases, and judge each of its claims by them."""
    from thermosim.papers import reproduce as again

    if paper is None:
        _list()
        return
    found = again(paper, full=full, folder=keep, threads=threads)
    _print(found)


def _list() -> None: ...


def _print(found: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    from thermosim.report.console import duration, make_console

    console = make_console()
    console.print(f"[bold]{escape(found.paper.title)}[/bold]")
    console.print(f"{found.paper.authors}, arXiv:{found.paper.arxiv}")
    for number, (result, lines, verdict) in enumerate(found.lines, 1):
        console.print()
        console.print(f"[bold]{number}. {escape(result.claim.says)}[/bold] [dim]{result.claim.where}[/dim]")
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("")
        for title in ("ours", "claimed", "z", "published"):
            table.add_column(title, justify="right")
        for line in lines:
            table.add_row(escape(line.quantity), line.ours, line.claimed, line.z, line.published)
        console.print(table)
        word = result.outcome.value if result.outcome else ""
        console.print(f"   [{_COLOURS[word]}]{word}[/] {escape(verdict)}" if word else f"   {escape(verdict)}")
    console.print(f"{duration(found.seconds)}")
