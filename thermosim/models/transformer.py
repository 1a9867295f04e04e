"""A causal Transformer, decoder only: at every place it says how likely each next token is, by those up to there.

    x_t = E[s_t] + P_t,   blocks l = 1, ..., L, the norm before each part:
    x <- x + A_l(N(x)),   x <- x + C_l gelu(U_l N(x)),   p(s_(t+1) | s_0, ..., s_t) = softmax(O N(x_t) + o)

    A: heads j = 1, ..., H of D/H units, y_t = sum_(u <= t) softmax_u(q_t . k_u/sqrt(D/H)) v_u, joined and mapped once
    more, q, k, v linear in N(x);   N(x) = g (x - mean)/sqrt(variance + 1e-5) + b over units
    gelu(z) = z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))/2

attention_l (4, D, D + 1) maps to q, k, v and from y, expand_l = U (4 D, D + 1), contract_l = C (D, 4 D + 1), biases in
last columns; norms_l (2, 2, D) are (g, b) before attention and before U, and `norm` (2, D) before the readout. The
embedding E is (V, D), positions P are (T, D), the readout (O | o) is (V, D + 1). Loss and rows as in `token_sequences`.

Starts: gpt draws weights from a normal law of deviation 0.02, those that end a part 0.02/sqrt(2 L); lecun of variance
1/in, the embedding and positions of variance 1/D. Biases are 0, gains 1.

Sources: A. Vaswani et al., arXiv:1706.03762, Eq. 1; A. Radford et al., "Language models are unsupervised multitask
learners" (2019), Sec. 2.3, for the norms before each part and the start gpt; L = 2, D = 128, H = 4 in L. Ziyin, Y. Ren,
D. Levine, I. Chuang, arXiv:2605.21933 (2026).
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

_GPT = 0.02


def _layer(k: int, constants: Values) -> dict[str, tuple[int, ...]]:
    d = int(constants["width"])
    return {"norms": (2, 2, d), "attention": (4, d, d + 1), "expand": (4 * d, d + 1), "contract": (d, 4 * d + 1)}


def shapes(constants: Values) -> dict[str, tuple[int, ...]]:
    """Shapes of the groups of theta, in order."""
    vocabulary, places, d = (int(constants[name]) for name in ("vocabulary", "context", "width"))
    ends = {"norm": (2, d), "readout": (vocabulary, d + 1)}
    return {"embedding": (vocabulary, d), "positions": (places, d), **numbered(_layer, constants), **ends}


def _start(constants: Values, normal: np.ndarray, gpt: bool) -> np.ndarray:
    own, d = shapes(constants), int(constants["width"])
    last = _GPT / math.sqrt(2.0 * int(constants["layers"]))  # of what is added to the stream

    def deviation(name: str) -> Any:
        shape, kind = own[name], name.partition("_")[0]
        if kind in ("norm", "norms"):
            return np.zeros(shape)
        if kind in ("embedding", "positions"):
            return np.full(shape, _GPT if gpt else 1.0 / math.sqrt(d))
        usual = _GPT if gpt else 1.0 / math.sqrt(shape[-1] - 1)
        if kind == "attention":
            each = [usual, usual, usual, last if gpt else usual]
            return np.stack([with_bias(d, d, size) for size in each])
        return with_bias(shape[0], shape[1] - 1, last if gpt and kind == "contract" else usual)

    def mean(name: str) -> Any:
        gains = np.zeros((*own[name], 1))
        if name.startswith("norm"):
            gains[..., 0, :, :] = 1.0
        return gains

    return token_sequences.start(own, deviation, mean, normal)


def _gpt(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _start(constants, normal, gpt=True)


def _lecun(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return _start(constants, normal, gpt=False)


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.transformer import transformer  # JAX comes with it

    return transformer(constants)


def _hidden(constants: Values) -> Any:
    from thermosim.models.architectures.transformer import hidden_of

    return hidden_of(constants)


def _validate(constants: Values, settings: Any) -> list[str]:
    width, heads = int(constants["width"]), int(constants["heads"])
    if width % heads == 0:
        return []
    return [f"model.width = {width}: is shared out to model.heads = {heads}; make it a multiple of that."]


_MEANINGS = {
    "norms": "gains and shifts of the norms before attention and before the wide layer of",
    "attention": "maps to queries, keys, values and of what was gathered, biases last, of",
    "expand": "weights and biases into the wide layer of",
    "contract": "weights and biases out of the wide layer of",
}
_BLOCKS = [
    group(f"{name}_{k}", f"{meaning} block {k}; none beyond the depth", shapes)
    for k in range(1, DEEPEST + 1)
    for name, meaning in _MEANINGS.items()
]

MODEL = booked_by_group(
    Model(
        name="transformer",
        summary="causal Transformer, decoder only, which predicts each next token of a sequence",
        source="A. Vaswani et al., arXiv:1706.03762; L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026)",
        constants=(
            VOCABULARY,
            CONTEXT,
            Constant("width", 32, "units of the stream, D", minimum=1, integer=True),
            Constant("heads", 4, "heads of attention, H, which share the units", minimum=1, integer=True),
            Constant("layers", 2, "blocks of attention and a wide layer, L", minimum=1, maximum=DEEPEST, integer=True),
            PREDICT,
        ),
        inputs=token_sequences.inputs,
        tokens=lambda constants: int(constants["vocabulary"]),
        parameters=(
            group("embedding", "a row of numbers for each token", shapes),
            group("positions", "a row of numbers for each place in the context", shapes),
            *_BLOCKS,
            group("norm", "gains and shifts of the norm before the readout", shapes),
            group("readout", "weights and, last in each row, biases of the logits of each token", shapes),
        ),
        initial_theta={"gpt": _gpt, "lecun": _lecun},
        validate=_validate,
        network=_network,
        measures=token_sequences.measures(_hidden),
    )
)
