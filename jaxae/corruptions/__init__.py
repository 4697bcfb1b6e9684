"""Damage for denoising and inpainting: values that are functions of a key and x.

A corruption maps (key, x) to (damaged x, mask). `x` is a batch [b, ...]. The mask is
True where a value was removed (holes, dropped entries), has the shape [b, h, w, 1] or
that of `x`, and is None for damage that leaves no entry out, such as noise. Any
function like that is one too; a `Corruption` can also be printed, compared and saved.
"""

from jaxae.corruptions.base import Compose, Corruption, fill_in, identity
from jaxae.corruptions.holes import Holes, box_mask
from jaxae.corruptions.noise import GaussianNoise, Masking, SaltAndPepper
from jaxae.corruptions.patches import Patches, check_grid

__all__ = [
    "Compose",
    "Corruption",
    "GaussianNoise",
    "Holes",
    "Masking",
    "Patches",
    "SaltAndPepper",
    "box_mask",
    "check_grid",
    "fill_in",
    "identity",
]
