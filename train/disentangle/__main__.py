"""`python -m train.disentangle`: six families, trained on `shapes` and scored."""

from dataclasses import dataclass
from pathlib import Path

from train.commands import dated_folder, parse


@dataclass(frozen=True)
class Arguments:
    """Trains families that are to disentangle factors, over seeds, and scores them."""

    out: Path | None = None
    """Directory of the results; runs/disentangle-DATE if not given."""
    seeds: int = 5
    """Trainings of every family."""
    epochs: int = 100
    """Passes over the training pictures."""
    examples: int | None = None
    """So many of the training pictures, and so many of all to be scored by, for a short
    run; all of both if not given."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = parse(Arguments, "python -m train.disentangle")

    from train.disentangle.report import report
    from train.disentangle.study import compare
    from train.program import program

    with program():
        out = arguments.out or dated_folder("disentangle")
        study = compare(out, arguments.seeds, arguments.epochs, arguments.examples)
        report(out, study)


if __name__ == "__main__":
    main()
