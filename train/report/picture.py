"""What a picture of a report is, and how many images and codes it shows."""

from typing import Any, NamedTuple

from jaxtyping import Array, PyTree
from matplotlib.figure import Figure

import jaxae
from train.data.types import Split, examples

# Images side by side, and rows of samples and of walks. One number for all, since every
# further number of images that are encoded or decoded has to be compiled.
SIDE = 10
MAX_CODES = 5_000


class Picture(NamedTuple):
    """A figure with the name of its file and what the page says of it."""

    name: str
    title: str
    caption: str
    figure: Figure


def labels_of(model: jaxae.Model, test: Split, count: int) -> dict[str, Any]:
    """As keyword arguments, for models that are shown them."""
    fields = examples(model.recipe, test)
    return {"label": fields["label"][:count]} if "label" in fields else {}


def encoded(model: jaxae.Model, test: Split, count: int) -> PyTree[Array]:
    """The codes of the first images."""
    labels = labels_of(model, test, count)
    return jaxae.encode(model, test.images[:count], **labels)
