"""What users hand in is checked once, early, on the host."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.errors import require
from jaxae.preparation import binarize, unit_interval
from jaxae.types import Recipe

_SIDE_FIELDS = ("label", "weight")


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


def check_recipe(recipe: Any) -> None:
    """Raises ValueError unless `recipe` is a Recipe."""
    require(
        isinstance(recipe, Recipe),
        "recipe",
        type(recipe).__name__,
        "a Recipe, such as jaxae.recipes.vae((28, 28, 1)) returns",
    )


def check_data(recipe: Recipe, data: Any, name: str) -> dict[str, np.ndarray]:
    """Data for training or evaluation as {"x": ...} and what else there is.

    Args:
        recipe: Says what the examples must look like.
        data: An array [n, *shape] or a mapping with one as "x".
        name: What the caller calls the argument.

    Raises:
        ValueError: The shape, the dtype or a value is not as the recipe needs it.
    """
    fields = dict(data) if isinstance(data, Mapping) else {"x": data}
    known = ("x", *_SIDE_FIELDS)
    wrong = sorted(set(fields) - set(known))
    require(
        "x" in fields and not wrong,
        name,
        sorted(fields),
        f"an array, or a mapping with 'x' and nothing beside {known}",
    )
    checked = {"x": check_images(recipe, fields.pop("x"), name)}
    for field, values in fields.items():
        values, count = np.asarray(values), checked["x"].shape[0]
        came = f"{values.dtype} of shape {values.shape}"
        real = values.dtype.kind in "biuf" and np.isfinite(values).all()
        right = real and values.shape == (count,)
        require(right, f"{name}[{field!r}]", came, f"[{count}], finite numbers")
        checked[field] = _check_side_field(recipe, values, field, f"{name}[{field!r}]")
    needed = "label" in recipe.model.view.needs
    require("label" in checked or not needed, name, sorted(checked), "with a 'label'")
    support_problem = _outside(recipe, checked["x"])
    require(support_problem is None, name, *(support_problem or ("", "")))
    return checked


def _check_side_field(
    recipe: Recipe, values: np.ndarray, field: str, name: str
) -> np.ndarray:
    if field == "weight":
        require(values.min() >= 0, name, values.min(), "at least 0")
        return values.astype(np.float32)
    labels = values.astype(np.int32)
    require((labels == values).all(), name, values, "whole numbers of 32 bits")
    check_labels(recipe, labels, name)
    return labels


def check_labels(recipe: Recipe, labels: np.ndarray, name: str) -> None:
    """Raises ValueError if the model is shown a label that it does not know."""
    count = recipe.model.view.num_labels
    came = f"from {labels.min()} to {labels.max()}"
    known = not count or (labels.min() >= 0 and labels.max() < count)
    require(known, name, came, f"from 0 to {count - 1}")


def check_images(recipe: Recipe, images: Any, name: str = "images") -> np.ndarray:
    """Images of the model's shape, as bytes or finite float32; values are not judged.

    Raises:
        ValueError: The rank, the shape or the dtype is wrong, a value is not finite, or
            there is no example.
    """
    images = np.asarray(images)
    shape = recipe.model.shape
    sizes = ", ".join(map(str, shape))
    grey = shape[-1:] == (1,) and images.shape[1:] == shape[:-1]
    hint = f": add the channel axis, {name}[..., None]" if grey else ""
    require(
        images.shape[1:] == shape and images.ndim,
        name,
        images.shape,
        f"of shape [n, {sizes}]{hint}",
    )
    require(images.shape[0] > 0, name, images.shape, "at least one example")
    if images.dtype == np.uint8:
        return images
    real = images.dtype == bool or jnp.issubdtype(images.dtype, jnp.floating)
    require(real, name, str(images.dtype), "bytes (uint8) or floats")
    with np.errstate(over="ignore"):
        images = images.astype(np.float32, copy=False)
    bad = int(images.size - np.isfinite(images).sum())
    require(bad == 0, name, f"{bad} values that are NaN or infinite", "finite")
    return images


def _outside(recipe: Recipe, x: np.ndarray) -> tuple[str, str] | None:
    """(what came, what was expected) if the likelihood cannot explain the values."""
    # In NumPy wherever the preparation is known: a batch of a stream is checked while
    # the device works on the one before, and must not wait for it.
    values = _levels(x) / np.float32(255) if x.dtype == np.uint8 else x
    if recipe.prepare is binarize:
        expected = "in [0, 1], to be binarised"
        right = bool((values >= 0).all() and (values <= 1).all())
    else:
        if recipe.prepare is not unit_interval:
            key = jax.random.key(0)
            values = np.asarray(recipe.prepare(key, jnp.asarray(x)))
        likelihood = recipe.model.likelihood
        expected = likelihood.values.words
        right = bool(np.all(likelihood.support(values)))
    if right:
        return None
    return f"values from {values.min():g} to {values.max():g}", expected


def _levels(x: np.ndarray) -> np.ndarray:
    """The bytes that occur, each once."""
    occurs = np.zeros(256, bool)
    occurs[x] = True
    return np.flatnonzero(occurs).astype(np.uint8)
