"""The scale-invariant ResNet-18 of the ideal gas, in its form with normalisation first, that learns classes of images.

    z = stem * image; of the 8 blocks, two in each of 4 stages, one after another

        h = relu(N(z)),   z <- S(z, h) + V * relu(N(W * h)),   S = z, or T * h in the first block of stages 2, 3, 4
    f = A mean_pixels(relu(N(z))),   l = -ln softmax(f)_y in nat,   mean over the minibatch

W, V and the stem are convolutions of 3 x 3 pixels, the shortcut T of one, all without biases, into k, 2k, 4k, 8k
channels in the four stages, k = `width`; W and T of a block that begins a stage after the first take every second
pixel. N is batch normalisation without gain and bias; A, of norm 10, does not learn. m = 43,692 of colour images at
k = 4.

Scales: W of a block is scale-invariant by itself. What is added into the stream z of a stage is so only together: the
stem or the shortcut T, and V of both blocks; a stage begins with the normalised h, so that its stream has a scale of
its own. That makes 8 + 4 radii.

A row of data is an image, rows of pixels from above, the numbers of one pixel together.

Source: I. Sadrtdinov et al., arXiv:2511.07308, and its code; K. He et al., arXiv:1603.05027, for the order.
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

_STAGES, _BLOCKS = 4, 2


def _shapes(constants: Values) -> dict[str, tuple[int, ...]]:
    width = int(constants["width"])
    found: dict[str, tuple[int, ...]] = {"stem": (width, 3, 3, int(constants["channels"]))}
    before = width
    for stage in range(1, _STAGES + 1):
        here = width << (stage - 1)
        for number in range(1, _BLOCKS + 1):
            block = f"stage_{stage}_block_{number}"
            found[f"{block}_conv_1"] = (here, 3, 3, before)
            found[f"{block}_conv_2"] = (here, 3, 3, here)
            if before != here:
                found[f"{block}_shortcut"] = (here, 1, 1, before)
            before = here
    return found


_NAMES = tuple(_shapes({"width": 1, "channels": 1}))


def _scales(constants: Values) -> tuple[tuple[str, ...], ...]:
    found: list[tuple[str, ...]] = [(name,) for name in _NAMES if name.endswith("conv_1")]
    for stage in range(1, _STAGES + 1):
        added = [name for name in _NAMES if name.startswith(f"stage_{stage}_") and not name.endswith("conv_1")]
        found.append(("stem", *added) if stage == 1 else tuple(added))
    return tuple(found)


def _shape(name: str, constants: Values) -> tuple[int, ...]:
    return _shapes(constants)[name]


def _parameter(name: str) -> Parameter:
    shape = functools.partial(_shape, name)
    meaning = f"weights of {name.replace('_', ' ')}, (out, rows, columns, in)"
    return Parameter(name, meaning, shape, lambda constants: np.zeros(shape(constants)))


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.resnet import resnet  # JAX comes with it

    return resnet(constants, _STAGES, _BLOCKS)


MODEL = Model(
    name="resnet18",
    summary="scale-invariant ResNet-18 that learns classes of images",
    source="I. Sadrtdinov et al., arXiv:2511.07308 (2025)",
    constants=(
        Constant("width", 4, "channels k of the first stage", minimum=1, integer=True),
        *IMAGES,
        head_seed,
    ),
    inputs=inputs_of_images,
    targets=lambda constants: 1,
    classes=lambda constants: int(constants["classes"]),
    parameters=tuple(_parameter(name) for name in _NAMES),
    scales=_scales,
    initial_theta=starts(_shapes, _scales),
    validate=image_faults,
    functionals=books(_shapes, _scales),
    network=_network,
    measures=measures,
    symmetries=(channels(_shapes, _scales),),
)
