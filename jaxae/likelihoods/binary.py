"""For values in [0, 1], black and white first of all."""

from jaxtyping import Array
from numpyro.distributions import Distribution, constraints

from jaxae.distributions import elementwise as distributions
from jaxae.likelihoods.base import UNIT_INTERVAL, Likelihood, Support, Target
from jaxae.preparation import binarize
from jaxae.types import Prepare


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
    """The binary cross-entropy of values in [0, 1], as in Keras and most tutorials.

    `log_prob` is minus the cross-entropy in nats between x and sigmoid(outputs). It is
    NOT a log-likelihood: exp(log_prob) does not integrate to 1 over [0, 1] (see
    `ContinuousBernoulli`), and its best value is not 0 but minus the entropy of
    the values. The mean is sigmoid(outputs); samples are 0 or 1, with that mean.
    """

    values = UNIT_INTERVAL
    normalized = False

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        return distributions.GreyBernoulli(parameters[..., 0])


class ContinuousBernoulli(Likelihood):
    """Values in [0, 1] with density ∝ exp(outputs · x).

    The binary cross-entropy with the normaliser that it lacks (Loaiza-Ganem &
    Cunningham 2019). The mean is not sigmoid(outputs), but nearer to 1/2.
    """

    values = UNIT_INTERVAL

    def elementwise(self, parameters: Array, target: Target | None) -> Distribution:
        """See `Likelihood`."""
        return distributions.ContinuousBernoulli(parameters[..., 0])
