"""The distributions that a model is made of, as numpyro's."""

from functools import partial
from typing import Any

import jax
from numpyro.distributions import Distribution

from jaxae.checks import check_key
from jaxae.errors import ensure, given
from jaxae.inference.base import Codes
from jaxae.inference.decoding import decoder_batch, embed
from jaxae.inference.encoding import encoder_batch
from jaxae.models.family import Family, call
from jaxae.recipe import Model
from jaxae.types import Batch, Variables


def posterior(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    key: jax.Array | None = None,
    **conditions: Any,
) -> Distribution | tuple[Distribution, ...]:
    """q(z | x), all at once: `encode` takes more examples than fit on the device.

    Args:
        model: As `fit` returns it, with stochastic codes.
        x: As for `encode`, [n, *shape].
        missing: As for `encode`.
        key: For models with several latents, each of which depends on a draw of those
            above it.
        **conditions: As for `encode`.

    Returns:
        A distribution of batch shape [1, n], or a tuple of them, top first.

    Raises:
        ValueError: The codes are deterministic, or q is known at its own draws alone,
            as after a flow; a key is missing; x is not as the model needs it.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> q = jaxae.posterior(model, x)
        >>> q.batch_shape, q.event_shape, q.sample(key, (5,)).shape
        ((1, 20), (2,), (5, 1, 20, 2))
    """
    if key is not None:
        check_key(key)
    batch = encoder_batch(model, x, missing, conditions)
    own = jax.random.key(0) if key is None else key
    found = _posteriors(model.module, model.variables, batch, own)
    kind = type(model.module).__name__
    several = f"key must be given: a latent of {kind} depends on draws of those above"
    ensure(len(found) == 1 or key is not None, several)
    return found[0] if len(found) == 1 else found


@partial(jax.jit, static_argnums=0)
def _posteriors(
    module: Family, variables: Variables, batch: Batch, key: jax.Array
) -> tuple[Distribution, ...]:
    none = "model must have a density q(z | x) of any z; codes are deterministic, or "
    latents = call(module, variables, batch, key, method="encode")
    ensure(latents, f"{none}there is none")
    return tuple(given(u.posterior, f"{none}known by their draws") for u in latents)


def likelihood(model: Model, codes: Any, **conditions: Any) -> Distribution:
    """p(x | z) of x as it is prepared, all at once.

    Args:
        model: As `fit` returns it.
        codes: As for `decode`.
        **conditions: As for `decode`.

    Returns:
        A distribution of batch shape [1, n] and the event shape of x. For a recipe with
        a `preparation.Scale` it is of x as it is scaled.

    Raises:
        ValueError: See `decode`.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> p = jaxae.likelihood(model, jaxae.encode(model, x))
        >>> p.log_prob((x > 0.5).astype(np.float32)).shape
        (1, 20)
    """
    shown = decoder_batch(model, codes, None, conditions)
    return _likelihood(model.module, model.variables, *shown)


@partial(jax.jit, static_argnums=0)
def _likelihood(
    module: Family, variables: Variables, codes: Codes, side: Batch
) -> Distribution:
    drawn = embed(module, variables, codes)
    return call(module, variables, drawn, side, method="decode")
