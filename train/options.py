"""The options of a family, made of its recipe's signature and docstring."""

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from functools import lru_cache
from inspect import Parameter, signature
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    get_args,
    get_origin,
    get_type_hints,
)

import tyro
from docstring_parser import parse
from flax import linen as nn

import jaxae
from jaxae.errors import ensure
from jaxae.likelihoods import Likelihood
from jaxae.networks.pairs import Networks
from jaxae.objectives import Weight
from jaxae.types import Corrupt
from jaxae.views import Condition
from train import words
from train.words import Words

Family = Callable[..., jaxae.Recipe]

_OF_THE_DATA = ("shape", "input_shape", "data_size")
"""The arguments that the data decide."""

_WAYS = re.compile(r",? by name.*?(?=[.;](?: |$))")
"""How a part may be given in Python; the command line has words for it alone."""


class Plan(NamedTuple):
    """What a recipe may have to know of the training that it is made for.

    Attributes:
        train_size: Number of training examples.
        steps_per_epoch: Batches in what counts as an epoch.
        input_shape: Of what the encoder sees, where that is not the shape of x.
    """

    train_size: int
    steps_per_epoch: int
    input_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Options:
    """Base of the options of all families, which `options_of` makes.

    Attributes:
        family: The recipe function.
        parts: The options that are parts in words, with how to read them.
    """

    family: ClassVar[Family]
    parts: ClassVar[Mapping[str, Words]]

    def recipe(self, shape: tuple[int, ...], plan: Plan) -> jaxae.Recipe:
        """For examples of this shape.

        Raises:
            ArgumentError: A part in words is wrong, or the family sees nothing of
                another shape.
        """
        values = self.read(plan.steps_per_epoch)
        taken = signature(type(self).family).parameters
        if "data_size" in taken:
            values["data_size"] = plan.train_size
        if plan.input_shape is not None:
            right = (
                f"--inputs must have the shape of the data, {shape}, for this family"
            )
            ensure("input_shape" in taken, f"{right}, got {plan.input_shape}")
            values["input_shape"] = plan.input_shape
        return type(self).family(shape, **values)

    def read(self, steps_per_epoch: int) -> dict[str, Any]:
        """All options by name, with the parts that words stand for.

        Raises:
            ArgumentError: A part in words is wrong.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        hints = get_type_hints(type(self))
        for name, part in self.parts.items():
            option, steps = f"--model.{name}", steps_per_epoch
            none = str(values[name]).lower() == part.none
            if none and type(None) in get_args(hints[name]):
                values[name] = None
            # A number that is swept comes as it is.
            elif isinstance(values[name], str):
                values[name] = part.read(values[name], option, steps)
            elif isinstance(values[name], tuple):
                values[name] = tuple(part.read(v, option, steps) for v in values[name])
        return values

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays of the data that conditions are of, but for labels."""
        names = {words.named(each) for each in getattr(self, "conditions", ())}
        return tuple(sorted(names - {"label"}))

    @classmethod
    def is_number(cls, name: str) -> bool:
        """Whether an option is a real number, which a sweep can vary."""
        hint = get_type_hints(cls).get(name)
        return cls.parts.get(name) is words.WEIGHT or hint in (float, float | None)


@lru_cache
def options_of(family: Family) -> type[Options]:
    """The options of a family: all its arguments but those that the data decide."""
    hints, described = get_type_hints(family), parse(family.__doc__ or "")
    texts = {each.arg_name: each.description or "" for each in described.params}
    own, parts = [], {}
    for name, parameter in signature(family).parameters.items():
        if name in _OF_THE_DATA:
            continue
        hint, default = hints[name], parameter.default
        text = " ".join(texts.get(name, "").split())
        part = _part(hint)
        if part is not None:
            parts[name], text = part, _WAYS.sub("", text)
            hint, default = _in_words(hint, default, part)
        hint = Annotated[hint, argument(text, part)]
        required = default is Parameter.empty
        own.append((name, hint) if required else (name, hint, field(default=default)))
    made = make_dataclass(
        f"{family.__name__}_options",
        own,
        bases=(Options,),
        frozen=True,
        kw_only=True,
        namespace={
            "__doc__": described.short_description,
            "family": staticmethod(family),
            "parts": types.MappingProxyType(parts),
        },
    )
    return made


def _in_words(hint: Any, default: Any, part: Words) -> tuple[Any, Any]:
    """The type and the default of an option that is read from words."""
    if get_origin(hint) is tuple:
        return tuple[str, ...], tuple(map(part.write, default))
    optional = type(None) in get_args(hint)
    return (
        str | None if optional else str,
        None if default is None else part.write(default),
    )


def _part(hint: Any) -> Words | None:
    """How an argument of this type is read, if it is a part in words."""
    members = set(get_args(hint))
    if set(get_args(Networks)) <= members:
        return words.NETWORK
    if set(get_args(Weight)) <= members:
        return words.WEIGHT
    if Likelihood in members:
        return words.LIKELIHOOD
    if Corrupt in members:
        return words.CORRUPTION
    if Condition in members:
        return words.CONDITION
    return words.CRITIC if nn.Module in members else None


def argument(text: str, part: Words | None) -> Any:
    """How `--help` writes an option, with all that a part in words may be."""
    text = text if part is None else f"{text} One of: {part.forms()}"
    return tyro.conf.arg(help=text, metavar=part.metavar if part else None)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Value by path, as "model.beta", of nested dataclasses or mappings."""
    inside = values if isinstance(values, Mapping) else vars(values)
    found: dict[str, Any] = {}
    for name, value in inside.items():
        if isinstance(value, Mapping) or hasattr(value, "__dataclass_fields__"):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def replaced(config: Any, path: str, value: Any) -> Any:
    """The configuration with another value at a path.

    Raises:
        AttributeError: There is nothing at this path.
    """
    name, _, rest = path.partition(".")
    if rest:
        value = replaced(getattr(config, name), rest, value)
    getattr(config, name)
    values = {each.name: getattr(config, each.name) for each in fields(config)}
    return type(config)(**values | {name: value})
