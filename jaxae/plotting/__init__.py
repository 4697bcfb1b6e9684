"""Pictures of training and of what a model does, as matplotlib figures.

No function shows or keeps a figure: save it with `figure.savefig("codes.png")`; a
notebook displays it after `%matplotlib inline`. Images are [n, h, w, c], bytes or
floats whose range [0, 1] goes from black to white; what lies outside is clipped. One
channel is shown as grey, three as red, green and blue, any other number by its mean.
Small images are enlarged by a whole factor, so that every pixel is a sharp square.
"""

from jaxae.errors import importing

with importing("pictures are drawn by matplotlib: pip install 'jaxae[plot]'"):
    import matplotlib as _matplotlib  # noqa: F401  # pyright: ignore[reportUnusedImport]

from jaxae.plotting.codes import (
    MAX_CLASSES,
    code_scatter,
    code_usage,
    latent_plane,
    principal_components,
)
from jaxae.plotting.curves import learning_curves
from jaxae.plotting.images import (
    image_grid,
    image_pairs,
    image_rows,
    restoration_grid,
    traversal,
    walk,
)
from jaxae.plotting.style import DPI

__all__ = [
    "DPI",
    "MAX_CLASSES",
    "code_scatter",
    "code_usage",
    "image_grid",
    "image_pairs",
    "image_rows",
    "latent_plane",
    "learning_curves",
    "principal_components",
    "restoration_grid",
    "traversal",
    "walk",
]
