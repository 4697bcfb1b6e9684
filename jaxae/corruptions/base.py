"""What corruptions have in common, and several of them in a row."""

from __future__ import annotations  # help() shows names, not types

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.errors import require
from jaxae.types import Corrupt
from jaxae.values import Value


class Corruption(Value):
    """Base of the corruptions: (key, x) -> (damaged x, mask or None)."""

    @property
    def unit_interval(self) -> bool:
        """Whether it takes x to lie in [0, 1], as where it clips."""
        return False

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, Array | None]:
        """Damages a batch [b, ...]."""
        raise NotImplementedError


def identity(key: jax.Array, x: Array) -> tuple[Array, None]:
    """No damage."""
    del key
    return x, None


class Compose(Corruption):
    """Applies corruptions in order; what any of them removed is masked.

    Attributes:
        corruptions: At least one.

    Raises:
        ValueError: There is none.

    Example:
        >>> from jaxae.corruptions import Compose, GaussianNoise, Holes
        >>> damage = Compose((Holes(8), GaussianNoise(0.1)))
    """

    corruptions: tuple[Corrupt, ...]

    def __post_init__(self) -> None:
        """Checks that there is one."""
        came = self.corruptions
        some = isinstance(came, tuple) and len(came) > 0
        require(some, "corruptions", came, "a tuple of at least one")

    @property
    def unit_interval(self) -> bool:
        """Whether any of them takes x to lie in [0, 1]."""
        return any(takes_unit_interval(each) for each in self.corruptions)

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, Array | None]:
        """Damages a batch [b, ...]."""
        union: Array | None = None
        for i, corruption in enumerate(self.corruptions):
            x, mask = corruption(jax.random.fold_in(key, i), x)
            if mask is not None:
                union = mask if union is None else union | mask
        return x, union


def takes_unit_interval(corruption: Corrupt) -> bool:
    """Whether a corruption says that x must lie in [0, 1]; functions say nothing."""
    return isinstance(corruption, Corruption) and corruption.unit_interval


def fill_in(
    x: Float[Array, "b ..."], mask: Array, fill: float
) -> Float[Array, "b ..."]:
    """`x` with `fill` where `mask` is True."""
    return jnp.where(mask, jnp.asarray(fill, x.dtype), x)
