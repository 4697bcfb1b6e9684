"""Activations by name."""

from collections.abc import Callable, Mapping

import jax
from jaxtyping import Array

from jaxae.errors import choose

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
    """Raises ValueError if an activation's name is unknown."""
    if isinstance(activation, str):
        choose("activation", activation, ACTIVATIONS)


def activate(activation: Activation, x: Array) -> Array:
    """The activation of x."""
    function = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    return function(x)
