"""A Gaussian mixture fitted to codes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.checks import check_count, check_key
from jaxae.errors import ensure, importing_scikit_learn
from jaxae.inference import Codes
from jaxae.samplers.base import Sampler, flatten


def gaussian_mixture(codes: Any, key: jax.Array, *, components: int = 10) -> Sampler:
    """A mixture of Gaussians with full covariances, by expectation-maximisation.

    Ghosh et al. (2020), section 4, fit one to the codes of deterministic auto-encoders.
    The fit is scikit-learn's, which adds 1e-6 to all variances, and warns where it has
    not converged in 100 iterations.

    Args:
        codes: As `aggregate_codes` returns them, real numbers.
        key: A typed key, from which the initialisation follows.
        components: How many Gaussians.

    Raises:
        ValueError: The codes are not real and finite, or fewer than `components`.
        ImportError: scikit-learn is not installed.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> codes = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
        >>> key = jax.random.key(0)
        >>> jaxae.samplers.gaussian_mixture(codes, key, components=2)(key, 3).shape
        (3, 2)
    """
    check_key(key)
    check_count("components", components)
    flat, unflatten = flatten(codes)
    count = flat.shape[0]
    # A covariance needs two codes at least.
    least = max(2, components)
    ensure(count >= least, f"codes must be at least {least}, got {count} of them")
    mixture = _mixture_class()(components, random_state=int(jax.random.bits(key)))
    mixture.fit(np.asarray(flat, np.float64))
    log_weights = jnp.asarray(np.log(mixture.weights_), jnp.float32)
    means = jnp.asarray(mixture.means_, jnp.float32)
    factors = jnp.asarray(np.linalg.cholesky(mixture.covariances_), jnp.float32)

    def draw(key: jax.Array, count: int) -> Codes:
        check_key(key)
        check_count("count", count)
        return unflatten(_draws(key, count, log_weights, means, factors))

    return draw


@partial(jax.jit, static_argnums=1)
def _draws(
    key: jax.Array,
    count: int,
    log_weights: Float[Array, " m"],
    means: Float[Array, "m d"],
    factors: Float[Array, "m d d"],
) -> Float[Array, "{count} d"]:
    key_choice, key_noise = jax.random.split(key)
    chosen = jax.random.categorical(key_choice, log_weights, shape=(count,))
    noise = jax.random.normal(key_noise, (count, means.shape[1]), jnp.float32)
    # Of all components at once: the chosen factors would be an array [n, d, d].
    offsets = jnp.einsum("nj,mdj->mnd", noise, factors, precision="highest")
    return means[chosen] + offsets[chosen, jnp.arange(count)]


def _mixture_class() -> Any:
    with importing_scikit_learn("gaussian_mixture"):
        from sklearn.mixture import GaussianMixture
    return GaussianMixture
