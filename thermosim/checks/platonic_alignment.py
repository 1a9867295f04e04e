"""Inner products of hidden layers of deep linear networks, where SGD on fresh rows leaves them, against theory.

The noise of SGD chooses, among all weights that fit y = V x + e, those of least mean squared gradient: the kernel
B_k'B_k of every hidden layer, h_k = B_k x, comes to c_k^2 K, the universal kernel (`exact.universal_kernel`), whatever
the embedding, the widths and the depth, up to terms of the order of the learning rate. The kernel of every layer and
the cosine between it and K are extrapolated to learning rate 0 from three rates or more, as in `entropic_solution`.

This is where SGD stays only if noise turns nothing there. With A_k = M_O W_D ... W_(k+1) the fit M = W_D ... W_1
relaxes by P H with H = 2 M_O'M_O (x) M_I Sx M_I', P = sum_k A_k A_k' (x) ..., and is driven by P C P, where
C = 4 M_O'Se M_O (x) M_I Sx M_I'. Its fluctuations circulate unless H P C is symmetric, that is unless Se commutes with
A_k A_k' of all layers: with M_O M_O' of the last, and with Se^(-1/2) |V Sx^(1/2)| Se^(-1/2) of hidden ones, so with
V Sx V'. Neither the inputs nor the embedding have a part in it. Noise that is the same in all targets always commutes,
and the theorem then is that of G. Blanc et al., COLT 2020: label noise takes SGD to the least trace of the Hessian.
Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); the conditions by hand.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import Comparison
from thermosim.analysis.machine import Machine
from thermosim.analysis.network_alignment import LinearProblem, linear_problem
from thermosim.checks.entropic_solution import extrapolated, has_settled
from thermosim.exact import universal_kernel as theory
from thermosim.model import Values
from thermosim.models.deep_linear import MODEL, layers

__all__ = ["is_sweep_of_deep_networks", "platonic_advice", "platonic_comparisons", "why_no_universal_kernel"]

_FEWEST, _FRAMES, _REPLICAS = 3, 16, 16  # rates, frames, replicas
_COMMUTE = 1e-9  # relative size of a commutator that is rounding
_LARGEST = 0.1  # tolerance of the kernel, of itself
_REFERENCE = "universal kernel of deep linear networks; extrapolated to learning rate 0 by a parabola"


def platonic_comparisons(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[Comparison]:
    """The kernel of every hidden layer of every network, and its cosine with the universal one."""
    if not is_sweep_of_deep_networks(ds, everyone) or why_no_universal_kernel(everyone):
        return []
    found = []
    for number, network in enumerate(several := _networks(everyone)):
        who = f" of network {number}" if len(several) > 1 else ""
        found += _of_network(network, who)
    return found


def platonic_advice(ds: xr.Dataset, everyone: Sequence[Machine]) -> list[str]:
    """Why such a sweep is not compared."""
    if not is_sweep_of_deep_networks(ds, everyone):
        return []
    why = why_no_universal_kernel(everyone)
    if not why and not platonic_comparisons(ds, everyone):
        why = "hidden layers have not come to rest, or what is left at rate 0 is not sure; more run.steps help"
    return [f"The universal kernel is not compared: {why}."] if why else []


def is_sweep_of_deep_networks(ds: xr.Dataset, everyone: Sequence[Machine]) -> bool:
    """Whether all are deep linear networks under plain SGD on fresh rows, each at several learning rates."""
    for machine in everyone:
        theta, data = machine.settings.theta, machine.settings.data
        if machine.model is not MODEL or len(machine.constants["widths"]) < 3 or "theta" not in ds:
            return False
        if data is None or not data.fresh or linear_problem(machine) is None:
            return False
        if not machine.theta_move.retraces or theta.momentum or theta.learn is not None:
            return False
        if not isinstance(theta.learning_rate, (int, float)) or not isinstance(theta.weight_decay, (int, float)):
            return False
    return all(len({_rate(m) for m in network}) == len(network) >= _FEWEST for network in _networks(everyone))


def why_no_universal_kernel(everyone: Sequence[Machine]) -> str:
    """Why some of the networks have no limit to be compared with; empty where all have."""
    reasons = (_why_not(machine) for machine in everyone)
    return next((why for why in reasons if why), "")


def _why_not(machine: Machine) -> str:
    problem, constants = linear_problem(machine), machine.constants
    assert problem is not None
    matrix, inputs, noise = problem
    into, out = (np.asarray(constants[name], float) for name in ("embedding", "unembedding"))
    narrow, rank = int(min(constants["widths"])), int(np.linalg.matrix_rank(matrix))
    if machine.settings.theta.weight_decay:
        return "weight decay draws the weights to those of least norm, which the embedding has a part in"
    if narrow < rank:
        return f"a layer of width {narrow} cannot make the matrix of the data, of rank {rank}"
    reached = out @ np.linalg.pinv(out) @ matrix @ np.linalg.pinv(into) @ into
    if not np.allclose(reached, matrix, atol=1e-9 * np.abs(matrix).max()):
        return "embedding and unembedding leave out a part of the matrix of the data, which no weights can fit"
    if np.linalg.eigvalsh(noise)[0] <= 0.0 or np.linalg.eigvalsh(inputs)[0] <= 0.0:
        return "inputs or noise of the targets do not vary in every direction, and the solution is not finite"
    for other in (matrix @ inputs @ matrix.T, out @ out.T):
        product = noise @ other
        if np.abs(product - product.T).max() > _COMMUTE * np.abs(product).max():
            return (
                "the noise of the targets does not commute with V Sx V' and M_O M_O', so that SGD turns the hidden "
                "units for ever, and its state is not that of least mean squared gradient"
            )
    if machine.frames.sizes["step"] < _FRAMES or machine.frames.sizes["replica"] < _REPLICAS:
        return f"{_FRAMES} frames and {_REPLICAS} replicas are needed"
    return ""


def _networks(everyone: Sequence[Machine]) -> list[list[Machine]]:
    """Machines that differ by the learning rate only, together."""
    found: dict[str, list[Machine]] = defaultdict(list)
    for machine in everyone:
        found[repr({name: i for name, i in machine.index.items() if name != "learning_rate"})].append(machine)
    return list(found.values())


def _rate(machine: Machine) -> float:
    return float(machine.settings.theta.learning_rate)


def _of_network(network: Sequence[Machine], who: str) -> list[Comparison]:
    """Comparisons of every hidden layer; none where they have not come to rest, or the extrapolation is not sure."""
    problem, constants = linear_problem(network[0]), network[0].constants
    assert problem is not None
    rates = np.array([_rate(machine) for machine in network])
    quarters = _quarters(network, problem)  # (4, rates, R, layers, K + 1)
    freedom, found = quarters.shape[2] - 1, []
    exact = theory.universal_kernel(*problem)
    for k, factor in enumerate(_factors(constants, problem)):
        late, way = quarters[2:, :, :, k].mean(0), quarters[..., k, :]
        value, error = extrapolated(rates, late)
        drift, of_drift = extrapolated(rates, way[3] - way[2])
        straight, _ = extrapolated(rates, late, order=1)
        tolerance = np.abs(drift) + 2.0 * of_drift + np.abs(value - straight)
        if np.linalg.norm(tolerance[:-1]) > _LARGEST * np.linalg.norm(value[:-1]) or not has_settled(way[..., -1]):
            continue
        parts = {
            f"kernel of hidden layer {k + 1}{who} at learning rate 0": (slice(None, -1), _upper(factor * exact)),
            f"cosine of hidden layer {k + 1}{who} and the universal kernel": (slice(-1, None), np.ones(1)),
        }
        found += [
            Comparison(name, value[part], error[part], of_theory, freedom, _REFERENCE, tolerance=tolerance[part])
            for name, (part, of_theory) in parts.items()
        ]
    return found


def _factors(constants: Values, problem: LinearProblem) -> list[float]:
    """c_k^2 of the hidden layers."""
    widths = [int(width) for width in constants["widths"]]
    into, out = (np.asarray(constants[name], float) for name in ("embedding", "unembedding"))
    start = float(np.trace(into @ problem.inputs @ into.T))
    total = np.trace(theory.universal_kernel(*problem) @ problem.inputs)  # s, the trace of |Se^(1/2) V Sx^(1/2)|
    ratio = (total**2 / (start * np.trace(out.T @ problem.noise @ out))) ** (1.0 / (len(widths) - 1))
    return [start * ratio**k / total for k in range(1, len(widths) - 1)]


def _quarters(network: Sequence[Machine], problem: LinearProblem) -> np.ndarray:
    """Entries of the kernel of each hidden layer, and its cosine, means over quarters: (4, rates, R, layers, K + 1)."""
    edges = np.linspace(0, network[0].frames.sizes["step"], 5).astype(int)
    exact = theory.universal_kernel(*problem)
    return np.array([[_kernels(m, slice(a, b), exact, problem) for m in network] for a, b in itertools.pairwise(edges)])


def _kernels(machine: Machine, frames: slice, exact: np.ndarray, problem: LinearProblem) -> np.ndarray:
    """(R, layers, K + 1). The cosine is that of probes without number, <A, B> = Tr(A Sx B Sx)."""
    path = machine.frames["theta"].isel(step=frames).transpose("step", "replica", "theta_dim").values
    into, found = np.asarray(machine.constants["embedding"], float), []
    for weights in layers(path, machine.constants)[:-1]:
        into = weights @ into
        kernel = np.swapaxes(into, -1, -2) @ into
        seen, of_theory = kernel @ problem.inputs, exact @ problem.inputs
        size = np.einsum("...ij,...ji->...", seen, seen) * np.sum(of_theory * of_theory.T)
        cosine = np.einsum("...ij,ji->...", seen, of_theory) / np.sqrt(size)
        found.append(np.concatenate([_upper(kernel), cosine[..., None]], axis=-1).mean(0))
    return np.stack(found, axis=1)


def _upper(matrix: np.ndarray) -> np.ndarray:
    """Entries on and above the diagonal: (..., n (n + 1)/2)."""
    return np.asarray(matrix[(..., *np.triu_indices(matrix.shape[-1]))])
