"""Pictures of one shape each, drawn when they are asked for, whose factors are known.

Made like dSprites (Matthey et al. 2017), but not dSprites: smaller, fewer and with soft
edges. https://github.com/google-deepmind/dsprites-dataset. White on black, every
combination of `FACTORS` once. At one scale all shapes have the same area; they turn and
move by their centres of mass. They turn over the angle after which each looks as
before, a quarter of a turn for the square, a half for the ellipse and a whole one for
the heart, so that no picture is there twice; those of dSprites turn once around.
"""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from train.data.images import Size, as_images
from train.data.types import Source, Split

FACTORS = {"shape": 3, "scale": 6, "rotation": 12, "x": 8, "y": 8}
"""The columns of the labels with the number of their values, 0, 1, ...

x grows to the right, y downwards; the shapes turn to the left.
"""

SIDE = 32
VERSION = 1  # of what is drawn: a new one makes cache entries again

# In pixels: the side of a square by its scale, from the border to the first centre, and
# from one to the next.
SIZES, FIRST, STEP = range(6, 12), 9, 2
SAMPLES = 16  # along each side of a pixel

Points = Float[np.ndarray, "h w"]
Inside = Callable[[Points, Points], Bool[np.ndarray, "h w"]]
"""x to the right and y upwards from the centre of mass -> within a shape of area 1."""


def shapes_source(size: Size | None) -> Source:
    """13,824 pictures of 32 x 32 x 1 levels, with labels [n, 5] as in `FACTORS`."""
    return Source("shapes", ["shapes", VERSION], lambda: {"train": _draw(size)})


def _draw(size: Size | None) -> Split:
    labels = np.array([*itertools.product(*map(range, FACTORS.values()))], np.int32)
    _, _, turns, *positions = FACTORS.values()
    images = [
        _placed(picture, *position)
        for inside, period in ((_square, 0.25), (_ellipse, 0.5), (_heart, 1.0))
        for scale in SIZES
        for turn in range(turns)
        for picture in [_centred(inside, scale, 2 * np.pi * period * turn / turns)]
        for position in itertools.product(*map(range, positions))
    ]
    return Split(as_images(np.stack(images), "shapes", size), labels)


def _centred(inside: Inside, scale: float, angle: float) -> UInt8[np.ndarray, "h w"]:
    """A shape in the middle of a picture so large that all positions can be cut out.

    Every pixel has the share of its samples that are inside.
    """
    side = 2 * FIRST  # of what a shape may cover
    line = (np.arange(side * SAMPLES) + 0.5) / SAMPLES - FIRST
    x, y = np.meshgrid(line / scale, -line / scale)
    cos, sin = np.cos(angle), np.sin(angle)
    within = inside(cos * x + sin * y, cos * y - sin * x)
    cover = within.reshape(side, SAMPLES, side, SAMPLES).mean(axis=(1, 3))
    return np.pad(np.round(255 * cover).astype(np.uint8), SIDE - side)


def _placed(
    picture: UInt8[np.ndarray, "h w"], x: int, y: int
) -> UInt8[np.ndarray, "side side"]:
    """Cut out so that the shape's centre is at a position."""
    left, top = (SIDE - 2 * FIRST - STEP * place for place in (x, y))
    return picture[top : top + SIDE, left : left + SIDE]


def _square(x: Points, y: Points) -> Bool[np.ndarray, "h w"]:
    return np.maximum(np.abs(x), np.abs(y)) < 0.5


def _ellipse(x: Points, y: Points) -> Bool[np.ndarray, "h w"]:
    """Twice as long as it is high."""
    return np.pi * (x**2 / 2 + 2 * y**2) < 1


def _heart(x: Points, y: Points) -> Bool[np.ndarray, "h w"]:
    """A square on its corner, with discs on the upper sides as on a diameter."""
    side = 1 / np.sqrt(1 + np.pi / 4)
    # The halves of the discs that stick out, of centroid 4 r / 3 π above the diameter.
    lobes = np.pi / 4 * side**2
    y = y + lobes * (side / 2) * (1 + 4 / (3 * np.pi)) / np.sqrt(2)
    a, b = (x + y) / np.sqrt(2), (y - x) / np.sqrt(2)
    half = side / 2
    square = np.maximum(np.abs(a), np.abs(b)) < half
    discs = [(a - half) ** 2 + b**2, a**2 + (b - half) ** 2]
    return square | (np.minimum(*discs) < half**2)
