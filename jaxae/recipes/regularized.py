"""Auto-encoders with smooth codes: contractive, and regularised without noise."""

from typing import Literal, get_args

from jaxae import bottlenecks, networks, objectives
from jaxae.bottlenecks.sigmoid import ContractiveSigmoid
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.networks.spectral import SpectralMLPDecoder
from jaxae.objectives.base import Weight, check_weight
from jaxae.objectives.contraction import contraction
from jaxae.objectives.regularized import (
    code_penalty,
    decoder_gradient_penalty,
    decoder_weight_decay,
)
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe, mlp
from jaxae.types import Recipe

ContractionEstimator = Literal["closed_form", "exact", "hutchinson"]
Regularizer = Literal["l2", "gradient_penalty", "spectral_norm"]


def contractive_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    weight: Weight = 0.1,
    estimator: ContractionEstimator = "closed_form",
    network: str | Networks | None = None,
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Charges ||∂z/∂x||_F² of a sigmoid code z (Rifai et al. 2011), weights not tied.

    `weight` is a number or an optax schedule. `estimator="closed_form"` needs an
    encoder of one layer, which is the default there; "exact" and "hutchinson" take any
    encoder, see `objectives.contraction`.
    """
    known = get_args(ContractionEstimator)
    require(estimator in known, "estimator", estimator, f"one of {known}")
    check_weight("weight", weight)
    closed = estimator == "closed_form"
    chosen = network or (mlp(()) if closed else "mlp")
    model = compose_model(shape, chosen, ContractiveSigmoid(latent_dim), likelihood)
    if estimator == "closed_form":
        encoder = model.encoder
        flattens = isinstance(encoder, networks.MLP) and not encoder.hidden
        require(flattens, "network", network, "mlp(()) for estimator='closed_form'")
        return compose_recipe(model, objectives.reconstruction(penalty_weight=weight))
    reconstruction = objectives.reconstruction(penalty_weight=0.0)
    objective = objectives.chain(reconstruction, contraction(weight, estimator))
    return compose_recipe(model, objective)


def regularized_autoencoder(
    shape: Shape,
    latent_dim: int = 16,
    *,
    regularizer: Regularizer = "l2",
    code_weight: Weight = 1e-2,
    weight: Weight | None = None,
    network: str | Networks | None = None,
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """The RAE: a smooth decoder and small codes in place of noise (Ghosh et al. 2020).

    Args:
        shape: The shape of one example.
        latent_dim: The size of the code.
        regularizer: What keeps the decoder smooth: "l2" its weights' squared norm,
            "gradient_penalty" its squared slope, estimated with one random direction,
            "spectral_norm" a `SpectralMLPDecoder`.
        code_weight: Of ½ ||z||²: a number or an optax schedule.
        weight: Of the regulariser: a number or an optax schedule, 1e-4 unless given;
            "spectral_norm" has none.
        network: "mlp" unless given; with "spectral_norm" an MLP, and no other.
        likelihood: By name or as a module.

    Raises:
        ValueError: An argument is outside its range, or a weight or a network of your
            own was given together with "spectral_norm".
    """
    known = get_args(Regularizer)
    require(regularizer in known, "regularizer", regularizer, f"one of {known}")
    parts = [objectives.reconstruction(), code_penalty(code_weight)]
    if regularizer == "spectral_norm":
        expected = "None or 'mlp' for regularizer='spectral_norm'"
        require(network in (None, "mlp"), "network", network, expected)
        expected = "None for regularizer='spectral_norm'"
        require(weight is None, "weight", weight, expected)
        network = networks.MLP(), SpectralMLPDecoder
    else:
        l2 = regularizer == "l2"
        smooth = decoder_weight_decay if l2 else decoder_gradient_penalty
        parts.append(smooth(1e-4 if weight is None else weight))
    bottleneck = bottlenecks.Deterministic(latent_dim)
    model = compose_model(shape, network or "mlp", bottleneck, likelihood)
    return compose_recipe(model, objectives.chain(*parts))
