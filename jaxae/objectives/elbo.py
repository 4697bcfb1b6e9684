"""The evidence lower bound (Kingma & Welling 2014) and its common modifications."""

from __future__ import annotations  # help() shows names, not types

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Independent, kl_divergence

from jaxae.averages import weighted_mean
from jaxae.checks import settle
from jaxae.errors import ArgumentError, check_choice, require
from jaxae.objectives.base import (
    Loss,
    Objective,
    Weight,
    as_weight,
    is_zero,
    log_posterior,
    log_prior,
    weight_at,
)
from jaxae.objectives.reconstruction import Region, log_likelihood, penalty
from jaxae.types import Context, Latent, Params, Trace

Divergence = Literal["auto", "monte_carlo"]


class ELBO(Objective):
    """distortion + beta · rate, the negative ELBO at beta = 1 (Higgins et al. 2017).

    The distortion is -log p(x | z) averaged over the samples, the rate is
    KL(q(z | x) || p(z)), both in nats per example. The metric `elbo_nats` is the bound
    itself, with beta = 1 and without free bits. Hierarchical models log the rate of
    every latent, `rate_1_nats` for the top one.

    Attributes:
        beta: Weight of the rate: a number, or a schedule for a warm-up.
        kl: The KL in closed form where there is one, or always as the mean of
            log q(z | x) - log p(z) over the samples drawn.
        free_bits: λ in nats per latent dimension: a dimension whose KL, averaged over
            the batch, is below λ is charged λ and gets no gradient from the rate
            (Kingma et al. 2016, section 4 and appendix C.8). A number or an optax
            schedule; needs a KL in closed form.
        capacity: C in nats: |rate - C| is charged instead of the rate (Burgess et al.
            2018, equation 8); a number, or a schedule that lets it grow.
        region: Which values count when the corruption removed some.

    Raises:
        ValueError: An argument is outside its range, or the model has no posterior.

    Example:
        >>> import jaxae
        >>> warm_up = jaxae.schedules.Linear(0.0, 1.0, steps=1000)
        >>> jaxae.objectives.ELBO(beta=warm_up, free_bits=0.1).kl
        'auto'
    """

    beta: Weight = 1.0
    kl: Divergence = "auto"
    free_bits: Weight = 0.0
    capacity: Weight | None = None
    region: Region = "all"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        check_choice("kl", self.kl, Divergence)
        check_choice("region", self.region, Region)
        settle(self, as_weight, "beta", "free_bits")
        if self.capacity is not None:
            settle(self, as_weight, "capacity")
        exact = is_zero(self.free_bits) or self.kl == "auto"
        require(exact, "free_bits", self.free_bits, "0 unless kl is 'auto'")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The negative bound, modified as the attributes say."""
        distortion = -log_likelihood(trace, self.region).mean(axis=0)
        rates = [rate(latent, self.kl) for latent in trace.latents]
        total_rate = sum(rates, jnp.zeros((), jnp.float32))
        charged = total_rate
        if not is_zero(self.free_bits):
            least = weight_at(self.free_bits, context.step)
            weight = context.batch.get("weight")
            each = [_charged(latent, least, weight) for latent in trace.latents]
            charged = sum(each, jnp.zeros((), jnp.float32))
        if self.capacity is not None:
            charged = jnp.abs(charged - weight_at(self.capacity, context.step))
        total = distortion + weight_at(self.beta, context.step) * charged
        return total + penalty(trace), {
            "elbo_nats": -distortion - total_rate,
            "distortion_nats": distortion,
            **name_rates(rates),
        }


def rate(latent: Latent, kl: Divergence = "auto") -> Float[Array, " b"]:
    """KL(q(z | x) || p(z)) in nats, averaged over the samples.

    In closed form where there is one, q is known beyond its samples and `kl` is "auto";
    otherwise log q(z | x) - log p(z), which needs samples drawn from q.

    Raises:
        ValueError: The code has no posterior or no prior.
    """
    q, p = latent.posterior, latent.prior
    own = latent.log_posterior is not None
    if kl == "auto" and not own and q is not None and p is not None:
        try:
            divergence = kl_divergence(q, p)
        except NotImplementedError:
            pass
        else:
            return jnp.broadcast_to(divergence, _batch_shape(latent)).mean(axis=0)
    return (log_posterior(latent) - log_prior(latent)).mean(axis=0)


def name_rates(rates: list[Array]) -> dict[str, Array]:
    """The metrics `rate_nats` and, if there are several, `rate_1_nats`, ..."""
    named = {"rate_nats": sum(rates, jnp.zeros((), jnp.float32))}
    if len(rates) > 1:
        named |= {f"rate_{i}_nats": each for i, each in enumerate(rates, start=1)}
    return named


def _charged(
    latent: Latent, free_bits: Array, weight: Float[Array, " b"] | None
) -> Float[Array, " b"]:
    """Σ_j max(λ, mean over samples and batch of KL_j), spread over the examples."""
    each = kl_per_dimension(latent)
    above = weighted_mean(each.mean(axis=0), weight) > free_bits
    charged = jnp.where(jnp.broadcast_to(above, each.shape), each, free_bits)
    return charged.sum(axis=range(2, each.ndim)).mean(axis=0)


def kl_per_dimension(latent: Latent) -> Float[Array, "k b ..."]:
    """The KL of every latent dimension, for factorised distributions.

    Raises:
        ValueError: The posterior or the prior is not factorised, or it takes samples.
    """
    q, p = latent.posterior, latent.prior
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        kinds = f"{type(q).__name__} and {type(p).__name__}"
        raise ArgumentError(f"posterior and prior must be factorised, got {kinds}")
    if latent.log_posterior is not None:
        closed = "the rate of a single dimension needs a KL in closed form"
        raise ArgumentError(f"{closed}, q(z | x) is known at its own samples alone")
    each = kl_divergence(q.base_dist, p.base_dist)
    shape = jnp.broadcast_shapes(
        (1, latent.z.shape[1], *[1] * (each.ndim - 2)), each.shape
    )
    return jnp.broadcast_to(each, shape)


def _batch_shape(latent: Latent) -> tuple[int, int]:
    return latent.z.shape[0], latent.z.shape[1]
