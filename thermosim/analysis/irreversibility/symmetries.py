"""What a step does to a symmetry of its field: the four potentials along an orbit, and under one transformation.

A field has the symmetry theta -> K(theta) where U(K theta) = J_K^-T U(theta), as of a loss with l(K theta) = l(theta);
near the identity, K = theta + s Q(theta), where J Q = -J_Q'U. Then (Theorem 6) each potential leaves it at the rate

    d phi/ds = -(r/4) U'(J_Q + J_Q')U + O(r^2)

which vanishes for rotations and translations (J_Q antisymmetric or 0) and pushes outwards along a scale, Q = theta. And
(Theorem 7) an orthogonal K, a permutation, a change of sign, a rotation, leaves all four as they are, at any r.

The rates of phi_DE, phi_TR, phi_TA are Q times their mismatches, of which no scalar is needed; that of phi_ST is a
central difference along the orbit. A mismatch is a gradient to order r only, so that along a rotation its rate is of
order r^2, -r U'.Omega U/2 for g_TA, where the potential does not change at all.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), theorems 6 and 7, definition 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.irreversibility.fields import (
    ASYMMETRIC,
    Field,
    asymmetry,
    directional,
    fields_of_minibatches,
    looked_at,
    one_field,
)
from thermosim.analysis.irreversibility.mismatches import MEASURES
from thermosim.analysis.irreversibility.potentials import stochastic
from thermosim.analysis.orbit import Direction, flow_of
from thermosim.model import Model

__all__ = ["symmetry_breaking", "symmetry_breaking_of_loss", "under_transformation"]

_INVARIANT = 1e-6  # the part of J Q + J_Q'U that is rounding
_ROUNDING = 1e-9  # of the field, below which a turn of it is none
_STEP = 1e-5  # along the orbit, of central differences
Tangent = np.ndarray | Callable[[np.ndarray], np.ndarray]


def symmetry_breaking(
    field: Field | Sequence[Field], theta: np.ndarray, learning_rate: float, generator: Tangent
) -> xr.Dataset:
    """Rates d phi/ds along the orbit of a symmetry at theta (R, m): dims replica.

    generator: A of theta -> exp(s A) theta, a matrix (m, m) or a diagonal (m,); or Q, a callable as the field is one.
    field: a callable as in `potentials`, or a list of them, one for each minibatch, over which rates are averaged.

    rate_de, rate_tr, rate_ta, rate_st; predicted = -(r/4) U'(J_Q + J_Q')U, right to order r; non_invariance, the part
    of J Q + J_Q'U that does not cancel. Raises ValueError for a field that has not the symmetry, with that part, and
    what `potentials` refuses.
    """
    theta = np.array(theta, float)
    if theta.ndim != 2 or not theta.size or not np.isfinite(theta).all():
        raise ValueError(f"theta of shape {theta.shape}: expected finite numbers (replicas, parameters)")
    if not (np.isfinite(learning_rate) and learning_rate > 0.0):
        raise ValueError(f"learning_rate = {learning_rate!r}: expected a positive number")
    fields, (along, bend) = looked_at(field, theta), _orbit(generator, theta)
    share = np.max([asymmetry(one, theta) for one in fields], axis=0)
    if np.any(share > ASYMMETRIC):
        worst = int(np.argmax(share))
        raise ValueError(
            f"the field is no gradient: {share[worst]:.2g} of its Jacobian is antisymmetric at theta of replica "
            f"{worst}; the theorem is on fields with a symmetric one"
        )
    found: dict[str, np.ndarray] = {}
    for one in fields:
        for name, values in _rates(one, theta, learning_rate, along, bend).items():
            found[name] = found.get(name, 0.0) + values / len(fields)
    result = xr.Dataset({name: ("replica", values) for name, values in found.items()})
    for name in (*MEASURES, "st"):
        about = f"rate of phi_{name.upper()} along the orbit"
        result[f"rate_{name}"].attrs = {"units": "energy", "long_name": about}
    result["predicted"].attrs = {"units": "energy", "long_name": "rate to leading order", "equation": "Theorem 6"}
    result["non_invariance"].attrs = {"units": "1", "long_name": "part of J Q + J_Q'U that does not cancel"}
    return result.assign_attrs(learning_rate=learning_rate)


def symmetry_breaking_of_loss(
    model: Model,
    constants: Mapping[str, Any],
    theta: np.ndarray,
    rows: np.ndarray,
    symmetry: Direction,
    learning_rate: float,
    generator: int = 0,
    batch: int = 1,
) -> xr.Dataset:
    """`symmetry_breaking` of a loss at theta (R, m) or (m,), over rows (K, n) in minibatches of `batch`: dims replica.

    symmetry: the name of one that the model declares, a `Symmetry`, translations too, or A itself, a matrix (m, m) or a
    diagonal (m,); generator: which of several. batch = K is the step of the whole data.

    Raises ValueError as `symmetry_breaking` does, for a model that is no loss, a name that is unknown, saying which
    there are, and rows that do not fit.
    """
    if not model.is_loss:
        raise ValueError(f"model {model.name!r} is no loss of theta and a data row")
    theta = np.atleast_2d(np.array(theta, float))
    fields = fields_of_minibatches(model, constants, rows, batch)
    flow = flow_of(model, constants, symmetry, generator, theta.shape[1])
    shift = flow.shift
    tangent = flow.matrix if shift is None else lambda there: np.broadcast_to(shift, there.shape)
    return symmetry_breaking(fields, theta, learning_rate, tangent).assign_attrs(symmetry=flow.name)


def under_transformation(field: Field, theta: np.ndarray, transform: Field, learning_rate: float) -> xr.Dataset:
    """What an orthogonal transformation K, theta (R, m) -> (R, m), does to the measures: dims replica.

    change_st, the relative change of phi_ST; change_de, change_tr, change_ta, that of the length of each mismatch,
    whose line integrals change no more. All are rounding where the field has the symmetry (Theorem 7). Raises
    ValueError where K does not keep lengths.
    """
    theta = np.array(theta, float)
    field = one_field(field, theta)
    there = np.asarray(transform(theta.copy()), float)
    before, after = (np.sqrt((here**2).sum(1)) for here in (theta, there))
    if there.shape != theta.shape or not np.allclose(before, after, rtol=1e-12, atol=0.0):
        raise ValueError("the transformation is not orthogonal: it changes the length of theta")
    found = {}
    for name, measure in MEASURES.items():
        here, moved = (np.sqrt((measure(field, at, learning_rate) ** 2).sum(1)) for at in (theta, there))
        found[f"change_{name}"] = np.abs(moved / here - 1.0)
    found["change_st"] = np.abs(stochastic(field, there, learning_rate) / stochastic(field, theta, learning_rate) - 1.0)
    attrs = {"units": "1", "long_name": "relative change under the transformation"}
    return xr.Dataset({name: ("replica", values, attrs) for name, values in found.items()})


def _rates(field: Field, theta: np.ndarray, rate: float, along: np.ndarray, bend: np.ndarray) -> dict[str, np.ndarray]:
    """Of one minibatch, from Q (R, m) and J_Q (R, m, m)."""
    slope, turned = field(theta), directional(field, theta, along)
    kept = np.einsum("rji,rj->ri", bend, slope)
    size = np.sqrt((kept**2).sum(1)) + np.sqrt((turned**2).sum(1))
    rest = np.sqrt(((turned + kept) ** 2).sum(1))
    part = np.divide(rest, size, out=np.zeros_like(rest), where=size > _ROUNDING * np.abs(slope).max(1))
    worst = int(np.argmax(part))
    if part[worst] > _INVARIANT:
        raise ValueError(
            f"the field has not this symmetry: {part[worst]:.2g} of J Q + J_Q'U is left over at theta of replica "
            f"{worst}"
        )
    found = {f"rate_{name}": (measure(field, theta, rate) * along).sum(1) for name, measure in MEASURES.items()}
    step = _STEP * (1.0 + np.abs(theta).max()) / (1.0 + np.abs(along).max())
    up, down = (stochastic(field, theta + sign * step * along, rate) for sign in (1.0, -1.0))
    found["rate_st"] = (up - down) / (2.0 * step)
    found["predicted"] = -0.5 * rate * np.einsum("ri,rij,rj->r", slope, bend, slope)
    found["non_invariance"] = part
    return found


def _orbit(generator: Tangent, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q (R, m) and J_Q (R, m, m) at theta. Raises ValueError."""
    m = theta.shape[1]
    if callable(generator):
        along = looked_at(generator, theta)[0]
        each = [directional(along, theta, np.broadcast_to(e, theta.shape)) for e in np.eye(m)]
        return along(theta), np.stack(each, 2)
    matrix = np.asarray(generator, float)
    if matrix.shape not in ((m,), (m, m)) or not np.isfinite(matrix).all():
        raise ValueError(f"a generator of shape {matrix.shape}: expected finite numbers, a matrix ({m}, {m}) or ({m},)")
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    return theta @ matrix.T, np.broadcast_to(matrix, (len(theta), m, m))
