"""The cases that come with thermosim, by name: `ideal_gas/fixed_elr` is cases/ideal_gas/fixed_elr.toml."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

__all__ = ["find", "listing", "suggestion"]

_PACKAGE = Path(__file__).parents[1]
_SUFFIX = ".toml"


def find(name: str | Path) -> Path | None:
    """The file of a case that comes with thermosim; None if there is none of this name.

    The name may have `cases/` before it and `.toml` after it, as the path in a checkout has.
    """
    return _folder() / (_bare(name) + _SUFFIX) if _bare(name) in _names() else None


def listing() -> dict[str, str]:
    """The title of every case, by its name."""
    titles = {name: tomllib.loads((_folder() / (name + _SUFFIX)).read_text("utf-8"))["title"] for name in _names()}
    return {name: str(title) for name, title in titles.items()}


def suggestion(name: str | Path) -> str | None:
    """The name of the case that someone who wrote this name may have meant."""
    names = _names()
    near = difflib.get_close_matches(_bare(name), names, 1)
    if near:
        return near[0]
    by_last = {known.rpartition("/")[2]: known for known in names}  # the folder left out, or another one
    near = difflib.get_close_matches(_bare(name).rpartition("/")[2], list(by_last), 1)
    return by_last[near[0]] if near else None


def _folder() -> Path:
    """Inside the package where it was installed from a wheel; at the top of a checkout, which is their one source."""
    installed = _PACKAGE / "cases"
    return installed if installed.is_dir() else _PACKAGE.parent / "cases"


def _names() -> list[str]:
    folder = _folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*" + _SUFFIX))


def _bare(name: str | Path) -> str:
    return Path(name).as_posix().removeprefix("cases/").removesuffix(_SUFFIX)
