# numpyro declares its parameters as lazy properties of any array-like, NumPy's too.
# pyright: reportMissingParameterType=false, reportOperatorIssue=false
# pyright: reportArgumentType=false
"""Student's t, with samples that gradients of all parameters pass through."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions.util import promote_shapes


class StudentT(dist.StudentT):
    """loc + scale · t with `df` degrees of freedom.

    A sample of t is √(df (u^(-2/df) - 1)) cos(2πv) with u and v uniform in [0, 1]
    (Bailey 1994, https://doi.org/10.2307/2153537): a smooth function of df, which that
    by a gamma variate is not, whose derivative takes a hundred times as long.
    """

    def __init__(
        self,
        df: Float[Array, "..."],
        loc: Float[Array, "..."],
        scale: Float[Array, "..."],
    ) -> None:
        """All of one shape, or such that they broadcast."""
        super().__init__(df, loc, scale, validate_args=False)

    def log_prob(self, value, intermediates=None):
        """Per value, in nats."""
        value, df, loc, scale = promote_shapes(value, self.df, self.loc, self.scale)
        square = jnp.square((value - loc) / scale)
        constant = _log_ratio(0.5 * df) - 0.5 * jnp.log(jnp.pi * df) - jnp.log(scale)
        return constant - 0.5 * (df + 1.0) * jnp.log1p(square / df)

    def sample(self, key, sample_shape=()):
        """Draws [*sample_shape, *batch]."""
        key_radius, key_angle = jax.random.split(key)
        df, shape = jnp.asarray(self.df), (*sample_shape, *self.batch_shape)
        least = jnp.finfo(df.dtype).tiny
        u = jax.random.uniform(key_radius, shape, df.dtype, minval=least)
        v = jax.random.uniform(key_angle, shape, df.dtype)
        df = jnp.broadcast_to(df, shape)
        # 2⁻³² more than 0, where the root has no derivative.
        square = df * jnp.expm1(-2.0 / df * jnp.log(u)) + 2.0**-32
        t = jnp.sqrt(square) * jnp.cos(2.0 * jnp.pi * v)
        loc, scale = (jnp.broadcast_to(a, shape) for a in (self.loc, self.scale))
        return loc + scale * t


def _log_ratio(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """log Γ(a + ½) - log Γ(a).

    Four steps of Γ(a + 1) = a Γ(a) up, and there the asymptotic series, whose first
    term left out is below 1e-7 (https://dlmf.nist.gov/5.11.E13). Two log-gammas would
    cancel for a large a, and take a hundred times as long to compile.
    """
    below = sum(jnp.log1p(0.5 / (a + i)) for i in range(4))
    b = a + 4.0
    inverse = 1.0 / b
    cube, fifth = inverse**3, inverse**5
    return 0.5 * jnp.log(b) - inverse / 8.0 + cube / 192.0 - fifth / 640.0 - below
