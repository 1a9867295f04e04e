"""What scale-invariant networks share: their frozen head, starts, scales, and what is booked and measured of them.

Every layer that learns is followed by a normalisation, so the loss of a minibatch does not notice a common factor of
the weights into one channel; where several layers are added before they are normalised, of the weights into that
channel of all of them. So <w, g> = 0 of such weights at every minibatch, and under SGD, r the learning rate,

    |w'|^2 = (1 - r lambda)^2 |w|^2 + r^2 |g|^2

The head, a linear layer into the classes, does not learn. Its weights are W/|W| times 10, W and the bias, of variance
1/(3 in), standard normals at the address (head_seed, DATA, HEAD): the same in all replicas.

    layer_weight_gain_k      |W_k|^2 since step 0
    radius_growth            sum over steps of |w'|^2/|w|^2 - 1, of all weights, or added up over radii by group
    radial_cosine_square_s   sum over steps of <w, g>^2/(|w|^2 |g|^2), w all weights that share a scale: 0 to rounding

Named starts have |theta| = theta.radius, or with theta.radii = "by-group" that radius in every scale: `random` a
direction from the uniform law, `lecun` weights of variance 1/in in every layer before they are scaled together.

Source: I. Sadrtdinov et al., arXiv:2511.07308, and its code; Z. Li, S. Arora, arXiv:1910.07454, for the recursion.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from thermosim.kernels.noise import normal_array
from thermosim.ledger import Functional
from thermosim.model import Constant, Symmetry, Values
from thermosim.models.architectures.measures import MEASURES
from thermosim.models.network_books import LAYER, layer_gradient_square, layer_weight_square
from thermosim.network import Measure
from thermosim.streams import DATA

__all__ = [
    "HEAD",
    "IMAGES",
    "SCALE",
    "books",
    "channels",
    "head",
    "head_seed",
    "image_faults",
    "images",
    "inputs_of_images",
    "measures",
    "starts",
]

HEAD = 1 << 52  # a step of the stream DATA, in pairs, that no data row comes to
SCALE = "scale"  # dimension: weights that share a scale
Shapes = Callable[[Values], Mapping[str, tuple[int, ...]]]  # of every group of theta, in order
Scales = Callable[[Values], tuple[tuple[str, ...], ...]]
_NORM = 10.0
_SMALLEST = 8  # pixels

head_seed = Constant("head_seed", 4, "seed of the frozen last layer", minimum=0, integer=True)
IMAGES = (
    Constant("side", 32, f"pixels along a side of the square images, {_SMALLEST} at least", minimum=1, integer=True),
    Constant("channels", 3, "numbers of a pixel; those of one pixel stand together in a row", minimum=1, integer=True),
    Constant("classes", 10, "number of classes", minimum=2, integer=True),
)


def images(constants: Values) -> tuple[int, int, int]:
    """Height, width and channels of an image, whose numbers are a row of data in this order."""
    return int(constants["side"]), int(constants["side"]), int(constants["channels"])


def inputs_of_images(constants: Values) -> int:
    """Numbers of an image."""
    return math.prod(images(constants))


def image_faults(constants: Values, settings: Any) -> list[str]:
    """What is wrong with an image, and with what normalises over a minibatch."""
    found = batch_faults(constants, settings)
    if constants["side"] < _SMALLEST:
        found.append(
            f"model.side = {constants['side']}: too small for three poolings; expected {_SMALLEST} pixels at least, "
            "as in the digits."
        )
    return found


def batch_faults(constants: Values, settings: Any) -> list[str]:
    """Rows are normalised by their mean and variance: one row has none."""
    batch = settings.theta.batch
    if isinstance(batch, int) and batch == 1:
        return ["theta.batch = 1: is normalised over the rows of a minibatch, and one has no variance; expected 2."]
    return []


def head(constants: Values, inputs: int, biased: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights (classes, in) of norm 10 and biases (classes,) of the frozen last layer."""
    classes = int(constants["widths"][-1]) if "widths" in constants else int(constants["classes"])
    drawn = normal_array(int(constants["head_seed"]), DATA, HEAD, 0, (classes * (inputs + 1), 1))[:, 0]
    weights, bias = drawn[: classes * inputs].reshape(classes, inputs), drawn[classes * inputs :]
    return _NORM * weights / np.linalg.norm(weights), bias / math.sqrt(3.0 * inputs) if biased else 0.0 * bias


def starts(shapes: Shapes, scales: Scales) -> dict[str, Callable[..., np.ndarray]]:
    """Of a network with these parameters, each (constants, hyper, normal (m + 1, R), uniform (R)) -> theta (m, R)."""

    def random(constants: Values, hyper: Values, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return _scaled(normal[:-1], shapes(constants), scales(constants), hyper)

    def lecun(constants: Values, hyper: Values, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        of_groups = shapes(constants)
        parts = zip(_cut(normal[:-1], of_groups), of_groups.values(), strict=True)
        weights = [part / math.sqrt(math.prod(shape[1:])) for part, shape in parts]
        return _scaled(np.concatenate(weights), of_groups, scales(constants), hyper)

    return {"random": random, "lecun": lecun}


def _cut(theta: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> list[np.ndarray]:
    """theta (m, R) in groups; views."""
    return np.split(theta, np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1])


def _scaled(
    theta: np.ndarray, shapes: Mapping[str, tuple[int, ...]], scales: Sequence[Sequence[str]], hyper: Values
) -> np.ndarray:
    """At the radius of the case, all together or every scale by itself."""
    found, radius = theta.copy(), hyper.get("radius", 1.0)
    parts = dict(zip(shapes, _cut(found, shapes), strict=True))
    for names in scales if hyper.get("radii") == "by-group" else [tuple(shapes)]:
        length = np.sqrt(sum((parts[name] ** 2).sum(0) for name in names))
        for name in names:
            parts[name] *= radius / length
    return found


def channels(shapes: Shapes, scales: Scales) -> Symmetry:
    """A common factor of all weights into one channel; generators are sparse."""

    def generators(constants: Values) -> Any:
        from scipy import sparse

        of_groups = shapes(constants)
        size = sum(math.prod(shape) for shape in of_groups.values())
        firsts = dict(zip(of_groups, np.cumsum([0, *(math.prod(s) for s in of_groups.values())]), strict=False))
        rows, columns, count = [], [], 0
        for names in scales(constants):
            units = of_groups[names[0]][0]
            for name in names:
                of_unit = math.prod(of_groups[name][1:])
                rows.append(count + np.repeat(np.arange(units), of_unit))
                columns.append(firsts[name] + np.arange(units * of_unit))
            count += units
        row, column = np.concatenate(rows), np.concatenate(columns)
        return sparse.csr_array((np.ones(len(row)), (row, column)), shape=(count, size))

    return Symmetry("channels", "the length of the weights into a channel", generators)


def _by_engine(theta, before, loss, gradient, constants, shared, total):  # type: ignore[no-untyped-def]
    """Nothing: no lanes run these models, and the engine of networks has books of its own."""


_GAIN = Functional(
    "layer_weight_gain",
    "theta",
    "1",
    "squared weights of each layer, less those at step 0",
    "|W_k(t)|^2 - |W_k(0)|^2",
    book=_by_engine,
    dim=LAYER,
)
_COSINE = Functional(
    "radial_cosine_square",
    "theta",
    "1",
    "sum over steps of the squared cosine between weights that share a scale and their gradient",
    "sum_t <w, g>^2/(|w|^2 |g|^2)",
    book=_by_engine,
    dim=SCALE,
)
_GROWTH = Functional(
    "radius_growth",
    "theta",
    "1",
    "sum over steps of the relative growth of the squared radius, added up over radii that are held by themselves",
    "sum_t |w'|^2/|w|^2 - 1",
    book=_by_engine,
)


def _count(of: Callable[[Values], Any], constants: Values) -> int:
    return len(of(constants))


def books(shapes: Shapes, scales: Scales) -> tuple[Functional, ...]:
    """What a network with these parameters books of its layers and scales."""
    layers, several = functools.partial(_count, shapes), functools.partial(_count, scales)
    of_layers = (layer_gradient_square, layer_weight_square, _GAIN)
    return (*(replace(one, size=layers) for one in of_layers), replace(_COSINE, size=several), _GROWTH)


def _radius(probe: Any, theta: Mapping[str, Any]) -> Any:
    return sum((w.astype("float64") ** 2).sum() for w in theta.values()) ** 0.5


measures = (*MEASURES, Measure("radius", "1", "radius of all parameters together", "r = |theta|", _radius))
