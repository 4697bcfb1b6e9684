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

from jaxae.plotting.codes import MAX_CLASSES as MAX_CLASSES
from jaxae.plotting.codes import code_scatter as code_scatter
from jaxae.plotting.codes import code_usage as code_usage
from jaxae.plotting.codes import latent_plane as latent_plane
from jaxae.plotting.codes import principal_components as principal_components
from jaxae.plotting.curves import learning_curves as learning_curves
from jaxae.plotting.images import image_grid as image_grid
from jaxae.plotting.images import image_pairs as image_pairs
from jaxae.plotting.images import image_rows as image_rows
from jaxae.plotting.images import restoration_grid as restoration_grid
from jaxae.plotting.images import walk as walk
from jaxae.plotting.style import DPI as DPI
