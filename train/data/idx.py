"""The embedded files of MNIST, in LeCun's IDX format."""

import gzip
import hashlib
from pathlib import Path

import numpy as np

from train.errors import DataError

FOLDER = Path(__file__).parent / "mnist"
VERSION = "1.0.0"

SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971"
    ),
    "train-labels-idx1-ubyte.gz": (
        "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b"
    ),
}

Arrays = tuple[np.ndarray, np.ndarray]

IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes of an IDX file before the values
VALIDATION = 10_000  # the last of the 60,000 training images, as is the convention


def read_files() -> dict[str, Arrays]:
    """The embedded files, divided into the three parts: images and labels of each.

    Raises:
        DataError: A file is missing, or its checksum is wrong.
    """
    images, labels = _read_pair("train")
    return {
        "train": (images[:-VALIDATION], labels[:-VALIDATION]),
        "validation": (images[-VALIDATION:], labels[-VALIDATION:]),
        "test": _read_pair("t10k"),
    }


def _read_pair(prefix: str) -> Arrays:
    images = _read_verified(f"{prefix}-images-idx3-ubyte.gz")[IMAGES_HEADER:]
    labels = _read_verified(f"{prefix}-labels-idx1-ubyte.gz")[LABELS_HEADER:]
    return (
        np.frombuffer(images, np.uint8).reshape(-1, 28, 28, 1),
        np.frombuffer(labels, np.uint8).astype(np.int32),
    )


def _read_verified(name: str) -> bytes:
    path = FOLDER / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise DataError(
            f"{path}: damaged; its sha256 must be {SHA256[name]}, got {digest} "
            f"({len(content)} bytes)"
        )
    return gzip.decompress(content)
