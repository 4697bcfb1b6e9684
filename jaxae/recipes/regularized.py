"""Auto-encoders with smooth codes: contractive, and regularised without noise."""

from __future__ import annotations  # help() shows names, not types

from typing import Literal

from jaxae import bottlenecks, networks, objectives
from jaxae.bottlenecks.sigmoid import ContractiveSigmoid
from jaxae.errors import check_choice, require
from jaxae.likelihoods import Likelihood
from jaxae.networks import FullyConnected, Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight, as_weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe

ContractionEstimator = Literal["closed_form", "exact", "hutchinson"]
Regularizer = Literal["l2", "gradient_penalty", "spectral_norm"]


def contractive_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    weight: Weight = 0.1,
    estimator: ContractionEstimator = "closed_form",
    network: Networks | None = None,
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Charges ||∂z/∂x||_F² of a sigmoid code z (Rifai et al. 2011), weights not tied.

    https://icml.cc/2011/papers/455_icmlpaper.pdf

    Args:
        shape: The shape of one example.
        latent_dim: The size of the code.
        weight: Weight of the squared norm of the Jacobian; or a schedule.
        estimator: "closed_form" needs an encoder of one layer, which is the default
            there; "exact" and "hutchinson" take any, see `objectives.Contraction`.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own; an MLP unless given.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.contractive_autoencoder((28, 28, 1), latent_dim=2)
    """
    check_choice("estimator", estimator, ContractionEstimator)
    weight = as_weight("weight", weight)
    closed = estimator == "closed_form"
    chosen = network or (FullyConnected(()) if closed else "mlp")
    module = compose_model(shape, chosen, ContractiveSigmoid(latent_dim), likelihood)
    if estimator == "closed_form":
        encoder = module.encoder
        flattens = isinstance(encoder, networks.MLP) and not encoder.hidden
        expected = "networks.FullyConnected(()) for estimator='closed_form'"
        require(flattens, "network", network, expected)
        objective = objectives.Reconstruction(penalty_weight=weight)
    else:
        plain = objectives.Reconstruction(penalty_weight=0.0)
        contraction = objectives.Contraction(weight, estimator)
        objective = objectives.Chain((plain, contraction))
    return compose_recipe(module, objective, title="contractive auto-encoder")


def regularized_autoencoder(
    shape: Shape,
    latent_dim: int = 16,
    *,
    regularizer: Regularizer = "l2",
    code_weight: Weight = 1e-2,
    weight: Weight | None = None,
    network: Networks | None = None,
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """The RAE: a smooth decoder and small codes in place of noise (Ghosh et al. 2020).

    https://arxiv.org/abs/1903.12436

    Args:
        shape: The shape of one example.
        latent_dim: The size of the code.
        regularizer: What keeps the decoder smooth: "l2" its weights' squared norm,
            "gradient_penalty" its squared slope, estimated with one random direction,
            "spectral_norm" a `SpectralMLPDecoder`.
        code_weight: Weight of ½ ||z||²; or a schedule.
        weight: Weight of the regulariser, 1e-4 unless given; or a schedule;
            "spectral_norm" has none.
        network: "mlp" unless given; with "spectral_norm" an MLP, and no other.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.

    Raises:
        ValueError: An argument is outside its range, or a weight or a network of your
            own was given together with "spectral_norm".

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.regularized_autoencoder(
        ...     (28, 28, 1), latent_dim=2, regularizer="spectral_norm"
        ... )
    """
    check_choice("regularizer", regularizer, Regularizer)
    parts = [objectives.Reconstruction(), objectives.CodePenalty(code_weight)]
    if regularizer == "spectral_norm":
        expected = "None or 'mlp' for regularizer='spectral_norm'"
        require(network in (None, "mlp"), "network", network, expected)
        expected = "None for regularizer='spectral_norm'"
        require(weight is None, "weight", weight, expected)
        network = networks.MLP(), networks.SpectralMLPDecoder
    elif regularizer == "l2":
        parts.append(objectives.DecoderWeightDecay(1e-4 if weight is None else weight))
    else:
        charge = 1e-4 if weight is None else weight
        parts.append(objectives.DecoderGradientPenalty(charge))
    bottleneck = bottlenecks.Deterministic(latent_dim)
    module = compose_model(shape, network or "mlp", bottleneck, likelihood)
    objective = objectives.Chain(tuple(parts))
    return compose_recipe(module, objective, title="regularised auto-encoder")
