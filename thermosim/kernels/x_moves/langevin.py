"""Langevin moves of a model with functions of a tile: unadjusted (ula), and corrected by accept or refuse (mala).

    ula    x'_i = x_i + h_i F_i(x) + sqrt(2 h_i T) xi_i,  F = -d phi/dx,  h_i = h mu_i
           ln p(x'|x) - ln p(x|x') = sum_i v_i (xi_i + v_i/2),   v_i = sqrt(h_i/(2 T)) (F_i(x) + F_i(x'))
    mala   the same proposal, accepted with probability min(1, exp(-(phi(x') - phi(x))/T - ln p(x'|x) + ln p(x|x')));
           in detailed balance with exp(-phi/T) at any time step, so its log ratio is -heat/T

Sources: Parsi 2024, Eq. 26, and the ratio of its Gaussian densities (`ula.py`); G. O. Roberts, R. L. Tweedie, Bernoulli
2, 341 (1996).

Bound from the model: evaluate, COMPONENTS; TIME_STEPS, 1, or one per component. Rows of langevin: h_i, sqrt(2 h_i T),
sqrt(h_i/(2 T)), TIME_STEPS of each. The force at x is kept from
the move before; after a jump of theta it is computed anew, and the jump's work is booked.
"""

from __future__ import annotations

from thermosim.kernels.declare import inlined
from thermosim.kernels.elementary import fma, log

COMPONENTS = TIME_STEPS = 1
WORK = HEAT = LOG_RATIO_X = ACCEPTED = -1  # rows of the ledger, -1 where they are not booked
evaluate = None


@inlined
def book_jump(phi, work, sign):  # type: ignore[no-untyped-def]
    """work += sign phi: once before and once after phi is computed anew."""
    for lane in range(phi.shape[0]):
        work[lane] = fma(sign, phi[lane], work[lane])


@inlined
def _propose(components, times, x, x_new, force, langevin, normal):  # type: ignore[no-untyped-def]
    for i in range(components):
        h = i if times > 1 else 0
        time_step, amplitude = langevin[h], langevin[times + h]
        old, new, pull, noise = x[i], x_new[i], force[i], normal[i]
        for lane in range(x.shape[1]):
            new[lane] = fma(amplitude[lane], noise[lane], fma(time_step[lane], pull[lane], old[lane]))


@inlined
def _add_ratio(components, times, force, force_new, langevin, normal, ratio):  # type: ignore[no-untyped-def]
    for i in range(components):
        kick = langevin[2 * times + (i if times > 1 else 0)]
        before, after, noise = force[i], force_new[i], normal[i]
        for lane in range(ratio.shape[0]):
            v = kick[lane] * (before[lane] + after[lane])
            ratio[lane] = fma(v, fma(0.5, v, noise[lane]), ratio[lane])


def ula_of_tile(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    """One Euler-Maruyama step of every lane from x to x_new, both (n, L)."""
    heat = path[HEAT]
    if jumped:
        if WORK >= 0:
            book_jump(phi, path[WORK], -1.0)
        evaluate(x, derived, constants, shared, phi, force_old, scratch)
        if WORK >= 0:
            book_jump(phi, path[WORK], 1.0)
    _propose(COMPONENTS, TIME_STEPS, x, x_new, force_old, langevin, normal)
    if HEAT >= 0:
        book_jump(phi, heat, -1.0)
    evaluate(x_new, derived, constants, shared, phi, force_new, scratch)
    if HEAT >= 0:
        book_jump(phi, heat, 1.0)
    if LOG_RATIO_X >= 0:
        _add_ratio(COMPONENTS, TIME_STEPS, force_old, force_new, langevin, normal, path[LOG_RATIO_X])


def mala_of_tile(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    """One Metropolis-adjusted step of every lane from x to x_new (n, L); uniform: decision, two rows of scratch."""
    heat, log_ratio, accepted = path[HEAT], path[LOG_RATIO_X], path[ACCEPTED]
    decision, phi_new, ratio = uniform[0], uniform[1], uniform[2]
    if jumped:
        if WORK >= 0:
            book_jump(phi, path[WORK], -1.0)
        evaluate(x, derived, constants, shared, phi, force_old, scratch)
        if WORK >= 0:
            book_jump(phi, path[WORK], 1.0)
    _propose(COMPONENTS, TIME_STEPS, x, x_new, force_old, langevin, normal)
    evaluate(x_new, derived, constants, shared, phi_new, force_new, scratch)
    for lane in range(x.shape[1]):
        ratio[lane] = 0.0
    _add_ratio(COMPONENTS, TIME_STEPS, force_old, force_new, langevin, normal, ratio)
    for lane in range(x.shape[1]):
        inverse = 2.0 * langevin[2 * TIME_STEPS, lane] / langevin[TIME_STEPS, lane]
        absorbed = phi_new[lane] - phi[lane]
        taken = log(decision[lane]) < -inverse * absorbed - ratio[lane]
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
        old, new, pull, pull_new = x[i], x_new[i], force_old[i], force_new[i]
        for lane in range(x.shape[1]):
            new[lane] = new[lane] if decision[lane] > 0.5 else old[lane]
            pull_new[lane] = pull_new[lane] if decision[lane] > 0.5 else pull[lane]
