"""Numbers of arXiv:2505.12387 on where SGD leads: the representation and the curvature of linear networks.

Means over the last half of a run at several learning rates, each replica for itself, are extrapolated to rate 0 and
compared with closed forms (`exact.universal_kernel`, `exact.entropic_forces`). Kernels are those of the inputs,
h(x)'h(x') = x'K x', and their cosine that of probes without number, Tr(A Sx B Sx)/(|A||B|).
"""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.network_alignment import LinearProblem, linear_problem
from thermosim.exact import entropic_forces as theory
from thermosim.exact.universal_kernel import universal_kernel
from thermosim.models import deep_linear, multilayer_perceptron
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.numbers import at_rate_zero, extrapolated, of_ratio, of_replicas, surviving

__all__ = ["aligned", "broken", "flattened", "not_universal", "sharpened", "sizes", "universal"]

_EVERY = 10  # frames, of which one gives its largest curvature
_ALIGNED = 0.05  # a deviation of cosines that is to show; they are 0.6 to 0.8 before training


def _problem(machine: Machine) -> LinearProblem:
    problem = linear_problem(machine)
    assert problem is not None
    return problem


def _kernels(machine: Machine, late: slice) -> np.ndarray:
    """K of every hidden layer in recorded frames: (F, R, layers, n, n)."""
    path = machine.frames["theta"].transpose("step", "replica", "theta_dim").values[late]
    into, found = np.asarray(machine.constants["embedding"], float), []
    for weights in deep_linear.layers(path, machine.constants)[:-1]:
        into = weights @ into
        found.append(np.swapaxes(into, -1, -2) @ into)
    return np.stack(found, axis=2)


def _cosine(one: np.ndarray, other: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Of kernels (..., n, n) for inputs of second moments (n, n): (...)."""
    a, b = one @ inputs, other @ inputs
    product = np.einsum("...ij,...ji->...", a, b)
    return np.asarray(product / np.sqrt(np.einsum("...ij,...ji->...", a, a) * np.einsum("...ij,...ji->...", b, b)))


def _networks(ds: xr.Dataset) -> tuple[np.ndarray, list[list[Machine]]]:
    """Learning rates (T,), and the machines of every network at them."""
    everyone = machines(surviving(ds))
    rates = sorted({float(one.settings.theta.learning_rate) for one in everyone})
    count = len({one.index.get("embedding", 0) for one in everyone})
    networks: list[list[Machine]] = [[] for _ in range(count)]
    for one in sorted(everyone, key=lambda machine: float(machine.settings.theta.learning_rate)):
        networks[one.index.get("embedding", 0)].append(one)
    return np.array(rates), networks


def _late(machine: Machine) -> slice:
    return slice(len(machine.steps) // 2, None)


def _cosines(ds: xr.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Mean cosines (rates, R) of pairs of layers of network A, of network B, and of one with the other."""
    rates, networks = _networks(ds)
    inputs = _problem(networks[0][0]).inputs
    found: dict[str, list[np.ndarray]] = {"of A": [], "of B": [], "of A and B": []}
    for machine in zip(*networks, strict=True):
        ours, theirs = (_kernels(one, _late(one)) for one in machine)
        count = ours.shape[2]
        within, across = list(itertools.combinations(range(count), 2)), list(itertools.product(range(count), repeat=2))
        for name, one, other, pairs in (
            ("of A", ours, ours, within),
            ("of B", theirs, theirs, within),
            ("of A and B", ours, theirs, across),
        ):
            each = [_cosine(one[:, :, i], other[:, :, j], inputs).mean(0) for i, j in pairs]
            found[name].append(np.mean(each, axis=0))
    return rates, {name: np.stack(values) for name, values in found.items()}


def aligned(ensembles: Ensembles) -> list[Number]:
    """Mean cosines of hidden layers at rate 0."""
    rates, found = _cosines(ensembles["networks"])
    return [
        extrapolated(f"cosine of hidden layers {name}", rates, values, 1.0, enough=_ALIGNED)
        for name, values in found.items()
    ]


def universal(ensembles: Ensembles) -> list[Number]:
    """Cosines of hidden layers with the universal kernel at rate 0."""
    rates, networks = _networks(ensembles["networks"])
    numbers = []
    for name, network in zip("AB", networks, strict=True):
        problem = _problem(network[0])
        exact = universal_kernel(*problem)
        each = [_cosine(_kernels(one, _late(one)), exact, problem.inputs).mean(0) for one in network]
        for k in range(each[0].shape[-1]):
            values = np.stack([cosines[:, k] for cosines in each])
            words = f"cosine of layer {k + 1} of {name} and the universal kernel"
            numbers.append(extrapolated(words, rates, values, 1.0, enough=_ALIGNED))
    return numbers


def sizes(ensembles: Ensembles, alike: bool) -> list[Number]:
    """E|h|^2 of a layer of B over that of A at rate 0: 1 as printed, without c_0, or as theory has it."""
    rates, networks = _networks(ensembles["networks"])
    inputs = _problem(networks[0][0]).inputs
    each = [
        np.stack([np.einsum("frkij,ji->frk", _kernels(one, _late(one)), inputs).mean(0) for one in network])
        for network in networks
    ]  # (rates, R, layers)
    numbers = []
    of_theory = [_squares(network[0]) for network in networks]
    for k in range(each[0].shape[-1]):
        ours, theirs = (at_rate_zero(rates, one[..., k]) for one in each)
        line = np.divide(*(at_rate_zero(rates, one[..., k], order=1).mean() for one in each[::-1]))
        left = float(abs(theirs.mean() / ours.mean() - line))
        claimed = 1.0 if alike else of_theory[1][k] / of_theory[0][k]
        more = {"allowed": left, "because": "the next order of the learning rate"}
        numbers.append(of_ratio(f"E|h|^2 of layer {k + 1}, B over A", theirs, ours, claimed, **more))
    return numbers


def _squares(machine: Machine) -> list[float]:
    """E|h_k|^2 of the hidden layers in the state of least entropic loss: E|h_0|^2 rho^k."""
    problem, widths = _problem(machine), machine.constants["widths"]
    into, out = (np.asarray(machine.constants[name], float) for name in ("embedding", "unembedding"))
    start = float(np.trace(into @ problem.inputs @ into.T))
    total = float(np.trace(universal_kernel(*problem) @ problem.inputs))
    ratio = (total**2 / (start * np.trace(out.T @ problem.noise @ out))) ** (1.0 / (len(widths) - 1))
    return [float(start * ratio**k) for k in range(1, len(widths) - 1)]


def _across(ds: xr.Dataset) -> np.ndarray:
    """The cosine of the hidden layers of networks 0 and 1, mean over the last half: (R,)."""
    ours, theirs = machines(ds)
    one, other = (_kernels(machine, _late(machine))[:, :, 0] for machine in (ours, theirs))
    return _cosine(one, other, _problem(ours).inputs).mean(0)


def broken(ensembles: Ensembles) -> list[Number]:
    """Cosines of networks with weight decay less those without: below 0."""
    decayed, plain = _across(ensembles["decayed"]), _across(ensembles["plain"])
    return [of_replicas("cosine, with weight decay less without", decayed - plain, 0.0, sense="<")]


def not_universal(ensembles: Ensembles) -> list[Number]:
    """Cosines of networks that learned by gradient descent on all rows, less those by SGD: below 0."""
    descended, plain = _across(ensembles["all rows"]), _across(ensembles["plain"])
    return [of_replicas("cosine, descent on all rows less SGD", descended - plain, 0.0, sense="<")]


def _curvatures(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, LinearProblem]:
    """Learning rates (T,), Tr H and the largest eigenvalue at each (T, R), Tr H at the start, and the problem."""
    everyone = sorted(machines(surviving(ds)), key=lambda machine: float(machine.settings.theta.learning_rate))
    problem, traces, largest = _problem(everyone[0]), [], []
    start = 0.0
    for machine in everyone:
        path = machine.frames["theta"].transpose("step", "replica", "theta_dim").values
        first, second = multilayer_perceptron.layers(path, machine.constants)
        trace = theory.hessian_trace(first, second, problem.inputs)
        late, start = _late(machine), float(trace[0].mean())
        traces.append(trace[late].mean(0))
        some = zip(first[late][::_EVERY], second[late][::_EVERY], strict=True)
        sharpest = [
            [theory.largest_curvature(*both, problem.matrix, problem.inputs) for both in zip(*frame, strict=True)]
            for frame in some
        ]
        largest.append(np.mean(sharpest, axis=0))
    rates = np.array([float(machine.settings.theta.learning_rate) for machine in everyone])
    return rates, np.stack(traces), np.stack(largest), start, problem


def sharpened(ensembles: Ensembles) -> list[Number]:
    """From the flattest network, with labels of unequal noise: Tr H over that of the start, and theory."""
    rates, trace, largest, start, problem = _curvatures(ensembles["unequal noise"])
    exact = theory.entropic_trace(*problem)
    width = int(machines(ensembles["unequal noise"])[0].constants["widths"][1])
    sharpest = theory.largest_curvature(*theory.entropic_weights(*problem, width=width), problem.matrix, problem.inputs)
    return [
        of_replicas("Tr H over that of the flattest, at the start", at_rate_zero(rates, trace) / start, 1.0, sense=">"),
        extrapolated("Tr H of the entropic solution", rates, trace, exact, enough=0.05),
        extrapolated("largest curvature of the entropic solution", rates, largest, sharpest, enough=0.1),
    ]


def flattened(ensembles: Ensembles) -> list[Number]:
    """From layers of unequal size, with labels of equal noise: Tr H over that of the start, and the least there is."""
    rates, trace, _, start, problem = _curvatures(ensembles["equal noise"])
    least = theory.flattest_trace(problem.matrix, problem.inputs)
    return [
        of_replicas("Tr H over that of the start", at_rate_zero(rates, trace) / start, 1.0, sense="<"),
        extrapolated("Tr H, the least that fits", rates, trace, least, enough=0.05),
    ]
