"""What the command lines that begin with a preset have in common.

Nothing here starts JAX: help and wrong options should not wait for it.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from train.presets import DEFAULT

T = TypeVar("T")


def parse_preset(
    choices: Mapping[str, tuple[str, T]],
    arguments: Sequence[str],
    program: str,
    description: str | None,
) -> tuple[str, T]:
    """The preset, `DEFAULT` where none is named, and its choice with the options.

    Args:
        choices: By the name of the preset: what it is, and the values of the options.
        arguments: The words of the command line.
        program: What was called, as the help names it.
        description: For the help.
    """
    named = bool(arguments) and not arguments[0].startswith("-")
    asks_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
    if not (named or asks_for_help):
        arguments = [DEFAULT, *arguments]
    parsed = tyro.extras.overridable_config_cli(
        choices, args=list(arguments), prog=program, description=description
    )
    return arguments[0], parsed


def dated_folder(name: str) -> Path:
    """Where results go if nothing else is said."""
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
