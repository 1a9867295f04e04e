"""Numbers by which the kernel of dense layers is told what to do: kinds of things, and places of sums."""

from __future__ import annotations

__all__ = [
    "ACTIVATIONS",
    "ADAM",
    "ADAMW",
    "BOOKED",
    "BOOKED_OF_LAYERS",
    "CROSS_ENTROPY",
    "GELU",
    "LOSSES",
    "MEASURED",
    "MOVES",
    "NESTEROV",
    "RELU",
    "TANH",
]

LINEAR, RELU, TANH, GELU = range(4)
ACTIVATIONS = {"linear": LINEAR, "relu": RELU, "tanh": TANH, "gelu": GELU}
SQUARED, CROSS_ENTROPY = range(2)
LOSSES = {"squared": SQUARED, "cross-entropy": CROSS_ENTROPY}
SGD, NESTEROV, ADAM, ADAMW = range(4)
MOVES = {"sgd": SGD, "nesterov": NESTEROV, "adam": ADAM, "adamw": ADAMW}
# single sums, then those with one number for each layer
BOOKED = ("loss_sum", "minibatch_loss", "gradient_square", "displacement_square")
BOOKED_OF_LAYERS = ("layer_gradient_square", "layer_weight_square")
# of what is measured at frames, its place in the result
MEASURED = {"full_loss": 0, "test_loss": 0, "accuracy": 1, "test_accuracy": 1}
