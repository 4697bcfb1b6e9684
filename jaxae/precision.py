"""Mixed precision: networks that compute in bfloat16, on parameters in float32."""

import jax.numpy as jnp
from jaxtyping import Array, Float


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
