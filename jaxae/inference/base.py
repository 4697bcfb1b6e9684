"""What encoding, decoding and sampling share."""

from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, PyTree

from jaxae.inputs import check_conditions, on_device
from jaxae.recipe import Model
from jaxae.views import Part

CHUNK = 250

Codes = PyTree[Array]
"""[n, ...], or a tuple of several."""


def alone(values: Any) -> Any:
    """With a leading axis of one, for all arrays."""
    return jax.tree.map(lambda value: value[None], values)


def shown_beside(
    model: Model, count: int, given: Mapping[str, Any], *parts: Part
) -> dict[str, Any]:
    """What these are shown beside x or z, as arrays."""
    checked = check_conditions(model.recipe, given, count, *parts)
    return {name: on_device(values) for name, values in checked.items()}
