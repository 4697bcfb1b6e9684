"""The scale of the data, estimated before training where a recipe asks for it."""

from itertools import chain
from typing import Any

import numpy as np

from jaxae.errors import ensure
from jaxae.inputs import as_fields, check_examples, check_weight, split_missing
from jaxae.preparation import Scale, as_levels, unfitted
from jaxae.recipe import Recipe
from jaxae.training.placement import Share
from jaxae.training.runners import as_batch, first_batch, is_array_data


def fit_scale(recipe: Recipe, data: Any, done: int = 0) -> tuple[Recipe, Any]:
    """The recipe with a scale that is known, and data that are still whole.

    Args:
        recipe: Any; only one whose preparation is a `Scale` without numbers changes.
        data: As for `fit`. Of batches the first one says what the scale is.
        done: Steps done, of which data may be a function.

    Raises:
        ValueError: The data, or their first batch, say nothing of a scale.
    """
    scale = recipe.prepare
    if not isinstance(scale, Scale) or scale.fitted:
        return recipe, data
    first = data
    if not is_array_data(data):
        first, data = _peeked(data(done) if callable(data) else data, data)
    whole = "prepare must be fitted where hosts have a share each: give prepare.of(x)"
    ensure(not isinstance(first, Share), whole)
    fields = as_fields(recipe, as_batch(first), "data")
    x, missing = split_missing(fields["x"], fields.get("missing"), "data")
    x, weight = check_examples(recipe.module.shape, x, "data"), fields.get("weight")
    if weight is not None:
        weight = check_weight(weight, len(x), "data['weight']")
    known = x
    if missing is not None:
        # Bytes become k/255 before they are scaled, and have no NaN themselves.
        known = np.where(missing, np.nan, np.asarray(as_levels(x), np.float32))
    return recipe.replace(prepare=scale.of(known, weight)), data


def with_scale_of(recipe: Recipe, earlier: Recipe) -> Recipe:
    """The recipe with the scale of a training that it goes on with, if it has none."""
    scale, known = recipe.prepare, earlier.prepare
    same = unfitted(scale) and type(scale) is type(known)
    return recipe.replace(prepare=known) if same else recipe


def _peeked(batches: Any, data: Any) -> tuple[Any, Any]:
    """The first batch, and data that have it still."""
    first, stream = first_batch(batches)
    if callable(data) or stream is not batches:  # either starts anew
        return first, data
    return first, chain([first], stream)
