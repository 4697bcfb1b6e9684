"""The values of x: what a recipe can take, and what is likely a mistake."""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxae.corruptions.base import takes_unit_interval
from jaxae.errors import ensure
from jaxae.inputs.arrays import as_array, check_rows, on_device
from jaxae.preparation import Scale, as_levels, binarize, unit_interval
from jaxae.recipe import Recipe
from jaxae.values import expression

LEAST_BYTES = 64
"""Values from which on bytes of 0 and 1 alone are no chance."""

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""What scaling to [0, 1] in float32 may be off by."""

_BLOCK = 2**20
"""Values that are looked at together."""

UNSCALED = 100.0
"""Values above it are taken for data that nobody has scaled."""

SCALE = "scale them, as by recipe.replace(prepare=jaxae.preparation."
"""The begin of a remedy."""

_ANY = f"numbers of any size are for likelihood='gaussian': {SCALE}Standardize())"

_GAPS = "where NaN stands for what is not known, say missing='nan'"


def check_examples(
    shape: tuple[int, ...], x: Any, name: str = "x", gaps: str = _GAPS
) -> Any:
    """Examples of the model's shape, as bytes or finite float32 of any range.

    Raises:
        ValueError: The rank, the shape or the dtype is wrong, a value is not finite,
            bytes are 0 and 1 alone, or there is no example.
    """
    x = as_array(x, name)
    check_rows(shape, x.shape, name)
    if x.dtype == np.uint8:
        levels = "bytes are the levels of pictures, which become k/255"
        remedy = f"give {name}.astype(numpy.float32), divided by 255 if they are levels"
        ensure(len(shape) > 1, f"{name} must be floats for vectors: {levels}; {remedy}")
        _check_bytes(x, name)
        return x
    real = x.dtype == bool or jnp.issubdtype(x.dtype, jnp.floating)
    remedy = f": give {name}.astype(numpy.float32), or uint8 for levels of pictures"
    wrong = f"{name} must be bytes (uint8) or floats, got {str(x.dtype)!r}"
    ensure(real, wrong + remedy * (x.dtype.kind in "iu"))
    if isinstance(x, Tracer):
        return x.astype(np.float32)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    bad = x.size - sum(int(np.isfinite(x[rows]).sum()) for rows in _blocks(x))
    ensure(
        bad == 0,
        f"{name} must be finite, but {bad} of its values are NaN or infinite"
        + f"; {gaps}" * any(bool(np.isnan(x[rows]).any()) for rows in _blocks(x)),
    )
    return x


def unrounded(recipe: Recipe, x: Any) -> Any:
    """x with what rounding took out of [0, 1] put back, if the recipe wants it there.

    `MinMaxScaler` of scikit-learn makes 1.0000001 of some largest values in float32.
    """
    plain = recipe.prepare is unit_interval or recipe.prepare is binarize
    if isinstance(x, Tracer) or x.dtype != np.float32 or not plain:
        return x
    if not _wants_unit_interval(recipe):
        return x
    low, high = _extremes(x)
    inside = 0.0 <= low and high <= 1.0
    beyond = not (low >= -ROUNDING and high <= 1.0 + ROUNDING)
    return x if inside or beyond else x.clip(0, 1)


def _wants_unit_interval(recipe: Recipe) -> bool:
    """Whether a part takes 1 and not what is just above."""
    if recipe.prepare is binarize or _takes_unit_interval(recipe):
        return True
    at, above = recipe.module.likelihood.support(
        np.array([1.0, 1.0 + ROUNDING], np.float32)
    )
    return bool(at and not above)


def _extremes(x: np.ndarray) -> tuple[float, float]:
    least, most = zip(*((x[r].min(), x[r].max()) for r in _blocks(x)), strict=True)
    return float(min(least)), float(max(most))


def check_values(
    recipe: Recipe, x: np.ndarray, name: str, known: np.ndarray | None = None
) -> None:
    """Raises ValueError if a part of the recipe cannot take the values of `x`.

    Those where `known` is False are not looked at.
    """
    known = None if known is None else np.broadcast_to(known, x.shape)
    seen = [
        _seen(recipe, x[rows], None if known is None else known[rows])
        for rows in _blocks(x)
    ]
    seen = [each for each in seen if each is not None]
    if not seen:
        return
    # NaN, which a scale may make, is in no interval, and makes these NaN.
    low, high = np.min([u.low for u in seen]), np.max([u.high for u in seen])
    came = f"got values from {low:g} to {high:g}"
    bounded = _takes_unit_interval(recipe)
    if recipe.prepare is binarize:
        bounded = "preparation.binarize"
    if bounded is not None:
        remedy = _ANY if recipe.prepare is binarize else f"{SCALE}MinMax())"
        expected = f"{name} must lie in [0, 1] for {bounded}"
        ensure(low >= 0 and high <= 1, f"{expected}, {came}; {remedy}")
    if recipe.prepare is binarize:
        return
    likelihood = recipe.module.likelihood
    if recipe.prepare is not unit_interval:
        came += " as prepared"
    remedy = _ANY if likelihood.support.is_discrete else f"{SCALE}MinMax())"
    right = all(each.right for each in seen)
    ensure(right, f"{name} must be {likelihood.values.words}, {came}; {remedy}")
    warn_if_unscaled(recipe, low, high, name)


class _Seen(NamedTuple):
    """What values are like, as prepared."""

    low: Any
    high: Any
    right: bool


def _seen(recipe: Recipe, x: np.ndarray, known: np.ndarray | None) -> _Seen | None:
    """What the known values are like, and if the likelihood takes them."""
    # In NumPy wherever the preparation is known: a batch of a stream is checked while
    # the device works on the one before, and must not wait for it.
    if isinstance(recipe.prepare, Scale):
        values = recipe.prepare.bounded(_scaled(recipe.prepare, x))
    elif recipe.prepare is not unit_interval and recipe.prepare is not binarize:
        prepared = recipe.prepare(jax.random.key(0), on_device(x))
        values = np.asarray(prepared)
    else:
        levels = known is None and x.dtype == np.uint8
        values = as_levels(_levels(x) if levels else x)
    if known is not None and values.shape == x.shape:
        values = values[known]
    if values.size == 0:
        return None
    right = recipe.prepare is binarize
    right = right or bool(np.all(recipe.module.likelihood.support(values)))
    return _Seen(values.min(), values.max(), right)


def _blocks(x: np.ndarray) -> Iterator[slice]:
    """Rows that are looked at together, as x may not fit in memory."""
    count = max(1, _BLOCK // max(1, x[:1].size))
    return (slice(start, start + count) for start in range(0, len(x), count))


def warn_if_unscaled(recipe: Recipe, low: Any, high: Any, name: str) -> None:
    """For floats that nothing makes smaller; bytes are levels."""
    plain = recipe.prepare is unit_interval
    plain = plain and not recipe.module.likelihood.support.is_discrete  # as codes are
    if plain and max(-low, high) > UNSCALED:
        came = f"got values from {low:g} to {high:g}"
        remedy = f"networks learn best about 0: {SCALE}Standardize())"
        warnings.warn(f"{name} is large, {came}; {remedy}", stacklevel=2)


def check_scalable(recipe: Recipe, inputs: Any, name: str) -> None:
    """Raises ValueError if the scale of x makes no numbers of an encoder's inputs."""
    scale, traced = recipe.prepare, isinstance(inputs, Tracer)
    if not isinstance(scale, Scale) or not recipe.module.sees_x or traced:
        return
    finite = all(
        np.isfinite(_scaled(scale, inputs[rows])).all() for rows in _blocks(inputs)
    )
    came = f"got values from {inputs.min():g} to {inputs.max():g}"
    ensure(finite, f"{name} must be what {expression(scale)} can scale, {came}")


def _scaled(scale: Scale, x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(scale.forward(as_levels(x)))


def _takes_unit_interval(recipe: Recipe) -> str | None:
    """The part of a recipe that takes x to lie in [0, 1], if there is one."""
    if takes_unit_interval(recipe.corruption):
        return expression(recipe.corruption)
    prior = getattr(recipe.module, "prior", None)
    return expression(prior) if getattr(prior, "unit_interval", False) else None


def _check_bytes(x: Any, name: str) -> None:
    """Bytes are levels k/255: of 0 and 1 alone, as some data sets store binary x."""
    # A few dark values may be so by chance.
    ensure(
        isinstance(x, Tracer) or x.size < LEAST_BYTES or x.max() != 1,
        f"{name} holds bytes of 0 and 1 alone, which would be read as 0 and 1/255: "
        f"give booleans, {name}.astype(bool), or levels up to 255",
    )


def _levels(x: np.ndarray) -> np.ndarray:
    """The bytes that occur, each once."""
    occurs = np.zeros(256, bool)
    occurs[x] = True
    return np.flatnonzero(occurs).astype(np.uint8)
