"""Exact Ornstein-Uhlenbeck move of a quadratic energy: the Langevin equation solved over one time step.

    x' = c + E (x - c) + C xi,      E = exp(-K h),   C C' = T K^-1 (1 - E E')
    ln p(x'|x) - ln p(x|x') = -(phi(x') - phi(x))/T

The move leaves exp(-phi/T) invariant and obeys detailed balance at any time step, so its log ratio is -heat/T.
Source: C. W. Gardiner, Stochastic Methods, 4th ed., section 4.5.6.

Bound from the model: energy, COMPONENTS. The table holds c, E and C row by row; langevin the rows h, sqrt(2 h T),
sqrt(h/(2 T)), so that 1/T is twice the last over the second.
"""

from __future__ import annotations

from thermosim.kernels.elementary import fma

COMPONENTS = 1
WORK = HEAT = LOG_RATIO_X = -1  # rows of the ledger, -1 where they are not booked
energy = None


def exact_ou(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    """One exact move of every lane from x to x_new, both (n, L)."""
    n = COMPONENTS
    work, heat, log_ratio = path[WORK], path[HEAT], path[LOG_RATIO_X]
    for lane in range(x.shape[1]):
        energy_old = phi[lane]
        if jumped:
            energy_jumped = energy(x, derived, constants, shared, lane)
            if WORK >= 0:
                work[lane] += energy_jumped - energy_old
            energy_old = energy_jumped
        for i in range(n):
            moved = table[i]
            for j in range(n):
                moved = fma(table[n + i * n + j], x[j, lane] - table[j], moved)
                moved = fma(table[n + n * n + i * n + j], normal[j, lane], moved)
            x_new[i, lane] = moved
        energy_new = energy(x_new, derived, constants, shared, lane)
        absorbed = energy_new - energy_old
        if HEAT >= 0:
            heat[lane] += absorbed
        if LOG_RATIO_X >= 0:
            log_ratio[lane] -= absorbed * (2.0 * langevin[2, lane] / langevin[1, lane])
        phi[lane] = energy_new
