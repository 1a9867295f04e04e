"""The text of a case: read, taken apart as TOML, and written from tables."""

from __future__ import annotations

import difflib
import errno
import json
import math
import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from thermosim.case import library
from thermosim.case.faults import CaseError
from thermosim.data.utf8 import why_not_text

__all__ = ["parsed", "read", "refuse_what_no_case_is", "toml"]

_DEEPEST = 12  # tables and lists in each other
_LARGEST = 8_000_000  # bytes


def read(source: str | Path) -> tuple[str, Path, str]:
    """Text, folder and name of a case: of a file, of one known by its name, or a string with a line break itself.

    Raises CaseError.
    """
    if isinstance(source, str) and "\n" in source:
        return source, Path.cwd(), "the case"
    path = Path(source)
    try:
        found = path if path.exists() else library.find(path) or path
        status = found.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would be waited for
            raise CaseError(["is no file but a pipe, a device or a socket; save the case to a file."], str(path))
        if status.st_size > _LARGEST:
            size = f"has {status.st_size / 1e6:.0f} MB, a case at most {_LARGEST / 1e6:.0f}"
            raise CaseError([f"{size}; put its numbers in a file of [data]."], str(path))
        return _bytes_of(found).decode("utf-8-sig").replace("\r\n", "\n"), found.resolve().parent, str(path)
    except FileNotFoundError:
        if path.is_symlink():
            raise CaseError(
                [f"is a link to {path.readlink()}, which is not there; mend the link."], str(path)
            ) from None
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.toml")], 1)
        meant = path.parent / near[0] if near else library.suggestion(path)
        hint = f" Did you mean {meant}?" if meant else " `thermosim cases` lists those that come with it."
        raise CaseError([f"no such file.{hint}"], str(path)) from None
    except UnicodeDecodeError:
        raise CaseError([f"{why_not_text(found.read_bytes())}."], str(path)) from None
    except OSError as error:
        why = error.strerror or error
        raise CaseError([f"cannot be read: {why}. Name a case file, or one of `thermosim cases`."], str(path)) from None
    except ValueError as error:  # no name of a file
        raise CaseError([f"cannot be read: {error}. Name a case file."], repr(str(path))) from None


def _bytes_of(path: Path) -> bytes:
    """The bytes of a file, which is not waited for: some that the kernel makes up never end."""
    wait_not = getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | wait_not)) as file:
        content = file.readall()
    if content is None:
        raise OSError(errno.EAGAIN, "nothing is in it yet")
    return content


def parsed(text: str, name: str) -> dict[str, Any]:
    """The tables of a case. Raises CaseError."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise CaseError(["not valid TOML: brackets in brackets without end. Close them."], name) from None
    except ValueError as error:
        raise CaseError([f"not valid TOML: {error}. Strings need quotes, tables [brackets]."], name) from None


def refuse_what_no_case_is(raw: Mapping[str, Any], name: str) -> None:
    """Raises CaseError for tables without end in each other, and for the sign NUL."""
    if _is_deep(raw):
        raise CaseError(
            [f"tables or lists lie more than {_DEEPEST} deep in each other; no key of a case needs that."], name
        )
    if nul := _with_nul(raw, ""):
        raise CaseError([f"{nul}: holds the sign NUL, which no file takes; remove it."], name)


def toml(tables: Mapping[str, Any]) -> str:
    """A case as TOML: its title, then a section for each table."""
    top = [f"{_text(name)} = {_value(value)}" for name, value in tables.items() if not isinstance(value, Mapping)]
    for name, section in tables.items():
        if isinstance(section, Mapping):
            top += ["", f"[{_text(name)}]", *(f"{_text(key)} = {_value(value)}" for key, value in section.items())]
    return "\n".join(top) + "\n"


def _text(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_text(name)} = {_value(part)}" for name, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # nan, inf, -inf
    if isinstance(value, (str, bool, int, float)):
        return json.dumps(value)
    return json.dumps(str(value))  # a path; anything else is refused by the key that it is given for


def _is_deep(value: Any) -> bool:
    """Whether tables and lists lie deeper in each other than in any case."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            part
            for one in level
            if isinstance(one, (dict, list))
            for part in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _with_nul(value: Any, key: str) -> str:
    """The key of a text, or itself, that holds a NUL; empty where there is none."""
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        parts = ((f"{key}.{name}".strip("."), part) for name, part in value.items())
    elif isinstance(value, list):
        parts = ((key, part) for part in value)
    if "\0" in key or (isinstance(value, str) and "\0" in value):
        return key.replace("\0", "\\u0000")
    return next(filter(None, (_with_nul(part, of) for of, part in parts)), "")
