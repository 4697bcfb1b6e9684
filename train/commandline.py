"""What all programs do first: see to it that they can print, and parse."""

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
)

from train.errors import did_you_mean

T = TypeVar("T")

_RULES = ConstructorRegistry()


def parse(kind: Callable[..., T], prog: str) -> T:
    """The arguments as a dataclass `kind`; what is wrong with them ends the program."""
    lose_nothing()
    with _RULES:
        return tyro.cli(kind, prog=prog)


def parse_preset(
    presets: Mapping[str, tuple[str, T]],
    default: str,
    arguments: Sequence[str],
    prog: str,
    description: str | None,
) -> tuple[str, T]:
    """The preset and its configuration; `default` where none is named.

    Args:
        presets: What they are, and their configuration, by name.
        default: The name of one of them.
        arguments: The command line, without the program.
        prog: How the program is started.
        description: Of the program, for its help.
    """
    lose_nothing()
    name = arguments[0] if arguments else ""
    if not name or (name.startswith("-") and name not in ("-h", "--help")):
        name, arguments = default, [default, *arguments]
    if name not in presets and not name.startswith("-"):
        hint = did_you_mean(name, presets)
        told = f"there is no preset {name!r}{hint or f': see {prog} --help'}"
        print(f"error: {told}", file=sys.stderr)
        raise SystemExit(2)
    with _RULES:
        config = tyro.extras.overridable_config_cli(
            dict(presets), args=list(arguments), prog=prog, description=description
        )
    return name, config


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
