"""Four potentials of irreversibility of an update field, which agree to leading order of the learning rate r.

    phi_DE, phi_TR, phi_TA   line integrals of the mismatches of `mismatches` along the ray from a critical point
    phi_ST = (r/16) |U(theta) + U(theta')|^2,   theta' = theta - r U(theta)                              (G27, G28)
    all of them r |U|^2/4 + O(r^2) where the Jacobian J of U is symmetric                                (G33)

phi_ST is sigma^2/(8 r) times the entropy that a step sheds under the virtual kernel N(theta - r U, sigma^2), whatever
sigma, and needs no symmetry. The others are scalars only where their mismatches are gradients, so that an asymmetric
field is refused. To leading order they are, where U is smooth; at order r^2, and where the ray crosses kinks of ReLU,
the integral depends on the path, and the ray is our choice. `sharpness` is U'JU/|U|^2 without a Hessian, from the way
back alone, h = U.(U - U')/(r |U|^2): exact for a quadratic; where r h comes near 2 the four potentials part:

    phi_ST/(r |U|^2/4) = 1 - r h + |U - U'|^2/(4 |U|^2)

Of several minibatches each is reversed on itself, and what comes out is averaged over them.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), appendix G.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr
from scipy.integrate import quad_vec

from thermosim.analysis.irreversibility.fields import ASYMMETRIC, CRITICAL, Field, asymmetry, critical_points, looked_at
from thermosim.analysis.irreversibility.mismatches import MEASURES, Measure, discretisation, leading

__all__ = ["line_integrals", "potentials", "stochastic"]

_QUADRATURE, _HALVINGS = 1e-7, 8  # error of a line integral, and intervals that it is cut into at most
_NAMES = {"de": "discretisation error", "tr": "time renormalisation", "ta": "time reversal"}


def potentials(
    field: Field | Sequence[Field],
    theta: np.ndarray,
    learning_rate: float | Sequence[float] | np.ndarray,
    *,
    origin: np.ndarray | None = None,
    scalars: bool = True,
) -> xr.Dataset:
    """The four potentials of a field theta (R, m) -> U (R, m) at theta (R, m): dims replica[, learning_rate].

    field: a callable that takes row r to row r, or a list of them, one for each minibatch, averaged over.
    learning_rate: a number, or (K,) for a dimension. origin: a critical point (m,) or (R, m), where the potentials are
    0; where it is not given a minimum is sought downhill, and 0 tried. scalars=False leaves out what needs a symmetric
    Jacobian.

    phi_de, phi_tr, phi_ta, phi_st and leading_order = r |U|^2/4; mismatch_de, mismatch_tr, mismatch_ta and
    mismatch_leading = r J U/2, over theta_dim; sharpness; asymmetry, the share of J that is no Hessian, 0 to 1.

    Raises ValueError for arrays that do not fit, learning rates that are not positive; a field whose answer has another
    shape, is not finite, not in double precision, not the same twice, or that writes to theta; one whose Jacobian is
    not symmetric where scalars are asked for; one without a critical point to be found, or with U(origin) not 0.
    """
    theta = _checked_theta(theta)
    rates = _checked_rates(learning_rate)
    fields = looked_at(field, theta)
    share = np.max([asymmetry(one, theta) for one in fields], axis=0)
    found: dict[str, np.ndarray] = {}
    for one in fields:
        start = _origin(one, theta, origin, share) if scalars else None
        for name, values in _of_field(one, theta, rates, start).items():
            found[name] = found.get(name, 0.0) + values / len(fields)
    single = np.ndim(learning_rate) == 0
    result = xr.Dataset(coords={} if single else {"learning_rate": ("learning_rate", rates, {"units": "1/energy"})})
    for name, values in found.items():
        dims = ["learning_rate", "replica", *(["theta_dim"] if values.ndim == 3 else [])]
        array = xr.DataArray(values, dims=dims, attrs=_attributes(name))
        result[name] = array[0] if single else array.transpose("replica", "learning_rate", ...)
    result["asymmetry"] = xr.DataArray(share, dims="replica", attrs=_attributes("asymmetry"))
    if single:
        result.attrs["learning_rate"] = float(rates[0])
    return result


def stochastic(field: Field, theta: np.ndarray, rate: float) -> np.ndarray:
    """phi_ST at theta (R, m): (R,)."""
    here = field(theta)
    return np.asarray(rate / 16.0 * ((here + field(theta - rate * here)) ** 2).sum(1))


def line_integrals(field: Field, theta: np.ndarray, rate: float, origin: np.ndarray) -> dict[str, np.ndarray]:
    """phi_DE, phi_TR and phi_TA at theta (R, m) from an origin (R, m), by the names of MEASURES, each (R,).

    By Gauss and Kronrod's rule, halved until its error is 1e-7 of r |U|^2/4 at theta, or 1e-4 or so with kinks; what
    varies over less than a fifteenth of the ray may be missed. Raises ValueError where the field is not finite on it.
    """
    along = theta - origin
    square = (field(theta) ** 2).sum(1)
    scale = np.where(square > 0.0, 0.25 * rate * square, 1.0)
    measures: list[Measure] = [*MEASURES.values()]
    measures[0] = partial(discretisation, accuracy=_QUADRATURE)  # the costly one

    def slope(place: float) -> np.ndarray:
        there = origin + place * along
        return np.stack([(measure(field, there, rate) * along).sum(1) / scale for measure in measures])

    values, _ = quad_vec(
        slope, 0.0, 1.0, epsabs=_QUADRATURE, epsrel=0.0, norm="max", limit=_HALVINGS, quadrature="gk15"
    )
    if not np.isfinite(values).all():
        worst = int(np.flatnonzero(~np.isfinite(values).all(0))[0])
        raise ValueError(
            f"the measures are not finite on the ray from the origin to theta of replica {worst}, at learning rate "
            f"{rate:g}: give another origin, a smaller rate, or leave the scalars out with scalars=False"
        )
    return dict(zip(MEASURES, values * scale, strict=True))


def _of_field(field: Field, theta: np.ndarray, rates: np.ndarray, origin: np.ndarray | None) -> dict[str, np.ndarray]:
    """Every variable by name, (K, R) or (K, R, m)."""
    each = [_at_rate(field, theta, float(rate), origin) for rate in rates]
    return {name: np.stack([found[name] for found in each]) for name in each[0]}


def _at_rate(field: Field, theta: np.ndarray, rate: float, origin: np.ndarray | None) -> dict[str, np.ndarray]:
    here = field(theta)
    square, there = (here**2).sum(1), field(theta - rate * here)
    found = {"phi_st": stochastic(field, theta, rate), "leading_order": 0.25 * rate * square}
    if origin is not None:
        found |= {f"phi_{name}": values for name, values in line_integrals(field, theta, rate, origin).items()}
    found |= {f"mismatch_{name}": measure(field, theta, rate) for name, measure in MEASURES.items()}
    found["mismatch_leading"] = leading(field, theta, rate)
    change = (here * (here - there)).sum(1)
    found["sharpness"] = np.divide(change, rate * square, out=np.full_like(change, np.nan), where=square > 0.0)
    return found


def _checked_theta(theta: np.ndarray) -> np.ndarray:
    theta = np.array(theta, float)
    if theta.ndim != 2 or not theta.size or not np.isfinite(theta).all():
        raise ValueError(f"theta of shape {theta.shape}: expected finite numbers (replicas, parameters)")
    return theta


def _checked_rates(learning_rate: float | Sequence[float] | np.ndarray) -> np.ndarray:
    rates = np.atleast_1d(np.asarray(learning_rate, float))
    if rates.ndim != 1 or not rates.size or not (np.isfinite(rates).all() and (rates > 0.0).all()):
        raise ValueError(f"learning_rate = {learning_rate!r}: expected a positive number, or a row of them")
    return rates


def _origin(field: Field, theta: np.ndarray, given: np.ndarray | None, share: np.ndarray) -> np.ndarray:
    """A critical point, from which to integrate. Raises ValueError where there is none, or the field is no gradient."""
    _require_symmetry(share, "theta")
    if given is None:
        origin = critical_points(field, theta)
    else:
        origin = np.array(given, float)
        if origin.shape not in (theta.shape, theta.shape[1:]) or not np.isfinite(origin).all():
            raise ValueError(f"origin of shape {origin.shape}: expected {theta.shape} or {theta.shape[1:]}")
        origin = np.array(np.broadcast_to(origin, theta.shape))
        rest, there = np.abs(field(origin)).max(1), np.abs(field(theta)).max(1)
        worst = int(np.argmax(rest - CRITICAL * there))
        if not rest[worst] <= CRITICAL * there[worst]:
            raise ValueError(
                f"the field of replica {worst} is {rest[worst]:.3g} at origin, {there[worst]:.3g} at theta: potentials "
                "are 0 where the field is; leave origin out, and a critical point is sought"
            )
    _require_symmetry(asymmetry(field, 0.5 * (theta + origin)), "half way to the origin")
    return origin


def _require_symmetry(share: np.ndarray, where: str) -> None:
    worst = int(np.argmax(share))
    if share[worst] > ASYMMETRIC:
        raise ValueError(
            f"the field is no gradient: the antisymmetric share of its Jacobian J is {share[worst]:.2g} at {where} of "
            f"replica {worst}, |J - J'|/(|J - J'|^2 + |J + J'|^2)^(1/2). So its mismatches are no gradients, and there "
            "are no scalars phi_DE, phi_TR, phi_TA; scalars=False gives phi_ST and the vectors"
        )


def _attributes(name: str) -> dict[str, str]:
    kind, _, which = name.partition("_")
    if name == "phi_st":
        return {"units": "energy", "long_name": "potential of entropy production", "equation": "r |U + U'|^2/16"}
    if name == "leading_order":
        return {"units": "energy", "long_name": "leading order of all potentials", "equation": "r |U|^2/4"}
    if name == "mismatch_leading":
        return {"units": "energy", "long_name": "leading order of all mismatches", "equation": "r J U/2"}
    if name == "sharpness":
        return {"units": "energy", "long_name": "curvature along the step", "equation": "U.(U - U')/(r |U|^2)"}
    if name == "asymmetry":
        return {"units": "1", "long_name": "share of the Jacobian that is antisymmetric"}
    return {"units": "energy", "long_name": f"{'potential' if kind == 'phi' else 'mismatch'} of {_NAMES[which]}"}
