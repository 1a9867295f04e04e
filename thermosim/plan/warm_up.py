"""The moves of a warm-up: those of x that the case makes, at the theta, time step and temperature of step 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thermosim.plan.block import Block

__all__ = ["warming"]


def warming(block: Block) -> Block:
    """The same lanes with theta at rest, each step one move of x, nothing scheduled and nothing recorded.

    The ledger of x is booked all the same and thrown away: so the kernels of the moves are those of the block.
    """
    timetable, first = block.timetable, block.steps if block.reversed else 0
    prescribed = timetable.theta_values(0, 0)[0] if block.theta.prescribed or not block.model.learns else np.zeros(0)
    return replace(
        block,
        tau=1,
        theta_dynamics="frozen",
        constraint=None,
        batch=0,
        contrast=False,
        restarts=False,
        turn=0,
        variables=(),
        theta_rows=(),
        used=frozenset(),
        theta_hyper=np.ones((0, block.lanes)),
        x_hyper=block.x_hyper * timetable.x_factor(first),
        timetable=replace(
            timetable,
            turn=0,
            reversed=False,
            theta=(),
            x=(1.0,) * len(timetable.x),
            scales=None,
            protocol=((prescribed, prescribed.shape),),
            recording=None,
        ),
    )
