"""Activations by name."""

from collections.abc import Callable, Mapping
from typing import Any

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


def as_activation(name: str, activation: Any) -> Any:
    """A known name, also of a function that has one; or a function of another kind.

    Raises:
        ValueError: It is neither.
    """
    for known, function in ACTIVATIONS.items():
        if activation is function:
            return known
    named = isinstance(activation, str) and activation in ACTIVATIONS
    choices = unknown(name, activation, ACTIVATIONS, beside="a function or ")
    ensure(named or callable(activation), choices)
    return activation


def activate(activation: Activation, x: Array) -> Array:
    """The activation of x."""
    function = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    return function(x)
