"""The embedded MNIST: a TFDS data set that needs neither TensorFlow nor a network."""

import contextlib
import io
import tempfile
from collections.abc import Iterator

from train.data.idx import VERSION
from train.data.images import Size
from train.data.types import Source, Split


def mnist_source(size: Size | None) -> Source:
    """50,000 / 10,000 / 10,000 images of 28 x 28 x 1 levels, with labels."""
    return Source("mnist", ["embedded_mnist", VERSION], lambda: _read(size))


def _read(size: Size | None) -> dict[str, Split]:
    """Prepares the data set with TFDS and reads it back."""
    from train.data.embedded_mnist import EmbeddedMnist
    from train.data.tfds import read_splits

    # The result is cached as plain arrays, so what TFDS writes is not needed again.
    with tempfile.TemporaryDirectory() as folder:
        builder = EmbeddedMnist(data_dir=folder)
        with _quiet():
            builder.download_and_prepare(file_format="array_record")
        return read_splits(builder, size)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what TFDS says of a download, since there is none."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
