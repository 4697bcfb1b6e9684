"""The linear decoder of sparse auto-encoders."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxae.checks import check_sizes
from jaxae.precision import spread
from jaxae.values import Module


def unit_rows(key: jax.Array, shape: tuple[int, int]) -> Float[Array, "n d"]:
    """An initializer: rows of norm 1 in random directions."""
    return normalize_rows(jax.random.normal(key, shape, jnp.float32))


def normalize_rows(rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Every row divided by its Euclidean norm; a row of zeros stays as it is."""
    square = jnp.square(rows).sum(axis=-1, keepdims=True)
    return rows * jax.lax.rsqrt(jnp.maximum(square, jnp.finfo(rows.dtype).tiny))


class Dictionary(Module):
    """Weighted sums of learned atoms of norm 1, plus a bias: [b, n] -> [b, *shape].

    The atoms are the rows of the parameter "atoms", divided by their norms, so that no
    step can leave the sphere and gradients are tangential to it. Atoms of a fixed norm
    keep a penalty on the codes from being evaded by small codes and long atoms.

    Attributes:
        shape: The output's shape without the batch.
        dtype: Compute dtype; None: that of inputs and parameters. Norms are taken
            in the parameters' own.

    Raises:
        ValueError: A size is below 1.
    """

    shape: tuple[int, ...]
    dtype: Any = None

    def __post_init__(self) -> None:
        check_sizes("shape", self.shape)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, z: Float[Array, "b n"], *, train: bool = False
    ) -> Float[Array, "b ..."]:
        del train
        size = math.prod(self.shape)
        atoms = self.param("atoms", unit_rows, (z.shape[-1], size))
        bias = self.param("bias", nn.initializers.zeros, (size,), jnp.float32)
        z, atoms = promote_dtype(z, normalize_rows(atoms), dtype=self.dtype)
        out = z @ atoms
        return (out + spread(bias, out)).reshape(z.shape[0], *self.shape)
