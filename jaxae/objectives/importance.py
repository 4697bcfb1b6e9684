"""Bounds on log p(x) from several importance-weighted samples of the code."""

from __future__ import annotations  # help() shows names, not types

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import check_count, settle
from jaxae.errors import check_choice, ensure, require
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
from jaxae.types import Context, Params, Trace

Gradient = Literal["plain", "sticking_the_landing", "doubly_reparameterized", "piwae"]


def log_weights(trace: Trace, region: Region = "all") -> Float[Array, "k b"]:
    """log p(x | z) + log p(z) - log q(z | x) of every sample, in nats.

    Args:
        trace: Of a model with posteriors and priors.
        region: Which values of x count when the corruption removed some.

    Raises:
        ValueError: A code has no posterior or no prior, or `region` does not fit.
    """
    return _log_joint(trace, region) - _log_posteriors(trace)


class IWAE(Objective):
    """The negative importance-weighted bound log 1/K Σ_k w_k (Burda et al. 2016, eq 8).

    With w_k = p(x, z_k) / q(z_k | x) for the K samples of the recipe. In M groups the
    bound is MIWAE, the mean of the groups' bounds of K / M samples each; with an
    `elbo_weight` β it is CIWAE, β · ELBO + (1 - β) · IWAE (both of Rainforth et al.
    2018). The loss is the negative bound whatever its gradient is. All samples have to
    be reparameterised.

    The metrics are bounds in nats that no choice below changes: `iwae_nats` of all K
    samples, `elbo_nats`, which is the mean of log w_k, and with several groups
    `miwae_nats`.

    Attributes:
        gradient: Of the bound by the posterior's parameters. Those of the decoder and
            the prior get the loss's own gradient in every case.

            - "plain": that of the bound. It drowns in noise as K / M grows.
            - "sticking_the_landing": without the score of q, through z alone (Roeder
              et al. 2017). No noise where q is exact; biased with more than one sample
              per group (Tucker et al. 2019).
            - "doubly_reparameterized": through z alone, each sample by the square of
              its normalised weight (Tucker et al. 2019): no bias, and no noise where q
              is exact.
            - "piwae": the encoder is trained by the MIWAE bound, the decoder and the
              prior by the bound of all K samples, which is the loss (Rainforth et al.
              2018).

            The last two cost a second pass through the decoder. It runs as outside
            training, without dropout and by running averages; a decoder that has
            either gets them in its own gradient, and only the encoder sees the
            difference.
        groups: M, a divisor of the number of samples.
        elbo_weight: β in [0, 1], a number or a schedule.
        region: Which values count when the corruption removed some.

    Raises:
        ValueError: An argument is outside its range; when a trace is first seen also if
            the samples do not divide into the groups, the model has no posterior or,
            unless the gradient is plain, several latents, or a posterior whose density
            is known at its own samples alone (with "piwae" that is allowed).

    Example:
        >>> import jaxae
        >>> objective = jaxae.objectives.IWAE("doubly_reparameterized")
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2, num_samples=8)
        >>> recipe = recipe.replace(objective=objective)
    """

    gradient: Gradient = "plain"
    groups: int = 1
    elbo_weight: Weight = 0.0
    region: Region = "all"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        check_choice("gradient", self.gradient, Gradient)
        check_choice("region", self.region, Region)
        check_count("groups", self.groups)
        settle(self, partial(as_weight, most=1.0), "elbo_weight")
        if self.gradient == "piwae":
            require(self.groups > 1, "groups", self.groups, "at least 2 for 'piwae'")
            share = self.elbo_weight
            require(is_zero(share), "elbo_weight", share, "0 for 'piwae'")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The negative bound."""
        _check_trace(trace, self.gradient, self.groups)
        weights = log_weights(trace, self.region)
        metrics = {"iwae_nats": _bound(weights), "elbo_nats": weights.mean(axis=0)}
        if self.groups > 1:
            metrics["miwae_nats"] = _bound(weights, self.groups)
        return penalty(trace) - self._bound_with_gradient(
            trace, context, weights
        ), metrics

    def _bound_with_gradient(
        self, trace: Trace, context: Context, weights: Float[Array, "k b"]
    ) -> Float[Array, " b"]:
        groups, region = self.groups, self.region
        share = weight_at(self.elbo_weight, context.step)
        if self.gradient == "plain":
            return _mixture(weights, groups, share)
        if self.gradient == "sticking_the_landing":
            stopped = log_weights(_stop_posterior(trace), region)
            return _mixture(stopped, groups, share)
        if self.gradient == "doubly_reparameterized":
            plain = _coefficients(weights, groups, share)
            squared = _coefficients(weights, groups, share, power=2)
            fixed = _stop_posterior(trace)
            surrogate = _surrogate(fixed, context, region, plain, squared)
            return _with_gradient(_mixture(weights, groups, share), surrogate)
        of_all = _coefficients(weights, 1, share)
        of_groups = _coefficients(weights, groups, share)
        surrogate = _surrogate(trace, context, region, of_all, of_groups)
        return _with_gradient(_bound(weights), surrogate)


def _log_joint(trace: Trace, region: Region) -> Float[Array, "k b"]:
    """log p(x, z)."""
    total = log_likelihood(trace, region)
    for latent in trace.latents:
        total += log_prior(latent)
    return total


def _log_posteriors(trace: Trace) -> Float[Array, "k b"]:
    return sum(
        (log_posterior(u) for u in trace.latents), jnp.zeros((1, 1), jnp.float32)
    )


def _bound(weights: Float[Array, "k b"], groups: int = 1) -> Float[Array, " b"]:
    """The mean over the groups of the log of the mean weight."""
    size = weights.shape[0] // groups
    grouped = weights.reshape(groups, size, -1)
    return jax.nn.logsumexp(grouped, axis=1).mean(axis=0) - jnp.log(float(size))


def _mixture(
    weights: Float[Array, "k b"], groups: int, share: Float[Array, ""]
) -> Float[Array, " b"]:
    """share · ELBO + (1 - share) · MIWAE."""
    return share * weights.mean(axis=0) + (1.0 - share) * _bound(weights, groups)


def _coefficients(
    weights: Float[Array, "k b"],
    groups: int,
    share: Float[Array, ""],
    *,
    power: int = 1,
) -> Float[Array, "k b"]:
    """The derivative of `_mixture` by the log-weights, as constants.

    With `power` 2 the normalised weights are squared; those of the ELBO are 1 by
    themselves, as every sample is a group of its own there.
    """
    k = weights.shape[0]
    grouped = weights.reshape(groups, k // groups, -1)
    normalized = jax.nn.softmax(grouped, axis=1) ** power / groups
    mixed = share / k + (1.0 - share) * normalized.reshape(weights.shape)
    return jax.lax.stop_gradient(mixed)


def _surrogate(
    trace: Trace,
    context: Context,
    region: Region,
    generative: Float[Array, "k b"],
    inference: Float[Array, "k b"],
) -> Float[Array, " b"]:
    """Whose gradient sums that of the log-weights, by other coefficients for each side.

    The trace's own log p(x, z) passes `generative` to the parameters of p, and to z as
    well. There the same log p(x, z) with constant parameters makes up the difference.
    """
    codes = tuple(latent.z for latent in trace.latents)
    latents = tuple(
        u._replace(prior=jax.lax.stop_gradient(u.prior)) for u in trace.latents
    )
    likelihood = context.decode(jax.lax.stop_gradient(context.params), codes)
    constant = trace._replace(likelihood=likelihood, latents=latents)
    terms = (
        generative * _log_joint(trace, region)
        + (inference - generative) * _log_joint(constant, region)
        - inference * _log_posteriors(trace)
    )
    return terms.sum(axis=0)


def _with_gradient(
    value: Float[Array, " b"], surrogate: Float[Array, " b"]
) -> Float[Array, " b"]:
    """`value`, differentiated as `surrogate`."""
    # The difference is 0, and exactly so only in this order.
    return jax.lax.stop_gradient(value) + (surrogate - jax.lax.stop_gradient(surrogate))


def _stop_posterior(trace: Trace) -> Trace:
    """The same densities q(z | x), as functions of z alone."""
    latents = tuple(
        u._replace(posterior=jax.lax.stop_gradient(u.posterior)) for u in trace.latents
    )
    return trace._replace(latents=latents)


def _check_trace(trace: Trace, gradient: Gradient, groups: int) -> None:
    k = trace.latents[0].z.shape[0]
    require(k % groups == 0, "num_samples", k, f"a multiple of groups = {groups}")
    if gradient == "plain":
        return
    # A posterior given the z above carries the gradient of that z, too.
    count, kind = len(trace.latents), f"gradient {gradient!r}"
    ensure(count == 1, f"{kind} is for models with one latent, not {count}")
    if gradient != "piwae":
        known = trace.latents[0].log_posterior is None
        own = "this bottleneck knows log q(z | x) at its own samples alone"
        ensure(known, f"{kind} needs the density of any z: {own}")
