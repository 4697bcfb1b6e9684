"""What programs write: arrays as one file, or images as PNGs in a new folder."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxae.errors import require

FILES = {".npz", ".png", ".jpg", ".jpeg", ".gif", ".jae"}
"""Suffixes that no folder has."""


def write(out: Path, result: Any) -> None:
    """An array or several as one file, or images as numbered PNGs in a new folder.

    Raises:
        ArgumentError: `out` is of a kind that the values do not go into.
    """
    several = isinstance(result, tuple)
    fits = several == (out.suffix == ".npz")
    require(fits, "--out", str(out), "a .npz file for several latents, and only then")
    if several or out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(out, *result) if several else np.save(out, result)
        return
    values = np.asarray(result)
    check_place(out, values.shape)
    write_levels(out, np.round(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8))


def check_place(out: Path, shape: tuple[int, ...]) -> None:
    """Raises ArgumentError unless values of this shape go into `out`: PNGs or .npy."""
    images = len(shape) == 4 and shape[-1] in (1, 3)
    images = images and out.suffix.lower() not in FILES
    expected = f"a .npy file{' or a new folder' * images} for values of {shape[1:]}"
    require(images or out.suffix == ".npy", "--out", str(out), expected)


def write_levels(out: Path, levels: np.ndarray) -> None:
    """Bytes as an array, or as numbered PNGs in a new folder."""
    from PIL import Image

    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, levels)
        return
    out.mkdir(parents=True)
    for number, image in enumerate(levels):
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            out / f"{number:05d}.png"
        )
