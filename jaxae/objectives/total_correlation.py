"""β-TCVAE: the rate in three parts, each with its weight (Chen et al. 2018)."""

from __future__ import annotations  # help() shows names, not types

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Independent

from jaxae.checks import check_count, settle
from jaxae.distributions.elementwise import Normal
from jaxae.errors import ArgumentError, check_choice, require
from jaxae.objectives.base import (
    Loss,
    Objective,
    Weight,
    as_weight,
    factorised_normal,
    only_latent,
    weight_at,
)
from jaxae.objectives.elbo import rate
from jaxae.objectives.reconstruction import log_likelihood, penalty
from jaxae.types import Context, Latent, Params, Trace

Sampling = Literal["weighted", "stratified"]


class BetaTCVAE(Objective):
    """distortion + α · mutual information + β · total correlation + γ · dimension KL.

    Chen et al. 2018, equation 4. With q(z) the mean of q(z | x) over the training set,
    and j the dimensions of z, the parts of the rate are the means of

        log q(z | x) - log q(z)          `mutual_information_nats`, of x and z
        log q(z) - Σ_j log q(z_j)        `total_correlation_nats`
        Σ_j (log q(z_j) - log p(z_j))    `dimension_kl_nats`

    over the samples of z. q(z) and q(z_j) are estimated from the batch, in which an
    example of weight w counts as w examples. `elbo_nats`, `distortion_nats` and
    `rate_nats` are those of `ELBO`. For one normal, factorised posterior and a
    factorised prior.

    Attributes:
        data_size: N, the number of training examples.
        beta: Weight of the total correlation: a number or a schedule.
        alpha: Weight of the mutual information, likewise.
        gamma: Weight of the KL of the single dimensions, likewise.
        sampling: How q(z), and every q(z_j) likewise, is estimated with B examples in a
            batch, for the z of example i.

            - "weighted": 1/(N B) Σ_b q(z | x_b), appendix C.1 of the paper. Too low, by
              the factor N if the batch is the training set: the metrics' levels are
              off, the gradients are not.
            - "stratified": 1/N q(z | x_i) + (N - 1)/(N (B - 1)) Σ_{b≠i} q(z | x_b),
              which is appendix C.2 averaged over the order of the other examples: no
              bias in q(z), and exact if the batch is the training set. A batch of
              one example, as a remainder may be, takes q(z | x_i) for q(z).

    Raises:
        ValueError: An argument is outside its range; when a trace is first seen also if
            the batch is larger than `data_size`, or posterior and prior are not as
            described.
    """

    data_size: int
    beta: Weight
    alpha: Weight = 1.0
    gamma: Weight = 1.0
    sampling: Sampling = "weighted"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        check_count("data_size", self.data_size)
        settle(self, as_weight, "beta", "alpha", "gamma")
        check_choice("sampling", self.sampling, Sampling)

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The distortion and the three weighed parts of the rate."""
        latent = only_latent(trace)
        distortion = -log_likelihood(trace).mean(axis=0)
        counts = context.batch.get("weight", jnp.ones_like(distortion))
        parts = _parts(latent, counts, self.data_size, self.sampling)
        weights = self.alpha, self.beta, self.gamma
        charged = [
            weight_at(weight, context.step) * part
            for weight, part in zip(weights, parts, strict=True)
        ]
        exact_rate = rate(latent)
        names = "mutual_information_nats", "total_correlation_nats", "dimension_kl_nats"
        return sum(charged, distortion) + penalty(trace), {
            "elbo_nats": -distortion - exact_rate,
            "distortion_nats": distortion,
            "rate_nats": exact_rate,
            **dict(zip(names, parts, strict=True)),
        }


def _parts(
    latent: Latent, counts: Float[Array, " b"], data_size: int, sampling: Sampling
) -> tuple[Float[Array, " b"], Float[Array, " b"], Float[Array, " b"]]:
    """Mutual information, total correlation and dimension KL, whose sum is the rate."""
    pairs = _pairwise_log_posterior(latent)
    joint = pairs.sum(axis=-1)
    own = jnp.diagonal(joint, axis1=1, axis2=2)
    weights = _log_batch_weights(counts, data_size, sampling)
    log_q = jax.nn.logsumexp(joint + weights[None], axis=2)
    each = jax.nn.logsumexp(pairs + weights[None, :, :, None], axis=2)
    log_q_product = each.sum(axis=-1)
    log_p = _log_prior_product(latent)
    parts = own - log_q, log_q - log_q_product, log_q_product - log_p
    information, correlation, dimension_kl = (part.mean(axis=0) for part in parts)
    return information, correlation, dimension_kl


def _pairwise_log_posterior(latent: Latent) -> Float[Array, "k b b d"]:
    """log q(z_j | x_n) of example i's z at [k, i, n, j]."""
    mean, std = factorised_normal(latent)
    z = latent.z.reshape(*latent.z.shape[:2], 1, -1)
    return jnp.asarray(Normal(mean[:, None], std[:, None]).log_prob(z))


def _log_prior_product(latent: Latent) -> Float[Array, "k b"]:
    """Σ_j log p(z_j)."""
    p = latent.prior
    if not (isinstance(p, Independent) and p.base_dist.event_dim == 0):
        kind = type(p).__name__
        raise ArgumentError(f"the prior must be factorised, got {kind}")
    return jnp.asarray(p.log_prob(latent.z))


def _log_batch_weights(
    counts: Float[Array, " b"], data_size: int, sampling: Sampling
) -> Float[Array, "b b"]:
    """The log of q(z | x_n)'s coefficient in the estimate of q(z) for example i.

    An example of weight w counts as w examples, of which one is example i itself.
    """
    batch = counts.shape[0]
    require(batch <= data_size, "data_size", data_size, f"at least the batch, {batch}")
    if sampling == "weighted":
        total = jnp.maximum(counts.sum(), 1e-12)
        # Not log 0: no share of a batch without weight would be a number.
        log_counts = jnp.log(jnp.maximum(counts, 1e-30))
        shares = log_counts - jnp.log(total) - math.log(data_size)
        return jnp.broadcast_to(shares[None], (batch, batch))
    own = jnp.eye(batch, dtype=counts.dtype)
    others = jnp.maximum(counts[None] - own, 0.0)
    total = others.sum(axis=1, keepdims=True)
    # Alone, an example takes its own posterior for q(z).
    share = jnp.where(total > 0, 1.0 / data_size, 1.0)
    rest = (1.0 - share) / jnp.where(total > 0, total, 1.0)
    return jnp.log(own * share + others * rest)
