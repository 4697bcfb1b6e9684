"""Damage to single entries: noise, and entries that are dropped."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae.checks import as_finite, as_flag, settle
from jaxae.corruptions.base import Corruption, fill_in
from jaxae.errors import require


class GaussianNoise(Corruption):
    """x + std · ε with ε ~ N(0, I).

    Attributes:
        std: In units of x.
        clip: Clip the result to [0, 1]; x has to lie there then.

    Raises:
        ValueError: `std` is negative or no number, or `clip` neither True nor False.
    """

    std: float
    clip: bool = False

    def __post_init__(self) -> None:
        """Checks both."""
        settle(self, as_finite, "std")
        settle(self, as_flag, "clip")
        require(self.std >= 0, "std", self.std, "a number of at least 0")

    @property
    def unit_interval(self) -> bool:
        """True where it clips."""
        return self.clip

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, None]:
        """Damages a batch [b, ...]."""
        noisy = x + self.std * jax.random.normal(key, x.shape, x.dtype)
        return (jnp.clip(noisy, 0.0, 1.0) if self.clip else noisy), None


class Masking(Corruption):
    """Every entry becomes `fill` with probability `rate`.

    Masking noise (Vincent et al. 2010, section 3.3,
    https://jmlr.org/papers/v11/vincent10a.html). Images [b, h, w, c] lose whole pixels,
    with all their channels: pixel dropout.

    Attributes:
        rate: A probability.
        fill: What the removed entries become.

    Raises:
        ValueError: `rate` is outside [0, 1].
    """

    rate: float
    fill: float = 0.0

    def __post_init__(self) -> None:
        """Checks both."""
        settle(self, as_finite, "rate", "fill")
        _check_rate(self.rate)

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, Array]:
        """Damages a batch [b, ...]."""
        shape = (*x.shape[:-1], 1) if x.ndim == 4 else x.shape
        mask = jax.random.bernoulli(key, self.rate, shape)
        return fill_in(x, mask, self.fill), mask


class SaltAndPepper(Corruption):
    """Every value becomes 0 or 1, by a fair coin, with probability `rate`.

    Attributes:
        rate: A probability.

    Raises:
        ValueError: `rate` is outside [0, 1].
    """

    rate: float

    def __post_init__(self) -> None:
        """Checks `rate`."""
        settle(self, as_finite, "rate")
        _check_rate(self.rate)

    @property
    def unit_interval(self) -> bool:
        """True: black and white are 0 and 1."""
        return True

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, None]:
        """Damages a batch [b, ...]."""
        u = jax.random.uniform(key, x.shape, x.dtype)
        salt, hit = (u < self.rate / 2).astype(x.dtype), u < self.rate
        return jnp.where(hit, salt, x), None


def _check_rate(rate: float) -> None:
    require((rate >= 0) & (rate <= 1), "rate", rate, "a probability in [0, 1]")
