"""Damage for denoising and inpainting: values that are functions of a key and x.

A corruption maps (key, x) to (damaged x, mask). `x` is a batch [b, ...]. The mask is
True where a value was removed (holes, dropped entries), has the shape [b, h, w, 1] or
that of `x`, and is None for damage that leaves no entry out, such as noise. Any
function like that is one too; a `Corruption` can also be printed, compared and saved.
"""

from jaxae.corruptions.base import Compose as Compose
from jaxae.corruptions.base import Corruption as Corruption
from jaxae.corruptions.base import fill_in as fill_in
from jaxae.corruptions.base import identity as identity
from jaxae.corruptions.holes import Holes as Holes
from jaxae.corruptions.holes import box_mask as box_mask
from jaxae.corruptions.noise import GaussianNoise as GaussianNoise
from jaxae.corruptions.noise import Masking as Masking
from jaxae.corruptions.noise import SaltAndPepper as SaltAndPepper
from jaxae.corruptions.patches import Patches as Patches
from jaxae.corruptions.patches import check_grid as check_grid
