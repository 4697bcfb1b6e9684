"""A small vision transformer that encodes visible patches alone (He et al. 2022)."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from jaxae.checks import check_count, check_sizes
from jaxae.corruptions.patches import check_grid
from jaxae.errors import require
from jaxae.networks.dense import Dense
from jaxae.networks.remat import layer_output
from jaxae.precision import spread, widened
from jaxae.values import Module


def patchify(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b n p"]:
    """Cuts images into patches [b, count, size · size · c], row by row."""
    b, h, w, c = x.shape
    grid = x.reshape(b, h // size, size, w // size, size, c)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(b, -1, size * size * c)


def unpatchify(
    patches: Float[Array, "b n p"], shape: tuple[int, int, int], size: int
) -> Float[Array, "b h w c"]:
    """The inverse of `patchify`, for images of `shape`."""
    h, w, c = shape
    grid = patches.reshape(-1, h // size, w // size, size, size, c)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, h, w, c)


def positions(rows: int, columns: int, width: int) -> Float[np.ndarray, "n width"]:
    """Fixed sine-cosine embedding of a grid's cells; `width` is a multiple of 4.

    Half of the entries are for the row and half for the column, each with the
    frequencies of Vaswani et al. (2017), section 3.5.
    """
    frequencies = 10_000.0 ** (-np.arange(width // 4) / (width // 4))
    row, column = np.divmod(np.arange(rows * columns), columns)
    angles = [place[:, None] * frequencies for place in (row, column)]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.concatenate(waves, axis=1).astype(np.float32)


class ViTEncoder(Module):
    """Visible patches -> tokens [b, n, width], through transformer blocks.

    While training with a mask the first `num_visible` visible patches of each image
    are kept, in their order in the image; where there are fewer, the tokens in excess
    are zeros that no other attends to. Otherwise all visible patches are encoded.

    Attributes:
        patch: Side of a patch in pixels.
        num_visible: n, the patches that are kept in training where there is a mask.
        width: Entries of a token, a multiple of 4 and of `num_heads`.
        depth: Transformer blocks.
        num_heads: Heads of the attention.
        dtype: Compute dtype; None: that of inputs and parameters. Moments and the
            weights of the attention are float32 at least.

    Raises:
        ValueError: A number is below 1, or `width` is no such multiple.
    """

    patch: int
    num_visible: int
    width: int = 64
    depth: int = 2
    num_heads: int = 4
    dtype: Any = None

    def __post_init__(self) -> None:
        check_count("patch", self.patch)
        check_count("num_visible", self.num_visible)
        _check_sizes(self.width, self.depth, self.num_heads)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, shown: Mapping[str, Array], *, train: bool = False
    ) -> Float[Array, "b n width"]:
        x = shown["values"]
        check_grid("x", x.shape[1:], self.patch)
        rows, columns = x.shape[1] // self.patch, x.shape[2] // self.patch
        pixels = patchify(x, self.patch)
        places = jnp.asarray(positions(rows, columns, self.width), x.dtype)[None]
        places = jnp.broadcast_to(places, (x.shape[0], *places.shape[1:]))
        valid = jnp.ones(pixels.shape[:2], bool)
        if "mask" in shown:
            visible = ~hidden_patches(shown["mask"], self.patch)
            # Stable, so that the visible patches come first and in their order.
            order = jnp.argsort(~visible, axis=1, stable=True)
            # Other masks than those of training may leave more to see.
            order = order[:, : self.num_visible] if train else order
            valid = jnp.take_along_axis(visible, order, axis=1)
            pixels, places = (
                jnp.take_along_axis(values, order[..., None], axis=1)
                for values in (pixels, places)
            )
        tokens = Dense(self.width, dtype=self.dtype)(pixels)
        tokens = tokens + places.astype(tokens.dtype)
        for _ in range(self.depth):
            tokens = Block(self.num_heads, self.dtype)(tokens, valid)
        # where, not a product: a token of hidden pixels may be anything.
        return jnp.where(valid[..., None], _normalise(tokens), 0.0)


class ViTDecoder(Module):
    """Tokens of the visible patches -> images, with one learned token for the hidden.

    Attributes:
        shape: Height, width and channels of the output.
        patch: Side of a patch in pixels.
        width: Entries of a token inside, a multiple of 4 and of `num_heads`.
        depth: Transformer blocks.
        num_heads: Heads of the attention.
        dtype: Compute dtype; None: that of inputs and parameters. Moments and the
            weights of the attention are float32 at least.

    Raises:
        ValueError: A number is below 1, `width` is no such multiple, or the sides of
            `shape` are no multiples of `patch`.
    """

    shape: tuple[int, int, int]
    patch: int
    width: int = 32
    depth: int = 1
    num_heads: int = 4
    dtype: Any = None

    def __post_init__(self) -> None:
        check_sizes("shape", self.shape)
        check_count("patch", self.patch)
        check_grid("shape", self.shape, self.patch)
        _check_sizes(self.width, self.depth, self.num_heads)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, shown: Mapping[str, Array], *, train: bool = False
    ) -> Float[Array, "b h w c"]:
        del train
        tokens = Dense(self.width, dtype=self.dtype)(shown["values"])
        rows, columns = self.shape[0] // self.patch, self.shape[1] // self.patch
        b, kept = tokens.shape[:2]
        initial = nn.initializers.normal(0.02)
        shape = (1, 1, self.width)
        hidden_token = self.param("hidden_token", initial, shape, jnp.float32)
        if "mask" in shown:
            visible = ~hidden_patches(shown["mask"], self.patch)
            # The j-th visible patch has the j-th token.
            place = jnp.cumsum(visible, axis=1) - 1
            index = jnp.clip(place, 0, kept - 1)[..., None]
            own = jnp.take_along_axis(tokens, index, axis=1)
            has_token = (visible & (place < kept))[..., None]
            tokens = jnp.where(has_token, own, spread(hidden_token, own))
        count = rows * columns
        require(tokens.shape[1] == count, "z", kept, f"{count} tokens without a mask")
        places = jnp.asarray(positions(rows, columns, self.width), tokens.dtype)
        tokens = tokens + places[None]
        everywhere = jnp.ones((b, count), bool)
        for _ in range(self.depth):
            tokens = Block(self.num_heads, self.dtype)(tokens, everywhere)
        outputs = Dense(self.patch**2 * self.shape[2], dtype=self.dtype)
        pixels = outputs(_normalise(tokens))
        return unpatchify(pixels, self.shape, self.patch)


class Block(Module):
    """Attention and a two-layer network, each added to its input (pre-norm).

    Dosovitskiy et al. (2021), equations 2 and 3.

    Attributes:
        num_heads: Heads of the attention.
        dtype: See `ViTEncoder`.
    """

    num_heads: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n width"], valid: Bool[Array, "b n"]
    ) -> Float[Array, "b n width"]:
        attention = MultiHeadDotProductAttention(self.num_heads, self.dtype)
        x = x + attention(_normalise(x), valid)
        h = Dense(4 * x.shape[-1], dtype=self.dtype)(_normalise(x))
        return layer_output(x + Dense(x.shape[-1], dtype=self.dtype)(jax.nn.gelu(h)))


def _normalise(x: Float[Array, "b n width"]) -> Float[Array, "b n width"]:
    """A new LayerNorm, which computes in float32 at least."""
    return nn.LayerNorm()(widened(x)).astype(x.dtype)


class MultiHeadDotProductAttention(Module):
    """Attention of every token to the valid ones (Vaswani et al. 2017, section 3.2).

    `flax.linen.MultiHeadDotProductAttention`, names and shapes included, but with
    weights in float32 at least and biases as of `Dense`.

    Attributes:
        num_heads: Heads, of which the width is a multiple.
        dtype: Compute dtype; None: that of inputs and parameters.
    """

    num_heads: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n width"], valid: Bool[Array, "b n"]
    ) -> Float[Array, "b n width"]:
        width = x.shape[-1]
        size = width // self.num_heads
        query, key, value = (
            Dense((self.num_heads, size), dtype=self.dtype, name=name)(x)
            for name in ("query", "key", "value")
        )
        logits = jnp.einsum("bqhd,bkhd->bhqk", query / math.sqrt(size), key)
        logits = widened(logits)
        # The least number, not -inf: where no token is valid the weights are equal.
        least = jnp.finfo(logits.dtype).min
        logits = jnp.where(valid[:, None, None], logits, least)
        weights = jax.nn.softmax(logits).astype(value.dtype)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
        return Dense(width, axes=2, dtype=self.dtype, name="out")(mixed)


def hidden_patches(mask: Bool[Array, "b h w _"], size: int) -> Bool[Array, "b n"]:
    """True for a patch any of whose pixels is masked."""
    b, h, w, c = mask.shape
    grid = mask.reshape(b, h // size, size, w // size, size, c)
    return grid.any(axis=(2, 4, 5)).reshape(b, -1)


def _check_sizes(width: int, depth: int, num_heads: int) -> None:
    check_count("width", width)
    check_count("depth", depth)
    check_count("num_heads", num_heads)
    fits = width % 4 == 0 and width % num_heads == 0
    require(fits, "width", width, f"a multiple of 4 and of {num_heads} heads")
