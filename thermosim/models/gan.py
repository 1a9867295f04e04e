"""A generative adversarial network as a probabilistic model: its generator and a pixel noise s make a density.

    x = G(z) + s xi,   z ~ N(0, 1) of `latent` dimensions,   xi ~ N(0, 1) of n,   s = pixel_noise
    p(x) = int dz N(z; 0, 1) N(x; G(z), s^2)             in nat, of real x: -ln p(x) may be negative

Two players learn, each by a loss of its own. The discriminator's logit D(x) tells rows of data x from samples x~:

    L_D = <softplus(-D(x))> + <softplus(D(x~))> + (gamma/2) <|grad_x D(x)|^2>,     gamma = gradient_penalty
    L_G = <softplus(-D(x~))>,     softplus(a) = ln(1 + exp(a))

Both move at once, by the field (dL_D/d discriminator, dL_G/d generator). It is the gradient of no function: its
Jacobian is not symmetric, as what one player gains the other loses. So whatever presumes a potential refuses
(`Model.potential`). The loss of the books is L_D + L_G; both are 2 ln 2 and ln 2 where D cannot tell, besides the
penalty, which keeps the players from circling about that place. At any row of a minibatch there is one sample x~, with
z and xi of its own at every step; losses that are measured are averages over z and xi, by 128 draws and their
negatives, the same for all, or Gauss-Hermite nodes where z and x have one dimension each.

ln p(x) of a latent of one or two dimensions is summed over `nodes` equally spaced z in each, as in `vae`. A small s
takes more of them: p(z|x) is as wide as s over the slope of G. Of a larger latent it is known between bounds.

Generator and discriminator are perceptrons with the hidden layers of `generator` and `discriminator`, at most 3 each;
none makes it linear. Groups discriminator_l and generator_l of theta have shape (out, in + 1), biases last. Named
starts are those of `multilayer_perceptron`.

Sources: I. J. Goodfellow et al., NIPS 2014, arXiv:1406.2661, section 3, for the losses; L. Mescheder, A. Geiger, S.
Nowozin, ICML 2018, arXiv:1801.04406, Eq. 9, for the penalty R_1, and section 2, for the field; Y. Wu et al., ICLR 2017,
arXiv:1611.04273, section 2, for the density; S. S. Parsi, Entropy 26, 112 (2024), Eq. 1, for phi = -ln p.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from thermosim.model import Constant, Model, Values
from thermosim.models.architectures.measures import MEASURES
from thermosim.models.latent_measures import SURPRISALS
from thermosim.models.latent_parameters import DEEPEST, groups, starts
from thermosim.models.network_books import booked_by_group
from thermosim.network import Measure, Network

__all__ = ["MODEL"]

_PLAYERS = ("discriminator", "generator")


def fresh(parameters: dict[str, Any], constants: Values, normal: Any, uniform: Any) -> Any:
    """Exact samples (K, n) from z and xi (K, latent + n)."""
    from thermosim.models.architectures.gan import sampled  # JAX comes with it

    return sampled(parameters, constants, normal)


def _network(constants: Values) -> Network:
    from thermosim.models.architectures.gan import gan

    return gan(constants)


def _of_player(player: int, probe: Any, theta: Mapping[str, Any]) -> Any:
    from thermosim.models.architectures.gan import players

    return probe.over_rows(lambda x, y: players(dict(theta), probe.block.model_constants, x)[player])


def _validate(constants: Values, settings: Any) -> list[str]:
    return [
        f"model.{part} = {constants[part]!r}: expected units of at most {DEEPEST} hidden layers."
        for part in _PLAYERS
        if len(constants[part]) > DEEPEST
    ]


def _numbers_of_sample(constants: Values) -> int:
    return int(constants["latent"]) + int(constants["dimension"])


def _units(part: str) -> Constant:
    meaning = f"units of each hidden layer of the {part}; at most {DEEPEST} layers, none for a linear one"
    return Constant(part, [32], meaning, minimum=1, integer=True, shape=lambda constants: (None,), empty=True)


MODEL = booked_by_group(
    Model(
        name="gan",
        summary="generative adversarial network of real numbers; with pixel noise, so that ln p is known, or bounded",
        source="I. J. Goodfellow et al., NIPS 2014, arXiv:1406.2661; Y. Wu et al., ICLR 2017, arXiv:1611.04273",
        constants=(
            Constant("dimension", 2, "number of components n of x", minimum=1, integer=True),
            Constant("latent", 2, "dimension of z; beyond 2 ln p(x) is known between bounds", minimum=1, integer=True),
            Constant("pixel_noise", 0.1, "standard deviation s of x about G(z)", minimum=0.0, exclusive=True),
            Constant("gradient_penalty", 1.0, "gamma of R_1, the penalty of |grad D|^2 at data", minimum=0.0),
            Constant("nodes", 128, "nodes of the rule for ln p, in each dimension of z", minimum=8, integer=True),
            Constant("activation", "tanh", "activation of hidden units", choices=("relu", "tanh")),
            *map(_units, _PLAYERS),
        ),
        inputs=lambda constants: int(constants["dimension"]),
        parameters=groups(_PLAYERS),
        normalised=True,
        potential=False,
        fresh=fresh,
        fresh_normals=_numbers_of_sample,
        initial_theta=starts(_PLAYERS),
        validate=_validate,
        network=_network,
        measures=(
            *MEASURES,
            *SURPRISALS,
            *(
                Measure(
                    f"{player}_loss",
                    "nat",
                    f"loss of the {player}, of all data and the mean over samples",
                    equation,
                    functools.partial(_of_player, number),
                )
                for number, (player, equation) in enumerate(zip(_PLAYERS, ("L_D(theta)", "L_G(theta)")))
            ),
        ),
    )
)
