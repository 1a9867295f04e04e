"""L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387: a finite learning rate makes an entropic force, and what it leads to.

Claims are those of the paper's theorems and of the talk that its first author gave on it (2025), whose slides are named
by their titles. How each number is measured stands in `entropic_steps`, `entropic_symmetries`, `entropic_solutions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np

from thermosim.exact.entropic_forces import flattest_weights
from thermosim.exact.entropic_loss import COEFFICIENT
from thermosim.papers import entropic_solutions as solutions
from thermosim.papers import entropic_steps as steps
from thermosim.papers import entropic_symmetries as symmetries
from thermosim.papers.claims import Claim, Ensembles, Number, Paper, Run

__all__ = ["ENTROPIC_FORCES"]


def _rates(*rates: float) -> dict[str, object]:
    return {"theta.learning_rate": {"values": list(rates)}}


def _starts(stretch: float) -> dict[str, object]:
    """Weights of the flattest network of cases/training/sharpening.toml, one layer stretched, the other shrunk."""
    first, second = flattest_weights(np.diag([1.0, 0.8]), np.diag([1.0, 0.6]), 4)
    return {"layer_1": (stretch * first).tolist(), "layer_2": (second / stretch).tolist()}


def _sharpness(noise: Sequence[float], stretch: float) -> tuple[dict[str, object], dict[str, object]]:
    """Changes for a minute, and for the size of the case."""
    both: dict[str, object] = {"data.noise": list(noise), "theta.initial": _starts(stretch)}
    sweep = _rates(0.01, 0.015, 0.02, 0.03)
    return both | {"sweep": sweep, "run.steps": 60_000, "record.every": 600, "ensemble.replicas": 128}, both


_UNEQUAL, _EQUAL = _sharpness((0.25, 1.0), 1.0), _sharpness((0.625, 0.625), 3.0)
_VIEWS = [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[0.9, 0.7, -0.2], [-0.5, 1.1, 0.3], [0.2, -0.4, 1.3]]]
_TWO_VIEWS = {"model.embedding": {"values": _VIEWS}}
_CHAIN: dict[str, object] = {
    "title": "A chain of two weights: what becomes of the charge that gradient flow keeps",
    "theta.initial": {"weight": [0.6, 1.2]},
    "data.matrix": [[0.72]],
    "data.noise": 0.25,
    "ensemble.replicas": 256,
}
_STEP_BY_STEP = {"run.steps": 1000, "record.every": 1, "theta.learning_rate": 0.02, "sweep": {}}
_AT_THREE_RATES = {"run.steps": 32_000, "record.every": 1000, "sweep": _rates(0.005, 0.01, 0.02)}
_RELU = {"model.widths": [4, 8, 2], "theta.learning_rate": 0.03}  # layers of two settle soonest
_NO_NOISE = {"theta.batch": "all", "data.fresh": False, "data.rows": 64}
_SLOW: dict[str, object] = {"run.steps": 400_000, "record.every": 4000}


def _of_paper(ensembles: Ensembles) -> list[Number]:
    return steps.coefficients(ensembles, 1.0) + steps.orders(ensembles, 1.0)


def _right(ensembles: Ensembles) -> list[Number]:
    return steps.coefficients(ensembles, COEFFICIENT) + steps.orders(ensembles, COEFFICIENT)


_STEPS = (
    Claim(
        "A step back undoes a step on theta^2/2 but for a factor 1 - eta^2",
        'slide "Irreversibility of SGD Dynamics"',
        steps.there_and_back,
    ),
    Claim(
        "Descent follows the flow of F = L + eta S, with S = E|grad l|^2 = |grad L|^2 + Tr Cov",
        'slides "Effective Free Energy", "Stochastic Gradient Descent"',
        _of_paper,
        ("descent",),
        "the coefficient is 1/4, for both parts; with 1 the flow is no nearer than that of L",
        _right,
    ),
    Claim(
        "Two steps of eta/2 along grad F do what one of eta along grad L does, whatever their number",
        'slide "Learning at large and small learning rate"',
        partial(steps.by_smaller_steps, claimed=1.0),
        ("descent",),
        "n steps take the coefficient (1 - 1/n)/4, which the flow makes 1/4",
        partial(steps.by_smaller_steps, claimed=None),
    ),
    Claim(
        "What makes a step reversible is the same F that makes it continuous",
        'slide "Alternative derivation"',
        steps.reversed_step,
        ("descent",),
        "a step back needs L + eta |grad L|^2/2, twice what the flow needs",
        steps.both_ways,
    ),
)
_SYMMETRIES = (
    Claim(
        "F has no non-compact symmetry, and keeps no symmetry but those that preserve the norm",
        'slide "Parameter Symmetries", table 1',
        symmetries.survivors,
        ("scaling", "neuron", "matrices"),
        "a translation is not compact, changes the norm, and stays; of symmetries that act linearly it is true",
        symmetries.survivors_that_are_linear,
    ),
    Claim(
        "F has the symmetry exp(lambda A) from which balance follows",
        'slide "Breaking of Generic Symmetry"',
        symmetries.slope_of_entropic_loss,
        ("scaling", "neuron", "matrices"),
        "the loss of every row has it; F breaks it, and so its minima are balanced",
        symmetries.slope_of_loss,
    ),
    Claim(
        "Along every such symmetry E|g|^2 has one least value at a finite lambda",
        'slide "Proof sketch"',
        partial(symmetries.least_along_orbits, among=("scaling", "rescaling", "double rotation")),
        ("scaling", "neuron", "matrices"),
        "A needs eigenvalues of both signs: with scaling E|g|^2 falls for ever, and the norm grows",
        partial(symmetries.least_along_orbits, among=("rescaling", "double rotation")),
    ),
    Claim(
        "Charges that gradient flow keeps change in SGD at every step: the norm only grows",
        'slides "Scale Invariance: An Example"',
        symmetries.charges,
        ("chain", "scaling"),
    ),
    Claim(
        "For small steps the charge of a chain u w falls on average as (1 - 4 eta^2 s_e^2 s_x^2)^t",
        'slide "Breaking of Rescaling Symmetry"',
        symmetries.charge_on_average,
        ("slow chain",),
    ),
    Claim(
        "Layers come to equal mean squared gradients",
        'slide "Breaking of Rescaling Symmetry"',
        symmetries.balance_of_layers,
        ("neuron", "relu"),
    ),
    Claim(
        "So does every hidden unit, with what goes in and what goes out",
        'slide "Breaking of Rescaling Symmetry"',
        symmetries.balance_of_units,
        ("relu",),
    ),
    Claim(
        "The symmetric state of a neuron is |u| = |w|",
        "table 1",
        partial(symmetries.place_of_neuron, claimed=1.0),
        ("neuron",),
        "gradients are balanced, not weights: |w|^2/u^2 = Tr Sx |V|^2/(V Sx V')",
        partial(symmetries.place_of_neuron, claimed=None),
    ),
    Claim(
        "With weight decay the balance is E g'A g = (4 gamma/eta) theta'A theta",
        "theorem on balance, with weight decay",
        symmetries.balance_of_decay,
        ("decay",),
    ),
    Claim(
        "W_i E[G'G] W_i' = W_(i+1) E[GG'] W_(i+1)' for linear layers, G = dl/d(W_(i+1) W_i)",
        'slide "Examples"',
        symmetries.matrices_as_printed,
        ("matrices",),
        "transposes are misplaced: it is W_(i+1)' E[GG'] W_(i+1)",
        symmetries.matrices,
    ),
)
_DIGITS = Claim(
    "Layers come to balance on real data, too (the paper: MNIST; here: digits of 4 x 4 pixels)",
    'slide "Example", a ReLU network',
    symmetries.balance_on_digits,
    ("digits",),
)
_OF_DIGITS = Run(
    "training/balance_digits",
    {"run.steps": 120_000, "record.every": 1200, "ensemble.replicas": 16},
    {"run.steps": 400_000, "record.every": 4000},
)
_HAS_DIGITS = find_spec("sklearn") is not None  # which they come with
_SOLUTIONS = (
    Claim(
        "Hidden layers of networks with other views and embeddings are alike: h_A'h_A = h_B'h_B",
        'slide "Perfect Platonic Representation Hypothesis"',
        partial(solutions.sizes, alike=True),
        ("networks",),
        "alike up to one number for each pair of layers, which the views decide",
        partial(solutions.sizes, alike=False),
    ),
    Claim(
        "Up to this number all layers of A, all of B, and all of A and B are aligned",
        "Theorem 1",
        solutions.aligned,
        ("networks",),
    ),
    Claim(
        "What they are aligned with is the data's alone: a universal kernel",
        'slide "Universal Representation Learning"',
        solutions.universal,
        ("networks",),
    ),
    Claim(
        "Most minima of L are not universal: without noise, networks are not aligned",
        'slide "Most solutions are not universal"',
        solutions.not_universal,
        ("all rows", "plain"),
    ),
    Claim(
        "Weight decay breaks the alignment",
        "discussion of Theorem 1",
        solutions.broken,
        ("decayed", "plain"),
    ),
    Claim(
        "Unequal noise of labels sharpens, also from the flattest weights",
        'slide "Prediction"',
        solutions.sharpened,
        ("unequal noise",),
    ),
    Claim(
        "Equal noise of labels flattens",
        'slide "Prediction"',
        solutions.flattened,
        ("equal noise",),
    ),
)

ENTROPIC_FORCES = Paper(
    arxiv="2505.12387",
    name="entropic-forces",
    title="Neural Thermodynamics: Entropic Forces in Deep and Universal Representation Learning",
    authors="L. Ziyin, Y. Xu, I. Chuang",
    runs={
        "descent": Run("training/entropic_parts"),
        "scaling": Run("training/symmetries/scaling", {"run.steps": 2000, "ensemble.replicas": 64}),
        "neuron": Run(
            "training/symmetries/rescaling",
            {"sweep": _rates(0.01, 0.02, 0.03), "run.steps": 40_000, "record.every": 400, "ensemble.replicas": 128},
            {**_SLOW, "sweep": _rates(0.005, 0.01, 0.02)},
        ),
        "matrices": Run(
            "training/symmetries/double_rotation",
            {"run.steps": 40_000, "record.every": 400, "ensemble.replicas": 128},
            _SLOW,
        ),
        "chain": Run("training/symmetries/sign_flip", {**_CHAIN, **_STEP_BY_STEP}, {**_CHAIN, **_STEP_BY_STEP}),
        "slow chain": Run(
            "training/symmetries/sign_flip", {**_CHAIN, **_AT_THREE_RATES}, {**_CHAIN, **_AT_THREE_RATES}
        ),
        "relu": Run(
            "training/balance",
            {**_RELU, "run.steps": 60_000, "record.every": 300, "ensemble.replicas": 64},
            {**_RELU, "run.steps": 120_000, "record.every": 600},
        ),
        "decay": Run(
            "training/decay_balance",
            {
                "sweep": {"theta.weight_decay": {"values": [0.005, 0.02, 0.08]}},
                "theta.learning_rate": 0.02,
                "run.steps": 40_000,
                "record.every": 400,
            },
        ),
        "networks": Run(
            "training/alignment",
            {
                "sweep": _TWO_VIEWS | _rates(0.007, 0.0135, 0.02),
                "run.steps": 100_000,
                "record.every": 1000,
                "ensemble.replicas": 48,
            },
            {"sweep": _TWO_VIEWS | _rates(0.005, 0.01, 0.015)},
        ),
        "plain": Run("training/alignment_breaks", {"run.steps": 25_000}),
        "decayed": Run(
            "training/alignment_breaks", {"run.steps": 25_000, "theta.weight_decay": 0.05}, {"theta.weight_decay": 0.05}
        ),
        "all rows": Run("training/alignment_breaks", {**_NO_NOISE, "run.steps": 5000, "record.every": 50}, _NO_NOISE),
        "unequal noise": Run("training/sharpening", *_UNEQUAL),
        "equal noise": Run("training/sharpening", *_EQUAL),
        **({"digits": _OF_DIGITS} if _HAS_DIGITS else {}),
    },
    claims=(*_STEPS, *_SYMMETRIES, *((_DIGITS,) if _HAS_DIGITS else ()), *_SOLUTIONS),
    seconds=60.0,
    full_seconds=1200.0,
    note=(
        "Alignment of networks that are not linear is not judged: no theory says what it comes to. "
        + ("" if _HAS_DIGITS else "Balance on digits was left out: they come with scikit-learn. ")
        + "Of its figures no numbers are known to stand beside these."
    ),
)
