"""Moves that sample the model itself at temperature 1: a Gibbs sweep of discrete x, and an exact fresh sample.

    gibbs   every component in turn from its conditional law; p_theta is invariant
    exact   x' drawn from p_theta whatever x was: the limit tau -> infinity of any sampler    [Parsi 2024, Eq. 37]

Both book log ratio -(phi(x') - phi(x)): exactly ln p(x')/p(x) for a fresh sample, and for a sweep the ratio of its
probability to that of the sweep in reverse order, each site move being in detailed balance (S. Geman, D. Geman, IEEE
Trans. Pattern Anal. 6, 721 (1984)).

Heat and log ratio of the moves of one step, all at one theta, depend on where x began and ended only: phi is computed
after the last of them. Bound: evaluate, resample or fresh of the model, book_sample, rows of the ledger.
"""

from __future__ import annotations

from thermosim.kernels.x_moves.langevin import book_jump

WORK = HEAT = LOG_RATIO_X = -1  # rows of the ledger, -1 where they are not booked
evaluate = resample = fresh = None


def book_sample(phi, path, sign):  # type: ignore[no-untyped-def]
    """Heat += sign phi and log ratio -= sign phi: once before and once after phi is computed anew."""
    heat, log_ratio = path[HEAT], path[LOG_RATIO_X]
    for lane in range(phi.shape[0]):
        if HEAT >= 0:
            heat[lane] += sign * phi[lane]
        if LOG_RATIO_X >= 0:
            log_ratio[lane] -= sign * phi[lane]


def gibbs(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    """One sweep of every lane from x to x_new, both (n, L)."""
    if jumped:
        if WORK >= 0:
            book_jump(phi, path[WORK], -1.0)
        evaluate(x, derived, constants, shared, phi, force_old, scratch)
        if WORK >= 0:
            book_jump(phi, path[WORK], 1.0)
    resample(x, x_new, derived, constants, shared, uniform, scratch)
    if last:
        book_sample(phi, path, -1.0)
        evaluate(x_new, derived, constants, shared, phi, force_new, scratch)
        book_sample(phi, path, 1.0)


def exact(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    """A fresh sample of every lane in x_new (n, L)."""
    if jumped:
        if WORK >= 0:
            book_jump(phi, path[WORK], -1.0)
        evaluate(x, derived, constants, shared, phi, force_old, scratch)
        if WORK >= 0:
            book_jump(phi, path[WORK], 1.0)
    fresh(x_new, derived, constants, shared, normal, uniform, scratch)
    if last:
        book_sample(phi, path, -1.0)
        evaluate(x_new, derived, constants, shared, phi, force_new, scratch)
        book_sample(phi, path, 1.0)
