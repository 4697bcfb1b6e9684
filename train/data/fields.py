"""What a data set may have beside its images, from arrays as they are stored."""

from collections.abc import Mapping

import numpy as np

from train.data.images import Size, as_images, as_labels, check_count, resize
from train.data.types import CONDITION, Split
from train.errors import DataError

NAN = "nan"
"""The word for: missing is what is NaN."""


def as_split(
    arrays: Mapping[str, np.ndarray], names: Mapping[str, str], size: Size | None
) -> Split:
    """A part of a data set, with zeros where its images are not known.

    Args:
        arrays: By the names of `Split.arrays`; "missing" may be the word `NAN`.
        names: What to call each of them in an error.
        size: Height and width to resize images and inputs to.

    Raises:
        DataError: An array cannot be used.
    """
    given, x = dict(arrays), arrays["images"]
    x = x[..., None] if x.ndim == 3 else x
    if "missing" in given:
        missing = as_missing(given["missing"], x, names["missing"])
        x = np.where(missing, np.zeros((), x.dtype), x)
        given["missing"] = missing
        if size is not None and missing.ndim == 4:
            given["missing"] = np.stack([resize_mask(each, size) for each in missing])
    x = as_images(x, names["images"], size)
    for field in given.keys() - {"images", "missing"}:
        given[field] = _as_field(field, given[field], len(x), names[field], size)
    return Split.of({**given, "images": x})


def _as_field(
    field: str, array: np.ndarray, count: int, name: str, size: Size | None
) -> np.ndarray:
    if field == "inputs":
        inputs = as_images(array, name, size)
        check_count(inputs, count, name)
        return inputs
    if field == "labels":
        return as_labels(array, count, name)
    if field.startswith(CONDITION):  # the model says what it must be
        check_count(array, count, name)
        return array
    if array.shape != (count,) or array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} must be numbers of shape [{count}], one per image, "
            f"got {array.dtype} of shape {list(array.shape)}"
        )
    return array.astype(np.float32)


def as_missing(array: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
    """True where `x` is not known, of its shape or of one channel.

    Args:
        array: Booleans, or as `white` takes them, of such a shape or without the axis
            of channels; or the word `NAN`.
        x: [n, ..., c], as it is stored.
        name: What to call it in an error.

    Raises:
        DataError: Another word, another shape, or neither black nor white.
    """
    if array.dtype.kind == "U" and array.ndim == 0:
        if array != NAN:
            raise DataError(f"{name} must be {NAN} or a mask, got {str(array)!r}")
        return np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    mask = array if array.dtype == bool else white(array, name)
    if mask.ndim == x.ndim - 1:
        mask = mask[..., None]
    if mask.shape not in (x.shape, (*x.shape[:-1], 1)):
        raise DataError(
            f"{name} must have the shape of the images, {list(x.shape)}, or one "
            f"channel, got {list(array.shape)}"
        )
    return mask


def white(masks: np.ndarray, name: str) -> np.ndarray:
    """True where masks are nearer to white than to black.

    Raises:
        DataError: They hold no numbers, or see `half_white`.
    """
    if masks.dtype.kind not in "biuf" or not masks.size:
        raise DataError(f"{name} must hold numbers, got dtype {masks.dtype}")
    return np.asarray(masks >= half_white(float(masks.max()), name))


def half_white(top: float, name: str) -> float:
    """From where on masks that reach up to `top` are white: half of 255, or of 1.

    Raises:
        DataError: They are never white, as the numbers of segments, all of which would
            count as black.
    """
    level = 1 if top <= 1 else 255
    if not (top == 0 or top >= level / 2):
        raise DataError(
            f"{name} must be black and white, 0 and {level}, got {f'{top:g} at most'!r}"
        )
    return level / 2


def resize_mask(missing: np.ndarray, size: Size) -> np.ndarray:
    """[h, w, c] -> [*size, c]: what `resize` makes of any pixel that is missing."""
    return resize(missing.astype(np.float32), size) > 0
