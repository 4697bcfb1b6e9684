"""The evidence lower bound and importance-sampled log-likelihood of test data."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.checks import check_count
from jaxae.errors import ensure
from jaxae.evaluation.examples import map_examples
from jaxae.inputs import check_data, check_model
from jaxae.models.family import call
from jaxae.objectives.elbo import name_rates, rate
from jaxae.objectives.importance import log_weights
from jaxae.objectives.reconstruction import log_likelihood
from jaxae.recipe import Model, Recipe
from jaxae.types import AnyArray, Batch, Trace, Variables


def nll_nats(
    model: Model,
    data: Any,
    key: jax.Array,
    *,
    num_samples: int = 500,
    chunk: int = 50,
    sample_chunk: int = 50,
) -> Float[AnyArray, " n"]:
    """-log p(x) of every example, estimated by importance sampling from q(z | x).

    -log (1/S) Σ_s p(x | z_s) p(z_s) / q(z_s | x) (Burda et al. 2016, equation 8): an
    upper bound in expectation, tighter with more samples. Where values of x are missing
    it is that of the known ones. The chunks bound the memory and change nothing else:
    sample s of example i has a key of its own.

    Args:
        model: A model with a posterior and a prior.
        data: As for `fit`. They are prepared (binarised) once, by the key.
        key: A typed key.
        num_samples: S.
        chunk: Examples at a time.
        sample_chunk: Samples per example at a time.

    Raises:
        ValueError: The family has no posterior, or its likelihood is not normalised, or
            a number is below 1.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.evaluation.nll_nats(model, x, key, num_samples=10).shape
        (20,)
    """
    check_model(model)
    check_generative(model.recipe)
    check_count("num_samples", num_samples)
    check_count("chunk", chunk)
    check_count("sample_chunk", sample_chunk)
    data = check_data(model.recipe, data, "data")
    static = (num_samples, min(sample_chunk, num_samples))
    return map_examples(_nll, model, data, key, chunk, static)


def elbo_terms(
    model: Model, data: Any, key: jax.Array, *, num_samples: int = 1, chunk: int = 250
) -> dict[str, Float[AnyArray, " n"]]:
    """The ELBO of every example with its terms, in nats, as in `objectives.ELBO`.

    Args:
        model: A model with a posterior and a prior.
        data: As for `fit`.
        key: A typed key.
        num_samples: Of the code, for what has no closed form.
        chunk: Examples at a time.

    Returns:
        `elbo_nats` = -(`distortion_nats` + `rate_nats`), each [n]; with several
        latents the rate of each.

    Raises:
        ValueError: The family has no posterior, or its likelihood is not normalised.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> sorted(jaxae.evaluation.elbo_terms(model, x, key))
        ['distortion_nats', 'elbo_nats', 'rate_nats']
    """
    check_model(model)
    check_generative(model.recipe)
    check_count("num_samples", num_samples)
    data = check_data(model.recipe, data, "data")
    return map_examples(_elbo_terms, model, data, key, chunk, (num_samples,))


def is_generative(recipe: Recipe) -> bool:
    """Whether p(x) is defined: a prior, a posterior and a normalised likelihood.

    Example:
        >>> import jaxae
        >>> families = jaxae.recipes.vae, jaxae.recipes.autoencoder
        >>> [jaxae.evaluation.is_generative(family((6,))) for family in families]
        [True, False]
    """
    return recipe.module.likelihood.normalized and recipe.module.generative


def check_generative(recipe: Recipe) -> None:
    """Raises ValueError unless p(x) is defined, see `is_generative`."""
    module = recipe.module
    prior = "a prior" if module.generative else "no prior"
    ensure(
        is_generative(recipe),
        "model must be a family with a prior and a likelihood normalised over x, "
        f"got {type(module).__name__} with {prior} and "
        f"{type(module.likelihood).__name__}; without a prior, fit one of "
        "jaxae.samplers to the codes to draw new examples",
    )


def _nll(
    recipe: Recipe,
    variables: Variables,
    batch: Batch,
    key: jax.Array,
    num_samples: int,
    sample_chunk: int,
) -> Float[Array, ""]:
    def log_weight(key: jax.Array) -> Array:
        return log_weights(call(recipe.module, variables, batch, key))[0, 0]

    keys = jax.random.split(key, num_samples)
    weights = jax.lax.map(log_weight, keys, batch_size=sample_chunk)
    return jnp.log(float(num_samples)) - jax.nn.logsumexp(weights)


def _elbo_terms(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array, num_samples: int
) -> dict[str, Array]:
    trace: Trace = call(recipe.module, variables, batch, key, num_samples=num_samples)
    distortion = -jnp.mean(log_likelihood(trace))
    rates = name_rates([rate(latent)[0] for latent in trace.latents])
    return {
        "elbo_nats": -distortion - rates["rate_nats"],
        "distortion_nats": distortion,
        **rates,
    }
