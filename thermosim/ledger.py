"""Signs, units and rows of the path functionals that kernels book. Stated here, once.

Everything is in units of kT. Heat > 0 is absorbed by the subsystem that moved, work > 0 is done on it. With theta
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
log ratio -heat. All are running sums since step 0. S. S. Parsi, "Stochastic thermodynamics of learning parametric
probabilistic models", Entropy 26, 112 (2024).
"""

from __future__ import annotations

from dataclasses import dataclass

# rows of x_path (S, 4, L)
WORK = 0
HEAT = 1
LOG_RATIO = 2
ACCEPTED = 3  # number of proposals accepted, of a move that can refuse
X_ROWS = 4

# rows of theta_path (5, L)
LOSS_SUM = 0  # loss before each move
GRADIENT_SQUARE = 1  # squared norm of the stochastic gradient, on the unit sphere for scale-invariant parameters
STRETCH = 2  # |v|/r - 1 of a step off the sphere, before it is taken back
LOG_RATIO_THETA = 3
LOSS = 4  # loss before the last move: no sum
THETA_ROWS = 5


@dataclass(frozen=True)
class Variable:
    """`source` is the frame array it is taken from, `rows` the rows of a path that are added to make it."""

    source: str
    rows: tuple[int, ...]
    dims: tuple[str, ...]  # after step, the sweep axes and replica
    units: str
    long_name: str
    equation: str

    @property
    def attributes(self) -> dict[str, str]:
        """What is stored with the variable."""
        return {"units": self.units, "long_name": self.long_name, "equation": self.equation}


VARIABLES: dict[str, Variable] = {
    "theta": Variable("theta", (), ("theta_dim",), "1", "parameters", "theta_t"),
    "x": Variable("x", (), ("sample", "x_dim"), "1", "samples", "x_t"),
    "phi": Variable("phi", (), ("sample",), "kT", "surprisal", "phi_theta(x)"),
    "work": Variable(
        "x_path",
        (WORK,),
        ("sample",),
        "kT",
        "work done on x since step 0",
        "sum phi(x, theta') - phi(x, theta) + work of a drive",
    ),
    "heat": Variable(
        "x_path",
        (HEAT,),
        ("sample",),
        "kT",
        "heat absorbed by x since step 0",
        "sum phi(x', theta) - phi(x, theta) - work of a drive",
    ),
    "log_ratio_x": Variable(
        "x_path", (LOG_RATIO,), ("sample",), "1", "log path ratio of x since step 0", "sum ln p(x'|x) - ln p(x|x')"
    ),
    "loss_sum": Variable("theta_path", (LOSS_SUM,), (), "1", "sum of the loss over steps", "sum_t L(theta_t)"),
    "gradient_square": Variable(
        "theta_path", (GRADIENT_SQUARE,), (), "1", "sum over steps of the squared gradient norm", "sum_t |w|^2 |g|^2"
    ),
    "stretch": Variable(
        "theta_path", (STRETCH,), (), "1", "sum over steps of the relative step off the sphere", "sum_t |v|/r - 1"
    ),
    "entropy_production": Variable(
        "x_path",
        (LOG_RATIO, WORK, HEAT),
        ("sample",),
        "1",
        "stochastic entropy production of x given theta since step 0",
        "sum ln p(x'|x)/p(x|x') + phi_t(x_t) - phi_0(x_0)",
    ),
    "shadow": Variable(
        "x_path",
        (LOG_RATIO, HEAT),
        ("sample",),
        "1",
        "shadow term of x since step 0: error of the finite time step",
        "sum ln p(x'|x)/p(x|x') + heat",
    ),
    "accepted": Variable("x_path", (ACCEPTED,), ("sample",), "1", "proposals of x accepted since step 0", "sum 1"),
    "log_ratio_theta": Variable(
        "theta_path",
        (LOG_RATIO_THETA,),
        (),
        "1",
        "log path ratio of theta since step 0",
        "sum ln p(theta'|theta, b) - ln p(theta|theta', b)",
    ),
    "minibatch_loss": Variable(
        "theta_path", (LOSS,), (), "1", "loss of the last minibatch, before its step", "L_b(theta_{t-1})"
    ),
}
