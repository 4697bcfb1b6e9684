"""The classic, the denoising and the inpainting auto-encoder."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, corruptions, likelihoods, networks, objectives, views
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.models.autoencoder import AutoEncoder
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives import Region
from jaxae.objectives.base import Weight, as_weight, is_zero
from jaxae.recipe import Recipe
from jaxae.recipes.base import check_shape, compose_model, compose_recipe
from jaxae.types import Corrupt

_DENOISING = "denoising auto-encoder"


def autoencoder(
    shape: Shape,
    latent_dim: int = 32,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
    l1: Weight = 0.0,
    input_shape: Shape | None = None,
) -> Recipe:
    """The classic auto-encoder (Hinton & Salakhutdinov 2006).

    https://doi.org/10.1126/science.1127647

    Args:
        shape: The shape of one example.
        latent_dim: The size of the code.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        l1: Weight of the penalty Σ_j |z_j| on the code, in nats; or a schedule.
        input_shape: The shape of what the encoder sees of one example, where data bring
            "inputs" of another shape than x.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.autoencoder(
        ...     (28, 28, 1), latent_dim=2, network="conv"
        ... )
    """
    l1 = as_weight("l1", l1)
    bottleneck = bottlenecks.Deterministic(latent_dim, l1=0.0 if is_zero(l1) else 1.0)
    module = compose_model(
        shape, network, bottleneck, likelihood, input_shape=input_shape
    )
    # Of a penalty that is not there, any weight is as good.
    weight = 1.0 if is_zero(l1) else l1
    return compose_recipe(module, objectives.Reconstruction(penalty_weight=weight))


def denoising_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    corruption: Corrupt | None = None,
    network: Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Restores clean data from damaged data (Vincent et al. 2010).

    https://jmlr.org/papers/v11/vincent10a.html

    Args:
        shape: The shape of one example.
        latent_dim: The size of the code.
        corruption: What is done to the data, afresh at every step. Gaussian noise of
            std 0.4 unless given, of images clipped to [0, 1].
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.denoising_autoencoder((28, 28, 1), network="conv")
    """
    bottleneck = bottlenecks.Deterministic(latent_dim)
    module = compose_model(shape, network, bottleneck, likelihood)
    noise = corruptions.GaussianNoise(0.4, clip=len(shape) == 3)
    damage = noise if corruption is None else corruption
    objective = objectives.Reconstruction()
    return compose_recipe(module, objective, damage, title=_DENOISING)


def inpainting_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    corruption: Corrupt | None = None,
    network: Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    region: Region = "hole",
) -> Recipe:
    """Fills holes: a denoising auto-encoder whose encoder is shown where they are.

    Args:
        shape: The shape of one example.
        latent_dim: The size of the code.
        corruption: What removes entries, afresh at every step; it has to return a mask.
            One random box of about 3/7 of the sides, 12x12 of 28x28, unless given.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        region: Where the loss counts: in the hole, outside it or everywhere.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.inpainting_autoencoder((28, 28, 1), region="all")
    """
    check_shape(shape)
    bottleneck = bottlenecks.Deterministic(latent_dim)
    view = views.MaskChannel()
    module = compose_model(shape, network, bottleneck, likelihood, view=view)
    sides = [max(1, round(side * 3 / 7)) for side in (*shape[:2], shape[0])]
    hole = corruptions.Holes(sides[0], sides[1])
    damage = hole if corruption is None else corruption
    objective = objectives.Reconstruction(region)
    title = "inpainting auto-encoder"
    return compose_recipe(module, objective, damage, title=title)


def keras_denoiser(shape: Shape = (28, 28, 1), noise: float = 0.4) -> Recipe:
    """The denoiser of Keras' examples: 28,353 parameters, binary cross-entropy.

    https://keras.io/examples/vision/autoencoder/. The noise is fresh at every step,
    where Keras draws it once.

    Args:
        shape: The shape of one image, with sides that are multiples of 4.
        noise: Standard deviation of the noise, after which x is clipped to [0, 1].

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.keras_denoiser((28, 28, 1), noise=0.3)
    """
    check_shape(shape)
    sides_fit = len(shape) == 3 and shape[0] % 4 == 0 and shape[1] % 4 == 0
    expected = "(height, width, channels), sides multiples of 4"
    require(sides_fit, "shape", shape, expected)
    module = AutoEncoder(
        shape=shape,
        encoder=networks.KerasEncoder(),
        bottleneck=bottlenecks.Deterministic(None),
        decoder=networks.KerasDecoder(shape[-1]),
        likelihood=likelihoods.BinaryCrossEntropy(),
    )
    damage = corruptions.GaussianNoise(noise, clip=True)
    objective = objectives.Reconstruction()
    return compose_recipe(module, objective, damage, title=_DENOISING)
