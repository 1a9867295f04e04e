"""The numbers that a drawn panel shows, read back from what was drawn: marks with errors, lines, bands, bins, maps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection, PathCollection, QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.image import AxesImage
from matplotlib.patches import StepPatch

from thermosim.plots import style

__all__ = ["Mark", "in_words", "marks_of"]

_LINE, _CLOUD, _CELLS = 40, 150, 900  # of one line, scatter or map that are told, at most
_SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "varphi": "φ",
    "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Delta": "Δ", "Gamma": "Γ", "Lambda": "Λ", "Omega": "Ω",
    "Phi": "Φ", "Psi": "Ψ", "Sigma": "Σ", "Theta": "Θ", "langle": "⟨", "rangle": "⟩", "leq": "≤", "geq": "≥",
    "cdot": "·", "partial": "∂", "nabla": "∇", "sum": "∑", "infty": "∞", "times": "×", "pm": "±", "ln": "ln ",
    "exp": "exp ", "sqrt": "√", "ell": "ℓ", "approx": "≈", "propto": "∝", "to": "→", "rightarrow": "→", "top": "T",
    "dagger": "†", "prime": "′",
}  # fmt: skip
_ABOVE = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")


@dataclass(frozen=True)
class Mark:
    """A number that is drawn, where it stands, and how it is told."""

    x: float  # points of the figure, from the left and from the bottom
    y: float
    of: str  # the curve it belongs to
    at: str  # along the horizontal axis
    value: str
    error: str = ""


def in_words(text: str) -> str:
    """A label with its mathematics as plain signs."""
    text = text.replace("\\$", "\0").replace("$", "").replace("\n", " ").replace("\0", "$")
    text = re.sub(r"\\(?:mathrm|mathbf|bf|rm|mathcal|bar|hat|dot|tilde|overline)\b\s*", "", text)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: _SIGNS.get(found[1], found[1]), text)
    text = re.sub(r"([⟨Δ∂∇∑√·]) ", r"\1", text)
    text = re.sub(r"\^\{([-+0-9]+)\}|\^([0-9])", lambda f: (f[1] or f[2]).translate(_ABOVE), text)
    return re.sub(r"\s+", " ", re.sub(r"\\[,;! ]", " ", text).replace("{", "").replace("}", "")).strip()


def marks_of(panel: Axes) -> list[Mark]:
    """All of a panel: measured marks last, so that they lie above the lines."""
    found: list[Mark] = []
    barred = [part for part in panel.containers if isinstance(part, ErrorbarContainer)]
    own = {id(line) for part in barred for line in (part[0], *part[1]) if line is not None}
    name = in_words(panel.get_ylabel()) or "value"
    for bins in panel.patches:
        found += _bins(panel, bins) if isinstance(bins, StepPatch) else []
    for part in panel.collections:
        if isinstance(part, QuadMesh):
            found += _cells(panel, part)
        elif isinstance(part, PathCollection):
            found += _points(panel, np.asarray(part.get_offsets(), float), _label(part) or name, _CLOUD)
        elif isinstance(part, FillBetweenPolyCollection):
            found += _band(panel, part)
    for image in panel.images:
        found += _pixels(panel, image)
    for line in panel.lines:
        if id(line) not in own and line.get_transform() == panel.transData:
            words = "exact" if line.get_label() == style.EXACT else _label(line) or name
            found += _points(panel, np.asarray(line.get_xydata(), float), words, _LINE)
    for bars in barred:
        found += _measured(panel, bars, name)
    return found


def _label(artist: Any) -> str:
    """What the legend calls it; empty where it is not in there."""
    label = str(artist.get_label() or "_")
    return "" if label.startswith("_") else in_words(label)


def _put(panel: Axes, x: float, y: float, of: str, value: str, error: str = "", at: str = "") -> Iterator[Mark]:
    """A mark where it is inside the panel."""
    place = panel.transData.transform((x, y))
    box = panel.get_window_extent()
    if np.isfinite(place).all() and box.x0 - 1 <= place[0] <= box.x1 + 1 and box.y0 - 1 <= place[1] <= box.y1 + 1:
        yield Mark(float(place[0]), float(place[1]), of, at or _at(panel, x), value, error)


def _at(panel: Axes, x: float) -> str:
    """A place on the horizontal axis: its tick where values are words, otherwise the number."""
    for tick, text in zip(panel.get_xticks(), panel.get_xticklabels()):
        words = in_words(text.get_text())
        if np.isclose(tick, x, rtol=1e-9, atol=0.0) and words and not re.fullmatch(r"[-−0-9.e×·⁰-⁹⁻¹²³ ]+", words):
            return words
    return f"{x:.6g}"


def _points(panel: Axes, points: np.ndarray, of: str, most: int) -> Iterator[Mark]:
    for k in style.pick(len(points), most) if len(points) else ():
        x, y = points[k]
        yield from _put(panel, x, y, of, f"{y:.5g}")


def _measured(panel: Axes, part: ErrorbarContainer, name: str) -> Iterator[Mark]:
    """Means with the half lengths of their bars."""
    line, _, bars = part
    if line is None:
        return
    points = np.asarray(line.get_xydata(), float)
    errors = np.full(len(points), np.nan)
    if part.has_yerr and bars:
        segments = bars[-1].get_segments()
        if len(segments) == len(points):
            errors = np.array([0.5 * (s[-1][1] - s[0][1]) if len(s) > 1 else np.nan for s in segments])
    for (x, y), error in zip(points, errors):
        yield from _put(panel, x, y, _label(part) or name, f"{y:.5g}", f"{error:.2g}" if np.isfinite(error) else "")


def _bins(panel: Axes, bins: StepPatch) -> Iterator[Mark]:
    values, edges, _ = bins.get_data()
    for height, low, high in zip(values, edges, edges[1:]):
        at = f"{low:.4g} to {high:.4g}"
        yield from _put(panel, 0.5 * (low + high), height, _label(bins) or "density", f"{height:.4g}", at=at)


def _band(panel: Axes, band: FillBetweenPolyCollection) -> Iterator[Mark]:
    """Lower and upper end, of bands along the horizontal axis; matplotlib draws there and back."""
    for path in band.get_paths():
        points = np.asarray(path.vertices, float)
        count = (len(points) - 3) // 2
        low, high = points[1 : count + 1], points[count + 2 : 2 * count + 2][::-1]
        if count < 1 or len(high) != count or not np.allclose(low[:, 0], high[:, 0]):
            continue
        for k in style.pick(count, _LINE):
            words = "5 to 95 % of replicas" if band.get_label() == style.BAND else _label(band) or "band"
            ends = sorted((low[k, 1], high[k, 1]))
            middle = 0.5 * (ends[0] + ends[1])
            yield from _put(panel, low[k, 0], middle, words, f"{ends[0]:.4g} to {ends[1]:.4g}")


def _pixels(panel: Axes, image: AxesImage) -> Iterator[Mark]:
    """The values of a matrix drawn as an image, each at the middle of its cell; none of a photograph's or many."""
    values: Any = np.ma.masked_invalid(np.ma.asarray(image.get_array()))
    if values.ndim != 2 or values.size > _CELLS:
        return
    left, right, bottom, top = image.get_extent()
    rows, columns = values.shape
    x = left + (right - left) * (np.arange(columns) + 0.5) / columns
    y = bottom + (top - bottom) * (np.arange(rows) + 0.5) / rows
    y = y if image.origin == "lower" else y[::-1]
    words, names = _of_bar(panel), [in_words(text.get_text()) for text in panel.get_yticklabels()]
    named = dict(zip(panel.get_yticks(), names))
    for i, j in np.ndindex(values.shape):
        value = "no value" if np.ma.getmaskarray(values)[i, j] else f"{values[i, j]:.5g}"
        row = named.get(y[i]) or f"{in_words(panel.get_ylabel())} {y[i]:.4g}".strip()
        yield from _put(panel, x[j], y[i], words, value, at=f"{_at(panel, x[j])}, {row}")


def _of_bar(panel: Axes) -> str:
    """What the colours of a panel stand for."""
    bar = style.bar_of(panel)
    return (in_words(bar.ax.get_xlabel() or bar.ax.get_ylabel()) if bar is not None else "") or "value"


def _cells(panel: Axes, mesh: QuadMesh) -> Iterator[Mark]:
    """The values of a map, each at the middle of its cell."""
    values: Any = np.ma.masked_invalid(np.ma.asarray(mesh.get_array()))
    corners = np.asarray(mesh.get_coordinates(), float)
    values = values.reshape(corners.shape[0] - 1, corners.shape[1] - 1)
    if values.size > _CELLS:
        return
    words = _of_bar(panel)
    down = in_words(panel.get_ylabel())
    pixels = panel.transData.transform(corners.reshape(-1, 2)).reshape(corners.shape)
    for i, j in np.ndindex(values.shape):
        middle = pixels[i : i + 2, j : j + 2].mean(axis=(0, 1))
        x, y = panel.transData.inverted().transform(middle)
        value = "no value" if np.ma.getmaskarray(values)[i, j] else f"{values[i, j]:.5g}"
        yield from _put(panel, x, y, words, value, at=f"{_at(panel, x)}, {down} {y:.4g}")
