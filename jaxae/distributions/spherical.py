# numpyro declares its parameters as lazy properties of any array-like, NumPy's too.
# pyright: reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportAssignmentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportMissingParameterType=false
# pyright: reportMissingTypeArgument=false, reportReturnType=false
"""The von Mises-Fisher distribution on the unit sphere of R^d, d at least 2.

Densities are relative to the sphere's surface measure. All integrals over the sphere
are integrals over the angle θ to the mean direction, ∫ sin^(d-2) θ exp(κ (cos θ - 1))
dθ, by Gauss-Legendre quadrature over the angles that matter: the integrand is smooth,
so that `NODES` nodes give all digits of float32 for any concentration κ from 0 on.
"""

import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import constraints, kl_divergence
from numpyro.distributions.util import promote_shapes

from jaxae.checks import check_count

NODES = 256
"""Points of the quadrature; enough for up to some thousand dimensions."""

_LEAST_ANGLE = 1e-6  # keeps sin θ above 0 at both ends


def log_area(dim: int) -> float:
    """log of the surface of the unit sphere of R^dim: log 2 + (d/2) log π - log Γ(d/2).

    Raises:
        ValueError: `dim` is below 2.
    """
    check_count("dim", dim, least=2)
    return math.log(2.0) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def log_normalizer(concentration: Float[Array, "..."], dim: int) -> Float[Array, "..."]:
    """log of the mean of exp(κ (cos θ - 1)) over the uniform distribution.

    With ν = d/2 - 1 that is log(Γ(ν + 1) (2/κ)^ν I_ν(κ) exp(-κ)): 0 at κ = 0. The
    density of a von Mises-Fisher distribution is exp(κ (cos θ - 1) - log_normalizer)
    times that of the uniform one.

    Args:
        concentration: κ, at least 0.
        dim: d, of the space around the sphere.

    Raises:
        ValueError: `dim` is below 2.
    """
    check_count("dim", dim, least=2)
    _, log_mass = _angles(concentration, dim)
    # ∫ sin^(d-2) θ dθ, the value at κ = 0.
    at_zero = math.lgamma(0.5 * (dim - 1)) - math.lgamma(0.5 * dim)
    return jax.nn.logsumexp(log_mass, axis=-1) - (at_zero + 0.5 * math.log(math.pi))


def mean_resultant(concentration: Float[Array, "..."], dim: int) -> Float[Array, "..."]:
    """E[cos θ] = I_(d/2)(κ) / I_(d/2-1)(κ), the length of the mean, in [0, 1).

    Raises:
        ValueError: `dim` is below 2.
    """
    check_count("dim", dim, least=2)
    return 1.0 - _mean_gap(concentration, dim)


def _mean_gap(concentration: Array, dim: int) -> Array:
    """E[1 - cos θ], to the full relative precision where κ is large, too."""
    angles, log_mass = _angles(concentration, dim)
    return (jax.nn.softmax(log_mass) * _gap(angles)).sum(axis=-1)


@functools.cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """The nodes on [0, 1] and the logarithms of their weights, each [NODES]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    nodes, log_weights = 0.5 * (nodes + 1.0), np.log(0.5 * weights)
    return nodes.astype(np.float32), log_weights.astype(np.float32)


def _angles(concentration: Array, dim: int) -> tuple[Array, Array]:
    """The nodes θ [..., NODES], and the log of the integrand at them with weights."""
    kappa = concentration[..., None]
    shape = (*[1] * concentration.ndim, NODES)
    nodes, log_weights = (values.reshape(shape) for values in _quadrature())
    # The value of the integral does not depend on the nodes: no gradient.
    limit = jax.lax.stop_gradient(_largest_angle(kappa, dim))
    angles = limit * nodes
    log_mass = (dim - 2) * _log_sin(angles) - kappa * _gap(angles)
    return angles, log_mass + log_weights + jnp.log(limit)


def _largest_angle(concentration: Array, dim: int) -> Array:
    """Above this angle there is less than exp(-18) of the probability.

    As cos θ - 1 <= -2 θ²/π², the integrand is below that of a radius in d - 1
    dimensions under a Gaussian of std π / (2 √κ); that radius is seldom more than
    6 std above √d std.
    """
    least = jnp.maximum(concentration, 1e-6)
    return jnp.minimum(
        math.pi, 0.5 * math.pi * (math.sqrt(dim) + 6.0) / jnp.sqrt(least)
    )


def _gap(angle: Array) -> Array:
    """1 - cos θ, without cancellation."""
    return 2.0 * jnp.square(jnp.sin(0.5 * angle))


def _log_sin(angle: Array) -> Array:
    """log sin θ, finite where rounding takes θ above π."""
    return jnp.log(jnp.maximum(jnp.sin(angle), 1e-20))


def sample_angle(
    key: jax.Array, concentration: Float[Array, "..."], dim: int
) -> Float[Array, "..."]:
    """Exact draws of the angle θ to the mean direction, one for every κ.

    Wood's (1994) rejection sampler of w = cos θ, with 1 - w in place of w, which keeps
    all digits where κ is large. Gradients with respect to κ are those of the inverse
    distribution function at a fixed quantile: dw/dκ = -(∂F/∂κ) / f(w).

    Args:
        key: A typed key.
        concentration: κ, at least 0.
        dim: d, of the space around the sphere.

    Raises:
        ValueError: `dim` is below 2.
    """
    check_count("dim", dim, least=2)
    kappa = jax.lax.stop_gradient(concentration)
    angle = 2.0 * jnp.arcsin(jnp.sqrt(0.5 * _sample_gap(key, kappa, dim)))
    angle = jnp.clip(angle, _LEAST_ANGLE, math.pi - _LEAST_ANGLE)
    return _reparameterize(dim, angle, concentration)


def _sample_gap(key: jax.Array, kappa: Array, dim: int) -> Array:
    """1 - cos θ: proposals for all until every one was accepted once."""
    n = dim - 1.0
    b = n / (2.0 * kappa + jnp.sqrt(4.0 * jnp.square(kappa) + n * n))
    x0, gap0 = (1.0 - b) / (1.0 + b), 2.0 * b / (1.0 + b)  # gap0 = 1 - x0
    log_top = jnp.log(gap0 * (1.0 + x0))  # 1 - x0²

    def propose(key: jax.Array) -> tuple[Array, Array]:
        key_beta, key_accept = jax.random.split(key)
        beta = jax.random.beta(key_beta, 0.5 * n, 0.5 * n, kappa.shape, kappa.dtype)
        gap = 2.0 * b * beta / (1.0 - (1.0 - b) * beta)
        log_ratio = kappa * (gap0 - gap) + n * (jnp.log(gap0 + x0 * gap) - log_top)
        exponential = jax.random.exponential(key_accept, kappa.shape, kappa.dtype)
        return jnp.clip(gap, 0.0, 2.0), log_ratio >= -exponential

    def more(state: tuple[jax.Array, Array, Array]) -> Array:
        return ~state[2].all()

    def again(state: tuple[jax.Array, Array, Array]) -> tuple[jax.Array, Array, Array]:
        key, gap, done = state
        key, key_now = jax.random.split(key)
        proposed, accepted = propose(key_now)
        return key, jnp.where(done, gap, proposed), done | accepted

    start = key, jnp.zeros_like(kappa), jnp.zeros(kappa.shape, bool)
    return jax.lax.while_loop(more, again, start)[1]


def _reparameterize(dim: int, angle: Array, concentration: Array) -> Array:
    """`angle` itself, with the derivative with respect to κ."""

    @jax.custom_jvp
    def attach(angle: Array, concentration: Array) -> Array:
        del concentration
        return angle

    @attach.defjvp
    def attach_jvp(
        primals: tuple[Array, Array], tangents: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        angle, kappa = primals
        return angle, tangents[0] + _angle_slope(angle, kappa, dim) * tangents[1]

    return attach(angle, concentration)


def _angle_slope(angle: Array, kappa: Array, dim: int) -> Array:
    """dθ/dκ at a fixed quantile.

    With g the density of θ, g(θ) dθ/dκ = -∫_0^θ (cos t - E cos) g(t) dt, as the
    derivative of log g is cos t - E cos; the integral over all angles is 0. It is taken
    on the side of θ where g falls off, so that g(t) / g(θ) is at most 1.
    """
    # The mode: (d - 2) cos θ = κ sin² θ.
    n = dim - 2.0
    root = n + jnp.sqrt(4.0 * jnp.square(kappa) + n * n)
    rising = jnp.cos(angle) > (2.0 * kappa / root if dim > 2 else 1.0)
    above = jnp.minimum(math.pi, angle + _largest_angle(kappa, dim)) - angle
    length = jnp.where(rising, -angle, above)[..., None]
    at, top = angle[..., None], kappa[..., None]
    shape = (*[1] * angle.ndim, NODES)
    nodes, log_weights = (values.reshape(shape) for values in _quadrature())
    t = at + length * nodes
    log_ratio = n * (_log_sin(t) - _log_sin(at))
    log_ratio = log_ratio - top * (_gap(t) - _gap(at))
    from_mean = _mean_gap(kappa, dim)[..., None] - _gap(t)
    weights = jnp.exp(log_weights)
    return (length * weights * from_mean * jnp.exp(log_ratio)).sum(axis=-1)


class VonMisesFisher(dist.Distribution):
    """p(z) ∝ exp(κ μᵀz) on the unit sphere.

    Parameters are the mean direction `loc`, unit vectors [..., d], and the
    concentration κ, [...]; samples have gradients with respect to both.
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "concentration": constraints.positive,
    }
    support = constraints.real_vector
    reparametrized_params: ClassVar = ["loc", "concentration"]

    def __init__(self, loc: Array, concentration: Array) -> None:
        """Both have the same batch shape."""
        self.loc, self.concentration = loc, concentration
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def log_prob(self, value, intermediates=None):
        """In nats, relative to the surface measure: [k, b]."""
        dim = self.loc.shape[-1]
        value, loc = promote_shapes(value, self.loc)
        # 1 - μᵀz = ||μ - z||² / 2 keeps its digits where κ is large.
        gap = 0.5 * jnp.square(value - loc).sum(axis=-1)
        log_scale = log_normalizer(self.concentration, dim) + log_area(dim)
        gap, kappa, log_scale = promote_shapes(gap, self.concentration, log_scale)
        return -kappa * gap - log_scale

    def sample(self, key, sample_shape=()):
        """Draws unit vectors [*sample_shape, ..., d]."""
        key_angle, key_tangent = jax.random.split(key)
        shape = sample_shape + self.loc.shape
        kappa = _broadcast(self.concentration, shape[:-1])
        angle = sample_angle(key_angle, kappa, shape[-1])[..., None]
        around = (*shape[:-1], shape[-1] - 1)
        tangent = _unit(jax.random.normal(key_tangent, around, self.loc.dtype))
        loc = _broadcast(self.loc, shape)
        # The first axis is reflected to the mean; from the side of the axis that is
        # farther from the mean, where the mirror is well defined.
        sign = jnp.where(loc[..., :1] > 0.0, -1.0, 1.0)
        first = jnp.zeros(shape, loc.dtype).at[..., :1].set(sign)
        upright = [sign * jnp.cos(angle), jnp.sin(angle) * tangent]
        upright = jnp.concatenate(upright, axis=-1)
        normal = _unit(first - loc)
        inside = (normal * upright).sum(axis=-1, keepdims=True)
        return upright - 2.0 * inside * normal

    @property
    def mean(self):
        """E[z], inside the sphere: [..., d]."""
        length = mean_resultant(self.concentration, self.loc.shape[-1])
        return self.loc * length[..., None]

    def entropy(self):
        """In nats, relative to the surface measure: [...]."""
        dim = self.loc.shape[-1]
        return log_area(dim) - _kl_to_uniform(self.concentration, dim)


class SphereUniform(dist.Distribution):
    """The uniform distribution on the unit sphere of R^dim."""

    arg_constraints: ClassVar = {}
    support = constraints.real_vector
    pytree_aux_fields = ("dim",)

    def __init__(self, dim: int, batch_shape: tuple[int, ...] = ()) -> None:
        """`dim` is at least 2."""
        check_count("dim", dim, least=2)
        self.dim = dim
        super().__init__(batch_shape, (dim,), validate_args=False)

    def log_prob(self, value, intermediates=None):
        """In nats, relative to the surface measure; the same everywhere."""
        shape = jnp.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return jnp.full(shape, -log_area(self.dim), value.dtype)

    def sample(self, key, sample_shape=()):
        """Draws unit vectors [*sample_shape, ..., dim]."""
        shape = (*sample_shape, *self.batch_shape, self.dim)
        return _unit(jax.random.normal(key, shape, jnp.float32))

    @property
    def mean(self):
        """The centre of the sphere."""
        return jnp.zeros((*self.batch_shape, self.dim), jnp.float32)

    def entropy(self):
        """In nats, relative to the surface measure."""
        return jnp.full(self.batch_shape, log_area(self.dim), jnp.float32)


@kl_divergence.register(VonMisesFisher, SphereUniform)
def _kl(q: VonMisesFisher, p: SphereUniform) -> Array:
    shape = jnp.broadcast_shapes(q.batch_shape, p.batch_shape)
    return _broadcast(_kl_to_uniform(q.concentration, p.dim), shape)


def _kl_to_uniform(concentration: Array, dim: int) -> Array:
    """κ (E[cos θ] - 1) - log_normalizer (Davidson et al. 2018)."""
    inside = concentration * _mean_gap(concentration, dim)
    return -inside - log_normalizer(concentration, dim)


def _unit(vectors: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Scaled to length 1."""
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


def _broadcast(values: Array, shape: tuple[int, ...]) -> Array:
    return jnp.broadcast_to(values, shape)
