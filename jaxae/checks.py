"""Counts, sizes and keys that users hand in are checked once, early, on the host.

What their own modules and functions return is checked by its shape, when JAX traces it.
"""

from types import EllipsisType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.errors import ensure, kind_of, require


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


def check_function(name: str, value: Any, expected: str) -> None:
    """Raises ValueError unless `value` can be called as it is, which a class cannot."""
    function = callable(value) and not isinstance(value, type)
    words = f"{name} must be {expected}, got"
    ensure(not isinstance(value, type), f"{words} {kind_of(value)}: make one of it")
    ensure(function, f"{words} {value!r:.200}")


def check_returned(
    name: str,
    value: Any,
    shape: tuple[int | EllipsisType, ...],
    meaning: str = "",
    by: str = "",
) -> None:
    """Raises ValueError unless `value` is an array of this shape.

    Args:
        name: What the value is called.
        value: What it returned.
        shape: With `...` in the last place for any further axes.
        meaning: What the axes are, to end the shape with.
        by: The part that returned it, where the name does not say so.
    """
    came = value.shape if is_array(value) else ()
    right = came == shape
    if shape[-1:] == (...,):
        right = came[: len(shape) - 1] == shape[:-1]
    sizes = ", ".join("..." if size is ... else str(size) for size in shape)
    expected = f"({sizes}{',' * (len(shape) == 1)})"
    got = _what_came(value) + f" from {by}" * bool(by)
    right = right and is_array(value)
    ensure(right, f"{name} must have the shape {expected}{meaning}, got {got}")


def check_kept(part: str, value: Any, x: Any, by: str) -> None:
    """Raises ValueError unless what a part makes of x is an array of its shape."""
    right = is_array(value) and value.shape == x.shape
    words = f"{part} must keep the shape of x, {x.shape}"
    ensure(right, f"{words}, got {_what_came(value)} from {by}")


def is_array(value: Any) -> bool:
    """Whether it is an array of JAX's or NumPy's, or a scalar of it."""
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def _what_came(value: Any) -> str:
    return str(value.shape) if is_array(value) else kind_of(value)


def _is_typed(keys: Any) -> bool:
    array = isinstance(keys, jax.Array)
    return array and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
