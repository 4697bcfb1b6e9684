"""`python -m train.data SOURCE`: prepares a data set ahead and describes it."""

from pathlib import Path

import numpy as np
import tyro

from train.commands import parse
from train.data import DataError, Split, load
from train.data.types import PARTS


def main(
    source: tyro.conf.Positional[str] = "mnist",
    inputs: str | None = None,
    missing: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    cache_dir: Path | None = None,
) -> None:
    """Prepares a data set ahead and describes it; see `train.data.load`."""
    try:
        dataset = load(
            source,
            inputs=inputs,
            missing=missing,
            image_size=image_size,
            cache_dir=cache_dir,
        )
    except (DataError, OSError) as error:
        raise SystemExit(f"error: {error}") from error
    print(dataset.name)
    for part in PARTS:
        print(f"{part:10} {describe(getattr(dataset, part))}")


def describe(split: Split) -> str:
    """The forms of all fields."""
    x, labels = np.asarray(split.images), split.labels
    words = [f"{x.shape} {x.dtype} in {x.min()}..{x.max()}"]
    if labels is None:
        words += ["no labels"]
    elif labels.dtype == np.int32 and labels.ndim == 1:
        words += [f"{len(np.unique(labels))} classes"]
    else:
        words += [f"labels {labels.shape} {labels.dtype}"]
    if split.inputs is not None:
        words += [f"inputs {split.inputs.shape} {split.inputs.dtype}"]
    if split.missing is not None:
        words += [f"{split.missing.mean():.1%} missing"]
    if split.weight is not None:
        words += ["weights"]
    return ", ".join(words)


if __name__ == "__main__":
    parse(main, "python -m train.data")
