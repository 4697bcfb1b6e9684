"""A folder of PNG and JPEG images."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from train.data.fields import as_split, half_white, resize_mask
from train.data.images import Size, stack
from train.data.types import Source, Split
from train.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif"}
OTHERS = {".avif", ".bmp", ".gif", ".heic", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"}


def folder_source(
    root: Path,
    size: Size | None,
    inputs: str | None = None,
    missing: str | None = None,
) -> Source:
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

    Args:
        root: The folder.
        size: Height and width to resize to.
        inputs: A folder with an image of the same name, but for its suffix, for each.
        missing: Likewise, white where pixels are missing and black elsewhere; of greys
            in between the nearer counts.

    Raises:
        DataError: No images, a folder that cannot be read, a link to nothing, or names
            that do not match.
    """
    folders = {"images": root}
    for field, given in (("inputs", inputs), ("missing", missing)):
        if given is not None:
            folders[field] = Path(given).expanduser()
            if not folders[field].is_dir():
                raise DataError(
                    f"--{field} must be a folder as --data {root} is, got {given}"
                )
    paths, identity = {}, []
    for field, folder in folders.items():
        paths[field], files = _listed(folder)
        identity += [field, str(folder.resolve()), files]
    for field in folders.keys() - {"images"}:
        paths[field] = _matched(root, paths["images"], folders[field], paths[field])
    return Source(
        root.resolve().name,
        ["folder", *identity],
        lambda: {"train": _read_all(folders, paths, size)},
    )


def check_pixels_stay(root: Path) -> None:
    """Raises DataError if reading the images of a folder would change their values."""
    for path in _listed(root)[0]:
        with Image.open(path) as image:
            deep = image.mode not in ("1", "L", "P", "RGB")
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            if deep or turned or image.has_transparency_data:
                raise DataError(
                    f"{path} must be of 8 bits, without transparency and upright, to "
                    f"come back as it is, got mode {image.mode}"
                )


def _listed(root: Path) -> tuple[list[Path], list[list[Any]]]:
    """The images of a folder, and what changes when they do."""
    try:
        paths = _find(root)
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise DataError(f"{root}: cannot be read: {error}") from error
    if not paths:
        raise DataError(f"{root}: no PNG or JPEG images in this folder")
    return paths, [
        [path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns]
        for path, stat in zip(paths, stats, strict=True)
    ]


def _matched(
    root: Path, paths: list[Path], other: Path, others: list[Path]
) -> list[Path]:
    """Those of the other folder, in the order of the images whose names they have."""
    here, there = _by_name(root, paths), _by_name(other, others)
    alone = {root: here.keys() - there.keys(), other: there.keys() - here.keys()}
    if wrong := [
        f"{len(names)} only in {folder}, as {min(names)}"
        for folder, names in alone.items()
        if names
    ]:
        raise DataError(
            f"{root} and {other} must hold images of the same names: "
            + " and ".join(wrong)
        )
    return [there[name] for name in here]


def _by_name(root: Path, paths: list[Path]) -> dict[str, Path]:
    """Without the suffixes."""
    named: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in named:
            raise DataError(
                f"{root}: {named[name].name} and {path.name} have the same name but "
                "for the suffix, by which images of two folders are matched"
            )
        named[name] = path
    return named


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


def _read_all(
    folders: Mapping[str, Path], paths: Mapping[str, list[Path]], size: Size | None
) -> Split:
    arrays, names = {}, {field: str(folder) for field, folder in folders.items()}
    holes = None
    if "missing" in paths:
        holes = _holes(paths["missing"], names["missing"])
        resized = (hole if size is None else resize_mask(hole, size) for hole in holes)
        named = zip(map(str, paths["missing"]), resized, strict=True)
        arrays["missing"] = stack(named, len(holes)) > 0
    arrays["images"] = _pixels(paths["images"], size, holes)
    if "inputs" in paths:
        arrays["inputs"] = _pixels(paths["inputs"], size)
    labels = _labels(folders["images"], paths["images"])
    if labels is not None:
        arrays["labels"], names["labels"] = labels, f"{folders['images']}: labels"
    return as_split(arrays, names, None)


def _holes(paths: list[Path], name: str) -> list[np.ndarray]:
    """Every mask as [h, w, 1], True where it is white."""
    colour = _has_colours(paths)
    masks = [_decode(path, colour).max(axis=-1, keepdims=True) for path in paths]
    half = half_white(max(float(mask.max()) for mask in masks), name)
    return [mask >= half for mask in masks]


def _pixels(
    paths: list[Path], size: Size | None, holes: list[np.ndarray] | None = None
) -> np.ndarray:
    colour = _has_colours(paths)

    def decoded() -> Iterator[tuple[str, np.ndarray]]:
        for i, path in enumerate(paths):
            image = _decode(path, colour)
            if holes is not None:
                image = _cut(image, holes[i], path)
            yield str(path), image

    return stack(decoded(), len(paths), size)


def _cut(image: np.ndarray, hole: np.ndarray, path: Path) -> np.ndarray:
    if image.shape[:2] != hole.shape[:2]:
        raise DataError(
            f"--missing must have the size of each image: {path} is "
            f"{list(image.shape[:2])}, its mask {list(hole.shape[:2])}"
        )
    return np.where(hole, np.uint8(0), image)


def _has_colours(paths: list[Path]) -> bool:
    colour = False
    for path in paths:  # all of them, so that a file that is no image is found early
        with _open(path) as image:
            colour |= image.mode not in GREY_MODES
    return colour


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
