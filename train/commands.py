"""What all programs do first: see to it that they can print, and parse.

Nothing here asks JAX for its devices: help and wrong options should not wait for them.
"""

import datetime
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from jaxae.errors import did_you_mean, unknown
from train.presets import DEFAULT, PRESETS, Preset

T = TypeVar("T")

_RULES = ConstructorRegistry()


def parse(kind: Callable[..., T], prog: str) -> T:
    """The arguments as a dataclass `kind`; what is wrong with them ends the program."""
    lose_nothing()
    with _RULES:
        return tyro.cli(kind, prog=prog)


def parse_preset(
    arguments: Sequence[str],
    make: Callable[[Preset], T],
    program: str,
    about: str | None,
) -> tuple[str, T]:
    """The preset that is named first, or `DEFAULT`, and what the rest makes of it.

    Args:
        arguments: Of the command line.
        make: The dataclass of all options, with a preset's values as defaults.
        program: What follows `python -m`.
        about: The first line of `--help` where no preset is named.

    Raises:
        SystemExit: Help was asked for, or an argument is wrong; it has been said.
    """
    lose_nothing()
    if arguments and arguments[0] in ("-h", "--help"):
        with _RULES:
            tyro.extras.overridable_config_cli(
                {name: (each.about(), make(each)) for name, each in PRESETS.items()},
                args=list(arguments),
                prog=f"python -m {program}",
                description=about,
            )
    named = bool(arguments) and not arguments[0].startswith("-")
    name, rest = (arguments[0], arguments[1:]) if named else (DEFAULT, arguments)
    if name not in PRESETS:
        print(f"error: {unknown('PRESET', name, PRESETS)}", file=sys.stderr)
        raise SystemExit(2)
    # The preset is part of the program's name, so that only its options are suggested.
    default = make(PRESETS[name])
    with _RULES:
        parsed = tyro.cli(
            type(default),
            default=default,
            args=list(rest),
            prog=f"python -m {program} {name}",
            description=PRESETS[name].about(),
            config=(tyro.conf.AvoidSubcommands,),
        )
    return name, parsed


def dated_folder(name: str) -> Path:
    """Where results go if nothing else is said."""
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y-%m-%d-%H%M%S}"


def lose_nothing() -> None:
    """Characters that the encoding of the output lacks are escaped, and no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@_RULES.primitive_rule
def _choice(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """One of a `Literal`, where tyro suggests nothing."""
    if info.type_origin is not Literal:
        return None
    known = _by_name(info.type)
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=_braces(known),
        instance_from_str=lambda given: _find(known, given[0]),
        is_instance=lambda value: value in known.values(),
        str_from_instance=lambda value: [str(value)],
    )


@_RULES.primitive_rule
def _choices(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Any number of them."""
    inside = get_args(info.type)
    one = get_args(inside[0]) if len(inside) == 2 and inside[1] is ... else ()
    if info.type_origin is not tuple or not one:
        return None
    known = _by_name(inside[0])
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{_braces(known)} ...]",
        instance_from_str=lambda given: tuple(_find(known, each) for each in given),
        is_instance=lambda values: all(value in known.values() for value in values),
        str_from_instance=lambda values: [str(value) for value in values],
    )


def _by_name(literal: Any) -> dict[str, Any]:
    return {str(choice): choice for choice in get_args(literal)}


def _braces(known: Mapping[str, Any]) -> str:
    return "{" + ",".join(known) + "}"


def _find(known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        hint = did_you_mean(name, known)
        raise ValueError(f"must be one of {', '.join(known)}, got {name!r}{hint}")
    return known[name]
