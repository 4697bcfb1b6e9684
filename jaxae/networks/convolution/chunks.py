"""A batch in chunks of examples, so that what is made of them stays in the cache."""

from __future__ import annotations  # help() shows names, not types

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxae.networks.convolution.geometry import Geometry
from jaxae.networks.convolution.varying import vary_alike

CACHE = 2**19
"""Numbers that stay in the cache from one product with them to the next."""
TOO_LARGE = 16 * CACHE
"""Numbers from which on products of all examples at once are too many."""
WORTH_A_LOOP = 4e6
"""Operations of a step from which on it may be one of a loop."""
DEVICES = 8
"""Examples that chunks are multiples of: this many devices, or 2 or 4, share them."""


def sum_over_chunks(
    form: Callable[[Array, Array, Geometry], Array],
    numbers: int,
    x: Array,
    y: Array,
    geometry: Geometry,
) -> Array:
    """The sum over chunks of the batch, for a form that handles `numbers` a pixel."""
    at_once = _chunk(x, y, numbers, geometry)
    if at_once is None:
        return form(x, y, geometry)
    whole = y.shape[0] // at_once * at_once
    rest = (x[whole:], y[whole:]) if whole < y.shape[0] else None
    x, y = (_divide(images[:whole], at_once) for images in (x, y))

    def add(total: Array, i: Array) -> tuple[Array, None]:
        return total + form(_take(x, i), _take(y, i), geometry), None

    kernel = jax.eval_shape(lambda: form(x[:, 0], y[:, 0], geometry))
    none = jnp.zeros(kernel.shape, kernel.dtype)
    first = vary_alike(none, x, y)[0] if rest is None else form(*rest, geometry)
    return lax.scan(add, first, jnp.arange(x.shape[1]))[0]


def _chunk(x: Array, y: Array, numbers: int, geometry: Geometry) -> int | None:
    """Examples at a time, of whose pixels so many `numbers` each stay in the cache.

    None: all at once.
    """
    b, m, n, o = y.shape
    pixels = max(1024, CACHE // numbers)
    work = 2 * pixels * math.prod(geometry.kernel) * x.shape[3] * o
    # In jax.export the number may be symbolic.
    if not isinstance(b, int) or work < WORTH_A_LOOP or pixels >= b * m * n:
        return None
    some = _at_once(b, pixels // (m * n), m * n * numbers)
    return some if some < b else None


def map_over_chunks(form: Callable[[Array], Array], each: int, images: Array) -> Array:
    """form(images), in chunks where the numbers it makes, `each` an image, are many."""
    b = images.shape[0]
    # In jax.export the number of examples may be symbolic.
    if not isinstance(b, int) or b * each <= TOO_LARGE:
        return form(images)
    at_once = _at_once(b, 2 * CACHE // each, each)
    whole = b // at_once * at_once
    chunks = _divide(images[:whole], at_once)
    found = lax.map(lambda i: form(_take(chunks, i)), jnp.arange(whole // at_once))
    found = found.swapaxes(0, 1).reshape(whole, *found.shape[2:])
    if whole == b:
        return found
    return jnp.concatenate([found, form(images[whole:])])


def _at_once(b: int, most: int, each: int) -> int:
    """How many of b examples, of `each` so many numbers, of which `most` are wanted.

    If possible a multiple of `DEVICES`, be they more than wanted but not far too many:
    devices among which the batch is divided can share such a chunk without sending
    images around.
    """
    if DEVICES * each <= 8 * CACHE:
        most = max(most, DEVICES)
    most = min(max(most, 1), b)
    for step in (DEVICES, 1):
        for size in range(most // step * step, most // 2, -step):
            if b % size == 0:
                return size
    return most


def _divide(images: Array, at_once: int) -> Array:
    """[at_once, chunks, h, w, c]: what `_take` takes the chunks from.

    Each has one example from each of `at_once` parts of the batch: devices that share
    the batch share every chunk.
    """
    return images.reshape(at_once, -1, *images.shape[1:])


def _take(chunks: Array, i: Array) -> Array:
    """Chunk i of what `_divide` gave: [at_once, h, w, c]."""
    return lax.dynamic_index_in_dim(chunks, i, 1, keepdims=False)
