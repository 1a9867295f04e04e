"""Every variable an ensemble can hold, declared once: where it comes from, its dimensions, unit and equation."""

from __future__ import annotations

from dataclasses import dataclass

from thermosim.kernels.ledger import (
    ACCEPTED,
    GRADIENT_SQUARE,
    HEAT,
    LOG_RATIO,
    LOG_RATIO_THETA,
    LOSS,
    LOSS_SUM,
    STRETCH,
    WORK,
)

__all__ = ["VARIABLES", "Variable"]


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
