"""What regularised auto-encoders charge in place of noise (Ghosh et al. 2020)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.errors import require
from jaxae.objectives.base import Weight, check_weight, stateless, weight_at
from jaxae.objectives.contraction import Estimator, check_estimator
from jaxae.objectives.mmd import flat_codes
from jaxae.types import Context, Objective, Trace


def code_penalty(weight: Weight) -> Objective:
    """weight · ½ ||z||² (Ghosh et al. 2020, section 3), averaged over the samples.

    The metric `code_penalty` is ½ ||z||², summed over the latents.

    Args:
        weight: A number or an optax schedule.

    Raises:
        ValueError: `weight` is negative.
    """
    check_weight("weight", weight)

    def loss(trace: Trace, context: Context) -> tuple[Array, dict[str, Array]]:
        codes = _flat(tuple(latent.z for latent in trace.latents))
        half = 0.5 * jnp.square(codes).sum(axis=-1).mean(axis=0)
        return weight_at(weight, context.step) * half, {"code_penalty": half}

    return stateless(loss)


def decoder_weight_decay(weight: Weight) -> Objective:
    """weight · ||θ||² over the decoder's parameters (Ghosh et al. 2020, section 3.1).

    Every example is charged the same; the metric `decoder_weight_decay` is ||θ||².

    Args:
        weight: A number or an optax schedule.

    Raises:
        ValueError: `weight` is negative; or, when the objective first sees a model, it
            has no parameters named "decoder".
    """
    check_weight("weight", weight)

    def loss(trace: Trace, context: Context) -> tuple[Array, dict[str, Array]]:
        parts = sorted(context.params)
        require("decoder" in parts, "model", parts, "one with a part named 'decoder'")
        leaves = jax.tree.leaves(context.params["decoder"])
        total = sum((jnp.square(leaf).sum() for leaf in leaves), jnp.zeros(()))
        norm = jnp.broadcast_to(total, trace.target.shape[:1])
        return weight_at(weight, context.step) * norm, {"decoder_weight_decay": norm}

    return stateless(loss)


def decoder_gradient_penalty(
    weight: Weight, estimator: Estimator = "hutchinson"
) -> Objective:
    """weight · ||∂ E[x | z] / ∂z||_F², averaged over the samples.

    Ghosh et al. (2020), section 3.1; the decoder is taken as outside training. The
    metric `decoder_gradient` is the squared norm itself, in squared units of x per
    squared unit of z.

    Args:
        weight: A number or an optax schedule.
        estimator: "exact" goes forward through the decoder once per latent dimension;
            "hutchinson" once, with a random sign for every dimension: E ||Jv||² =
            ||J||_F².

    Raises:
        ValueError: `weight` is negative or `estimator` unknown.
    """
    check_weight("weight", weight)
    check_estimator(estimator)

    def loss(trace: Trace, context: Context) -> tuple[Array, dict[str, Array]]:
        norm = _squared_norm(trace, context, estimator)
        return weight_at(weight, context.step) * norm, {"decoder_gradient": norm}

    return stateless(loss)


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
