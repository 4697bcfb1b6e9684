"""The TFDS builder of the embedded MNIST."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from train.data.idx import VERSION, read_files


class EmbeddedMnist(tfds.core.GeneratorBasedBuilder):
    """MNIST from the files of this package, in their order."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        # `Tensor`, because `Image` hands an array to TensorFlow; as bytes, which are
        # serialised several times faster than a list of integers.
        image = tfds.features.Tensor(
            shape=(28, 28, 1), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
        label = tfds.features.Scalar(np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description="MNIST: 28 x 28 grey levels of handwritten digits.",
            features=tfds.features.FeaturesDict({"image": image, "label": label}),
            disable_shuffling=True,
            license="CC BY-SA 3.0",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        del dl_manager  # nothing to download
        parts = read_files()
        return {name: self._generate_examples(*part) for name, part in parts.items()}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[Any]:
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield key, {"image": image, "label": label}
