"""The linear layer of all networks."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from jaxae.precision import spread
from jaxae.values import Module


class Dense(Module):
    """`flax.linen.Dense`, or `DenseGeneral`, names and shapes included.

    The bias is added by `precision.spread`.

    Attributes:
        features: Of the output: one axis, or a tuple of several.
        axes: How many of the last axes of the input are summed over.
        use_bias: Add a bias per feature, zero at first.
        kernel_init: Initialiser of the kernel, as a matrix.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    features: int | tuple[int, ...]
    axes: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        features = self.features if isinstance(self.features, tuple) else None
        features = features or (self.features,)
        summed = x.shape[x.ndim - self.axes :]

        def init(key: jax.Array, shape: tuple[int, ...]) -> Array:
            matrix = (math.prod(summed), math.prod(features))
            return self.kernel_init(key, matrix, jnp.float32).reshape(shape)

        kernel = self.param("kernel", init, (*summed, *features))
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        last = tuple(range(x.ndim - self.axes, x.ndim))
        y = lax.dot_general(x, kernel, ((last, tuple(range(self.axes))), ((), ())))
        if not self.use_bias:
            return y
        zeros = nn.initializers.zeros
        return y + spread(self.param("bias", zeros, features, jnp.float32), y)
