"""`python -m train.apply RUN INPUT --task TASK --out PATH`: use a trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro


@dataclass(frozen=True)
class Arguments:
    """Uses the best model of a run on your own images."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    input: tyro.conf.Positional[Path | None] = None
    """FILE.npy, FILE.npz or a FOLDER of PNG and JPEG; sampling does not look at it."""
    task: Literal["encode", "reconstruct", "restore", "sample"] = "reconstruct"
    """encode: to codes. reconstruct: through the code and back. restore: remove noise,
    or fill the holes of --mask. sample: new images."""
    out: Path = Path("out.npy")
    """Where to: FILE.npy for an array, or a new folder for PNG images."""
    mask: Path | None = None
    """For restore: images as INPUT, non-zero where pixels are missing."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize the images to."""
    count: int = 64
    """For sample: how many."""
    seed: int = 0
    """For sample."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = tyro.cli(Arguments, prog="python -m train.apply")

    from train.program import program

    with program():
        apply(arguments)


def apply(arguments: Arguments) -> None:
    """Reads, computes, writes.

    Raises:
        ArgumentError: The arguments do not go together.
        RunError: There is no run.
        CheckpointError: It has no checkpoint, or one of another architecture.
        DataError: The input cannot be read.
        OSError: The output cannot be written.
    """
    import jax

    import jaxae
    from jaxae.errors import require
    from train.data import read_images
    from train.run import open_run, restore_model

    task, out = arguments.task, arguments.out
    source = None if task == "sample" else arguments.input
    require(task == "sample" or source, "INPUT", None, f"given to {task}")
    require(task == "restore" or not arguments.mask, "--mask", task, "for restore only")
    require(not out.exists(), "--out", str(out), "a path that does not exist yet")
    is_array = out.suffix == ".npy"
    require(is_array or task != "encode", "--out", str(out), "a .npy file for codes")

    model, _ = restore_model(open_run(arguments.run))
    if source is None:
        key = jax.random.key(arguments.seed)
        result = jaxae.sample(model, key, arguments.count)
    else:
        images = read_images(source, arguments.image_size)
        if arguments.mask:
            masks = read_images(arguments.mask, arguments.image_size)
            missing = (masks != 0).any(axis=-1, keepdims=True)
            result = jaxae.restore(model, images, mask=missing)
        else:
            function = jaxae.encode if task == "encode" else jaxae.reconstruct
            result = function(model, images)
    write(out, np.asarray(result))
    print(f"{task}: {len(result)} -> {out}")


def write(out: Path, values: np.ndarray) -> None:
    """An array as one file, or images as numbered PNGs in a new folder.

    Raises:
        ArgumentError: A folder is asked for and the values are not grey or RGB images.
    """
    from PIL import Image

    from jaxae.errors import require

    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, values)
        return
    images = values.ndim == 4 and values.shape[-1] in (1, 3)
    require(images, "--out", str(out), f"a .npy file for values of {values.shape[1:]}")
    out.mkdir(parents=True)
    levels = np.round(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)
    for number, image in enumerate(levels):
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            out / f"{number:05d}.png"
        )


if __name__ == "__main__":
    main()
