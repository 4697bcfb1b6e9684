"""One array that users hand in: its kind, its shape, what is missing of it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from jaxae.errors import ArgumentError, ensure, require
from jaxae.views import Field


def split_missing(x: Any, missing: Any, name: str) -> tuple[Any, Any]:
    """x with zeros where it is not known, and where that is.

    Args:
        x: An array, or one of `numpy.ma`, whose mask says the same as `missing`.
        missing: True where x is not known; "nan" where x is NaN there; or None.
        name: Of the argument that x comes as.

    Raises:
        ValueError: `missing` is another word, or no mask for x.
    """
    x, missing = unmasked(x, missing, name)
    x = as_array(x, name)
    if isinstance(missing, str):
        require(missing == "nan", "missing", missing, "an array of booleans, or 'nan'")
        require(is_number(x.dtype), name, str(x.dtype), "numbers, NaN where missing")
        missing = jnp.isnan(x) if isinstance(x, Tracer) else np.isnan(x)
    if missing is None:
        return x, None
    missing = check_mask(missing, x.shape, "missing")
    xp = jnp if isinstance(x, Tracer) or isinstance(missing, Tracer) else np
    return xp.where(missing, np.zeros((), x.dtype), x), missing


def unmasked(x: Any, missing: Any, name: str) -> tuple[Any, Any]:
    """x and what is missing of it, which an array of `numpy.ma` says itself."""
    if not isinstance(x, np.ma.MaskedArray):
        return x, missing
    taken = f"{name} is a masked array, whose mask says what is missing: give no "
    ensure(missing is None, f"{taken}'missing' beside it")
    return x.data, np.ma.getmaskarray(x)


def check_unmasked(values: Any, name: str) -> None:
    """Raises ValueError of an array of `numpy.ma`, where its mask would be dropped."""
    masked = isinstance(values, np.ma.MaskedArray)
    ensure(not masked, f"{name} must be known whole, got a masked array")


def is_number(dtype: Any) -> bool:
    """Whether it is of booleans, whole or real numbers, of JAX's own types too."""
    return np.dtype(dtype).kind in "biu" or jnp.issubdtype(dtype, jnp.floating)


def check_numbers(values: Any, shape: tuple[int, ...], name: str) -> Any:
    """An array of finite numbers of this shape, as it is stored."""
    values = as_array(values, name)
    ensure(
        values.shape == shape and is_number(values.dtype),
        f"{name} must be numbers of shape {list(shape)}, "
        f"got {values.dtype} of shape {list(values.shape)}",
    )
    finite = isinstance(values, Tracer) or np.isfinite(values).all()
    ensure(finite, f"{name} holds a value that is not finite")
    return values


def check_weight(values: Any, count: int, name: str) -> Any:
    """How often each example counts, [count] in float32.

    Raises:
        ValueError: The shape is another, or a weight negative or not finite.
    """
    values = check_numbers(values, (count,), name)
    if not isinstance(values, Tracer):
        least = values.min().item()
        require(least >= 0, name, least, "at least 0")
    return values.astype(np.float32)


def as_array(values: Any, name: str) -> Any:
    """On the host, unless it is traced.

    Raises:
        ValueError: It is of a kind that NumPy would take for something else.
    """
    if isinstance(values, Tracer):
        return values
    whole = f"{name} must be an array, or a mapping of arrays, which the device holds "
    whole += f"whole, got {type(values).__name__}"
    ensure(not callable(values), whole)
    check_unmasked(values, name)
    kind = type(values)
    if kind.__module__.startswith(("scipy.sparse", "anndata")):
        remedy = "adata.X" if kind.__module__.startswith("anndata") else "x.toarray()"
        raise ArgumentError(
            f"{name} must be a dense array, got {kind.__name__} of {kind.__module__}: "
            f"give {remedy}, or an iterable of dense batches"
        )
    joined = f"{whole}: join batches, as by numpy.concatenate(list(batches))"
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"{joined}; or its rows are of unequal lengths") from error
    one_object = array.dtype == object and array.ndim == 0
    ensure(not (one_object and hasattr(values, "__iter__")), joined)  # as of a loader
    return array


def owned(values: Any, dtype: Any = None) -> Any:
    """A copy, as JAX may look at an array of NumPy later than it is called.

    By then its owner may have changed it: a loader may fill one array again and again.
    On the CPU it is the only copy, as it begins where JAX takes it as it is.
    """
    if isinstance(values, Array):
        return values if dtype is None else values.astype(dtype)
    values = np.asarray(values)
    dtype = values.dtype.newbyteorder("=") if dtype is None else np.dtype(dtype)
    size = values.size * dtype.itemsize
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    copy = room[start : start + size].view(dtype).reshape(values.shape)
    np.copyto(copy, values, casting="unsafe")
    return copy


_ALIGNMENT = 64
"""Bytes: XLA's own on the CPU."""


def on_device(values: Any, dtype: Any = None) -> Array:
    """A copy for JAX; `jnp.asarray` would compile a program for every new shape."""
    return jax.device_put(owned(values, dtype))


def check_condition(values: Any, form: Field, count: int, name: str) -> Any:
    """An array that a model is shown, [count, *shape], int32 or float32.

    Raises:
        ValueError: It has another shape, a value that is not finite, or one that is no
            category.
    """
    values = check_numbers(values, (count, *form.shape), name)
    if not form.categories:
        return values.astype(np.float32)
    whole = values.astype(np.int32)
    if isinstance(values, Tracer):
        return whole
    other = values[whole != values]
    numbers = f"{name} must be whole numbers of 32 bits"
    ensure(len(other) == 0, f"{numbers}, got {other[:3]}")
    ensure(
        whole.min() >= 0 and whole.max() < form.categories,
        f"{name} must be from 0 to {form.categories - 1}, "
        f"got values from {whole.min()} to {whole.max()}",
    )
    return whole


def check_rows(shape: tuple[int, ...], came: tuple[int, ...], name: str) -> None:
    """Raises ValueError unless an array has [n, *shape], with n at least 1."""
    sizes = ", ".join(map(str, shape))
    grey = shape[-1:] == (1,) and came[1:] == shape[:-1]
    hint = f": add the channel axis, {name}[..., None]" if grey else ""
    if not came:
        hint = ": files are opened by jaxae.Shards"
    if came[2:] == shape:
        hint = f": join batches, as by numpy.concatenate({name})"
    count, *size = came or (0, None)
    require(tuple(size) == shape, name, came, f"of shape [n, {sizes}]{hint}")
    require(count > 0, name, came, "at least one example")


def check_mask(mask: Any, shape: tuple[int, ...], name: str) -> Any:
    """A boolean mask that broadcasts to examples of `shape` [n, ..., c].

    Raises:
        ValueError: It is no such mask.
    """
    mask = as_array(mask, name)
    right = "bool, True where entries are missing"
    require(mask.dtype == bool, name, str(mask.dtype), right)
    # Of vectors it would be a word on whole examples, and is more likely a mistake.
    if mask.ndim == len(shape) - 1 and mask.ndim > 1:
        mask = mask[..., None]
    one_channel = (*shape[:-1], 1)
    fits = mask.shape in (shape, one_channel)
    expected = shape if len(shape) < 3 else one_channel
    require(fits, name, mask.shape, f"of shape {expected}")
    return mask
