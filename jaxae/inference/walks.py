"""Walks through the space of codes: between examples, and along its axes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae.checks import as_range, check_count
from jaxae.errors import ensure, given, require
from jaxae.inference.base import Codes
from jaxae.inference.decoding import decode
from jaxae.inference.encoding import encode
from jaxae.inputs import check_model, on_device
from jaxae.recipe import Model

PRIOR_LIMITS = (-3.0, 3.0)
"""Where nearly all of a standard normal prior is."""


def interpolate(
    model: Model,
    start: Any,
    end: Any,
    *,
    steps: int = 8,
    missing: Any = None,
    **conditions: Any,
) -> Float[Array, "n steps ..."]:
    """Walks in a straight line from the code of `start` to that of `end`.

    Args:
        model: As `fit` returns it.
        start: [n, *shape].
        end: [n, *shape].
        steps: Points per walk, both ends included.
        missing: As for `encode`, of both.
        **conditions: As for `encode`, one for every walk.

    Raises:
        ValueError: Different numbers of examples, fewer than two steps, or codes that
            are whole numbers.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.interpolate(model, x[:2], x[2:4], steps=5).shape
        (2, 5, 4, 4, 1)
    """
    check_model(model)
    check_count("steps", steps, least=2)
    real = model.module.num_codes == 0
    ensure(real, "the codes of this model are whole numbers, between which is no line")
    first = encode(model, start, missing=missing, **conditions)
    last = encode(model, end, missing=missing, **conditions)
    came, expected = (jax.tree.leaves(codes)[0].shape for codes in (last, first))
    require(came == expected, "end", came, f"as many as start: {expected}")
    codes = _lines(first, last, steps)
    points = decode(model, codes, **_repeated(conditions, steps))
    return points.reshape(expected[0], steps, *points.shape[1:])


@partial(jax.jit, static_argnums=2)
def _lines(first: Codes, last: Codes, steps: int) -> Codes:
    """All points of one line after those of another."""
    along = jnp.linspace(0.0, 1.0, steps, dtype=jnp.float32)

    def line(a: Array, b: Array) -> Array:
        t = along.reshape(1, steps, *[1] * (a.ndim - 1))
        points = (1.0 - t) * a[:, None] + t * b[:, None]
        return points.reshape(-1, *a.shape[1:])

    return jax.tree.map(line, first, last)


def traverse(
    model: Model,
    x: Any,
    *,
    dims: Sequence[int] | np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
    steps: int = 7,
    missing: Any = None,
    **conditions: Any,
) -> Float[Array, "n d steps ..."]:
    """Changes one dimension of a code at a time: latent traversals.

    As in Higgins et al. (2017), "beta-VAE", figure 1,
    https://openreview.net/forum?id=Sy2fzU9gl.

    Args:
        model: As `fit` returns it, with one code that is a vector of real numbers.
        x: Where to begin, [n, *shape].
        dims: Which dimensions of the code; None for all.
        limits: From where to where each of them is changed; None for -3 to 3, where
            nearly all of a standard normal prior is. A learned one may lie elsewhere.
        steps: Values of each, both limits included.
        missing: As for `encode`.
        **conditions: As for `encode`, one for every example.

    Raises:
        ValueError: The code is no such vector, a dimension is not there, the limits are
            not in order, or left out for a model whose prior is learned or that has
            none, or fewer than two steps.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.traverse(model, x[:3], steps=5).shape
        (3, 2, 5, 4, 4, 1)
    """
    check_model(model)
    check_count("steps", steps, least=2)
    codes: Any = encode(model, x, missing=missing, **conditions)
    real = "model must have one code that is a vector of real numbers"
    one = jax.tree.leaves(codes)
    ensure(len(one) == 1 and one[0].ndim == 2 and not model.module.num_codes, real)
    (codes,) = one
    learned = getattr(model.module, "prior", None) is not None
    if limits is None and model.module.has_prior and not learned:
        limits = PRIOR_LIMITS
    alone = "limits must be given for a model whose prior is learned, or that has none"
    needed = f"{alone}, as the least and the largest value of its codes"
    low, high = as_range("limits", given(limits, needed))
    count, size = codes.shape
    chosen = np.arange(size) if dims is None else np.asarray(dims)
    fits = chosen.ndim == 1 and chosen.size and chosen.dtype.kind in "iu"
    inside = fits and chosen.min() >= 0 and chosen.max() < size
    expected = f"some of the dimensions 0 to {size - 1}, as (0, 1), or None for all"
    require(inside, "dims", dims, expected)
    points = _along(codes, chosen, low, high, steps)
    each = len(chosen) * steps
    made = decode(model, points.reshape(-1, size), **_repeated(conditions, each))
    return made.reshape(count, len(chosen), steps, *made.shape[1:])


@partial(jax.jit, static_argnums=4)
def _along(
    codes: Float[Array, "n d"],
    chosen: Int[Array, " c"],
    low: Any,
    high: Any,
    steps: int,
) -> Float[Array, "n c {steps} d"]:
    """The codes with one dimension after the other from low to high."""
    values = jnp.linspace(low, high, steps, dtype=codes.dtype)
    changed = jax.nn.one_hot(chosen, codes.shape[1], dtype=bool)
    return jnp.where(
        changed[None, :, None], values[None, None, :, None], codes[:, None, None]
    )


def _repeated(conditions: Mapping[str, Any], times: int) -> dict[str, Any]:
    """One for every point of a walk."""
    return {
        name: jnp.repeat(on_device(each), times, axis=0)
        for name, each in conditions.items()
        if each is not None
    }
