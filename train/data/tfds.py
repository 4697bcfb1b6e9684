"""Image data sets of TensorFlow Datasets (TFDS).

Reading one that is prepared as array_record needs no TensorFlow; preparing one does.
"""

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from train.data.images import Size, as_labels, stack
from train.data.rows import LazyRows
from train.data.types import Lazy, LazySplit, Source, Split
from train.errors import DataError

PARTS = ("train", "validation", "test")
CHUNK = 1000  # examples read at once
RETRIES = 1  # with the 10 of TFDS, a missing network takes minutes to be reported

Builder = Any  # TFDS annotates the features of a builder too widely to check them


def tfds_source(name: str, size: Size | None) -> Source:
    """The data set `name`, or `name:version`, in the data directory of TFDS.

    That directory is $TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
        DataError: There is no such data set or no such directory, or the data set has
            no feature `image`.
    """
    builder = _builder(name)
    if str(builder.data_path).startswith("~"):  # which TFDS would make just so
        raise DataError(
            f"tfds:{name}: there is no home directory to look in: set TFDS_DATA_DIR"
        )
    features = builder.info.features or {}
    if "image" not in features:
        raise DataError(f"tfds:{name} has no feature 'image', only {sorted(features)}")
    identity = ["tfds", str(builder.data_path)]

    def prepared() -> Builder:
        if not builder.is_prepared():
            _prepare(builder)
        return builder

    return Source(
        builder.name,
        identity,
        lambda: read_splits(prepared(), size),
        Lazy(lambda: _unread(prepared(), size), lambda: _read_lazily(prepared(), size)),
    )


def _builder(name: str) -> Builder:
    try:
        return tfds.builder(name)
    except tfds.core.DatasetNotFoundError as error:
        from jaxae.errors import did_you_mean  # imports JAX

        known = tfds.list_builders(with_community_datasets=False)
        hint = did_you_mean(name, known)
        raise DataError(f"tfds:{name}: TFDS has no such data set{hint}") from error
    except Exception as error:  # whatever its name or version makes TFDS raise
        raise DataError(f"tfds:{name} cannot be opened ({error})") from error


def _prepare(builder: Builder) -> None:
    name = builder.info.full_name
    if not _has_tensorflow():
        raise DataError(
            f"tfds:{name} is not prepared in {builder.data_path}, and preparing it "
            "needs TensorFlow: install the extra `tfds`, or prepare it elsewhere with "
            "download_and_prepare(file_format='array_record') and copy it there"
        )
    # Prepared files that TFDS offers for download are not array_record.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with _retries(RETRIES):
            builder.download_and_prepare(
                file_format="array_record", download_config=config
            )
    except Exception as error:  # network, disk, checksums, files to fetch by hand ...
        raise DataError(f"tfds:{name} cannot be prepared ({error})") from error


def _has_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


@contextlib.contextmanager
def _retries(count: int) -> Iterator[None]:
    before = downloader.MAX_RETRIES
    downloader.MAX_RETRIES = count
    try:
        yield
    finally:
        downloader.MAX_RETRIES = before


def read_splits(builder: Builder, size: Size | None) -> dict[str, Split]:
    """Reads the parts of a prepared data set; a single one counts as "train".

    Raises:
        DataError: Not prepared as array_record, no part for training, or see `stack`.
    """
    splits = _parts(builder).items()
    return {part: _read_split(builder, split, size) for part, split in splits}


def _parts(builder: Builder) -> dict[str, str]:
    """The names that the data set gives to the parts."""
    there = list(builder.info.splits)
    parts = {part: part for part in PARTS if part in there}
    if "train" not in parts:
        if len(there) != 1:
            raise DataError(f"{builder.name} has no split 'train', only {there}")
        parts = {"train": there[0]}
    return parts


def _read_split(builder: Builder, split: str, size: Size | None) -> Split:
    source, name = _open(builder, split), f"{builder.name}/{split}"
    labelled = _has_class_numbers(builder.info.features)
    labels = []

    def images() -> Iterator[tuple[str, np.ndarray]]:
        for index, example in enumerate(_examples(source, name)):
            if labelled:
                labels.append(example["label"])
            yield f"{name}[{index}]", example["image"]

    x = stack(images(), len(source), size)
    if not labelled:
        return Split(x)
    return Split(x, as_labels(np.array(labels), len(x), f"{builder.name}: label"))


def _read_lazily(builder: Builder, size: Size | None) -> dict[str, Split | LazySplit]:
    """As `read_splits`, but the images of "train" are not decoded."""
    parts = _parts(builder)
    labels, digest = _read_labels(builder, parts.pop("train"))
    train = LazySplit(_unread(builder, size, digest), labels)
    held_out = {part: _read_split(builder, s, size) for part, s in parts.items()}
    return {"train": train, **held_out}


def _unread(builder: Builder, size: Size | None, digest: str = "") -> LazyRows:
    """The images of "train", which are read by random access."""
    split = _parts(builder)["train"]
    source, name = _open(builder, split), f"{builder.name}/{split}"
    shape = builder.info.features["image"].shape
    if size is None and None in shape:
        raise DataError(
            f"{name}: images of shape {list(shape)} may differ in size, which shows "
            "only when they are needed; give image_size to resize them all"
        )

    def read(rows: np.ndarray) -> np.ndarray:
        found = zip(rows, _records(source, rows.tolist(), name), strict=True)
        images = ((f"{name}[{row}]", example["image"]) for row, example in found)
        return stack(images, len(rows), size)

    return LazyRows(read, np.arange(len(source)), name, digest)


def _read_labels(builder: Builder, split: str) -> tuple[np.ndarray | None, str]:
    """Reads all records, which finds damaged ones, but decodes no image.

    Returns:
        The labels, if there are any, and a digest of the images as they are stored.
    """
    source = _open(builder, split, {"image": tfds.decode.SkipDecoding()})
    labelled = _has_class_numbers(builder.info.features)
    labels, digest = [], hashlib.sha256()
    for example in _examples(source, f"{builder.name}/{split}"):
        labels.append(example["label"] if labelled else None)
        digest.update(np.asarray(example["image"]).tobytes())
    if not labelled:
        return None, digest.hexdigest()
    name = f"{builder.name}: label"
    return as_labels(np.array(labels), len(source), name), digest.hexdigest()


def _open(builder: Builder, split: str, decoders: Any = None) -> Any:
    try:
        source = builder.as_data_source(split=split, decoders=decoders)
    except NotImplementedError as error:
        raise DataError(
            f"{builder.data_path} is not array_record; prepare it again with "
            "download_and_prepare(file_format='array_record')"
        ) from error
    if not len(source):
        raise DataError(f"{builder.name}: the split {split!r} is empty")
    return source


def _has_class_numbers(features: Any) -> bool:
    if "label" not in features:
        return False
    label = features["label"]
    return label.shape == () and np.issubdtype(label.np_dtype, np.integer)


def _examples(source: Any, name: str) -> Iterator[dict[str, Any]]:
    for start in range(0, len(source), CHUNK):
        yield from _records(source, range(start, min(start + CHUNK, len(source))), name)


def _records(source: Any, rows: Sequence[int], name: str) -> list[dict[str, Any]]:
    """The decoded records with these numbers.

    Raises:
        DataError: One of them is damaged.
    """
    # array_record, protobuf, zlib and Pillow each have exceptions of their own.
    with contextlib.suppress(Exception):
        # All at once: a quarter of the time of one by one.
        return source.__getitems__(rows)
    return [_record(source, row, name) for row in rows]


def _record(source: Any, row: int, name: str) -> dict[str, Any]:
    try:
        return source[row]
    except Exception as error:
        raise DataError(
            f"{name}[{row}]: damaged, it cannot be read ({error})"
        ) from error
