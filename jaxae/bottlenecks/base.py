"""What all bottlenecks say of themselves."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution

from jaxae.checks import check_returned
from jaxae.errors import ensure, kind_of, must_define
from jaxae.types import Latent
from jaxae.values import Component, Module

_A_LATENT = "a Latent, as `exact` of jaxae.bottlenecks.base makes one"


class Bottleneck(Component):
    """Base of the bottlenecks: features h -> `Latent`.

    Most say in `code` what is without noise, and leave the samples to this class.

    Attributes:
        stochastic: Whether there is a posterior, and a prior unless the model has one.

    Example:
        >>> import jaxae
        >>> from flax import linen as nn
        >>> from jaxae.bottlenecks.base import Bottleneck, exact
        >>> class Bounded(Bottleneck):
        ...     latent_dim: int = 2
        ...     @nn.compact
        ...     def code(self, h, weight):
        ...         return exact(nn.tanh(nn.Dense(self.latent_dim)(h)))
        >>> module = jaxae.recipes.compose_model((6,), "mlp", Bounded(), "gaussian")
        >>> recipe = jaxae.Recipe(module, jaxae.objectives.Reconstruction())
    """

    stochastic: ClassVar[bool] = False

    @property
    def has_prior(self) -> bool:
        """Whether there is a p(z) to draw codes from."""
        return self.stochastic

    @property
    def num_codes(self) -> int:
        """How many values an entry of `Latent.indices` may have; 0 without indices."""
        return 0

    @property
    def num_codebooks(self) -> int:
        """Above 1, the last axis of `Latent.indices` says which one of them."""
        return 1

    def __call__(
        self,
        h: Float[Array, "b ..."],
        key: jax.Array,
        *,
        num_samples: int = 1,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Latent:
        """The code of every example, `num_samples` of it if it is random.

        Args:
            h: Features of the examples.
            key: For what is random.
            num_samples: Samples of random codes; of others there is one.
            train: Whether statistics of the batch are kept.
            weight: How often each example counts where something is taken over the
                batch; None for once.
        """
        del train
        latent = self.code(h, weight)
        check_latent(self, latent, 1, h.shape[0])
        if latent.posterior is None:
            return latent
        return latent._replace(z=draw(latent.posterior, key, num_samples))

    def code(
        self, h: Float[Array, "b ..."], weight: Float[Array, " b"] | None
    ) -> Latent:
        """The code without noise, as of `exact`, and its posterior if it has one."""
        raise must_define(self, "code(self, h, weight)", _A_LATENT)

    def prior(self) -> Distribution:
        """p(z) with batch shape [1, 1], of a bottleneck that has one."""
        returns = "a distribution of numpyro with batch shape [1, 1]"
        raise must_define(self, "prior(self)", returns)

    def constrain(self, z: Float[Array, "k b ..."]) -> Float[Array, "k b ..."]:
        """The nearest code, where not every z is one."""
        return z

    def embed(self, indices: Int[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The z of whole numbers, of a discrete bottleneck."""
        raise must_define(self, "embed(self, indices)", "z [b, ...] of whole numbers")


def check_latent(part: Module, latent: Any, num_samples: int, count: int) -> None:
    """Raises ValueError unless a part, such as a bottleneck, returned a right one.

    Args:
        part: As the message names it.
        latent: What it returned.
        num_samples: The samples of random codes that it was asked for.
        count: Of the examples.
    """
    name = type(part).__name__
    right = isinstance(latent, Latent)
    ensure(right, f"{name} must return {_A_LATENT}, got {kind_of(latent)}")
    z = latent.z
    k = num_samples if getattr(z, "shape", ())[:1] == (num_samples,) else 1
    each = ": samples of the code of every example"
    check_returned(f"z of {name}", z, (k, count, ...), each)
    one = ": the code of every example"
    check_returned(f"mean of {name}", latent.mean, (count, *z.shape[2:]), one)
    if latent.posterior is not None:
        check_density(f"posterior of {name}", latent.posterior, {1, k}, {count})
        came, codes = latent.posterior.event_shape, z.shape[2:]
        of = f"posterior of {name} must be of codes of shape {codes}"
        ensure(came == codes, f"{of}, got the event shape {came}")
    mapping = isinstance(latent.metrics, Mapping)
    ensure(mapping, f"metrics of {name} must be by name, got {kind_of(latent.metrics)}")
    numbers = {"penalty": latent.penalty, **latent.metrics}
    shapes = [(field, value, (count,)) for field, value in numbers.items()]
    shapes += [("log_posterior", latent.log_posterior, (k, count))]
    shapes += [("indices", latent.indices, (count, ...))]
    for field, value, shape in shapes:
        if value is not None:
            check_returned(f"{field} of {name}", value, shape)


def check_density(name: str, density: Any, first: set[Any], second: set[Any]) -> None:
    """Raises ValueError unless it is a distribution with one of these batch shapes."""
    kind = f"{name} must be a distribution of numpyro, got {kind_of(density)}"
    ensure(isinstance(density, Distribution), kind)
    came = density.batch_shape
    right = len(came) == 2 and came[0] in first and came[1] in second
    sizes = [" or ".join(sorted(map(str, each))) for each in (first, second)]
    ensure(right, f"{name} must have the batch shape ({', '.join(sizes)}), got {came}")


def flat(h: Float[Array, "b ..."]) -> Float[Array, "b _"]:
    """The features as vectors."""
    return h.reshape(h.shape[0], -1)


def exact(z: Float[Array, "b ..."], **fields: Any) -> Latent:
    """A code without noise: its one sample is itself."""
    return Latent(z[None], z, **fields)


def draw(
    posterior: Distribution, key: jax.Array, num_samples: int
) -> Float[Array, "k b ..."]:
    """`num_samples` codes of every example, from q(z | x) with batch shape [1, b]."""
    return jnp.asarray(posterior.sample(key, (num_samples,)))[:, 0]
