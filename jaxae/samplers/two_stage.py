"""A second variational auto-encoder, of the codes of the first."""

from typing import Any

import jax

from jaxae import networks, recipes
from jaxae.checks import check_sizes
from jaxae.recipe import Recipe
from jaxae.samplers.base import Sampler, fit_sampler


def two_stage(
    codes: Any,
    key: jax.Array,
    *,
    hidden: tuple[int, ...] = (256, 256),
    epochs: int = 20,
    batch_size: int = 200,
) -> Sampler:
    """A VAE with as many latent dimensions as the codes have (Dai & Wipf 2019).

    Section 4 there: the codes of a first VAE fill their space, so that a second one
    whose variance is learned can match their distribution. Samples are draws of
    z ~ N(mean(u), σ² I) with u ~ N(0, I), of the standardised codes. The one variance
    σ² is the best for each batch, see `likelihoods.Gaussian("optimal")`: by gradients
    its logarithm moves only as far in a step as the learning rate.

    Args:
        codes: As `aggregate_codes` returns them, real numbers.
        key: A typed key, from which weights, noise and data order follow.
        hidden: Units per layer of both networks.
        epochs: Passes over the codes.
        batch_size: Codes per step.

    Raises:
        ValueError: The codes are not real and finite, or a number is below 1.
        TrainingDiverged: See `jaxae.fit`.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> codes = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
        >>> key = jax.random.key(0)
        >>> jaxae.samplers.two_stage(codes, key, hidden=(4,), epochs=1)(key, 3).shape
        (3, 2)
    """
    check_sizes("hidden", hidden)

    def make(shape: tuple[int, ...]) -> Recipe:
        network = networks.FullyConnected(hidden)
        return recipes.vae(
            shape, shape[0], network=network, likelihood="gaussian_optimal"
        )

    return fit_sampler(make, codes, key, epochs, batch_size)
