"""From stored values to the target: (key, values) -> x, and the way back."""

from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Shaped

from jaxae.errors import ensure, given, must_define, require
from jaxae.types import AnyArray, Prepare
from jaxae.values import Value

S = TypeVar("S", bound="Scale")

Numbers = Any
"""One for all or one for every feature, as a tuple, a list or an array; or None."""

_BLOCK = 2**20
"""Values that are looked at together, for a scale."""


def unit_interval(key: jax.Array, values: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Bytes become levels k/255; floats stay as they are. Draws nothing."""
    del key
    return as_levels(values)


def as_levels(values: Shaped[AnyArray, "..."]) -> Any:
    """Bytes as float32 k/255, in NumPy for its arrays; all else as it is."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255)
    return values


def binarize(key: jax.Array, values: Shaped[Array, "b _ ..."]) -> Float[Array, "b ..."]:
    """Draws every value as 0 or 1, with itself as the probability of 1.

    With a fresh key at every step this is the dynamic binarisation of Salakhutdinov &
    Murray (2008); with a fixed key it is a static one. Probabilities are rounded to
    1/65,536; 0 and 1 are exact.
    """
    x = unit_interval(key, values)
    threshold = jnp.round(x * 65536.0).astype(jnp.int32)
    return (_uniform_16_bit(key, x.shape) < threshold).astype(x.dtype)


def as_seen(prepare: Prepare, key: jax.Array, values: Array) -> Array:
    """What an encoder sees of stored values: nothing is drawn, no scale clips."""
    if isinstance(prepare, Scale):
        return jnp.asarray(prepare.forward(unit_interval(key, values)))
    return unit_interval(key, values) if prepare is binarize else prepare(key, values)


def _uniform_16_bit(key: jax.Array, shape: tuple[int, ...]) -> Int[Array, "b ..."]:
    """Whole numbers below 65,536, two from each random word.

    jax.random.bernoulli hashes a word for every value, which takes an eighth of a small
    model's step. The halves lie along the second axis: a sharded batch stays sharded.
    """
    rows = shape[1]
    words = jax.random.bits(key, (shape[0], -(-rows // 2), *shape[2:]), jnp.uint32)
    halves = jnp.concatenate([words & 0xFFFF, words >> 16], axis=1)
    return halves[:, :rows].astype(jnp.int32)


class Scale(Value):
    """Base of the normalisers: a preparation that is undone on the way out.

    `fit`, `encode`, evaluation and export apply it, `decode`, `sample`, `repair` and
    the like undo it, so that users see x in units of their own. Numbers of evaluation
    are of x as it is scaled. Bytes become k/255 first. Inputs of their own are scaled
    as x where they have its shape.

    Attributes:
        estimated: The fields that `of` sets, None until then. Programs get their values
            as arrays, so that other data need no other program.

    Example:
        >>> import numpy as np, jaxae
        >>> class Centred(jaxae.preparation.Scale):
        ...     estimated = ("mean",)
        ...     mean: float | None = None
        ...     def of(self, x, weight=None):
        ...         means = np.nanmean(x, axis=-1)
        ...         return self.replace(mean=float(np.average(means, weights=weight)))
        ...     def forward(self, x):
        ...         return x - self.mean
        ...     def inverse(self, x):
        ...         return x + self.mean
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2, likelihood="gaussian")
        >>> recipe = recipe.replace(prepare=Centred())
    """

    estimated: ClassVar[tuple[str, ...]] = ()

    def __call__(self, key: jax.Array, values: Shaped[Array, "..."]) -> Array:
        """From stored values to x."""
        return jnp.asarray(self.bounded(self.forward(unit_interval(key, values))))

    @property
    def fitted(self) -> bool:
        """Whether its numbers are known."""
        return all(getattr(self, name) is not None for name in self.estimated)

    def of(self: S, x: Any, weight: Any = None) -> S:
        """The same with what is not known yet estimated from examples.

        Args:
            x: [n, *shape]; a value that is NaN doesn't count.
            weight: How often each example counts, [n]; None for once.
        """
        del x, weight
        return self

    def forward(self, x: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
        """From the user's units to the model's, in NumPy for its arrays."""
        raise must_define(self, "forward(self, x)", "x in the model's units")

    def bounded(self, x: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
        """Scaled x as a model explains it; an encoder may see it beyond bounds."""
        return x

    def inverse(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """From the model's units to the user's."""
        raise must_define(self, "inverse(self, x)", "x in the user's units")


class Standardize(Scale):
    """(x - mean) / std, estimated by `fit` from its data unless they are given.

    Attributes:
        mean: Of every feature (the last axis of x), or one number for all. Lists and
            arrays become tuples.
        std: Likewise, above 0. A feature that never varies has 1.
        per_feature: Estimate both for every feature, rather than over all values.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> from jaxae.preparation import Standardize
        >>> x = np.random.default_rng(0).normal(5.0, 300.0, (20, 4)).astype(np.float32)
        >>> recipe = jaxae.recipes.vae((4,), 2, likelihood="gaussian")
        >>> recipe = recipe.replace(prepare=Standardize())
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> len(model.recipe.prepare.std), jaxae.decode(model, [[0.0, 0.0]]).shape
        (4, (1, 4))
    """

    estimated: ClassVar = ("mean", "std")

    mean: Numbers = None
    std: Numbers = None
    per_feature: bool = True

    def __post_init__(self) -> None:
        """Checks that both are given or none, their numbers, and the std."""
        if _settle(self):
            least = np.min(self.std)
            require(least > 0, "std", self.std, "above 0")

    def of(self, x: Any, weight: Any = None) -> "Standardize":
        """See `Scale.of`; as it is if its numbers are known."""
        if self.fitted:
            return self

        def mean_of(function: Any) -> Any:
            sums = [
                (counts.sum(axis=0), (counts * function(values)).sum(axis=0))
                for values, counts in _blocks(x, weight, self.per_feature)
            ]
            total, weighed = (np.sum(each, axis=0) for each in zip(*sums, strict=True))
            return weighed / np.maximum(total, 1e-12)

        mean = mean_of(lambda values: values)
        variance = mean_of(lambda values: np.square(values - mean))
        # One value over and over, but for rounding.
        still = variance <= np.square(1e-6 * np.abs(mean))
        std = np.where(still, 1.0, np.sqrt(variance))
        return self.replace(mean=_numbers(mean), std=_numbers(std))

    def forward(self, x: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
        """See `Scale`."""
        return (x - _along("mean", self.mean, x)) / _along("std", self.std, x)

    def inverse(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """See `Scale`."""
        return x * _along("std", self.std, x) + _along("mean", self.mean, x)


class MinMax(Scale):
    """(x - low) / (high - low), estimated by `fit` from its data unless they are given.

    x beyond the limits, as other data may have it, is clipped to [0, 1], as likelihoods
    of the unit interval need it; what an encoder sees is not.

    Attributes:
        low: Of every feature (the last axis of x), or one number for all. Lists and
            arrays become tuples.
        high: Likewise, above `low`. A feature that never varies has `low` + 1.
        per_feature: Estimate both for every feature, rather than over all values.
    """

    estimated: ClassVar = ("low", "high")

    low: Numbers = None
    high: Numbers = None
    per_feature: bool = True

    def __post_init__(self) -> None:
        """Checks that both are given or none, their numbers, and their order."""
        if _settle(self):
            came = (self.low, self.high)
            apart = np.all(np.asarray(self.high) > np.asarray(self.low))
            require(apart, "low and high", came, "in this order, and apart")

    def of(self, x: Any, weight: Any = None) -> "MinMax":
        """See `Scale.of`; as it is if its numbers are known."""
        if self.fitted:
            return self
        ends = [
            (
                np.where(counts > 0, values, np.inf).min(axis=0),
                np.where(counts > 0, values, -np.inf).max(axis=0),
            )
            for values, counts in _blocks(x, weight, self.per_feature)
        ]
        lows, highs = zip(*ends, strict=True)
        low, high = np.min(lows, axis=0), np.max(highs, axis=0)
        low = np.where(np.isfinite(low), low, 0.0)  # of what nothing is known
        high = np.where(high > low, high, low + 1.0)
        return self.replace(low=_numbers(low), high=_numbers(high))

    def forward(self, x: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
        """See `Scale`."""
        low, high = _along("low", self.low, x), _along("high", self.high, x)
        return (x - low) / (high - low)

    def bounded(self, x: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
        """See `Scale`."""
        return x.clip(0.0, 1.0)

    def inverse(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """See `Scale`."""
        low, high = _along("low", self.low, x), _along("high", self.high, x)
        return low + x * (high - low)


class Log1p(Scale):
    """log(1 + x), for counts and other values of at least 0.

    What comes out is exp(mean of log(1 + x)) - 1, which is less than the mean of x.
    """

    def forward(self, x: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
        """See `Scale`."""
        return np.log1p(x) if isinstance(x, np.ndarray) else jnp.log1p(x)

    def inverse(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """See `Scale`."""
        return jnp.expm1(x)


def inverse(prepare: Prepare, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x in the user's units, where the preparation is a `Scale`; otherwise as it is."""
    return prepare.inverse(x) if isinstance(prepare, Scale) else x


def unfitted(prepare: Prepare) -> bool:
    """Whether it is a scale whose numbers are not known yet."""
    return isinstance(prepare, Scale) and not prepare.fitted


def _blocks(
    x: Any, weight: Any, per_feature: bool
) -> Iterator[tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "m d"]]]:
    """In float64 with features as columns, or as one; and how often each counts."""
    rows = max(1, _BLOCK // max(1, np.size(x[:1])))
    for start in range(0, len(x), rows):
        block = np.asarray(x[start : start + rows])
        levels = block.dtype == np.uint8
        block = block / 255.0 if levels else block.astype(np.float64)
        own = np.ones(len(block)) if weight is None else weight[start : start + rows]
        own = np.asarray(own, np.float64).reshape(-1, *[1] * (block.ndim - 1))
        counts = own * ~np.isnan(block)
        columns = block.shape[-1] if per_feature and block.ndim > 1 else 1
        block, counts = (each.reshape(-1, columns) for each in (block, counts))
        yield np.where(counts > 0, block, 0.0), counts


def _numbers(values: Float[np.ndarray, " d"]) -> float | tuple[float, ...]:
    """As float32 has them, which is what data are."""
    numbers = tuple(float(np.float32(value)) for value in values)
    return numbers[0] if len(numbers) == 1 else numbers


def _settle(scale: Scale) -> bool:
    """Makes estimated numbers plain floats, or tuples of as many of them.

    Returns:
        Whether they can be judged: they are there, and JAX does not trace them.

    Raises:
        ValueError: One alone is given; or they are not finite, or do not match.
    """
    names = scale.estimated
    came = [getattr(scale, name) for name in names]
    both = " and ".join(names)
    none = [each is None for each in came]
    require(none[0] == none[1], both, tuple(came), "both given or none")
    if any(none):
        return False
    plain = [_plain(*each) for each in zip(names, came, strict=True)]
    sizes = {len(each) for each in plain if isinstance(each, tuple)}
    ensure(len(sizes) < 2, f"{both} must be of as many features, got {sorted(sizes)}")
    for name, numbers in zip(names, plain, strict=True):
        object.__setattr__(scale, name, numbers)  # it is frozen
    return not _traced(plain)


def _plain(name: str, values: Any) -> Any:
    """A float, or a tuple of one for every feature; what JAX traces as it is."""
    if _traced(values):
        return values
    array = np.asarray(values)
    real = jnp.issubdtype(array.dtype, jnp.floating)
    real = (real or array.dtype.kind in "iu") and array.ndim < 2 and array.size > 0
    expected = "a number, or one for every feature"
    require(real and np.isfinite(array).all(), name, values, f"{expected}, all finite")
    numbers = array.astype(np.float64).tolist()
    return tuple(numbers) if array.ndim else numbers


def _traced(values: Any) -> bool:
    return any(isinstance(each, Tracer) for each in jax.tree.leaves(values))


def _along(name: str, numbers: Numbers, x: AnyArray) -> Any:
    """To broadcast against x along its last axis."""
    if np.ndim(numbers):
        size = x.shape[-1] if x.ndim else 1
        each = f"{name} must have a number for each of the {size} features of x, which "
        each += f"are its last axis, or be one number for all, got {len(numbers)}"
        ensure(len(numbers) == size, each)
    unknown = "prepare must be fitted before it is used: give prepare.of(x), or `fit`"
    xp: Any = np if isinstance(x, np.ndarray) else jnp
    values = xp.asarray(given(numbers, unknown), x.dtype)
    return values.reshape(*[1] * (x.ndim - 1), -1)
