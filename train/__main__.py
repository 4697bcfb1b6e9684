"""`python -m train PRESET [--option value ...]`: train, evaluate, report."""

import sys
from collections.abc import Sequence

from train.commands import dated_folder, parse_preset
from train.config import Config
from train.presets import Preset
from train.supervisor import only_python_prints, supervise, supervised


def parse(arguments: Sequence[str]) -> tuple[str, Config]:
    """The preset and its configuration; the default one where none is named."""
    return parse_preset(arguments, Preset.config, "train", __doc__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the arguments say, those of the command line if None."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # Parsed first: help and wrong options should not wait for JAX's devices.
    preset, config = parse(arguments)
    if config.distributed is not None:
        if not supervised():
            raise SystemExit(supervise(arguments))
        only_python_prints()

    from train.program import program
    from train.training import train

    with program():
        train(config.out or dated_folder(preset), preset, config)


if __name__ == "__main__":
    main()
