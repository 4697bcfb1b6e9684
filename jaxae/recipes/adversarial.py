"""Auto-encoders that are trained against a critic."""

import optax
from flax import linen as nn

from jaxae.bottlenecks.gaussian import Gaussian
from jaxae.bottlenecks.matched import Matched
from jaxae.likelihoods import Likelihood
from jaxae.objectives.adversarial import adversarial_prior, total_correlation_critic
from jaxae.objectives.base import Weight, chain
from jaxae.objectives.elbo import elbo
from jaxae.objectives.reconstruction import reconstruction
from jaxae.objectives.vae_gan import image_critic
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Recipe


def factor_vae(
    shape: Shape,
    latent_dim: int = 10,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    weight: Weight = 10.0,
    hidden: tuple[int, ...] = (256, 256),
    critic_learning_rate: optax.ScalarOrSchedule = 1e-4,
    num_samples: int = 1,
) -> Recipe:
    """FactorVAE: the VAE with γ · total correlation (Kim & Mnih 2018, equation 2).

    `weight` is γ; `hidden` and `critic_learning_rate` are the critic's, see
    `objectives.total_correlation_critic`.
    """
    model = compose_model(shape, network, Gaussian(latent_dim), likelihood)
    critic = total_correlation_critic(
        weight, hidden=hidden, learning_rate=critic_learning_rate
    )
    return compose_recipe(model, chain(elbo(), critic), num_samples=num_samples)


def adversarial_autoencoder(
    shape: Shape,
    latent_dim: int = 8,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
    weight: Weight = 1.0,
    hidden: tuple[int, ...] = (256, 256),
    critic_learning_rate: optax.ScalarOrSchedule = 1e-4,
) -> Recipe:
    """The adversarial auto-encoder (Makhzani et al. 2015).

    Codes are deterministic and matched to N(0, I) by a critic, whose `hidden` and
    `critic_learning_rate` are those of `objectives.adversarial_prior`.
    """
    model = compose_model(shape, network, Matched(latent_dim), likelihood)
    critic = adversarial_prior(
        weight, hidden=hidden, learning_rate=critic_learning_rate
    )
    return compose_recipe(model, chain(reconstruction(), critic))


def vae_gan(
    shape: Shape,
    latent_dim: int = 16,
    *,
    network: str | Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    weight: Weight = 1.0,
    critic: nn.Module | None = None,
    critic_learning_rate: optax.ScalarOrSchedule = 1e-3,
    num_samples: int = 1,
) -> Recipe:
    """The VAE-GAN (Larsen et al. 2016).

    Images are compared by the features of `critic`, by default a second network like
    the encoder, which also tells them from made ones; see `objectives.image_critic`,
    also for `weight`. Of the likelihood the mean alone is trained. Under the Bernoulli
    likelihood the critic would tell binarised images from grey ones at a glance.
    """
    model = compose_model(shape, network, Gaussian(latent_dim), likelihood)
    objective = image_critic(
        model.encoder if critic is None else critic,
        weight,
        learning_rate=critic_learning_rate,
    )
    return compose_recipe(model, objective, num_samples=num_samples)
