"""From a block to machine code: which templates its moves are, what is bound to them, and what memory they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thermosim.kernels import minibatch, signatures
from thermosim.kernels.advance import jump, jump_of_tile, restart
from thermosim.kernels.compile import address_of
from thermosim.kernels.energies import no_prepare
from thermosim.kernels.evaluate import energy_bindings
from thermosim.kernels.theta_moves import descent
from thermosim.kernels.theta_moves.prescribed import protocol
from thermosim.kernels.theta_moves.scale_invariant import FIXED_ELR, FIXED_LR, FIXED_SPHERE, constrained_sgd
from thermosim.kernels.x_moves import langevin, sampling
from thermosim.kernels.x_moves.exact_ou import exact_ou
from thermosim.kernels.x_moves.ula import ula
from thermosim.plan.block import Block

__all__ = ["Addresses", "Needs", "addresses_of", "needs_of"]

CONSTRAINTS = {"fixed-lr": FIXED_LR, "fixed-elr": FIXED_ELR, "fixed-sphere": FIXED_SPHERE}
LEARNING: dict[str, Callable[..., None]] = {"sgd": descent.sgd, "sgld": descent.langevin, "langevin": descent.langevin}
X_MOVES: dict[str, Callable[..., None]] = {
    "ula": langevin.ula_of_tile,
    "mala": langevin.mala_of_tile,
    "gibbs": sampling.gibbs,
    "exact": sampling.exact,
    "exact-ou": exact_ou,
}

Addresses = tuple[int, int, int, int, int]  # prepare, move of theta, jump, restart, move of x


@dataclass(frozen=True)
class Needs:
    """Rows of work space, beyond the state, that the moves of a block take in every lane."""

    theta_normals: int  # normals of one move of theta
    gradient: int
    after: int  # gradient after a move whose density is booked
    memory: int
    row: int  # one row of data
    normals: int  # of one move of x, for each chain
    uniforms: int
    force: int
    scratch: int

    @property
    def rows(self) -> int:
        """All of it for one chain."""
        gradients = 2 * self.theta_normals + self.gradient + self.after + self.memory
        return gradients + self.row + 2 * self.normals + self.uniforms + 2 * self.force + self.scratch


def needs_of(block: Block) -> Needs:
    """What the moves of this block take."""
    model, theta, m, n = block.model, block.settings["theta"], block.parameters, block.components
    constants, learning = block.settings["model"], block.theta_dynamics in LEARNING
    noisy = block.theta_dynamics in ("sgld", "langevin") or (learning and model.stochastic_gradient is not None)
    momentum = any(axis.key == "theta.momentum" for axis in block.lane_axes) or theta["momentum"] != 0.0
    x = block.settings.get("x") or {}
    normals = {"exact": model.fresh_normals(constants), "gibbs": 0}
    uniforms = {"exact": model.fresh_uniforms(constants), "gibbs": model.resample_uniforms(constants), "mala": 3}
    return Needs(
        theta_normals=m if noisy else 0,
        gradient=m if learning else 0,
        after=m if _books_ratio(block) else 0,
        memory=m if learning and momentum and not model.scale_invariant else 0,
        row=model.components(constants) if block.data is not None else 0,
        normals=normals.get(x.get("dynamics", ""), n) if x else 0,
        uniforms=uniforms.get(x.get("dynamics", ""), 0) if x else 0,
        force=0 if model.discrete or not x else n,
        scratch=model.scratch_rows(constants),
    )


def _books_ratio(block: Block) -> bool:
    return block.theta_dynamics in ("sgld", "langevin") and "log_ratio_theta" in block.variables


def addresses_of(block: Block, of: Callable[..., Any] = address_of) -> Addresses:
    """Machine code of everything the step loop calls; or another thing `of` each template, signature and bindings."""
    model = block.model
    energy = energy_bindings(model, block.settings["model"])
    prepare = of(model.prepare or no_prepare, signatures.PREPARE, **model.names(block.settings["model"]))
    theta_move = _theta_move(block, energy, of)
    if not block.samples:
        nothing = of(_no_restart, signatures.RESTART), of(_no_x_move, signatures.X_MOVE)
        return prepare, theta_move, of(_no_jump, signatures.JUMP), *nothing
    dynamics = block.settings["x"]["dynamics"]
    in_lane = model.energy is not None and dynamics in ("ula", "exact-ou")
    if in_lane:
        lane: dict[str, Any] = dict(model.names(block.settings["model"])) | {"energy": model.energy}
        jump_address = of(jump, signatures.JUMP, **lane)
        if dynamics == "ula":
            lane |= {"TEMPERATURES": len(block.x_rows) - 1, "DRIVEN": model.drive is not None}
            lane |= {"force": model.force, "drive": model.drive or _no_drive}
        x_move = of(ula if dynamics == "ula" else exact_ou, signatures.X_MOVE, **lane)
    else:
        jump_address = of(jump_of_tile, signatures.JUMP, **energy)
        backward = {"BACKWARD": block.reversed} if dynamics == "gibbs" else {}
        sampler = {"gibbs": {"resample": model.resample}, "exact": {"fresh": model.fresh}}.get(dynamics, {})
        x_move = of(X_MOVES[dynamics], signatures.X_MOVE, **backward, **energy, **sampler)
    again = restart if block.settings["x"]["restart"] else _no_restart
    return prepare, theta_move, jump_address, of(again, signatures.RESTART, **energy), x_move


def _theta_move(block: Block, energy: dict[str, Any], of: Callable[..., Any]) -> Any:
    model, theta, dynamics = block.model, block.settings["theta"], block.theta_dynamics
    prepare: dict[str, Any] = {key: energy[key] for key in model.names(block.settings["model"])}
    prepare |= {"PREPARED": energy["PREPARED"], "prepare": energy["prepare"]}
    if dynamics not in LEARNING:
        return of(protocol, signatures.THETA_MOVE, **prepare)
    if model.stochastic_gradient is not None:
        gradient: dict[str, Any] = {
            "stochastic_gradient": model.stochastic_gradient,
            "gradient_of_loss": minibatch.from_noise,
        }
    else:
        batch = 0 if theta["batch"] == "all" else int(theta["batch"])
        gradient = {"BATCH": batch, "CONTRAST": theta["gradient"] == "contrast"}
        gradient |= {"parameter_gradient": model.parameter_gradient, "gradient_of_loss": minibatch.from_data}
    if model.scale_invariant:
        constraint = CONSTRAINTS[theta["constraint"]]
        return of(constrained_sgd, signatures.THETA_MOVE, **prepare, **gradient, CONSTRAINT=constraint)
    ratio = _books_ratio(block)
    return of(LEARNING[dynamics], signatures.THETA_MOVE, **prepare, **gradient, RATIO=ratio)


def _no_jump(x, derived, constants, shared, phi, force, work, scratch):  # type: ignore[no-untyped-def]
    pass


def _no_drive(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    return 0.0


def _no_restart(  # type: ignore[no-untyped-def]
    seed, step, first_replica, sample, x, derived, constants, shared, data, first_row, row_count, phi, force, path,
    scratch,
):  # fmt: skip
    pass


def _no_x_move(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force, force_new, path, jumped, last,
    scratch,
):  # fmt: skip
    pass
