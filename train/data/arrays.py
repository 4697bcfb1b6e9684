"""Images in a `.npy` or `.npz` file."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from train.data.images import Size, as_images, as_labels
from train.data.rows import LazyRows, chunks
from train.data.types import Lazy, LazySplit, Source, Split
from train.errors import DataError

IMAGES = ("images", "x")
LABELS = ("labels", "y")


def array_source(path: Path, size: Size | None) -> Source:
    """A `.npy` file with one array of images, or a `.npz` file with named arrays.

    The names are `images` (or `x`) with or without `labels` (or `y`); or `x_train` with
    or without `y_train`, `x_test` and `y_test`, as Keras writes them; or any one name.

    Raises:
        DataError: There is no such file.
    """
    if not path.is_file():
        from jaxae.errors import did_you_mean  # imports JAX

        beside = [each.name for each in path.parent.glob("*.np[yz]")]
        raise DataError(f"{path}: no such file{did_you_mean(path.name, beside)}")
    stat = path.stat()
    identity = ["arrays", str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    lazy = Lazy(lambda: _mapped(path, size), lambda: {"train": _checked(path, size)})
    return Source(
        path.stem,
        identity,
        lambda: _read(path, size),
        lazy if path.suffix.lower() == ".npy" else None,
    )


def _mapped(path: Path, size: Size | None) -> LazyRows:
    """The images of a `.npy` file, of which only what is asked for gets into memory."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        count = len(array)
    except Exception as error:  # see `_read`
        raise DataError(f"{path}: not a readable array ({error})") from error

    def read(rows: np.ndarray) -> np.ndarray:
        return as_images(array[rows], f"{path}: images", size)

    return LazyRows(read, np.arange(count), str(path))


def _checked(path: Path, size: Size | None) -> LazySplit:
    """The same after a pass over all of them, of which nothing is kept."""
    images = _mapped(path, size)
    for _ in chunks(images):
        pass  # read once, so that a value which cannot be used is found
    return LazySplit(images)


def _read(path: Path, size: Size | None) -> dict[str, Split]:
    # NumPy raises OSError, ValueError, EOFError, BadZipFile, zlib.error ... for files
    # that are damaged or hold Python objects, the last of which are never unpickled.
    try:
        with path.open("rb") as file:  # NumPy would leave a damaged one open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                arrays, names = {"images": loaded}, {"train": ("images", None)}
            else:
                names = _names(loaded.files, path)
                wanted = {name for pair in names.values() for name in pair if name}
                arrays = {name: loaded[name] for name in wanted}
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: not a readable file of arrays ({error})") from error
    return {
        part: _split(arrays, images, labels, path, size)
        for part, (images, labels) in names.items()
    }


def _names(keys: Iterable[str], path: Path) -> dict[str, tuple[str, str | None]]:
    """Part -> the names of its images and its labels."""
    keys = sorted(keys)
    if "x_train" in keys:
        parts = [part for part in ("train", "test") if f"x_{part}" in keys]
        labelled = [part for part in parts if f"y_{part}" in keys]
        if labelled not in ([], parts):
            raise DataError(f"{path}: y_train or y_test is missing among {keys}")
        y = "y_{}" if labelled else ""
        return {part: (f"x_{part}", y.format(part) or None) for part in parts}
    images = next((name for name in IMAGES if name in keys), None)
    if images is None and len(keys) == 1:
        images = keys[0]
    if images is None:
        raise DataError(
            f"{path}: expected arrays named images or x (with labels or y), x_train "
            f"and x_test (with y_train and y_test), or a single one, got {keys}"
        )
    return {"train": (images, next((name for name in LABELS if name in keys), None))}


def _split(
    arrays: dict[str, np.ndarray],
    images: str,
    labels: str | None,
    path: Path,
    size: Size | None,
) -> Split:
    x = as_images(arrays[images], f"{path}: {images}", size)
    if labels is None:
        return Split(x)
    return Split(x, as_labels(arrays[labels], len(x), f"{path}: {labels}"))
