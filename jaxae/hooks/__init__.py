"""What happens after an update beside it, on the parameters and the optimizer.

A hook is a pure function (state, observed, key) -> state, run by the train step.
"""

from jaxae.hooks.codebook import ReviveCodes
from jaxae.hooks.moments import reset_moments
from jaxae.hooks.sparse import ResampleDead, TieAtStart

__all__ = [
    "ResampleDead",
    "ReviveCodes",
    "TieAtStart",
    "reset_moments",
]
