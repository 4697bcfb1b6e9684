"""How a recipe is written down: parts by their names with their fields, as JSON.

    {"jaxae.objectives.ELBO": {"beta": 4.0, "free_bits": 0.0, ...}}  a part
    {"jaxae.preparation.binarize": null}                             a function
    [28, 28, 1]                                                      a tuple

All fields are written: what was saved keeps its meaning where a default changes. Names
are looked up in a table; nothing is imported, evaluated or called but the classes of
parts, so that a file from elsewhere runs no code of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxae.corruptions import identity
from jaxae.errors import ArgumentError, did_you_mean, ensure
from jaxae.preparation import binarize, unit_interval
from jaxae.values import Value, changed_fields, fields_of, is_named, qualified_name

Tree = Any
"""What `json` takes."""

Name = Callable[[Any], str | None]
"""From a class or a function to its name."""

Unnamed = Callable[[str, Any], Tree]
"""From an attribute without a name, and its path, to what is written of it."""

_UNNAMED: Tree = {"?": None}
_PLAIN = (type(None), bool, int, float, str)


def write(value: Any, path: str = "recipe") -> Tree:
    """The names and numbers that make a value.

    A field with its default value is left out if it has no name in jaxae.

    Args:
        value: A recipe, or any other part.
        path: What the caller calls it.

    Raises:
        ValueError: An attribute has no name, as a lambda; the message has its path.

    Example:
        >>> import jaxae
        >>> jaxae.notation.write(jaxae.corruptions.Masking(0.5))
        {'jaxae.corruptions.Masking': {'rate': 0.5, 'fill': 0.0}}
    """
    return _write(path, value, _name, _refuse)


def outline(value: Any) -> Tree:
    """The same to compare by, with a mark in the place of what has no name."""
    return _write("", value, _name, lambda path, value: _UNNAMED)


def read(tree: Tree, own: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """The value that was written.

    Args:
        tree: As `write` returns it.
        own: What it may name of the user's own, see `by_own_names`.

    Raises:
        ValueError: It names unknown parts, or is nothing that `write` returns.

    Example:
        >>> import jaxae
        >>> jaxae.notation.read({'jaxae.corruptions.Masking': {'rate': 0.5}})
        corruptions.Masking(rate=0.5)
    """
    known = {**_library(), **own}
    names = dict.fromkeys(name for name in _names(tree) if name not in known)
    if len(names) == 1:
        (name,) = names
        raise ArgumentError(
            f"{name} is no part of jaxae: hand it in, as parts=[...], if it is your own"
            f"{did_you_mean(str(name), known)}"
        )
    ensure(
        not names,
        f"{', '.join(map(str, names))} are no parts of jaxae: hand them in, as "
        "parts=[...], if they are your own",
    )
    return _read(tree, known)


def by_own_names(parts: Iterable[Any]) -> dict[str, Any]:
    """Classes and functions of the user's own by their modules and names.

    Raises:
        ValueError: One is neither; or they are no list, as one class alone.
    """
    several = "parts must be a list of classes and functions, as [MyEncoder]"
    listed = isinstance(parts, Iterable) and not isinstance(parts, type)
    ensure(listed, f"{several}, got {parts!r:.200}")
    own = {}
    for part in parts:
        named = callable(part) and hasattr(part, "__qualname__")
        ensure(named, f"parts must be classes and functions, got {part!r:.200}")
        own[_own_name(part)] = part
    return own


def difference(before: Tree, now: Tree, free: Callable[[str], bool]) -> str | None:
    """The first attribute that differs between two outlines; None if none does.

    What has no name is not compared, nor is a field that one of them lacks. Real
    numbers are compared as float32.

    Args:
        before: The outline of a recipe.
        now: That of another one.
        free: Whether the attribute at a path, such as "recipe.title", may differ.
    """
    return next(_differences("recipe", before, now, free), None)


def _write(path: str, value: Any, name_of: Name, unnamed: Unnamed) -> Tree:
    if _is_part(type(value)):
        name = name_of(type(value))
        if name is None:
            return unnamed(path, value)
        return {name: _write_fields(path, value, name_of, unnamed)}
    if type(value) is tuple:
        items = enumerate(value)
        return [_write(f"{path}[{i}]", own, name_of, unnamed) for i, own in items]
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN:
        return value
    name = name_of(value) if callable(value) else None
    return unnamed(path, value) if name is None else {name: None}


def _write_fields(
    path: str, value: Any, name_of: Name, unnamed: Unnamed
) -> dict[str, Tree]:
    changed, fields = dict(changed_fields(value)), {}
    for field, own in fields_of(value).items():
        known = name_of if field in changed else _library_name
        try:
            fields[field] = _write(f"{path}.{field}", own, known, unnamed)
        except ArgumentError:
            if field in changed:
                raise
    return fields


def _refuse(path: str, value: Any) -> Tree:
    raise ArgumentError(
        f"{path} has no name that it could be saved by: give a function or a class "
        "that stands at the top level of a module, or a value, such as one of "
        f"jaxae.schedules, in place of {value!r:.200}"
    )


def _names(tree: Tree) -> Iterator[Any]:
    """Those of all parts, as far as it is a tree of them."""
    inner = tree if isinstance(tree, list) else ()
    if isinstance(tree, dict) and len(tree) == 1:
        ((name, fields),) = tree.items()
        yield name
        inner = fields.values() if isinstance(fields, dict) else ()
    for each in inner:
        yield from _names(each)


def _read(tree: Tree, known: Mapping[str, Any]) -> Any:
    if isinstance(tree, list):
        return tuple(_read(each, known) for each in tree)
    if not isinstance(tree, dict):
        return tree
    ensure(
        len(tree) == 1, f"a part must be one name with its fields, got {tree!r:.200}"
    )
    ((name, fields),) = tree.items()
    part = known[name]
    if not _is_part(part):
        ensure(fields is None, f"{name} must have no fields, got {fields!r:.200}")
        return part
    given = isinstance(fields, dict)
    ensure(given, f"the fields of {name} must be a mapping, got {fields!r:.200}")
    return part(**{field: _read(own, known) for field, own in fields.items()})


def _differences(
    path: str, before: Tree, now: Tree, free: Callable[[str], bool]
) -> Iterator[str]:
    if free(path) or _UNNAMED in (before, now):
        return
    kinds = type(before), type(now)
    if kinds == (dict, dict) and before.keys() == now.keys():
        ((old, new),) = zip(before.values(), now.values(), strict=True)
        for field in [each for each in old or () if each in new]:
            yield from _differences(f"{path}.{field}", old[field], new[field], free)
    elif kinds == (list, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(f"{path}[{i}]", old, new, free)
    elif not _same(before, now):
        yield f"{path} is {_words(before)}, asked for was {_words(now)}"


def _same(a: Tree, b: Tree) -> bool:
    """What varied in a program was float32 there, see `jaxae.training.many`."""
    kinds = {type(a), type(b)}
    real = float in kinds and kinds <= {int, float}
    return bool(np.float32(a) == np.float32(b)) if real else a == b


def _words(tree: Tree) -> str:
    return next(iter(tree)) if isinstance(tree, dict) else repr(tree)


def _is_part(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Value | nn.Module)


def _name(thing: Any) -> str | None:
    """The name of a class or a function; None where it would not be found again."""
    own = _own_name(thing) if is_named(thing) else None
    return _library_name(thing) or own


def _library_name(thing: Any) -> str | None:
    return next((k for k, known in _library().items() if known is thing), None)


def _own_name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


@lru_cache(maxsize=1)
def _library() -> dict[str, Any]:
    """All that a recipe can name without its being handed in."""
    functions = (unit_interval, binarize, identity)
    kinds = [
        kind
        for kind in _below(Value, nn.Module)
        if kind.__module__.startswith("jaxae.")
    ]
    layers = {name: each for name, each in vars(nn).items() if _is_part(each)}
    activations = {
        name: each
        for name, each in vars(jax.nn).items()
        if callable(each) and not isinstance(each, type)
    }
    return {
        **{f"jaxae.{qualified_name(each)}": each for each in (*functions, *kinds)},
        **{f"flax.linen.{name}": each for name, each in layers.items()},
        **{f"jax.nn.{name}": each for name, each in activations.items()},
    }


def _below(*kinds: type) -> Iterator[type]:
    for kind in kinds:
        yield from kind.__subclasses__()
        yield from _below(*kind.__subclasses__())
