"""`python -m train.reproduce ROW`: run a published protocol, show both numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from jaxae.checks import check_count
from jaxae.errors import given, require
from train.commands import parse
from train.errors import RunError
from train.program import program
from train.reproduce.protocol import Job
from train.reproduce.results import as_json, beside, write_page
from train.reproduce.rows import ROWS, Row
from train.run import read_json, write_json
from train.tables import print_table

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(ROWS)]


@dataclass(frozen=True)
class Arguments:
    """Runs a published protocol end to end and prints its number beside ours.

    What was interrupted goes on when the same is asked for again.
    """

    row: tyro.conf.Positional[Name | None] = None
    """What is run; see --list."""
    list: bool = False
    """Show the rows, what was published, and how long they take."""
    page: bool = False
    """Write the table of the results that are kept here into train/README.md."""
    budget: float | None = None
    """Minutes on two cores for the training with one seed: the schedule is shortened to
    its share of them, one epoch at least, and the result says so. What is measured
    then is not shortened."""
    so_far: bool = False
    """Measure what an interrupted run has reached, in place of going on with it; the
    result says after how many epochs."""
    seed: int = 0
    """Everything random follows from it."""
    seeds: int = 1
    """Runs with the seeds SEED, SEED + 1, ..., of which mean and std are shown."""
    out: Path | None = None
    """Directory of the runs; runs/reproduce-ROW if not given."""


def main() -> None:
    """Parses, then runs, lists or writes."""
    arguments = parse(Arguments, "python -m train.reproduce")
    with program():
        if arguments.page:
            write_page()
        elif arguments.list:
            print_rows()
        else:
            reproduce(arguments)


def print_rows() -> None:
    """A line for each."""
    columns = ("row", "published", "within", "unit", "minutes", "what")
    rows = [
        (
            name,
            f"{row.published:g}",
            f"{row.tolerance:g}",
            row.unit,
            f"{row.minutes:,g}",
            row.about,
        )
        for name, row in ROWS.items()
    ]
    print_table("Published results", columns, rows)


def reproduce(arguments: Arguments) -> None:
    """Runs a row for every seed and writes reproduction.json.

    Raises:
        ArgumentError: No row is named, or a number cannot be.
        RunError: In the directory is something else.
    """
    budget = arguments.budget
    name = given(arguments.row, "ROW must be one of those of --list, got None")
    require(budget is None or budget > 0, "--budget", budget, "above 0")
    check_count("--seed", arguments.seed, least=0)
    check_count("--seeds", arguments.seeds)
    row, folder = ROWS[name], arguments.out or Path("runs") / f"reproduce-{name}"
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    file = folder / "reproduction.json"
    _check_place(file, name, seeds)
    share = _share(row, budget)
    so_far = arguments.so_far
    jobs = [Job(folder / f"seed-{seed}", seed, share, name, so_far) for seed in seeds]
    result = as_json(name, row, seeds, [row.protocol.run(job) for job in jobs])
    _check_fuller(file, result)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, result)
    print(beside(result))
    print(f"result: {file}")


def _check_place(file: Path, name: str, seeds: Sequence[int]) -> None:
    """Raises RunError if a result is there that would be lost."""
    if not file.exists():
        return
    before = read_json(file)
    row, there = before.get("row"), set(before.get("seeds", ()))
    if row != name:
        raise RunError(f"{file}: is of the row {row!r}; give another --out")
    if not there <= set(seeds):
        raise RunError(
            f"{file}: has the seeds {sorted(there)}; give --seed and --seeds that "
            "go over these too, or another --out"
        )


def _check_fuller(file: Path, result: Mapping[str, Any]) -> None:
    """Raises RunError if a result of the whole protocol would be lost for less."""
    whole = file.exists() and not read_json(file)["shortened"]
    if whole and result["shortened"]:
        raise RunError(
            f"{file}: is of the whole protocol, what came out now of "
            f"{result['shortened']}; give another --out"
        )


def _share(row: Row, budget: float | None) -> float:
    return 1.0 if budget is None else min(1.0, budget / row.minutes)


if __name__ == "__main__":
    main()
