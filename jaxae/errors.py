"""The library's exceptions, and the few ways to say what is wrong with an argument."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

import jax
import numpy as np
from jax.core import Tracer

T = TypeVar("T")

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class ArgumentError(ValueError):
    """An argument is wrong; the message names it, what came and what is expected."""

    def __init__(self, sentence: str) -> None:
        """The sentence without addresses, as Python prints those of functions."""
        super().__init__(_ADDRESS.sub("", sentence))


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or not of the architecture asked for."""


class TrainingDiverged(RuntimeError):
    """Several updates in a row were not finite."""


def require(condition: Any, name: str, came: Any, expected: str) -> None:
    """Raises ArgumentError unless `condition` holds, about a value that was given.

    A condition that JAX traces is not judged: what varies in one program was checked
    when it was a number, see `jaxae.training.many`.

    Raises:
        ArgumentError: "`name` must be `expected`, got `came`".
    """
    if not isinstance(condition, Tracer) and not condition:
        raise ArgumentError(f"{name} must be {expected}, got {came!r}")


def ensure(condition: Any, sentence: str) -> None:
    """Raises ArgumentError with a sentence unless `condition` holds or is traced."""
    if not isinstance(condition, Tracer) and not condition:
        raise ArgumentError(sentence)


def kind_of(value: Any) -> str:
    """What a value is, for the end of a sentence: "the class X" or what it is of.

    What JAX traces is an array to those who wrote the function.
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, jax.Array | np.ndarray):
        return f"an array of shape {value.shape}"
    return f"a value of type {type(value).__name__}"


def must_define(part: Any, method: str, returns: str) -> NotImplementedError:
    """What a base raises in place of a method that is for its subclasses to define."""
    name = type(part).__name__
    return NotImplementedError(f"{name} must define {method}, which returns {returns}")


def given(value: T | None, sentence: str) -> T:
    """`value`, which is there.

    Raises:
        ArgumentError: It is None; the message is the sentence.
    """
    if value is None:
        raise ArgumentError(sentence)
    return value


def of_kind(kind: type[T], name: str, value: Any, expected: str) -> T:
    """`value`, which is of this kind.

    Raises:
        ArgumentError: It is of another; the message has its type.
    """
    require(isinstance(value, kind), name, type(value).__name__, expected)
    return value


def choose(name: str, choice: str, known: Mapping[str, T]) -> T:
    """`known[choice]`.

    Raises:
        ArgumentError: `choice` is unknown; the message suggests the nearest one.
    """
    if not isinstance(choice, str) or choice not in known:
        raise ArgumentError(unknown(name, choice, known))
    return known[choice]


def check_choice(name: str, choice: Any, literal: Any) -> None:
    """Raises ArgumentError unless `choice` is one of those of a `typing.Literal`."""
    known = get_args(literal)
    if not isinstance(choice, str) or choice not in known:
        raise ArgumentError(unknown(name, choice, known))


def unknown(name: str, choice: Any, known: Iterable[str], beside: str = "") -> str:
    """The sentence about a choice that is not known, with the nearest that is.

    `beside` says what else it may be, as "a number or ".
    """
    names = sorted(known)
    hint = did_you_mean(str(choice), names)
    return f"{name} must be {beside}one of {', '.join(names)}, got {choice!r}{hint}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What an error about an unknown name ends with: the nearest known one, or ""."""
    by_letters = {each.lower(): each for each in known}
    near = get_close_matches(name.lower(), by_letters, n=1)
    return f"; did you mean {by_letters[near[0]]!r}?" if near else ""


@contextmanager
def importing(needed: str) -> Iterator[None]:
    """Says the sentence `needed`, with what to install, where an import fails."""
    try:
        yield
    except ImportError as error:
        raise ImportError(needed) from error


def importing_scikit_learn(name: str) -> AbstractContextManager[None]:
    """Likewise, where the function `name` needs scikit-learn."""
    return importing(f"{name} needs scikit-learn: pip install scikit-learn")
