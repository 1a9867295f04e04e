"""A scale-invariant network of four convolutions that learns the classes of images: the ConvNet of the ideal gas.

    x_0 = image,  x_k = relu(N(W_k * x_(k-1))),  k = 1..4,  2 x 2 pixels pooled by their largest after k = 2, 3, 4
    f = A max_pixels(x_4) + b,   l = -ln softmax(f)_y in nat,   mean over the minibatch

W_k * are convolutions of 3 x 3 pixels without biases into c, 2c, 4c, 8c channels, c = `width`; N is batch normalisation
without gain and bias; A, of norm 10, and b do not learn. m = 9 a c + 378 c^2 for images of a channels: 24,408 of
colour images at c = 8. All four layers, and every channel of them, are scale-invariant by themselves.

A row of data is an image, rows of pixels from above, the numbers of one pixel together. At 32 x 32 pixels the last maps
are of 4 x 4, of which all are pooled; an odd row at the edge of a smaller image is left out.

Source: I. Sadrtdinov et al., arXiv:2511.07308, and its code.
"""

from __future__ import annotations

import functools

import numpy as np

from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.scale_invariant import (
    IMAGES,
    books,
    channels,
    head_seed,
    image_faults,
    inputs_of_images,
    measures,
    starts,
)
from thermosim.network import Network

_LAYERS = 4


def _shapes(constants: Values) -> dict[str, tuple[int, ...]]:
    width = int(constants["width"])
    widths = [int(constants["channels"]), *(width << k for k in range(_LAYERS))]
    return {f"conv_{k}": (widths[k], 3, 3, widths[k - 1]) for k in range(1, _LAYERS + 1)}


def _scales(constants: Values) -> tuple[tuple[str, ...], ...]:
    return tuple((name,) for name in _shapes(constants))


def _shape(name: str, constants: Values) -> tuple[int, ...]:
    return _shapes(constants)[name]


def _parameter(number: int) -> Parameter:
    shape = functools.partial(_shape, f"conv_{number}")
    meaning = f"weights of convolution {number}, (out, 3, 3, in)"
    return Parameter(f"conv_{number}", meaning, shape, lambda constants: np.zeros(shape(constants)))


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.convnet import convnet  # JAX comes with it

    return convnet(constants)


MODEL = Model(
    name="convnet",
    summary="scale-invariant network of four convolutions that learns classes of images",
    source="I. Sadrtdinov et al., arXiv:2511.07308 (2025)",
    constants=(
        Constant("width", 8, "channels c of the first convolution", minimum=1, integer=True),
        *IMAGES,
        head_seed,
    ),
    inputs=inputs_of_images,
    targets=lambda constants: 1,
    classes=lambda constants: int(constants["classes"]),
    parameters=tuple(_parameter(number) for number in range(1, _LAYERS + 1)),
    scales=_scales,
    initial_theta=starts(_shapes, _scales),
    validate=image_faults,
    functionals=books(_shapes, _scales),
    network=_network,
    measures=measures,
    symmetries=(channels(_shapes, _scales),),
)
