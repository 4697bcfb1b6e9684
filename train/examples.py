"""The fields of a data set that a recipe is trained and judged on."""

from collections.abc import Mapping
from typing import Any, overload

import numpy as np

import jaxae
from train.data import LazySplit, Split
from train.data.rows import LazyRows, Rows


@overload
def examples(recipe: jaxae.Recipe, split: Split) -> dict[str, np.ndarray]: ...


@overload
def examples(
    recipe: jaxae.Recipe, split: Split | LazySplit
) -> dict[str, Rows | LazyRows]: ...


def examples(
    recipe: jaxae.Recipe, split: Split | LazySplit
) -> Mapping[str, Rows | LazyRows]:
    """What a recipe is trained and judged on: the labels only if it is shown them."""
    fields: dict[str, Any] = {"x": split.images}
    if "label" in recipe.module.view.needs and split.labels is not None:
        fields["label"] = split.labels
    return fields


def label_argument(
    recipe: jaxae.Recipe, split: Split, count: int | None = None
) -> dict[str, Any]:
    """The keyword argument for models that are shown labels, of the first examples."""
    fields = examples(recipe, split)
    return {"label": fields["label"][:count]} if "label" in fields else {}
