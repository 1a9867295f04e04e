"""A user's own model: one Python file that defines MODEL, named by the case."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path
from types import ModuleType

from thermosim.model import Model

__all__ = ["load_user_model", "model_of_text"]


def load_user_model(path: Path) -> tuple[Model | None, list[str]]:
    """The MODEL of a file, or None and what is wrong with it."""
    key = f"model.file = {path.name!r}"
    if not path.is_file():
        return None, [f"{key}: no such file next to the case (looked for {path})."]
    try:
        return model_of_text(path.read_text("utf-8"), str(path)), []
    except Exception as error:
        return None, [f"{key}: {error}"]


@functools.lru_cache(maxsize=64)
def _loaded(text: str, file: str) -> Model:
    name = f"thermosim_user_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    try:
        exec(compile(text, file, "exec"), module.__dict__)
    except Exception as error:
        raise ValueError(f"cannot be imported: {type(error).__name__}: {error}") from None
    model = getattr(module, "MODEL", None)
    if not isinstance(model, Model):
        raise ValueError("defines no MODEL = thermosim.Model(...).")
    return model


_files: dict[str, str] = {}  # text: the file it was first read from


def model_of_text(text: str, file: str = "model.py") -> Model:
    """The MODEL that the text of a file defines: the same object for the same text. Raises ValueError."""
    return _loaded(text, _files.setdefault(text, file))
