"""Lossless compression by bits back: images as a file of a model's -ELBO, and back."""

from jaxae.compression.files import Header as Header
from jaxae.compression.files import compress as compress
from jaxae.compression.files import decompress as decompress
from jaxae.compression.files import read_header as read_header
