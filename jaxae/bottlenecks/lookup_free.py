"""Quantisation without a codebook to learn: every dimension is rounded by itself."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.bottlenecks.codebook import (
    per_position,
    straight_through,
    usage_metrics,
)
from jaxae.checks import as_finite, check_count, check_sizes, settle
from jaxae.errors import require
from jaxae.types import Latent

MOST_CODES = 2**20
"""The use of every code is counted at every step, which needs a table of them."""


class FSQ(Bottleneck):
    """Finite scalar quantisation (Mentzer et al. 2023).

    Features [b, ..., c] are projected to one dimension per entry of `levels`, bounded
    and rounded to that many whole numbers, with the straight-through gradient. The
    codes are all combinations, divided by half the levels, so from -1 to 1. No penalty.

    Attributes:
        levels: How many values each dimension of a code has, at least 2 each.

    Raises:
        ValueError: There are no levels, one is below 2, or the codes are too many.
    """

    levels: tuple[int, ...] = (8, 5, 5, 5)

    def __post_init__(self) -> None:
        check_sizes("levels", self.levels)
        levels = self.levels
        right = len(levels) > 0 and min(levels) > 1 and math.prod(levels) <= MOST_CODES
        expected = f"numbers of at least 2 with a product of at most {MOST_CODES}"
        require(right, "levels", levels, expected)
        super().__post_init__()

    @property
    def num_codes(self) -> int:
        """The product of the levels."""
        return math.prod(self.levels)

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """One code per position: z [1, b, ..., len(levels)]."""
        f = nn.Dense(len(self.levels))(h)
        levels = round_to_levels(bound(f, self.levels))
        indices = levels_to_indices(levels, self.levels)
        z = levels / _aligned(_half(self.levels), f)
        metrics = usage_metrics(indices[..., None], self.num_codes, weight)
        return exact(z, indices=indices, metrics=metrics)

    def embed(self, indices: Int[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The codes [b, ..., len(levels)]."""
        levels = indices_to_levels(indices, self.levels)
        return levels / _aligned(_half(self.levels), levels)


class LFQ(Bottleneck):
    """Lookup-free quantisation (Yu et al. 2023, MAGVIT-2, section 3.1).

    Features [b, ..., c] are projected to f [b, ..., bits], and the code is the sign of
    every dimension, -1 or 1, with the straight-through gradient.

    A bit is 1 with the probability sigmoid(4 f), which is softmax(-|f - e|²) over the
    two values. The penalty is, summed over the positions of an example, entropy_weight
    · (H(code | x) - diversity · H(code)) in nats, plus commitment_weight · |f -
    stop(z)|², a squared error. The first entropy makes single codes sure, the second,
    that of the mean of p(code | x) over the batch, makes it use all of them.

    Attributes:
        bits: Dimensions of a code, of which there are 2^bits.
        entropy_weight: Of both entropies.
        diversity: Of the batch's entropy relative to the other.
        commitment_weight: Of the pull of the features towards their codes.

    Raises:
        ValueError: An argument is outside its range.
    """

    bits: int = 10
    entropy_weight: float = 0.3
    diversity: float = 1.0
    commitment_weight: float = 0.02

    def __post_init__(self) -> None:
        check_count("bits", self.bits)
        most = MOST_CODES.bit_length() - 1
        require(self.bits <= most, "bits", self.bits, f"at most {most}")
        for name in ("entropy_weight", "diversity", "commitment_weight"):
            settle(self, as_finite, name)
            value = getattr(self, name)
            require(value >= 0, name, value, "at least 0")
        super().__post_init__()

    @property
    def num_codes(self) -> int:
        """2 to the power of `bits`."""
        return 2**self.bits

    @nn.compact
    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """One code per position: z [1, b, ..., bits]."""
        f = nn.Dense(self.bits)(h)
        signs = jnp.where(f > 0, jnp.ones_like(f), -jnp.ones_like(f))
        z = straight_through(f, signs)
        indices = levels_to_indices((signs - 1) / 2, (2,) * self.bits)
        sure, even = code_entropies(f, weight)
        entropy = sure - self.diversity * even
        commitment = jnp.square(f - signs).sum(axis=-1)
        charge = self.entropy_weight * entropy + self.commitment_weight * commitment
        return exact(
            z,
            penalty=flat(charge).sum(axis=-1),
            indices=indices,
            metrics=usage_metrics(indices[..., None], self.num_codes, weight),
        )

    def embed(self, indices: Int[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The codes [b, ..., bits]."""
        return 2 * indices_to_levels(indices, (2,) * self.bits) + 1


def bound(f: Float[Array, "... d"], levels: tuple[int, ...]) -> Float[Array, "... d"]:
    """Between the numbers that `round_to_levels` makes of it: -⌊L/2⌋ to ⌈L/2⌉ - 1.

    Of an even number of levels the middle is at -1/2, whence the offset and the shift
    (Mentzer et al. 2023, appendix A.1).
    """
    count = np.asarray(levels, np.float64)
    # A little less than half, so that rounding never reaches one level more.
    half = (count - 1) * (1 - 1e-3) / 2
    offset = np.where(count % 2 == 1, 0.0, 0.5)
    shift = np.tan(offset / half)
    bounded = jnp.tanh(f + _aligned(shift, f)) * _aligned(half, f)
    return bounded - _aligned(offset, f)


def round_to_levels(bounded: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """The nearest whole numbers, with the straight-through gradient."""
    return straight_through(bounded, jnp.round(bounded))


def levels_to_indices(
    values: Float[Array, "... d"], levels: tuple[int, ...]
) -> Int[Array, "..."]:
    """One whole number per code; the first dimension changes fastest."""
    digits = jnp.round(values + _aligned(_half(levels), values)).astype(jnp.int32)
    bases = _bases(levels).reshape(*[1] * (digits.ndim - 1), -1)
    return (digits * bases).sum(axis=-1, dtype=jnp.int32)


def indices_to_levels(
    indices: Int[Array, "..."], levels: tuple[int, ...]
) -> Float[Array, "... d"]:
    """The inverse of `levels_to_indices`."""
    shape = (*[1] * indices.ndim, -1)
    count = np.asarray(levels, np.int32).reshape(shape)
    digits = indices[..., None] // _bases(levels).reshape(shape) % count
    return (digits - (count // 2)).astype(jnp.float32)


def code_entropies(
    f: Float[Array, "b ... d"], weight: Float[Array, " b"] | None = None
) -> tuple[Float[Array, "b ..."], Float[Array, ""]]:
    """H(code | x) of every position and H(code) of all positions, both in nats.

    See `LFQ` for the probabilities. Positions count by the weight of their example.
    """
    p = jax.nn.sigmoid(4 * f)
    # From the logits: the gradient of p log p is not finite at p = 0.
    each = jax.nn.softplus(4 * f) - 4 * f * p
    rows = f.reshape(-1, f.shape[-1])
    first, second = (
        _code_probabilities(half) for half in jnp.split(rows, (f.shape[-1] // 2,), -1)
    )
    # Given x the two halves of a code are independent, so that the mean over x of the
    # probabilities of whole codes is a product of matrices.
    share = per_position(weight, f.shape[:-1])
    share = share / jnp.maximum(share.sum(), 1e-12)
    shared = (first * share[:, None]).T
    mean = jnp.matmul(shared, second, precision=jax.lax.Precision.HIGHEST)
    mean = jnp.maximum(mean, 1e-12)
    return each.sum(axis=-1), jax.scipy.special.entr(mean).sum()


def _code_probabilities(f: Float[Array, "n d"]) -> Float[Array, "n m"]:
    """softmax(-|f - e|²) over all m = 2^d codes e."""
    codes = np.asarray(list(itertools.product((-1, 1), repeat=f.shape[-1])))
    return jax.nn.softmax(2 * f @ jnp.asarray(codes.T, f.dtype), axis=-1)


def _half(levels: tuple[int, ...]) -> np.ndarray:
    return np.asarray(levels) // 2


def _bases(levels: tuple[int, ...]) -> np.ndarray:
    return np.cumprod((1, *levels[:-1])).astype(np.int32)


def _aligned(values: np.ndarray, like: Array) -> Array:
    """A vector as constants of `like`'s dtype and rank, along its last axis."""
    return jnp.asarray(values, like.dtype).reshape(*[1] * (like.ndim - 1), -1)
