"""The layers of a network as a user writes them: what each needs of the one below, its parameters, and its kernels.

    dense(16)                     W x, W (16, a);            dense(16, bias=True): W x + b, W (16, a + 1) with b last
    normalised(16)                v_j.x/|v_j|, rows v_j (16, a), whose length has no effect
    normalised(16, gain=True)     g_j v_j.x/|v_j|, (16, a + 1) with g_j last in its row
    fixed(matrix)                 M x with a matrix (b, a) that does not learn
    residual(dense(16), relu)     x + f(x) of these layers, which end as wide as they began
    relu, tanh, ...               of every unit: `activations`

Sources: T. Salimans, D. P. Kingma, arXiv:1602.07868, for normalised layers; K. He et al., arXiv:1512.03385, Eq. 1, for
residual ones.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thermosim.models.networks import kernels, other_kernels
from thermosim.models.networks import rows as of_rows
from thermosim.models.networks.activations import Activation
from thermosim.models.networks.kernels import Kernels

__all__ = ["Dense", "Fixed", "Layer", "Normalised", "Residual", "Stack", "dense", "fixed", "normalised", "residual"]

Shape = tuple[int, int]  # of a matrix of parameters


@dataclass(frozen=True)
class Dense:
    """W x, or W x + b."""

    units: int
    bias: bool = False


@dataclass(frozen=True)
class Normalised:
    """Rows of W divided by their lengths, and times a gain each where there are gains."""

    units: int
    gain: bool = False


@dataclass(frozen=True, eq=False)
class Fixed:
    """M x."""

    matrix: np.ndarray


@dataclass(frozen=True)
class Residual:
    """x + f(x)."""

    layers: tuple[Layer, ...]


Layer = Dense | Normalised | Fixed | Residual | Activation


def dense(units: int, bias: bool = False) -> Dense:
    """A layer of units, each with a weight for every input, and with a bias if it is asked for.

    Raises ValueError unless units is a positive whole number, and bias True or False.
    """
    return Dense(_units("dense", units), _whether("dense", "bias", bias))


def normalised(units: int, gain: bool = False) -> Normalised:
    """A layer whose rows of weights have their length divided out, with a gain for each if it is asked for.

    Raises ValueError unless units is a positive whole number, and gain True or False.
    """
    return Normalised(_units("normalised", units), _whether("normalised", "gain", gain))


def _whether(layer: str, name: str, value: object) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{layer}: {name} is {value!r}; expected True or False")
    return bool(value)


def fixed(matrix: Sequence[Sequence[float]] | np.ndarray) -> Fixed:
    """A linear map by a matrix (b, a) that does not learn. Raises ValueError for anything but finite numbers."""
    try:
        given = np.array(matrix, float)
    except (TypeError, ValueError):
        raise ValueError("fixed: the matrix is not an array of numbers with rows of equal lengths") from None
    if given.ndim != 2 or not given.size or not np.isfinite(given).all():
        raise ValueError(f"fixed: the matrix has shape {given.shape}; expected finite numbers, outputs by inputs")
    given.flags.writeable = False
    return Fixed(given)


def residual(*layers: Layer) -> Residual:
    """x + f(x), f being these layers one after another. Raises ValueError where one of them is no layer."""
    return Residual(checked(layers, "residual"))


def checked(layers: Sequence[Layer], where: str) -> tuple[Layer, ...]:
    """The layers, all of a kind that there is. Raises ValueError."""
    if not isinstance(layers, (list, tuple)) or not layers:
        raise ValueError(f"{where}: layers is {layers!r}; expected a list, as in [dense(16), relu, dense(1)]")
    for number, layer in enumerate(layers, 1):
        if not isinstance(layer, Layer):
            name = getattr(layer, "__name__", "")
            remedy = f"; write {name}(...)" if name in __all__ else ""
            known = "dense, normalised, fixed, residual, linear, relu, tanh, gelu, sigmoid, softplus and activation"
            raise ValueError(f"{where}: layer {number} is {name or repr(layer)}, no layer{remedy}; layers are {known}")
    return tuple(layers)


@dataclass(frozen=True, eq=False)
class Stack:
    """Layers one after another, at a known number of inputs."""

    layers: tuple[Layer, ...]
    widths: tuple[int, ...]  # before each layer, and after the last

    @classmethod
    def of(cls, layers: Sequence[Layer], inputs: int, where: str) -> Stack:
        """Raises ValueError where a layer does not fit what comes into it."""
        widths = [inputs]
        for number, layer in enumerate(layers, 1):
            widths.append(_width(layer, widths[-1], f"{where}: layer {number}"))
        return cls(tuple(layers), tuple(widths))

    @property
    def outputs(self) -> int:
        """Numbers that come out."""
        return self.widths[-1]

    def matrices(self) -> list[tuple[Dense | Normalised, Shape]]:
        """The layers that learn, those inside others too, and the shape of the parameters of each."""
        found: list[tuple[Dense | Normalised, Shape]] = []
        for layer, inputs in zip(self.layers, self.widths, strict=False):
            if isinstance(layer, (Dense, Normalised)):
                more = layer.bias if isinstance(layer, Dense) else layer.gain
                found.append((layer, (layer.units, inputs + more)))
            elif isinstance(layer, Residual):
                found += Stack.of(layer.layers, inputs, "residual").matrices()
        return found

    def kernels(self, first: bool, rows: int = 1) -> Kernels:
        """Compiled functions; `first` where nothing below learns, so that nothing is passed on to it.

        With several rows at a time, they stand one after another wherever one stands.
        """
        made, learns_below = list[Kernels](), not first
        for layer, inputs in zip(self.layers, self.widths, strict=False):
            made.append(_kernels(layer, inputs, not learns_below, rows))
            learns_below = learns_below or made[-1].parameters > 0
        return functools.reduce(kernels.following, made)

    def activations(self, matrices: Sequence[np.ndarray], x: np.ndarray) -> list[np.ndarray]:
        """After each layer, in numpy: (..., K, b) for rows x (..., K, a) and matrices (..., b, a)."""
        left, found = list(matrices), list[np.ndarray]()
        for layer, inputs in zip(self.layers, self.widths, strict=False):
            count = len(Stack((layer,), (inputs,)).matrices())
            x = _applied(layer, inputs, left[:count], x)
            left = left[count:]
            found.append(x)
        return found

    def hidden(self, matrices: Sequence[np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
        """What the next layer takes, by the number of matrices below it: layer_1 (..., K, units) and so on."""
        found, below = dict[str, np.ndarray](), 0
        after = self.activations(matrices, x)
        for place, (layer, inputs) in enumerate(zip(self.layers, self.widths, strict=False)):
            if below and not isinstance(layer, Activation):
                found[f"layer_{below}"] = after[place - 1]
            below += len(Stack((layer,), (inputs,)).matrices())
        return found


def start(layer: Dense | Normalised, shape: Shape, gain: float, normal: np.ndarray) -> np.ndarray:
    """Weights of variance gain/a by normal numbers (b a, R), biases 0, gains 1: (b a, R)."""
    more = layer.bias if isinstance(layer, Dense) else layer.gain
    theta = math.sqrt(gain / (shape[1] - more)) * normal.reshape(*shape, -1)
    if more:
        theta[:, -1] = 0.0 if isinstance(layer, Dense) else 1.0
    return np.asarray(theta.reshape(normal.shape))


def default(layer: Dense | Normalised, shape: Shape) -> np.ndarray:
    """Zeros; of rows whose length is divided out, numbers of size 1 that no two rows share, and gains of 1."""
    if isinstance(layer, Dense):
        return np.zeros(shape)
    rows = np.cos(np.outer(1.0 + np.arange(shape[0]), 1.0 + np.arange(shape[1]) ** 2))
    if layer.gain:
        rows[:, -1] = 1.0
    return rows


def _units(name: str, units: int) -> int:
    if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
        raise ValueError(f"{name}({units!r}): expected the number of its units, a positive whole number")
    return int(units)


def _width(layer: Layer, inputs: int, where: str) -> int:
    """Numbers that come out of a layer. Raises ValueError where it does not fit what comes in."""
    if isinstance(layer, Fixed):
        outputs, columns = layer.matrix.shape
        if columns != inputs:
            raise ValueError(
                f"{where} is fixed by a matrix of shape {(outputs, columns)}, but {inputs} numbers come into it; "
                f"expected {inputs} columns"
            )
        return int(outputs)
    if isinstance(layer, Residual):
        outputs = Stack.of(layer.layers, inputs, f"{where}, residual").outputs
        if outputs != inputs:
            raise ValueError(
                f"{where} is residual: {inputs} numbers come in and {outputs} out, which cannot be added; let its last "
                f"layer have {inputs} units"
            )
        return inputs
    return inputs if isinstance(layer, Activation) else layer.units


def _kernels(layer: Layer, inputs: int, first: bool, rows: int) -> Kernels:
    if isinstance(layer, Residual):
        return kernels.around(Stack.of(layer.layers, inputs, "residual").kernels(first, rows), first)
    if isinstance(layer, Activation):
        return kernels.elementwise(layer.function, rows * inputs, first)
    if isinstance(layer, Dense):
        of_layer = inputs, layer.units, int(layer.bias), first
        return kernels.dense(*of_layer) if rows == 1 else of_rows.dense(*of_layer, rows)
    if isinstance(layer, Normalised):
        one = other_kernels.normalised(inputs, layer.units, int(layer.gain), first)
    else:
        one = other_kernels.fixed(layer.matrix, first)
    return one if rows == 1 else of_rows.one_by_one(one, inputs, rows)


def _applied(layer: Layer, inputs: int, matrices: Sequence[np.ndarray], x: np.ndarray) -> np.ndarray:
    if isinstance(layer, Activation):
        return layer(x)
    if isinstance(layer, Fixed):
        return np.asarray(x @ layer.matrix.T)
    if isinstance(layer, Residual):
        return x + Stack.of(layer.layers, inputs, "residual").activations(matrices, x)[-1]
    weights = matrices[0][..., :inputs]
    extra = matrices[0][..., None, :, -1]
    if isinstance(layer, Dense):
        f = x @ np.swapaxes(weights, -1, -2)
        return np.asarray(f + extra if layer.bias else f)
    f = x @ np.swapaxes(weights / np.linalg.norm(weights, axis=-1, keepdims=True), -1, -2)
    return np.asarray(f * extra if layer.gain else f)
