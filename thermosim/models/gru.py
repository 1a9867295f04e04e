"""A language model of gated recurrent units: it reads tokens one by one, and says how likely each next one is.

    x_t = E[s_t],   layers l = 1, ..., L, each from the state h_(-1) = 0, with (i, u) = (W x_t + b, R h_(t-1) + c)
    r = sigma(i_r + u_r),   z = sigma(i_z + u_z),   n = tanh(i_n + r u_n),   h_t = (1 - z) n + z h_(t-1)
    p(s_(t+1) | s_0, ..., s_t) = softmax(O h_t + o), of the last layer; loss and rows as in `token_sequences`

inputs_l = (W | b) and recurrent_l = (R | c) are (3 h, h + 1), rows those of r, of z and of n, biases in the last
column: the numbers of torch.nn.GRU. The embedding E is (V, h), the readout (O | o) is (V, h + 1).

The start draws weights from normal laws of variance 1/h, the embedding of variance 1; biases are 0.

Sources: K. Cho et al., arXiv:1406.1078, Eqs. 5-8, the reset after the product as in cuDNN; Y. LeCun et al.,
"Efficient BackProp" (1998), Eq. 16, for the start; L = 2 and h = 256 in L. Ziyin, Y. Ren, D. Levine, I. Chuang,
arXiv:2605.21933 (2026).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from thermosim.model import Constant, Model, Values
from thermosim.models import token_sequences
from thermosim.models.network_books import booked_by_group
from thermosim.models.token_sequences import CONTEXT, DEEPEST, PREDICT, VOCABULARY, group, numbered, with_bias
from thermosim.network import Network

__all__ = ["MODEL"]


def _layer(k: int, constants: Values) -> dict[str, tuple[int, ...]]:
    h = int(constants["width"])
    return {"inputs": (3 * h, h + 1), "recurrent": (3 * h, h + 1)}


def shapes(constants: Values) -> dict[str, tuple[int, ...]]:
    """Shapes of the groups of theta, in order."""
    h, vocabulary = int(constants["width"]), int(constants["vocabulary"])
    return {"embedding": (vocabulary, h), **numbered(_layer, constants), "readout": (vocabulary, h + 1)}


def _lecun(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    own, h = shapes(constants), int(constants["width"])

    def deviation(name: str) -> Any:
        return np.ones(own[name]) if name == "embedding" else with_bias(own[name][0], h, 1.0 / math.sqrt(h))

    return token_sequences.start(own, deviation, lambda name: 0.0, normal)


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.gru import gru  # JAX comes with it

    return gru(constants)


def _hidden(constants: Values) -> Any:
    from thermosim.models.architectures.gru import hidden_of

    return hidden_of(constants)


_LAYERS = [
    group(f"{name}_{k}", f"{meaning} layer {k}, gates r, z and n one after another; none beyond the depth", shapes)
    for k in range(1, DEEPEST + 1)
    for name, meaning in (("inputs", "weights and biases into"), ("recurrent", "weights and biases from the state of"))
]

MODEL = booked_by_group(
    Model(
        name="gru",
        summary="language model of gated recurrent units, which predicts each next token of a sequence",
        source="K. Cho et al., arXiv:1406.1078; L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026)",
        constants=(
            VOCABULARY,
            CONTEXT,
            Constant("width", 32, "units of each layer, h, and numbers that embed a token", minimum=1, integer=True),
            Constant("layers", 2, "recurrent layers, L", minimum=1, maximum=DEEPEST, integer=True),
            PREDICT,
        ),
        inputs=token_sequences.inputs,
        tokens=lambda constants: int(constants["vocabulary"]),
        parameters=(
            group("embedding", "a row of numbers for each token", shapes),
            *_LAYERS,
            group("readout", "weights and, last in each row, biases of the logits of each token", shapes),
        ),
        initial_theta={"lecun": _lecun},
        network=_network,
        measures=token_sequences.measures(_hidden),
    )
)
