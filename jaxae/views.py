"""Views: what an encoder and a decoder are shown of a batch beside x and z.

A view is part of a model. `Plain` shows nothing more; others append the corruption's
mask or the label, so that encoders and decoders stay functions of one argument.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import check_count
from jaxae.types import Batch
from jaxae.values import Value


class View(Value):
    """Base of the views: x and z alone.

    Attributes:
        needs: The fields of the batch beside "inputs" that are looked at.
        takes_missing: Whether x may have missing values.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    takes_missing: ClassVar[bool] = True

    @property
    def num_labels(self) -> int:
        """How many labels there are, if "label" is needed; else 0."""
        return 0

    def encoder(self, batch: Batch) -> Any:
        """The encoder's argument."""
        return batch["inputs"]

    def decoder(self, z: Float[Array, "n ..."], batch: Batch) -> Any:
        """The decoder's argument, of a code and a batch with fields [n, ...]."""
        del batch
        return z


class Plain(View):
    """x and z alone."""


class MaskChannel(View):
    """The encoder is shown where values were removed; the decoder z alone.

    The mask as zeros and ones beside x; zeros where there is no mask. One more channel
    for images, one more entry per entry for vectors.
    """

    needs = frozenset({"mask"})

    def encoder(self, batch: Batch) -> Array:
        """x with the mask appended to its last axis."""
        x, mask = batch["inputs"], batch.get("mask")
        shape = (*x.shape[:-1], 1) if x.ndim == 4 else x.shape
        if mask is None:
            return jnp.concatenate([x, jnp.zeros(shape, x.dtype)], axis=-1)
        if x.ndim == 4:
            mask = mask.any(axis=-1, keepdims=True)
        shown = jnp.broadcast_to(mask, shape).astype(x.dtype)
        return jnp.concatenate([x, shown], axis=-1)


class Labels(View):
    """Both networks are shown the label as a one-hot code.

    Constant channels of images, further entries of vectors and of codes. An encoder
    that flattens images has fewer weights if x is flattened before.

    Attributes:
        count: How many labels there are.
        flatten: Show the encoder vectors [b, size of x + count].

    Raises:
        ValueError: `count` is below 1.
    """

    needs = frozenset({"label"})

    count: int
    flatten: bool = False

    def __post_init__(self) -> None:
        """Checks `count`."""
        check_count("count", self.count)

    @property
    def num_labels(self) -> int:
        """`count`."""
        return self.count

    def encoder(self, batch: Batch) -> Array:
        """x with the label appended to its last axis."""
        x = batch["inputs"]
        return self.decoder(x.reshape(x.shape[0], -1) if self.flatten else x, batch)

    def decoder(self, z: Float[Array, "n ... c"], batch: Batch) -> Array:
        """z with the label appended to its last axis."""
        one_hot = jax.nn.one_hot(batch["label"], self.count, dtype=z.dtype)
        one_hot = one_hot.reshape(len(z), *[1] * (z.ndim - 2), self.count)
        planes = jnp.broadcast_to(one_hot, (*z.shape[:-1], self.count))
        return jnp.concatenate([z, planes], axis=-1)


class Visible(View):
    """Both networks are shown the mask, as {"values": ..., "mask": ...}.

    For networks that leave out what is hidden: as many values in every example, so that
    no others may be missing.
    """

    needs = frozenset({"mask"})
    takes_missing = False

    def encoder(self, batch: Batch) -> dict[str, Array]:
        """x and, where there is one, the mask."""
        return self.decoder(batch["inputs"], batch)

    def decoder(self, z: Float[Array, "n ..."], batch: Batch) -> dict[str, Array]:
        """z and, where there is one, the mask."""
        return {"values": z} | ({"mask": batch["mask"]} if "mask" in batch else {})
