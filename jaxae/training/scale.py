"""The scale of the data, estimated before training where a recipe asks for it."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from jaxae.errors import ArgumentError, ensure
from jaxae.inputs import (
    as_array,
    as_fields,
    check_examples,
    check_mask,
    check_rows,
    check_weight,
    split_missing,
)
from jaxae.preparation import Scale, as_levels, unfitted
from jaxae.recipe import Recipe
from jaxae.training.placement import Share
from jaxae.training.runners import as_batch, called, first_batch, is_array_data


def fit_scale(recipe: Recipe, data: Any, done: int = 0) -> tuple[Recipe, Any]:
    """The recipe with a scale that is known, and data that are still whole.

    Args:
        recipe: Any; only one whose preparation is a `Scale` without numbers changes.
        data: As for `fit`. Of batches the first one says what the scale is; of `Shards`
            all of their examples.
        done: Steps done, of which data may be a function.

    Raises:
        ValueError: The data, or their first batch, say nothing of a scale.
    """
    scale = recipe.prepare
    if not isinstance(scale, Scale) or scale.fitted:
        return recipe, data
    first = getattr(data, "rows", data) if callable(data) else data
    if not is_array_data(first):
        first, data = _peeked(called(data, done) if callable(data) else data, data)
    whole = "prepare must be fitted where hosts have a share each: give prepare.of(x)"
    ensure(not isinstance(first, Share), whole)
    fields = as_fields(recipe, as_batch(first), "data")
    known, weight = _Known(recipe, fields), fields.get("weight")
    if weight is not None:
        weight = _as_rows(weight, "data['weight']")
        weight = check_weight(weight[:], len(known), "data['weight']")
    return recipe.replace(prepare=scale.of(known, weight)), data


class _Known:
    """x of data [n, *shape] by slices of rows, as an array would: NaN where missing."""

    def __init__(self, recipe: Recipe, fields: Mapping[str, Any]) -> None:
        self._shape, self._x = recipe.module.shape, _as_rows(fields["x"], "data")
        missing = fields.get("missing")
        word = missing is None or isinstance(missing, str)
        self._missing: Any = missing if word else _as_rows(missing, "missing")
        check_rows(self._shape, self._x.shape, "data")
        if hasattr(self._missing, "shape") and self._missing.shape[:1] != (len(self),):
            check_mask(self._missing, self._x.shape, "missing")

    def __len__(self) -> int:
        return self._x.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        try:
            return self._known(rows)
        except ArgumentError:  # which says how many of all values are wrong
            return self._known(slice(None))

    def _known(self, rows: slice) -> np.ndarray:
        missing = self._missing
        missing = missing if isinstance(missing, str | None) else missing[rows]
        x, missing = split_missing(self._x[rows], missing, "data")
        # A few rows of bytes may be so dark that they could be no levels.
        x = x if x.dtype == np.uint8 else check_examples(self._shape, x, "data")
        if missing is None:
            return x
        # Bytes become k/255 before they are scaled, and have no NaN themselves.
        return np.where(missing, np.nan, np.asarray(as_levels(x), np.float32))


def _as_rows(values: Any, name: str) -> Any:
    """Numbers as an array, or what is read from the disk, as it is."""
    read = hasattr(values, "shape") and hasattr(values, "__getitem__")
    return values if read else as_array(values, name)


def with_scale_of(recipe: Recipe, earlier: Recipe) -> Recipe:
    """The recipe with the scale of what it goes on with, if it has none itself."""
    scale, known = recipe.prepare, earlier.prepare
    same = unfitted(scale) and type(scale) is type(known)
    same = same and earlier.module.shape == recipe.module.shape
    return recipe.replace(prepare=known) if same else recipe


def _peeked(batches: Any, data: Any) -> tuple[Any, Any]:
    """The first batch, and data that have it still."""
    first, stream = first_batch(batches)
    if callable(data) or stream is not batches:  # either starts anew
        return first, data
    return first, chain([first], stream)
