"""Parts of a recipe in words, as the command line has them: `linear:0:1:epochs=10`.

A part is its name and, after colons, its arguments in their order or by their names:
numbers, yes or no, choices, and sizes with commas between them, as in `mlp:300,300` and
`conv:32,64:residual_blocks=1`. Corruptions in a row are joined by a plus sign.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from flax import linen as nn

from jaxae import corruptions, likelihoods, preparation, schedules
from jaxae.corruptions import Compose, Corruption, identity
from jaxae.errors import ArgumentError, choose, did_you_mean, ensure, unknown
from jaxae.networks.pairs import BY_NAME, Pair, check_no_family
from jaxae.preparation import Scale
from jaxae.schedules import Schedule
from jaxae.views import Condition

Makers = Mapping[str, Callable[..., Any]]


def snake_case(name: str) -> str:
    """`GaussianNoise` -> `gaussian_noise`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _by_name(classes: Iterable[Any], base: type) -> Makers:
    subclasses = [c for c in classes if isinstance(c, type) and issubclass(c, base)]
    return {snake_case(c.__name__): c for c in subclasses if c is not base}


SCHEDULES = _by_name(vars(schedules).values(), Schedule)
CORRUPTIONS = _by_name(
    (each for each in vars(corruptions).values() if each is not Compose), Corruption
)
SCALES = _by_name(vars(preparation).values(), Scale)


class Words:
    """One kind of part: what it may be, and how to read it.

    Attributes:
        makers: What it may be by name.
        metavar: How `--help` writes it.
        none: How None is written, where an option may be that; "" for not at all.
    """

    none: ClassVar[str] = "none"

    def __init__(self, makers: Makers, metavar: str) -> None:
        """Nothing is read yet."""
        self.makers, self.metavar = makers, metavar

    def __repr__(self) -> str:
        """As `--help` writes it."""
        return self.metavar

    def read(self, text: str, name: str, steps_per_epoch: int) -> Any:
        """The part that a text stands for.

        Args:
            text: As on the command line.
            name: The option, for errors.
            steps_per_epoch: What `epochs=1` is in steps, for schedules.

        Raises:
            ArgumentError: A name is unknown, or an argument is not as it must be.
        """
        return read_part(text, self.makers, name, steps_per_epoch)

    def write(self, value: Any) -> str:
        """The words that make a value, as a default is shown; a text is words already.

        Raises:
            TypeError: There are no words for it.
        """
        if isinstance(value, str | int | float):
            return str(value)
        names = [name for name, make in self.makers.items() if make is type(value)]
        if not names:
            raise TypeError(f"no words for {value!r}")
        return ":".join([names[0], *_arguments(value)])

    def forms(self) -> str:
        """All that it may be, with the names of the arguments."""
        return ", ".join(map(_form, self.makers, self.makers.values()))


class _Weight(Words):
    def read(self, text: str, name: str, steps_per_epoch: int) -> Any:
        try:
            return float(text)
        except ValueError:
            head = text.partition(":")[0]
            known = unknown(name, head, self.makers, beside="a number or ")
            ensure(head in self.makers, known)
            return super().read(text, name, steps_per_epoch)

    def forms(self) -> str:
        return f"a number, {super().forms()}; epochs=N in place of steps=N"


class _Corruption(Words):
    none = ""  # None is the damage that a family has of its own

    def read(self, text: str, name: str, steps_per_epoch: int) -> Any:
        no_damage = f"{name} must be {identity.__name__} for no damage, got {text!r}"
        ensure(text.lower() != "none", no_damage)
        if text == identity.__name__:
            return identity
        # Before a letter: in 1e+3 the sign belongs to a number.
        parts = [
            super(_Corruption, self).read(part, name, steps_per_epoch)
            for part in re.split(r"\+(?=[a-z])", text)
        ]
        return parts[0] if len(parts) == 1 else Compose(tuple(parts))

    def write(self, value: Any) -> str:
        if value is identity:
            return identity.__name__
        if isinstance(value, Compose):
            return "+".join(map(super().write, value.corruptions))
        return super().write(value)

    def forms(self) -> str:
        return f"{super().forms()}, or identity for none, as for pairs"


class _Condition(Words):
    def read(self, text: str, name: str, steps_per_epoch: int) -> Condition:
        array = named(text)
        return read_part(
            text, {array: partial(Condition, name=array)}, name, steps_per_epoch
        )

    def write(self, value: Any) -> str:
        return ":".join([value.name, *_arguments(value)])

    def forms(self) -> str:
        example = "age, place:50:embedding=8, hint:shape=28,28,1:to=encoder"
        return f"{_form('NAME', partial(Condition, name='NAME'))}, as {example}"


def named(condition: str) -> str:
    """The array that the words of a condition are of."""
    return condition.partition(":")[0]


class _Network(Words):
    def read(self, text: str, name: str, steps_per_epoch: int) -> Any:
        check_no_family(name, text, "the preset unet")
        return super().read(text, name, steps_per_epoch)


class _Critic(Words):
    def read(self, text: str, name: str, steps_per_epoch: int) -> nn.Module:
        pair: Pair = super().read(text, name, steps_per_epoch)
        return pair.encoder()


WEIGHT = _Weight(SCHEDULES, "NUMBER|SCHEDULE")
CORRUPTION = _Corruption(CORRUPTIONS, "CORRUPTION[+CORRUPTION]")
LIKELIHOOD = Words(likelihoods.BY_NAME, "LIKELIHOOD")
NETWORK = _Network(BY_NAME, "NETWORK")
CONDITION = _Condition({}, "NAME[:CATEGORIES]")
SCALE = Words(SCALES, "SCALE")
CRITIC = _Critic(BY_NAME, "NETWORK")


def read_part(text: str, makers: Makers, name: str, steps_per_epoch: int) -> Any:
    """What `NAME:ARGUMENT:NAME=ARGUMENT...` makes; see `Words.read`."""
    head, *rest = text.split(":")
    make = choose(name, head, makers)
    hints, names = _hints(make), list(_parameters(make))
    form = f"{name} {text}: must be as {_form(head, make)}, and"
    arguments: dict[str, Any] = {}
    for i, word in enumerate(rest):
        key, equals, value = word.partition("=")
        if not equals:
            key, value = (names[i] if i < len(names) else ""), word
        if key == "epochs" and "steps" in hints:
            epochs = _number(float, value, name, text)
            some = f"{name} {text}: epochs must be a finite number above 0"
            ensure(0 < epochs < math.inf, f"{some}, got {value!r}")
            key, value = "steps", str(max(1, round(epochs * steps_per_epoch)))
        unlike = f"{form} {word!r} is"
        none = f"{unlike} of none of these arguments{did_you_mean(key, names)}"
        ensure(key in names or not equals, none)
        ensure(key in names, f"{unlike} one argument too many")
        ensure(key not in arguments, f"{unlike} {key} once more")
        arguments[key] = _read(value, hints[key], name, text)
    lacks = [each.upper() for each in _required(make) if each not in arguments]
    instead = ", or epochs=N in its place" * ("STEPS" in lacks)
    ensure(not lacks, f"{form} lacks {' and '.join(lacks)}{instead}")
    try:
        return make(**arguments)
    except ArgumentError as error:
        raise ArgumentError(f"{name} {text}: {error}") from None


def _arguments(value: Any) -> Iterator[str]:
    """Those that have no default, and by their names those that differ from it."""
    parameters = signature(type(value)).parameters
    for name in _parameters(type(value)):
        own, default = getattr(value, name), parameters[name].default
        if default is Parameter.empty:
            yield _write(own)
        elif own != default:
            yield f"{name}={_write(own)}"


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if not isinstance(value, str | int | float):
        raise TypeError(f"no words for {value!r}")
    return str(value)


def _form(name: str, make: Callable[..., Any]) -> str:
    return ":".join([name, *(each.upper() for each in _parameters(make))])


def _required(make: Callable[..., Any]) -> list[str]:
    parameters = signature(_underlying(make)).parameters
    return [n for n in _parameters(make) if parameters[n].default is Parameter.empty]


def _underlying(make: Callable[..., Any]) -> Callable[..., Any]:
    return make.func if isinstance(make, partial) else make


def _parameters(make: Callable[..., Any]) -> list[str]:
    """Those arguments of a part that words can say; linen adds two of its own."""
    given = make.keywords if isinstance(make, partial) else {}
    names = signature(_underlying(make)).parameters
    return [n for n in names if n not in ("parent", "name") and n not in given]


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(_underlying(make))


def _read(word: str, hint: Any, name: str, text: str) -> Any:
    """A word as the type of its argument says."""
    options = [each for each in get_args(hint) or (hint,) if each is not type(None)]
    if get_origin(hint) is Literal:
        return choose(name, word, {each: each for each in get_args(hint)})
    if get_origin(hint) is tuple or any(get_origin(each) is tuple for each in options):
        if choices := {each: each for each in _inside(hint) if isinstance(each, str)}:
            return tuple(choose(name, each, choices) for each in word.split(","))
        kind = int if int in _inside(hint) else float
        return tuple(
            _number(kind, each, name, text) for each in word.split(",") if each
        )
    if bool in options:
        truth = {"yes": True, "true": True, "no": False, "false": False}
        return choose(f"{name} {text}", word.lower(), truth)
    for kind in (int, float):
        if kind in options:
            try:
                return kind(word)
            except ValueError:
                if str not in options:
                    _number(kind, word, name, text)
    return word


def _inside(hint: Any) -> set[Any]:
    args = get_args(hint)
    return {hint} if not args else set().union(*map(_inside, args))


def _number(kind: type, word: str, name: str, text: str) -> Any:
    try:
        return kind(word)
    except ValueError:
        needed = "a whole number" if kind is int else "a number"
        raise ArgumentError(f"{name} {text}: {word!r} must be {needed}") from None
