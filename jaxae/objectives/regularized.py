"""What regularised auto-encoders charge in place of noise (Ghosh et al. 2020)."""

from __future__ import annotations  # help() shows names, not types

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import settle
from jaxae.errors import check_choice, ensure
from jaxae.objectives.base import Loss, Objective, Weight, as_weight, weight_at
from jaxae.objectives.contraction import Estimator
from jaxae.objectives.mmd import flat_codes
from jaxae.types import Context, Params, Trace


class CodePenalty(Objective):
    """weight · ½ ||z||² (Ghosh et al. 2020, section 3), averaged over the samples.

    The metric `code_penalty` is ½ ||z||², summed over the latents.

    Attributes:
        weight: A number or a schedule.

    Raises:
        ValueError: `weight` is negative.
    """

    weight: Weight

    def __post_init__(self) -> None:
        """Checks the weight."""
        settle(self, as_weight, "weight")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """Half the squared norm, weighed."""
        codes = _flat(tuple(latent.z for latent in trace.latents))
        half = 0.5 * jnp.square(codes).sum(axis=-1).mean(axis=0)
        return weight_at(self.weight, context.step) * half, {"code_penalty": half}


class DecoderWeightDecay(Objective):
    """weight · ||θ||² over the decoder's parameters (Ghosh et al. 2020, section 3.1).

    Every example is charged the same; the metric `decoder_weight_decay` is ||θ||².

    Attributes:
        weight: A number or a schedule.

    Raises:
        ValueError: `weight` is negative; or, when the objective first sees a model, it
            has no parameters named "decoder".
    """

    weight: Weight

    def __post_init__(self) -> None:
        """Checks the weight."""
        settle(self, as_weight, "weight")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The squared norm of the decoder's parameters, weighed."""
        parts = sorted(context.params)
        ensure("decoder" in parts, f"the model has no part named 'decoder': {parts}")
        leaves = jax.tree.leaves(context.params["decoder"])
        total = sum(
            (jnp.square(leaf).sum() for leaf in leaves), jnp.zeros((), jnp.float32)
        )
        norm = jnp.broadcast_to(total, trace.target.shape[:1])
        weight = weight_at(self.weight, context.step)
        return weight * norm, {"decoder_weight_decay": norm}


class DecoderGradientPenalty(Objective):
    """weight · ||∂ E[x | z] / ∂z||_F², averaged over the samples.

    Ghosh et al. (2020), section 3.1; the decoder is taken as outside training. The
    metric `decoder_gradient` is the squared norm itself, in squared units of x per
    squared unit of z.

    Attributes:
        weight: A number or a schedule.
        estimator: "exact" goes forward through the decoder once per latent dimension;
            "hutchinson" once, with a random sign for every dimension: E ||Jv||² =
            ||J||_F².

    Raises:
        ValueError: `weight` is negative or `estimator` unknown.
    """

    weight: Weight
    estimator: Estimator = "hutchinson"

    def __post_init__(self) -> None:
        """Checks the arguments."""
        settle(self, as_weight, "weight")
        check_choice("estimator", self.estimator, Estimator)

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The squared norm of the decoder's Jacobian, weighed."""
        norm = _squared_norm(trace, context, self.estimator)
        return weight_at(self.weight, context.step) * norm, {"decoder_gradient": norm}


def _squared_norm(
    trace: Trace, context: Context, estimator: Estimator
) -> Float[Array, " b"]:
    codes = tuple(latent.z for latent in trace.latents)
    flat = _flat(codes)

    def mean(flat: Float[Array, "k b d"]) -> Float[Array, "k b ..."]:
        likelihood = context.decode(context.params, _split(flat, codes))
        return jnp.asarray(likelihood.mean)

    def column_norm(tangent: Float[Array, "k b d"]) -> Float[Array, "k b"]:
        _, column = jax.jvp(mean, (flat,), (tangent,))
        return jnp.square(column).reshape(*column.shape[:2], -1).sum(axis=-1)

    if estimator == "hutchinson":
        signs = jax.random.rademacher(context.key, flat.shape, flat.dtype)
        return column_norm(signs).mean(axis=0)
    basis = jnp.eye(flat.shape[-1], dtype=flat.dtype)[:, None, None]
    columns = jnp.broadcast_to(basis, (basis.shape[0], *flat.shape))
    return jax.vmap(column_norm)(columns).sum(axis=0).mean(axis=0)


def _flat(codes: tuple[Array, ...]) -> Float[Array, "k b d"]:
    """All codes side by side."""
    return jnp.concatenate([flat_codes(z) for z in codes], axis=-1)


def _split(flat: Float[Array, "k b d"], like: tuple[Array, ...]) -> tuple[Array, ...]:
    """The inverse of `_flat`, by the shapes of `like`."""
    codes, start = [], 0
    for z in like:
        size = z[0, 0].size
        codes.append(flat[..., start : start + size].reshape(z.shape))
        start += size
    return tuple(codes)
