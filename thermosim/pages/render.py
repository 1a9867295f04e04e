"""Templates of HTML, filled in. What comes from a case or a file is escaped; styles and scripts are our own files."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["own", "render", "script_hash"]


def render(template: str, **values: Any) -> str:
    """A template by its name, such as "report.html", with these values; all strings but `Markup` are escaped."""
    return _environment().get_template(template).render(**values)


@functools.cache
def own(name: str) -> Markup:
    """A style sheet or script of ours, to stand in a page as it is."""
    return Markup((files("thermosim.pages") / "templates" / name).read_text("utf-8"))


def script_hash(name: str) -> str:
    """What a page's Content-Security-Policy knows our script by: no other runs in it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(own(name).encode()).digest()).decode()


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(lambda name: str(own(name))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"own": own, "script_hash": script_hash}
    return made
