"""How alike networks of one or two ensembles see the same probe inputs, layer by layer: ensemble in, Dataset out.

Every replica of every network, a point of a sweep, gives the activations of its hidden layers at the probes, from a
recorded frame of theta. Layers are compared by the estimators of `analysis.alignment`; those of linear networks that
learn y = V x + e also with the universal kernel, the inner products x'K x that every hidden layer of every network has
in the state of least entropic loss (`exact.universal_kernel`).

Source: L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025); M. Huh et al., arXiv:2405.07987 (2024).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from thermosim.analysis.alignment import FEWEST_PROBES, alignment
from thermosim.analysis.estimates import put_mean
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.settings import axes, needs_frames
from thermosim.analysis.skewed_means import put_skewed_mean
from thermosim.data.generators import linear_law
from thermosim.data.sources import rows_of
from thermosim.exact import universal_kernel as theory

__all__ = [
    "LinearProblem",
    "activations",
    "alignment_in_time",
    "hidden_layers",
    "linear_problem",
    "network_alignment",
    "probe_inputs",
    "universal_cosines",
    "without_diverged",
]

Probes = int | np.ndarray
Pairs = Literal["same", "different"]
_PROBES = 32


class LinearProblem(NamedTuple):
    """y = V x + e: V (d, n), second moments Sx (n, n) of x, covariance Se (d, d) of e."""

    matrix: np.ndarray
    inputs: np.ndarray
    noise: np.ndarray


def network_alignment(
    first: xr.Dataset,
    second: xr.Dataset | None = None,
    *,
    probes: Probes = _PROBES,
    other_probes: np.ndarray | None = None,
    frame: int = -1,
    pairs: Pairs = "same",
    neighbours: int | None = 10,
    permutations: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Alignment of every hidden layer of `first` with every one of `second`, or of `first`: dims layer, other_layer.

    first, second: ensembles of networks with recorded theta; where one has axes, every point is a network of its own,
    whose layers are called "embedding 0, layer_1". probes (P, n): inputs at which both are seen, or how many to draw
    from the law of the first one's data (the first rows of a data set). other_probes (P, k): the same in the view of
    `second`, where that is fed other inputs. frame: the recorded frame, counted from 0, or -1, the last.
    pairs, neighbours, permutations, seed, what is in the result, and its errors: those of `alignment`.

    In the result besides, of linear networks that learn from the source "linear": `universal_cosine` (layer), the Gram
    cosine with the universal kernel, mean over replicas. Replicas that diverged are left out, in pairs with their
    partners. Raises ValueError where the model has no hidden layers or theta is not recorded, and as `alignment`.
    """
    first, second = without_diverged(first, second, pairs)
    everyone = machines(first)
    seen = probe_inputs(everyone[0], probes, seed)
    ours = hidden_layers(first, seen, frame)
    theirs = None if second is None else hidden_layers(second, seen if other_probes is None else other_probes, frame)
    how = {"pairs": pairs, "neighbours": neighbours, "permutations": permutations, "seed": seed}
    result = alignment(ours, theirs, **how)  # type: ignore[arg-type]
    cosines = [universal_cosines(machine, seen, [frame]) for machine in everyone]
    if all(values is not None for values in cosines):
        table = np.concatenate([values[0].T for values in cosines if values is not None])  # (layers, R)
        words = "Gram cosine with the universal kernel"
        put_skewed_mean(
            result, "universal_cosine", xr.DataArray(table, dims=("layer", "replica")), "1", words, "at these probes"
        )
    return result


def alignment_in_time(
    ds: xr.Dataset, *, probes: Probes = _PROBES, frames: list[int] | None = None, seed: int = 0
) -> xr.Dataset:
    """Gram cosines of all pairs of layers of all networks of an ensemble at several frames, with errors over replicas.

    gram_cosine (step, layer, other_layer), and for linear networks that learn from the source "linear" universal_cosine
    (step, layer). probes, names of layers and ValueErrors as for `network_alignment`; frames: all by default.
    """
    ds, _ = without_diverged(ds, None, "same")
    everyone = machines(ds)
    seen = probe_inputs(everyone[0], probes, seed)
    frames = list(range(ds.sizes["step"])) if frames is None else frames
    table, names = [], []
    for frame in frames:
        layers = hidden_layers(ds, seen, frame)
        grams = np.stack([h @ np.swapaxes(h, -1, -2) for h in layers.values()])
        unit = (grams / np.linalg.norm(grams, axis=(-2, -1), keepdims=True)).reshape(*grams.shape[:2], -1)
        table.append(np.einsum("arp,brp->abr", unit, unit))
        names = list(layers)
    coords = {"step": ds["step"].values[frames], "layer": names, "other_layer": names}
    result = xr.Dataset(coords=coords)
    values = xr.DataArray(np.stack(table), dims=("step", "layer", "other_layer", "replica"))
    put_mean(result, "gram_cosine", values, "1", "Gram cosine <K1,K2>/(|K1||K2|)", "at these probes")
    cosines = [universal_cosines(machine, seen, frames) for machine in everyone]
    if all(found is not None for found in cosines):
        each = np.concatenate([found for found in cosines if found is not None], axis=-1)  # (F, R, layers)
        one = xr.DataArray(each, dims=("step", "replica", "layer"))
        put_mean(result, "universal_cosine", one, "1", "Gram cosine with the universal kernel", "at these probes")
    return result


def activations(machine: Machine, probes: np.ndarray, frame: int = -1) -> dict[str, np.ndarray]:
    """Hidden layers by name, each (R, P, units), at probes (P, n). Raises ValueError where there are none."""
    of_model = machine.model.activations
    if of_model is None:
        raise ValueError(f"the model {machine.model.name!r} has no activations: it is no network that says its layers")
    if "theta" not in machine.frames:
        raise ValueError(needs_frames(machine.frames, ["theta"]))
    count, _ = rows_of(machine.model, machine.constants)
    if probes.ndim != 2 or probes.shape[1] != count:
        raise ValueError(f"probes have the shape {probes.shape}; the model takes {count} inputs: (P, {count})")
    found = of_model(machine.theta(frame), machine.constants, probes)
    if not found:
        raise ValueError("the network has no hidden layer: one of two layers or more has")
    return found


def probe_inputs(machine: Machine, probes: Probes, seed: int = 0) -> np.ndarray:
    """Probes (P, n): as given, or so many inputs from the law of the data, or the first rows of its first set."""
    if not isinstance(probes, int):
        return np.asarray(probes, float)
    if probes < FEWEST_PROBES:
        raise ValueError(f"{probes} probes are too few: alignment needs {FEWEST_PROBES}")
    count, _ = rows_of(machine.model, machine.constants)
    section = machine.settings.data
    if section is None:
        raise ValueError("the ensemble learned from no data: give probes (P, n)")
    if section.source == "linear":
        from thermosim.kernels.noise import normal_array
        from thermosim.streams import BOOTSTRAP, PROBES

        mean, factor = linear_law(section, count, len(np.atleast_2d(section.matrix)))
        normals = normal_array(seed, BOOTSTRAP, PROBES, 0, (count, probes))
        return np.asarray(mean[:count] + (factor[:count, :count] @ normals).T)
    rows = machine.data.of_set(0)
    if len(rows) < probes:
        raise ValueError(f"{probes} probes are more than the {len(rows)} rows of the data: ask for fewer")
    return np.asarray(rows[:probes, :count])


def linear_problem(machine: Machine) -> LinearProblem | None:
    """V, Sx and Se of a linear network that learns from the source "linear"; None for any other."""
    constants, section = machine.constants, machine.settings.data
    linear = constants.get("activation", "linear") == "linear" and constants.get("bias", "no") == "no"
    linear = linear and constants.get("loss", "squared") == "squared" and machine.model.activations is not None
    if not linear or "widths" not in constants or section is None or section.source != "linear":
        return None
    count, targets = rows_of(machine.model, machine.constants)
    assert targets is not None
    mean, factor = linear_law(section, count, targets.count)
    own, other = factor[:count, :count], factor[count:, count:]
    inputs = own @ own.T + np.outer(mean[:count], mean[:count])
    return LinearProblem(np.asarray(section.matrix, float).reshape(targets.count, count), inputs, other @ other.T)


def universal_cosines(machine: Machine, probes: np.ndarray, frames: list[int]) -> np.ndarray | None:
    """Gram cosine of hidden layers with the universal kernel: (F, R, layers); None where there is no such kernel."""
    problem = linear_problem(machine)
    if problem is None or np.linalg.eigvalsh(problem.inputs)[0] <= 0.0:
        return None
    exact = theory.gram(theory.universal_kernel(*problem), probes)
    size = np.linalg.norm(exact)
    if size == 0.0:
        return None
    found = []
    for frame in frames:
        grams = np.stack([h @ np.swapaxes(h, -1, -2) for h in activations(machine, probes, frame).values()], axis=1)
        found.append((grams * exact).sum((-2, -1)) / (np.linalg.norm(grams, axis=(-2, -1)) * size))
    return np.stack(found)


def hidden_layers(ds: xr.Dataset, probes: np.ndarray, frame: int) -> Mapping[str, np.ndarray]:
    """Activations of every point, named by the point where there are several."""
    names = [name for name in axes(ds) if ds.sizes[name] > 1]
    found: dict[str, np.ndarray] = {}
    for machine in machines(ds):
        places = [(name, machine.frames[name].item()) for name in names]
        where = ", ".join(f"{name} {at if isinstance(at, str) else f'{at:g}'}" for name, at in places)
        each = activations(machine, probes, frame)
        found |= {f"{where}, {layer}" if where else layer: values for layer, values in each.items()}
    return found


def without_diverged(first: xr.Dataset, second: xr.Dataset | None, pairs: str) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Without replicas that diverged at any point, nor their partners."""
    both = [ds for ds in (first, second) if ds is not None]
    alive = [(ds["status"] == 0).all([dim for dim in ds["status"].dims if dim != "replica"]).values for ds in both]
    if pairs == "same" and len(both) == 2 and len(alive[0]) == len(alive[1]):
        alive = [alive[0] & alive[1]] * 2
    if not all(one.any() for one in alive):
        raise ValueError("all replicas diverged")
    kept = [ds.isel(replica=np.flatnonzero(one)) for ds, one in itertools.zip_longest(both, alive)]
    return kept[0], (kept[1] if len(kept) == 2 else None)
