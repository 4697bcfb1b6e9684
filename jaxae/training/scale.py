"""The scale of the data, estimated before training where a recipe asks for it."""

from itertools import chain
from typing import Any

import numpy as np

from jaxae.inputs import as_fields, split_missing
from jaxae.preparation import Scale
from jaxae.recipe import Recipe
from jaxae.training.runners import as_batch, first_batch, is_array_data


def fit_scale(recipe: Recipe, data: Any, done: int = 0) -> tuple[Recipe, Any]:
    """The recipe with a scale that is known, and data that are still whole.

    Args:
        recipe: Any; only one whose preparation is a `Scale` without numbers changes.
        data: As for `fit`. Of batches the first one says what the scale is.
        done: Steps done, of which data may be a function.
    """
    scale = recipe.prepare
    if not isinstance(scale, Scale) or scale.fitted:
        return recipe, data
    first = data
    if not is_array_data(data):
        first, data = _peeked(data(done) if callable(data) else data, data)
    fields = as_fields(recipe, as_batch(first), "data")
    x, missing = split_missing(fields["x"], fields.get("missing"), "data")
    known = x
    if missing is not None:
        # Bytes become k/255 before they are scaled, and have no NaN themselves.
        levels = x / np.float32(255) if x.dtype == np.uint8 else x
        known = np.where(missing, np.nan, np.asarray(levels, np.float32))
    return recipe.replace(prepare=scale.of(known, fields.get("weight"))), data


def _peeked(batches: Any, data: Any) -> tuple[Any, Any]:
    """The first batch, and data that have it still."""
    first, stream = first_batch(batches)
    if callable(data) or stream is not batches:  # either starts anew
        return first, data
    return first, chain([first], stream)
