"""Activations by name."""

from collections.abc import Callable, Mapping

import jax
from jaxtyping import Array

from jaxae.errors import ensure, unknown

Activation = str | Callable[[Array], Array]
"""A name of `ACTIVATIONS`, or a function of your own."""

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jax.nn.tanh,
}
"""Those of `jax.nn` under their names."""


def check_activation(activation: Activation) -> None:
    """Raises ValueError unless it is a known name or a function."""
    named = isinstance(activation, str) and activation in ACTIVATIONS
    known = unknown("activation", activation, ACTIVATIONS, beside="a function or ")
    ensure(named or callable(activation), known)


def activate(activation: Activation, x: Array) -> Array:
    """The activation of x."""
    function = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    return function(x)
