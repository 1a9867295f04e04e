"""What arXiv:2605.21933 says of the force of irreversibility: symmetries, limits of noise, where leading order ends.

Whether leading order tells the force at usual learning rates is a question that the paper leaves open. At the starts of
runs it does up to eta = 0.05. Trained so, a network comes to eta h = 2, h the curvature along the step, where U' = -U:
there phi_ST and its gradient vanish, and along an eigenvector

    phi_ST/((eta/4)|U|^2) = (1 - eta h/2)^2,   g_DE/((eta/2) J U) = 2 (exp(-x) - 1 + x)/x^2, x = eta h,   1 of TR and TA
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import linalg

from thermosim.analysis.irreversibility import (
    asymmetry,
    regularised_entropy_production,
    symmetry_breaking_of_loss,
    under_transformation,
)
from thermosim.analysis.irreversibility.bounds import vector_bounds
from thermosim.analysis.irreversibility.fields import ASYMMETRIC, Field
from thermosim.analysis.orbit import flow_of
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.four_potentials import VECTORS, forces_of, halved, start

__all__ = [
    "at_the_edge",
    "breaking",
    "directions",
    "discrete",
    "in_training",
    "limits",
    "no_gradients",
    "preserved",
]

_SMALL = 1e-4  # learning rate of what holds as it goes to 0
_ORDINARY = 0.05  # a usual one
_LARGE = 0.1  # one at which Theorem 7 is to hold
_ALIGNED = float(np.sqrt(0.5))  # cosine of 45 degrees
_WIDTH, _NOISE = 0.02, 1e-4  # tau and sigma, sigma far below tau
_DRAWS = 100
_AT_MOST = 0.01  # of the limit, what a width and a noise may leave
_BROKEN = {"scaling": "length", "rescaling": "layers"}  # by the names that models give their symmetries
_KEPT = {"rotation": "rotation", "translation": "classes"}
_ORIGINAL = {"permutation": np.eye(6)[[2, 3, 0, 1, 5, 4]], "sign_flip": -np.eye(2)}


def _rates(ds: xr.Dataset, symmetry: str, rate: float) -> dict[str, np.ndarray]:
    """d phi/ds along an orbit by name, over (eta/4)|U|^2, at each start (R,)."""
    begin = start(ds)
    machine = begin.machine
    model, constants, rows = machine.model, machine.constants, begin.rows
    found = symmetry_breaking_of_loss(model, constants, begin.theta, rows, symmetry, rate, batch=len(rows))
    lead = 0.25 * rate * (begin.field(begin.theta) ** 2).sum(1)
    names = {"de": "rate_de", "tr": "rate_tr", "ta": "rate_ta", "st": "rate_st", "told": "predicted"}
    return {key: found[name].values / lead for key, name in names.items()}


def breaking(ensembles: Ensembles) -> list[Number]:
    """d phi/ds over -(eta/4) U'(J_Q + J_Q')U, by least squares over starts; along a scale over phi itself, too."""
    numbers = []
    for name, symmetry in _BROKEN.items():
        whole, half = (_rates(ensembles[name], symmetry, rate) for rate in (_SMALL, _SMALL / 2.0))
        for key in ("de", "st"):
            at, below = (float((one[key] * one["told"]).sum() / (one["told"] ** 2).sum()) for one in (whole, half))
            numbers.append(halved(f"d phi_{key.upper()}/ds over Theorem 6, {name}", at, below, 1.0))
        if name == "scaling":
            at, below = (float(one["st"].mean()) for one in (whole, half))
            numbers.append(halved("d ln phi_ST/ds, scaling", at, below, -2.0))
    return numbers


def preserved(ensembles: Ensembles) -> list[Number]:
    """The same rates over phi along isometries: root of the mean square over starts."""
    numbers = []
    for name, symmetry in _KEPT.items():
        whole, half = (_rates(ensembles[name], symmetry, rate) for rate in (_SMALL, _SMALL / 2.0))
        for key in ("de", "st"):
            at, below = (float(np.sqrt((one[key] ** 2).mean())) for one in (whole, half))
            numbers.append(halved(f"d ln phi_{key.upper()}/ds, {name}", at, below, 0.0))
    return numbers


def discrete(ensembles: Ensembles) -> list[Number]:
    """The largest relative change of phi_ST, g_DE, g_TR and g_TA under an orthogonal symmetry, at no small rate."""
    begin = start(ensembles["rotation"])
    turn = flow_of(begin.machine.model, begin.machine.constants, "rotation", 0, begin.theta.shape[1]).matrix
    matrices = _ORIGINAL | {"rotation": linalg.expm(turn)}
    numbers = []
    for name, matrix in matrices.items():
        begin = start(ensembles[name])
        found = under_transformation(begin.field, begin.theta, lambda there, by=matrix: there @ by.T, _LARGE)  # type: ignore[misc]
        largest = max(float(found[change].max()) for change in found)
        numbers.append(Number(f"largest relative change, {name.replace('_', ' ')}", largest, 0.0, claimed=0.0))
    return numbers


def limits(ensembles: Ensembles) -> list[Number]:
    """sigma^2 Sigma over 8 eta phi_ST with sigma far below tau; with tau far below sigma, how Sigma grows."""
    numbers = []
    for name, words in (("quadratic", "quadratic"), ("network", "tanh network")):
        begin = start(ensembles[name])
        mean, seed = begin.theta[0], int(begin.machine.settings.ensemble.seed)

        def found(tau: list[float], sigma: list[float], mean=mean, field=begin.field, seed=seed) -> xr.Dataset:  # type: ignore[no-untyped-def]
            return regularised_entropy_production(field, mean, _ORDINARY, tau, sigma, _DRAWS, seed)

        near = found([_WIDTH, _WIDTH / 2.0], [_NOISE, _NOISE / 2.0])
        first, half = near.isel(tau=0, sigma=0), near.isel(tau=1, sigma=1)
        error = float(half["ratio_error"])
        numbers.append(
            Number(
                f"sigma^2 Sigma/(8 eta phi_ST), sigma << tau, {words}",
                float(half["ratio"]),
                error,
                1.0,
                degrees_of_freedom=_DRAWS - 1,
                allowed=min(2.0 * abs(float(half["ratio"] - first["ratio"])), _AT_MOST),
                because="tau and sigma are not 0, told by halving them",
            )
        )
        far = found([1e-3, 1e-4, 1e-5], [1.0])["entropy_production"].values[:, 0]
        slopes = np.diff(far) / np.log(10.0) / len(mean)
        numbers.append(
            Number(
                f"dSigma/d ln(1/tau) per parameter, tau << sigma, {words}",
                float(slopes[1]),
                0.0,
                1.0,
                allowed=2.0 * abs(float(slopes[1] - slopes[0])),
                because="tau is not 0, told by a tenth of it",
            )
        )
    return numbers


def directions(ensembles: Ensembles) -> list[Number]:
    """The cosine with (eta/2) J U of that of the four forces which is furthest from it, median over starts."""
    fields = {"quadratic": "quadratic", "stiff": "stiff quadratic", "quartic": "quartic", "network": "tanh network"}
    numbers = []
    for name, words in fields.items():
        begin = start(ensembles[name])
        found, lead = forces_of(begin.field, begin.theta, _ORDINARY)
        least = np.min([_cosine(force, lead) for force in found.values()], axis=0)
        sharp = float(np.median(_rate_sharpness(begin.field, begin.theta)))
        quantity = f"least cosine with (eta/2) J U, {words}, eta h = {sharp:.2g} (of all starts {least.min():.2g})"
        numbers.append(Number(quantity, float(np.median(least)), 0.0, claimed=_ALIGNED, sense=">"))
    return numbers


def _rate_sharpness(field: Field, theta: np.ndarray, rate: float = _ORDINARY) -> np.ndarray:
    """eta h = U.(U - U')/|U|^2: (R,)."""
    here = field(theta)
    return np.asarray(1.0 - (here * field(theta - rate * here)).sum(1) / (here**2).sum(1))


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1)))


def _least(ensembles: Ensembles) -> tuple[dict[str, np.ndarray], np.ndarray, float, float, float]:
    """At the end of the training in which phi_ST is least of leading order: forces (m,), (eta/2) J U (m,), phi_ST over
    leading order, eta h, and what a quadratic along an eigenvector leaves open, relative."""
    begin = start(ensembles["edge"], -1)
    rate = float(begin.machine.settings.theta.learning_rate)
    found, lead = forces_of(begin.field, begin.theta, rate)
    here = begin.field(begin.theta)
    there = begin.field(begin.theta - rate * here)
    ratio = ((here + there) ** 2).sum(1) / (4.0 * (here**2).sum(1))
    least = int(np.argmin(ratio))
    turned = float(_rate_sharpness(begin.field, begin.theta, rate)[least])
    bound = vector_bounds(begin.field, begin.theta, rate)["ta"][least] / np.linalg.norm(lead[least])
    off = 1.0 / _cosine(here, lead)[least] ** 2 - 1.0
    return {key: one[least] for key, one in found.items()}, lead[least], float(ratio[least]), turned, float(bound + off)


def in_training(ensembles: Ensembles) -> list[Number]:
    """phi_ST and its gradient against leading order, at the end of that training."""
    found, lead, ratio, turned, _ = _least(ensembles)
    cosine = float(_cosine(found["st"][None], lead[None])[0])
    return [
        Number(f"phi_ST/((eta/4)|U|^2) at eta h = {turned:.4g}", ratio, 0.0, claimed=1.0),
        Number("cosine of grad phi_ST with (eta/2) J U", cosine, 0.0, claimed=_ALIGNED, sense=">"),
    ]


def at_the_edge(ensembles: Ensembles) -> list[Number]:
    """What is right instead: the closed forms along an eigenvector."""
    found, lead, ratio, x, left = _least(ensembles)
    more = {"allowed": 1.5 * left, "because": "third derivatives, and U not quite an eigenvector"}
    numbers = [Number("phi_ST/((eta/4)|U|^2), (1 - eta h/2)^2", ratio, 0.0, (1.0 - x / 2.0) ** 2, **more)]  # type: ignore[arg-type]
    for key, claimed in (("de", 2.0 * (np.exp(-x) - 1.0 + x) / x**2), ("tr", 1.0), ("ta", 1.0)):
        part = float((found[key] * lead).sum() / (lead**2).sum())
        numbers.append(Number(f"{VECTORS[key]} over (eta/2) J U", part, 0.0, float(claimed), **more))  # type: ignore[arg-type]
    return numbers


def no_gradients(ensembles: Ensembles) -> list[Number]:
    """The antisymmetric share of J, of the start where it is least (SGD: largest): that of a gradient is 0."""
    begin = start(ensembles["network"])
    field, theta = begin.field, begin.theta
    scale = np.abs(field(theta))  # roots of second moments that have seen this gradient only

    def with_velocity(state: np.ndarray) -> np.ndarray:
        at, velocity = np.split(state, 2, axis=1)
        new = 0.9 * velocity + field(at)
        return np.concatenate([new, velocity - new], axis=1)

    shares = {
        "Adam at its second moments": asymmetry(lambda there: field(there) / scale, theta).min(),
        "momentum 0.9 with its velocity": asymmetry(with_velocity, np.concatenate([theta, 0.0 * theta], axis=1)).min(),
    }
    numbers = [Number(f"least share, {words}", float(x), 0.0, ASYMMETRIC, sense=">") for words, x in shares.items()]
    plain = float(asymmetry(field, theta).max())
    return [*numbers, Number("largest share, plain descent", plain, 0.0, ASYMMETRIC, sense="<")]
