"""Learned priors p(z), in place of a bottleneck's own.

A prior is a linen module: (x [m, ...] -> q(z | x) with batch shape [1, m]) -> p(z) with
batch shape [1, 1]. If its `__call__` names `shown`, it gets what the view shows it,
[b, _], and has batch shape [1, b]; if `fields`, those that the encoder is shown.
Against a mixture the KL has no closed form, so that `objectives.ELBO` takes the mean of
log q(z | x) - log p(z) over its samples.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, Independent

from jaxae.checks import as_range, check_count, check_sizes, settle
from jaxae.distributions.elementwise import Normal
from jaxae.distributions.mixtures import DiagonalMixture
from jaxae.errors import of_kind, require
from jaxae.precision import widened
from jaxae.values import Module
from jaxae.views import Field

PosteriorOf = Callable[..., Distribution]
"""(x, and what an encoder is shown beside it: {name: array}) -> q(z | x)."""


class MixturePrior(Module):
    """A mixture of Gaussians with diagonal covariances, all of it learned.

    Starts with equal weights, means from N(0, I) and standard deviations of 1.

    Attributes:
        latent_dim: d, the number of latent dimensions.
        components: How many Gaussians.

    Raises:
        ValueError: A number is below 1.
    """

    latent_dim: int
    components: int = 10

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("latent_dim", self.latent_dim)
        check_count("components", self.components)
        super().__post_init__()

    @nn.compact
    def __call__(self, posterior_of: PosteriorOf) -> Distribution:
        """p(z), whatever the posterior."""
        del posterior_of
        shape = (self.components, self.latent_dim)
        logits = self.param("logits", nn.initializers.zeros, shape[:1], jnp.float32)
        loc = self.param("loc", nn.initializers.normal(1.0), shape, jnp.float32)
        log_scale = self.param("log_scale", nn.initializers.zeros, shape, jnp.float32)
        return DiagonalMixture(logits, loc, jnp.exp(log_scale))


class ConditionalPrior(Module):
    """p(z | c) = N(mean(c), diag(std(c)²)), of what the view shows it.

    By a network of dense layers with ReLU between them, as in Sohn et al. (2015),
    section 4.1, https://papers.nips.cc/paper/5775. At first it is N(0, I): the last
    layer starts at zero.

    Attributes:
        latent_dim: d, the number of latent dimensions.
        hidden: The widths of the hidden layers; () for a linear function of c.
        log_std_range: Clamps log std to (lowest, highest).

    Raises:
        ValueError: A number is below 1, or the range is not increasing.

    Example:
        >>> import jaxae
        >>> from jaxae import bottlenecks, priors, recipes, views
        >>> module = recipes.compose_model(
        ...     (4,),
        ...     "mlp",
        ...     bottlenecks.Gaussian(2),
        ...     "gaussian",
        ...     prior=priors.ConditionalPrior(2),
        ...     view=views.Condition("age", to=("encoder", "decoder", "prior")),
        ... )
        >>> recipe = recipes.compose_recipe(module, jaxae.objectives.ELBO())
    """

    latent_dim: int
    hidden: tuple[int, ...] = (64,)
    log_std_range: tuple[float, float] = (-6.0, 2.0)

    def __post_init__(self) -> None:
        """Checks the attributes."""
        check_count("latent_dim", self.latent_dim)
        check_sizes("hidden", self.hidden)
        settle(self, as_range, "log_std_range")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, posterior_of: PosteriorOf, shown: Float[Array, "b _"]
    ) -> Distribution:
        """p(z | c) with batch shape [1, b]."""
        del posterior_of
        for width in self.hidden:
            shown = nn.relu(nn.Dense(width)(shown))
        last = nn.Dense(2 * self.latent_dim, kernel_init=nn.initializers.zeros)
        mean, log_std = jnp.split(widened(last(shown))[None], 2, axis=-1)
        log_std = jnp.clip(log_std, *self.log_std_range)
        return Normal.from_log_scale(mean, log_std).to_event(1)


class VampPrior(Module):
    """p(z) = (1/m) Σ_i q(z | u_i) with learned pseudo-inputs u_i.

    Tomczak & Welling (2018): the posteriors of inputs that are learned with
    everything else, and kept in [0, 1] by a clamp. They start as draws from
    N(0.05, 0.01²), which is about as dark as MNIST.

    An encoder that is shown conditions is shown some of each pseudo-input too: all
    combinations of categories take turns, numbers are learned, and start as draws from
    N(0, 1).

    Attributes:
        unit_interval: That x has to lie in [0, 1].
        shape: The shape of one example, such as (28, 28, 1).
        components: m, how many pseudo-inputs.

    Raises:
        ValueError: A number is below 1; or, when the model first runs, the posterior is
            not a factorised Gaussian, or there are fewer components than combinations
            of categories.
    """

    unit_interval: ClassVar[bool] = True

    shape: tuple[int, ...]
    components: int = 500

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_sizes("shape", self.shape)
        check_count("components", self.components)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        posterior_of: PosteriorOf,
        fields: Mapping[str, Field] = MappingProxyType({}),
    ) -> Distribution:
        """The mixture of the posteriors of the pseudo-inputs."""
        shape = (self.components, *self.shape)
        start = partial(_near, 0.05, 0.01)
        inputs = self.param("pseudo_inputs", start, shape, jnp.float32)
        conditions = self._conditions(fields)
        q = posterior_of(jnp.clip(inputs, 0.0, 1.0), conditions)
        expected = "a Gaussian factorised over the dimensions for a VampPrior"
        factorised = of_kind(Independent, "posterior", q, expected)
        base = of_kind(Normal, "posterior", factorised.base_dist, expected)
        loc, scale = jnp.asarray(base.mean), jnp.asarray(base.scale)
        scale = jnp.broadcast_to(scale, loc.shape)
        return DiagonalMixture(jnp.zeros(self.components, loc.dtype), loc[0], scale[0])

    def _conditions(self, fields: Mapping[str, Field]) -> dict[str, Array]:
        """What pseudo-inputs are shown: a number is read as one digit per category."""
        sizes = {k: math.prod(f.shape) for k, f in fields.items() if f.categories}
        combinations = math.prod(fields[k].categories ** n for k, n in sizes.items())
        one = f"at least {combinations}, one for each combination of the categories "
        one += f"that the encoder is shown as {sorted(sizes)}"
        require(self.components >= combinations, "components", self.components, one)
        conditions, rest = {}, jnp.arange(self.components)
        for name, form in fields.items():
            shape = (self.components, *form.shape)
            if not form.categories:
                start = nn.initializers.normal(1.0)
                found = self.param(f"pseudo_{name}", start, shape, jnp.float32)
            else:
                digits = []
                for _ in range(sizes[name]):
                    rest, digit = jnp.divmod(rest, form.categories)
                    digits.append(digit)
                found = jnp.stack(digits, axis=-1).reshape(shape)
            conditions[name] = found
        return conditions


def _near(
    mean: float, std: float, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
) -> Array:
    return mean + std * jax.random.normal(key, shape, dtype)
