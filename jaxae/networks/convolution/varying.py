"""What differs from device to device under `jax.shard_map`."""

import jax
from jax import lax
from jaxtyping import Array


def vary_alike(*arrays: Array) -> list[Array]:
    """Under `jax.shard_map`, all as different from device to device as any is."""
    axes = frozenset().union(*map(_varying, arrays))
    missing = [tuple(axes - _varying(array)) for array in arrays]
    return [
        lax.pcast(array, over, to="varying") if over else array
        for array, over in zip(arrays, missing, strict=True)
    ]


def _varying(array: Array) -> frozenset[str]:
    return jax.typeof(array).mat.varying
