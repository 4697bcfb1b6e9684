"""`python -m train PRESET [--option value ...]`: train, evaluate, report."""

import sys
from collections.abc import Sequence

from train.commands import dated_folder, parse_preset
from train.config import Config
from train.presets import PRESETS
from train.supervisor import only_python_prints, supervise, supervised


def parse(arguments: Sequence[str]) -> tuple[str, Config]:
    """The preset and its configuration; see `parse_preset`."""
    return parse_preset(PRESETS, arguments, "python -m train", __doc__)


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    preset, config = parse(sys.argv[1:])
    if config.distributed is not None:
        if not supervised():
            raise SystemExit(supervise(sys.argv[1:]))
        only_python_prints()

    from train.program import program
    from train.training import train

    with program():
        train(config.out or dated_folder(preset), preset, config)


if __name__ == "__main__":
    main()
