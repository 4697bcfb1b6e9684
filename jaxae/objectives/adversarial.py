"""Terms with a critic: a second player that is trained beside the model.

Play is simultaneous: at every step both players see each other's parameters as they
were before the step, and one backward pass has the gradients of both. The papers
alternate instead: Makhzani et al. (2015) and Kim & Mnih (2018, algorithm 2) update the
model first, and the critic then, Kim & Mnih on a second batch. Simultaneous play costs
one encoding of one batch per step. What the model minimises treats the critic's
parameters as constants, and what the critic minimises treats the codes as constants.

The critic's loss adds its gradient to the total but nothing to its value, so that the
"loss" that training reports is that of the model.
"""

from __future__ import annotations  # help() shows names, not types

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from jaxae.checks import check_sizes, settle
from jaxae.networks.mlp import MLPDecoder
from jaxae.objectives.base import (
    Loss,
    Objective,
    Weight,
    as_weight,
    only_latent,
    weight_at,
)
from jaxae.objectives.mmd import flat_codes, prior_codes
from jaxae.types import Context, Params, Trace


class _CodeCritic(Objective):
    """A critic of codes, an MLP with an optimizer of its own.

    Attributes:
        weight: A number or a schedule.
        hidden: Units per layer of the critic.
        learning_rate: Of the critic's own Adam (β1 = 0.5, β2 = 0.9).
    """

    weight: Weight = 1.0
    hidden: tuple[int, ...] = (256, 256)
    learning_rate: optax.ScalarOrSchedule = 1e-4

    def __post_init__(self) -> None:
        """Checks the numbers."""
        settle(self, as_weight, "weight", "learning_rate")
        check_sizes("hidden", self.hidden)

    @property
    def critic(self) -> nn.Module:
        """An MLP with leaky ReLU of slope 0.2 (Kim & Mnih 2018, appendix A)."""
        return MLPDecoder((self._outputs,), self.hidden, activation=_leaky_relu)

    @property
    def _outputs(self) -> int:
        return 1

    def init(self, key: jax.Array, trace: Trace) -> Params:
        """The critic's parameters."""
        codes = flat_codes(only_latent(trace).z)[0]
        return self.critic.init(key, codes)["params"]

    def tx(self, main: optax.GradientTransformation) -> optax.GradientTransformation:
        """Adam as critics need it, whatever the model's optimizer is."""
        del main
        return critic_adam(self.learning_rate)


class TotalCorrelationCritic(_CodeCritic):
    """weight · TC(z), estimated by a critic: FactorVAE's term (Kim & Mnih 2018).

    The critic tells codes z ~ q(z) from codes whose dimensions were permuted over the
    batch, each on its own, which come from Π_j q(z_j). It has two logits, and their
    difference estimates log q(z) / Π_j q(z_j); its mean over the codes is the total
    correlation in nats (equation 3), which the model is charged. Both players see the
    same batch and the same parameters at a step, where the paper permutes a second
    batch and updates the critic after the model.

    Metrics: `total_correlation_nats`; `critic_loss`, the critic's cross-entropy in
    nats, ln 2 where it knows nothing; and `critic_accuracy`.

    Attributes:
        weight: γ, a number or a schedule.
        hidden: Units per layer of the critic; the paper has six layers of 1000.
        learning_rate: Of the critic's own Adam (β1 = 0.5, β2 = 0.9).

    Raises:
        ValueError: An argument is outside its range.
    """

    weight: Weight = 10.0

    @property
    def _outputs(self) -> int:
        return 2

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The model's charge, with the critic's gradient."""
        z = flat_codes(only_latent(trace).z)

        def log_ratio(params: Params, z: Array) -> Array:
            logits = _apply(self.critic, params, z)
            return logits[..., 0] - logits[..., 1]

        estimate = log_ratio(stop_gradient(params), z).mean(axis=0)
        joint = log_ratio(params, stop_gradient(z))
        shuffled = permute_dims(context.key, z, context.batch.get("weight"))
        permuted = log_ratio(params, stop_gradient(shuffled))
        own, metrics = contest(joint, permuted)
        total = weight_at(self.weight, context.step) * estimate + gradient_only(own)
        return total, {"total_correlation_nats": estimate, **metrics}


class AdversarialPrior(_CodeCritic):
    """A critic makes q(z) match the prior: the adversarial auto-encoder.

    The critic tells draws from the prior, N(0, I) where the model has none, from the
    codes z; the encoder minimises weight · -log D(z), the non-saturating loss (Makhzani
    et al. 2015, section 2). No gradient reaches a learned prior. Both players see the
    same parameters at a step, where the paper updates the auto-encoder, then the critic
    and then the encoder.

    Metrics: `generator_loss`, -log D(z) in nats; `critic_loss`, the critic's
    cross-entropy in nats, ln 2 where it knows nothing; and `critic_accuracy`.

    Attributes:
        weight: A number, or a schedule.
        hidden: Units per layer of the critic.
        learning_rate: Of the critic's own Adam (β1 = 0.5, β2 = 0.9).

    Raises:
        ValueError: An argument is outside its range.
    """

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The model's charge, with the critic's gradient."""
        latent = only_latent(trace)
        z = flat_codes(latent.z)
        draws = flat_codes(prior_codes(latent, context.key))

        def logit(params: Params, z: Array) -> Array:
            return _apply(self.critic, params, z)[..., 0]

        generator = jax.nn.softplus(-logit(stop_gradient(params), z)).mean(axis=0)
        own, metrics = contest(logit(params, draws), logit(params, stop_gradient(z)))
        weight = weight_at(self.weight, context.step)
        total = weight * generator + gradient_only(own)
        return total, {"generator_loss": generator, **metrics}


def permute_dims(
    key: jax.Array,
    z: Float[Array, "k b d"],
    weight: Float[Array, " b"] | None = None,
) -> Float[Array, "k b d"]:
    """Every dimension permuted over the batch on its own (algorithm 1 of FactorVAE).

    With weights every value is drawn by them instead, so that example i is taken for
    `weight[i]` examples.
    """
    if weight is None:
        return jax.random.permutation(key, z, axis=1, independent=True)
    chosen = jax.random.categorical(key, jnp.log(weight), shape=z.shape)
    return jnp.take_along_axis(z, chosen, axis=1)


def contest(
    first: Float[Array, "k b"], second: Float[Array, "k b"]
) -> tuple[Float[Array, " b"], dict[str, Array]]:
    """The cross-entropy of a critic whose logit should be high for `first` alone.

    Args:
        first: Logits of the codes to say yes to.
        second: Logits of the codes to say no to.

    Returns:
        The cross-entropy in nats and {"critic_loss", "critic_accuracy"}, means over the
        two kinds and the samples.
    """
    each = 0.5 * (jax.nn.softplus(-first) + jax.nn.softplus(second))
    right = 0.5 * ((first > 0).astype(each.dtype) + (second < 0).astype(each.dtype))
    own = each.mean(axis=0)
    return own, {"critic_loss": own, "critic_accuracy": right.mean(axis=0)}


def gradient_only(loss: Array) -> Array:
    """Zero, with the gradient of `loss`."""
    return loss - stop_gradient(loss)


def critic_adam(
    learning_rate: optax.ScalarOrSchedule,
) -> optax.GradientTransformation:
    """Adam with little momentum, as the players of a game need it."""
    return optax.adam(learning_rate, b1=0.5, b2=0.9)


def _leaky_relu(x: Array) -> Array:
    return nn.leaky_relu(x, 0.2)


def _apply(
    critic: nn.Module, params: Params, z: Float[Array, "k b d"]
) -> Float[Array, "k b _"]:
    k, b, _ = z.shape
    outputs = critic.apply({"params": params}, z.reshape(k * b, -1))
    return jnp.asarray(outputs).reshape(k, b, -1)
