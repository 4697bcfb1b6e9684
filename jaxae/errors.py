"""The library's exceptions, and one way to say what is wrong with an argument."""

from collections.abc import Mapping
from typing import Any, TypeVar

from jax.core import Tracer

T = TypeVar("T")


class ArgumentError(ValueError):
    """An argument is wrong; the message names it, what came and what is expected."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not of the architecture asked for."""


class TrainingDiverged(RuntimeError):
    """Several updates in a row were not finite."""


def require(condition: Any, name: str, came: Any, expected: str) -> None:
    """Raises ArgumentError unless `condition` holds.

    A condition that JAX traces is not judged: what varies in one program was checked
    when it was a number, see `jaxae.training.many`.

    Raises:
        ArgumentError: "`name` must be `expected`, got `came`".
    """
    if not isinstance(condition, Tracer) and not condition:
        raise ArgumentError(f"{name} must be {expected}, got {came!r}")


def choose(name: str, choice: str, known: Mapping[str, T]) -> T:
    """`known[choice]`.

    Raises:
        ArgumentError: `choice` is unknown; the message lists the known ones.
    """
    require(choice in known, name, choice, "one of " + ", ".join(sorted(known)))
    return known[choice]
