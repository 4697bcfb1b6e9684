"""Lossless compression by bits back: images as a file of a model's -ELBO, and back."""

from jaxae.compression.files import Header, compress, decompress, read_header

__all__ = [
    "Header",
    "compress",
    "decompress",
    "read_header",
]
