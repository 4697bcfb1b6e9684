"""The rules that all images obey, wherever they come from."""

from collections.abc import Iterable

import numpy as np

from train.errors import DataError

Size = tuple[int, int]


def as_images(array: np.ndarray, name: str, size: Size | None = None) -> np.ndarray:
    """Checks a whole set and brings it into the form of `Split.images`.

    Args:
        array: [n, h, w, c]; [n, h, w], which gets a channel axis; or vectors [n, d].
        name: What to call it in an error.
        size: Height and width to resize to.

    Raises:
        DataError: Another rank, nothing in it, or see `levels`.
    """
    if array.ndim not in (2, 3, 4):
        raise DataError(
            f"{name} must have shape [n, h, w, c], [n, h, w] or [n, d], "
            f"got {list(array.shape)}"
        )
    if array.size == 0:
        raise DataError(f"{name} has no images: its shape is {list(array.shape)}")
    if array.ndim == 3:
        array = array[..., None]
    array = levels(array, name)
    if size is None or array.shape[1:3] == size:
        return array
    if array.ndim == 2:
        raise DataError(f"{name} holds vectors, which image_size cannot resize")
    return np.stack([resize(image, size) for image in array])


def levels(array: np.ndarray, name: str) -> np.ndarray:
    """Pixel values as uint8 levels 0..255 or finite float32.

    bool becomes 0 and 255, other integers become uint8 where they fit, and every float
    type becomes float32.

    Raises:
        DataError: Integers outside 0..255, NaN or infinity, or no numbers at all.
    """
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return array
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind in "iu":
        low, high = array.min(), array.max()
        if low < 0 or high > 255:
            raise DataError(
                f"{name} must hold integers in 0..255, got {low}..{high}; scale them, "
                "or store floats"
            )
        return array.astype(np.uint8)
    if kind == "f":
        with np.errstate(over="ignore"):  # what overflows is reported just below
            array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            gaps = "; --missing nan says that NaN is what is not known"
            remedy = gaps * bool(np.isnan(array).any())
            wrong = f"{name} holds values that are not finite in float32"
            raise DataError(wrong + remedy)
        return array
    raise DataError(f"{name} must hold numbers, got dtype {array.dtype}")


def as_labels(array: np.ndarray, count: int, name: str) -> np.ndarray:
    """Class numbers as [count] int32; what else there is for each image, as it is.

    [count, 1], as Keras stores them, is flattened. Who needs labels checks them.

    Raises:
        DataError: Not one for each image.
    """
    check_count(array, count, name)
    if array.shape == (count, 1):
        array = array.reshape(count)
    if array.ndim > 1 or array.dtype.kind not in "biu":
        return array
    limits = np.iinfo(np.int32)
    fits = limits.min <= array.min() and array.max() <= limits.max
    return array.astype(np.int32) if fits else array


def check_count(array: np.ndarray, count: int, name: str) -> None:
    """Raises DataError unless there is a row for each of so many images."""
    if array.shape[:1] != (count,):
        raise DataError(
            f"{name} must have shape [{count}, ...], a row per image, "
            f"got {list(array.shape)}"
        )


def stack(
    images: Iterable[tuple[str, np.ndarray]], count: int, size: Size | None = None
) -> np.ndarray:
    """Puts `count` named images [h, w, c] into one array, resized if `size` is given.

    Raises:
        DataError: Two images differ in shape; the message names both.
    """
    stacked, first = np.empty(0), ""
    for index, (name, image) in enumerate(images):
        if image.ndim != 3:
            raise DataError(f"{name} must be [h, w, c], got {list(image.shape)}")
        image = levels(image, name)
        if size is not None:
            image = resize(image, size)
        if index == 0:
            stacked, first = np.empty((count, *image.shape), image.dtype), name
        if image.shape != stacked.shape[1:]:
            raise DataError(
                f"images differ in size: {first} is {_describe(stacked[0])}, "
                f"{name} is {_describe(image)}; --image-size resizes them all"
            )
        stacked[index] = image
    return stacked


def _describe(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape[:2])) + f" with {image.shape[2]} channel(s)"


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey images repeated in three channels, or the luminance of colours.

    That is ITU-R BT.601's, 0.299 R + 0.587 G + 0.114 B, in whole numbers as Pillow has
    it. Images of other numbers of channels are returned as they are.

    Args:
        images: [n, h, w, c], bytes or floats.
        channels: How many there should be.
    """
    if (images.shape[-1], channels) == (1, 3):
        return np.repeat(images, 3, axis=-1)
    if (images.shape[-1], channels) != (3, 1):
        return images
    if images.dtype == np.uint8:
        parts = np.array([19595, 38470, 7471], np.uint32)  # of 2**16
        return ((images @ parts + 2**15) >> 16).astype(np.uint8)[..., None]
    return images @ np.array([[0.299], [0.587], [0.114]], images.dtype)


def resize(image: np.ndarray, size: Size) -> np.ndarray:
    """[h, w, c] -> [*size, c], without keeping the ratio of the sides.

    Bilinear with antialiasing: every pixel is a weighted mean, so that no value leaves
    the range of the image.
    """
    from PIL import Image

    if image.shape[:2] == size:
        return image
    height, width = size

    def channel(plane: np.ndarray) -> np.ndarray:
        bilinear = Image.Resampling.BILINEAR
        return np.asarray(Image.fromarray(plane).resize((width, height), bilinear))

    planes = np.moveaxis(image, -1, 0)
    return np.stack([channel(plane) for plane in planes], axis=-1)
