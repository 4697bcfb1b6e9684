"""Counts, sizes and keys that users hand in are checked once, early, on the host."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.errors import require


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raises ValueError unless `value` is a whole number of at least `least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    require(
        whole and value >= least, name, value, f"a whole number of at least {least}"
    )


def check_sizes(name: str, sizes: Any) -> None:
    """Raises ValueError unless `sizes` is a tuple of whole numbers of at least 1."""
    # A list would leave the module without a hash, which jit needs.
    require(isinstance(sizes, tuple), name, sizes, "a tuple of whole numbers")
    for size in sizes:
        check_count(f"every size in {name} {tuple(sizes)}", size)


def check_key(key: Any) -> None:
    """Raises ValueError unless `key` is one typed key."""
    one = _is_typed(key) and key.ndim == 0
    require(one, "key", key, "one typed key, such as jax.random.key(0)")


def check_keys(keys: Any) -> int:
    """The number of typed keys; raises ValueError for anything else."""
    several = _is_typed(keys) and keys.ndim == 1 and keys.shape[0] > 0
    require(several, "keys", keys, "an array [S] of typed keys, with S at least 1")
    return keys.shape[0]


def _is_typed(keys: Any) -> bool:
    array = isinstance(keys, jax.Array)
    return array and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
