"""Auto-encoders whose code is an image of whole numbers."""

from __future__ import annotations  # help() shows names, not types

from jaxae import objectives
from jaxae.bottlenecks.lookup_free import FSQ, LFQ
from jaxae.bottlenecks.quantized import Estimator, Learning, VectorQuantizer
from jaxae.hooks import ReviveCodes
from jaxae.likelihoods import Likelihood
from jaxae.networks import Convolutional, Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe


def vqvae(
    shape: Shape,
    codebook_size: int = 512,
    code_dim: int = 16,
    *,
    network: Networks = Convolutional(inner_blocks=2),  # noqa: B008, a value
    likelihood: str | Likelihood = "gaussian",
    codebook: Learning = "ema",
    commitment_weight: float = 0.25,
    decay: float = 0.99,
    gradient_estimator: Estimator = "straight_through",
    num_quantizers: int = 1,
    penalty_weight: Weight = 1.0,
) -> Recipe:
    """The VQ-VAE (van den Oord et al. 2017), with one codebook or several.

    https://arxiv.org/abs/1711.00937; see `bottlenecks.VectorQuantizer`. With a
    convolutional network there is one code per position of the encoder's features, with
    "mlp" one per example. As in the paper there are two residual blocks between the
    convolutions and the codes: they let neighbouring codes share what they say.

    Args:
        shape: The shape of one example.
        codebook_size: Entries of every codebook.
        code_dim: Dimensions of an entry.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        codebook: Entries as running means, or learned by the gradient.
        commitment_weight: Weight of the distance between features and entries.
        decay: Of the running means, per step.
        gradient_estimator: How gradients pass the quantisation.
        num_quantizers: Codebooks, each for what the one before leaves: residual VQ
            above 1.
        penalty_weight: Of all that the codebook adds to the loss; or a schedule.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.vqvae((28, 28, 1), codebook_size=64)
    """
    bottleneck = VectorQuantizer(
        codebook_size,
        code_dim,
        codebook,
        commitment_weight,
        decay,
        gradient_estimator,
        num_quantizers,
    )
    hooks = (ReviveCodes(bottleneck),) if codebook == "gradient" else ()
    title = "vector-quantised auto-encoder (VQ-VAE)"
    module = compose_model(shape, network, bottleneck, likelihood)
    objective = objectives.Reconstruction(penalty_weight=penalty_weight)
    return compose_recipe(module, objective, hooks=hooks, title=title)


def fsq_autoencoder(
    shape: Shape,
    levels: tuple[int, ...] = (8, 5, 5, 5),
    *,
    network: Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Finite scalar quantisation: every code dimension is rounded to a few levels.

    Mentzer et al. 2023, https://arxiv.org/abs/2309.15505; see `bottlenecks.FSQ`.

    Args:
        shape: The shape of one example.
        levels: Levels of every code dimension.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.fsq_autoencoder((28, 28, 1), levels=(8, 6, 5))
    """
    module = compose_model(shape, network, FSQ(levels), likelihood)
    title = "auto-encoder with finite scalar quantisation"
    return compose_recipe(module, objectives.Reconstruction(), title=title)


def lfq_autoencoder(
    shape: Shape,
    bits: int = 10,
    *,
    network: Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    entropy_weight: float = 0.3,
    diversity: float = 1.0,
    commitment_weight: float = 0.02,
    penalty_weight: Weight = 1.0,
) -> Recipe:
    """Lookup-free quantisation: every code dimension is a bit.

    Yu et al. 2023, https://arxiv.org/abs/2310.05737; see `bottlenecks.LFQ`.

    Args:
        shape: The shape of one example.
        bits: Code dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        entropy_weight: Weight of the entropy penalty.
        diversity: Weight of the batch's entropy relative to that of single codes.
        commitment_weight: Weight of the distance between features and codes.
        penalty_weight: Of all three together; or a schedule.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.lfq_autoencoder((28, 28, 1), bits=8)
    """
    bottleneck = LFQ(bits, entropy_weight, diversity, commitment_weight)
    module = compose_model(shape, network, bottleneck, likelihood)
    objective = objectives.Reconstruction(penalty_weight=penalty_weight)
    title = "auto-encoder with lookup-free quantisation"
    return compose_recipe(module, objective, title=title)
