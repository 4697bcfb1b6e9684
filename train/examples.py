"""The fields of a data set that a recipe is trained and judged on."""

from collections.abc import Mapping
from typing import Any, overload

import numpy as np

import jaxae
from jaxae.streaming.batches import Rows
from train.config import Config
from train.data import Dataset, LazySplit, Split, load
from train.data.rows import LazyRows


def configured(config: Config) -> Dataset:
    """The data that the options name.

    Raises:
        DataError: They cannot be used.
    """
    return load(
        config.data,
        inputs=config.inputs,
        missing=config.missing,
        conditions=config.model.arrays,
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
        fields |= split.conditions
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


def shown_beside(
    recipe: jaxae.Recipe, split: Split, count: int | None = None
) -> dict[str, Any]:
    """The keyword arguments of what a model is shown beside x, of the first examples.

    The same again where there are fewer than `count`.
    """
    fields, shown = examples(recipe, split), recipe.module.view.fields
    rows = np.arange(count or len(split.images)) % len(split.images)
    return {name: fields[name][rows] for name in shown if name in fields}
