"""Unadjusted Langevin (Euler-Maruyama), with its exact transition ratio.

    x'_i = x_i + h_i F_i(x) + sqrt(2 h_i T_i) xi_i,      F = -d phi/dx + drive,   h_i = h mu_i
    ln p(x'|x) - ln p(x|x') = sum_i v_i (xi_i + v_i/2),      v_i = sqrt(h_i/(2 T_i)) (F_i(x) + F_i(x'))

Source: Parsi 2024, Eq. 26. The second line is the logarithm of the ratio of the two Gaussian densities, with x' - x
eliminated; in terms of the displacement it reads [(x' - x)(F + F')/2 + h_i (F'^2 - F^2)/4]/T. Its difference from
-heat/T is the shadow term of the finite time step (D. A. Sivak, J. D. Chodera, G. E. Crooks, Phys. Rev. X 3, 011007
(2013)).

Bound from the model: energy, force, drive, COMPONENTS, TIME_STEPS and TEMPERATURES (1, or one per component), DRIVEN.
Rows of langevin: h_i, sqrt(2 h_i T_i), sqrt(h_i/(2 T_i)).
"""

from __future__ import annotations

from thermosim.kernels.elementary import fma

COMPONENTS = TIME_STEPS = TEMPERATURES = 1
WORK = HEAT = LOG_RATIO_X = -1  # rows of the ledger, -1 where they are not booked
DRIVEN = False
energy = force = drive = None


def ula(  # type: ignore[no-untyped-def]
    x, x_new, derived, constants, shared, table, langevin, normal, uniform, phi, force_old, force_new, path, jumped,
    last, scratch,
):  # fmt: skip
    """One Euler-Maruyama step of every lane from x to x_new, both (n, L)."""
    work, heat, log_ratio = path[WORK], path[HEAT], path[LOG_RATIO_X]
    amplitude, kick = langevin[TIME_STEPS : TIME_STEPS + TEMPERATURES], langevin[TIME_STEPS + TEMPERATURES :]
    for lane in range(x.shape[1]):
        energy_old = phi[lane]
        if jumped:
            energy_jumped = energy(x, derived, constants, shared, lane)
            if WORK >= 0:
                work[lane] += energy_jumped - energy_old
            energy_old = energy_jumped
        for i in range(COMPONENTS):
            f = force(i, x, derived, constants, shared, lane)
            if DRIVEN:
                f += drive(i, x, derived, constants, shared, lane)
            a = amplitude[i if TEMPERATURES > 1 else 0, lane]
            x_new[i, lane] = fma(a, normal[i, lane], fma(langevin[i if TIME_STEPS > 1 else 0, lane], f, x[i, lane]))
        energy_new = energy(x_new, derived, constants, shared, lane)
        absorbed = energy_new - energy_old
        phi[lane] = energy_new
        done = 0.0
        if LOG_RATIO_X >= 0 or DRIVEN:
            logarithm = log_ratio[lane]
            for i in range(COMPONENTS):
                f = force(i, x, derived, constants, shared, lane) + force(i, x_new, derived, constants, shared, lane)
                if DRIVEN:
                    g = drive(i, x, derived, constants, shared, lane) + drive(
                        i, x_new, derived, constants, shared, lane
                    )
                    done += 0.5 * g * (x_new[i, lane] - x[i, lane])
                    f += g
                v = kick[i if TEMPERATURES > 1 else 0, lane] * f
                logarithm = fma(v, fma(0.5, v, normal[i, lane]), logarithm)
            if LOG_RATIO_X >= 0:
                log_ratio[lane] = logarithm
        if HEAT >= 0:
            heat[lane] += absorbed - done
        if DRIVEN and WORK >= 0:
            work[lane] += done
