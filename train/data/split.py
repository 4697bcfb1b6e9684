"""A fixed division of the images that a source does not divide itself."""

from collections.abc import Mapping

import numpy as np

from train.data.types import LazySplit, Split
from train.errors import DataError


def divide(
    parts: Mapping[str, Split | LazySplit],
    validation: float,
    test: float,
    seed: int,
    name: str,
) -> dict[str, Split | LazySplit]:
    """Completes "train" by "validation" and "test", drawn from "train" where missing.

    Each missing part gets its fraction of the images, rounded down but at least one, by
    a permutation that depends on `seed` and the number of images alone. If the images
    of "train" are unread, those of the parts drawn from it are read, and no others.

    Raises:
        DataError: Too few images, or the parts differ in shape or type.
    """
    check_forms(parts, name)
    train = parts["train"]
    count = len(train.images)
    fractions = {"validation": validation, "test": test}
    missing = {
        part: max(1, int(fraction * count))
        for part, fraction in fractions.items()
        if part not in parts
    }
    if not missing:
        return dict(parts)
    if count <= sum(missing.values()):
        raise DataError(
            f"{name}: {count} image(s) are too few for {' and '.join(missing)} besides "
            f"train; at least {len(missing) + 1} are needed, more for large fractions"
        )
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    divided = dict(parts)
    start = 0
    for part, size in missing.items():
        divided[part] = _take(train, order[start : start + size])
        start += size
    rest = order[start:]
    if isinstance(train, LazySplit):
        labels = None if train.labels is None else train.labels[rest]
        unread = LazySplit(train.images.subset(rest), labels)
        return divided | {"train": unread}
    return divided | {"train": _take(train, rest)}


def check_forms(parts: Mapping[str, Split | LazySplit], name: str) -> None:
    """Raises DataError if the parts differ in the shape or type of what they hold."""
    for field in ("images", "inputs"):
        arrays = [getattr(split, field, None) for split in parts.values()]
        forms = {(*x.shape[1:], str(x.dtype)) for x in arrays if x is not None}
        if len(forms) > 1:
            word = {"images": "image", "inputs": "input"}[field]
            raise DataError(
                f"{name}: the parts differ in {word} shape or type: {forms}"
            )


def _take(split: Split | LazySplit, indices: np.ndarray) -> Split:
    if isinstance(split, Split):
        return split.take(indices)
    labels = None if split.labels is None else split.labels[indices]
    return Split(split.images[indices], labels)
