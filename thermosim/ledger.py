"""Signs and units of the path functionals that moves book, and every variable an ensemble can hold. Stated once.

phi, work and heat are in the unit of energy that phi(x, theta) is written in, which is "energy" in `units`. Boltzmann's
constant is 1, so temperatures have this unit too; at temperature 1 it is kT, and at temperature T a work w is w/T kT. A
loss is a mean of phi, so an energy as well; where phi = -ln p it is a negative log-likelihood. Logarithms of
probabilities and their ratios, entropies and informations are in "nat": an energy adds to them only over T. Time is
that of x.time_step at mobility 1, x' = x - h grad phi + sqrt(2 h T) xi. theta, x, numbers and ratios are plain, "1";
what is true or false, a word or a code has no unit. `UNITS` are all there are.

Heat > 0 is absorbed by the subsystem that moved, work > 0 is done on it. With theta
frozen during a move of x and x frozen during a move of theta, the first law holds per replica, to rounding:

    phi(x_t, theta_t) - phi(x_0, theta_0) = work + heat

    work          sum of phi(x, theta') - phi(x, theta) over moves of theta  [Parsi 2024, Eq. 42], plus, for a force
                  that is no gradient, sum of (f(x) + f(x')).(x' - x)/2 over moves of x
    heat          sum of phi(x', theta) - phi(x, theta) over moves of x, less the work of that force
    log_ratio_x   sum of ln p(x'|x) - ln p(x|x') of the transition density the move really used; for a move that
                  obeys detailed balance at temperature T it is -heat/T, for any other it differs by the shadow term

    log_ratio_theta  the same for a move of theta that has a density, at the minibatch it used:
                  sum of ln p(theta'|theta, b) - ln p(theta|theta', b)

A Gibbs sweep is a product of site moves, each in detailed balance; its reverse is the sweep in reverse order, and its
log ratio -heat, for it samples exp(-phi), at T = 1. All are running sums since step 0. S. S. Parsi, "Stochastic
thermodynamics of learning parametric probabilistic models", Entropy 26, 112 (2024).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thermosim.network import Measure

__all__ = [
    "BOOK_ARGUMENTS",
    "EXPLODED",
    "FUNCTIONALS",
    "SETTINGS",
    "UNITS",
    "VARIABLES",
    "Book",
    "Functional",
    "Variable",
    "functionals_of",
    "row_names",
    "rows_booked",
    "told_temperature",
    "variables_of",
]

EXPLODED = 1e75  # a state beyond it, an energy or sum beyond its square, counts as not finite: see `run.guard`
# every unit of a variable or a result, and by which power of c it grows where phi and temperatures grow by c, and time
# and learning rates by 1/c, along the same path of theta and x
UNITS: dict[str, int] = {
    "1": 0,
    "nat": 0,
    "nat^2": 0,
    "energy": 1,
    "energy^2": 2,
    "energy^4": 4,
    "time": -1,
    "nat/time": 1,
    "energy/time": 2,
    "1/energy": -1,
}
# of the numbers of a case that have another unit than "1"
SETTINGS: dict[str, str] = {
    "x.temperature": "energy",
    "theta.temperature": "energy",
    "theta.weight_decay": "energy",
    "x.time_step": "time",
    "theta.learning_rate": "1/energy",
}
# book(theta, before, loss, gradient, constants, shared, total), compiled with the step loop: theta (m, L) after a move
# and before it, loss (L) and gradient (m, L) of the minibatch at theta before, weight decay left out, constants (C, L)
# and shared (K,) of the model; it adds to total (L), or (N, L) of a functional with N numbers. Where theta does not
# learn, loss and gradient are 0.
Book = Callable[..., None]
BOOK_ARGUMENTS = ("theta", "before", "loss", "gradient", "constants", "shared", "total")


@dataclass(frozen=True)
class Functional:
    """A running sum along the path of theta or x: one row of the ledger, in the order of the table.

    A row is booked where a recorded variable needs it and the move books it; any other costs nothing. Kernels find it
    by its name in capitals, bound to its row, or to -1 where it is not booked. One with a `book` of its own is booked
    along any path of theta; a model may bring such functionals (`Model.functionals`).
    """

    name: str
    of: str  # "theta" or "x"
    units: str
    long_name: str
    equation: str
    book: Book | None = None  # adds to the sum after a move of theta that does not book it itself; None: moves do
    dim: str = ""  # of a functional with several numbers their dimension, of its own
    size: Callable[[Mapping[str, Any]], int] | None = None  # how many, from the constants of the model; None: one
    of_networks: bool = False  # booked by the engine of networks, and by no other


@dataclass(frozen=True)
class Variable:
    """`source` is the array of the engine that it is taken from, `terms` the functionals that are added to make it."""

    source: str  # theta, x, phi, theta_path or x_path
    terms: tuple[str, ...]
    dims: tuple[str, ...]  # after step, the sweep axes and replica
    units: str
    long_name: str
    equation: str

    @property
    def attributes(self) -> dict[str, str]:
        """What is stored with the variable."""
        return {"units": self.units, "long_name": self.long_name, "equation": self.equation}


def _displacement_square(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    for i in range(theta.shape[0]):
        for lane in range(theta.shape[1]):
            step = theta[i, lane] - before[i, lane]
            total[lane] += step * step


_BOOKED = (
    Functional(
        "work",
        "x",
        "energy",
        "work done on x since step 0",
        "sum phi(x, theta') - phi(x, theta) + work of a drive",
    ),
    Functional(
        "heat",
        "x",
        "energy",
        "heat absorbed by x since step 0",
        "sum phi(x', theta) - phi(x, theta) - work of a drive",
    ),
    Functional("log_ratio_x", "x", "nat", "log path ratio of x since step 0", "sum ln p(x'|x) - ln p(x|x')"),
    Functional("accepted", "x", "1", "proposals of x accepted since step 0", "sum 1"),
    Functional("loss_sum", "theta", "energy", "sum of the loss over steps", "sum_t L(theta_t)"),
    Functional(
        "gradient_square",
        "theta",
        "energy^2",
        "sum over steps of the squared gradient norm",
        "sum_t |g|^2, of constrained w |w|^2 |g|^2",
    ),
    Functional("stretch", "theta", "1", "sum over steps of the relative step off the sphere", "sum_t |v|/r - 1"),
    Functional(
        "log_ratio_theta",
        "theta",
        "nat",
        "log path ratio of theta since step 0",
        "sum ln p(theta'|theta, b) - ln p(theta|theta', b)",
    ),
    Functional(
        "minibatch_loss",
        "theta",
        "energy",
        "loss of the last minibatch, before its step",
        "L_b(theta_{t-1})",
    ),
    Functional("accepted_theta", "theta", "1", "proposals of theta accepted since step 0", "sum 1"),
    Functional(
        "displacement_square",
        "theta",
        "1",
        "sum over steps of the squared displacement of theta",
        "sum |theta' - theta|^2",
        book=_displacement_square,
    ),
)
FUNCTIONALS: dict[str, Functional] = {functional.name: functional for functional in _BOOKED}


def _of(functional: Functional | Measure) -> Variable:
    if isinstance(functional, Measure):
        names = functional.units, functional.long_name, functional.equation
        return Variable(functional.name, (), (functional.dim,) if functional.dim else (), *names)
    dims = ("sample",) if functional.of == "x" else (functional.dim,) if functional.dim else ()
    names = functional.units, functional.long_name, functional.equation
    return Variable(f"{functional.of}_path", (functional.name,), dims, *names)


VARIABLES: dict[str, Variable] = {
    "theta": Variable("theta", (), ("theta_dim",), "1", "parameters", "theta_t"),
    "x": Variable("x", (), ("sample", "x_dim"), "1", "samples", "x_t"),
    "phi": Variable("phi", (), ("sample",), "energy", "surprisal", "phi_theta(x)"),
    **{name: _of(functional) for name, functional in FUNCTIONALS.items()},
    "entropy_production": Variable(
        "x_path",
        ("log_ratio_x", "work", "heat"),
        ("sample",),
        "nat",
        "stochastic entropy production of x given theta since step 0",
        "sum ln p(x'|x)/p(x|x') + phi_t(x_t) - phi_0(x_0)",
    ),
    "shadow": Variable(
        "x_path",
        ("log_ratio_x", "heat"),
        ("sample",),
        "nat",
        "shadow term of x since step 0: error of the finite time step",
        "sum ln p(x'|x)/p(x|x') + heat",
    ),
}


@functools.cache
def functionals_of(own: tuple[Functional, ...]) -> dict[str, Functional]:
    """The table, and a model's own."""
    return FUNCTIONALS | {functional.name: functional for functional in own}


@functools.cache
def variables_of(own: tuple[Functional | Measure, ...]) -> dict[str, Variable]:
    """Every variable that an ensemble of a model with functionals and measures of its `own` can hold.

    But for its observables."""
    return VARIABLES | {functional.name: _of(functional) for functional in own}


def told_temperature(given: float | Sequence[float] | Mapping[str, Any], swept: bool) -> float | str:
    """What an ensemble says of x.temperature: a number where there is one; of components as text, "[1.0, 2.0]".

    "schedule" where it changes along the run, "swept" where it is an axis: the numbers are in the settings.
    """
    if swept or isinstance(given, Mapping):
        return "swept" if swept else "schedule"
    if isinstance(given, Sequence):
        return float(given[0]) if len(set(given)) == 1 else str([float(value) for value in given])
    return float(given)


def rows_booked(
    of: str,
    books: Collection[str],
    recorded: Collection[str],
    own: tuple[Functional, ...] = (),
    constants: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """The rows of the ledger of theta or x, in order: what a move books, or is booked anyway, and a variable needs.

    A functional with several numbers is named once for each of its rows. `constants` are those of the model.
    """
    variables = variables_of(own)
    needed = {term for name in recorded if name in variables for term in variables[name].terms}
    return tuple(
        name
        for name, functional in functionals_of(own).items()
        if functional.of == of and name in needed
        if name in books or functional.book is not None or functional.of_networks
        for _ in range(1 if functional.size is None else functional.size(constants or {}))
    )


def row_names(of: str, rows: Sequence[str]) -> dict[str, int]:
    """The bound names of the functionals that moves of theta or x book: each its row among these, or -1."""
    return {
        name.upper(): rows.index(name) if name in rows else -1
        for name, functional in FUNCTIONALS.items()
        if functional.of == of
    }
