"""Recipes, data and labels that users hand in are checked once, early, on the host.

Arrays that JAX traces, as inside `jax.grad` or `jax.vmap`, are checked by shape and
dtype; their values are not known.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxae.corruptions.base import takes_unit_interval
from jaxae.errors import ensure, given, require
from jaxae.preparation import binarize, unit_interval
from jaxae.recipe import Recipe
from jaxae.values import check_hashable, expression

LEAST_BYTES = 64
"""Values from which on bytes of 0 and 1 alone are no chance."""

LEAST_BYTES = 64
"""Values from which on bytes of 0 and 1 alone are no chance."""

_SIDE_FIELDS = ("label", "weight")


def check_recipe(recipe: Any) -> None:
    """Raises ValueError unless `recipe` is a Recipe that programs can be compiled for.

    An attribute without a hash, as a list in a module of the user's own, is named.
    """
    came = f"a value of type {type(recipe).__name__}"
    made = "as jaxae.recipes.vae((28, 28, 1)) makes one"
    ensure(isinstance(recipe, Recipe), f"recipe must be a Recipe, {made}, got {came}")
    check_hashable("recipe", recipe)


def check_data(recipe: Recipe, data: Any, name: str) -> dict[str, Any]:
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
    ensure(
        "x" in fields and set(fields) <= set(known),
        f"{name} must be an array, or a mapping with 'x' and nothing beside {known}, "
        f"got a mapping with {sorted(fields)}",
    )
    checked = {"x": check_examples(recipe, fields.pop("x"), name)}
    for field, values in fields.items():
        own = f"{name}[{field!r}]"
        values = check_numbers(values, (checked["x"].shape[0],), own)
        checked[field] = _check_side_field(recipe, values, field, own)
    needed = "label" in recipe.module.view.needs
    shown = f"{name} must have a 'label', which the model is shown"
    ensure("label" in checked or not needed, f"{shown}, got {sorted(checked)}")
    if not isinstance(checked["x"], Tracer):
        check_values(recipe, checked["x"], name)
    return checked


def check_numbers(values: Any, shape: tuple[int, ...], name: str) -> Any:
    """An array of finite numbers of this shape, as it is stored."""
    values = _as_array(values)
    ensure(
        values.shape == shape and values.dtype.kind in "biuf",
        f"{name} must be numbers of shape {list(shape)}, "
        f"got {values.dtype} of shape {list(values.shape)}",
    )
    finite = isinstance(values, Tracer) or np.isfinite(values).all()
    ensure(finite, f"{name} holds a value that is not finite")
    return values


def _as_array(values: Any) -> Any:
    return values if isinstance(values, Tracer) else np.asarray(values)


def _check_side_field(recipe: Recipe, values: Any, field: str, name: str) -> Any:
    if field == "weight":
        if not isinstance(values, Tracer):
            least = values.min().item()
            require(least >= 0, name, least, "at least 0")
        return values.astype(np.float32)
    labels = values.astype(np.int32)
    if not isinstance(values, Tracer):
        other = values[labels != values]
        whole = f"{name} must be whole numbers of 32 bits"
        ensure(len(other) == 0, f"{whole}, got {other[:3]}")
        check_labels(recipe, labels, name)
    return labels


def check_labels(recipe: Recipe, labels: Any, name: str) -> None:
    """Raises ValueError if the model is shown a label that it does not know."""
    count = recipe.module.view.num_labels
    if not count or isinstance(labels, Tracer):
        return
    ensure(
        labels.min() >= 0 and labels.max() < count,
        f"{name} must be from 0 to {count - 1}, "
        f"got labels from {labels.min()} to {labels.max()}",
    )


def check_examples(recipe: Recipe, x: Any, name: str = "x") -> Any:
    """Examples of the model's shape, as bytes or finite float32 of any range.

    Raises:
        ValueError: The rank, the shape or the dtype is wrong, a value is not finite,
            bytes are 0 and 1 alone, or there is no example.
    """
    x = _as_array(x)
    shape = recipe.module.shape
    sizes = ", ".join(map(str, shape))
    grey = shape[-1:] == (1,) and x.shape[1:] == shape[:-1]
    hint = f": add the channel axis, {name}[..., None]" if grey else ""
    right = x.shape[1:] == shape and x.ndim > 0
    require(right, name, x.shape, f"of shape [n, {sizes}]{hint}")
    require(x.shape[0] > 0, name, x.shape, "at least one example")
    if x.dtype == np.uint8:
        _check_bytes(x, name)
        return x
    real = x.dtype == bool or jnp.issubdtype(x.dtype, jnp.floating)
    require(real, name, str(x.dtype), "bytes (uint8) or floats")
    if isinstance(x, Tracer):
        return x.astype(np.float32)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    bad = int(x.size - np.isfinite(x).sum())
    ensure(
        bad == 0, f"{name} must be finite, but {bad} of its values are NaN or infinite"
    )
    return x


def check_values(recipe: Recipe, x: np.ndarray, name: str) -> None:
    """Raises ValueError if a part of the recipe cannot take the values of `x`."""
    # In NumPy wherever the preparation is known: a batch of a stream is checked while
    # the device works on the one before, and must not wait for it.
    values = _levels(x) / np.float32(255) if x.dtype == np.uint8 else x
    came = f"got values from {values.min():g} to {values.max():g}"
    bounded = _takes_unit_interval(recipe)
    if recipe.prepare is binarize:
        bounded = "preparation.binarize"
    if bounded is not None:
        inside = bool((values >= 0).all() and (values <= 1).all())
        ensure(inside, f"{name} must lie in [0, 1] for {bounded}, {came}")
    if recipe.prepare is binarize:
        return
    if recipe.prepare is not unit_interval:
        prepared = recipe.prepare(jax.random.key(0), jnp.asarray(x))
        values = np.asarray(prepared)
        came = f"got values from {values.min():g} to {values.max():g} as prepared"
    likelihood = recipe.module.likelihood
    right = bool(np.all(likelihood.support(values)))
    ensure(right, f"{name} must be {likelihood.values.words}, {came}")


def _takes_unit_interval(recipe: Recipe) -> str | None:
    """The part of a recipe that takes x to lie in [0, 1], if there is one."""
    if takes_unit_interval(recipe.corruption):
        return expression(recipe.corruption)
    prior = getattr(recipe.module, "prior", None)
    return expression(prior) if getattr(prior, "unit_interval", False) else None


def _check_bytes(x: Any, name: str) -> None:
    """Bytes are levels k/255: of 0 and 1 alone, as some data sets store binary x."""
    # A few dark values may be so by chance.
    ensure(
        isinstance(x, Tracer) or x.size < LEAST_BYTES or x.max() != 1,
        f"{name} holds bytes of 0 and 1 alone, which would be read as 0 and 1/255: "
        f"give booleans, {name}.astype(bool), or levels up to 255",
    )


def _levels(x: np.ndarray) -> np.ndarray:
    """The bytes that occur, each once."""
    occurs = np.zeros(256, bool)
    occurs[x] = True
    return np.flatnonzero(occurs).astype(np.uint8)


def check_label(recipe: Recipe, label: Any, count: int) -> Any:
    """Labels [count] for a model that is shown them; None for any other.

    Raises:
        ValueError: They are missing, not asked for, or not labels that it knows.
    """
    if "label" not in recipe.module.view.needs:
        ensure(label is None, "label must be left out: the model is shown no labels")
        return None
    label = given(label, f"label must be given: one for each of {count} examples")
    label = check_numbers(label, (count,), "label")
    ensure(label.dtype.kind in "iu", f"label must be whole numbers, got {label.dtype}")
    check_labels(recipe, label, "label")
    return jnp.asarray(label, jnp.int32)


def check_mask(shape: tuple[int, ...], mask: Any) -> Any:
    """A boolean mask that broadcasts to examples of `shape` [n, ..., c].

    Raises:
        ValueError: It is no such mask.
    """
    mask = _as_array(mask)
    right = "bool, True where entries are missing"
    require(mask.dtype == bool, "mask", str(mask.dtype), right)
    if mask.ndim == len(shape) - 1:
        mask = mask[..., None]
    one_channel = (*shape[:-1], 1)
    fits = mask.shape in (shape, one_channel)
    require(fits, "mask", mask.shape, f"of shape {one_channel}")
    return mask
