"""`reproduce`: what a paper claims beside what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thermosim.cli.exits import Exit
from thermosim.cli.options import Threads, app

if TYPE_CHECKING:
    from thermosim.papers import Reproduction, Result
    from thermosim.papers.lines import Line

__all__ = ["reproduce"]

_COLOURS = {"holds": "green", "holds within": "green", "does not hold": "red", "not decided": "yellow"}


@app.command()
def reproduce(
    paper: Annotated[
        str | None,
        typer.Argument(
            metavar="[PAPER]", help="arXiv number or short name; without one, papers and claims are listed."
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="At the paper's own size.")] = False,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="FOLDER", help="Keep the ensembles there; use what is there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    threads: Threads = None,
) -> None:
    """Run a paper's cases, and judge each of its claims by what comes out, with errors."""
    if paper is None:
        if full or keep is not None or as_json:
            raise typer.BadParameter("name the paper that is to be run, as in thermosim reproduce ideal-gas")
        _list()
        return
    from thermosim.papers import find_paper
    from thermosim.papers import reproduce as again

    try:
        find_paper(paper)
    except ValueError as unknown:
        raise typer.BadParameter(str(unknown), param_hint="PAPER") from None
    from thermosim.cli.terminal import live
    from thermosim.report.console import make_console
    from thermosim.run.execution import Interrupted

    try:
        found = live(lambda report: again(paper, full=full, folder=keep, threads=threads, report=report))
    except Interrupted as stop:
        kept = "the same command goes on" if keep is not None else "--keep FOLDER would have kept what there was"
        make_console(stderr=True).print(f"{stop}; {kept}.")
        raise typer.Exit(Exit.INTERRUPTED) from None
    if as_json:
        from thermosim.papers.as_json import reproduction_json

        print(reproduction_json(found))
        return
    _print(found)


def _list() -> None:
    """Papers, their claims and how long it takes."""
    from rich.markup import escape

    from thermosim.papers import PAPERS
    from thermosim.report.console import duration, make_console

    console = make_console()
    for paper in PAPERS:
        console.print(f"[bold]{paper.arxiv}  {paper.name}[/bold]  {escape(paper.title)}")
        times = f"about {duration(paper.seconds)} on two cores, --full by estimate {duration(paper.full_seconds)}"
        console.print(f"    [dim]{escape(paper.authors)}; {times}[/dim]")
        for number, claim in enumerate(paper.claims, 1):
            console.print(f"    {number:2}. {escape(claim.says)} [dim]({escape(claim.where)})[/dim]")
        console.print()
    console.print("To run one: [bold]thermosim reproduce NAME[/bold]")


def _print(found: Reproduction) -> None:
    """Every claim with its numbers and its verdict, then what all say together."""
    from rich.markup import escape

    from thermosim.papers.lines import summary_of
    from thermosim.report.console import duration, make_console

    console = make_console()
    console.print(f"[bold]{escape(found.paper.title)}[/bold]")
    size = "at the paper's own size" if found.full else "at a size that fits a minute; --full is the paper's own"
    console.print(f"[dim]{escape(found.paper.authors)}, arXiv:{found.paper.arxiv}; {size}[/dim]")
    for number, (result, lines, verdict) in enumerate(found.lines, 1):
        console.print()
        console.print(f"[bold]{number}. {escape(result.claim.says)}[/bold] [dim]({escape(result.claim.where)})[/dim]")
        if lines:
            console.print(_table(lines))
        _verdict(console, result, verdict)
    console.print()
    for sentence in summary_of(found):
        console.print(f"[dim]{escape(sentence)}[/dim]")
    console.print(f"[dim]{duration(found.seconds)}[/dim]")


def _table(lines: list[Line]) -> Any:
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for title in ("ours", "claimed", "z"):
        table.add_column(title, justify="right")
    published = any(line.published for line in lines)
    if published:
        table.add_column("published", justify="right")
    for line in lines:
        name = f"instead: {line.quantity}" if line.corrected else line.quantity
        colour = _COLOURS[line.outcome.value]
        z = f"[{colour}]{line.z}[/{colour}]" if line.outcome.value == "does not hold" else line.z
        table.add_row(escape(name), line.ours, line.claimed, z, *((line.published,) if published else ()))
    return Padding(table, (0, 0, 0, 3), expand=False)


def _verdict(console: Any, result: Result, verdict: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    text = Text()
    if result.outcome is not None:
        word = result.outcome.value
        text.append(word, style=f"bold {_COLOURS[word]}")
        text.append(" " if word == "holds within" else ": " if verdict else "")
    text.append(verdict)
    console.print(Padding(text, (0, 0, 0, 3), expand=False), soft_wrap=not console.is_terminal)
