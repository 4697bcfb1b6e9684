"""Models, recipes, and data of several arrays by their names."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxae.errors import did_you_mean, ensure, kind_of, require, unknown
from jaxae.inputs.arrays import (
    as_array,
    check_condition,
    check_mask,
    check_weight,
    is_number,
    split_missing,
)
from jaxae.inputs.values import (
    check_examples,
    check_scalable,
    check_values,
    unrounded,
    warn_if_unscaled,
)
from jaxae.models.family import Family
from jaxae.preparation import as_levels
from jaxae.recipe import Model, Recipe
from jaxae.values import check_hashable
from jaxae.views import Field, Part


def check_model(model: Any) -> None:
    """Raises ValueError unless `model` is a Model, for which others are taken.

    An attribute without a hash is named, as by `check_recipe`.
    """
    came = kind_of(model)
    made = "as jaxae.fit(...).model or jaxae.load(...) gives one"
    ensure(isinstance(model, Model), f"model must be a Model, {made}, got {came}")
    try:
        hash(model.recipe)  # ten times as fast as to look for what has none
    except TypeError:
        check_hashable("model.recipe", model.recipe)


def check_recipe(recipe: Any) -> None:
    """Raises ValueError unless `recipe` is a Recipe that programs can be compiled for.

    An attribute without a hash, as a list in a module of the user's own, is named.
    """
    came = kind_of(recipe)
    made = "as jaxae.recipes.vae((28, 28, 1)) makes one"
    ensure(isinstance(recipe, Recipe), f"recipe must be a Recipe, {made}, got {came}")
    check_hashable("recipe", recipe)


def check_data(recipe: Recipe, data: Any, name: str) -> dict[str, Any]:
    """Data for training or evaluation as {"x": ...} and what else there is.

    Args:
        recipe: Says what the examples must look like.
        data: An array [n, *shape] or a mapping with one as "x", see `FIELDS`; or
            `jaxae.Shards`, which are read whole in their order.
        name: What the caller calls the argument.

    Returns:
        Arrays of the host, with zeros where x is missing.

    Raises:
        ValueError: The shape, the dtype or a value is not as the recipe needs it.
    """
    fields = as_fields(recipe, data, name)
    x, missing = split_missing(fields.pop("x"), fields.pop("missing", None), name)
    x = check_examples(recipe.module.shape, x, name)
    checked = {"x": unrounded(recipe, x)}
    view = recipe.module.view
    own = type(recipe.module).__name__
    whole = f"{name} must be known whole: {own} of {view!r} takes no missing values"
    ensure(missing is None or recipe.module.takes_missing, whole)
    if missing is not None:
        checked["missing"] = check_mask(missing, x.shape, f"{name}['missing']")
    _check_own_inputs(recipe, fields, name)
    if "inputs" in fields:
        own, shape = f"{name}['inputs']", recipe.module.shape_seen
        checked["inputs"] = check_examples(shape, fields.pop("inputs"), own, _OF_X)
        _check_count(checked["inputs"], len(checked["x"]), own)
        check_scalable(recipe, checked["inputs"], own)
        if not isinstance(checked["inputs"], Tracer):
            seen = checked["inputs"]
            low, high = as_levels(np.array([seen.min(), seen.max()]))
            warn_if_unscaled(recipe, low, high, own)
    for field, values in fields.items():
        values = _check_side_field(recipe, values, len(checked["x"]), field, name)
        checked |= {} if values is None else {field: values}
    for field in view.fields:
        shown = f"{name} must have {field!r}, which the model is shown"
        ensure(field in checked, f"{shown}, got {sorted(checked)}")
    if not isinstance(checked["x"], Tracer):
        known = None if missing is None else ~checked["missing"]
        check_values(recipe, checked["x"], name, known)
    return checked


FIELDS = {
    "x": "what the model explains, [n, *shape]",
    "inputs": "what the encoder sees in place of x, [n, *input_shape]",
    "missing": "True where x is not known, of its shape or one channel; or 'nan'",
    "label": "anything [n, ...], which is carried along where nothing needs it",
    "weight": "how often each example counts, [n]",
}
"""The arrays that data may have, beside those that a view declares."""


def as_fields(recipe: Recipe, data: Any, name: str) -> dict[str, Any]:
    """Data as a mapping with "x" and fields that are known.

    Raises:
        ValueError: They are a tuple, which says nothing of what is what, or have no
            "x", or a field that nobody knows.
    """
    pair = "a mapping says which array is what: {'x': ..., 'inputs': ...} for pairs of "
    pair += "clean and damaged, {'x': ..., 'label': ...} for labels"
    ensure(not isinstance(data, tuple), f"{name} must not be a tuple: {pair}")
    if rows := shard_rows(data):
        data = {field: values[:] for field, values in rows.items()}
    fields = dict(data) if isinstance(data, Mapping) else {"x": data}
    ensure("x" in fields, f"{name} must have an 'x', got {sorted(map(str, fields))}")
    known = {**FIELDS, **recipe.module.view.fields}
    for field in fields:
        ensure(field in known, unknown(f"every field of {name}", field, known))
    return fields


def shard_rows(data: Any) -> Mapping[str, Any] | None:
    """What `jaxae.Shards` read their fields from, by slices of rows; None of others."""
    rows = getattr(data, "rows", None)
    return rows if isinstance(rows, Mapping) else None


def _check_own_inputs(recipe: Recipe, fields: Mapping[str, Any], name: str) -> None:
    shape, seen = recipe.module.shape, recipe.module.shape_seen
    needed = f"{name} must have 'inputs' of shape {seen} for each example, got {{}}"
    same = shape == seen or "inputs" in fields
    ensure(same, needed.format(["x", *fields]))
    came = getattr(fields.get("inputs"), "shape", (0, *seen))
    own, other = type(recipe.module).__name__, came[1:] != seen and len(came) > 1
    kind = f"{name}['inputs'] must be of shape [n, {', '.join(map(str, seen))}], "
    kind += f"that of x, the only one that a {own} sees, got {came}"
    ensure(not other or hasattr(recipe.module, "input_shape"), kind)


def _check_count(values: Any, count: int, name: str) -> None:
    came = np.shape(values)
    require(came[:1] == (count,), name, came, f"a row for each of {count} examples")


def abstract_batch(recipe: Recipe) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a batch of two examples."""
    shapes = {"x": recipe.module.shape, "inputs": recipe.module.shape_seen}
    floats = {k: jax.ShapeDtypeStruct((2, *v), jnp.float32) for k, v in shapes.items()}
    return {**floats, **abstract_fields(recipe.module, 2)}


def abstract_fields(family: Family, count: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of what a family is shown of `count` examples, by name."""
    return {
        name: jax.ShapeDtypeStruct(
            (count, *form.shape), jnp.int32 if form.categories else jnp.float32
        )
        for name, form in family.view.fields.items()
    }


def _check_side_field(
    recipe: Recipe, values: Any, count: int, field: str, name: str
) -> Any:
    """A weight, a condition or a label; None for labels that no device takes."""
    own = f"{name}[{field!r}]"
    if field == "weight":
        return check_weight(values, count, own)
    if form := recipe.module.view.fields.get(field):
        return check_condition(values, form, count, own)
    try:
        values = as_array(values, own)
    except ValueError:  # lists of unequal lengths, a mask: nothing looks at them
        if callable(values):
            raise
        rows = values if hasattr(values, "shape") else range(len(values))
        _check_count(rows, count, own)
        return None
    _check_count(values, count, own)
    if values.dtype.kind in "iu":
        return values.astype(np.int32)
    return values if is_number(values.dtype) else None


def check_conditions(
    recipe: Recipe,
    given: Mapping[str, Any],
    count: int,
    *parts: Part,
    forms: Mapping[str, Field] | None = None,
) -> dict[str, Any]:
    """What these are shown of `count` examples; of any other there is nothing.

    `forms` are in place of those that the view declares.

    Raises:
        ValueError: One is missing, not asked for, or not as it is declared.
    """
    fields = recipe.module.view.fields
    there = {name: values for name, values in given.items() if values is not None}
    for name in there:
        shown = ", ".join(fields) or "nothing beside x"
        left_out = f"{name} must be left out: the model is shown {shown}"
        ensure(name in fields, f"{left_out}{did_you_mean(name, fields)}")
    needed = recipe.module.view.shown_to(*parts) | dict(forms or {})
    for name in needed:
        ensure(name in there, f"{name} must be given: one for each of {count} examples")
    return {k: check_condition(there[k], form, count, k) for k, form in needed.items()}


_OF_X = "'missing' is said of x alone: fill in their gaps, as by numpy.nan_to_num"
