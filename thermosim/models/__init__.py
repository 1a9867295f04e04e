"""The models, by the name a case calls them, and those made of the text of a user's file."""

from __future__ import annotations

from thermosim.model import OF_FORMULA, Model
from thermosim.models import (
    boltzmann_machine,
    convnet,
    deep_linear,
    double_well,
    full_gaussian,
    gan,
    gaussian,
    gaussian_mixture,
    gru,
    harmonic_trap,
    isotropic_sphere,
    linear_regression,
    logistic_regression,
    made,
    matrix_factorisation,
    multilayer_perceptron,
    network_energy,
    normalised_perceptron,
    quadratic,
    resnet18,
    restricted_boltzmann_machine,
    rotational_trap,
    scalar_chain,
    softmax_regression,
    squared_cosine,
    transformer,
    two_beads,
    vae,
)
from thermosim.models.user_file.load import model_of_text

__all__ = ["MODELS", "model_of"]

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        isotropic_sphere.MODEL,
        harmonic_trap.MODEL,
        rotational_trap.MODEL,
        two_beads.MODEL,
        gaussian.MODEL,
        full_gaussian.MODEL,
        gaussian_mixture.MODEL,
        double_well.MODEL,
        boltzmann_machine.MODEL,
        restricted_boltzmann_machine.MODEL,
        network_energy.MODEL,
        linear_regression.MODEL,
        logistic_regression.MODEL,
        softmax_regression.MODEL,
        squared_cosine.MODEL,
        multilayer_perceptron.MODEL,
        made.MODEL,
        vae.MODEL,
        gan.MODEL,
        deep_linear.MODEL,
        matrix_factorisation.MODEL,
        scalar_chain.MODEL,
        quadratic.MODEL,
        normalised_perceptron.MODEL,
        convnet.MODEL,
        resnet18.MODEL,
        gru.MODEL,
        transformer.MODEL,
    )
}


def model_of(name: str, source: str = "") -> Model:
    """The model of thermosim with this name, or the one that the text of a user's file, or of a formula, defines.

    Raises ValueError when there is none.
    """
    if not source:
        try:
            return MODELS[name]
        except KeyError:
            raise ValueError(f"there is no model {name!r}; there are {', '.join(MODELS)}") from None
    if source.startswith(OF_FORMULA):
        from thermosim.models.formula.made import model_of_formula  # with its parts only where there is one

        return model_of_formula(source)
    return model_of_text(source)
