"""Pictures of any size, repaired by a model of a smaller one."""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxae.checks import check_count
from jaxae.errors import ensure, require
from jaxae.inference.base import CHUNK
from jaxae.inference.repairing import repair
from jaxae.inputs import (
    check_conditions,
    check_examples,
    check_model,
    split_missing,
)
from jaxae.preparation import Scale, as_levels, binarize, unit_interval
from jaxae.recipe import Model
from jaxae.views import BOTH

Place = tuple[int, slice, slice, np.ndarray]
"""A tile: the picture, its rows, its columns, and what each pixel counts, [h, w, 1]."""


def repair_in_tiles(
    model: Model,
    x: Any,
    *,
    overlap: int | None = None,
    missing: Any = None,
    fill: float = 0.0,
    **conditions: Any,
) -> Float[Array, "n h w c"]:
    """Repairs pictures of any size, tile by tile, each of the size of the model's.

    The tiles cover a picture evenly and overlap; where they do, their results are
    averaged by weights that fall as sin² towards the edge of a tile, where a network
    has seen one side alone, and sum to one. A picture smaller than a tile is reflected
    at its edges.

    Args:
        model: A denoising or an inpainting model of pictures.
        x: [n, h, w, c], damaged, all of one size, which may be any.
        overlap: Of neighbouring tiles at least, in pixels, below the sides of a tile;
            a quarter of the shorter side unless given.
        missing: As for `repair`, of the size of x. Only what is missing is changed.
        fill: As for `repair`.
        **conditions: As for `encode`, one for every picture, which all of its tiles
            are shown; those that are pictures of the model's size are cut as x is.

    Returns:
        As `repair`: floats, levels k/255 for bytes.

    Raises:
        ValueError: The model is not one of pictures, x has other channels or is not as
            the model needs it, or the tiles cannot overlap so far.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 8, 8, 1), np.float32)
        >>> recipe = jaxae.recipes.denoising_autoencoder((8, 8, 1), latent_dim=8)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.repair_in_tiles(model, np.zeros((2, 30, 21, 1), np.float32)).shape
        (2, 30, 21, 1)
    """
    check_model(model)
    ensure(
        not isinstance(x, Tracer), "x must be outside of jax.jit, to be cut in tiles"
    )
    x, missing = split_missing(x, missing, "x")
    sides, overlap = _check_tiles(model, overlap)
    x = _check_pictures(model, x)
    count, *size, _ = x.shape
    before = [max(0, tile - own) // 2 for tile, own in zip(sides, size, strict=True)]
    padded = _levels(model, _reflected(x, sides, before))
    hole = None if missing is None else _reflected(missing, sides, before)
    rows, columns = (
        _cut(length, side, overlap)
        for length, side in zip(padded.shape[1:3], sides, strict=True)
    )
    places = [
        (i, row, column, np.outer(a, b)[..., None])
        for i, (row, a), (column, b) in product(range(count), rows, columns)
    ]
    shown, cut = _conditions(model, conditions, x.shape[:3])
    cut = {name: _reflected(each, sides, before) for name, each in cut.items()}
    made = np.zeros(padded.shape, np.float32)
    for block in _blocks(places):
        pictures = np.asarray([i for i, *_ in block])
        own = {name: values[pictures] for name, values in shown.items()}
        own |= {name: _taken(values, block) for name, values in cut.items()}
        gaps = None if hole is None else _taken(hole, block)
        tiles = repair(model, _taken(padded, block), missing=gaps, fill=fill, **own)
        for (i, row, column, weight), tile in zip(
            block, np.asarray(tiles), strict=True
        ):
            made[i, row, column] += weight * tile
    top, left = before
    made = made[:, top : top + size[0], left : left + size[1]]
    if missing is not None:
        # Not blended, which would round them.
        made = np.where(missing, made, _levels(model, x))
    return jax.device_put(made)


def _check_tiles(model: Model, overlap: int | None) -> tuple[tuple[int, int], int]:
    """The sides of a tile, and by how much tiles overlap at least."""
    shape, seen = model.module.shape, model.module.shape_seen
    image = len(shape) == 3 and model.module.sees_x
    ensure(image, f"model must be one from pictures to such, got {seen} to {shape}")
    shorter = min(shape[:2])
    if overlap is None:
        return (shape[0], shape[1]), shorter // 4
    check_count("overlap", overlap, least=0)
    require(overlap < shorter, "overlap", overlap, f"below {shorter}, a side of a tile")
    return (shape[0], shape[1]), overlap


def _conditions(
    model: Model, given: Mapping[str, Any], size: tuple[int, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of whole pictures [n, ...], and those that are cut as they are."""
    count, *own = size
    sides, needed = model.module.shape[:2], model.module.view.shown_to(*BOTH)
    forms = {
        name: form._replace(shape=(*own, form.shape[2]))
        for name, form in needed.items()
        if len(form.shape) == 3 and form.shape[:2] == sides
    }
    shown = check_conditions(model.recipe, given, count, *BOTH, forms=forms)
    return shown, {name: shown.pop(name) for name in forms}


def _check_pictures(model: Model, x: Any) -> Any:
    """Pictures [n, h, w, c] with the channels of the model's."""
    channels = model.module.shape[-1]
    right = x.ndim == 4 and x.shape[-1] == channels
    require(right, "x", x.shape, f"of shape [n, h, w, {channels}]")
    return check_examples(x.shape[1:], x)


def _levels(model: Model, x: np.ndarray) -> np.ndarray:
    """Bytes as levels k/255, unless a preparation of the user's own takes them.

    Of a dark tile alone one could not tell whether its bytes are levels.
    """
    prepare = model.recipe.prepare
    known = (
        prepare is unit_interval or prepare is binarize or isinstance(prepare, Scale)
    )
    return as_levels(x) if known else x


def _reflected(
    values: np.ndarray, sides: tuple[int, int], before: list[int]
) -> np.ndarray:
    """Pictures of at least these sides, with so much of what is added before them."""
    pads = [
        (own, max(0, side - length) - own)
        for own, side, length in zip(before, sides, values.shape[1:3], strict=True)
    ]
    return np.pad(values, [(0, 0), *pads, (0, 0)], mode="reflect")


def _cut(length: int, side: int, overlap: int) -> list[tuple[slice, np.ndarray]]:
    """Tiles along an axis at even distances, and their weights, which sum to one."""
    count = 1 + math.ceil((length - side) / (side - overlap))
    starts = np.linspace(0, length - side, count).round().astype(int)
    shared = side - np.diff(starts).max(initial=0) if count > 1 else 0
    steps = (np.arange(side) + 0.5) / max(shared, 0.5)
    rise = np.sin(np.pi / 2 * np.minimum(1.0, steps)) ** 2
    window = rise * rise[::-1]
    tiles = [slice(start, start + side) for start in starts.tolist()]
    total = np.zeros(length)
    for tile in tiles:
        total[tile] += window
    return [(tile, (window / total[tile]).astype(np.float32)) for tile in tiles]


def _blocks(places: list[Place]) -> Iterator[list[Place]]:
    """In blocks of one size but for the last, so that few programs are compiled."""
    size = math.ceil(len(places) / math.ceil(len(places) / CHUNK))
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _taken(values: np.ndarray, places: list[Place]) -> np.ndarray:
    """The tiles [t, h, w, c] at these places."""
    return np.stack([values[i, row, column] for i, row, column, _ in places])
