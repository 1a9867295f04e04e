"""Random-walk Metropolis: needs phi only, no force.

    x'_i = x_i + sqrt(2 h_i T) xi_i,   accepted with probability min(1, exp(-(phi(x') - phi(x))/T))
    ln p(x'|x) - ln p(x|x') = -(phi(x') - phi(x))/T

h_i = h mu_i. exp(-phi/T) is invariant at any h; as h -> 0 the path becomes that of the Langevin equation, over a time h
a move.
Source: N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953).

Bound: evaluate and COMPONENTS of the model, TIME_STEPS, rows of the ledger. Rows of langevin: h_i, sqrt(2 h_i T),
sqrt(h_i/(2 T)), TIME_STEPS of each, so that 1/T is twice the last over the second. uniform: the decision, and a row of
scratch.
"""

from __future__ import annotations

from thermosim.kernels.elementary import fma, log
from thermosim.kernels.x_moves.langevin import book_jump

COMPONENTS = TIME_STEPS = 1
WORK = HEAT = LOG_RATIO_X = ACCEPTED = -1  # rows of the ledger, -1 where they are not booked
evaluate = None


def metropolis(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    """One proposal of every lane from x to x_new, both (n, L)."""
    heat, log_ratio, accepted = path[HEAT], path[LOG_RATIO_X], path[ACCEPTED]
    decision, phi_new = uniform[0], uniform[1]
    if jumped:
        if WORK >= 0:
            book_jump(phi, path[WORK], -1.0)
        evaluate(x, derived, constants, shared, phi, force_old, scratch)
        if WORK >= 0:
            book_jump(phi, path[WORK], 1.0)
    for i in range(COMPONENTS):
        old, new, noise, amplitude = x[i], x_new[i], normal[i], langevin[TIME_STEPS + (i if TIME_STEPS > 1 else 0)]
        for lane in range(x.shape[1]):
            new[lane] = fma(amplitude[lane], noise[lane], old[lane])
    evaluate(x_new, derived, constants, shared, phi_new, force_new, scratch)
    for lane in range(x.shape[1]):
        inverse = 2.0 * langevin[2 * TIME_STEPS, lane] / langevin[TIME_STEPS, lane]
        absorbed = phi_new[lane] - phi[lane]
        taken = log(decision[lane]) < -inverse * absorbed
        absorbed = absorbed if taken else 0.0
        if HEAT >= 0:
            heat[lane] += absorbed
        if LOG_RATIO_X >= 0:
            log_ratio[lane] -= inverse * absorbed
        phi[lane] = phi_new[lane] if taken else phi[lane]
        if ACCEPTED >= 0:
            accepted[lane] += 1.0 if taken else 0.0
        decision[lane] = 1.0 if taken else 0.0
    for i in range(COMPONENTS):
        old, new = x[i], x_new[i]
        for lane in range(x.shape[1]):
            new[lane] = new[lane] if decision[lane] > 0.5 else old[lane]
