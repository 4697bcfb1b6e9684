"""What the command lines that begin with a preset have in common.

Nothing here asks JAX for its devices: help and wrong options should not wait for them.
"""

import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from jaxae.errors import unknown
from train.presets import DEFAULT, PRESETS, Preset

T = TypeVar("T")


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
        about: The first line of `--help`.

    Raises:
        SystemExit: Help was asked for, or an argument is wrong; it has been said.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        shown = PRESETS
    else:
        if not arguments or arguments[0].startswith("-"):
            arguments = [DEFAULT, *arguments]
        if arguments[0] not in PRESETS:
            message = unknown("PRESET", arguments[0], PRESETS)
            print(f"error: {message}", file=sys.stderr)
            raise SystemExit(2)
        # All of them take a second to make; two, so that the name stays an argument.
        shown = {name: PRESETS[name] for name in {arguments[0], DEFAULT, "ae"}}
    parsed = tyro.extras.overridable_config_cli(
        {name: (each.about(), make(each)) for name, each in shown.items()},
        args=list(arguments),
        prog=f"python -m {program}",
        description=about,
    )
    return arguments[0], parsed


def dated_folder(name: str) -> Path:
    """Where results go if nothing else is said."""
    return Path("runs") / f"{name}-{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
