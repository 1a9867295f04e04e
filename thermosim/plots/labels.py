"""Words on pictures: names with their units, points of a sweep, and a user's own text, which is never mathematics.

Energies are in the model's unit of energy, k_B = 1. It is kT where the whole of a picture is at temperature 1.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.settings import axes, number, settings
from thermosim.schedules import is_schedule

__all__ = [
    "label",
    "letters",
    "named",
    "of_variable",
    "plain",
    "power",
    "shown",
    "swept_name",
    "temperature_of",
    "wrapped",
]

_ENERGY = "energy"
_NATS = ("nat", "nats")
_NAMES_OF_NATS = ("log_ratio", "entropy", "shadow", "information")  # of variables whose unit was written "1"
_TIED = "\N{NO-BREAK SPACE}"
_LINE = 28  # letters along an axis
_LONGEST = 24  # letters of a value
_NAMES = {
    "work": "work $w$",
    "heat": "heat absorbed $q$",
    "phi": r"energy $\varphi$",
    "log_ratio_x": "log path ratio of $x$",
    "log_ratio_theta": r"log path ratio of $\theta$",
    "entropy_production": r"entropy production $\sigma$",
    "shadow": "shadow term",
    "minibatch_loss": "loss of minibatch",
    "gradient_square": "sum of squared gradients",
    "theta": r"parameters $\theta$",
    "x": "samples $x$",
}
_SYMBOLS = {"tau": r"moves per step $\tau$", "batch": "batch size"}


def label(name: str, units: str = "1", temperature: float | None = None) -> str:
    """A name with its unit, on two lines where one is too short. `name` is trusted: escape a user's with `plain`.

    temperature: the one that holds for the whole picture, None where there are several.
    """
    unit = _unit(units, temperature)
    if not unit:
        return wrapped(name, _LINE)
    if letters(f"{name} ({unit})") <= _LINE:
        return f"{name} ({unit})"
    lines, tied = wrapped(name, _LINE).split("\n"), f"({unit})".replace(" ", _TIED)
    if len(lines) > 1:  # the unit goes on the last line where there is room
        return wrapped(f"{name} {tied}", _LINE)
    return "\n".join([*lines, wrapped(f"({unit})", _LINE)])


def _unit(units: str, temperature: float | None) -> str:
    if units == _ENERGY:
        if temperature == 1.0:
            return "kT"
        return "units of energy" + ("" if temperature is None else f", kT = {temperature:.3g}")
    if units in _NATS:
        return "nats"
    return "" if units in ("1", "") else "energy$^2$" if units == "energy^2" else plain(units)


def of_variable(ds: xr.Dataset, name: str) -> str:
    """The label of a recorded variable."""
    attributes = ds[name].attrs
    units = str(attributes.get("units", "1"))
    if units == "1" and any(part in name for part in _NAMES_OF_NATS):
        units = "nat"
    words = str(attributes.get("long_name", name)).removeprefix("mean over the replicas of a cohort: ")
    words = plain(words.partition(";")[0].removesuffix(" since step 0"))  # what follows is for who reads the file
    return label(_NAMES.get(name, words), units, temperature_of(ds))


def temperature_of(ds: xr.Dataset) -> float | None:
    """The temperature of x that holds for all of an ensemble; None where there are several, or none."""
    resolved = settings(ds)
    if not resolved.x:
        return None
    values = number(ds, "x.temperature")
    if values is None:
        held = resolved.sweep.get("x.temperature", [resolved.of_x.temperature])
        values = held if all(isinstance(one, (int, float, list)) for one in held) else []
    found = np.unique([one for value in np.atleast_1d(values) for one in np.ravel(value)])
    return float(found[0]) if found.size == 1 else None


def plain(text: str) -> str:
    """A user's text, drawn as it is written."""
    return text.replace("$", r"\$")


def wrapped(text: str, width: int) -> str:
    """Text on lines of at most `width` letters as they are drawn; mathematics is not broken, very long words are."""
    lines = []
    for line in text.split("\n"):
        held: list[str] = [""]
        for word in re.findall(r"(?:(?<!\\)\$.*?(?<!\\)\$|[^ ])+", line):
            pieces = [word] if letters(word) <= width else textwrap.wrap(word, width) if "$" not in word else [word]
            for piece in pieces:
                if held[-1] and letters(f"{held[-1]} {piece}") > width:
                    held.append(piece)
                else:
                    held[-1] = f"{held[-1]} {piece}" if held[-1] else piece
        lines += held
    return "\n".join(lines)


def letters(text: str) -> int:
    """Length of a line as it is drawn: a command of TeX is one sign."""
    return len(re.sub(r"[${}_^]|\\[,!]", "", re.sub(r"\\[A-Za-z]+", "x", text)))


def shown(value: Any) -> str:
    """A value of a sweep, short."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_)):
        return f"{value:.3g}"
    if is_schedule(value):
        return plain(str(value["kind"])) + (" with warm-up" if value.get("warm_up") else "")
    return plain(textwrap.shorten(str(value), _LONGEST, placeholder=" ..."))


def power(value: float) -> str:
    """Two digits of a number, as mathematics: a power of ten where it is very small or large."""
    mantissa, _, exponent = f"{value:.2g}".partition("e")
    return rf"${mantissa}\cdot 10^{{{int(exponent)}}}$" if exponent else f"${mantissa}$"


def swept_name(name: str) -> str:
    """An axis of a sweep in words."""
    return _SYMBOLS.get(name, plain(name.replace("_", " ")))


def named(ds: xr.Dataset, index: Mapping[str, int]) -> str:
    """A point of the sweep in words, such as "tau 4", by its index on these axes; long lists have numbers."""
    parts = []
    for values, name in zip(settings(ds).sweep.values(), axes(ds)):
        if name in index:
            long = any(isinstance(value, list) and len(str(value)) > _LONGEST for value in values)
            value = ds[name].values[index[name]].item() if long else values[index[name]]  # the coordinate counts lists
            parts.append(f"{plain(name.replace('_', _TIED))}{_TIED}{shown(value)}")
    return ", ".join(parts)
