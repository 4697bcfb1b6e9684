"""`python -m train.data SOURCE`: prepares a data set ahead and describes it."""

from pathlib import Path

import numpy as np
import tyro

from train.commands import parse
from train.data import DataError, load


def main(
    source: tyro.conf.Positional[str] = "mnist",
    image_size: int | tuple[int, int] | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Prepares a data set ahead and describes it; see `train.data.load`."""
    try:
        dataset = load(source, image_size=image_size, cache_dir=cache_dir)
    except (DataError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    print(dataset.name)
    for part, (images, labels) in dataset.splits().items():
        x = np.asarray(images)
        classes = "no labels" if labels is None else f"{len(set(labels))} classes"
        print(f"{part:10} {x.shape} {x.dtype} in {x.min()}..{x.max()}, {classes}")


if __name__ == "__main__":
    parse(main, "python -m train.data")
