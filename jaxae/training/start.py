"""A warm start: another model's variables, as far as they fit."""

import warnings
from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxae.errors import ensure, kind_of
from jaxae.recipe import Model, Recipe
from jaxae.training.initial import abstract_variables, by_name, name_of
from jaxae.types import Variables

_SHOWN = 4


class Fitting(NamedTuple):
    """How a model fits another recipe, by the names of arrays.

    Attributes:
        taken: They have the name and the shape of one of the recipe's.
        afresh: The recipe's that are not taken.
        left: The model's that the recipe has none of.
    """

    taken: Set[str]
    afresh: Set[str]
    left: Set[str]


def compare(recipe: Recipe, start: Model) -> Fitting:
    """Which arrays of a model a training of `recipe` can start with.

    Raises:
        ValueError: It is no model, or there is none.
    """
    kind = kind_of(start)
    ensure(isinstance(start, Model), f"start must be a Model, got {kind}")
    ours, theirs = by_name(abstract_variables(recipe)), by_name(start.variables)
    taken = _taken(ours, theirs)
    needed = f"one with arrays of the names and shapes of the recipe's {_few(ours)}"
    ensure(taken, f"start must be {needed}, got a model without any")
    return Fitting(taken, ours.keys() - taken, theirs.keys() - ours.keys())


def begun(recipe: Recipe, start: Model) -> Recipe:
    """The recipe for a training that starts so; warns of what is not taken.

    Hooks that make a good start are left out where the whole model is taken: it is one.

    Raises:
        ValueError: See `compare`.
    """
    taken, afresh, left = compare(recipe, start)
    parts = [f"{len(taken)} of {len(taken | afresh)} arrays are the model's"]
    parts += [f"afresh begin {_few(afresh)}"] * bool(afresh)
    parts += [f"left out are {_few(left)}"] * bool(left)
    if afresh or left:
        warnings.warn(f"start: {'; '.join(parts)}", stacklevel=3)
    return recipe if afresh else unstarted(recipe)


def unstarted(recipe: Recipe) -> Recipe:
    """Without the hooks that make a good start."""
    hooks = (each for each in recipe.hooks if not getattr(each, "at_start", False))
    return recipe.replace(hooks=tuple(hooks))


def started(fresh: Variables, start: Variables) -> Any:
    """The variables of a fresh state with those of `start` in their place."""
    theirs = by_name(start)
    taken = _taken(by_name(fresh), theirs)

    def pick(path: Any, leaf: jax.Array) -> jax.Array:
        name = name_of(path)
        return jnp.asarray(theirs[name]).astype(leaf.dtype) if name in taken else leaf

    return jax.tree_util.tree_map_with_path(pick, fresh)


def _taken(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Set[str]:
    """What a module keeps beside its parameters goes with all of them or not at all.

    So a codebook of another size does not count as one that was started.
    """
    same = {
        name
        for name, own in ours.items()
        if name in theirs and own.shape == theirs[name].shape
    }
    incomplete = {_module(name) for name in ours.keys() - same}
    return {
        name
        for name in same
        if name.startswith("params/") or _module(name) not in incomplete
    }


def _module(name: str) -> str:
    return name.partition("/")[2].rpartition("/")[0]


def _few(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = len(shown) - _SHOWN
    rest = f" and {more} more" if more > 0 else ""
    return ", ".join(shown[:_SHOWN]) + rest
