"""A user's own model: one Python file that defines MODEL, named by the case."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from thermosim.model import Model

__all__ = ["load_user_model"]


def load_user_model(path: Path) -> tuple[Model | None, list[str]]:
    """The MODEL of a file, or None and what is wrong with it."""
    if not path.is_file():
        return None, [f"model.file = {path.name!r}: no such file next to the case (looked for {path})."]
    spec = importlib.util.spec_from_file_location(f"thermosim_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        return None, [f"model.file = {path.name!r}: cannot be imported: {type(error).__name__}: {error}"]
    model = getattr(module, "MODEL", None)
    if not isinstance(model, Model):
        return None, [f"model.file = {path.name!r}: defines no MODEL = thermosim.Model(...)."]
    return model, []
