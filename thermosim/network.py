"""What a network is to the engine of networks: functions of its parameters in JAX, imported when they are made.

Parameters come as a dict {name of a group of theta: array of its shape}, those of one replica; a batch as inputs x
(B, n) and targets y: (B,) whole numbers of a loss of classes, (B, k) otherwise, (B, 0) where there are none. The engine
adds replicas as a leading axis, differentiates, and books.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["INSTALL", "INSTALL_TORCH", "MOVES", "Measure", "Network", "NotMeasured", "Perceptron"]

INSTALL = 'pip install "thermosim-engine[networks]"'  # what installs JAX
INSTALL_TORCH = 'pip install "thermosim-engine[torch]"'  # and torch
MOVES = ("sgd", "nesterov", "adam", "adamw", "sgld", "langevin", "frozen")  # of theta, that the engine of networks has


@dataclass(frozen=True)
class Network:
    """Functions of one replica, pure and traceable; whatever precision its arguments have is that of its results.

    loss(parameters, x, y) -> a number, the mean over rows; with `normals` loss(parameters, x, y, noise (B, normals)).
    outputs(parameters, x) -> (B, k): predictions of targets, for classes one number each, largest for the likeliest.
    features(parameters, x) -> {name: (B, units)}: hidden layers.
    log_probability(parameters, x) -> (B,): ln p(x) in nat, of a model that has one.
    """

    loss: Callable[..., Any]
    outputs: Callable[..., Any] | None = None
    features: Callable[..., dict[str, Any]] | None = None
    log_probability: Callable[..., Any] | None = None
    expected: Callable[..., Any] | None = None  # the mean of the loss over its normals, where that is known
    normals: int = 0  # standard normal numbers of every row of a minibatch
    by_row: bool = True  # the loss is a mean of what each row has alone: rows may be taken in parts
    # reference(parameters, x, y) -> loss and gradient by what the network was translated from, in float64
    reference: Callable[..., tuple[float, dict[str, Any]]] | None = None


@dataclass(frozen=True)
class Measure:
    """What the engine of networks computes of theta at a frame, where its parameters are.

    function(probe, parameters) -> a number, or an array of `size` numbers, of one replica; the probe is an
    `engines.networks.probe.Probe`, which hands out the network, rows of data, and the settings of [measure]. Numbers
    are finite where theta is: a replica with one that is not counts as diverged.
    """

    name: str
    units: str
    long_name: str
    equation: str
    function: Callable[[Any, Mapping[str, Any]], Any]
    dim: str = ""  # of a measure with several numbers, of its own
    # how many, from the settings of [measure] and `groups`, the number of groups of theta
    size: Callable[[Mapping[str, Any]], int] | None = None
    vectors: Callable[[Mapping[str, Any]], int] = lambda settings: 1  # like theta that it holds at one time
    absent: Callable[[Any, Any], str] = lambda model, settings: ""  # why this case has it not, from model and settings


@dataclass(frozen=True)
class Perceptron:
    """What the engine of dense layers is told of a model, whose groups of theta are the weights of its layers."""

    activation: str  # linear, relu, tanh, gelu
    loss: str  # squared, cross-entropy
    bias: bool


class NotMeasured(ValueError):
    """A measure that this network or these data cannot have, in the words of a fault of the case."""
