"""What happens after an update beside it, on the parameters and the optimizer.

A hook is a pure function (state, observed, key) -> state, run by the train step.
"""

from jaxae.hooks.codebook import revive_codes
from jaxae.hooks.moments import reset_moments
from jaxae.hooks.sparse import resample_dead, tie_at_start

__all__ = ["resample_dead", "reset_moments", "revive_codes", "tie_at_start"]
