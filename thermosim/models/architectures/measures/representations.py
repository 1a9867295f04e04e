"""What is kept of theta and of hidden layers at a frame: few numbers in place of all.

    kernel        K_ij = h(x_i).h(x_j), i <= j, of hidden layers h at P = measure.probes data rows x_i
    projections   d_k.theta along directions d_k of random signs over sqrt(m), the same for all replicas and frames
    components    some components of theta, as they are

Kernels are all that alignment of layers, replicas and ensembles needs: `analysis.kernel_alignment` makes its unbiased
estimates of them. Random signs keep lengths as random normals do (D. Achlioptas, J. Comput. Syst. Sci. 66, 671 (2003)):
the mean over directions of (d_k.v)^2 is |v|^2/m.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from thermosim.network import NotMeasured

__all__ = ["components", "kernel", "projections"]

Theta = Mapping[str, Any]


def kernel(probe: Any, theta: Theta) -> Any:
    """The upper triangles of the kernels of the layers, row by row, one layer after another."""
    name = probe.block.model_name
    if probe.network.features is None:
        raise NotMeasured(f"measure: {name!r} tells no hidden layers, so it has no kernel.")
    hidden = probe.network.features(theta, probe.data["x"][probe.row_numbers(probe.settings["probes"])])
    if not hidden:
        raise NotMeasured(f"measure: {name!r} has no hidden layer at these constants, so it has no kernel.")
    wanted = probe.settings["layers"] or list(hidden)[-1:]
    for layer in wanted:
        if layer not in hidden:
            raise NotMeasured(f"measure.layers = {wanted!r}: there is no {layer!r}; {name!r} has {', '.join(hidden)}.")
    upper = np.triu_indices(probe.settings["probes"])
    return jnp.concatenate([(hidden[layer] @ hidden[layer].T)[upper] for layer in wanted])


def projections(probe: Any, theta: Theta) -> Any:
    """Of all of theta."""
    names, vector = list(theta), probe.flat(theta)
    count = probe.settings["projections"]
    return jnp.stack([jnp.dot(probe.direction(k, names, vector.dtype), vector) for k in range(count)])


def components(probe: Any, theta: Theta) -> Any:
    """Those that measure.components names, negative ones counted from the end."""
    return probe.flat(theta)[np.array(probe.settings["components"])]
