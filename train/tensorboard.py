"""Scalars and pictures for TensorBoard, without TensorFlow."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

import jaxae


@contextmanager
def scalars(run: Path) -> Iterator[Callable[[jaxae.Epoch], None]]:
    """Yields a callback for `fit` that writes every metric of every epoch."""
    with SummaryWriter(str(run / "tensorboard")) as writer:

        def write(epoch: jaxae.Epoch) -> None:
            for name, value in epoch.metrics.items():
                if name != "epoch":
                    writer.add_scalar(name, value, epoch.number)
            writer.flush()

        yield write


def pictures(run: Path, epoch: int) -> None:
    """Writes the PNGs of the report."""
    with SummaryWriter(str(run / "tensorboard")) as writer:
        for path in sorted(run.glob("*.png")):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            writer.add_image(path.stem, pixels, epoch, dataformats="HWC")
