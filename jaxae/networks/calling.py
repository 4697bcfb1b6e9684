"""How models call networks, a user's own among them."""

import inspect
from typing import Any

from flax import linen as nn
from jaxtyping import Array


def call_network(module: nn.Module, x: Any, **options: Any) -> Array:
    """`module(x)`, with those of the options that its `__call__` has by name.

    So a network without dropout and statistics needs no `train`, and one that takes
    nothing over the batch no `weight`. What `**kwargs` would take is not passed:
    `nn.Sequential` hands it on to its first layer, which rarely knows it.
    """
    known = inspect.signature(type(module).__call__).parameters
    return module(x, **{k: v for k, v in options.items() if k in known})
