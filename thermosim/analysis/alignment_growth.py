"""How alike networks that learned apart see the same probes, frame by frame, and by how much that grew.

Layers of different replicas are compared, of one network, a point of a sweep, and of several: their starts and their
minibatches have nothing in common, their task has. The estimators are those of `analysis.alignment`, each a mean over
R1 R2 pairs of replicas from two sets independent of each other, beside its null, where probes have nothing to do with
each other. Growth is the difference of two frames pair by pair, so that what replicas keep cancels; t = growth/error
has the degrees of freedom of its error, and a p-value on both sides. It is on the safe side where pairs vary more than
replicas: of 8 by 8 random ReLU networks without growth 0.036 of p-values are below 0.05, and 0.0015 below 0.01.

No theory is known of what networks that are not linear come to: there is nothing here to compare these numbers with.
The Gram cosine, which the mean of activations makes large from the start, is left to linear networks
(`network_alignment`).

Sources: M. Huh et al., arXiv:2405.07987 (2024), for the question; L. Ziyin, Y. Xu, I. Chuang, arXiv:2505.12387 (2025),
for linear networks, which have an answer; the rest as in `alignment`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from scipy import special

from thermosim.analysis.alignment import (
    FEWEST_PROBES,
    Null,
    check_pairs,
    crossed_error,
    estimators,
    mean_of_orders,
    null_of_orders,
)
from thermosim.analysis.estimates import LEVEL, put
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.network_alignment import Probes, hidden_layers, probe_inputs, without_diverged
from thermosim.data.sources import rows_of

__all__ = ["ALL", "alignment_growth", "growth"]

ALL = "all pairs of layers"
_ESTIMATORS = ("unbiased_cka", "mutual_nearest_neighbours")
_FEWEST = 4  # replicas of two halves that have an error
_CONDITION = "replicas independent, at these probes and data"


def alignment_growth(
    first: xr.Dataset,
    second: xr.Dataset | None = None,
    *,
    probes: Probes = 64,
    other_probes: np.ndarray | None = None,
    frames: Sequence[int] | None = None,
    neighbours: int | None = 10,
    permutations: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Alignment of hidden layers of different replicas at some frames, and its growth from the first to the last.

    first: an ensemble of networks with recorded theta, whose replicas are dealt in turn to two halves that are
    compared; or, with `second`, compared with the replicas of another ensemble of other seeds, widths or inputs. Names
    of layers, probes and other_probes are those of `network_alignment`; where rows were held out, the probes to draw
    are the first of these. frames: recorded frames of both, counted from 0; by default the first and the last.
    neighbours (None leaves them out), permutations, seed and the p-value: as in `alignment`.

    In the result, dims step, layer, other_layer: unbiased_cka and mutual_nearest_neighbours (unit 1) with X_error,
    X_interval, X_null, X_null_deviation and X_p_value; X_growth and X_growth_p_value without step. The same as means
    over groups of pairs, X_of_group (step, group) and so on: "all pairs of layers", and those of the same or of other
    networks and layers. Errors are for other replicas at the same probes and the same data; sets of data of their own
    (data.sets) are not independent in them.

    Raises ValueError for fewer than 4 replicas, for frames of other steps in `second`, and as `network_alignment`.
    """
    ours, theirs = without_diverged(first, second, "different")
    everyone = machines(ours)
    seen = _probes(everyone[0], probes, seed)
    if theirs is None:
        if ours.sizes["replica"] < _FEWEST:
            count = ours.sizes["replica"]
            raise ValueError(f"{count} replicas make no two halves with an error: {_FEWEST} are needed")
        ours, theirs = (ours.isel(replica=slice(k, None, 2)) for k in (0, 1))
    views = seen, seen if other_probes is None else other_probes
    frames = [0, -1] if frames is None else list(frames)
    steps, there = (ds["step"].values[frames] for ds in (ours, theirs))
    if not np.array_equal(steps, there):
        raise ValueError(f"frames are of steps {steps.tolist()} and {there.tolist()}: record both at the same steps")
    one, other = ([hidden_layers(ds, view, k) for k in frames] for ds, view in zip((ours, theirs), views))
    result = growth(one, other, second is not None, neighbours, permutations, seed)
    about = {"probes": len(seen), "replicas": ours.sizes["replica"], "other_replicas": theirs.sizes["replica"]}
    return result.assign_coords(step=steps).assign_attrs(about)


def growth(
    first: Sequence[Mapping[str, np.ndarray]],
    second: Sequence[Mapping[str, np.ndarray]],
    apart: bool,
    neighbours: int | None,
    permutations: int,
    seed: int,
) -> xr.Dataset:
    """The result of `alignment_growth` for activations (R, probes, units) by the name of the layer, frame by frame.

    apart: whether names of `second` are of other networks than those of `first`.
    """
    for one, other in zip(first, second, strict=True):
        check_pairs(one, other, False, "different")
    names, others = list(first[0]), list(second[0])
    groups = _groups(names, others, apart)
    weights = np.stack(list(groups.values()))
    coords = {"layer": names, "other_layer": others, "group": list(groups)}
    result = xr.Dataset(coords=coords, attrs={"permutations": permutations})
    for name, (matrix, words) in estimators(neighbours).items():
        if name not in _ESTIMATORS:
            continue
        tables, nulls = [], []
        for both in zip(first, second, strict=True):
            left, right = (np.stack([matrix(values) for values in layers.values()]) for layers in both)
            tables.append(_of_pairs(left, right))
            nulls.append(_null(left, right, weights, permutations, seed))
        _put_all(result, name, words, np.stack(tables), weights)
        _put_null(result, name, words, nulls)
    return result


def _probes(machine: Machine, probes: Probes, seed: int) -> np.ndarray:
    """Inputs of rows held out, where these are enough; else as `probe_inputs`."""
    held_out = machine.test_rows if isinstance(probes, int) else None
    if held_out is None or isinstance(probes, np.ndarray) or not FEWEST_PROBES <= probes <= len(held_out):
        return probe_inputs(machine, probes, seed)
    return np.asarray(held_out[:probes, : rows_of(machine.model, machine.constants)[0]])


def _groups(names: Sequence[str], others: Sequence[str], apart: bool) -> dict[str, np.ndarray]:
    """Weights (layers, other layers) of means over pairs; those of two ensembles are all of other networks."""
    found = {ALL: np.ones((len(names), len(others)), bool)}
    ours, theirs = (np.array([name.rpartition(", ")[::2] for name in some], dtype=object) for some in (names, others))
    layer = ours[:, None, 1] == theirs[None, :, 1]
    network = np.zeros_like(layer) if apart else ours[:, None, 0] == theirs[None, :, 0]
    for one, of_network in (("same network", network), ("other networks", ~network)):
        for other, of_layer in (("same layer", layer), ("other layers", ~layer)):
            found[other if apart else f"{one}, {other}"] = of_network & of_layer
    return {name: held / held.sum() for name, held in found.items() if held.any()}


def _of_pairs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Estimates (layers, other layers, R1, R2) of matrices (layers, R, probes, probes)."""
    flat = [matrices.reshape(*matrices.shape[:2], -1) for matrices in (left, right)]
    return np.asarray(np.tensordot(flat[0], flat[1], (2, 2)).transpose(0, 2, 1, 3))


def _null(left: np.ndarray, right: np.ndarray, groups: np.ndarray, permutations: int, seed: int) -> Null:
    """Of the means over pairs of replicas, layer by layer and then group by group, with the same permutations."""
    of_layers = mean_of_orders(left, right, same=False)

    def statistic(order: np.ndarray) -> np.ndarray:
        cells = of_layers(order)
        return np.concatenate([cells.ravel(), np.einsum("gab,ab->g", groups, cells)])

    return null_of_orders(statistic, left.shape[-1], permutations, seed)


def _put_all(result: xr.Dataset, name: str, words: str, tables: np.ndarray, groups: np.ndarray) -> None:
    """Add means over pairs of tables (F, layers, other layers, R1, R2), those over groups, and their growth."""
    of_groups = np.einsum("gab,fabrs->fgrs", groups, tables)
    for of, values, dims in (("", tables, ("layer", "other_layer")), ("_of_group", of_groups, ("group",))):
        _put_estimate(result, f"{name}{of}", values, ("step", *dims), words)
        grown = values[-1] - values[0]
        p_value = _put_estimate(result, f"{name}{of}_growth", grown, dims, f"growth from the first frame: {words}")
        result[f"{name}{of}_growth_p_value"] = p_value.assign_attrs(
            units="1", long_name=f"p-value of no growth, both sides, by Student's law: {words}", condition=_CONDITION
        )


def _put_estimate(result: xr.Dataset, name: str, values: np.ndarray, dims: tuple[str, ...], words: str) -> xr.DataArray:
    """Add the mean over pairs of replicas (..., R1, R2) with its error and interval; the p-value of a mean of 0."""
    mean, (error, freedom) = values.mean((-2, -1)), crossed_error(values)
    width = special.stdtrit(freedom, 0.5 * (1.0 + LEVEL)) * error
    low, high = xr.DataArray(mean - width, dims=dims), xr.DataArray(mean + width, dims=dims)
    put(result, name, xr.DataArray(mean, dims=dims), xr.DataArray(error, dims=dims), "1", words, _CONDITION,
        bounds=(low, high))  # fmt: skip
    score = np.divide(mean, error, out=np.zeros_like(mean), where=error > 0.0)
    return xr.DataArray(2.0 * special.stdtr(freedom, -np.abs(score)), dims=dims)


def _put_null(result: xr.Dataset, name: str, words: str, nulls: Sequence[Null]) -> None:
    """Add what `_null` gives at every frame."""
    shape = (len(nulls), result.sizes["layer"], result.sizes["other_layer"])
    cells = shape[1] * shape[2]
    for k, suffix in enumerate(("null", "null_deviation", "p_value")):
        values = np.stack([null[k] for null in nulls])
        about = {"units": "1", "long_name": f"{suffix} by permuted probes: {words}"}
        about["condition"] = "probes exchangeable"
        result[f"{name}_{suffix}"] = ("step", "layer", "other_layer"), values[:, :cells].reshape(shape), about
        result[f"{name}_of_group_{suffix}"] = ("step", "group"), values[:, cells:], about
