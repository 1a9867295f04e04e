"""The one form in which moves meet a model's energy: evaluate(x, derived, constants, shared, phi, force, scratch).

It writes phi (L), and force (n, L) where the model has one, at x (n, L). A model that has `surprisal_and_force` is in
this form already; the templates below bring the others into it.
"""

from __future__ import annotations

energy = force = surprisal = None  # bound when compiled
COMPONENTS = 1


def from_lanes(x, derived, constants, shared, phi, force_rows, scratch):  # type: ignore[no-untyped-def]
    """Of a model with `energy` and `force` for one lane."""
    for lane in range(x.shape[1]):
        phi[lane] = energy(x, derived, constants, shared, lane)
        for i in range(COMPONENTS):
            force_rows[i, lane] = force(i, x, derived, constants, shared, lane)


def from_surprisal(x, derived, constants, shared, phi, force_rows, scratch):  # type: ignore[no-untyped-def]
    """Of a model whose x is discrete: there is no force."""
    surprisal(x, derived, constants, shared, phi, scratch)


def no_energy(x, derived, constants, shared, phi, force_rows, scratch):  # type: ignore[no-untyped-def]
    """Of a model without x."""


def no_prepare(theta, constants, shared, derived, scratch):  # type: ignore[no-untyped-def]
    """Of a model whose moves read theta itself."""
