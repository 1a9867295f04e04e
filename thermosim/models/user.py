"""A user's own model: one Python file that defines MODEL, named by the case."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from thermosim.data.utf8 import why_not_text
from thermosim.model import Model

__all__ = ["load_user_model", "model_of_text"]


_loaded: dict[str, Model] = {}  # by the text of the file: what was loaded last, for a file may import what has changed


def load_user_model(path: Path) -> tuple[Model | None, list[str]]:
    """The MODEL of a file, made anew, or None and what is wrong with it."""
    key = f"model.file = {path.name!r}"
    if not path.is_file():
        return None, [f"{key}: no such file next to the case (looked for {path})."]
    try:
        text = path.read_text("utf-8-sig")
        _loaded[text] = _made(text, str(path))
    except UnicodeDecodeError:
        return None, [f"{key}: {why_not_text(path.read_bytes())}."]
    except Exception as error:
        return None, [f"{key}: {error}"]
    return _loaded[text], []


def model_of_text(text: str) -> Model:
    """The MODEL that the text of a file defines: the one loaded last from such a file. Raises ValueError."""
    if text not in _loaded:
        _loaded[text] = _made(text, "model.py")
    return _loaded[text]


def _made(text: str, file: str) -> Model:
    name = f"thermosim_user_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    try:
        exec(compile(text, file, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise ValueError(f"cannot be imported: {type(error).__name__}: {error}") from None
    model = getattr(module, "MODEL", None)
    if not isinstance(model, Model):
        raise ValueError("defines no MODEL = thermosim.Model(...).")
    return model
