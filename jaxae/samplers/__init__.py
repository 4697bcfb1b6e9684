"""What to generate from once a model is trained: samplers of its codes.

A sampler is a function (key, count) -> codes, as `jaxae.decode` takes them. The prior
is one for models that have it. The others are fitted to the codes of the training data,
the aggregate posterior q(z) = E_x[q(z | x)], and so serve models without a prior, and
those whose prior q(z) does not match:

    codes = samplers.aggregate_codes(model, x, key)
    sampler = samplers.gaussian_mixture(codes, key)
    examples = jaxae.decode(model, sampler(key, 64))
"""

from jaxae.samplers.autoregressive import autoregressive, code_density
from jaxae.samplers.base import Sampler, aggregate_codes, prepared, prior
from jaxae.samplers.flow import flow
from jaxae.samplers.mixture import gaussian_mixture
from jaxae.samplers.two_stage import two_stage

__all__ = [
    "Sampler",
    "aggregate_codes",
    "autoregressive",
    "code_density",
    "flow",
    "gaussian_mixture",
    "prepared",
    "prior",
    "two_stage",
]
