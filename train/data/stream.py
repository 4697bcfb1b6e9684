"""Batches from the disk, for data that do not fit on the device."""

from collections.abc import Iterator, Mapping
from itertools import count

import numpy as np


def shuffled_batches(
    fields: Mapping[str, np.ndarray], size: int, seed: int
) -> Iterator[dict[str, np.ndarray]]:
    """Passes over mapped arrays without end, each in an order of its own.

    Args:
        fields: Arrays [n, ...] by name.
        size: Examples in a batch; the last one of a pass has what is left.
        seed: The order of pass i follows from it and i.
    """
    total = len(fields["x"])
    for epoch in count():
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(total)
        for start in range(0, total, size):
            # In the order of the disk: within a batch there is none.
            rows = np.sort(order[start : start + size])
            yield {name: values[rows] for name, values in fields.items()}
