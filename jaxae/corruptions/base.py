"""What corruptions have in common, and several of them in a row."""

from __future__ import annotations  # help() shows names, not types

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxae.checks import check_function, check_kept, is_array
from jaxae.errors import ensure, kind_of, must_define, require
from jaxae.types import Corrupt
from jaxae.values import Value, expression


class Corruption(Value):
    """Base of the corruptions: (key, x) -> (damaged x, mask or None).

    The mask says which values of x were removed, not what else was done to them.

    Example:
        >>> import jax, jaxae
        >>> class Dimmed(jaxae.corruptions.Corruption):
        ...     least: float = 0.2
        ...     def __call__(self, key, x):
        ...         return x * jax.random.uniform(key, (), minval=self.least), None
        >>> recipe = jaxae.recipes.denoising_autoencoder((6,), corruption=Dimmed(0.5))
    """

    @property
    def unit_interval(self) -> bool:
        """Whether it takes x to lie in [0, 1], as where it clips."""
        return False

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, Array | None]:
        """Damages a batch [b, ...]."""
        raise must_define(self, "__call__(self, key, x)", "(damaged x, mask or None)")


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
        for i, each in enumerate(came):
            check_corruption(f"corruptions[{i}]", each)

    @property
    def unit_interval(self) -> bool:
        """Whether any of them takes x to lie in [0, 1]."""
        return any(takes_unit_interval(each) for each in self.corruptions)

    def __call__(self, key: jax.Array, x: Array) -> tuple[Array, Array | None]:
        """Damages a batch [b, ...]."""
        union: Array | None = None
        for i, corruption in enumerate(self.corruptions):
            x, mask = damage(corruption, jax.random.fold_in(key, i), x)
            if mask is not None:
                union = mask if union is None else union | mask
        return x, union


def check_corruption(name: str, corruption: Any) -> None:
    """Raises ValueError unless it can be called as it is."""
    expected = "a function (key, x) -> (damaged x, mask), as jaxae.corruptions.Holes(8)"
    check_function(name, corruption, expected, "key", "x")


def damage(
    corruption: Corrupt, key: jax.Array, x: Array
) -> tuple[Array, Bool[Array, "b ..."] | None]:
    """What a corruption returns, once its shapes are known to be right.

    Raises:
        ValueError: It is no pair of x in its shape and a mask of bool, or None.
    """
    damaged: Any = corruption(key, x)
    pair = isinstance(damaged, tuple) and len(damaged) == 2
    expected = "a corruption must return (damaged x, mask or None)"
    by = expression(corruption)
    ensure(pair, f"{expected}, got {kind_of(damaged)} from {by}")
    inputs, mask = damaged
    check_kept("a corruption", inputs, x, by)
    if mask is not None:
        _check_mask(mask, x, by)
    return inputs, mask


def _check_mask(mask: Any, x: Array, by: str) -> None:
    shapes = tuple(dict.fromkeys((x.shape, (*x.shape[:-1], 1))))
    expected = " or ".join(map(str, shapes))
    array = is_array(mask)
    came = f"{mask.dtype} of {mask.shape}" if array else kind_of(mask)
    ensure(
        array and mask.dtype == bool and mask.shape in shapes,
        f"the corruption's mask must be of bool and shape {expected}, "
        f"got {came} from {by}",
    )


def takes_unit_interval(corruption: Corrupt) -> bool:
    """Whether a corruption says that x must lie in [0, 1]; functions say nothing."""
    return isinstance(corruption, Corruption) and corruption.unit_interval


def fill_in(
    x: Float[Array, "b ..."], mask: Array, fill: float
) -> Float[Array, "b ..."]:
    """`x` with `fill` where `mask` is True."""
    return jnp.where(mask, jnp.asarray(fill, x.dtype), x)
