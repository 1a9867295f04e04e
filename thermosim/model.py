"""What a model is: a declaration of its constants and parameters, and the functions it has.

A model is one file with one `Model`. Functions that run inside kernels are plain Python on plain arrays; the names
they use for their own constants are bound when they are compiled: a constant `depth` is `constants[DEPTH, lane]`, an
array constant `direction` starts at `shared[DIRECTION]`, a group of parameters `center` starts at row `CENTER` of
theta, and COMPONENTS and PARAMETERS are the lengths n of x and m of theta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Constant", "Model", "Observable", "Parameter"]

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Constant:
    """One constant of a model: a key of the case's [model] section.

    A scalar real constant may be swept without cost; an integer or an array makes a sweep run its values in turn.
    """

    name: str
    default: Any  # None: the case must give it; a function of the constants before it: computed
    meaning: str
    minimum: float | None = None
    exclusive: bool = False  # the minimum itself is refused
    maximum: float | None = None
    integer: bool = False
    shape: Callable[[Values], tuple[int, ...]] | None = None  # of an array constant, from the constants before it

    @property
    def is_array(self) -> bool:
        """Whether the constant is a vector or a matrix."""
        return self.shape is not None


@dataclass(frozen=True)
class Parameter:
    """A named group of consecutive components of theta, which a protocol may prescribe."""

    name: str
    meaning: str
    shape: Callable[[Values], tuple[int, ...]]
    default: Callable[[Values], np.ndarray]


@dataclass(frozen=True)
class Observable:
    """A function of recorded frames: theta (frames, ..., m) or x (frames, ..., n) to one number per frame."""

    of: str  # "theta" or "x"
    function: Callable[[np.ndarray, Values], np.ndarray]
    units: str
    long_name: str
    equation: str


@dataclass(frozen=True)
class Model:
    """A model. L is the number of lanes; functions that are missing are None and narrow what a case may ask for.

    energy(x, theta, constants, shared, lane) -> float: the surprisal phi of one lane, units kT.
    force(i, x, theta, constants, shared, lane) -> float: -d phi / d x_i.
    drive(i, x, theta, constants, shared, lane) -> float: the part of the force that is no gradient.
    stochastic_gradient(theta, normal, constants, shared, loss, gradient, work): writes loss (L) and gradient (m, L);
        work (4, L) is scratch.
    equilibrium(theta (m, R), constants, temperature (n, R), normal (n, R)) -> x (n, R): samples of exp(-phi/T).
    propagator(theta (m,), constants, time_step, temperature) -> (mean (n, n), noise (n, n), center (n,)): the exact
        transition x' = center + mean (x - center) + noise xi of the Langevin equation over one time step.
    initial_theta: named starts; each (constants, hyper, normal (m + 1, R), uniform (R)) -> theta (m, R).
    check(ds) -> comparisons with exact results; plot(ds) -> figure.
    """

    name: str
    summary: str
    source: str
    constants: tuple[Constant, ...] = ()
    components: Callable[[Values], int] = lambda constants: 0
    parameters: tuple[Parameter, ...] = ()
    energy: Callable[..., float] | None = None
    force: Callable[..., float] | None = None
    drive: Callable[..., float] | None = None
    stochastic_gradient: Callable[..., None] | None = None
    scale_invariant: bool = False
    equilibrium: Callable[..., np.ndarray] | None = None
    propagator: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
    initial_theta: Mapping[str, Callable[..., np.ndarray]] = field(default_factory=dict)
    validate: Callable[[Values, Values], list[str]] | None = None
    observables: Mapping[str, Observable] = field(default_factory=dict)
    check: Callable[..., list[Any]] | None = None
    plot: Callable[..., Any] | None = None

    def names(self, constants: Values) -> dict[str, int]:
        """What the bound names in this model's functions mean: rows of constants and theta, offsets in shared, n, m."""
        names, row, offset, first = {}, 0, 0, 0
        for constant in self.constants:
            if constant.is_array:
                names[constant.name.upper()] = offset
                offset += int(np.size(constants[constant.name]))
            else:
                names[constant.name.upper()] = row
                row += 1
        for group in self.parameters:
            names[group.name.upper()] = first
            first += math.prod(group.shape(constants))
        return names | {"COMPONENTS": self.components(constants), "PARAMETERS": first}
