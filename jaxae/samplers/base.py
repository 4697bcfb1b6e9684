"""The codes that samplers are fitted to, and what the samplers have in common."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxae.checks import check_count, check_key
from jaxae.errors import ensure, require
from jaxae.inference import Codes, encode, sample, sample_codes
from jaxae.inputs import check_examples, check_model, on_device
from jaxae.models.family import Family
from jaxae.preparation import binarize
from jaxae.recipe import Model, Recipe
from jaxae.training import fit
from jaxae.types import Batch, Latent

Sampler = Callable[[jax.Array, int], Codes]
"""(key, count) -> `count` codes, as `jaxae.decode` takes them."""

Restore = Callable[[Array], Codes]
"""From vectors [n, d] back to codes."""

_ROUNDING = 1e-6
"""Relative to the size of a dimension: a spread below it is float32's rounding."""


class Density(Family):
    """Base of the densities p(x) without a latent code, which `jaxae.fit` trains.

    p(x) is exact, so the bounds on it are as well, with any number of samples.
    """

    @property
    def takes_missing(self) -> bool:
        """No: p(x) is of the whole x alone."""
        return False

    @property
    def generative(self) -> bool:
        """p(x) is known."""
        return True

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """No latents: there is nothing to encode."""
        return ()

    def sample_codes(self, key: jax.Array, count: int, batch: Batch) -> tuple[()]:
        """No codes: nothing has to be drawn before x."""
        return ()


def aggregate_codes(model: Model, x: Any, key: jax.Array, **conditions: Any) -> Codes:
    """A sample of the aggregate posterior: one draw of q(z | x) for every example.

    The codes themselves where they are deterministic. The examples are prepared
    (binarised) as in training.

    Args:
        model: As `jaxae.fit` returns it.
        x: [n, *shape], what the model was trained on.
        key: A typed key.
        **conditions: As for `jaxae.encode`.

    Raises:
        ValueError: See `jaxae.encode`.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.samplers.aggregate_codes(model, x, key).shape
        (20, 2)
    """
    check_model(model)
    check_key(key)
    key_prepare, key_code = jax.random.split(key)
    noise = key_code if model.module.generative else None
    # `encode` prepares, too, but draws nothing: a scale is not to be applied twice.
    drawn = model.recipe.prepare is binarize
    shown = prepared(model, x, key_prepare) if drawn else x
    return encode(model, shown, key=noise, **conditions)


def prepared(model: Model, x: Any, key: jax.Array) -> Float[Array, "n ..."]:
    """Examples as the model is to explain them: binarised, if the recipe does so."""
    shown = on_device(check_examples(model.module.shape, x))
    return jax.jit(model.recipe.prepare)(key, shown)


def prior(model: Model, **conditions: Any) -> Sampler:
    """Codes from the model's own p(z).

    Args:
        model: As `jaxae.fit` returns it.
        **conditions: What the prior is shown, by name, of as many examples as codes
            will be asked for.

    Raises:
        ValueError: The family has no prior.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.samplers.prior(model)(key, 3).shape
        (3, 2)
    """
    check_model(model)
    expected = (
        "model must have a prior p(z); others need a sampler fitted to their codes"
    )
    ensure(model.module.has_prior, expected)
    return partial(sample_codes, model, **conditions)


def flatten(codes: Any) -> tuple[Float[Array, "n d"], Restore]:
    """Codes as vectors, and the way back; several latents are laid end to end.

    Args:
        codes: An array [n, ...] of real numbers, or a tuple of them.

    Raises:
        ValueError: The codes are whole numbers, are not finite, or differ in `n`.
    """
    several = isinstance(codes, tuple)
    leaves = tuple(np.asarray(code) for code in (codes if several else (codes,)))
    require(len(leaves) > 0, "codes", codes, "an array, or a tuple of arrays")
    for leaf in leaves:
        _check_code(leaf, leaves[0].shape[:1])
    arrays = tuple(on_device(leaf, jnp.float32) for leaf in leaves)
    tree = arrays if several else arrays[0]
    _, unravel = ravel_pytree(jax.tree.map(lambda code: code[0], tree))
    return jax.vmap(lambda code: ravel_pytree(code)[0])(tree), jax.vmap(unravel)


def _check_code(code: np.ndarray, count: tuple[int, ...]) -> None:
    expected = "real numbers; whole ones are for samplers.autoregressive"
    real = jnp.issubdtype(code.dtype, jnp.floating)
    require(real, "codes", str(code.dtype), expected)
    rows = code.ndim > 1 and code.size > 0 and code.shape[:1] == count
    require(rows, "codes", code.shape, "of shape [n, ...], with one n for all")
    finite = np.isfinite(np.asarray(code, np.float32)).all()
    ensure(finite, "codes hold a value that is not finite")


def standardize(codes: Any) -> tuple[Float[np.ndarray, "n e"], Restore]:
    """Codes as vectors with mean 0 and standard deviation 1, and the way back.

    Dimensions that are constant are left out, and put back with their value.

    Raises:
        ValueError: See `flatten`, or all codes are the same.
    """
    flat, unflatten = flatten(codes)
    exact = np.asarray(flat, np.float64)
    mean, std = exact.mean(axis=0), exact.std(axis=0)
    (varying,) = np.nonzero(std > _ROUNDING * np.abs(exact).max(axis=0))
    ensure(varying.size > 0, "codes must differ, these are all the same")
    scale = std[varying]
    values = (exact[:, varying] - mean[varying]) / scale

    def restore(values: Float[Array, "m e"]) -> Codes:
        full = jnp.tile(jnp.asarray(mean, jnp.float32)[None], (values.shape[0], 1))
        offset = values * jnp.asarray(scale, jnp.float32)[None]
        return unflatten(full.at[:, varying].add(offset))

    return values.astype(np.float32), restore


def fit_sampler(
    make: Callable[[tuple[int, ...]], Recipe],
    codes: Any,
    key: jax.Array,
    epochs: int,
    batch_size: int,
) -> Sampler:
    """Trains a generative model of the standardised codes, and draws from it.

    By Adam, with a learning rate that falls from 1e-3 to 0 along a cosine.

    Args:
        make: From the shape of one vector to the recipe.
        codes: See `flatten`.
        key: A typed key, from which weights, noise and data order follow.
        epochs: Passes over the codes.
        batch_size: Codes per step.

    Raises:
        ValueError: An argument is not as it must be.
        TrainingDiverged: See `jaxae.fit`.
    """
    values, restore = standardize(codes)
    recipe = make(values.shape[1:])
    model = fit_density(recipe, values, key, epochs, batch_size, _COSINE)

    def draw(key: jax.Array, count: int) -> Codes:
        return restore(sample(model, key, count, draw=True))

    return draw


def fit_density(
    recipe: Recipe,
    values: np.ndarray,
    key: jax.Array,
    epochs: int,
    batch_size: int,
    schedule: Callable[[int], optax.Schedule],
    progress: bool = False,
) -> Model:
    """`jaxae.fit` by Adam; `schedule` is from the steps to their learning rates.

    Raises:
        ValueError: An argument is not as it must be.
        TrainingDiverged: See `jaxae.fit`.
    """
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    steps = epochs * -(-len(values) // batch_size)
    return fit(
        recipe,
        values,
        key=key,
        epochs=epochs,
        batch_size=batch_size,
        tx=_adam(schedule, steps),
        progress=progress,
    ).model


_COSINE = partial(optax.cosine_decay_schedule, 1e-3)


@lru_cache
def _adam(
    schedule: Callable[[int], optax.Schedule], steps: int
) -> optax.GradientTransformation:
    """One object, so that what is fitted alike again is not compiled again."""
    return optax.adam(schedule(steps))
