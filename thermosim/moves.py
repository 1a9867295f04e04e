"""The moves of theta and x: each declared once, with its source, what it takes, and what is true of it.

The rules of a case, the plan, the engines' work space, the conditions of theorems and the analysis derive from this
table. A new move is one entry here and one kernel of an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from thermosim.model import Model, Values

__all__ = [
    "CONSTRAINED",
    "NO_SAMPLES",
    "THETA_MOVES",
    "X_MOVES",
    "Move",
    "Need",
    "hyper_parameters",
    "moves_with",
    "possible_moves",
]

Rows = Callable[[Model, Values, int], int]  # of the model, its constants, and the length m of theta or n of x


@dataclass(frozen=True)
class Need:
    """What a move cannot do without. `otherwise` says what a model lacks: "model 'a' <otherwise>"."""

    met: Callable[[Model], bool]
    otherwise: str


@dataclass(frozen=True)
class Move:
    """One update of theta at fixed x, or of x at fixed theta.

    Beliefs of theorems and analysis, all False unless stated: `density`, `invariant`, `fresh`, `descent`. A move that
    does not claim a property is never taken to have it.
    """

    name: str
    of: str  # "theta" or "x"
    summary: str
    source: str
    needs: tuple[Need, ...] = ()
    hyper: tuple[str, ...] = ()  # keys of its section that are numbers of every lane, in the order of the kernel's rows
    memory: Callable[[int, Collection[str]], int] = lambda size, used: 0  # rows kept between steps, from m and the
    # hyper-parameters that are not zero everywhere
    stages: Callable[[int], int] = lambda size: 0  # rows of work space that it takes, from m
    normals: Rows = lambda model, constants, size: 0  # of one move
    uniforms: Rows = lambda model, constants, size: 0
    books: tuple[str, ...] = ()  # path functionals, see `ledger.FUNCTIONALS`
    rests: bool = False  # theta does not move
    prescribed: bool = False  # theta follows a protocol
    learns: bool = False  # theta moves by the loss of data
    whole_data: bool = False  # the loss is that of all rows: theta.batch = "all"
    judges: bool = False  # accepts by the loss itself, which must be a function of theta alone
    two_gradients: bool = False  # the gradient at theta' too, where the ratio of the density is booked
    descent: bool = False  # theta' is linear in theta, the velocity and the gradient: -r (g + lambda theta), and noise
    on_sphere: bool = False  # has a form for scale-invariant parameters, see CONSTRAINED
    retraces: bool = False  # undone by the same minibatches at the opposite learning rate, to leading order
    moments: bool = False  # the step is r m/(sqrt(v) + epsilon), m and v of g and g^2 by beta1 and beta2, without bias
    rates_by_group: bool = False  # every parameter group may have a learning rate of its own
    preconditioned: bool = False  # may have a symmetric matrix Lambda of learning rates: -r Lambda (g + lambda theta)
    density: bool = False  # has a transition density, whose log ratio is booked
    invariant: bool = (
        False  # leaves exp(-phi/T) of the frozen theta invariant at any time step; its reverse is the same
    )
    # move, or a sweep in the reverse order
    fresh: bool = False  # x' does not depend on x
    explicit: bool = False  # of x: an explicit Euler step, unstable where h is too large for the force
    temperatures: bool = False  # of x: every component may have its own
    mobilities: bool = False  # of x: every component may have its own
    steady: bool = False  # of x: one theta for all replicas, hyper-parameters constant and the same in every lane

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of its section that are its own: those of every lane, and the mobility, which multiplies a time step."""
        return (*self.hyper, "mobility") if "time_step" in self.hyper else self.hyper

    @property
    def at_several_rates(self) -> Move:
        """The same where parameters have learning rates of their own: theorems of one rate are not claimed."""
        return replace(self, descent=False, retraces=False)

    def lacks(self, model: Model) -> str | None:
        """Why a model cannot make this move, or None."""
        return next((need.otherwise for need in self.needs if not need.met(model)), None)


def _each(model: Model, constants: Values, size: int) -> int:
    return size


_FORCE = Need(
    lambda m: m.surprisal_and_force is not None or (m.energy is not None and m.force is not None),
    "has no force, its x is discrete",
)
_CONTINUOUS = Need(lambda m: m.has_samples and not m.discrete, "has no continuous x")
_NO_DRIVE = Need(lambda m: m.drive is None, "has a drive, so no acceptance rule keeps a known law")
_CONDITIONALS = Need(lambda m: m.resample is not None, "has no conditional law to draw its components from")
_SAMPLER = Need(lambda m: m.fresh is not None, "has no exact sampler")
_PROPAGATOR = Need(lambda m: m.propagator is not None, "has no exact propagator")
_GRADIENT = Need(lambda m: m.learns or m.stochastic_gradient is not None, "has no gradient to learn by")
_LOSS_OF_DATA = Need(
    lambda m: m.learns and (m.normalised or m.is_loss) and m.stochastic_gradient is None,
    "has no loss of data that a proposal could be judged by",
)
_NO_NOISE = Need(
    lambda m: m.stochastic_gradient is None, "draws its gradient noise itself, which is no thermal noise besides"
)
_PARAMETERS = Need(lambda m: bool(m.parameters), "has no parameters to prescribe")

_RATE = ("learning_rate", "weight_decay")
_BOOKS = ("loss_sum", "gradient_square", "minibatch_loss")
_ADAM = "D. P. Kingma, J. Ba, ICLR 2015, Algorithm 1"

_THETA = (
    Move("frozen", "theta", "theta rests", "no move", rests=True),
    Move("protocol", "theta", "theta' = a prescribed value", "a protocol", needs=(_PARAMETERS,), prescribed=True),
    Move(
        "sgd",
        "theta",
        "v' = beta v - r (g + lambda theta), theta' = theta + v'",
        "S. S. Parsi, Entropy 26, 112 (2024), Alg. 1; B. T. Polyak, USSR Comput. Math. Math. Phys. 4, 1 (1964)",
        needs=(_GRADIENT,),
        hyper=(*_RATE, "momentum"),
        memory=lambda size, used: size if "momentum" in used else 0,
        books=(*_BOOKS, "displacement_square"),
        learns=True,
        descent=True,
        on_sphere=True,
        retraces=True,
        rates_by_group=True,
        preconditioned=True,
    ),
    Move(
        "nesterov",
        "theta",
        "v' = beta v - r (g + lambda theta), theta' = theta + beta v' - r (g + lambda theta)",
        "Y. Nesterov, Sov. Math. Dokl. 27, 372 (1983); I. Sutskever et al., ICML 2013, theta at the point looked ahead",
        needs=(_GRADIENT,),
        hyper=(*_RATE, "momentum"),
        memory=lambda size, used: size,
        books=_BOOKS,
        learns=True,
        rates_by_group=True,
        preconditioned=True,
    ),
    Move(
        "adam",
        "theta",
        "theta' = theta - r m'/(sqrt(v') + epsilon), moments of g + lambda theta, their bias taken out",
        _ADAM,
        needs=(_GRADIENT,),
        hyper=(*_RATE, "beta1", "beta2", "epsilon"),
        memory=lambda size, used: 2 * size + 2,
        books=_BOOKS,
        learns=True,
        moments=True,
        rates_by_group=True,
    ),
    Move(
        "adamw",
        "theta",
        "theta' = theta - r (m'/(sqrt(v') + epsilon) + lambda theta), moments of g, their bias taken out",
        f"I. Loshchilov, F. Hutter, ICLR 2019, Algorithm 2, whose lambda is r lambda here; {_ADAM}",
        needs=(_GRADIENT,),
        hyper=(*_RATE, "beta1", "beta2", "epsilon"),
        memory=lambda size, used: 2 * size + 2,
        books=_BOOKS,
        learns=True,
        moments=True,
        rates_by_group=True,
    ),
    Move(
        "sgld",
        "theta",
        "theta' = theta - r (g + lambda theta) + sqrt(2 r T) xi",
        "M. Welling, Y. W. Teh, ICML 2011",
        needs=(_GRADIENT, _NO_NOISE),
        hyper=(*_RATE, "temperature"),
        normals=_each,
        books=(*_BOOKS, "log_ratio_theta"),
        learns=True,
        two_gradients=True,
        descent=True,
        density=True,
    ),
    Move(
        "langevin",
        "theta",
        "sgld on all data at once",
        "S. S. Parsi, Entropy 26, 112 (2024), Eq. 19",
        needs=(_GRADIENT, _NO_NOISE),
        hyper=(*_RATE, "temperature"),
        normals=_each,
        books=(*_BOOKS, "log_ratio_theta"),
        learns=True,
        whole_data=True,
        two_gradients=True,
        descent=True,
        density=True,
    ),
    Move(
        "gradient-flow",
        "theta",
        "theta after a time r of d theta/ds = -(g + lambda theta), g of all data: one Runge-Kutta step, of order 4",
        "W. Kutta, Z. Math. Phys. 46, 435 (1901); E. Hairer, S. P. Norsett, G. Wanner, Solving ODEs I, Sec. II.1",
        needs=(_GRADIENT, _NO_NOISE),
        hyper=_RATE,
        stages=lambda size: 3 * size,
        books=_BOOKS,
        learns=True,
        whole_data=True,
        rates_by_group=True,
    ),
    Move(
        "metropolis",
        "theta",
        "theta' = theta + sqrt(2 r T) xi, accepted with probability min(1, exp(-(L(theta') - L(theta))/T))",
        "N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953); L the loss of all data and lambda |theta|^2/2",
        needs=(_LOSS_OF_DATA,),
        hyper=(*_RATE, "temperature"),
        normals=_each,
        uniforms=lambda model, constants, size: 1,
        books=("loss_sum", "minibatch_loss", "log_ratio_theta", "accepted_theta"),
        learns=True,
        whole_data=True,
        judges=True,
        density=True,
    ),
)

_SPHERE = "I. Sadrtdinov et al., arXiv 2511.07308"
_ON_SPHERE = {
    "needs": (_GRADIENT,),
    "hyper": (*_RATE, "radius"),
    "books": ("loss_sum", "gradient_square"),
    "learns": True,
}
_CONSTRAINED = (
    Move("sgd", "theta", "w' = w - eta (g + lambda w)", _SPHERE, **_ON_SPHERE),  # type: ignore[arg-type]
    Move("sgd", "theta", "w' = w - eta_eff |w|^2 (g + lambda w)", _SPHERE, **_ON_SPHERE),  # type: ignore[arg-type]
    Move(
        "sgd",
        "theta",
        "w' = r v/|v|, v = w - eta_eff r^2 g",
        _SPHERE,
        **_ON_SPHERE | {"books": ("loss_sum", "gradient_square", "stretch")},  # type: ignore[arg-type]
    ),
)

_LEDGER = ("work", "heat", "log_ratio_x")
_LANGEVIN = ("time_step", "temperature")

_X = (
    Move(
        "ula",
        "x",
        "x' = x + h F + sqrt(2 h T) xi",
        "S. S. Parsi, Entropy 26, 112 (2024), Eq. 26",
        needs=(_FORCE,),
        hyper=_LANGEVIN,
        normals=_each,
        books=_LEDGER,
        density=True,
        explicit=True,
        temperatures=True,
        mobilities=True,
    ),
    Move(
        "mala",
        "x",
        "ula, accepted or refused",
        "G. O. Roberts, R. L. Tweedie, Bernoulli 2, 341 (1996)",
        needs=(_FORCE, _NO_DRIVE),
        hyper=_LANGEVIN,
        normals=_each,
        uniforms=lambda model, constants, size: 3,
        books=(*_LEDGER, "accepted"),
        density=True,
        invariant=True,
        mobilities=True,
    ),
    Move(
        "metropolis",
        "x",
        "x' = x + sqrt(2 h T) xi, accepted with probability min(1, exp(-(phi(x') - phi(x))/T))",
        "N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953)",
        needs=(_CONTINUOUS, _NO_DRIVE),
        hyper=_LANGEVIN,
        normals=_each,
        uniforms=lambda model, constants, size: 2,
        books=(*_LEDGER, "accepted"),
        density=True,
        invariant=True,
        mobilities=True,
    ),
    Move(
        "gibbs",
        "x",
        "every component from its conditional law, in turn",
        "S. Geman, D. Geman, IEEE Trans. Pattern Anal. 6, 721 (1984)",
        needs=(_CONDITIONALS,),
        uniforms=lambda model, constants, size: model.resample_uniforms(constants),
        books=_LEDGER,
        density=True,
        invariant=True,
    ),
    Move(
        "exact",
        "x",
        "a fresh sample of p_theta",
        "S. S. Parsi, Entropy 26, 112 (2024), Eq. 37",
        needs=(_SAMPLER,),
        normals=lambda model, constants, size: model.fresh_normals(constants),
        uniforms=lambda model, constants, size: model.fresh_uniforms(constants),
        books=_LEDGER,
        density=True,
        invariant=True,
        fresh=True,
    ),
    Move(
        "exact-ou",
        "x",
        "the Langevin equation of a quadratic energy, solved over one time step",
        "C. W. Gardiner, Stochastic Methods, 4th ed., section 4.5.6",
        needs=(_PROPAGATOR,),
        hyper=_LANGEVIN,
        normals=_each,
        books=_LEDGER,
        density=True,
        invariant=True,
        steady=True,
    ),
)

THETA_MOVES: dict[str, Move] = {move.name: move for move in _THETA}
X_MOVES: dict[str, Move] = {move.name: move for move in _X}
# of scale-invariant parameters under SGD, by what is held fixed
CONSTRAINED: dict[str, Move] = dict(zip(("fixed-lr", "fixed-elr", "fixed-sphere"), _CONSTRAINED))
NO_SAMPLES = Move("none", "x", "there is no x", "no move")


def possible_moves(model: Model) -> list[str]:
    """The moves of x that a model has what it takes for."""
    return [name for name, move in X_MOVES.items() if move.lacks(model) is None]


def moves_with(key: str, of: str) -> list[str]:
    """Names of the moves of theta or x that have this hyper-parameter."""
    return [move.name for move in (THETA_MOVES if of == "theta" else X_MOVES).values() if key in move.hyper]


def hyper_parameters(of: str) -> set[str]:
    """Keys of the section [theta] or [x] that are numbers of every lane, of any move."""
    moves = [*THETA_MOVES.values(), *CONSTRAINED.values()] if of == "theta" else [*X_MOVES.values()]
    return {key for move in moves for key in move.hyper}
