"""Whether data are those of a run, wherever they lie now; and other data for it."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from train.data import Dataset, Split, load_whole
from train.data.digest import differing, short
from train.errors import RunError
from train.hosts import say
from train.run import Run
from train.training import check_split


class Other(NamedTuple):
    """Data that a run was not trained on.

    Attributes:
        place: As on the command line.
        folder: Of the results.
        test: The examples to judge the run on.
    """

    place: str
    folder: Path
    test: Split


def found(run: Run, data: str, inputs: str | None, missing: str | None) -> Run | Other:
    """The run with its own data in their new place; or what other data are there.

    Args:
        run: Without digests its data are those in the place that it names.
        data: As `--data`.
        inputs: As `--inputs`.
        missing: As `--missing`.

    Raises:
        DataError: The data cannot be read.
        ArgumentError: They are not as the model needs them.
    """
    places = {"data": data, "inputs": inputs, "missing": missing}
    moved = run._replace(config=dataclasses.replace(run.config, **places))
    if not run.digests and moved == run:
        return run
    beside = {
        "inputs": inputs,
        "missing": missing,
        "conditions": run.config.model.arrays,
        "image_size": run.config.image_size,
    }
    parts, digests = load_whole(data, **beside, stream=run.config.stream)
    others = differing(digests, run.digests)
    if not others:
        return moved
    if run.config.stream:
        parts, digests = load_whole(data, **beside)
    test = parts.get("test", parts["train"])
    assert isinstance(test, Split)
    check_split(run.recipe(), test, f"--data {data}")
    folder = run.path / f"on-{Path(data).stem}-{short(digests)}"
    if run.digests:
        say(f"--data {data}: not the run's, they differ in {', '.join(others)}")
    return Other(data, folder, test)


def check_unchanged(run: Run, data: Dataset) -> None:
    """Raises RunError if the data of a run are not those that it was started with."""
    others = run.digests and differing(data.digests, run.digests)
    if others:
        raise RunError(
            f"--data {run.config.data}: no longer what the run in {run.path} was "
            f"trained on, it differs in {', '.join(others)}; give --data for other data"
        )
