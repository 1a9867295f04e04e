"""What is proved of an energy before it runs: whether it is bounded below, its minima, its stiffest one, and a start.

Far out on every axis its growth is derived from the formula (`growth`); minima are found from many points by descent,
their curvature from differences of the derived slopes. A step of Euler's rule is stable at a minimum of curvature L
(the largest eigenvalue of mobility times second derivatives) below 2/L.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from thermosim.model import Values
from thermosim.models.formula.compiled import Compiled, compiled
from thermosim.models.formula.growth import FALLS, FLAT, RISES, UNDECIDED, along
from thermosim.models.formula.laws import law_at
from thermosim.models.formula.quadrature import NoNormaliser
from thermosim.models.formula.values import first_without_value, gradient_value, value
from thermosim.moves import X_MOVES
from thermosim.schedules import is_schedule, telling_steps, values_at

__all__ = ["Landscape", "landscape", "proofs", "validate"]

_FAR = 10.0 ** np.arange(0, 7)
_STARTS = {1: 0, 2: 24}  # of the search for minima; of one component a line is looked at
_LARGEST = 60  # components, up to which minima are searched
_STEPS_TRIED = 3  # of a protocol
_CLOSE = 1e-2


@dataclass(frozen=True)
class Landscape:
    """An energy at one theta: how it grows along both directions of each axis, and minima (x, phi, curvature)."""

    growth: tuple[tuple[str, bool], ...]  # along -x_0, +x_0, -x_1, ...: what, and whether it is proved
    minima: tuple[tuple[np.ndarray, float, float], ...]

    @property
    def falls(self) -> int | None:
        """The first direction along which there is no lower bound."""
        return next((number for number, (what, _) in enumerate(self.growth) if what == FALLS), None)


def landscape(text: str, constants: Values, theta: np.ndarray, mobility: Any = 1.0) -> Landscape:
    """The landscape at theta (m,)."""
    told = json.dumps({name: np.asarray(v).tolist() for name, v in constants.items()})
    return _landscape(text, told, tuple(map(float, theta)), json.dumps(mobility))


@functools.lru_cache(maxsize=256)
def _landscape(text: str, constants: str, theta: tuple[float, ...], mobility: str) -> Landscape:
    formula, values = compiled(text, json.loads(constants)), json.loads(constants)
    there = _At(formula, values, np.array(theta))
    growth = tuple(there.growth(axis, sign) for axis in range(formula.components) for sign in (-1, 1))
    return Landscape(growth, tuple(there.minima(np.asarray(json.loads(mobility), float))))


class _At:
    """A formula at given constants and theta."""

    def __init__(self, formula: Compiled, values: Values, theta: np.ndarray) -> None:
        self.formula, self._values, self._theta = formula, values, theta
        self._n = formula.components

    def given(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Names and values at x (n, ...)."""
        return self.formula.given(x, self._theta.reshape(-1, *(1,) * (x.ndim - 1)), self._values)

    def phi(self, x: np.ndarray) -> np.ndarray:
        """phi at x (n, ...)."""
        return np.broadcast_to(value(self.formula.terms, self.given(x)), x.shape[1:])

    def slope(self, x: np.ndarray) -> np.ndarray:
        """d phi/dx at x (n, ...)."""
        return gradient_value(self.formula.terms, "x", self._n, self.given(x))

    def growth(self, axis: int, sign: int) -> tuple[str, bool]:
        """What phi does far out, and whether that follows from the formula or was looked at by numbers."""
        rest = 0.3 + 0.1 * np.sin(np.arange(self._n))  # anywhere, but not where terms vanish
        found = along(self.formula.terms, axis, sign, self.given(rest))
        if found != UNDECIDED:
            return found, True
        x = np.repeat(rest[:, None], len(_FAR), axis=1)
        x[axis] = sign * _FAR
        phi = self.phi(x)
        if not np.isfinite(phi[-1]):
            return (RISES if phi[-1] == np.inf else FALLS if phi[-1] == -np.inf else UNDECIDED), False
        if abs(phi[-1]) < 10.0 * (1.0 + abs(phi[:3]).max()):
            return FLAT, False
        return (RISES if phi[-1] > 0.0 else FALLS), False

    def minima(self, mobility: np.ndarray) -> list[tuple[np.ndarray, float, float]]:
        """Different local minima, lowest first."""
        if self._n > _LARGEST:
            return []
        found: list[tuple[np.ndarray, float, float]] = []
        for start in self._starts():
            x = self._descended(start)
            if x is None or any(self._same(x, other) for other, *_ in found):
                continue
            hessian = self._hessian(x)
            root = np.sqrt(np.broadcast_to(mobility, self._n))
            curvatures = np.linalg.eigvalsh(root[:, None] * hessian * root)
            if curvatures[0] > -1e-5 * max(1.0, abs(curvatures[-1])):
                found.append((x, float(self.phi(x[:, None])[0]), float(curvatures[-1])))
        return sorted(found, key=lambda each: each[1])

    def _same(self, x: np.ndarray, other: np.ndarray) -> bool:
        """Whether two minima are one: near, with nothing higher between. A flat one is found to a few digits only."""
        if np.abs(x - other).max() > _CLOSE * (1.0 + np.abs(x).max()):
            return False
        ends, middle = self.phi(np.stack([x, other], axis=1)), self.phi(0.5 * (x + other)[:, None])[0]
        return bool(middle <= ends.max() + 1e-9 * (1.0 + abs(middle)))

    def _starts(self) -> list[np.ndarray]:
        if self._n == 1:
            line = np.concatenate([-np.geomspace(1e3, 1e-3, 1500), [0.0], np.geomspace(1e-3, 1e3, 1500)])
            slope = self.slope(line[None])[0]
            rising = np.flatnonzero((slope[:-1] <= 0.0) & (slope[1:] > 0.0) & np.isfinite(slope[:-1] + slope[1:]))
            return [np.array([0.5 * (line[k] + line[k + 1])]) for k in rising[:64]]
        random = np.random.default_rng(0)
        count = _STARTS.get(self._n, 8)
        scales = np.geomspace(0.3, 5.0, count)
        return [np.zeros(self._n), np.full(self._n, 0.1), *(scale * random.normal(size=self._n) for scale in scales)]

    def _descended(self, start: np.ndarray) -> np.ndarray | None:
        with np.errstate(all="ignore"):
            if not np.isfinite(self.phi(start[:, None])[0]):
                return None
            found: Any = optimize.minimize(  # type: ignore[call-overload]  # its stubs miss options
                lambda x: float(self.phi(x[:, None])[0]),
                start,
                jac=lambda x: self.slope(x[:, None])[:, 0],
                method="BFGS",
                options={"gtol": 1e-8, "maxiter": 300},
            )
        x = np.asarray(found.x)
        good = np.isfinite(x).all() and np.isfinite(found.fun) and np.abs(x).max() < 1e6
        steep = np.abs(found.jac).max() if good else np.inf
        return x if good and steep < 1e-4 * (1.0 + abs(float(found.fun))) else None

    def _hessian(self, x: np.ndarray) -> np.ndarray:
        step = 1e-5 * (1.0 + np.abs(x).max())
        moved = np.concatenate([x[:, None] + step * np.eye(self._n), x[:, None] - step * np.eye(self._n)], axis=1)
        slopes = self.slope(moved)
        hessian = (slopes[:, : self._n] - slopes[:, self._n :]) / (2.0 * step)
        return np.asarray(0.5 * (hessian + hessian.T))


def _thetas(text: str, constants: Values, settings: Any) -> list[np.ndarray]:
    """theta (m,) at some steps of the case: the first, the last and those between."""
    formula, steps = compiled(text, constants), settings.run.steps
    groups: dict[str, np.ndarray] = {}
    for name, default in formula.section["parameters"].items():
        given = settings.theta.protocol.get(name, default)
        size = int(np.size(default))
        at = telling_steps(given, steps, size) if is_schedule(given) else np.zeros(1, int)
        some = at[np.unique(np.linspace(0, len(at) - 1, _STEPS_TRIED).astype(int))]
        groups[name] = np.reshape(values_at(given, steps, some), (len(some), size))
    count = max((len(rows) for rows in groups.values()), default=1)
    rows = [np.concatenate([g[min(k, len(g) - 1)] for g in groups.values()] or [np.zeros(0)]) for k in range(count)]
    return list({tuple(row): row for row in rows}.values())


def validate(text: str, constants: Values, settings: Any) -> list[str]:
    """No lower bound, an unstable step, a start where there is no energy."""
    x, thetas = settings.x, _thetas(text, constants, settings)
    if x is None:
        return []
    formula = compiled(text, constants)
    if wrong := _start_fault(formula, constants, thetas[0], x):
        return [wrong]
    if wrong := _equilibrium_fault(text, constants, thetas[0], x):
        return [wrong]
    mobility = x.mobility
    seen = [landscape(text, constants, theta, mobility) for theta in thetas]
    for theta, there in zip(thetas, seen):
        if there.falls is not None and not formula.section.get("unbounded", False):
            return [_fall(formula, theta, there)]
    return _step_faults(x, settings.run.steps, seen)


def _fall(formula: Compiled, theta: np.ndarray, there: Landscape) -> str:
    """An energy without a lower bound."""
    assert there.falls is not None
    axis, sign = divmod(there.falls, 2)
    seen = "" if there.growth[there.falls][1] else " (seen by numbers)"
    where = f"{'-+'[sign]}x{axis}{seen}{_named(formula, theta)}"
    return (
        f"model.formula.energy: falls without bound along {where}, so x has no equilibrium and runs away; add a term "
        f"that confines it, such as 0.1*x{axis}**4, or allow it by model.formula.unbounded = true."
    )


def _named(formula: Compiled, theta: np.ndarray) -> str:
    """Where theta is, of few parameters."""
    names = [name for name, value in formula.section["parameters"].items() if np.size(value) == 1]
    if not names or len(names) != len(theta):
        return ""
    return " at " + ", ".join(f"{name} = {number:.4g}" for name, number in zip(names, theta))


def _start_fault(formula: Compiled, constants: Values, theta: np.ndarray, x: Any) -> str:
    start = x.start
    if start.kind not in ("zero", "point") or start.other:
        return ""
    point = np.broadcast_to(np.asarray(start.mean if start.kind == "point" else 0.0, float), formula.components)
    at = _At(formula, constants, theta)
    node = first_without_value(formula.terms, at.given(point))
    if node is None:
        slope = at.slope(point[:, None])
        if np.isfinite(slope).all():
            return ""
        return f"x.initial = {x.initial!r}: the force has no finite value there; start elsewhere, x.initial = 1.0."
    why = {
        "/": "divides by zero",
        "log": "takes the logarithm of what is not positive",
        "sqrt": "takes a root of less than 0",
    }
    said = why.get(node.op, "has no finite value")
    return (
        f"x.initial = {x.initial!r}: model.formula.energy {said} there; start elsewhere, as at x.initial = 1.0, or "
        f"change the formula.\n{formula.text_at(node)}"
    )


def _equilibrium_fault(text: str, constants: Values, theta: np.ndarray, x: Any) -> str:
    """A start from a law that there is not."""
    formula = compiled(text, constants)
    if x.start.kind != "equilibrium" or formula.components > 2 or formula.drives:
        return ""
    temperature = x.temperature if isinstance(x.temperature, (int, float)) and x.temperature > 0.0 else 1.0
    try:
        law_at(text, constants, theta, temperature)
    except NoNormaliser as error:
        return (
            f"x.initial = 'equilibrium': {error}; confine x by the energy, or start elsewhere, as at x.initial = 1.0."
        )
    return ""


def _step_faults(x: Any, steps: int, seen: list[Landscape]) -> list[str]:
    """Euler's rule beyond 2/L."""
    h = x.time_step
    if not X_MOVES[x.dynamics].explicit or h is None:
        return []
    largest = float(values_at(h, steps, telling_steps(h, steps)).max()) if is_schedule(h) else float(np.max(h))
    stiffest = max((m for there in seen for m in there.minima), key=lambda m: m[2], default=None)
    if stiffest is None or largest * stiffest[2] < 2.0:
        return []
    place, limit = _point(stiffest[0]), f"2/{stiffest[2]:.4g} = {2.0 / stiffest[2]:.4g}"
    said = (
        f"x.time_step = {largest:g}: {x.dynamics} is unstable at the minimum x = {place}; it must stay below {limit}, "
        f"where {stiffest[2]:.4g} is the largest curvature there."
    )
    return [said]


def _point(x: np.ndarray) -> str:
    place = ", ".join(f"{number:.4g}" for number in np.where(np.abs(x) < 1e-7, 0.0, x)[:4])
    return f"({place}{', ...' if len(x) > 4 else ''})"


def proofs(text: str, constants: Values, settings: Any) -> list[tuple[str, str]]:
    """What a reader is told of the formula of a case before it runs: rows of a table."""
    formula = compiled(text, constants)
    if formula.is_loss:
        return []
    thetas = _thetas(text, constants, settings)
    seen = [landscape(text, constants, theta, settings.of_x.mobility) for theta in thetas]
    first = " (at the first values of the sweep)" if settings.sweep else ""
    rows = [("far out", "; ".join(dict.fromkeys(_growth_said(there) for there in seen)) + first)]
    for number, (theta, there) in enumerate(zip(thetas, seen)):
        when = f"{_named(formula, theta)[4:]}: " if len(seen) > 1 and _named(formula, theta) else ""
        rows.append(("minima" if number == 0 else "", when + _minima_said(there, formula.components)))
    curvature = max((m[2] for there in seen for m in there.minima), default=None)
    if curvature:
        rows.append(
            ("largest step", f"{2.0 / curvature:.4g} of ula, from the largest curvature at a minimum, {curvature:.4g}")
        )
    if formula.components <= 2 and not formula.drives and isinstance(settings.of_x.temperature, (int, float)):
        rows.append(("normaliser", _normaliser_said(text, constants, thetas, float(settings.of_x.temperature))))
    return rows


def _growth_said(there: Landscape) -> str:
    kinds = {what for what, _ in there.growth}
    proved = "proved from the formula" if all(proved for _, proved in there.growth) else "by numbers, not proved"
    if kinds == {RISES}:
        return f"bounded below along every axis, {proved}"
    parts = []
    for what in (FALLS, FLAT, UNDECIDED):
        where = [f"{'-+'[k % 2]}x{k // 2}" for k, (kind, _) in enumerate(there.growth) if kind == what]
        parts += [f"{what} along {', '.join(where[:6])}{' ...' if len(where) > 6 else ''}"] if where else []
    return f"{', '.join(parts)}, {proved}"


def _minima_said(there: Landscape, components: int) -> str:
    if components > _LARGEST:
        return f"not looked for, x has more than {_LARGEST} components"
    if not there.minima:
        return "none found"
    some = []
    for x, phi, curvature in there.minima[:4]:
        some.append(f"x = {_point(x)}, phi {0.0 if abs(phi) < 1e-12 else phi:.4g}, curvature {curvature:.4g}")
    more = f"; and {len(there.minima) - 4} more" if len(there.minima) > 4 else ""
    return "; ".join(some) + more


def _normaliser_said(text: str, constants: Values, thetas: list[np.ndarray], temperature: float) -> str:
    if temperature <= 0.0:
        return "none at temperature 0"
    try:
        values = [law_at(text, constants, theta, temperature).log_normaliser for theta in thetas]
    except NoNormaliser as error:
        return f"none: {error}"
    free = [-temperature * number for number in values]
    if len(free) == 1:
        return f"ln Z = {values[0]:.6g} by quadrature"
    return f"ln Z = {values[0]:.6g} at first, {values[-1]:.6g} at last by quadrature: dF = {free[-1] - free[0]:.6g}"
