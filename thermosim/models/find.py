"""Models by their name, or made of the text of a user's file."""

from __future__ import annotations

from thermosim.model import Model
from thermosim.models import MODELS
from thermosim.models.user import model_of_text

__all__ = ["model_of"]


def model_of(name: str, source: str = "") -> Model:
    """The model of thermosim with this name, or the one that the text of a user's file defines.

    Raises ValueError when there is none.
    """
    if not source:
        try:
            return MODELS[name]
        except KeyError:
            raise ValueError(f"there is no model {name!r}; there are {', '.join(MODELS)}") from None
    return model_of_text(source)
