"""How long the files of images are: of a model, and of programs that know nothing."""

import bz2
import io

import jax
import numpy as np
from PIL import Image

import jaxae
from jaxae import compression
from jaxae.errors import ensure
from jaxae.evaluation import elbo_terms
from train.reproduce.protocol import Parts

LEVEL = 9  # the best that bz2 and PNG have


def file_size(model: jaxae.Model, parts: Parts, key: jax.Array) -> float:
    """Bits per pixel of the file of all test images, of which nothing may be lost."""
    del key
    images = parts.test["x"]
    data = compression.compress(model, images)
    same = np.array_equal(compression.decompress(model, data), images)
    ensure(same, "images must come out of a file as they went in, they did not")
    return 8 * len(data) / images.size


def sizes_beside(model: jaxae.Model, parts: Parts, key: jax.Array) -> dict[str, float]:
    """What the model promises, and other files, in bits per pixel too."""
    images = parts.test["x"]
    nats = -np.mean(elbo_terms(model, parts.test, key)["elbo_nats"], dtype=np.float64)
    return {"-ELBO": float(nats) / np.log(2) / images[0].size, **other_files(images)}


def other_files(images: np.ndarray) -> dict[str, float]:
    """What bz2 makes of all bytes, or bits, in a row, and PNG of each image."""
    deep = (images[images > 0] < images.max()).any()
    row = images.tobytes() if deep else np.packbits(images > 0).tobytes()
    png = sum(len(_png(image[..., 0], "L" if deep else "1")) for image in images)
    sizes = {"bz2": len(bz2.compress(row, LEVEL)), "PNG": png}
    return {name: 8 * size / images.size for name, size in sizes.items()}


def _png(pixels: np.ndarray, mode: str) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).convert(mode, dither=Image.Dither.NONE)
    image.save(buffer, "png", optimize=True, compress_level=LEVEL)
    return buffer.getvalue()
