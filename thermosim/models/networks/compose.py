"""A network composed of layers: the whole model of a loss, its gradient derived from that of each layer.

    MODEL = network("mine", inputs=5, layers=[dense(16), gelu, dense(9, bias=True), tanh, dense(2)], loss=squared_error)

Group layer_k of theta is the matrix of the k-th layer that learns, a row for each unit. Named starts draw weights from
a normal law of variance 2/in (he) or 1/in (lecun), with biases 0 and gains 1.

Sources: K. He et al., arXiv:1502.01852, Eq. 10, and Y. LeCun et al., "Efficient BackProp" (1998), Eq. 16, for the
starts; the rest as in `kernels`, `other_kernels` and `losses`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thermosim.kernels.dense import FEWEST, ROWS
from thermosim.model import Model, Parameter, Symmetry
from thermosim.models.network_books import Books, Matrix, books, functionals
from thermosim.models.network_symmetries import rescalings, unit_lengths
from thermosim.models.networks.activations import Activation
from thermosim.models.networks.layers import Dense, Layer, Normalised, Stack, checked, default, start
from thermosim.models.networks.losses import Loss

__all__ = ["Composition", "composition", "network"]

Function = Callable[..., Any]
_FEW = min(rows for rows in ROWS if rows > 1)  # the fewest that go together
composed_gradient: Any = None  # bound when a function is compiled


@dataclass(frozen=True)
class Composition:
    """A network: compiled functions and sizes, made once for an architecture."""

    stack: Stack
    loss: Loss
    gradient: Function  # (row, theta, factor, loss, gradient, scratch)
    books: Books
    scratch_rows: int

    @property
    def bound(self) -> dict[str, Function]:
        """What the names that templates use stand for."""
        return {"composed_gradient": self.gradient} | self.books.bound

    def matrices(self, theta: np.ndarray) -> list[np.ndarray]:
        """The parameters (..., b, a) of every layer that learns, from theta (..., m)."""
        found, first = [], 0
        for _, shape in self.stack.matrices():
            found.append(theta[..., first : first + math.prod(shape)].reshape(*theta.shape[:-1], *shape))
            first += math.prod(shape)
        return found

    def start(self, gain: float, normal: np.ndarray) -> np.ndarray:
        """theta (m, R) of weights of variance gain/in, by normal numbers (m + 1, R)."""
        parts, first = [], 0
        for layer, shape in self.stack.matrices():
            size = math.prod(shape)
            parts.append(start(layer, shape, gain, normal[first : first + size]))
            first += size
        return np.concatenate(parts)


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """Add factor l and factor dl/dtheta."""
    composed_gradient(row, theta, factor, loss, gradient, scratch)


def composition(stack: Stack, loss: Loss) -> Composition:
    """The compiled functions of these layers and this loss."""
    inputs, outputs, kernels, add_loss = stack.widths[0], stack.outputs, stack.kernels(True), loss.made(stack.outputs)
    forward, backward = kernels.forward, kernels.backward

    def gradient_of_row(row, theta, factor, loss, gradient, scratch):  # type: ignore[no-untyped-def]
        x, f, d, kept = row[:inputs], scratch[:outputs], scratch[outputs : 2 * outputs], scratch[2 * outputs + 2 :]
        forward(theta, x, f, kept)
        add_loss(f, row[inputs:], factor, loss, d, scratch[2 * outputs : 2 * outputs + 2])
        backward(theta, x, d, gradient, f, kept)  # nothing is passed on to the inputs

    kept = max(kernels.kept, math.ceil(stack.kernels(True, _FEW).kept / _FEW))
    rows = 2 * outputs + 2 + inputs + kept
    return Composition(stack, loss, gradient_of_row, books(_matrices(stack)), rows)


def gradient_of_rows(stack: Stack, loss: Loss, rows: int) -> Function:
    """The same for so many rows of data at a time, whose inputs are copied to stand one after another."""
    inputs, outputs, kernels, add_loss = (
        stack.widths[0],
        stack.outputs,
        stack.kernels(True, rows),
        loss.made(stack.outputs),
    )
    forward, backward, first_d, first_x = kernels.forward, kernels.backward, rows * outputs, 2 * rows * outputs + 2

    def gradient_of_rows(row, theta, constants, shared, factor, loss, gradient, scratch):  # type: ignore[no-untyped-def]
        n, f, d, work = row.shape[0] // rows, scratch[:first_d], scratch[first_d : first_x - 2], scratch[first_x - 2 :]
        x, kept = scratch[first_x : first_x + rows * inputs], scratch[first_x + rows * inputs :]
        for one in range(rows):
            for i in range(inputs):
                for lane in range(row.shape[1]):
                    x[one * inputs + i, lane] = row[one * n + i, lane]
        forward(theta, x, f, kept)
        for one in range(rows):
            here = slice(one * outputs, (one + 1) * outputs)
            add_loss(f[here], row[one * n + inputs : (one + 1) * n], factor, loss, d[here], work)
        backward(theta, x, d, gradient, f, kept)

    return gradient_of_rows


def _matrices(stack: Stack) -> list[Matrix]:
    """Shapes of parameters, and which layers have hidden units: dense, with nothing but activations up to the next."""
    learn = [layer for layer in stack.layers if not isinstance(layer, Activation)]
    after = dict(zip(map(id, learn), learn[1:], strict=False))
    return [
        Matrix(shape, isinstance(layer, Dense) and isinstance(after.get(id(layer)), Dense))
        for layer, shape in stack.matrices()
    ]


def network(name: str, *, inputs: int, layers: Sequence[Layer], loss: Loss, summary: str = "") -> Model:
    """The model of a network that learns targets from inputs.

    Raises ValueError, in one sentence, for layers that do not fit and a loss that is none of their outputs'.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"network({name!r}, ...): expected its name, a text")
    where = f"network {name!r}"
    if isinstance(inputs, bool) or not isinstance(inputs, (int, np.integer)) or inputs < 1:
        raise ValueError(f"{where}: inputs is {inputs!r}; expected a positive whole number")
    stack = Stack.of(checked(layers, where), int(inputs), where)
    if not stack.matrices():
        raise ValueError(f"{where}: none of its layers learns; add dense(...) or normalised(...)")
    if not isinstance(loss, Loss):
        said = getattr(loss, "__name__", repr(loss))
        raise ValueError(f"{where}: loss is {said}; expected squared_error, absolute_error, huber(...), cross_entropy "
                         "or logistic")  # fmt: skip
    if fault := loss.fault(stack.outputs):
        raise ValueError(f"{where}: {fault}, and the last layer has {stack.outputs}")
    made, classes = composition(stack, loss), loss.classes(stack.outputs)
    return Model(
        name=name,
        summary=summary or f"network with {inputs} inputs and {stack.outputs} outputs",
        source="composed of layers of thermosim.models.networks",
        inputs=lambda constants: stack.widths[0],
        targets=lambda constants: 1 if classes else stack.outputs,
        classes=lambda constants: classes,
        parameters=tuple(_group(number, *one) for number, one in enumerate(stack.matrices(), 1)),
        scratch_rows=lambda constants: made.scratch_rows,
        parameter_gradient=parameter_gradient,
        gradient_of_rows=functools.partial(gradient_of_rows, stack, loss),
        rows_share=lambda constants: sum(math.prod(shape) for _, shape in stack.matrices()) >= FEWEST,
        bound=lambda constants: made.bound,
        initial_theta={
            "he": lambda constants, hyper, normal, uniform: made.start(2.0, normal),
            "lecun": lambda constants, hyper, normal, uniform: made.start(1.0, normal),
        },
        layers=lambda theta, constants: made.matrices(theta),
        activations=lambda theta, constants, inputs: stack.hidden(made.matrices(theta), inputs),
        outputs=lambda theta, constants, inputs: _predictions(made, classes, theta, inputs),
        functionals=functionals(len(stack.matrices()), made.books.units),
        symmetries=_symmetries(made),
    )


def _symmetries(made: Composition) -> tuple[Symmetry, ...]:
    """Lengths of rows that are divided out; rescaling of neighbouring layers and of hidden units, where all are dense,
    without biases, linear or ReLU.
    """
    parts = made.stack.layers
    weights = [layer for layer in parts if isinstance(layer, Dense) and not layer.bias]
    kinds = {layer.name for layer in parts if isinstance(layer, Activation)}
    count = sum(math.prod(shape) for _, shape in made.stack.matrices())
    if rows := _normalised_rows(made, count):
        return (Symmetry("lengths", "the length of a normalised row", lambda constants: unit_lengths(rows, count)),)
    if len(weights) < 2 or len(weights) + sum(isinstance(layer, Activation) for layer in parts) < len(parts):
        return ()
    if not kinds <= {"linear", "relu"}:
        return ()
    places = made.matrices(np.arange(count))
    return rescalings(lambda constants: places, lambda constants: [np.arange(count)] if "relu" in kinds else places)


def _normalised_rows(made: Composition, count: int) -> list[np.ndarray]:
    """Where in theta the weights of each unit of a normalised layer are, its gain left out."""
    places = zip(made.stack.matrices(), made.matrices(np.arange(count)), strict=True)
    return [
        row[: len(row) - layer.gain] for (layer, _), matrix in places if isinstance(layer, Normalised) for row in matrix
    ]


def _predictions(made: Composition, classes: int, theta: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """What the last layer gives; one number that tells two classes apart is that of the second beside 0."""
    f = made.stack.activations(made.matrices(theta), inputs)[-1]
    return f if classes in (0, f.shape[-1]) else np.concatenate([np.zeros_like(f), f], axis=-1)


def _group(number: int, layer: Dense | Normalised, shape: tuple[int, int]) -> Parameter:
    last = (
        "bias"
        if isinstance(layer, Dense) and layer.bias
        else "gain"
        if isinstance(layer, Normalised) and layer.gain
        else ""
    )
    meaning = f"weights of layer {number}, a row for each unit" + (f" with its {last} last" if last else "")
    return Parameter(f"layer_{number}", meaning, lambda constants: shape, lambda constants: default(layer, shape))
