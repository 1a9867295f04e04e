"""One thread, one lane: the step loop of a block as a kernel of a GPU.

A thread copies its lane to arrays of its own, one lane wide, whose shapes are numbers of the kernel: where loops over
them unroll they are registers. It makes all steps and copies the lane back. The loop, the moves and the model are those
of tiles (`kernels.advance`, `lanes.link`); nothing of them is written again here.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import cuda

from thermosim.engines.lanes.link import addresses_of, booking, parts_of
from thermosim.engines.lanes.tiles import STATE, shapes_of_tile
from thermosim.kernels import types
from thermosim.kernels.advance import advance, advance_by
from thermosim.kernels.declare import Part, inlined, scope_of
from thermosim.kernels.identity import identity_of, identity_of_modules, kernel_identity
from thermosim.kernels.signatures import argument_names, signature_of
from thermosim.kernels.types import Signature
from thermosim.plan.block import Block

__all__ = ["ARGUMENTS", "OF_LANE", "columns_of", "identity", "signature", "template_of"]

_FUNCTIONS = ("prepare", "theta_move", "books", "jump", "restart", "x_move")  # that the loop is given
_LOOP = tuple(name for name in argument_names(advance) if not name.endswith("_address"))
OF_LANE = ("constants", "theta_hyper", "x_hyper")  # that a lane has of its own, and does not change
_FRAMES = tuple(name for name in _LOOP if name.startswith("frame_"))
_SHARED = ("shared", "data", "first_row", "theta_factor", "x_factor", "theta_table", "x_table")
_CALL = ("seed", "first_replica", "first_step", "steps", "first_frame", "every")
ARGUMENTS = (*_CALL, *STATE, *OF_LANE, *_SHARED, *_FRAMES)


@inlined
def load(source, lane, own):  # type: ignore[no-untyped-def]
    for i in range(own.shape[0]):
        own[i, 0] = source[i, lane]


@inlined
def store(own, target, lane):  # type: ignore[no-untyped-def]
    for i in range(own.shape[0]):
        target[i, lane] = own[i, 0]


@inlined
def load_stack(source, lane, own):  # type: ignore[no-untyped-def]
    for i in range(own.shape[0]):
        for j in range(own.shape[1]):
            own[i, j, 0] = source[i, j, lane]


@inlined
def store_stack(own, target, lane):  # type: ignore[no-untyped-def]
    for i in range(own.shape[0]):
        for j in range(own.shape[1]):
            target[i, j, lane] = own[i, j, 0]


def signature() -> Signature:
    """Of the kernel: the types of the loop's arguments."""
    kinds = dict(zip(argument_names(advance), signature_of(advance).arguments, strict=True))
    return types.void(*(kinds[name] for name in ARGUMENTS))


def _frozen_of(block: Block) -> dict[str, int]:
    """Numbers of the kernel: branches that they decide leave nothing behind."""
    return {
        "turn": block.turn,
        "tau": block.tau,
        "row_count": block.data_rows,
        "theta_moves": not block.theta.rests,
        "x_first": block.reversed,
        "restarts": block.restarts,
        "booking": bool(booking(block)),
    }


def columns_of(block: Block) -> dict[str, int]:
    """Columns of tables that are always the same: the kernel makes sure of them, so that they are numbers there.

    With others it would make no step; whoever launches it looks before.
    """
    timetable = block.timetable
    theta_table, x_table = timetable.tables(1, 1)
    columns = {"theta_table": theta_table.shape[1], "x_table": x_table.shape[1]}
    changing = {"theta_factor": timetable.theta_varies, "x_factor": timetable.x_varies}
    return columns | {name: 1 for name, varies in changing.items() if not varies}


def identity(block: Block) -> tuple[str, bool]:
    """What the kernel is compiled of, as a text: equal ones are one kernel. And whether it knows everything."""
    complete = True

    def of(template: Any, signature: Signature, **bindings: Any) -> str:
        nonlocal complete
        found = kernel_identity(template, signature, bindings)
        complete &= found.complete
        return found.digest

    called = addresses_of(block, of)
    unknown = 0 if complete else id(block.model)  # of a user's function not everything is known
    return repr((called, _frozen_of(block), _text(block), _of_loop(), unknown)), complete


@functools.cache
def _of_loop() -> tuple[str, str]:
    """The loop, with all that it names, and what is written around it here."""
    return identity_of(signature_of(advance), advance_by).digest, identity_of_modules(__name__).digest


def shapes_of_lane(block: Block) -> dict[str, tuple[int, ...]]:
    """Shapes, without the lane, of every array that a thread has for itself."""
    rows = {name: (len(getattr(block, name)),) for name in OF_LANE}
    return shapes_of_tile(block) | rows


def template_of(block: Block) -> Part:
    """The kernel of a block, yet to be compiled."""
    parts = parts_of(block)
    scope: dict[str, Any] = {name: parts[f"{name}_address"] for name in _FUNCTIONS} | _frozen_of(block)
    known = {"cuda": cuda, "float64": np.float64, "advance_by": advance_by}
    known |= {helper.__name__: helper for helper in (load, store, load_stack, store_stack)}
    text, namespace = _text(block), scope_of({}) | known
    exec(compile(text, "<kernel of one lane>", "exec"), namespace)
    return Part(namespace["one_lane"], scope)


def _text(block: Block) -> str:
    """The source: shapes of arrays of a thread must be written out."""
    shapes, call, lines, after = shapes_of_lane(block), [], [], []
    for name, shape in shapes.items():
        whole = (*(max(1, rows) for rows in shape), 1)
        lines.append(f"own_{name} = cuda.local.array({whole if len(whole) > 1 else 1}, float64)")
        if 0 in shape:
            lines.append(f"own_{name} = own_{name}[{', '.join(f':{rows}' for rows in shape)}]")
        if name in STATE or name in OF_LANE:
            stack = "_stack" if len(shape) == 2 else ""
            lines.append(f"load{stack}({name}, lane, own_{name})")
        if name in STATE:
            after.append(f"store{stack}(own_{name}, {name}, lane)")
    for name in _LOOP:
        if name in shapes:
            call.append(f"own_{name}")
        elif name == "first_replica":
            call.append("first_replica + lane")
        elif name == "first_row":
            call.append("first_row[lane : lane + 1]")
        elif name in _FRAMES:
            axes = {"frame_x": 3, "frame_x_path": 3}.get(name, 2)
            call.append(f"{name}[{':, ' * axes}lane : lane + 1]")
        else:
            call.append(name)
    strange = " or ".join(f"{name}.shape[1] != {count}" for name, count in columns_of(block).items())
    body = ["lane = cuda.grid(1)", f"if lane >= theta_path.shape[1] or {strange}:", "    return", *lines]
    body += [f"advance_by({', '.join((*_FUNCTIONS, *call))})", *after]
    return f"def one_lane({', '.join(ARGUMENTS)}):\n" + "".join(f"    {line}\n" for line in body)
