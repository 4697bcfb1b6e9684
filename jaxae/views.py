"""Views: what an encoder and a decoder are shown of a batch beside x and z.

A view is part of a model. `PLAIN` shows nothing more; others append the corruption's
mask or the label, so that encoders and decoders stay functions of one argument.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import check_count
from jaxae.types import Batch


class View(NamedTuple):
    """What the two networks see.

    Attributes:
        needs: The fields of the batch beside "inputs" that are looked at.
        encoder: batch -> the encoder's argument.
        decoder: (z [n, ...], batch with fields [n, ...]) -> the decoder's argument.
        num_labels: How many labels there are, if "label" is needed.
    """

    needs: frozenset[str]
    encoder: Callable[[Batch], Any]
    decoder: Callable[[Array, Batch], Any]
    num_labels: int = 0


def _inputs(batch: Batch) -> Array:
    return batch["inputs"]


def _code(z: Array, batch: Batch) -> Array:
    del batch
    return z


def _inputs_and_mask(batch: Batch) -> Array:
    """The mask as zeros and ones beside x; zeros where there is no mask.

    One more channel for images, one more entry per entry for vectors.
    """
    x, mask = batch["inputs"], batch.get("mask")
    shape = (*x.shape[:-1], 1) if x.ndim == 4 else x.shape
    if mask is None:
        return jnp.concatenate([x, jnp.zeros(shape, x.dtype)], axis=-1)
    if x.ndim == 4:
        mask = mask.any(axis=-1, keepdims=True)
    return jnp.concatenate([x, jnp.broadcast_to(mask, shape).astype(x.dtype)], axis=-1)


PLAIN = View(frozenset(), _inputs, _code)
"""x and z alone."""

MASK_CHANNEL = View(frozenset({"mask"}), _inputs_and_mask, _code)
"""The encoder is shown where values were removed; the decoder z alone."""


@cache
def labels(count: int, *, flatten: bool = False) -> View:
    """Both networks are shown the label, of `count` ones, as a one-hot code.

    Constant channels of images, further entries of vectors and of codes. An encoder
    that flattens images has fewer weights if x is flattened before.

    Args:
        count: How many labels there are.
        flatten: Show the encoder vectors [b, size of x + count].

    Raises:
        ValueError: `count` is below 1.
    """
    check_count("count", count)

    def append(x: Float[Array, "n ... c"], batch: Batch) -> Array:
        one_hot = jax.nn.one_hot(batch["label"], count, dtype=x.dtype)
        one_hot = one_hot.reshape(len(x), *[1] * (x.ndim - 2), count)
        planes = jnp.broadcast_to(one_hot, (*x.shape[:-1], count))
        return jnp.concatenate([x, planes], axis=-1)

    def encoder(batch: Batch) -> Array:
        x = batch["inputs"]
        return append(x.reshape(x.shape[0], -1) if flatten else x, batch)

    return View(frozenset({"label"}), encoder, append, count)
