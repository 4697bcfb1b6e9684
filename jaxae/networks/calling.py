"""How models call networks, a user's own among them."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from jaxae.checks import check_returned, why_not
from jaxae.errors import ensure


def call_network(module: nn.Module, x: Any, **options: Any) -> Array:
    """`module(x)`, with those of the options that its `__call__` has by name.

    So a network without dropout and statistics needs no `train`, and one that takes
    nothing over the batch no `weight`. What `**kwargs` would take is not passed:
    `nn.Sequential` hands it on to its first layer, which rarely knows it.

    Raises:
        ValueError: It asks for anything else.
    """
    taken = options_of(module, "what the view shows", x, options)
    with nn.intercept_methods(_warn_of_slow_layers):
        return module(x, **taken)


def options_of(
    module: nn.Module, words: str, x: Any, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of the options that a module is called with beside x, see `taken_by`.

    Raises:
        ValueError: It cannot be called so; the message calls x by the words.
    """
    taken, called = taken_by(module, options), callable(module)
    wrong = why_not(module, x, **taken) if called else "it has no __call__"
    named = f", and may name {' and '.join(options)}" * bool(options)
    own = f"{type(module).__name__} must take {words}{named}"
    ensure(not wrong, f"{own}, but cannot be called so: {wrong}")
    return taken


def check_outputs(
    name: str, module: nn.Module, outputs: Any, shape: tuple[Any, ...], meaning: str
) -> None:
    """Raises ValueError unless a network returned floats of a shape.

    See `jaxae.checks.check_returned`.
    """
    own = f"what the {name} {type(module).__name__} returns"
    check_returned(own, outputs, shape, meaning)
    floats = jnp.issubdtype(outputs.dtype, jnp.floating)
    ensure(floats, f"{own} must be floats, got {outputs.dtype}")


def taken_by(module: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a module's `__call__` has by name."""
    known = inspect.signature(type(module).__call__).parameters
    return {name: value for name, value in options.items() if name in known}


_FASTER = {nn.Conv: "Conv", nn.ConvTranspose: "ConvTranspose"}


def _warn_of_slow_layers(
    call: Callable[..., Any], args: Any, kwargs: Any, context: Any
) -> Any:
    """XLA has no fast path on the CPU for the gradients of linen's convolutions."""
    name = _FASTER.get(type(context.module))
    if name and context.method_name == "__call__" and jax.default_backend() == "cpu":
        warnings.warn(
            f"{type(context.module).__name__} of flax.linen trains up to a hundred "
            f"times slower on the CPU than jaxae.networks.{name}: take that instead",
            stacklevel=2,
        )
    return call(*args, **kwargs)
