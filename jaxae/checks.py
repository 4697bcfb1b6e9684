"""Numbers, sizes and keys that users hand in are checked once, early, on the host.

What their own modules and functions return is checked by its shape, when JAX traces it.
"""

import inspect
import math
from collections.abc import Callable
from types import EllipsisType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

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


def settle(part: Any, make: Callable[[str, Any], Any], *names: str) -> None:
    """Puts what `make` makes of these attributes in their place, when a part is made.

    `make` is one of those below: (name, value) -> what it stands for.
    """
    for name in names:
        value = make(name, getattr(part, name))
        object.__setattr__(part, name, value)  # it is frozen


def as_real(name: str, value: Any, expected: str = "a number") -> Any:
    """A number, as Python has it, so that it has a hash; what JAX traces as it is.

    Raises:
        ValueError: It is none, as an array of several, a word or NaN.
    """
    if isinstance(value, Tracer):
        return value
    shape = np.shape(value) if isinstance(value, np.ndarray | jax.Array) else ()
    ensure(shape == (), f"{name} must be {expected}, got an array of shape {shape}")
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.item()
    real = isinstance(value, int | float) and not isinstance(value, bool)
    require(real and not math.isnan(value), name, value, expected)
    return value


def as_finite(name: str, value: Any) -> Any:
    """Likewise, of a number that must not be infinite either."""
    expected = "a finite number"
    number = as_real(name, value, expected)
    require(abs(number) < math.inf, name, value, expected)
    return number


def as_range(name: str, limits: Any) -> tuple[Any, Any]:
    """Likewise, of two numbers in their order; a list becomes a tuple."""
    expected = "(lowest, highest)"
    limits = limits.tolist() if isinstance(limits, np.ndarray) else limits
    pair = isinstance(limits, tuple | list) and len(limits) == 2
    require(pair, name, limits, expected)
    low, high = (as_real(name, each, expected) for each in limits)
    require(low < high, name, limits, expected)
    return low, high


def as_flag(name: str, value: Any) -> bool:
    """True or False, as Python has them; raises ValueError for anything else."""
    require(isinstance(value, bool | np.bool_), name, value, "True or False")
    return bool(value)


def check_key(key: Any) -> None:
    """Raises ValueError unless `key` is one typed key."""
    one = _is_typed(key) and key.ndim == 0
    require(one, "key", key, "one typed key, such as jax.random.key(0)")


def check_keys(keys: Any) -> int:
    """The number of typed keys; raises ValueError for anything else."""
    several = _is_typed(keys) and keys.ndim == 1 and keys.shape[0] > 0
    require(several, "keys", keys, "an array [S] of typed keys, with S at least 1")
    return keys.shape[0]


def check_function(name: str, value: Any, expected: str, *arguments: str) -> None:
    """Raises ValueError unless `value` can be called as it is, which a class cannot.

    Args:
        name: What the value is called.
        value: The function.
        expected: What it must be.
        arguments: What it is called with, in this order.
    """
    function = callable(value) and not isinstance(value, type)
    words = f"{name} must be {expected}, got"
    ensure(not isinstance(value, type), f"{words} {kind_of(value)}: make one of it")
    ensure(function, f"{words} {value!r:.200}")
    wrong, called = why_not(value, *arguments), ", ".join(arguments)
    ensure(not wrong, f"{words} {value!r:.200}, which cannot take ({called}): {wrong}")


def why_not(function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Why a function cannot be called with these; "" if it can, or does not say."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # as of some that are written in C
        return ""
    return why_unbound(signature, *arguments, **options)


def why_unbound(signature: inspect.Signature, *arguments: Any, **options: Any) -> str:
    """Why a signature does not take these; "" if it does."""
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        return str(error)
    return ""


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
