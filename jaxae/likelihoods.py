"""Likelihoods: what the decoder puts out becomes p(x | z).

A likelihood is a linen module, as some learn a parameter or keep a statistic. It turns
outputs [k, b, ..., channels · params_per_value] into a distribution with batch shape
[k, b] and the event shape of x: `log_prob(x)` is [k, b], in nats, and
`base_dist.log_prob(x)` is that of the single values, [k, b, ...].
"""

import functools
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float
from numpyro.distributions import Distribution, constraints

from jaxae.averages import running_mean, weighted_mean
from jaxae.checks import check_count
from jaxae.distributions import elementwise as distributions
from jaxae.distributions import student
from jaxae.distributions.beta_binomial import GreyBetaBinomial
from jaxae.errors import choose, require
from jaxae.preparation import binarize, unit_interval
from jaxae.types import Prepare
from jaxae.values import Module

MIN_LOG_SCALE = -6.0
"""Floor of learned log standard deviations and scales.

exp(-6) is 0.6 of the step between two of 256 grey levels: on stored images a narrower
density only measures the rounding, and its likelihood grows without bound.
"""

VARIANCE_MOMENTUM = 0.9
"""Of the running mean of `Gaussian("optimal")`: what a batch counts beside the next."""

_LOG_OF_ONE = math.log1p(-math.exp(MIN_LOG_SCALE))  # e^l + e^-6 is 1 there

_LOG_SCALE_LIMIT = (
    7.0  # of the mixture: from a ninth of a level to 1,000 times the range
)

_LOG_SHAPE_LIMIT = 10.0  # of a beta distribution: far narrower than 255 draws of it


class Support(NamedTuple):
    """What a value of x may be: as a constraint, and as the end of "values must be"."""

    constraint: Any  # a numpyro constraint
    words: str


_UNIT_INTERVAL = Support(constraints.unit_interval, "in [0, 1]")
_REAL = Support(constraints.real, "finite numbers")


def _grey_levels(levels: int) -> Support:
    last = levels - 1
    words = f"a level k/{last} with a whole k from 0 to {last}"
    return Support(distributions.grey_levels(levels), words)


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


class Likelihood(Module):
    """Base of the likelihoods; what the subclasses say of themselves is here.

    Attributes:
        values: What a value of x may be.
        normalized: Whether p(x | z) sums or integrates to 1, so that -log_prob may be
            called a negative log-likelihood.
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
        return distributions.Event(each, outputs.ndim - 2, validate_args=False)

    def elementwise(
        self, parameters: Float[Array, "k b ..."], target: Target | None
    ) -> Distribution:
        """The distribution of each value, from [k, b, ..., channels, parameters]."""
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Binary values; the decoder puts out logits.

    The log-probability of a value other than 0 and 1 is undefined (it is not -inf, as
    looking would cost time in every step).
    """

    values = Support(constraints.boolean, "0 or 1")

    @property
    def prepare(self) -> Prepare:
        """Stored values are probabilities, from which x is drawn."""
        return binarize

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        return distributions.Bernoulli(parameters[..., 0])


class BinaryCrossEntropy(Likelihood):
    """The binary cross-entropy loss on grey values, as in Keras and most tutorials.

    `log_prob` is minus the cross-entropy in nats between x and sigmoid(outputs). It is
    NOT a log-likelihood: exp(log_prob) does not integrate to 1 over [0, 1] (see
    `ContinuousBernoulli`), and its best value is not 0 but minus the entropy of
    the pixels. The mean is sigmoid(outputs); samples are 0 or 1, with that mean.
    """

    values = _UNIT_INTERVAL
    normalized = False

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        return distributions.GreyBernoulli(parameters[..., 0])


class ContinuousBernoulli(Likelihood):
    """Grey values in [0, 1] with density ∝ exp(outputs · x).

    The binary cross-entropy with the normaliser that it lacks (Loaiza-Ganem &
    Cunningham 2019). The mean is not sigmoid(outputs), but nearer to 1/2.
    """

    values = _UNIT_INTERVAL

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        return distributions.ContinuousBernoulli(parameters[..., 0])


class Gaussian(Likelihood):
    """Real values with Gaussian noise; the decoder puts out the mean itself.

    Attributes:
        std: One of
            a positive number: fixed. 1 is half the squared error, plus a constant;
            "shared": one learned number, 1 at first;
            "per_value": the decoder puts out (mean, log_std) for every value;
            "optimal": the maximum-likelihood variance, which is the mean squared error
            over samples, batch and values (Rybkin et al. 2021, sigma-VAE, section 4.2).
            While training it is that of the batch, as a constant: by the envelope
            theorem the gradient is that of the profiled likelihood. Otherwise it is its
            running mean (`VARIANCE_MOMENTUM`; 1 before training), which training keeps
            in the variable collection "statistics", to be passed as mutable.

    A learned log standard deviation l stands for e^l + e^-6, so that `MIN_LOG_SCALE` is
    a smooth floor; an optimal variance has its floor there, too.

    Raises:
        ValueError: `std` is none of these.
    """

    values = _REAL

    std: float | str = 1.0

    def __post_init__(self) -> None:
        """Checks `std`."""
        _check_scale("std", self.std, ("shared", "per_value", "optimal"))
        super().__post_init__()

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 2 if self.std == "per_value" else 1

    @nn.compact
    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        mean = parameters[..., 0]
        if self.std == "optimal":
            return distributions.Normal(mean, jnp.sqrt(self._variance(mean, target)))
        scale = _scale(self, "std", self.std, parameters)
        return distributions.Normal(mean, scale)

    def _variance(self, mean: Array, target: Target | None) -> Array:
        average = self.variable("statistics", "variance", jnp.ones, (), mean.dtype)
        mass = self.variable("statistics", "mass", jnp.zeros, (), mean.dtype)
        variance = average.value
        if target is not None:
            variance, known = _mean_square(mean, target)
            if not self.is_initializing():
                average.value, mass.value = running_mean(
                    average.value, variance, mass.value, VARIANCE_MOMENTUM, known
                )
        return jnp.maximum(variance, math.exp(2.0 * MIN_LOG_SCALE))


def _mean_square(
    mean: Float[Array, "k b ..."], target: Target
) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """The mean of (x - mean)² over what counts, as a constant, and if anything does."""
    square = jnp.square(mean - target.x[None])
    counts = jnp.ones((1,) * target.x.ndim, bool)
    counts = counts if target.counted is None else target.counted
    counts = jnp.broadcast_to(counts, target.x.shape)
    axes = tuple(range(1, counts.ndim))
    total = jnp.where(counts[None], square, 0.0).mean(axis=0).sum(axis=axes)
    count = counts.sum(axis=axes).astype(square.dtype)
    share = weighted_mean(count, target.weight)
    variance = weighted_mean(total, target.weight) / jnp.maximum(share, 1e-12)
    return jax.lax.stop_gradient(variance), share > 0


class Laplace(Likelihood):
    """Real values with Laplace noise: the absolute error, divided by the scale.

    Attributes:
        scale: A positive number (fixed), "shared" (one learned number, 1 at first), or
            "per_value" (the decoder puts out (mean, log_scale) for every value).
            Learned ones have the floor of `Gaussian`.

    Raises:
        ValueError: `scale` is none of these.
    """

    values = _REAL

    scale: float | str = 1.0

    def __post_init__(self) -> None:
        """Checks `scale`."""
        _check_scale("scale", self.scale, ("shared", "per_value"))
        super().__post_init__()

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 2 if self.scale == "per_value" else 1

    @nn.compact
    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        scale = _scale(self, "scale", self.scale, parameters)
        return distributions.Laplace(parameters[..., 0], scale)


class StudentT(Likelihood):
    """Real values with heavy tails: robust to the odd value that is far off.

    The decoder puts out (loc, s, n) for every value: a scale softplus(s) + 1e-4 and
    3 + softplus(n) degrees of freedom, so that mean and variance exist. As in Mattei &
    Frellsen (2019), "MIWAE", https://proceedings.mlr.press/v97/mattei19a.html.
    """

    values = _REAL

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 3

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        loc, scale, freedom = (parameters[..., i] for i in range(3))
        return student_t(loc, jax.nn.softplus(scale) + 1e-4, freedom)


def student_t(loc: Array, scale: Array, freedom: Array) -> Distribution:
    """With 3 + softplus(`freedom`) degrees of freedom."""
    return student.StudentT(3.0 + jax.nn.softplus(freedom), loc, scale)


class Categorical(Likelihood):
    """Grey levels k / (levels - 1), with a free probability for each.

    x is rounded to the nearest level; samples are levels, the mean lies between them.
    For values that are whole numbers see `WholeNumbers`.

    Attributes:
        levels: How many levels there are, which is the logits per value; at least 2.

    Raises:
        ValueError: `levels` is below 2 or no whole number.
    """

    levels: int = distributions.LEVELS

    def __post_init__(self) -> None:
        """Checks `levels`."""
        check_count("levels", self.levels, least=2)
        super().__post_init__()

    @property
    def values(self) -> Support:
        """What a value of x may be."""
        return _grey_levels(self.levels)

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return self.levels

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        return distributions.GreyCategorical(parameters)


class WholeNumbers(Likelihood):
    """Whole numbers from 0 to `num_values` - 1, with a free probability for each.

    Attributes:
        num_values: How many numbers there are, which is the logits per value.

    Raises:
        ValueError: `num_values` is below 1 or no whole number.
    """

    num_values: int

    def __post_init__(self) -> None:
        """Checks `num_values`."""
        check_count("num_values", self.num_values)
        super().__post_init__()

    @property
    def values(self) -> Support:
        """What a value of x may be."""
        last = self.num_values - 1
        words = f"whole numbers from 0 to {last}"
        return Support(constraints.integer_interval(0, last), words)

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return self.num_values

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        return distributions.Categorical(parameters)


class DiscretizedLogisticMixture(Likelihood):
    """Levels k/255 as a mixture of logistics rounded to the levels.

    Salimans et al. 2017 (PixelCNN++), equation 2, with the two ends open. Unlike there,
    every channel of a pixel is independent of the others given z, and has a mixture of
    its own: no channel sees another's value. The outputs for a value are `components`
    each of weights (logits), means and log scales on the range [-1, 1], so that an
    output of 0 is mid-grey; log scales are clipped to ±7. Samples are levels, and the
    mean is the exact one.

    Attributes:
        components: Logistics per value, at least 1.

    Raises:
        ValueError: `components` is less than 1 or no whole number.
    """

    values = _grey_levels(distributions.LEVELS)

    components: int = 5

    def __post_init__(self) -> None:
        """Checks `components`."""
        check_count("components", self.components)
        super().__post_init__()

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 3 * self.components

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        logits, means, log_scales = jnp.split(parameters, 3, axis=-1)
        log_scales = jnp.clip(log_scales, -_LOG_SCALE_LIMIT, _LOG_SCALE_LIMIT)
        return distributions.DiscretizedLogisticMixture(logits, means, log_scales)


class BetaBinomial(Likelihood):
    """Levels k/255, with k the successes among 255 draws of a chance from Beta(α, β).

    The decoder puts out (log α, log β) for every value, clipped to ±10: at first, near
    0, all levels have the same probability. It has one mode or two ends, with two
    parameters where `Categorical` has 256. As in Townsend et al. (2019), "BB-ANS",
    https://arxiv.org/abs/1901.04866, section 3.1.
    """

    values = _grey_levels(distributions.LEVELS)

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 2

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        parameters = jnp.clip(parameters, -_LOG_SHAPE_LIMIT, _LOG_SHAPE_LIMIT)
        return GreyBetaBinomial(parameters[..., 0], parameters[..., 1])


def _check_scale(name: str, choice: float | str, words: tuple[str, ...]) -> None:
    if isinstance(choice, str):
        valid = choice in words
    else:
        number = isinstance(choice, numbers.Real) and not isinstance(choice, bool)
        valid = number and 0 < choice < math.inf
    require(valid, name, choice, "a positive number or one of " + ", ".join(words))


def _scale(
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


BY_NAME: Mapping[str, Callable[[], Likelihood]] = {
    "bernoulli": Bernoulli,
    "binary_cross_entropy": BinaryCrossEntropy,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "gaussian_shared": functools.partial(Gaussian, std="shared"),
    "gaussian_per_value": functools.partial(Gaussian, std="per_value"),
    "gaussian_optimal": functools.partial(Gaussian, std="optimal"),
    "laplace": Laplace,
    "laplace_shared": functools.partial(Laplace, scale="shared"),
    "laplace_per_value": functools.partial(Laplace, scale="per_value"),
    "student_t": StudentT,
    "categorical": Categorical,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
    "beta_binomial": BetaBinomial,
}

NAMES = tuple(BY_NAME)
"""What `likelihood` may be by name."""


def by_name(name: str) -> Likelihood:
    """A likelihood with its default arguments.

    Raises:
        ValueError: `name` is unknown; the message lists the known ones.
    """
    return choose("likelihood", name, BY_NAME)()
