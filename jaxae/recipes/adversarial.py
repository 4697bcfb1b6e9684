"""Auto-encoders that are trained against a critic."""

from __future__ import annotations  # help() shows names, not types

from flax import linen as nn

from jaxae.bottlenecks.gaussian import Gaussian
from jaxae.bottlenecks.matched import Matched
from jaxae.likelihoods import Likelihood
from jaxae.networks import Networks
from jaxae.networks.pairs import Shape
from jaxae.objectives import (
    ELBO,
    AdversarialPrior,
    Chain,
    ImageCritic,
    Reconstruction,
    TotalCorrelationCritic,
)
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import compose_model, compose_recipe

# The loss has the verdict of a critic that learns.
_MONITOR = "distortion_nats"


def factor_vae(
    shape: Shape,
    latent_dim: int = 10,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood | None = None,
    weight: Weight = 10.0,
    hidden: tuple[int, ...] = (256, 256),
    critic_learning_rate: Weight = 1e-4,
    num_samples: int = 1,
) -> Recipe:
    """FactorVAE: the VAE with γ · total correlation (Kim & Mnih 2018, equation 2).

    https://arxiv.org/abs/1802.05983; see `objectives.TotalCorrelationCritic`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        weight: γ, the weight of the total correlation; or a schedule.
        hidden: Units of the critic's layers.
        critic_learning_rate: Of the critic's own optimizer; or a schedule.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.factor_vae((28, 28, 1), latent_dim=2)
    """
    module = compose_model(shape, network, Gaussian(latent_dim), likelihood)
    critic = TotalCorrelationCritic(weight, hidden, critic_learning_rate)
    return compose_recipe(
        module,
        Chain((ELBO(), critic)),
        num_samples=num_samples,
        monitor=_MONITOR,
        title="factorising variational auto-encoder (FactorVAE)",
    )


def adversarial_autoencoder(
    shape: Shape,
    latent_dim: int = 8,
    *,
    network: Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
    weight: Weight = 1.0,
    hidden: tuple[int, ...] = (256, 256),
    critic_learning_rate: Weight = 1e-4,
) -> Recipe:
    """The adversarial auto-encoder (Makhzani et al. 2015).

    https://arxiv.org/abs/1511.05644. Codes are deterministic and matched to N(0, I) by
    a critic, see `objectives.AdversarialPrior`.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        weight: Weight of the critic's verdict; or a schedule.
        hidden: Units of the critic's layers.
        critic_learning_rate: Of the critic's own optimizer; or a schedule.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.adversarial_autoencoder((28, 28, 1), latent_dim=2)
    """
    module = compose_model(shape, network, Matched(latent_dim), likelihood)
    critic = AdversarialPrior(weight, hidden, critic_learning_rate)
    objective = Chain((Reconstruction(), critic))
    title = "adversarial auto-encoder"
    return compose_recipe(module, objective, monitor=_MONITOR, title=title)


def vae_gan(
    shape: Shape,
    latent_dim: int = 16,
    *,
    network: Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    weight: Weight = 1.0,
    critic: nn.Module | None = None,
    critic_learning_rate: Weight = 1e-3,
    num_samples: int = 1,
) -> Recipe:
    """The VAE-GAN (Larsen et al. 2016), https://arxiv.org/abs/1512.09300.

    Examples are compared by the features of a critic, which also tells them from made
    ones; see `objectives.ImageCritic`. Of the likelihood the mean alone is trained.
    Under the Bernoulli likelihood the critic would tell binarised examples from such
    means at a glance.

    Args:
        shape: The shape of one example.
        latent_dim: The number of latent dimensions.
        network: The encoder and the decoder, by name, as a pair of `jaxae.networks`, or
            as two modules of your own.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        weight: Weight of the critic's verdict; or a schedule.
        critic: x -> features; a second network like the encoder unless given.
        critic_learning_rate: Of the critic's own optimizer; or a schedule.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.vae_gan((28, 28, 1), latent_dim=2)
    """
    module = compose_model(shape, network, Gaussian(latent_dim), likelihood)
    features = module.encoder if critic is None else critic
    return compose_recipe(
        module,
        ImageCritic(features, weight, critic_learning_rate),
        num_samples=num_samples,
        # The loss is in the unit of the critic's features, which grow as it learns.
        monitor=_MONITOR,
        title="variational auto-encoder with a critic of images (VAE-GAN)",
    )
