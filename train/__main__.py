"""`python -m train PRESET [--option value ...]`: train, evaluate, report."""

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from train.config import Config
from train.presets import DEFAULT, PRESETS
from train.supervisor import only_python_prints, supervise, supervised


def parse(arguments: Sequence[str]) -> tuple[str, Config]:
    """The preset and its configuration; `DEFAULT` where none is named."""
    named = bool(arguments) and not arguments[0].startswith("-")
    asks_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
    if not (named or asks_for_help):
        arguments = [DEFAULT, *arguments]
    config = tyro.extras.overridable_config_cli(
        PRESETS, args=list(arguments), prog="python -m train", description=__doc__
    )
    return arguments[0], config


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    preset, config = parse(sys.argv[1:])
    if config.distributed is not None:
        if not supervised():
            raise SystemExit(supervise(sys.argv[1:]))
        only_python_prints()

    from train.program import program
    from train.training import train

    now = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    with program():
        train(config.out or Path("runs") / f"{preset}-{now}", preset, config)


if __name__ == "__main__":
    main()
