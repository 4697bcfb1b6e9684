"""The fields of a data set that a recipe is trained and judged on."""

from collections.abc import Mapping
from typing import Any, overload

import numpy as np

import jaxae
from train.config import Config
from train.data import Dataset, LazySplit, Split, load
from train.data.rows import LazyRows, Rows


def configured(config: Config) -> Dataset:
    """The data that the options name.

    Raises:
        DataError: They cannot be used.
    """
    return load(
        config.data,
        inputs=config.inputs,
        missing=config.missing,
        image_size=config.image_size,
        stream=config.stream,
    )


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
    if isinstance(split, Split):
        beside = {
            name: getattr(split, name) for name in ("inputs", "missing", "weight")
        }
        fields |= {
            name: values for name, values in beside.items() if values is not None
        }
    return fields


def seen(
    recipe: jaxae.Recipe, split: Split, count: int | None = None
) -> dict[str, Any]:
    """The arguments of `jaxae.encode` for the first examples."""
    fields = examples(recipe, split.head(count) if count else split)
    if "inputs" in fields:  # which are known whole
        fields |= {"x": fields.pop("inputs")}
        fields.pop("missing", None)
    return {k: v for k, v in fields.items() if k != "weight"}


def label_argument(
    recipe: jaxae.Recipe, split: Split, count: int | None = None
) -> dict[str, Any]:
    """The keyword argument for models that are shown labels, of the first examples."""
    fields = examples(recipe, split)
    return {"label": fields["label"][:count]} if "label" in fields else {}
