# numpyro declares its parameters as lazy properties of any array-like, NumPy's too.
# pyright: reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportMissingParameterType=false
# pyright: reportMissingTypeArgument=false, reportReturnType=false
"""Mixtures over latent codes, as the distributions of `jaxae.distributions`."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import constraints


class DiagonalMixture(dist.Distribution):
    """p(z) = Σ_m w_m N(z; loc_m, diag(scale_m²)), batch shape [1, 1], event shape [d].

    The squared distances to all components are three matrix products,
    Σ_j (z_j² - 2 z_j loc_j + loc_j²) / scale_j², which needs no array [k, b, m, d]. In
    float32 their rounding error is about 1e-7 · (size of z / scale)², so that scales
    should not be far below a hundredth of the codes' size.
    """

    arg_constraints: ClassVar = {
        "logits": constraints.real_vector,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real_vector

    def __init__(
        self,
        logits: Float[Array, " m"],
        loc: Float[Array, "m d"],
        scale: Float[Array, "m d"],
    ) -> None:
        """Logits of the weights, means and standard deviations of the components."""
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__((1, 1), jnp.shape(loc)[-1:], validate_args=False)

    def log_prob(self, value, intermediates=None):
        """Of codes [k, b, d], in nats: [k, b]."""
        # Around the middle of the components the numbers that cancel are smallest.
        middle = self.loc.mean(axis=0)
        z = value - jnp.broadcast_to(middle, value.shape)
        loc = self.loc - jnp.broadcast_to(middle, self.loc.shape)
        inverse = jnp.square(1.0 / self.scale)
        constant = (
            jax.nn.log_softmax(self.logits)
            - 0.5 * jnp.sum(jnp.square(loc) * inverse, axis=-1)
            - jnp.sum(jnp.log(self.scale), axis=-1)
            - 0.5 * loc.shape[-1] * math.log(2.0 * math.pi)
        )
        linear = _products(z, loc * inverse) - 0.5 * _products(z * z, inverse)
        joint = linear + jnp.broadcast_to(constant, linear.shape)
        return jax.nn.logsumexp(joint, axis=-1)

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, 1, 1, d]."""
        choice_key, noise_key = jax.random.split(key)
        shape = (*sample_shape, 1, 1)
        chosen = jax.random.categorical(choice_key, self.logits, shape=shape)
        noise = jax.random.normal(noise_key, shape + self.event_shape, self.loc.dtype)
        return self.loc[chosen] + self.scale[chosen] * noise

    @property
    def mean(self):
        """Σ_m w_m loc_m, [1, 1, d]."""
        weights = jax.nn.softmax(self.logits)
        return jnp.einsum("m,md->d", weights, self.loc, precision="highest")[None, None]


def _products(z: Float[Array, "k b d"], rows: Float[Array, "m d"]) -> Array:
    return jnp.einsum("kbd,md->kbm", z, rows, precision="highest")
