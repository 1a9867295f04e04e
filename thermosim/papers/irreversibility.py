"""L. Ziyin et al., arXiv:2605.21933: four measures of the irreversibility of a step, and the force that comes of it.

The text at hand prints no number of its experiments: what is claimed are theorems, orders and closed forms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim import analysis
from thermosim.analysis.irreversibility import dissipation
from thermosim.analysis.irreversibility.dissipation import drift_residual
from thermosim.analysis.machine import Machine
from thermosim.analysis.update_energy import energies_of_updates, noise_limit
from thermosim.papers import emergent_force as force
from thermosim.papers import four_potentials as four
from thermosim.papers.claims import Claim, Ensembles, Number, Paper, Run

__all__ = ["IRREVERSIBILITY"]

_SCHEDULES = ("constant", "cosine", "steps", "warm-up")  # of the case, in its order
_PLACES = ("e", "sqrt e", "1", "1/sqrt e")  # |u| = 1/|w| of the starts of the case, in its order
_WINDOWS = 4
_MILD = "beta2 is not 1, and gradients are not quite noise"


def _drift(ensembles: Ensembles) -> list[Number]:
    """Change of the charge over the sum of what the force at every state on the way makes of it, by start."""
    numbers = []
    for machine, place in zip(analysis.machines(ensembles["dissipation"]), _PLACES, strict=True):
        charge = machine.frames["charge"].transpose("step", "replica").values
        scale = float(np.abs(charge[0]).max())
        if scale == 0.0:  # at the least place already, where nothing moves it
            continue
        rest = drift_residual(machine) * scale
        told = (charge[-1] - charge[0] - rest).mean()
        error = rest.std(ddof=1) / np.sqrt(rest.size) / abs(told)
        value = float(1.0 + rest.mean() / told)
        quantity = f"drift over that of -grad phi, from |u| = {place}"
        numbers.append(Number(quantity, value, float(error), 1.0, degrees_of_freedom=rest.size - 1))
    return numbers


def _falling(ensembles: Ensembles) -> list[Number]:
    """Change of (eta/4) E|U|^2 between windows of a run, over its least on the orbit."""
    ds = ensembles["dissipation"]
    numbers = []
    for point, (place, windows) in enumerate(zip(_PLACES, (_WINDOWS, 2, 0, 2), strict=True)):
        if not windows:
            continue
        found = dissipation(ds.isel(weight=[point]), windows).isel(weight=0)
        least = float(found["least"])
        value, error = found["dissipation"].values / least, found["dissipation_error"].values / least
        for k in range(windows - 1):
            quantity = f"change of phi over its least, part {k + 1} to {k + 2} of {windows}, from |u| = {place}"
            spread = float(np.hypot(error[k], error[k + 1]))
            freedom = ds.sizes["replica"] - 1
            change = float(value[k + 1] - value[k])
            numbers.append(Number(quantity, change, spread, 0.0, degrees_of_freedom=freedom, sense="<"))
    return numbers


def _updates(machine: Machine) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """|dtheta|^2/(eta^2 d) of frames and replicas (F, R), its theory and doubt (F,), and eta (F,)."""
    energy, rates = energies_of_updates(machine)
    limit = noise_limit(machine)
    if limit is None:
        raise ValueError("update energies are compared of Adam on the fresh rows of a linear regression")
    numbers = int(machine.constants["inputs"])
    return energy / (rates * numbers)[:, None], limit.energy / (rates * numbers), limit.doubt, rates


def _schedules(ensembles: Ensembles) -> list[Number]:
    """Mean of the late half of each schedule, and the exponent with which it follows the rate between two quarters."""
    numbers = []
    for machine, name in zip(analysis.machines(ensembles["adam"]), _SCHEDULES, strict=True):
        theta = machine.settings.theta
        claimed = (1.0 - theta.beta1) / (1.0 + theta.beta1)
        share, told, doubt, rates = _updates(machine)
        late = slice(len(rates) // 2, None)
        value, error = _mean(share[late])
        allowed = abs(float(told[late].mean()) - claimed) + claimed * float(doubt[late].mean())
        freedom = share.shape[1] - 1
        more: dict[str, Any] = {"degrees_of_freedom": freedom, "because": _MILD}
        quantity = f"|dtheta|^2/(eta^2 d), {name}"
        numbers.append(Number(quantity, value, error, claimed, allowed=allowed, **more))
        if name != "constant":
            numbers.append(_exponent(share * rates[:, None], rates, name, doubt, more))
    return numbers


def _exponent(energy: np.ndarray, rates: np.ndarray, name: str, doubt: np.ndarray, more: dict[str, Any]) -> Number:
    """d ln(|dtheta|^2/eta)/d ln eta between the second eighth and the last quarter of a run."""
    count = len(rates)
    parts = (slice(count // 8, count // 4), slice(3 * count // 4, None))
    (first, of_first), (last, of_last) = (_mean(energy[part]) for part in parts)
    length = float(np.log(rates[parts[1]].mean() / rates[parts[0]].mean()))
    left = sum(float(doubt[part].mean()) for part in parts) / abs(length)
    error = float(np.hypot(of_first / first, of_last / last)) / abs(length)
    quantity = f"d ln(|dtheta|^2/eta)/d ln eta, {name}"
    return Number(quantity, float(np.log(last / first)) / length, error, 1.0, allowed=left, **more)


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Of replicas, each of its mean over frames (F, R), and the standard error."""
    each = values.mean(0)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(each.size))


_AT_STARTS: dict[str, Any] = {"run.steps": 1, "sweep": {}}
_SYMMETRIC: dict[str, Any] = {
    "run.steps": 1,
    "record.every": 1,
    "record.variables": ["theta"],
    "theta.learning_rate": 0.01,
    "ensemble.replicas": 8,
}
_KEPT_ROWS: dict[str, Any] = _SYMMETRIC | {"data.fresh": False, "data.rows": 12}
_SPREAD_OUT: dict[str, Any] = {"theta.spread": 0.5}


def _starts(case: str) -> Run:
    few, many = {"ensemble.replicas": 8}, {"ensemble.replicas": 64}
    return Run(f"irreversibility/{case}", _AT_STARTS | few, _AT_STARTS | many)


def _symmetry(case: str, changes: dict[str, Any]) -> Run:
    return Run(f"training/symmetries/{case}", changes, changes | {"ensemble.replicas": 64})


_EDGE: dict[str, Any] = {"theta.learning_rate": 0.05, "run.steps": 3000, "record.every": 3000}
_FIELDS = ("quadratic", "quartic", "network")
_ADAM = Run("training/adam_update_energy", {"ensemble.replicas": 100})

IRREVERSIBILITY = Paper(
    arxiv="2605.21933",
    name="irreversibility",
    title="Thermodynamic Irreversibility of Training Algorithms",
    authors="L. Ziyin, Y. Ren, A. Levine, I. Chuang",
    runs={
        "quadratic": _starts("potentials"),
        "stiff": _starts("stiff_quadratic"),
        "quartic": _starts("quartic"),
        "network": _starts("tanh_network"),
        "scaling": _symmetry("scaling", _KEPT_ROWS | _SPREAD_OUT),
        "rescaling": _symmetry("rescaling", _KEPT_ROWS | _SPREAD_OUT),
        "rotation": _symmetry("rotation", _KEPT_ROWS),
        "translation": _symmetry("translation", _SYMMETRIC | _SPREAD_OUT),
        "permutation": _symmetry("permutation", _KEPT_ROWS | _SPREAD_OUT),
        "sign_flip": _symmetry("sign_flip", _KEPT_ROWS | _SPREAD_OUT),
        "edge": Run(
            "irreversibility/edge_of_stability", _EDGE | {"ensemble.replicas": 16}, _EDGE | {"ensemble.replicas": 64}
        ),
        "dissipation": Run("irreversibility/minimal_dissipation", {}, {"ensemble.replicas": 2000}),
        "adam": _ADAM,
    },
    claims=(
        Claim(
            "phi_DE, phi_TR, phi_TA and phi_ST are all (eta/4)|U|^2 to leading order in the learning rate eta",
            "G33; eta = 1e-4",
            four.sizes,
            _FIELDS,
        ),
        Claim(
            "At a fixed theta of the quadratic they grow linearly with eta", "G33", four.linear_in_rate, ("quadratic",)
        ),
        Claim("What they are apart from that is of the next order", "abstract, App. B", four.next_order, _FIELDS),
        Claim(
            "The quadratic test problem has closed forms; TR and TA keep (eta/4)|U|^2 at any eta",
            "G3-G36; eta to 1.5",
            four.closed_forms,
            ("quadratic",),
        ),
        Claim("All four make one force, (eta/2) J U", "App. B; eta = 5e-5", four.forces, _FIELDS),
        Claim(
            "Steps follow the flow of E + c eta |U|^2 with c = 1/4 to second order in eta, with others to first",
            "phi_DE as backward error",
            four.flows,
            ("quartic", "network"),
        ),
        Claim(
            "sigma^2 Sigma goes to 8 eta phi_ST as sigma -> 0 and then tau -> 0; in the other order it has no limit",
            "limit theorem of phi_ST",
            force.limits,
            ("quadratic", "network"),
        ),
        Claim(
            "Along a symmetry that is no isometry potentials change at the rate -(eta/4) U'(J_Q + J_Q')U",
            "Theorem 6",
            force.breaking,
            ("scaling", "rescaling"),
        ),
        Claim(
            "Rotations and translations do not change them",
            "Theorem 6",
            force.preserved,
            ("rotation", "translation"),
        ),
        Claim(
            "Orthogonal symmetries leave them as they are",
            "Theorem 7; eta = 0.1",
            force.discrete,
            ("permutation", "sign_flip", "rotation"),
        ),
        Claim(
            "The force -grad phi is what moves training among states of one loss", "abstract", _drift, ("dissipation",)
        ),
        Claim(
            "There it takes training to less and less entropy production",
            "principle of minimal dissipation",
            _falling,
            ("dissipation",),
        ),
        Claim(
            "Leading order tells the direction of the force at eta up to 0.05, of stiff losses and networks too",
            "left open there; at starts, within 45 degrees",
            force.directions,
            (*_FIELDS, "stiff"),
        ),
        Claim(
            "In training at eta = 0.05, too, leading order tells size and direction of the force",
            "left open there; a tanh network",
            force.in_training,
            ("edge",),
            why=(
                "descent sharpens the loss to the edge of stability, eta h = 2, where U' = -U: phi_ST and its gradient "
                "vanish, while the other three keep their direction"
            ),
            corrected=force.at_the_edge,
        ),
        Claim(
            "Fields of Adam and momentum have no symmetric J, so that phi_DE, phi_TR and phi_TA are no scalars there",
            "App. A, assumed symmetric",
            force.no_gradients,
            ("network",),
        ),
        Claim(
            "Adam's update energy follows the schedule of the learning rate, in noise as eta d (1 - beta1)/(1 + beta1)",
            "perceptron experiment",
            _schedules,
            ("adam",),
        ),
    ),
    seconds=20.0,
    full_seconds=120.0,
    note=(
        "phi_DE, phi_TR and phi_TA are line integrals along a ray from a critical point, our choice; fields, rates and "
        "schedules are ours too, for the text at hand gives none. Of ReLU networks, whose U is not smooth, "
        "nothing is judged. Update energies of the Transformer and the GRU are cases of their own, "
        "networks/transformer_update_energy and networks/gru_update_energy, and not judged."
    ),
)
