"""From a block to machine code: which templates its moves are, what is bound to them, and what memory they take."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thermosim.kernels import minibatch, signatures
from thermosim.kernels.advance import NO_BOOKS, books, books_one, jump, jump_of_tile, no_books, restart
from thermosim.kernels.compile import address_of
from thermosim.kernels.declare import Part, scope_of
from thermosim.kernels.dense import rows_at_once
from thermosim.kernels.energies import no_prepare
from thermosim.kernels.evaluate import energy_bindings
from thermosim.kernels.signatures import argument_names, signature_of
from thermosim.kernels.theta_moves import (
    adam,
    descent,
    gradient_flow,
    metropolis,
    nesterov,
    preconditioned,
    prescribed,
    scale_invariant,
)
from thermosim.kernels.x_moves import exact_ou, langevin, sampling, ula
from thermosim.kernels.x_moves import metropolis as x_metropolis
from thermosim.ledger import Functional, functionals_of, row_names
from thermosim.plan.block import Block

__all__ = [
    "THETA_KERNELS",
    "X_KERNELS",
    "WorkRows",
    "addresses_of",
    "booking",
    "parts_of",
    "rows_of_theta",
    "work_rows",
]

Template = Callable[..., None]
Bindings = dict[str, Any]

# the kernel of every move of theta and what is bound to it besides the gradient, of every move of x
THETA_KERNELS: dict[str, tuple[Template, Bindings]] = {
    "protocol": (prescribed.protocol, {}),
    "sgd": (descent.sgd, {}),
    "nesterov": (nesterov.nesterov, {}),
    "adam": (adam.adam, {"DECOUPLED": False}),
    "adamw": (adam.adam, {"DECOUPLED": True}),
    "sgld": (descent.langevin, {}),
    "langevin": (descent.langevin, {}),
    "gradient-flow": (gradient_flow.gradient_flow, {}),
    "metropolis": (metropolis.metropolis, {}),
}
# of moves with a matrix of learning rates
PRECONDITIONED: dict[str, tuple[Template, Bindings]] = {
    "sgd": (preconditioned.preconditioned, {"AHEAD": False}),
    "nesterov": (preconditioned.preconditioned, {"AHEAD": True}),
}
CONSTRAINTS: dict[str, int] = {
    "fixed-lr": scale_invariant.FIXED_LR,
    "fixed-elr": scale_invariant.FIXED_ELR,
    "fixed-sphere": scale_invariant.FIXED_SPHERE,
}
X_KERNELS: dict[str, Template] = {
    "ula": langevin.ula_of_tile,
    "mala": langevin.mala_of_tile,
    "metropolis": x_metropolis.metropolis,
    "gibbs": sampling.gibbs,
    "exact": sampling.exact,
    "exact-ou": exact_ou.exact_ou,
}
# of models that write their energy for one lane: inlined into the move
ONE_LANE: dict[str, Template] = {"ula": ula.ula, "exact-ou": exact_ou.exact_ou}


@dataclass(frozen=True)
class WorkRows:
    """Rows of work space, beyond the state, that the moves of a block take in every lane."""

    theta_normals: int  # normals of one move of theta
    theta_uniforms: int
    gradient: int
    after: int  # two more (m, L): gradient after and slopes before a move whose ratio is booked, or of a proposal; one,
    # the slopes, of a move with a matrix of learning rates; three of one with several stages
    memory: int
    row: int  # one row of data
    normals: int  # of one move of x, for each chain
    uniforms: int
    force: int
    scratch: int


def work_rows(block: Block) -> WorkRows:
    """What the moves of this block take."""
    model, constants, m, n = block.model, block.model_constants, block.parameters, block.components
    theta, x = block.theta, block.x
    prescribed_noise = theta.learns and model.stochastic_gradient is not None
    keeps = theta.two_gradients and "log_ratio_theta" in block.theta_rows
    proposes = theta.uniforms(model, constants, m) > 0
    together = _rows_together(block) if model.gradient_of_rows else 1
    return WorkRows(
        theta_normals=m if prescribed_noise else theta.normals(model, constants, m),
        theta_uniforms=theta.uniforms(model, constants, m),
        gradient=m if theta.learns or booking(block) else 0,
        after=max(theta.stages(m), 2 * m if keeps or proposes else m if block.preconditioned else 0),
        memory=theta.memory(m, block.used),
        row=block.data.shape[1] * (2 if block.fresh else together),
        normals=x.normals(model, constants, n),
        uniforms=x.uniforms(model, constants, n),
        force=0 if model.discrete else n,
        scratch=model.scratch_rows(constants) * together,
    )


def _rows_together(block: Block) -> int:
    """How many rows of data are taken at a time by a model that can: its weights are loaded once for all of them."""
    if block.fresh or not block.theta.learns or not block.model.rows_share(block.model_constants):
        return 1
    return rows_at_once(block.batch or block.data_rows)


def addresses_of(block: Block, of: Callable[..., Any] = address_of) -> dict[str, Any]:
    """Machine code of everything the step loop calls, by the names of its arguments.

    Or another thing `of` each template, its signature and its bindings.
    """
    model = block.model
    energy = energy_bindings(model, block.model_constants)
    names = model.names(block.model_constants)
    prepare = _address(of, model.prepare or no_prepare, signatures.prepare, names)
    addresses = {"prepare_address": prepare, "theta_move_address": _theta_move(block, energy, of)}
    booked = row_names("x", block.x_rows)
    if not block.x_dynamics:
        jump_address = _address(of, _no_jump, signatures.jump, {})
        x_move = _address(of, _no_x_move, signatures.x_move, {})
    elif model.energy is not None and block.x_dynamics in ONE_LANE:
        lane = {**names, **booked, "energy": model.energy}
        jump_address = _address(of, jump, signatures.jump, lane)
        if block.x.temperatures:
            lane |= {"TIME_STEPS": block.time_steps, "TEMPERATURES": block.temperatures}
            lane |= {"DRIVEN": model.drive is not None}
            lane |= {"force": model.force, "drive": model.drive or _no_drive}
        x_move = _address(of, ONE_LANE[block.x_dynamics], signatures.x_move, lane)
    else:
        of_tile = {**booked, **energy, "TIME_STEPS": block.time_steps}
        jump_address = _address(of, jump_of_tile, signatures.jump, of_tile)
        x_move = _address(of, X_KERNELS[block.x_dynamics], signatures.x_move, {**of_tile, **_sampler(block)})
    again, of_restart = (restart, {**booked, **energy}) if block.restarts else (_no_restart, {})
    addresses |= {"jump_address": jump_address, "x_move_address": x_move}
    addresses["books_address"] = _books(block, names, of)
    return addresses | {"restart_address": _address(of, again, signatures.restart, of_restart)}


def parts_of(block: Block) -> dict[str, Part]:
    """The same as source with its names bound, for an engine that calls by name."""
    return addresses_of(block, lambda template, signature, **bindings: Part(template, scope_of(bindings)))


def rows_of_theta(block: Block) -> dict[str, int | slice]:
    """Where the ledger of theta has each functional: a row, or rows of one with several numbers."""
    found: dict[str, int | slice] = {}
    for name in dict.fromkeys(block.theta_rows):
        first = block.theta_rows.index(name)
        found[name] = slice(first, first + block.theta_rows.count(name)) if block.shape(name) else first
    return found


def _books(block: Block, names: Bindings, of: Callable[..., Any]) -> Any:
    """Functionals that book for themselves, each after those before it."""
    template, bindings, others = no_books, dict(names), NO_BOOKS
    for rows, functional in booking(block):
        template = books if functional.size is not None else books_one
        bindings = {**names, "FIRST": rows.start, "LAST": rows.stop, "others": others, "book": functional.book}
        others = _part(template, tuple(bindings.items()))
    return _address(of, template, signatures.books, bindings)


@functools.cache
def _part(template: Template, bindings: tuple[tuple[str, Any], ...]) -> Part:
    """The same part every time, by which what is made of it is found again."""
    return Part(template, scope_of(dict(bindings)))


def booking(block: Block) -> list[tuple[slice, Functional]]:
    """The functionals that are booked after the move, and their rows of the ledger of theta."""
    declared, rows = functionals_of(block.model.functionals), block.theta_rows
    return [
        (slice(rows.index(name), rows.index(name) + rows.count(name)), declared[name])
        for name in dict.fromkeys(rows)
        if declared[name].book is not None
        and (name not in block.theta.books or block.preconditioned)  # whose kernel books what only a move can
    ]


def _sampler(block: Block) -> Bindings:
    """What moves that sample the model itself are bound to."""
    model = block.model
    if X_KERNELS[str(block.x_dynamics)] is sampling.gibbs:
        return {"BACKWARD": block.reversed, "resample": model.resample, "book_sample": sampling.book_sample}
    return {"fresh": model.fresh, "book_sample": sampling.book_sample} if block.x.fresh else {}


def _theta_move(block: Block, energy: Bindings, of: Callable[..., Any]) -> Any:
    model = block.model
    bindings: Bindings = {key: energy[key] for key in model.names(block.model_constants)}
    bindings |= {"PREPARED": energy["PREPARED"], "prepare": energy["prepare"]}
    if not block.theta.learns:
        return _address(of, prescribed.protocol, signatures.theta_move, bindings)
    bindings |= row_names("theta", block.theta_rows)
    if model.stochastic_gradient is not None:
        bindings |= {"stochastic_gradient": model.stochastic_gradient, "gradient_of_loss": minibatch.from_noise}
    else:
        source = minibatch.from_law if block.fresh else minibatch.from_data
        bindings |= {"BATCH": block.batch, "CONTRAST": block.contrast}
        if model.gradient_of_rows and (rows := _rows_together(block)) > 1:
            left = (block.batch or block.data_rows) % rows
            bindings |= {"ROWS_TOGETHER": rows, "ROWS_LEFT": left, "gradient_of_rows": model.gradient_of_rows(rows)}
        bindings |= {"parameter_gradient": model.parameter_gradient, "gradient_of_loss": source}
    if block.constraint:
        bindings["CONSTRAINT"] = CONSTRAINTS[block.constraint]
        return _address(of, scale_invariant.constrained_sgd, signatures.theta_move, bindings)
    template, more = (PRECONDITIONED if block.preconditioned else THETA_KERNELS)[block.theta_dynamics]
    return _address(of, template, signatures.theta_move, {**bindings, "book_loss": descent.book_loss, **more})


def _address(of: Callable[..., Any], template: Template, declaration: Template, bindings: Bindings) -> Any:
    """`of` a template that has the arguments of a declaration, by name and in order."""
    if argument_names(template) != argument_names(declaration):
        raise TypeError(f"{template.__name__} has not the arguments that {declaration.__name__} declares")
    return of(template, signature_of(declaration), **bindings)


def _no_jump(x, derived, constants, shared, phi, force, path, scratch):  # type: ignore[no-untyped-def]
    pass


def _no_drive(i, x, theta, constants, shared, lane):  # type: ignore[no-untyped-def]
    return 0.0


def _no_restart(  # type: ignore[no-untyped-def]
    seed, step, first_replica, sample, x, derived, constants, shared, data, first_row, row_count, phi, force, path,
    scratch,
):  # fmt: skip
    pass


def _no_x_move(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    pass
