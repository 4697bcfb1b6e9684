"""The evidence lower bound (Kingma & Welling 2014) and its common modifications."""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, Independent, kl_divergence

from jaxae.errors import require
from jaxae.objectives.base import Weight, log_density, stateless, weight_at
from jaxae.objectives.reconstruction import Region, log_likelihood, penalty
from jaxae.types import Context, Latent, Objective, Trace

Divergence = Literal["analytic", "monte_carlo"]


def elbo(
    beta: Weight = 1.0,
    *,
    kl: Divergence = "analytic",
    free_bits: Weight = 0.0,
    region: Region = "all",
) -> Objective:
    """distortion + beta · rate, the negative ELBO at beta = 1 (Higgins et al. 2017).

    The distortion is -log p(x | z) averaged over the samples, the rate is
    KL(q(z | x) || p(z)), both in nats per example. The metric `elbo_nats` is the bound
    itself, with beta = 1 and without free bits.

    Args:
        beta: Weight of the rate: a number, or an optax schedule for a warm-up.
        kl: The KL in closed form, or as the mean of log q(z | x) - log p(z) over the
            samples drawn.
        free_bits: λ in nats per latent dimension: a dimension whose KL, averaged over
            the batch, is below λ is charged λ and gets no gradient from the rate
            (Kingma et al. 2016, section 4 and appendix C.8). A number or an optax
            schedule; needs the analytic KL.
        region: Which values count when the corruption removed some.

    Raises:
        ValueError: An argument is outside its range, or the model has no posterior.
    """
    choices = get_args(Divergence)
    require(kl in choices, "kl", kl, f"one of {choices}")
    require(callable(beta) or beta >= 0, "beta", beta, "a schedule or at least 0")
    fixed = callable(free_bits) or free_bits >= 0
    require(fixed, "free_bits", free_bits, "a schedule or at least 0")
    require(
        not free_bits or kl == "analytic",
        "free_bits",
        free_bits,
        "0 unless kl is 'analytic'",
    )

    def loss(trace: Trace, context: Context) -> tuple[Array, dict[str, Array]]:
        distortion = -log_likelihood(trace, region).mean(axis=0)
        rates = [_rate(latent, kl) for latent in trace.latents]
        charged = [
            _charged(latent, weight_at(free_bits, context.step)) if free_bits else rate
            for latent, rate in zip(trace.latents, rates, strict=True)
        ]
        rate = sum(rates, jnp.zeros(()))
        total = distortion + weight_at(beta, context.step) * sum(charged)
        return total + penalty(trace), {
            "elbo_nats": -distortion - rate,
            "distortion_nats": distortion,
            "rate_nats": rate,
        }

    return stateless(loss)


def _rate(latent: Latent, kl: Divergence) -> Float[Array, " b"]:
    """KL(q(z | x) || p(z)), exactly or by the samples at hand."""
    q, p = _distributions(latent)
    if kl == "analytic":
        return kl_divergence(q, p)
    return (log_density(q, latent.z) - log_density(p, latent.z)).mean(axis=0)


def _charged(latent: Latent, free_bits: Array) -> Float[Array, " b"]:
    """Σ_j max(λ, mean over the batch of KL_j), spread over the examples."""
    q, p = _distributions(latent)
    assert isinstance(q, Independent) and isinstance(p, Independent)
    each = kl_divergence(q.base_dist, p.base_dist)
    above = each.mean(axis=0, keepdims=True) > free_bits
    return jnp.where(above, each, free_bits).sum(axis=-1)


def _distributions(latent: Latent) -> tuple[Distribution, Distribution]:
    require(
        latent.posterior is not None and latent.prior is not None,
        "bottleneck",
        "one without a posterior or a prior",
        "stochastic for the ELBO",
    )
    return latent.posterior, latent.prior  # pyright: ignore[reportReturnType]
