"""The maximum mean discrepancy of codes and prior (Gretton et al. 2012)."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import as_finite, settle
from jaxae.errors import choose, require
from jaxae.objectives.base import (
    Loss,
    Objective,
    Weight,
    as_weight,
    only_latent,
    weight_at,
)
from jaxae.types import Context, Latent, Params, Trace

Kernel = Callable[[Float[Array, "n m"]], Float[Array, "n m"]]
"""Squared distances -> the kernel's values."""

KernelName = Literal["inverse_multiquadratic", "rbf"]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Multiples of 2 d σ² over which the inverse multiquadratic kernel is summed."""


class MMD(Objective):
    """weight · MMD²(q(z), p(z)): the regulariser of WAE-MMD and InfoVAE.

    An unbiased estimate from the codes of the batch and as many draws from the prior,
    N(0, I) where the model has none (Tolstikhin et al. 2018, algorithm 2; Zhao et al.
    2019). It is one number for the whole batch, without a unit, and may be
    below 0. Several samples per example give the mean of as many estimates. No
    gradient reaches a learned prior. The weights of the batch count.

    Attributes:
        weight: A number, or a schedule.
        kernel: "inverse_multiquadratic", see `inverse_multiquadratic`; or "rbf".
        bandwidth: σ of the kernel, the standard deviation of the prior in one
            dimension.

    Raises:
        ValueError: An argument is outside its range, or the kernel is unknown.
    """

    weight: Weight = 10.0
    kernel: KernelName = "inverse_multiquadratic"
    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        """Checks the arguments."""
        settle(self, as_weight, "weight")
        choose("kernel", self.kernel, _KERNELS)
        settle(self, as_finite, "bandwidth")
        require(self.bandwidth > 0, "bandwidth", self.bandwidth, "a number above 0")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The weighed estimate, the same for every example."""
        latent = only_latent(trace)
        codes = flat_codes(latent.z)
        draws = flat_codes(prior_codes(latent, context.key))
        kernel = _KERNELS[self.kernel](codes.shape[-1], self.bandwidth)
        of_batch = context.batch.get("weight")

        def estimate(x: Array, y: Array) -> Array:
            return unbiased_mmd(x, y, kernel, of_batch)

        value = jax.vmap(estimate)(codes, draws).mean()
        each = jnp.broadcast_to(value, (codes.shape[1],))
        return weight_at(self.weight, context.step) * each, {"mmd": each}


def inverse_multiquadratic(dim: int, bandwidth: float = 1.0) -> Kernel:
    """Σ_s C_s / (C_s + |x - y|²) with C_s = s · 2 d σ², s in `SCALES`.

    2 d σ² is the expected squared distance between two draws from N(0, σ² I)
    (Tolstikhin et al. 2018, section 4).

    Args:
        dim: d, the size of the code.
        bandwidth: σ.
    """

    def kernel(squared: Float[Array, "n m"]) -> Float[Array, "n m"]:
        values = jnp.zeros_like(squared)
        for scale in SCALES:
            constant = scale * 2.0 * dim * bandwidth**2
            values = values + constant / (constant + squared)
        return values

    return kernel


def rbf(dim: int, bandwidth: float = 1.0) -> Kernel:
    """exp(-|x - y|² / (2 d σ²)), whose length grows with the root of the dimension.

    Args:
        dim: d, the size of the code.
        bandwidth: σ.
    """

    def kernel(squared: Float[Array, "n m"]) -> Float[Array, "n m"]:
        return jnp.exp(-squared / (2.0 * dim * bandwidth**2))

    return kernel


_KERNELS: dict[str, Callable[[int, float], Kernel]] = {
    "inverse_multiquadratic": inverse_multiquadratic,
    "rbf": rbf,
}


def unbiased_mmd(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    kernel: Kernel,
    weight: Float[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """The U-statistic of MMD²(p_x, p_y) (Gretton et al. 2012, equation 3).

    The mean of k(x_i, x_j) and of k(y_i, y_j) over i ≠ j, less twice that of
    k(x_i, y_j). A mean over no pair, as of a single point, is 0.

    Args:
        x: Points from p_x.
        y: Points from p_y.
        kernel: Of squared distances.
        weight: Of the points x; all the same if None.
    """
    of_x = jnp.ones(x.shape[0], x.dtype) if weight is None else weight
    of_y = jnp.ones(y.shape[0], y.dtype)
    within_x = _mean_of_pairs(kernel(squared_distances(x, x)), of_x)
    within_y = _mean_of_pairs(kernel(squared_distances(y, y)), of_y)
    total = jnp.maximum(of_x.sum() * of_y.sum(), 1e-12)
    between = of_x @ kernel(squared_distances(x, y)) @ of_y / total
    return within_x + within_y - 2.0 * between


def squared_distances(
    x: Float[Array, "n d"], y: Float[Array, "m d"]
) -> Float[Array, "n m"]:
    """|x_i - y_j|² of all pairs, from one product of matrices."""
    # The distances do not depend on the centre, but the terms that nearly cancel do.
    center = jax.lax.stop_gradient(x.mean(axis=0, keepdims=True))
    x, y = x - center, y - center
    # In full precision, as they still do for close points.
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    lengths = jnp.square(x).sum(axis=1)[:, None] + jnp.square(y).sum(axis=1)[None]
    return jnp.maximum(lengths - 2.0 * products, 0.0)


def _mean_of_pairs(values: Float[Array, "n n"], weight: Array) -> Array:
    """The weighted mean outside the diagonal."""
    pairs = weight[:, None] * weight[None]
    pairs = jnp.where(jnp.eye(weight.shape[0], dtype=bool), 0.0, pairs)
    return (pairs * values).sum() / jnp.maximum(pairs.sum(), 1e-12)


def prior_codes(latent: Latent, key: jax.Array) -> Float[Array, "k b ..."]:
    """Draws of the shape of `latent.z` from p(z), N(0, I) where there is no prior."""
    z = latent.z
    if latent.prior is None:
        return jax.random.normal(key, z.shape, z.dtype)
    draws = latent.prior.expand(z.shape[:2]).sample(key)
    return jax.lax.stop_gradient(jnp.asarray(draws))


def flat_codes(z: Float[Array, "k b ..."]) -> Float[Array, "k b d"]:
    """Codes as vectors."""
    return z.reshape(*z.shape[:2], -1)
