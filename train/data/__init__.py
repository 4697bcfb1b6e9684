"""Image data sets for training, by name or from the user's own files.

`load("mnist").train.images` is an array [n, h, w, c], mapped into memory.
"""

from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from train.data.cache import cached, default_folder
from train.data.digest import digests
from train.data.images import Size
from train.data.split import check_forms, divide
from train.data.types import PARTS
from train.data.types import Dataset as Dataset
from train.data.types import LazySplit as LazySplit
from train.data.types import Source as Source
from train.data.types import Split as Split
from train.errors import DataError as DataError

FORMAT = 2  # of the decoded arrays: a new one makes every cache entry again
DIGESTS = "digests"  # beside them in the cache


def load(
    source: str = "mnist",
    *,
    inputs: str | None = None,
    missing: str | None = None,
    conditions: Collection[str] = (),
    cache_dir: str | Path | None = None,
    image_size: int | Size | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    stream: bool = False,
) -> Dataset:
    """Loads a data set; from the second time on, from a cache of decoded arrays.

    Args:
        source: One of
            `mnist`, the embedded set, in 50,000 / 10,000 / 10,000 images;
            `shapes`, drawn, with known factors, see `train.data.shapes`;
            `tfds:NAME` or `tfds:NAME:VERSION`, see `train.data.tfds`;
            a `.npy` or `.npz` file, see `train.data.arrays.array_source`;
            a folder of PNG and JPEG images, see `train.data.folder.folder_source`.
        inputs: What the encoder sees in place of the images, of the same kind as they
            are: a `.npy` file of as many rows, or a folder of files of the same names.
        missing: Likewise, where the images are not known: masks; or "nan" for arrays
            that hold NaN there.
        conditions: Further arrays of a `.npz` file, by name.
        cache_dir: Of the decoded arrays; by default $JAXAE_CACHE, else `jaxae` in
            $XDG_CACHE_HOME or ~/.cache.
        image_size: Height and width, or one number for both, to which every image is
            resized (without keeping the ratio of its sides); images stay as they are
            by default.
        validation: Fraction of the images for validation, where the source has no
            such part of its own; rounded down, at least one image.
        test: Likewise for testing.
        seed: Of the division into parts.
        stream: Leave the images for training where they are, if the source is
            `tfds:NAME` or a `.npy` file: they are decoded each time they are needed,
            and are the same as without this option. At once, all are only looked
            through: values in a file of arrays, and in TFDS records that are damaged.
            Other sources, and those with `inputs` or `missing`, are decoded into the
            cache and mapped from there.

    Raises:
        DataError: The data or an argument cannot be used.
    """
    size = _size(image_size)
    if not (0 < validation and 0 < test and validation + test < 1):
        raise DataError(
            "validation and test must be positive fractions with a sum below 1, "
            f"got {validation} and {test}"
        )
    found = _find(str(source), size, inputs, missing, conditions)
    key = [FORMAT, found.identity, size, validation, test, seed]
    folder = default_folder() if cache_dir is None else _path(cache_dir)

    lazy = found.lazy if stream else None

    def build() -> dict[str, np.ndarray]:
        parts = lazy.read() if lazy else found.read()
        flat = _flatten(divide(parts, validation, test, seed, str(source)))
        return {**flat, DIGESTS: np.array(digests(parts))}

    arrays = cached(folder, found.name, [*key, "stream"] if lazy else key, build)
    train = _split(arrays, "train")
    if lazy:
        train = LazySplit(lazy.open().subset(train.images), train.labels)
    validation_part, test_part = (_split(arrays, part) for part in PARTS[1:])
    found_digests = tuple(map(str, arrays[DIGESTS]))
    return Dataset(found.name, train, validation_part, test_part, found_digests)


def load_whole(
    source: str,
    *,
    inputs: str | None = None,
    missing: str | None = None,
    conditions: Collection[str] = (),
    image_size: int | Size | None = None,
    stream: bool = False,
) -> tuple[dict[str, Split | LazySplit], tuple[str, ...]]:
    """The parts that a data set itself has, not cached, and by what it is recognised.

    Arguments and errors are those of `load`.
    """
    found = _find(str(source), _size(image_size), inputs, missing, conditions)
    parts = found.lazy.read() if stream and found.lazy else found.read()
    check_forms(parts, str(source))
    return dict(parts), digests(parts)


def read_images(source: str | Path, image_size: int | Size | None = None) -> np.ndarray:
    """All images of a file or a folder in their order, not divided and not cached.

    Raises:
        DataError: The data or an argument cannot be used.
    """
    return read_examples(source, image_size).images


def read_examples(
    source: str | Path,
    image_size: int | Size | None = None,
    missing: str | None = None,
) -> Split:
    """Likewise, with what there is beside the images; `missing` is as for `load`.

    Raises:
        DataError: The data or an argument cannot be used.
    """
    parts = _find(str(source), _size(image_size), missing=missing).read()
    check_forms(parts, str(source))
    return Split.joined(parts.values())


def _find(
    source: str,
    size: Size | None,
    inputs: str | None = None,
    missing: str | None = None,
    conditions: Collection[str] = (),
) -> Source:
    beside = {k: v for k, v in (("inputs", inputs), ("missing", missing)) if v}
    if beside and (source in ("mnist", "shapes") or source.startswith("tfds:")):
        raise DataError(
            f"--{next(iter(beside))} must be left out beside --data {source}: it is "
            "for files of arrays and folders"
        )
    if conditions and not source.lower().endswith(".npz"):
        raise DataError(
            f"--model.conditions must be of arrays in --data FILE.npz, got {source}"
        )
    # Imported where needed: TFDS and Pillow take longer than the whole cached path.
    if source == "mnist":
        from train.data.mnist import mnist_source

        return mnist_source(size)
    if source == "shapes":
        from train.data.shapes import shapes_source

        return shapes_source(size)
    if source.startswith("tfds:"):
        from train.data.tfds import tfds_source

        return tfds_source(source.removeprefix("tfds:"), size)
    path = _path(source)
    if path.is_dir():
        from train.data.folder import folder_source

        return folder_source(path, size, **beside)
    if path.suffix.lower() in (".npy", ".npz"):
        from train.data.arrays import array_source

        return array_source(path, size, **beside, conditions=conditions)
    raise DataError(
        "the source of the data must be mnist, shapes, tfds:NAME, a .npy or .npz file "
        f"or an existing folder of images, got {source!r}{_near(path)}"
    )


def _path(given: str | Path) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError:  # there is no such user: a file may have such a name
        return Path(given)


def _near(path: Path) -> str:
    """What may have been meant: the data set, or what lies beside."""
    try:
        beside = [
            each.name
            for each in path.parent.iterdir()
            if each.suffix.lower() in (".npy", ".npz") or each.is_dir()
        ]
    except OSError:
        beside = []
    from jaxae.errors import did_you_mean  # imports JAX

    return did_you_mean(path.name, ["mnist", "shapes", *beside])


def _size(image_size: int | Size | None) -> Size | None:
    if image_size is None:
        return None
    pair = isinstance(image_size, tuple | list)
    sides = image_size if pair else (image_size, image_size)
    if len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
        raise DataError(
            f"image_size must be a positive number or two of them, got {image_size!r}"
        )
    height, width = sides
    return height, width


def _flatten(parts: dict[str, Split | LazySplit]) -> dict[str, np.ndarray]:
    """What is kept in the cache: of unread images, their numbers."""
    flat = {
        f"{part}_{quote(field, safe='')}": array
        for part, split in parts.items()
        for field, array in split.arrays().items()
    }
    train = parts["train"]
    if isinstance(train, LazySplit):
        flat["train_images"] = train.images.numbers
    return flat


def _split(arrays: dict[str, np.ndarray], part: str) -> Split:
    start = f"{part}_"
    own = {k: v for k, v in arrays.items() if k.startswith(start)}
    return Split.of({unquote(k.removeprefix(start)): v for k, v in own.items()})
