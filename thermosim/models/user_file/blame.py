"""Errors that arise in a user's model, said in one sentence: which file, which line, which function, and what."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thermosim.kernels.declare import CompileError

__all__ = ["MODULE", "blamed", "place_of"]

MODULE = "thermosim_user_"  # how the names of modules begin that are made of a user's file


def blamed(error: BaseException) -> str:
    """Place and error, as in `my_model.py, line 12, in force: NameError: ...`; empty where no user's file has part."""
    if isinstance(error, CompileError):
        return str(error)
    frames = [frame for frame in traceback.walk_tb(error.__traceback__) if _is_users(frame[0].f_globals)]
    if not frames:
        return ""
    frame, line = frames[-1]
    code = frame.f_code
    where = "" if code.co_name == "<module>" else f", in {code.co_name}"
    return f"{Path(code.co_filename).name}, line {line}{where}: {_said(error)}"


def place_of(function: Callable[..., Any]) -> str:
    """File and first line of a function, as in `my_model.py, line 12`; empty of one that has no code of its own."""
    code = getattr(function, "__code__", None)
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}" if code is not None else ""


def _is_users(scope: dict[str, Any]) -> bool:
    return str(scope.get("__name__", "")).startswith(MODULE)


def _said(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # an error of the user's own, whose words fail
        text = ""
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__
