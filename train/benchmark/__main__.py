"""`python -m train.benchmark [CASE ...]`: jaxae against its peers, in turn.

The same model, the same images, the same batch size and optimizer; see the README here.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tyro

from jaxae.checks import check_count
from jaxae.errors import require
from train.benchmark import peak
from train.benchmark.cases import CASES, PEERS, Case
from train.benchmark.report import show, write
from train.benchmark.results import Result, check_models
from train.benchmark.rounds import alternate, missing, start_over
from train.commands import dated_folder, parse
from train.data import load
from train.program import program

if TYPE_CHECKING:
    Name = str
    Peer = str
else:
    Name = Literal[tuple(case.name for case in CASES)]
    Peer = Literal[PEERS]


@dataclass(frozen=True)
class Arguments:
    """Compares jaxae with its peers."""

    cases: tyro.conf.Positional[tuple[Name, ...]] = ()
    """What is measured; everything if not given."""
    rounds: int = 5
    """How often each peer is timed, in turn; the medians count."""
    peers: tuple[Peer, ...] = PEERS
    """Those that take part, as far as their packages are there."""
    python: tuple[str, ...] = ()
    """PEER=PATH: interpreters of peers that are not in this one. torch's is that of
    torch-compile too."""
    images: int | None = None
    """At most so many in a round."""
    out: Path | None = None
    """Directory for benchmark.json and benchmark.png."""


def main() -> None:
    """Parses and measures."""
    arguments = parse(Arguments, "python -m train.benchmark")
    with program():
        benchmark(arguments.out or dated_folder("benchmark"), arguments)


def benchmark(out: Path, arguments: Arguments) -> None:
    """Measures all cases, shows and writes the results.

    Raises:
        ArgumentError: A number is not positive, or a path is none.
        OSError: The directory cannot be written to.
    """
    check_count("--rounds", arguments.rounds)
    if arguments.images is not None:
        check_count("--images", arguments.images)
    out.mkdir(parents=True, exist_ok=True)
    pythons = interpreters(arguments.python)
    names = present(arguments.peers, pythons)
    peaks = [peak.measure()]
    results: list[list[Result]] = []
    for case in CASES:
        if case.name in (arguments.cases or (case.name,)):
            case = case.shorten(arguments.images)
            own = [name for name in names if name in case.peers]
            print(f"{case.name}: {', '.join(own)}", flush=True)
            results.append(measure(case, own, pythons, arguments.rounds))
            write(out, results, peaks)  # what an interrupted run leaves
    peaks.append(peak.measure())
    write(out, results, peaks)
    show(results, peaks)
    print(f"-> {out}")


def measure(
    case: Case, names: Sequence[str], pythons: Mapping[str, Path], rounds: int
) -> list[Result]:
    """One case; who has another model than jaxae has failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, make_images(case))
        run = start_over if case.task == "start" else alternate
        results = run(case, names, path, pythons, rounds)
    check_models(results)
    return results


def interpreters(pairs: Sequence[str]) -> dict[str, Path]:
    """From PEER=PATH to a mapping.

    Raises:
        ArgumentError: Something else was given.
    """
    pythons = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        require(name in PEERS, "--python", pair, f"PEER=PATH with a peer of {PEERS}")
        runs = Path(path).is_file() and os.access(path, os.X_OK)
        require(runs, "--python", pair, "PEER=PATH with the path of an interpreter")
        # As it is: the link in a virtual environment says which one it is.
        pythons[name] = Path(path).absolute()
    return pythons


def present(asked: Sequence[str], pythons: Mapping[str, Path]) -> list[str]:
    """The peers whose packages are there; says which ones are not."""
    names = []
    for name in (name for name in PEERS if name in asked):
        lacks = missing(name, pythons)
        if lacks is None:
            names.append(name)
        else:
            print(f"{name} is skipped: its Python has no {lacks}", flush=True)
    return names


def make_images(case: Case) -> np.ndarray:
    """For a round: grey bytes for training, black and white test images for p(x)."""
    data = load("mnist")
    if case.task == "nll":
        return np.where(data.test.images[: case.images] < 128, 0, 255).astype(np.uint8)
    parts = (data.train.images[:], data.validation.images)
    return np.concatenate(parts)[: case.images]


if __name__ == "__main__":
    main()
