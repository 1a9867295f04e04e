"""Every variable an ensemble can hold, declared once: where it comes from, its dimensions, unit and equation."""

from __future__ import annotations

from dataclasses import dataclass

from thermosim.kernels.ledger import GRADIENT_SQUARE, HEAT, LOG_RATIO, LOSS_SUM, STRETCH, WORK

__all__ = ["VARIABLES", "Variable"]


@dataclass(frozen=True)
class Variable:
    """`source` is the frame array it is taken from (theta, x, phi, theta_path, x_path), `row` the row of a path."""

    source: str
    row: int | None
    dims: tuple[str, ...]  # after step, the sweep axes and replica
    units: str
    long_name: str
    equation: str

    @property
    def attributes(self) -> dict[str, str]:
        """What is stored with the variable."""
        return {"units": self.units, "long_name": self.long_name, "equation": self.equation}


VARIABLES: dict[str, Variable] = {
    "theta": Variable("theta", None, ("theta_dim",), "1", "parameters", "theta_t"),
    "x": Variable("x", None, ("sample", "x_dim"), "1", "samples", "x_t"),
    "phi": Variable("phi", None, ("sample",), "kT", "surprisal", "phi_theta(x)"),
    "work": Variable(
        "x_path",
        WORK,
        ("sample",),
        "kT",
        "work done on x since step 0",
        "sum phi(x, theta') - phi(x, theta) + work of a drive",
    ),
    "heat": Variable(
        "x_path",
        HEAT,
        ("sample",),
        "kT",
        "heat absorbed by x since step 0",
        "sum phi(x', theta) - phi(x, theta) - work of a drive",
    ),
    "log_ratio_x": Variable(
        "x_path", LOG_RATIO, ("sample",), "1", "log path ratio of x since step 0", "sum ln p(x'|x) - ln p(x|x')"
    ),
    "loss_sum": Variable("theta_path", LOSS_SUM, (), "1", "sum of the loss over steps", "sum_t L(theta_t)"),
    "gradient_square": Variable(
        "theta_path", GRADIENT_SQUARE, (), "1", "sum over steps of the squared gradient norm", "sum_t |w|^2 |g|^2"
    ),
    "stretch": Variable(
        "theta_path", STRETCH, (), "1", "sum over steps of the relative step off the sphere", "sum_t |v|/r - 1"
    ),
}
