"""Where everything is printed, and how sizes and times are written."""

from __future__ import annotations

from typing import Any

_ENDLESS = 1_000_000  # characters of a line


def make_console(stderr: bool = False) -> Any:
    from rich.console import Console

    # a command to be copied is never cut into lines: a terminal does that itself, and a log has none
    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, soft_wrap=True, width=_ENDLESS)
    console.on_broken_pipe = _reader_has_gone  # type: ignore[method-assign]  # rich would exit with 1: check failed
    return console


def _reader_has_gone() -> None:
    raise BrokenPipeError


def si(number: float) -> str:
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number:.3g} "


def size_text(size: float) -> str:
    return f"{si(size)}B"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, name in ((365.25 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.2g} s" if seconds >= 1.0 else "less than a second"
