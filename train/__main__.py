"""`python -m train PRESET [--option value ...]`: train, evaluate, report."""

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from train.commandline import parse_preset
from train.config import Config
from train.presets import DEFAULT, PRESETS
from train.supervisor import only_python_prints, supervise, supervised


def parse(arguments: Sequence[str]) -> tuple[str, Config]:
    """The preset and its configuration; `DEFAULT` where none is named."""
    return parse_preset(PRESETS, DEFAULT, arguments, "python -m train", __doc__)


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
