"""Scalars and pictures for TensorBoard, without TensorFlow."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

import jaxae


@contextmanager
def scalars(
    run: Path, history: Sequence[Mapping[str, float | None]]
) -> Iterator[Callable[[jaxae.Epoch], None]]:
    """Yields a callback for `fit` that writes every metric of every epoch.

    What is there is replaced by `history`, the epochs before, so that a run which goes
    on has no epoch twice.
    """
    shutil.rmtree(run / "tensorboard", ignore_errors=True)
    with SummaryWriter(str(run / "tensorboard")) as writer:

        def add(number: int, row: Mapping[str, float | None]) -> None:
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, number)

        def write(epoch: jaxae.Epoch) -> None:
            add(epoch.number, epoch.metrics)
            writer.flush()

        for number, row in enumerate(history, start=1):
            add(number, row)
        yield write


def pictures(run: Path, epoch: int) -> None:
    """Writes the PNGs of the report."""
    with SummaryWriter(str(run / "tensorboard")) as writer:
        for path in sorted(run.glob("*.png")):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            writer.add_image(path.stem, pixels, epoch, dataformats="HWC")
