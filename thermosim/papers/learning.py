"""S. S. Parsi, arXiv:2310.19802: learning as stochastic thermodynamics of samples X and parameters Theta.

Sections, equations and figures are numbered as in the version named "Stochastic Thermodynamics of Learning Generative
Models". It prints no numbers to compare with: what is claimed are relations, measured here on models for which they can
be. Claims about samples freshly drawn (tau >> 1, Eq. 37) are held against samples that are.
"""

from __future__ import annotations

from typing import Any

from thermosim.papers import learning_parameters as of_parameters
from thermosim.papers import learning_samples as of_samples
from thermosim.papers import learning_steps as of_steps
from thermosim.papers.claims import Claim, Paper, Run

__all__ = ["LEARNING"]

_Changes = dict[str, Any]

_GAUSSIAN = "learning/gaussian_machine"
_SPINS = "learning/boltzmann_machine"
_FRESH: _Changes = {"x": {"dynamics": "exact"}}
_SHORT: _Changes = {
    "theta.learning_rate": 0.05,
    "run.steps": 20,
    "ensemble.replicas": 16384,
}  # little work: its law has no tail
_METROPOLIS: _Changes = {"x.dynamics": "mala"}
_TIME_STEPS: _Changes = {"sweep": {"x.time_step": {"values": [0.05, 0.2]}}}
_MANY: _Changes = {"ensemble.replicas": 262144}
_TAU: _Changes = {"sweep": {"x.tau": {"values": [1, 16, 256]}}}
_NOISY: _Changes = {"theta.batch": 1, "run.steps": 100, "record.every": 100}
_STILL: _Changes = {"run.steps": 300, "record.every": 10}
_SETS: _Changes = _FRESH | {"data.sets": 16, "data.rows": 32, "record.every": 60}
_IDEAL: _Changes = _FRESH | {
    "theta.batch": 1,
    "theta.learning_rate": 0.05,
    "theta.spread": {"mean": 0.1},
    "run.steps": 120,
}
_BACK: _Changes = {
    "run.steps": 2,
    "run.direction": "there-and-back",
    "record.every": 1,
    "sweep": {"theta.learning_rate": {"values": [0.01, 0.005]}},
}
_NETWORK: _Changes = {
    "model.widths": [64, 16, 16, 16, 10],
    "theta.learning_rate": 0.05,
    "ensemble.replicas": 20,
    "record.variables": ["theta"],
    "sweep": {"theta.batch": {"values": list(of_steps.BATCHES)}},
}
_WIDER: _Changes = _NETWORK | {"model.widths": [64, 32, 32, 32, 10], "ensemble.replicas": 50}
_COURSE: _Changes = {"run.steps": 400, "record.every": 200}
_WHITE: _Changes = {"run.steps": 212, "record.first": 200, "record.every": 1}
_RUNS = {
    "fresh": Run(_GAUSSIAN, _SHORT | _FRESH, _SHORT | _FRESH | _MANY),
    "finite": Run(_GAUSSIAN, _SHORT | _METROPOLIS, _SHORT | _METROPOLIS | _MANY),
    "euler": Run(_GAUSSIAN, _SHORT | _TIME_STEPS, _SHORT | _TIME_STEPS | _MANY),
    "tau": Run("learning/price_of_time", _TAU | {"ensemble.replicas": 2048}, _TAU | {"ensemble.replicas": 32768}),
    "spins": Run(
        _SPINS, _FRESH | _NOISY | {"ensemble.replicas": 16384}, _FRESH | _NOISY | {"ensemble.replicas": 65536}
    ),
    "still": Run(_GAUSSIAN, _STILL, _STILL | {"ensemble.replicas": 65536}),
    "sets": Run(_GAUSSIAN, _SETS | {"ensemble.replicas": 1024}, _SETS),
    "ideal": Run(_GAUSSIAN, _IDEAL | {"ensemble.replicas": 1024}, _IDEAL),
    "back": Run(_SPINS, _BACK | {"ensemble.replicas": 1024}, _BACK),
    "course": Run("training/digits", _NETWORK | _COURSE, _WIDER | _COURSE | {"run.steps": 4000, "record.every": 1000}),
    "white": Run("training/digits", _NETWORK | _WHITE, _WIDER | _WHITE | {"run.steps": 1012, "record.first": 1000}),
}

LEARNING = Paper(
    arxiv="2310.19802",
    name="learning",
    title="Stochastic Thermodynamics of Learning Parametric Probabilistic Models",
    authors="S. S. Parsi",
    runs=_RUNS,
    claims=(
        Claim(
            "Work and heat of a path add up to the change of phi",
            "Eqs. 42, 51, 52",
            of_samples.first_law,
            ("fresh", "finite", "euler"),
        ),
        Claim("<exp(-sigma)> = 1 for fresh samples", "Eqs. 39-41", of_samples.fresh_theorem, ("fresh",)),
        Claim(
            "Work and heat of fresh samples have the means of the learning trajectory",
            "Eqs. 51, 52",
            of_samples.fresh_averages,
            ("fresh",),
        ),
        Claim(
            "Many moves per step, tau >> 1, make every sample a fresh one",
            "Eq. 37",
            of_samples.many_moves,
            ("tau",),
            why="not tau has to be large, but tau times time step times curvature: samples that lag cost more work",
            corrected=of_samples.moves_in_theory,
        ),
        Claim(
            "<exp(-sigma)> = 1 for samples that lag too, if their moves leave p(x|theta) invariant",
            "Eq. 41, where sigma = w",
            of_samples.jarzynski,
            ("finite",),
        ),
        Claim(
            "<exp(-sigma)> = 1 for samples that move by Eq. 26",
            "Eqs. 26, 39-41",
            of_samples.euler,
            ("euler",),
            why="a finite time step leaves another law invariant, at its first order: -q is not the log ratio of the "
            "transition densities, with which the theorem is exact",
            corrected=of_samples.path_ratio,
        ),
        Claim("dI = Sigma_X - Sigma_X|Theta", "Eq. 44", of_samples.information, ("spins",)),
        Claim(
            "Sigma_X|Theta vanishes for tau >> 1",
            "Sec. 6.4",
            of_samples.jumps_gone,
            ("fresh",),
            why="it is the work of the jumps of theta, the sum of the D(p_i-1 || p_i), however well x relaxes between "
            "them; smaller steps of theta make it smaller",
            corrected=of_samples.jumps,
        ),
        Claim(
            "The loss is the relative entropy of data and model",
            "Eq. 7",
            of_parameters.loss,
            ("spins",),
            why="it exceeds that by the entropy of the data, infinite for points of a continuum",
            corrected=of_parameters.loss_less_entropy,
        ),
        Claim(
            "k_B T of the parameters is mu <eta^2>/2",
            "Eq. 20",
            of_parameters.boltzmann,
            ("still",),
            why="the delta function of Eq. 20 is 1/alpha at steps of length alpha: k_B T = alpha mu <eta^2>/2 = r "
            "<eta^2>/2, for any unit of time",
            corrected=of_parameters.of_noise,
        ),
        Claim(
            "The parameters have the law exp(-U_B)",
            "Eq. 22",
            of_parameters.canonical,
            ("still",),
            why="T = 1 is the unit of energy r <eta^2>/2 of Eq. 20, another for every parameter, and not that of U_B",
            corrected=of_parameters.of_noise,
        ),
        Claim(
            "The entropy of the parameters is the information they have of the data, I(Theta; B) = S(Theta)",
            "Eq. 14",
            of_parameters.stored,
            ("still", "sets"),
            why="that of continuous parameters depends on their unit, and is negative here; no information is",
            corrected=of_parameters.told,
        ),
        Claim(
            "Samples know less of the data than parameters do, and than they know of these",
            "Eqs. 13, 15",
            of_parameters.processing,
            ("sets",),
        ),
        Claim(
            "One computer tells the information of all",
            "Eqs. 24, 25",
            of_parameters.low_variance,
            ("ideal",),
            why="L-info is quadratic in how far a computer is from the mean, and spreads as a chi^2 with a degree of "
            "freedom for every parameter that matters: 4 here",
            corrected=of_parameters.spread_in_theory,
        ),
        Claim(
            "The parameters gain the entropy that samples give off as heat, dS_Theta = -Q_X",
            "Eqs. 48, 49",
            of_parameters.clausius,
            ("ideal",),
            why="X and Theta are no closed system: heat goes on to the noise of the sampler at every step, -Q_X = "
            "Sigma_X|Theta - dS_X|Theta, while the entropy that minibatches make ends with theta stationary",
            corrected=of_parameters.dissipated,
        ),
        Claim(
            "Ideal learning at tau >> 1: dI = -Q_X = dS_Theta",
            "Eq. 50",
            of_parameters.ideal,
            ("ideal",),
            why="-Q_X exceeds dI by Sigma_X|Theta - dS_X, which fresh samples leave as it is; dI is bound by how far "
            "models of different computers differ",
            corrected=of_parameters.ideal_in_theory,
        ),
        Claim("SGD back through the same minibatches does not return", "App. A", of_steps.no_return, ("back",)),
        Claim("It does in the lazy limit: the mismatch is of first order in r", "App. A", of_steps.lazy, ("back",)),
        Claim("The noise of minibatches is white", "Fig. 5.1d", of_steps.white, ("white",)),
        Claim("Its variance is that of one row over their number", "Fig. 5.1c", of_steps.of_batch, ("course",)),
        Claim(
            "Its variance stays constant in time",
            "Fig. 5.1c",
            of_steps.constant,
            ("course",),
            why="it is the spread of gradients, and changes as the loss does",
        ),
        Claim(
            "The force of all data is large beside that of the noise",
            "Sec. 5.1.3, Fig. 5.1c",
            of_steps.forces,
            ("white",),
            why="the figure holds the largest |grad U_B| against <eta^2>, of another unit; as mean squares the noise "
            "of few rows is the larger",
        ),
    ),
    seconds=60.0,
    full_seconds=900.0,
    note=(
        "Fig. 5.1 is of MNIST and a network of width 200; here, of 8 x 8 digits and widths of 16 (full: 32), as "
        "learning rate and number of steps are not told. That Sigma_X is not negative is not tried."
    ),
)
