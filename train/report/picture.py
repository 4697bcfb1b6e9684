"""What a picture of a report is, and how many images and codes it shows."""

from typing import NamedTuple

from jaxtyping import Array, PyTree
from matplotlib.figure import Figure

import jaxae
from train.data.types import Split
from train.examples import seen

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


def encoded(model: jaxae.Model, test: Split, count: int) -> PyTree[Array]:
    """The codes of the first images."""
    return jaxae.encode(model, **seen(model.recipe, test, count))
