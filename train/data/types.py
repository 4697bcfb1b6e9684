"""What a data set is, and the one exception for everything that is wrong with one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:  # data are read without JAX
    import jaxae

PARTS = ("train", "validation", "test")


class DataError(ValueError):
    """The data cannot be used; the message names the file and what was expected."""


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
        images: [n, h, w, c], or vectors [n, d]; uint8 levels 0..255, or finite float32.
        labels: [n] int32, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None = None


class Dataset(NamedTuple):
    """A data set in three parts, all of one image shape and type."""

    name: str
    train: Split
    validation: Split
    test: Split

    def splits(self) -> dict[str, Split]:
        """The three parts by name."""
        return {part: getattr(self, part) for part in PARTS}


def examples(recipe: "jaxae.Recipe", split: Split) -> dict[str, np.ndarray]:
    """What a recipe is trained and judged on: the labels only if it is shown them."""
    fields = {"x": split.images}
    if "label" in recipe.model.view.needs and split.labels is not None:
        fields["label"] = split.labels
    return fields


def label_argument(
    recipe: "jaxae.Recipe", split: Split, count: int | None = None
) -> dict[str, Any]:
    """The keyword argument for models that are shown labels, of the first examples."""
    fields = examples(recipe, split)
    return {"label": fields["label"][:count]} if "label" in fields else {}


class Source(NamedTuple):
    """Where images come from.

    Attributes:
        name: A short name for people.
        identity: JSON values that change whenever the images may have changed.
        read: Reads and decodes everything: "train" and, where the source itself has
            them, "validation" and "test".
    """

    name: str
    identity: Any
    read: Callable[[], dict[str, Split]]
