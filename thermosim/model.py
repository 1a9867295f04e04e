"""What a model is: a declaration of its constants and parameters, and the functions it has.

A model is one file with one `Model`. Functions that run inside kernels are plain Python on plain arrays; the names
they use for their own constants are bound when they are compiled: a constant `depth` is `constants[DEPTH, lane]`, an
array constant `direction` starts at `shared[DIRECTION]`, a group of parameters `center` starts at row `CENTER` of
theta, and COMPONENTS, PARAMETERS and DERIVED are the lengths n of x, m of theta and D of what is derived from it.

docs/models.md has examples, and what each field enables.

Energies come in two forms. A model with few components writes them for one lane (`energy`, `force`), which is inlined
into the moves. Any other writes them for a tile (`surprisal_and_force`, or `surprisal` where x is discrete); what
depends on theta alone is then computed once a step by `prepare` into the rows of `derived`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thermosim.ledger import Functional
from thermosim.network import Measure, Network, Perceptron

__all__ = ["Constant", "Derived", "Model", "Observable", "Parameter", "Symmetry"]

Values = Mapping[str, Any]

OF_FORMULA = '{"formula":'  # how the text of a model by formula begins; a user's file is Python


@dataclass(frozen=True)
class Constant:
    """One constant of a model: a key of the case's [model] section.

    A scalar real constant may be swept without cost; an integer, a choice or an array makes a sweep run its values in
    turn. A kernel finds a choice as the number of its place among `choices`, from 0.
    """

    name: str
    default: Any  # None: the case must give it; a function of the constants before it: computed
    meaning: str
    minimum: float | None = None
    exclusive: bool = False  # the minimum itself is refused
    maximum: float | None = None
    integer: bool = False
    shape: Callable[[Values], tuple[int | None, ...]] | None = None  # of an array, from the constants before; None: any
    empty: bool = False  # an array may have no numbers
    choices: tuple[str, ...] = ()  # the words that a case may give

    @property
    def is_array(self) -> bool:
        """Whether the constant is a vector or a matrix."""
        return self.shape is not None

    def number(self, value: Any) -> Any:
        """The value as a kernel has it: the place of a choice, or the value itself."""
        return self.choices.index(value) if self.choices else value


@dataclass(frozen=True)
class Parameter:
    """A named group of consecutive components of theta, which a protocol may prescribe."""

    name: str
    meaning: str
    shape: Callable[[Values], tuple[int, ...]]
    default: Callable[[Values], np.ndarray]
    spread: float = 0.0  # standard deviation over replicas of a random start about the default
    logarithm: bool = False  # of what it stands for: so it explodes at the logarithm of what others explode at


@dataclass(frozen=True)
class Derived:
    """A named group of consecutive rows of what `prepare` computes from theta."""

    name: str
    shape: Callable[[Values], tuple[int, ...]]


@dataclass(frozen=True)
class Observable:
    """A function of recorded frames: theta (frames, ..., m) or x (frames, ..., n) to one number per frame."""

    of: str  # "theta" or "x"
    function: Callable[[np.ndarray, Values], np.ndarray]
    units: str
    long_name: str
    equation: str


@dataclass(frozen=True)
class Symmetry:
    """A continuous symmetry of a loss: of every data row it stays the same along theta -> exp(s A) theta.

    generators(constants): G matrices A at once, as diagonals (G, m), also sparse ones of scipy, or whole (G, m, m); of
    a translation, theta -> theta + s z, directions z (G, m). No rows where the constants do not have the symmetry. SGD
    changes their charges theta'A theta/2 by r^2 g'A g/2 in every step, and keeps z.theta (`exact.symmetry_charges`).
    books: functionals whose sums over steps make those of g'A g, (..., G), as between(*sums), each sum (...) with its
    own dimension last; weights: those that make theta'A theta before each step alike, which weight decay needs where
    frames are not of neighbouring steps. Without books nothing is told but from frames of neighbouring steps.
    """

    name: str
    meaning: str  # whose charge, as in "a charge between layers"
    generators: Callable[[Values], Any]
    translation: bool = False
    books: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    between: Callable[..., np.ndarray] = lambda sums: sums[..., None]


@dataclass(frozen=True)
class Model:
    """A model. L is the number of lanes; functions that are missing are None and narrow what a case may ask for.

    energy(x, theta, constants, shared, lane) -> float: phi of one lane, in the unit of energy of the model.
    force(i, x, theta, constants, shared, lane) -> float: -d phi / d x_i.
    drive(i, x, theta, constants, shared, lane) -> float: the part of the force that is no gradient.
    stochastic_gradient(theta, normal, constants, shared, loss, gradient, work): writes loss (L) and gradient (m, L);
        work (4, L) is scratch.
    equilibrium(theta (m, R), constants, temperature (n, R), normal (n, R)) -> x (n, R): samples of exp(-phi/T).
    propagator(theta (S, m), constants, time_step, temperature) -> (mean (S, n, n), noise (S, n, n), center (S, n)): the
        exact transition x' = center + mean (x - center) + noise xi of the Langevin equation over one time step.
    initial_theta: named starts; each (constants, hyper, normal (m + 1, R), uniform (R)) -> theta (m, R).
    check(ds) -> list of `thermosim.analysis.Comparison`; plot(ds) -> matplotlib Figure. Both are for users' files, and
        take an ensemble in memory, `check` without replicas that diverged. What is compared and drawn of the models
        here, and of every model that learns, stands in the tables `checks.table.CHECKS` and `plots.picture.PICTURES`.

    Functions of a tile, scratch (K, L) being work rows whose contents are undefined between calls. Where there is no
    `prepare`, `derived` is theta itself.

    bound(constants) -> more names that its functions use, of numbers and of functions made for these constants.

    prepare(theta (m, L), constants, shared, derived (D, L), scratch): once after every move of theta.
    surprisal(x (n, L), derived, constants, shared, phi (L), scratch): writes phi.
    surprisal_and_force(x, derived, constants, shared, phi, force (n, L), scratch): writes phi and -d phi/dx.
    parameter_gradient(x, derived, constants, shared, factor, loss (L), gradient (m, L), scratch): adds factor phi to
        loss and factor d phi/d theta to gradient, the normaliser's part included where phi has it.
    gradient_of_rows(R) -> the same function of R rows at a time, x (R n, L) one row after another; with R times the
        scratch, and with the bits of R calls of `parameter_gradient`.
    fresh(x, derived, constants, shared, normal, uniform, scratch): writes an exact sample of exp(-phi).
    resample(x, x_new, derived, constants, shared, uniform, scratch): one Gibbs sweep from x to x_new; where the bound
        BACKWARD is set, in the reverse order of components.

    A model that has a `parameter_gradient` and no energy is a loss of theta and a data row; it has no x. Its rows are
    `inputs(constants)` numbers and then `targets(constants)`; where `classes(constants)` is given and more than 0, the
    one target is a class, 0 to classes - 1. `parameter_gradient(row, derived, constants, shared, factor, loss,
    gradient, scratch)` adds factor l to loss and factor dl/dtheta to gradient.

    `tokens` is given where rows are sequences of whole numbers, as of texts.

    network(constants) -> `network.Network`, functions in JAX, for the engine of networks; it may be all that a model
    has beside `inputs`, `targets`, `classes`, `parameters` and `initial_theta`. With an exact law of its inputs such a
    model is `normalised`, its `support` lists them, and `fresh` is a function in JAX too: fresh(parameters by name,
    constants, normal (K, `fresh_normals`), uniform (K, `fresh_uniforms`)) -> exact samples (K, n).

    scales(constants) -> names of parameter groups that share a scale which the loss of a minibatch does not notice,
        every group once: what theta.constraint needs of a network.

    In plain numpy, for exact references:

    support(constants) -> (points (P, n), log_weights (P)) with sum_p exp(log_weights) f(points) the integral or sum of
        f over all x, or None where there is no such rule.
    cross_entropy(theta_a (..., m), theta_b (..., m), constants) -> <phi_b> in exp(-phi_a), (...).
    log_normaliser(theta (..., m), constants) -> (ln Z (...), its standard error (...)) of an energy without it.
    layers(theta (..., m), constants) -> matrices (..., b, a) of the layers of a network.
    activations(theta (..., m), constants, inputs (P, n)) -> hidden layers by name, each (..., P, units), of a network.
    outputs(theta (..., m), constants, inputs (P, n)) -> (..., P, k), predictions of the targets; of a loss of classes
        one for each, larger where the loss of the row with that class is less.
    """

    name: str
    summary: str
    source: str
    constants: tuple[Constant, ...] = ()
    components: Callable[[Values], int] = lambda constants: 0
    inputs: Callable[[Values], int] | None = None  # of a row of a loss; None: rows are like x
    targets: Callable[[Values], int] = lambda constants: 0
    classes: Callable[[Values], int] | None = None  # the target is a class; None or 0: targets are real numbers
    tokens: Callable[[Values], int] | None = None  # numbers of a row are tokens, whole, from 0 to so many less one
    parameters: tuple[Parameter, ...] = ()
    energy: Callable[..., float] | None = None
    force: Callable[..., float] | None = None
    drive: Callable[..., float] | None = None
    stochastic_gradient: Callable[..., None] | None = None
    scale_invariant: bool = False
    derived: tuple[Derived, ...] = ()
    prepare: Callable[..., None] | None = None
    scratch_rows: Callable[[Values], int] = lambda constants: 0
    bound: Callable[[Values], Mapping[str, Any]] = lambda constants: {}
    normalised: bool = False  # phi = -ln p_theta(x), normaliser included
    discrete: bool = False  # x takes finitely many values
    levels: tuple[float, float] = (0.0, 1.0)  # the two values of a component of discrete x
    surprisal: Callable[..., None] | None = None
    surprisal_and_force: Callable[..., None] | None = None
    parameter_gradient: Callable[..., None] | None = None
    gradient_of_rows: Callable[[int], Callable[..., None]] | None = None  # for several rows at a time
    rows_share: Callable[[Values], bool] = lambda constants: True  # whether several rows at a time are faster
    potential: bool = True  # steps descend one loss; False: a game, see `no_potential`
    fresh: Callable[..., None] | None = None
    fresh_normals: Callable[[Values], int] = lambda constants: 0  # rows of noise that `fresh` takes
    fresh_uniforms: Callable[[Values], int] = lambda constants: 0
    resample: Callable[..., None] | None = None
    resample_uniforms: Callable[[Values], int] = lambda constants: 0
    support: Callable[[Values], tuple[np.ndarray, np.ndarray] | None] = lambda constants: None
    cross_entropy: Callable[..., np.ndarray] | None = None
    log_normaliser: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    layers: Callable[..., list[np.ndarray]] | None = None
    activations: Callable[..., dict[str, np.ndarray]] | None = None
    outputs: Callable[..., np.ndarray] | None = None
    equilibrium: Callable[..., np.ndarray] | None = None
    propagator: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
    initial_theta: Mapping[str, Callable[..., np.ndarray]] = field(default_factory=dict)
    validate: Callable[[Values, Any], list[str]] | None = None  # of the constants and the settings of a case
    validate_rows: Callable[[Values, np.ndarray], str] | None = None  # what is wrong with rows of data (N, n), or ""
    observables: Mapping[str, Observable] = field(default_factory=dict)
    functionals: tuple[Functional, ...] = ()  # sums along the path of theta, each with its `book`
    network: Callable[[Values], Network] | None = None  # for the engine of networks
    measures: tuple[Measure, ...] = ()  # what that engine computes at frames
    perceptron: Callable[[Values], Perceptron] | None = None  # for the engine of dense layers
    symmetries: tuple[Symmetry, ...] = ()  # of the loss
    scales: Callable[[Values], tuple[tuple[str, ...], ...]] | None = None  # of a network, see above
    formula: str = ""  # the text of the formula that it is made of, where it is
    check: Callable[..., list[Any]] | None = None
    plot: Callable[..., Any] | None = None

    def names(self, constants: Values) -> dict[str, Any]:
        """What the bound names of its functions mean: rows of constants, theta and derived, offsets, lengths.

        And what else `bound` gives, functions among them.
        """
        names, row, offset, first, place = dict[str, Any](), 0, 0, 0, 0
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
        for rows in self.derived:
            names[rows.name.upper()] = place
            place += math.prod(rows.shape(constants))
        names |= {"COMPONENTS": self.components(constants), "PARAMETERS": first, "DERIVED": place}
        return names | dict(self.bound(constants))

    def groups(self, constants: Values) -> list[Parameter]:
        """The parameters that there are at these constants: groups of no number are none."""
        return [group for group in self.parameters if math.prod(group.shape(constants))]

    def packed(self, constants: Values) -> tuple[np.ndarray, np.ndarray]:
        """Scalar constants (C,), and all array constants one after another (K,): what the model's functions read."""
        scalars = [c.number(constants[c.name]) for c in self.constants if not c.is_array]
        arrays = [np.ravel(constants[c.name]) for c in self.constants if c.is_array]
        return np.array(scalars, float), np.concatenate([*arrays, np.zeros(0)]).astype(float)

    def row_length(self, constants: Values) -> int:
        """Numbers in a row of data: the components of x, or inputs and targets of a loss."""
        return self.components(constants) if self.inputs is None else self.inputs(constants) + self.targets(constants)

    @property
    def is_loss(self) -> bool:
        """Whether this is a loss of theta and a data row, without an x."""
        return self.learns and not self.has_samples

    @property
    def no_potential(self) -> str:
        """Why nothing is told of it that presumes a potential which theta descends; empty where there is one."""
        if self.potential:
            return ""
        return (
            f"model {self.name!r} is a game of players that descend a loss each: the Jacobian of its steps is not "
            "symmetric, so they have no potential"
        )

    @property
    def has_samples(self) -> bool:
        """Whether there is an x: an energy in one of the forms."""
        return any(f is not None for f in (self.energy, self.surprisal, self.surprisal_and_force))

    @property
    def learns(self) -> bool:
        """Whether theta can be trained on data."""
        return self.parameter_gradient is not None or self.network is not None

    @property
    def has_kernels(self) -> bool:
        """Whether lanes can run it: all models but networks that are nothing else."""
        return self.network is None or self.parameter_gradient is not None

    @property
    def rows(self) -> tuple[Functional | Measure, ...]:
        """What it has of its own that can be recorded, beside observables."""
        return (*self.functionals, *self.measures)
