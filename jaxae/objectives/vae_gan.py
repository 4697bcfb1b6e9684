"""The VAE-GAN: a critic of examples, whose features also say how alike two are."""

from __future__ import annotations  # help() shows names, not types

from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from jaxae.checks import settle
from jaxae.errors import ensure, require
from jaxae.models.family import call
from jaxae.networks.calling import check_outputs, options_of
from jaxae.objectives.adversarial import contest, critic_adam, gradient_only
from jaxae.objectives.base import (
    Loss,
    Objective,
    Weight,
    as_weight,
    only_latent,
    weight_at,
)
from jaxae.objectives.elbo import name_rates, rate
from jaxae.objectives.mmd import prior_codes
from jaxae.objectives.reconstruction import log_likelihood, penalty
from jaxae.types import Context, Params, Trace


class ImageCritic(Objective):
    """Rate + distortion of a critic's features + weight · GAN (Larsen et al. 2016).

    The critic D tells the data x from reconstructions x̃ and from examples x_p of
    codes drawn from the prior; both are means of p(x | z). One backward pass serves
    three players, each with its own part of the loss (algorithm 1):

    - The encoder minimises KL(q(z | x) || p(z)) + 1/2 |D_l(x) - D_l(x̃)|². D_l are the
      critic's features, and the second term is the -log p(D_l(x) | z) of a Gaussian of
      std 1 around D_l(x̃), without the constant.
    - The decoder minimises the same distortion + weight · -log D, the non-saturating
      loss, averaged over x̃ and x_p. The paper has log(1 - D), and a factor γ on the
      decoder's distortion instead. `weight` stands for 1 / γ: the decoder's gradient
      differs by a factor, to which Adam is blind, and the distortion is one for both.
    - The critic minimises its cross-entropy in telling x from x̃ and x_p. It counts x
      as much as the other two together, where the paper counts each kind once.

    All players see the same parameters at a step. The likelihood of x is logged, but
    not trained; nor is any scale that it learns. What is made for D is decoded as
    outside training, see `Context.decode`. The loss may rise while reconstructions get
    better, as it is in units of features that the critic still learns: the best
    epoch is better chosen by `distortion_nats`, see `fit`'s `monitor`.

    Metrics: `feature_distortion_nats`; `generator_loss`, -log D in nats; `critic_loss`,
    the critic's cross-entropy in nats, ln 2 where it knows nothing; `critic_accuracy`;
    and of x `elbo_nats`, `distortion_nats` and `rate_nats`, see `ELBO`.

    Attributes:
        critic: x -> features, such as `networks.ConvEncoder()`, without batch
            normalisation; D is a linear layer on top of it.
        weight: Of the GAN's term: a number, or a schedule.
        learning_rate: Of the critic's own Adam (β1 = 0.5, β2 = 0.9). The paper has one
            rate for all players. The features of a slow critic stay small, and the KL
            then pulls all codes to the prior.

    Raises:
        ValueError: An argument is outside its range; said when the objective first sees
            a trace, that the critic keeps statistics, or that the model has no
            posterior or several latents.
    """

    critic: nn.Module
    weight: Weight = 1.0
    learning_rate: optax.ScalarOrSchedule = 1e-3

    def __post_init__(self) -> None:
        """Checks the attributes."""
        module = "a module, such as networks.MLP()"
        require(isinstance(self.critic, nn.Module), "critic", self.critic, module)
        settle(self, as_weight, "weight", "learning_rate")

    def init(self, key: jax.Array, trace: Trace) -> Params:
        """The critic's parameters."""
        only_latent(trace)
        variables = FeatureCritic(self.critic).init(key, trace.target[None])
        kept = sorted(variables.keys() - {"params"})
        ensure(not kept, f"critic must be a module of params alone, it keeps {kept}")
        return variables["params"]

    def tx(self, main: optax.GradientTransformation) -> optax.GradientTransformation:
        """Adam as critics need it, whatever the model's optimizer is."""
        del main
        return critic_adam(self.learning_rate)

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The three players' losses as one."""
        whole = "x must be known whole to a critic that judges it"
        ensure(trace.missing is None, f"{whole}: leave 'missing' out")
        module = FeatureCritic(self.critic)
        learning = partial(_judge, module, params)
        frozen = partial(_judge, module, stop_gradient(params))
        real, made = trace.target[None], _made(trace, context)

        error = frozen(real)[0] - frozen(trace.likelihood.mean)[0]
        distortion = 0.5 * jnp.square(error).sum(axis=-1).mean(axis=0)
        generator = jax.nn.softplus(-frozen(made)[1]).mean(axis=0)
        fake = learning(stop_gradient(made))[1]
        own, verdicts = contest(jnp.broadcast_to(learning(real)[1], fake.shape), fake)

        kl, nll = rate(only_latent(trace)), -log_likelihood(trace).mean(axis=0)
        total = kl + distortion + weight_at(self.weight, context.step) * generator
        return total + penalty(trace) + gradient_only(own), {
            "feature_distortion_nats": distortion,
            "generator_loss": generator,
            **verdicts,
            "elbo_nats": -nll - kl,
            "distortion_nats": nll,
            **name_rates([kl]),
        }


class FeatureCritic(nn.Module):
    """Examples [k, b, ...] -> (features [k, b, f], logits [k, b]), high for real ones.

    Attributes:
        encoder: Examples [n, ...] -> features [n, ...], which are flattened.
    """

    encoder: nn.Module

    @nn.compact
    def __call__(
        self, x: Float[Array, "k b ..."]
    ) -> tuple[Float[Array, "k b f"], Float[Array, "k b"]]:
        """What the critic makes of the examples."""
        k, b = x.shape[:2]
        each = x.reshape(k * b, *x.shape[2:])
        options_of(self.encoder, "the examples alone", each, {})
        features = self.encoder(each)
        meaning = ": features of every example"
        check_outputs("critic", self.encoder, features, (k * b, ...), meaning)
        features = features.reshape(k, b, -1)
        return features, nn.Dense(1)(features)[..., 0]


def _judge(module: FeatureCritic, params: Params, x: Array) -> tuple[Array, Array]:
    return call(module, {"params": params}, x)


def _made(trace: Trace, context: Context) -> Float[Array, "k2 b ..."]:
    """Decoded from the codes and as many of the prior; with gradients to decoders."""
    latent = only_latent(trace)
    codes = jnp.concatenate([stop_gradient(latent.z), prior_codes(latent, context.key)])
    return jnp.asarray(context.decode(context.params, (codes,)).mean)
