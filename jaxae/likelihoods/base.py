"""What a likelihood is, and the scales of several."""

import math
import numbers
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from numpyro.distributions import Distribution, constraints

from jaxae.distributions import elementwise
from jaxae.distributions import levels as grey
from jaxae.errors import ensure, kind_of, must_define, require, unknown
from jaxae.preparation import unit_interval
from jaxae.types import Prepare
from jaxae.values import Component

MIN_LOG_SCALE = -6.0
"""Floor of learned log standard deviations and scales.

exp(-6) is 0.6 of the step between two of 256 grey levels: on stored images a narrower
density only measures the rounding, and its likelihood grows without bound.
"""

_LOG_OF_ONE = math.log1p(-math.exp(MIN_LOG_SCALE))  # e^l + e^-6 is 1 there


class Support(NamedTuple):
    """What a value of x may be: as a constraint, and as the end of "values must be"."""

    constraint: Any  # a numpyro constraint
    words: str


UNIT_INTERVAL = Support(constraints.unit_interval, "in [0, 1]")

REAL = Support(constraints.real, "finite numbers")


def grey_levels(levels: int) -> Support:
    """k / (levels - 1) with a whole k."""
    last = levels - 1
    words = f"a level k/{last} with a whole k from 0 to {last}"
    return Support(grey.grey_levels(levels), words)


class Target(NamedTuple):
    """What a likelihood may estimate a parameter from while training.

    Attributes:
        x: The values.
        weight: How often each example counts; None for once.
        counted: Which values the loss counts, broadcastable to x; None for all.
    """

    x: Float[Array, "b ..."]
    weight: Float[Array, " b"] | None = None
    counted: Bool[Array, "b ..."] | None = None


class Likelihood(Component):
    """Base of the likelihoods; what the subclasses say of themselves is here.

    Attributes:
        values: What a value of x may be.
        normalized: Whether p(x | z) sums or integrates to 1, so that -log_prob may be
            called a negative log-likelihood.

    Example:
        >>> import jaxae
        >>> from numpyro.distributions import Logistic
        >>> from jaxae.likelihoods.base import REAL, Likelihood
        >>> class Logistics(Likelihood):
        ...     values = REAL
        ...     def elementwise(self, parameters, target):
        ...         return Logistic(parameters[..., 0], 0.1)
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2, likelihood=Logistics())
    """

    # Not the constraint alone: linen would take a callable attribute for a method.
    values: ClassVar[Support]
    normalized: ClassVar[bool] = True

    @property
    def support(self) -> Any:
        """The constraint that every value of x has to satisfy."""
        return self.values.constraint

    @property
    def prepare(self) -> Prepare:
        """What makes x of stored values: bytes become k/255, floats stay."""
        return unit_interval

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 1

    def __call__(
        self,
        outputs: Float[Array, "k b ..."],
        target: Target | None = None,
    ) -> Distribution:
        """p(x | z).

        Args:
            outputs: [k, b, ..., channels · params_per_value], the parameters of one
                channel side by side. Half precision is widened to float32.
            target: While training only, x: for a likelihood that estimates a parameter
                from it.

        Returns:
            Batch shape [k, b], event shape [..., channels].

        Raises:
            ValueError: The last axis of `outputs` is no multiple of `params_per_value`.
        """
        size, per_value = outputs.shape[-1], self.params_per_value
        expected = f"a multiple of {per_value}, the parameters per value"
        require(size % per_value == 0, "the last axis of outputs", size, expected)
        if jnp.finfo(outputs.dtype).bits < 32:
            outputs = outputs.astype(jnp.float32)
        parameters = outputs.reshape(*outputs.shape[:-1], size // per_value, per_value)
        each = self.elementwise(parameters, target)
        own = f"elementwise of {type(self).__name__} must return a distribution of"
        made = isinstance(each, Distribution)
        ensure(made, f"{own} numpyro, got {kind_of(each)}")
        came, values = each.batch_shape, parameters.shape[:-1]
        one = f"{own} the batch shape {values}, one for every value"
        ensure(came == values, f"{one}, got {came}")
        return elementwise.Event(each, outputs.ndim - 2, validate_args=False)

    def elementwise(
        self, parameters: Float[Array, "k b ..."], target: Target | None
    ) -> Distribution:
        """The distribution of each value, from [k, b, ..., channels, parameters]."""
        returns = "a distribution of numpyro, of the batch shape parameters.shape[:-1]"
        raise must_define(self, "elementwise(self, parameters, target)", returns)


def check_scale(name: str, choice: float | str, words: tuple[str, ...]) -> None:
    """Raises ValueError unless a choice is one of the words or a positive number."""
    if isinstance(choice, str):
        valid = choice in words
    else:
        number = isinstance(choice, numbers.Real) and not isinstance(choice, bool)
        valid = number and 0 < choice < math.inf
    ensure(valid, unknown(name, choice, words, beside="a positive number or "))


def scale_of(
    module: nn.Module, name: str, choice: float | str, parameters: Array
) -> Array:
    """The fixed, learned or decoded scale, to broadcast against parameters[..., 0]."""
    dtype = parameters.dtype
    if choice == "per_value":
        log_scale = parameters[..., 1]
    elif choice == "shared":
        start = nn.initializers.constant(_LOG_OF_ONE)
        log_scale = module.param(f"log_{name}", start, (), dtype)
    else:
        return jnp.asarray(choice, dtype)
    return jnp.exp(log_scale) + math.exp(MIN_LOG_SCALE)
