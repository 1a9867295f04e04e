"""A variational autoencoder of bits; with a latent of one or two dimensions the integral for ln p(x) is done.

    p(x) = int dz N(z; 0, 1) prod_d p(x_d|z),   p(x_d = 1|z) = 1/(1 + exp(-a_d(z))),   x_d in {0, 1}
    a = decoder(z),   (mu, s) = encoder(x),   q(z|x) = N(mu, exp(s)),   z = mu + exp(s/2) epsilon
    loss of a row   -ln p(x|z) + (1/2) sum (mu^2 + exp(s) - 1 - s)  >=  -ln p(x) on average over epsilon, in nat

Every row of a minibatch has its own epsilon at every step. Where a loss is measured without noise, as that of all data
is, it is the average over epsilon by 16 Gauss-Hermite nodes in each dimension; of larger latents by 128 draws and their
negatives, the same for all rows.

ln p(x) is the sum over `nodes` equally spaced z in each dimension, from -6 to 6, with weights in proportion to
exp(-z^2/2) that add up to 1: the trapezoidal rule, whose error falls exponentially once the spacing is below the width
of p(z|x); Gauss-Hermite nodes resolve that worse, the more x tells of z. The law by the rule is normalised whatever the
spacing. What the rule lacks is seen by twice as many nodes (`analysis.latent_rule`). Of a larger latent ln p(x) is
known between bounds, by annealed importance sampling (`analysis.latent_bounds`).

Encoder and decoder have the hidden layers of `hidden`, the decoder in reverse order; group encoder_l or decoder_l of
theta has shape (out, in + 1), biases last. Named starts are those of `multilayer_perceptron`.

Sources: D. P. Kingma, M. Welling, ICLR 2014, arXiv:1312.6114, Eqs. 7 and 10; for the rule L. N. Trefethen, J. A. C.
Weideman, SIAM Rev. 56, 385 (2014), Thm. 5.1; S. S. Parsi, Entropy 26, 112 (2024), Eq. 1, for phi = -ln p.
"""

from __future__ import annotations

from typing import Any

from thermosim.model import Constant, Model, Values
from thermosim.models.architectures.measures import MEASURES
from thermosim.models.latent_measures import SURPRISALS
from thermosim.models.latent_parameters import DEEPEST, groups, starts
from thermosim.models.made import support
from thermosim.models.network_books import booked_by_group
from thermosim.network import Network

__all__ = ["MODEL"]

_PARTS = ("encoder", "decoder")


def fresh(parameters: dict[str, Any], constants: Values, normal: Any, uniform: Any) -> Any:
    """Exact samples (K, n) from z (K, latent) and uniform numbers (K, n)."""
    from thermosim.models.architectures.vae import sampled  # JAX comes with it

    return sampled(parameters, constants, normal, uniform)


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.vae import vae

    return vae(constants)


def _validate(constants: Values, settings: Any) -> list[str]:
    found = []
    if not 1 <= len(constants["hidden"]) <= DEEPEST:
        found.append(f"model.hidden = {constants['hidden']!r}: expected units of 1 to {DEEPEST} hidden layers.")
    return found


def _components(constants: Values) -> int:
    return int(constants["dimension"])


MODEL = booked_by_group(
    Model(
        name="vae",
        summary="variational autoencoder of bits; ln p is summed over a latent of one or two dimensions, or bounded",
        source="D. P. Kingma, M. Welling, ICLR 2014, arXiv:1312.6114",
        constants=(
            Constant("dimension", 8, "number of bits n", minimum=2, integer=True),
            Constant("latent", 1, "dimension of z; beyond 2 ln p(x) is known between bounds", minimum=1, integer=True),
            Constant("nodes", 128, "nodes of the rule for ln p, in each dimension of z", minimum=8, integer=True),
            Constant("activation", "tanh", "activation of hidden units", choices=("relu", "tanh")),
            Constant(
                "hidden",
                [16],
                f"units of each hidden layer of the encoder; at most {DEEPEST} layers",
                minimum=1,
                integer=True,
                shape=lambda constants: (None,),
            ),
        ),
        inputs=_components,
        parameters=groups(_PARTS),
        normalised=True,
        discrete=True,
        fresh=fresh,
        fresh_normals=lambda constants: int(constants["latent"]),
        fresh_uniforms=_components,
        support=support,
        initial_theta=starts(_PARTS),
        validate=_validate,
        network=_network,
        measures=(*MEASURES, *SURPRISALS),
    )
)
