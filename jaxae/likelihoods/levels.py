"""For whole numbers, the grey levels of pictures first of all."""

import jax.numpy as jnp
from jaxtyping import Array
from numpyro.distributions import Distribution, constraints

from jaxae.checks import check_count
from jaxae.distributions import levels as distributions
from jaxae.distributions.beta_binomial import GreyBetaBinomial
from jaxae.likelihoods.base import Likelihood, Support, Target, grey_levels

_LOG_SCALE_LIMIT = (
    7.0  # of the mixture: from a ninth of a level to 1,000 times the range
)

_LOG_SHAPE_LIMIT = 10.0  # of a beta distribution: far narrower than 255 draws of it


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
        return grey_levels(self.levels)

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

    values = grey_levels(distributions.LEVELS)

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

    values = grey_levels(distributions.LEVELS)

    @property
    def params_per_value(self) -> int:
        """Decoder outputs per value of x."""
        return 2

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        parameters = jnp.clip(parameters, -_LOG_SHAPE_LIMIT, _LOG_SHAPE_LIMIT)
        return GreyBetaBinomial(parameters[..., 0], parameters[..., 1])
