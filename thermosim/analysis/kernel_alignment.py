"""How alike networks see the same data rows, from kernels that were recorded: ensemble in, Dataset out.

The measure `kernel` keeps K_ij = h(x_i).h(x_j) of hidden layers h at P data rows, the same for all replicas and frames
of a data set. That is all the estimators of `analysis.alignment` take of activations: rows a_i with a_i.a_j = K_ij,
from the eigenvectors of K, stand for h. So the unbiased CKA, the Gram cosine and mutual neighbours are those of
`network_alignment`, without theta in the file. P is the number of probes n there.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from thermosim.analysis.alignment import FEWEST_PROBES, alignment
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.network_alignment import without_diverged
from thermosim.analysis.network_noise import own_frames
from thermosim.analysis.settings import axes, needs_frames, settings

__all__ = ["kernel_alignment", "recorded_kernels"]


def kernel_alignment(
    first: xr.Dataset,
    second: xr.Dataset | None = None,
    *,
    frame: int = -1,
    pairs: Literal["same", "different"] = "same",
    neighbours: int | None = 10,
    permutations: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Alignment of every recorded kernel of `first` with every one of `second`, or of `first`: dims layer, other_layer.

    first, second: ensembles with the measure kernel, at as many probes of the same data; points of a sweep are networks
    of their own. frame: the recorded frame, counted from 0, or -1, the last. What is in the result, and its errors:
    those of `alignment`. Replicas that diverged are left out, in pairs with their partners. Raises ValueError where no
    kernel is recorded, and as `alignment`.
    """
    for ds in (first, second):
        section = None if ds is None else settings(ds).data
        if section is not None and section.sets > 1:
            raise ValueError("kernels are compared at the same probes: with data.sets > 1 replicas have others")
    if second is not None and first.attrs.get("data_sha256") != second.attrs.get("data_sha256"):
        raise ValueError("kernels are compared at the same probes: the two ensembles learned from different data")
    first, second = without_diverged(first, second, pairs)
    ours = recorded_kernels(first, frame)
    theirs = None if second is None else recorded_kernels(second, frame)
    rows = {name: _rows(kernels) for name, kernels in ours.items()}
    others = None if theirs is None else {name: _rows(kernels) for name, kernels in theirs.items()}
    return alignment(
        rows, others, pairs=pairs, neighbours=neighbours, permutations=permutations, seed=seed
    ).assign_attrs(frame=frame)


def recorded_kernels(ds: xr.Dataset, frame: int = -1) -> dict[str, np.ndarray]:
    """Kernels (R, P, P) of a frame by the name of their layer, and of the point of a sweep where there are several.

    Raises ValueError where there are none, or of fewer probes than alignment needs.
    """
    if "kernel" not in ds:
        raise ValueError(needs_frames(ds, ["kernel"]))
    names = [name for name in axes(ds) if ds.sizes[name] > 1]
    found: dict[str, np.ndarray] = {}
    for machine in machines(ds):
        places = [(name, machine.frames[name].item()) for name in names]
        where = ", ".join(f"{name} {at if isinstance(at, str) else f'{at:g}'}" for name, at in places)
        found |= {f"{where}, {layer}" if where else layer: k for layer, k in _kernels(machine, frame).items()}
    return found


def _kernels(machine: Machine, frame: int) -> dict[str, np.ndarray]:
    measure = machine.settings.of_measure
    count, layers = measure.probes, measure.layers or ["last"]
    if count < FEWEST_PROBES:
        raise ValueError(f"kernels of {count} probes are too few: alignment needs {FEWEST_PROBES}")
    values = own_frames(machine.frames, "kernel").isel(step=frame).transpose("replica", "kernel_entry").values
    upper, found = np.triu_indices(count), {}
    for layer, entries in zip(layers, np.split(values, len(layers), axis=1), strict=True):
        kernel = np.zeros((len(entries), count, count))
        kernel[:, *upper] = entries
        found[layer] = kernel + np.triu(kernel, 1).swapaxes(1, 2)
    return found


def _rows(kernels: np.ndarray) -> np.ndarray:
    """Activations (R, P, P) with these inner products; what rounding made negative of K is left out."""
    values, vectors = np.linalg.eigh(kernels)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])
