"""The classic, the denoising and the inpainting auto-encoder."""

from jaxae import bottlenecks, corruptions, likelihoods, networks, objectives, views
from jaxae.autoencoder import AutoEncoder
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.objectives import Region
from jaxae.objectives.base import Weight, check_weight
from jaxae.recipes.base import (
    Networks,
    Shape,
    check_shape,
    compose_model,
    compose_recipe,
)
from jaxae.types import Corruption, Recipe


def autoencoder(
    shape: Shape,
    latent_dim: int = 32,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
    l1: Weight = 0.0,
) -> Recipe:
    """The classic auto-encoder (Hinton & Salakhutdinov 2006).

    `l1` is the weight of Σ_j |z_j|, a number or an optax schedule.
    """
    check_weight("l1", l1)
    bottleneck = bottlenecks.Deterministic(latent_dim, l1=1.0 if l1 else 0.0)
    model = compose_model(shape, network, bottleneck, likelihood)
    return compose_recipe(model, objectives.reconstruction(penalty_weight=l1))


def denoising_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    corruption: Corruption | None = None,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Restores clean data from damaged data (Vincent et al. 2010).

    `corruption` is gaussian noise of std 0.4, clipped to [0, 1], unless given.
    """
    bottleneck = bottlenecks.Deterministic(latent_dim)
    model = compose_model(shape, network, bottleneck, likelihood)
    damage = corruption or corruptions.gaussian_noise(0.4, clip=True)
    return compose_recipe(model, objectives.reconstruction(), damage)


def inpainting_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    corruption: Corruption | None = None,
    network: str | Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    region: Region = "hole",
) -> Recipe:
    """Fills holes: a denoising auto-encoder whose encoder is shown where they are.

    `corruption` is one random box of about 3/7 of the sides (12x12 of 28x28) unless
    given; it has to return a mask. `region` says where the loss counts.
    """
    check_shape(shape)
    sides = (max(1, round(side * 3 / 7)) for side in shape[:2])
    bottleneck = bottlenecks.Deterministic(latent_dim)
    model = compose_model(
        shape, network, bottleneck, likelihood, view=views.MASK_CHANNEL
    )
    damage = corruption or corruptions.holes(*sides)
    return compose_recipe(model, objectives.reconstruction(region), damage)


def keras_denoiser(shape: Shape = (28, 28, 1), noise: float = 0.4) -> Recipe:
    """The denoiser of Keras' examples: 28,353 parameters, binary cross-entropy.

    The sides of the images have to be multiples of 4. The noise is fresh at every step,
    where Keras draws it once.
    """
    check_shape(shape)
    sides_fit = len(shape) == 3 and shape[0] % 4 == 0 and shape[1] % 4 == 0
    require(
        sides_fit, "shape", shape, "(height, width, channels), sides multiples of 4"
    )
    model = AutoEncoder(
        shape=shape,
        encoder=networks.KerasEncoder(),
        bottleneck=bottlenecks.Deterministic(None),
        decoder=networks.KerasDecoder(shape[-1]),
        likelihood=likelihoods.BinaryCrossEntropy(),
    )
    damage = corruptions.gaussian_noise(noise, clip=True)
    return compose_recipe(model, objectives.reconstruction(), damage)
