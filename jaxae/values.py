"""Parts as values: frozen, compared by their fields, printed as what makes them.

Objectives, corruptions, schedules, views, hooks and recipes are `Value`s; bottlenecks,
likelihoods and networks are linen modules, which are values already but for how they
print: `Module` mends that. So equal recipes are equal, serve as static arguments of
`jax.jit`, and are evaluated from what they print:

    >>> import jaxae
    >>> noise = jaxae.corruptions.GaussianNoise(0.4, clip=True)
    >>> noise
    corruptions.GaussianNoise(std=0.4, clip=True)
    >>> eval(repr(noise), vars(jaxae)) == noise
    True
"""

import dataclasses
import inspect
import math
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import FunctionType
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from flax import linen as nn
from jax.core import Tracer

from jaxae.checks import why_unbound
from jaxae.errors import ensure, kind_of

V = TypeVar("V")

_LINEN = ("parent", "name")  # what linen adds to the fields of every module


@dataclass_transform(frozen_default=True)
class Value:
    """Base of what is compared by its fields; subclasses are frozen dataclasses.

    Example:
        >>> class Gain(Value):
        ...     factor: float = 1.0
        >>> Gain(2.0) == Gain(2.0), Gain(2.0).replace(factor=3.0).factor
        (True, 3.0)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Makes the subclass a frozen dataclass, as linen does with modules."""
        check_methods(cls)
        super().__init_subclass__(**options)
        dataclasses.dataclass(frozen=True, repr=False)(cls)
        # Who writes the decorator down once more finds nothing that is in its way, and
        # it finds a __repr__ that it leaves as it is.
        del cls.__setattr__, cls.__delattr__
        cls.__repr__ = cls.__repr__

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises FrozenInstanceError."""
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        """Raises FrozenInstanceError."""
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __repr__(self) -> str:
        """The expression that makes it."""
        return expression(self)

    def replace(self: V, **changes: Any) -> V:
        """The same with other fields."""
        return dataclasses.replace(self, **changes)  # pyright: ignore[reportArgumentType]


class Module(nn.Module):
    """A linen module that prints as the expression that makes it."""

    def __repr__(self) -> str:
        """The expression that makes it."""
        return expression(self)


class Component(Module):
    """A linen module whose methods the library calls, such as a bottleneck's."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Checks what is overridden; networks may leave out what they do not need."""
        check_methods(cls)
        super().__init_subclass__(**options)


def check_methods(part: type) -> None:
    """Raises ValueError unless what a class overrides is called as in the library.

    Where the class is defined: another signature would fail while a program is traced,
    and a method in a property's place would be true whatever it returns.
    """
    theirs = {
        name: (base, own)
        for base in reversed(part.__mro__[1:])
        if base.__module__.startswith("jaxae.") and base.__module__ != __name__
        for name, own in vars(base).items()
        if name == "__call__" or not name.startswith("_")
        if name not in {field.name for field in dataclasses.fields(base)}
    }
    for name, (base, known) in theirs.items():
        own = inspect.getattr_static(part, name)
        if own is known:
            continue
        words, place = f"{part.__name__}.{name}", f"as {base.__name__}.{name}"
        if inspect.isfunction(known):
            _check_method(words, own, _signature(known), place)
        else:
            method = isinstance(own, FunctionType | classmethod | staticmethod)
            value = f"{words} must be a property or a value, {place} is"
            ensure(not method, f"{value}, not a method")


def _check_method(words: str, own: Any, asked: inspect.Signature, place: str) -> None:
    function, bound = getattr(own, "__func__", own), hasattr(own, "__get__")
    property_ = isinstance(own, property | cached_property)
    what = "a property" if property_ else kind_of(own)
    method = not property_ and (callable(function) or bound)
    ensure(method, f"{words} must be a method of {asked}, {place} is, got {what}")
    given = [*asked.parameters.values()]
    given = given if bound and not isinstance(own, staticmethod) else given[1:]
    try:
        taken = _signature(function)
    except (TypeError, ValueError):  # as `functools.partialmethod`, which does not say
        return
    wrong = why_unbound(
        taken,
        *[p.name for p in given if p.kind <= p.POSITIONAL_OR_KEYWORD],
        **{p.name: None for p in given if p.kind == p.KEYWORD_ONLY},
    )
    ensure(not wrong, f"{words}{taken} must take {asked}, {place} does: {wrong}")


def _signature(function: Any) -> inspect.Signature:
    """Without types; a user's decorator may take other arguments than what it wraps."""
    plain = inspect.isfunction(function) and not function.__module__.startswith("jaxae")
    signature = inspect.signature(function, follow_wrapped=not plain)
    nothing = inspect.Signature.empty
    bare = [p.replace(annotation=nothing) for p in signature.parameters.values()]
    return signature.replace(parameters=bare, return_annotation=nothing)


def expression(value: Any) -> str:
    """The Python expression that makes a value, with the names of `jaxae` in scope.

    Fields with their default value are left out. What has no name of its own, as a
    lambda or an array, appears as Python prints it, which cannot be evaluated.

    Example:
        >>> import jaxae
        >>> expression(jaxae.networks.MLP((300, 300), gated=True))
        'networks.MLP(hidden=(300, 300), gated=True)'
    """
    if isinstance(value, Value | nn.Module):
        changed = [f"{k}={expression(v)}" for k, v in changed_fields(value)]
        return f"{qualified_name(type(value))}({', '.join(changed)})"
    if type(value) is tuple:
        return f"({', '.join(map(expression, value))}{',' * (len(value) == 1)})"
    if isinstance(value, np.generic):
        return expression(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if callable(value) and is_named(value):
        return qualified_name(value)
    return repr(value)


def qualified_name(thing: Any) -> str:
    """How a class or a function is called: after `jaxae.`, or by its module.

    Example:
        >>> import jaxae
        >>> qualified_name(jaxae.likelihoods.Gaussian)
        'likelihoods.Gaussian'
        >>> qualified_name(jaxae.AutoEncoder)
        'AutoEncoder'
    """
    package, *rooms = thing.__module__.split(".")
    name = thing.__qualname__
    if package == "jaxae":
        top = getattr(sys.modules["jaxae"], name, None)
        return name if top is thing else f"{rooms[0]}.{name}"
    return name if package in ("__main__", "builtins") else f"{thing.__module__}.{name}"


def check_hashable(name: str, value: Any) -> None:
    """Raises ValueError unless a value has a hash; the message names the attribute.

    What JAX traces is a number where the program runs, see `jaxae.training.many`.
    """
    for path, part in _leaves(name, value):
        kind = type(part).__name__
        remedy = "a tuple in place of a list" if isinstance(part, list) else "a tuple"
        ensure(
            _has_hash(part),
            f"{path} is of type {kind}, which cannot be hashed, so that programs "
            f"cannot be compiled for it: give {remedy}, or numbers",
        )


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a value or a module by name, in their order."""
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if field.init and not (isinstance(value, nn.Module) and field.name in _LINEN)
    }


def changed_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields whose value is not their default, with it."""
    defaults = {field.name: field for field in dataclasses.fields(value)}
    for name, own in fields_of(value).items():
        if not _same(own, _default(defaults[name])):
            yield name, own


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _same(a: Any, b: Any) -> bool:
    """Equal and of one type: 1.0 and True are not the same, nor do arrays compare."""
    if isinstance(a, jax.Array | np.ndarray) or type(a) is not type(b):
        return a is b
    return a == b


def is_named(function: Any) -> bool:
    """Whether it is found again by its module and name."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    return getattr(module, name, None) is function


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is inside a value, with the attribute that it is: modules, tuples, rest."""
    if isinstance(value, Value | nn.Module):
        for name, own in fields_of(value).items():
            yield from _leaves(f"{path}.{name}", own)
    elif type(value) is tuple:
        for i, own in enumerate(value):
            yield from _leaves(f"{path}[{i}]", own)
    elif isinstance(value, Mapping) or not (
        isinstance(value, Tracer) or _has_hash(value)
    ):
        yield path, value


def _has_hash(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
