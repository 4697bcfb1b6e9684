"""`python -m train.benchmark.seeds PRESET`: seeds in one program against many runs.

Both are whole programs, from the command to the report, in turn and in processes of
their own; compiled programs are in the cache for both.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import tyro

from train.commands import parse
from train.presets import DEFAULT, PRESETS
from train.run import write_json

if TYPE_CHECKING:
    Preset = str
else:
    Preset = Literal[tuple(PRESETS)]


@dataclass(frozen=True)
class Arguments:
    """Times one program with many seeds against a program for every seed."""

    preset: tyro.conf.Positional[Preset] = DEFAULT
    """What is trained."""
    seeds: int = 8
    """How many."""
    epochs: int = 2
    """Passes over the training images."""
    nll_samples: int = 0
    """Importance samples per test image; 0 leaves the log-likelihood out."""
    rounds: int = 3
    """How often both are timed; the medians count."""
    out: Path | None = None
    """FILE.json for the result."""


class Seconds(NamedTuple):
    """What all seeds together took.

    Attributes:
        program: From the command to the report.
        training: Of the epochs alone.
    """

    program: float
    training: float


def main() -> None:
    """Parses, runs both in turn, prints the medians and their ratios."""
    arguments = parse(Arguments, "python -m train.benchmark.seeds")
    with tempfile.TemporaryDirectory() as scratch:
        _both(arguments, Path(scratch) / "warm", epochs=1)  # compiles
        rounds = [
            _both(arguments, Path(scratch) / str(i), epochs=arguments.epochs)
            for i in range(arguments.rounds)
        ]
    result = {"preset": arguments.preset, "seeds": arguments.seeds}
    for name in Seconds._fields:
        together, apart = (
            statistics.median(getattr(seconds, name) for seconds in side)
            for side in zip(*rounds, strict=True)
        )
        result |= {
            f"{name}_seconds_together": together,
            f"{name}_seconds_apart": apart,
            f"{name}_ratio": together / apart,
        }
    for name, value in result.items():
        print(f"{name:<26}", f"{value:.4g}" if isinstance(value, float) else value)
    if arguments.out is not None:
        write_json(arguments.out, result)


def _both(arguments: Arguments, folder: Path, epochs: int) -> tuple[Seconds, Seconds]:
    """All seeds in one program, and in one program each."""
    together = folder / "together"
    start = time.perf_counter()
    _train(arguments, epochs, together, "--seeds", str(arguments.seeds))
    middle = time.perf_counter()
    runs = [folder / f"apart-{seed}" for seed in range(arguments.seeds)]
    for seed, run in enumerate(runs):
        _train(arguments, epochs, run, "--seed", str(seed))
    end = time.perf_counter()
    apart = sum(_training_seconds(run) for run in runs)
    return (
        Seconds(middle - start, _training_seconds(together / "seed-0")),
        Seconds(end - middle, apart),
    )


def _train(arguments: Arguments, epochs: int, out: Path, *options: str) -> None:
    command = [sys.executable, "-m", "train", arguments.preset, "--out", str(out)]
    command += ["--epochs", str(epochs), "--nll-samples", str(arguments.nll_samples)]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)


def _training_seconds(run: Path) -> float:
    return json.loads((run / "result.json").read_text("utf-8"))["train_seconds"]


if __name__ == "__main__":
    main()
