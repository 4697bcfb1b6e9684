"""A folder of PNG and JPEG images."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from train.data.images import Size, stack
from train.data.types import Source, Split
from train.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif"}
OTHERS = {".avif", ".bmp", ".gif", ".heic", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"}


def folder_source(root: Path, size: Size | None) -> Source:
    """All PNG and JPEG files below `root`, in the order of their names.

    `SUFFIXES` are theirs, in small letters or capitals. Other kinds of images are left
    out with a warning, files and folders whose names begin with a dot without one.
    Links are followed, to files and to folders.

    Where all images lie in sub-folders, and in two at least, the sub-folders of `root`
    are the classes, numbered in the order of their names. Every image becomes 8 bits
    deep:

    - 16-bit grey levels are divided by 257 and rounded;
    - what is transparent is laid over white;
    - if one image has colours, grey ones are repeated in red, green and blue; a palette
      counts as colours;
    - the orientation that a camera has noted is applied.

    Raises:
        DataError: No images, a folder that cannot be read, or a link to nothing.
    """
    try:
        paths = _find(root)
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise DataError(f"{root}: cannot be read: {error}") from error
    if not paths:
        raise DataError(f"{root}: no PNG or JPEG images in this folder")
    files = [
        [path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns]
        for path, stat in zip(paths, stats, strict=True)
    ]
    root_name = root.resolve()
    return Source(
        root_name.name,
        ["folder", str(root_name), files],
        lambda: {"train": _read(root, paths, size)},
    )


def _find(root: Path) -> list[Path]:
    files = sorted(_files(root), key=lambda path: path.relative_to(root).as_posix())
    others = [path for path in files if path.suffix.lower() in OTHERS]
    if others:
        left_out = f"{len(others)} images are left out, as {others[0].name}"
        message = f"{root}: {left_out}: only PNG and JPEG are read"
        warnings.warn(message, stacklevel=2)
    return [path for path in files if path.suffix.lower() in SUFFIXES]


def _files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files below, but for hidden ones; `above` are the folders on the way here."""
    real = folder.resolve()
    if real in above:
        return  # a link back, to what is being read already
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(folder / entry.name, (*above, real))
            elif entry.is_file():
                yield folder / entry.name
            elif entry.is_symlink():
                raise FileNotFoundError(f"{entry.path} is a link to nothing")


def _read(root: Path, paths: list[Path], size: Size | None) -> Split:
    colour = False
    for path in paths:  # all of them, so that a file that is no image is found early
        with _open(path) as image:
            colour |= image.mode not in GREY_MODES
    named = ((str(path), _decode(path, colour)) for path in paths)
    return Split(stack(named, len(paths), size), _labels(root, paths))


def _labels(root: Path, paths: list[Path]) -> np.ndarray | None:
    folders = [path.relative_to(root).parts[:-1] for path in paths]
    if not all(folders):
        return None
    names, labels = np.unique([parts[0] for parts in folders], return_inverse=True)
    return labels.astype(np.int32) if len(names) > 1 else None


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    # Pillow raises OSError, SyntaxError, ValueError, DecompressionBombError and more
    # for files that are damaged; all of them mean the same here.
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            yield image
    except Exception as error:
        raise DataError(f"{path}: not a readable PNG or JPEG ({error})") from error


def _decode(path: Path, colour: bool) -> np.ndarray:
    """uint8 [h, w, 3] if `colour`, else [h, w, 1]."""
    with _open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            wide = np.asarray(image).astype(np.int32)
            image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        pixels = np.asarray(image.convert("RGB" if colour else "L"))
    return pixels if colour else pixels[..., None]
