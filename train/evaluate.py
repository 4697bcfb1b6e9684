"""`python -m train.evaluate RUN`: compute the results of a run again.

The numbers and the report are made from the best checkpoint, in the run's directory.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Arguments:
    """Computes the results of a run again, from the checkpoint of its best epoch."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    nll_samples: int | None = None
    """Importance samples per test image; as in training if not given, 0 for none."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = tyro.cli(Arguments, prog="python -m train.evaluate")

    from train.program import program

    with program():
        evaluate(arguments)


def evaluate(arguments: Arguments) -> None:
    """Restores, evaluates, writes.

    Raises:
        RunError: There is no run.
        CheckpointError: It has no checkpoint, or one of another architecture.
        DataError: Its data cannot be used.
    """
    from train.data import load
    from train.results import write_results
    from train.run import open_run, restore_model

    run = open_run(arguments.run)
    if arguments.nll_samples is not None:
        config = dataclasses.replace(run.config, nll_samples=arguments.nll_samples)
        run = run._replace(config=config)
    model, epoch = restore_model(run)
    data = load(run.config.data, image_size=run.config.image_size)
    write_results(run, model, epoch, data)


if __name__ == "__main__":
    main()
