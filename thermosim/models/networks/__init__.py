"""Networks composed in a few lines: layers, activations and losses, and the model that they make.

from thermosim.models.networks import dense, network, relu, squared_error

MODEL = network("mine", inputs=5, layers=[dense(16), relu, dense(2)], loss=squared_error)
"""

from __future__ import annotations

from thermosim.models.networks.activations import activation, gelu, linear, relu, sigmoid, softplus, tanh
from thermosim.models.networks.compose import network
from thermosim.models.networks.layers import dense, fixed, normalised, residual
from thermosim.models.networks.losses import absolute_error, cross_entropy, huber, logistic, squared_error

__all__ = [
    "absolute_error",
    "activation",
    "cross_entropy",
    "dense",
    "fixed",
    "gelu",
    "huber",
    "linear",
    "logistic",
    "network",
    "normalised",
    "relu",
    "residual",
    "sigmoid",
    "softplus",
    "squared_error",
    "tanh",
]
