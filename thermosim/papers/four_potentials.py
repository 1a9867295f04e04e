"""What arXiv:2605.21933 says of the four potentials of irreversibility, at the starts of runs: told without chance.

The field U is the gradient of a loss on all rows of a run. What theory leaves open, the next order of the learning rate
eta, is bounded by derivatives measured on the path (`analysis.irreversibility.bounds`), or told by halving eta: of a
remainder c eta the rest at eta/2 is the change from eta to eta/2, of which twice is allowed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.analysis.irreversibility import critical_points, field_of_loss, potentials
from thermosim.analysis.irreversibility.bounds import scalar_bounds
from thermosim.analysis.irreversibility.ensemble_sweep import exact_potentials, quadratic_of
from thermosim.analysis.irreversibility.fields import Field
from thermosim.analysis.irreversibility.potentials import stochastic
from thermosim.analysis.machine import Machine
from thermosim.exact.entropic_loss import descend, flow
from thermosim.papers.claims import Ensembles, Number

__all__ = [
    "HALVED",
    "VECTORS",
    "Start",
    "closed_forms",
    "flows",
    "forces",
    "forces_of",
    "halved",
    "linear_in_rate",
    "next_order",
    "sizes",
    "start",
]

HALVED = "the next order of eta, told by halving it"
VECTORS = {"de": "g_DE", "tr": "g_TR", "ta": "g_TA", "st": "grad phi_ST"}
_FIELDS = {"quadratic": "quadratic", "quartic": "quartic", "network": "tanh network"}
_SCALARS = {"de": "phi_DE", "tr": "phi_TR", "ta": "phi_TA", "st": "phi_ST"}
_LEFT = "order of {}/((eta/4)|U|^2) - 1"
_SMALL = 1e-4  # learning rate of what holds as it goes to 0
_TIME, _STEP = 0.2, 1e-3  # of flows, and the smallest step of descent along them
_AT_MOST = 0.05  # that the next order may be
_OVER_BOUND = 1.5  # of a bound whose constants are measured at some points of the path only
_BOUND = "the remainder of order eta^2, bounded by derivatives of U"
_DIFFERENCE = 1e-5  # of theta, of central differences of phi_ST


class Start(NamedTuple):
    """A field at starts theta (R, m), and the rows (K, n) that it is of."""

    field: Field
    theta: np.ndarray
    rows: np.ndarray
    machine: Machine

    @property
    def origin(self) -> np.ndarray:
        """Where the ray to theta begins, (R, m): theta = 0 of a network, which has no biases, else a minimum."""
        layered = self.machine.model.name == "multilayer-perceptron"
        return np.zeros_like(self.theta) if layered else critical_points(self.field, self.theta)


def start(ds: xr.Dataset, frame: int = 0) -> Start:
    """Of the first point of a sweep; or any frame."""
    machine = analysis.machines(ds)[0]
    rows = machine.data.of_set(int(machine.data_set()[0]))
    field = field_of_loss(machine.model, machine.constants, rows, threads=1)  # a few replicas
    return Start(field, machine.theta(frame), rows, machine)


def halved(quantity: str, at_rate: float, at_half: float, claimed: float) -> Number:
    """What is measured at eta/2, beside the change from eta: where that is large eta/2 is not small."""
    allowed = min(2.0 * abs(at_half - at_rate), _AT_MOST)
    return Number(quantity, at_half, 0.0, claimed, allowed=allowed, because=HALVED)


def sizes(ensembles: Ensembles) -> list[Number]:
    """phi over (eta/4)|U|^2 at a small rate, of the start that is furthest from 1."""
    numbers = []
    for name, words in _FIELDS.items():
        begin = start(ensembles[name])
        origin = begin.origin
        found = potentials(begin.field, begin.theta, _SMALL, origin=origin)
        bounds, lead = scalar_bounds(begin.field, begin.theta, _SMALL, origin), found["leading_order"].values
        for key, symbol in _SCALARS.items():
            ratio = found[f"phi_{key}"].values / lead
            worst = int(np.argmax(np.abs(ratio - 1.0)))
            allowed = _OVER_BOUND * float(bounds[key][worst] / lead[worst])
            quantity = f"{symbol}/((eta/4)|U|^2), {words}"
            numbers.append(Number(quantity, float(ratio[worst]), 0.0, 1.0, allowed=allowed, because=_BOUND))
    return numbers


def _means(begin: Start, origin: np.ndarray, rates: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Roots of the means over starts of phi^2, and of (phi/lead - 1)^2: (K,) each, by the names of _SCALARS."""
    found = potentials(begin.field, begin.theta, rates, origin=origin)
    phi = {key: found[f"phi_{key}"].values for key in _SCALARS}
    off = {key: one / found["leading_order"].values - 1.0 for key, one in phi.items()}
    whole, rest = ({key: np.sqrt((one**2).mean(0)) for key, one in each.items()} for each in (phi, off))
    return whole, rest


def _order(quantity: str, values: np.ndarray, claimed: float) -> Number:
    """d ln X/d ln eta of X at eta, 2 eta and 4 eta (3,)."""
    order = np.diff(np.log(values)) / np.log(2.0)
    return halved(quantity, float(order[1]), float(order[0]), claimed)


def linear_in_rate(ensembles: Ensembles) -> list[Number]:
    """The order of each potential in the learning rate, of the paper's test problem."""
    begin = start(ensembles["quadratic"])
    whole, _ = _means(begin, begin.origin, _SMALL * np.array([1.0, 2.0, 4.0]))
    return [_order(f"order of {_SCALARS[key]}", values, 1.0) for key, values in whole.items()]


def next_order(ensembles: Ensembles) -> list[Number]:
    """The order of what each potential is apart from leading order; of a quadratic TR and TA are not."""
    numbers = []
    for name, words in _FIELDS.items():
        begin = start(ensembles[name])
        _, rest = _means(begin, begin.origin, _SMALL * np.array([1.0, 2.0, 4.0]))
        keys = ("de", "st") if name == "quadratic" else tuple(_SCALARS)
        numbers += [_order(f"{_LEFT.format(_SCALARS[key])}, {words}", rest[key], 1.0) for key in keys]
    return numbers


def closed_forms(ensembles: Ensembles) -> list[Number]:
    """Of a quadratic, over a closed form, at rates to beyond 1/h: of the start and rate that are furthest from 1."""
    begin = start(ensembles["quadratic"])
    known = quadratic_of(begin.machine.model, begin.machine.constants, begin.rows)
    if known is None:
        raise ValueError("closed forms are of a quadratic: the case has another model")
    rates = np.array([0.01, 0.3, 1.5])
    found = potentials(begin.field, begin.theta, rates, origin=known[1])
    exact = exact_potentials([known], begin.theta, rates)
    forms = {
        "de": "phi_DE over x'(exp(-eta A) - 1 + eta A)x/(2 eta)",
        "tr": "phi_TR over (eta/4)|A x|^2",
        "ta": "phi_TA over (eta/4)|A x|^2",
        "st": "phi_ST over (eta/16)|(2 A - eta A^2)x|^2",
    }
    numbers = []
    for key, words in forms.items():
        ratio = (found[f"phi_{key}"].values / exact[key]).ravel()
        numbers.append(Number(words, float(ratio[np.argmax(np.abs(ratio - 1.0))]), 0.0, claimed=1.0))
    return numbers


def forces_of(field: Field, theta: np.ndarray, rate: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """g_DE, g_TR, g_TA, and the gradient of phi_ST by central differences; (eta/2) J U: (R, m) each."""
    found = potentials(field, theta, rate, scalars=False)
    forces = {key: found[f"mismatch_{key}"].values for key in ("de", "tr", "ta")}
    shift = _DIFFERENCE * np.eye(theta.shape[1])
    up, down = (np.stack([stochastic(field, theta + sign * e, rate) for e in shift], 1) for sign in (1.0, -1.0))
    return forces | {"st": (up - down) / (2.0 * _DIFFERENCE)}, found["mismatch_leading"].values


def forces(ensembles: Ensembles) -> list[Number]:
    """The part of a force along (eta/2) J U, over it, at the start that is furthest from 1."""
    numbers = []
    for name, words in _FIELDS.items():
        begin = start(ensembles[name])
        whole, half = (_parts(begin, rate) for rate in (_SMALL, _SMALL / 2.0))
        for key, symbol in VECTORS.items():
            worst = int(np.argmax(np.abs(half[key] - 1.0)))
            numbers.append(halved(f"{symbol}, {words}", float(whole[key][worst]), float(half[key][worst]), 1.0))
    return numbers


def _parts(begin: Start, rate: float) -> dict[str, np.ndarray]:
    found, lead = forces_of(begin.field, begin.theta, rate)
    return {key: (one * lead).sum(1) / (lead**2).sum(1) for key, one in found.items()}


def flows(ensembles: Ensembles) -> list[Number]:
    """The order in eta of the distance, at a fixed time, of descent from the flow of E + c eta |U|^2."""
    numbers = []
    for name in ("quartic", "network"):
        begin = start(ensembles[name])
        for coefficient, words, order in ((0.25, "1/4", 2.0), (0.0, "0", 1.0), (0.5, "1/2", 1.0)):
            distances = []
            for rate in _STEP * np.array([1.0, 2.0, 4.0]):
                steps = descend(begin.field, begin.theta, rate, round(_TIME / rate))
                carried = flow(begin.field, begin.theta, _TIME, coefficient * rate)
                distances.append(np.sqrt(((steps - carried) ** 2).sum(1).mean()))
            numbers.append(_order(f"order with c = {words}, {_FIELDS[name]}", np.array(distances), order))
    return numbers
