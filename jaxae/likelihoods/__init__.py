"""Likelihoods: what the decoder puts out becomes p(x | z).

A likelihood is a linen module, as some learn a parameter or keep a statistic. It turns
outputs [k, b, ..., channels · params_per_value] into a distribution with batch shape
[k, b] and the event shape of x: `log_prob(x)` is [k, b], in nats, and
`base_dist.log_prob(x)` is that of the single values, [k, b, ...].
"""

from jaxae.likelihoods.base import MIN_LOG_SCALE as MIN_LOG_SCALE
from jaxae.likelihoods.base import Likelihood as Likelihood
from jaxae.likelihoods.base import Support as Support
from jaxae.likelihoods.base import Target as Target
from jaxae.likelihoods.binary import Bernoulli as Bernoulli
from jaxae.likelihoods.binary import BinaryCrossEntropy as BinaryCrossEntropy
from jaxae.likelihoods.binary import ContinuousBernoulli as ContinuousBernoulli
from jaxae.likelihoods.levels import BetaBinomial as BetaBinomial
from jaxae.likelihoods.levels import Categorical as Categorical
from jaxae.likelihoods.levels import (
    DiscretizedLogisticMixture as DiscretizedLogisticMixture,
)
from jaxae.likelihoods.levels import WholeNumbers as WholeNumbers
from jaxae.likelihoods.names import BY_NAME as BY_NAME
from jaxae.likelihoods.names import NAMES as NAMES
from jaxae.likelihoods.names import by_name as by_name
from jaxae.likelihoods.real import VARIANCE_MOMENTUM as VARIANCE_MOMENTUM
from jaxae.likelihoods.real import Gaussian as Gaussian
from jaxae.likelihoods.real import Laplace as Laplace
from jaxae.likelihoods.real import StudentT as StudentT
from jaxae.likelihoods.real import student_t as student_t
