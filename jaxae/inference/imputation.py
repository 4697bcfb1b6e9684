"""The missing values of examples, from what is known of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.checks import check_count, check_key
from jaxae.corruptions import identity
from jaxae.errors import ensure
from jaxae.evaluation.examples import map_examples
from jaxae.evaluation.likelihood import check_generative
from jaxae.inputs import check_data, check_model
from jaxae.models.family import call
from jaxae.objectives.importance import log_weights
from jaxae.preparation import as_levels, inverse
from jaxae.recipe import Model, Recipe
from jaxae.types import Batch, Trace, Variables

_CHUNK, _BLOCK = 50, 50  # examples, and samples of each, at a time


def impute(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    key: jax.Array,
    num_samples: int = 500,
    draws: int | None = None,
    **conditions: Any,
) -> Float[Array, "..."]:
    """Fills in what is missing: E[x_missing | x_known], or draws of it.

    By self-normalised importance sampling from q(z | x_known), with the weights
    p(x_known | z) p(z) / q(z | x_known): Mattei & Frellsen (2019), "MIWAE", equations
    9 to 13, https://proceedings.mlr.press/v97/mattei19a.html. A draw takes one of the
    samples of z by its weight, and x from p(x | z) (sampling importance resampling).
    `jaxae.repair` takes the one code that is q's mean instead.

    Args:
        model: A model with a posterior, a prior and a normalised likelihood; best one
            that was trained on data with missing values.
        x: [n, *shape]. What it holds where it is missing is not looked at.
        missing: True where x is not known, of its shape or of one channel; "nan" where
            it is NaN there. An array of `numpy.ma` says so itself.
        key: A typed key.
        num_samples: Samples of z per example; the error falls with their square root.
        draws: How many imputations; None for the one mean.
        **conditions: As for `encode`.

    Returns:
        x as floats with its gaps filled, [n, *shape], or [draws, n, *shape].

    Raises:
        ValueError: The model has no p(x), nothing says what is missing, or x is not as
            the model needs it.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 6), np.float32)
        >>> x[::2, :3] = np.nan
        >>> recipe = jaxae.recipes.vae((6,), 2, likelihood="gaussian")
        >>> key, data = jax.random.key(0), {"x": x, "missing": "nan"}
        >>> model = jaxae.fit(recipe, data, key=key, epochs=1, progress=False).model
        >>> jaxae.impute(model, x, missing="nan", key=key, draws=5).shape
        (5, 20, 6)
    """
    check_model(model)
    check_generative(model.recipe)
    check_key(key)
    check_count("num_samples", num_samples)
    if draws is not None:
        check_count("draws", draws)
    said = missing is not None or isinstance(x, np.ma.MaskedArray)
    form = "True where x is not known, or 'nan', or a mask of x itself as in numpy.ma"
    ensure(said, f"missing must be given: {form}")
    gaps = {} if missing is None else {"missing": missing}
    data = check_data(model.recipe, {"x": x, **gaps, **conditions}, "x")
    static = (num_samples, draws)
    whole = model.replace(recipe=model.recipe.replace(corruption=identity))
    filled = map_examples(_imputed, whole, data, key, _CHUNK, static)
    known, hole = as_levels(data["x"]), data["missing"]
    if draws is not None:
        filled = filled.swapaxes(0, 1)
        hole, known = hole[None], known[None]
    if isinstance(filled, jax.Array):
        return jnp.where(hole, filled, known)
    return jax.device_put(np.where(hole, filled, known))  # one copy less


def _imputed(
    recipe: Recipe,
    variables: Variables,
    batch: Batch,
    key: jax.Array,
    num_samples: int,
    draws: int | None,
) -> Array:
    """x of one example, [*shape] or [draws, *shape], in the user's units.

    In blocks of samples of z.
    """
    size = min(num_samples, _BLOCK)
    count = -(-num_samples // size)

    def trace(key: jax.Array) -> Trace:
        return call(recipe.module, variables, batch, key, num_samples=size)

    key_draws, key = jax.random.split(key)
    keys = jax.random.split(key, count)
    log_w = jax.lax.map(lambda key: log_weights(trace(key))[:, 0], keys).reshape(-1)
    log_w = jnp.where(jnp.arange(log_w.size) < num_samples, log_w, -jnp.inf)
    if draws is not None:
        key_choice, key_x = jax.random.split(key_draws)
        chosen = jax.random.categorical(key_choice, log_w, shape=(draws,))

        def draw(sample: tuple[Array, jax.Array]) -> Array:
            i, key_x = sample
            x = jnp.asarray(trace(keys[i // size]).likelihood.sample(key_x))
            return inverse(recipe.prepare, x[i % size, 0])

        return jax.lax.map(draw, (chosen, jax.random.split(key_x, draws)))

    def add(total: Array, block: tuple[Array, jax.Array]) -> tuple[Array, None]:
        share, key = block
        mean = jnp.asarray(trace(key).likelihood.mean)[:, 0]
        return total + jnp.einsum("k,k...->...", share, mean, precision="highest"), None

    start = jnp.zeros(batch["x"].shape[1:], batch["x"].dtype)
    shares = jax.nn.softmax(log_w).reshape(count, size)
    return inverse(recipe.prepare, jax.lax.scan(add, start, (shares, keys))[0])
