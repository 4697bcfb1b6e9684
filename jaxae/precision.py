"""Mixed precision: networks that compute in bfloat16, on parameters in float32."""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxae.errors import require
from jaxae.types import Recipe

_KNOWN = ("bfloat16", "float32")
_NETWORKS = ("encoder", "decoder")


def compute_in(recipe: Recipe, dtype: DTypeLike | None) -> Recipe:
    """The same family with an encoder and a decoder whose layers compute in `dtype`.

    Every layer casts its input and its parameters to `dtype` and computes its output
    there; the gradients reach the parameters as they are stored. Parameters, gradients
    and the optimizer's state stay float32, as do bottlenecks, priors, likelihoods,
    critics and losses, for which what the networks put out is cast back. A checkpoint
    fits the recipe with any `dtype`.

    Args:
        recipe: Any whose networks have the field `dtype`, as all of `jaxae.networks`
            and linen's own layers.
        dtype: bfloat16 or float32; None for that of the inputs and parameters.

    Raises:
        ValueError: `dtype` is another one, or a network has no such field.
    """
    if dtype is not None:
        name = dtype if isinstance(dtype, str) else jnp.dtype(dtype).name
        # The gradients of float16 would need a scaled loss.
        require(name in _KNOWN, "dtype", name, f"None or in {_KNOWN}")
        dtype = jnp.dtype(name)
    model = recipe.model
    if _has_dtype(model):
        return recipe._replace(model=model.clone(dtype=dtype))
    cast = {}
    for name in _NETWORKS:
        network = getattr(model, name, None)
        kind = "none" if network is None else type(network).__name__
        came = f"{kind} in {type(model).__name__}"
        require(_has_dtype(network), name, came, "a module with a field `dtype`")
        assert network is not None
        cast[name] = network.clone(dtype=dtype)
    return recipe._replace(model=model.clone(**cast))


def widened(values: Float[Array, "..."]) -> Float[Array, "..."]:
    """Half precision as float32: only networks compute in less."""
    half = jnp.finfo(values.dtype).bits < 32
    return values.astype(jnp.float32) if half else values


def spread(parameter: Float[Array, "..."], like: Array) -> Array:
    """`parameter` repeated to the shape of `like`, in its dtype.

    Repeated first and rounded then, so that the gradient is summed in the parameter's
    own dtype. In bfloat16, which ends at 8 bits, a sum of ones ends at 256: of 65,536
    gradients three quarters were lost (JAX 0.10 and 0.12, on the CPU).
    """
    shape = (*[1] * (like.ndim - parameter.ndim), *parameter.shape)
    repeated = jnp.broadcast_to(parameter.reshape(shape), like.shape)
    return repeated.astype(like.dtype)


def _has_dtype(module: object) -> bool:
    if not isinstance(module, nn.Module):
        return False
    return "dtype" in {field.name for field in dataclasses.fields(module)}
