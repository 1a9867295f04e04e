"""What of a case's numbers depends on the machine: parts of a fingerprint that are there only where they matter.

IEEE 754 fixes sums, products, quotients, square roots and fused multiply-adds to the last bit. Kernels are made of
these alone, and so is most of what numpy does before and after them. Free are `exp`, `sin`, powers and the like, of
which a library has code for every kind of processor, and sums of products, whose order goes with the registers. What a
case uses of them is known by how fixed numbers come out; what numpy makes of a case once, by what was made.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from thermosim.case.section import Section
from thermosim.case.settings import Settings
from thermosim.kernels.identity import combined, identity_of
from thermosim.plan.outline import Outline
from thermosim.schedules import is_exact, is_schedule

__all__ = ["FUNCTIONS", "SUMS", "machine_parts", "rounding_of_functions", "rounding_of_sums"]

# what a reader is told has changed
FUNCTIONS = "rounding of exp, sin and powers on this machine"
SUMS = "rounding of matrix products on this machine"
_ELEMENTARY: tuple[Callable[..., Any], ...] = (
    *(np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arctan),
    *(np.sinh, np.cosh, np.tanh, np.arcsinh, np.cbrt, lambda x: np.arcsin(x / 4.0), lambda x: np.arccos(x / 4.0)),
    *(lambda x: x**1.7, lambda x: 0.9 ** np.arange(x.size), lambda x: np.hypot(x, x[::-1])),
    *(lambda x: np.arctan2(x, x[::-1]), lambda x: np.interp(x, [0.0, 1.3, 4.0], [0.1, 0.7, 0.2])),
)
_PRODUCTS = {"dot", "vdot", "inner", "matmul", "tensordot", "einsum", "linalg"}
_POINTS = 10_000  # exp of one C library, with and without fused multiply-adds, differs at 7 of these
_OF_C = (math.exp, math.log, math.sin, math.cos, math.tan, math.sinh, math.tanh, math.erf, math.lgamma)


def machine_parts(blocks: Iterable[Outline]) -> dict[str, str]:
    """Of the blocks of a case: what its numbers depend on that another machine may do otherwise."""
    blocks = list(blocks)
    parts = {"numbers of the case": combined(identity_of(*_made_once(block)).digest for block in blocks)}
    varied = any(_made_for_lanes(block) or _made_of_frames(block) for block in blocks)
    # compiled functions of a user may call the C library's
    if varied or any(block.model_source or not all(map(is_exact, _schedules(block.settings))) for block in blocks):
        parts[FUNCTIONS] = rounding_of_functions()
    multiplied = any(_multiplies(block.model_source) for block in blocks)
    return parts | ({SUMS: rounding_of_sums()} if varied or multiplied else {})


@functools.cache
def _multiplies(source: str) -> bool:
    """Whether a user's model may multiply matrices: compiled or not, BLAS does it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {getattr(node, "attr", getattr(node, "id", getattr(node, "name", ""))) for node in nodes}
    return bool(names & _PRODUCTS) or any(isinstance(node, ast.MatMult) for node in nodes)


@functools.cache
def rounding_of_functions() -> str:
    """A digest of what elementary functions of numpy and of the C library make of some numbers."""
    x = np.arange(1, _POINTS + 1) * (4.0 / 1.01 / _POINTS)  # up to 4, by operations that are exact everywhere
    of_c = np.array([list(map(function, x.tolist())) for function in _OF_C])
    with np.errstate(all="ignore"):
        return identity_of([function(x) for function in _ELEMENTARY], of_c).digest


@functools.cache
def rounding_of_sums() -> str:
    """A digest of what sums of products, factors and eigenvalues of some matrices are in numpy."""
    large, vector = _matrix(40), _matrix(40)[3]
    found: list[Any] = [large @ large, large @ vector, vector @ vector, large.ravel() @ large.ravel()]
    found += [np.einsum("...i,i->...", large, vector), np.einsum("ij,jk,ik->i", large, large, large)]
    found += [large.sum(), large.sum(axis=0), large.var(axis=1), np.linalg.norm(large), np.linalg.norm(large, axis=0)]
    for n in (2, 3, 6):
        small = _matrix(n)
        positive = small @ small.T + np.eye(n)
        found += [np.stack([small] * 5) @ positive, np.linalg.solve(positive, small), np.linalg.inv(positive)]
        found += [np.linalg.cholesky(positive), *np.linalg.eigh(positive), *np.linalg.qr(small)]
        found += [*np.linalg.svd(small), *np.linalg.slogdet(small), np.linalg.eigvals(small)]
    return identity_of(found).digest


def _matrix(n: int) -> np.ndarray:
    """Numbers without a pattern between -1 and 1, (n, n), by operations that are exact everywhere."""
    return (np.arange(1, n * n + 1) ** 3 * 7919 % 10007).reshape(n, n) / 5003.5 - 1.0


def _made_once(block: Outline) -> Iterator[Any]:
    """Numbers of a case that are the same in every step and, along an axis of the sweep, in every lane."""
    cohort, timetable = block.cohort, block.cohort.timetable
    yield [axis.values for axis in block.axes]
    yield cohort.constants[:, :1], cohort.shared, cohort.theta_hyper[:, :1], cohort.x_hyper[:, :1], timetable.scales
    yield [value for value, _ in timetable.protocol if not is_schedule(value)]
    yield cohort.data if cohort.fresh else None if block.data is None else block.data.sha256
    if timetable.propagator is not None and not timetable.moving:
        yield timetable.tables(1, 1)


def _schedules(settings: Settings) -> Iterator[Any]:
    sections: tuple[Section | None, ...] = (settings.theta, settings.x)
    values = [value for section in sections for _, value in section or ()]
    yield from (value for value in (*values, *settings.theta.protocol.values()) if is_schedule(value))


def _made_for_lanes(block: Outline) -> bool:
    """Whether numpy makes a start, or a propagator of a moving protocol, by more than sums and products."""
    model, x, timetable = block.model, block.settings.x, block.cohort.timetable
    given = block.settings.theta.initial  # without one it is the first that the model names
    named = bool(model.initial_theta) and block.cohort.theta.learns and not isinstance(given, Mapping)
    equilibrium = x is not None and x.start.kind == "equilibrium" and model.equilibrium is not None
    return named or equilibrium or (timetable.propagator is not None and timetable.moving)


def _made_of_frames(block: Outline) -> bool:
    return any(name in block.model.observables for name in block.variables)
