"""The recipes of the published protocols: (steps of an epoch, epochs) -> recipe."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

import jaxae
from jaxae import (
    bottlenecks,
    corruptions,
    likelihoods,
    networks,
    objectives,
    priors,
    recipes,
    schedules,
)
from jaxae.values import Module
from train.reproduce.hvae import ConvHVAE

SHAPE = (28, 28, 1)

Make = Callable[[int, int], jaxae.Recipe]


def keras_autoencoder(steps: int, epochs: int) -> jaxae.Recipe:
    """28,353 parameters, binary cross-entropy of grey levels."""
    recipe = recipes.keras_denoiser(SHAPE)
    return recipe.replace(corruption=corruptions.identity, title="")


GATED = networks.FullyConnected((300, 300), gated=True)
LIMITS = (-3.0, 1.0)
"""Bounds of log std: the log variance is kept in [-6, 2] there."""


def tomczak(steps: int, epochs: int, vamp: bool = False) -> jaxae.Recipe:
    """Two gated layers of 300, 40 latent dimensions, the rate in over 100 epochs."""
    module = recipes.compose_model(
        SHAPE,
        GATED,
        bottlenecks.Gaussian(40, LIMITS),
        None,
        prior=priors.VampPrior(SHAPE, 500) if vamp else None,
    )
    return recipes.compose_recipe(module, warmed_up(steps, epochs))


def convolutional(steps: int, epochs: int, vamp: bool = False) -> jaxae.Recipe:
    """Two stochastic layers of 40 dimensions, by gated convolutions."""
    module = ConvHVAE(SHAPE, priors.VampPrior(SHAPE, 500) if vamp else None)
    return recipes.compose_recipe(module, warmed_up(steps, epochs))


def warmed_up(steps: int, epochs: int) -> objectives.ELBO:
    """The rate comes in over 100 epochs, of fewer than 2,000 a twentieth."""
    warm_up = max(1, round(steps * min(100, epochs / 20)))
    return objectives.ELBO(schedules.Linear(0.0, 1.0, warm_up))


def flax_example(steps: int, epochs: int) -> jaxae.Recipe:
    """500 units, 20 latent dimensions."""
    return recipes.vae(SHAPE, 20, network=networks.FullyConnected((500,)))


def davidson(steps: int, epochs: int) -> jaxae.Recipe:
    """784-256-128, codes on the sphere in 11 dimensions."""
    network = networks.FullyConnected((256, 128))
    return recipes.hyperspherical_vae(SHAPE, 11, network=network)


def hinton(steps: int, epochs: int) -> jaxae.Recipe:
    """784-1000-500-250-30 and back."""
    network = networks.FullyConnected((1000, 500, 250), activation="gelu")
    return recipes.autoencoder(SHAPE, 30, network=network)


def keras_vqvae(steps: int, epochs: int) -> jaxae.Recipe:
    """7×7 codes of 128 entries in 16 dimensions, learned by gradient.

    There the loss is the squared error over the variance of the pixels, 0.0949, and
    means take the place of sums, of which both have 784: as of a Gaussian of this std.
    """
    module = recipes.compose_model(
        SHAPE,
        (networks.ConvEncoder((32, 64)), VQDecoder),
        bottlenecks.VectorQuantizer(128, 16, "gradient"),
        likelihoods.Gaussian(std=(0.0949 / 2) ** 0.5),
    )
    return recipes.compose_recipe(module, objectives.Reconstruction())


class VQDecoder(Module):
    """Keras' decoder: three transposed convolutions.

    Attributes:
        shape: Of its output.
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z: Float[Array, "b h w d"]) -> Float[Array, "b ..."]:
        """An image of four times the sides of the codes."""
        for channels in (64, 32):
            z = nn.relu(networks.ConvTranspose(channels, stride=2)(z))
        return networks.ConvTranspose(self.shape[-1])(z)


def mattei(steps: int, epochs: int) -> jaxae.Recipe:
    """128-128 tanh, 10 dimensions, Student's t for posterior and likelihood, K = 20."""
    network = networks.FullyConnected((128, 128), activation="tanh")
    module = recipes.compose_model(
        (30,), network, bottlenecks.StudentT(10), likelihoods.StudentT()
    )
    return recipes.compose_recipe(module, objectives.IWAE(), num_samples=20)


def townsend(steps: int, epochs: int) -> jaxae.Recipe:
    """784-100-40, of images of two levels."""
    return recipes.vae(SHAPE, 40, network=networks.FullyConnected((100,)))


def townsend_8_bit(steps: int, epochs: int) -> jaxae.Recipe:
    """784-200-50, with a beta-binomial likelihood."""
    network = networks.FullyConnected((200,))
    return recipes.vae(SHAPE, 50, network=network, likelihood="beta_binomial")


TANH = networks.FullyConnected((200, 200), activation="tanh")


def burda(k: int, *, weighted: bool = True, **options: Any) -> Make:
    """784-200-200-50 tanh, of an importance-weighted bound or, without, of the ELBO."""

    def recipe(steps: int, epochs: int) -> jaxae.Recipe:
        if weighted:
            return recipes.iwae(SHAPE, 50, network=TANH, num_samples=k, **options)
        return recipes.vae(SHAPE, 50, network=TANH, num_samples=k)

    return recipe


def burda_2(k: int, *, weighted: bool = True) -> Make:
    """784-200-200-100-100-100-50 tanh: two stochastic layers, of 100 and of 50."""

    def recipe(steps: int, epochs: int) -> jaxae.Recipe:
        upper = networks.FullyConnected((100, 100), activation="tanh")
        options = {"network": TANH, "upper_network": upper, "num_samples": k}
        stacked = recipes.stacked_vae(SHAPE, (100, 50), beta=1.0, **options)
        return stacked.replace(objective=objectives.IWAE()) if weighted else stacked

    return recipe
