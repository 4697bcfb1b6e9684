"""Examples that are read from the disk by the numbers of their rows."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

import numpy as np

from train.errors import DataError

if TYPE_CHECKING:  # it imports JAX
    from jaxae.streaming.batches import Rows

CHUNK = 250  # examples decoded at once


class LazyRows:
    """Examples that are read, decoded and checked each time they are asked for.

    Like an array, `rows[numbers]` and `rows[start:stop]` are arrays [k, ...] in memory;
    anything else has to be computed from them, a few at a time. Several threads may
    read at once.

    Args:
        read: Numbers of examples, [k] int64 -> the decoded examples, [k, ...].
        numbers: Which examples there are, and in what order.
        name: What to call them in an error.
        digest: A SHA-256 of what all of them hold, where they have been looked through.

    Raises:
        DataError: The first example cannot be read; later, any of those asked for, or
            one has another shape or type than the first.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        numbers: np.ndarray,
        name: str,
        digest: str = "",
    ):
        """Reads the first example, which the others have to be like."""
        first = read(numbers[:1])
        self.shape: tuple[int, ...] = (len(numbers), *first.shape[1:])
        self.dtype: np.dtype = first.dtype
        self.numbers, self.digest = numbers, digest
        self._read, self._name = read, name

    @property
    def ndim(self) -> int:
        """Axes, with that of the examples."""
        return len(self.shape)

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.numbers)

    def __getitem__(self, rows: np.ndarray | slice, /) -> np.ndarray:
        """The examples with these numbers, in this order, [k, ...]."""
        numbers = self.numbers[rows]
        examples = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for start in range(0, len(numbers), CHUNK):
            part = slice(start, start + CHUNK)
            examples[part] = self._checked(self._read(numbers[part]))
        return examples

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        """Refused: all of them may not fit in memory.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            f"{self._name} is read from the disk a few examples at a time, such as "
            "rows[:100], and not as a whole"
        )

    def subset(self, rows: np.ndarray) -> Self:
        """The examples with these numbers, in this order, still unread."""
        return type(self)(self._read, self.numbers[rows], self._name)

    def _checked(self, examples: np.ndarray) -> np.ndarray:
        if (examples.shape[1:], examples.dtype) != (self.shape[1:], self.dtype):
            raise DataError(
                f"{self._name} must hold {self.dtype} of shape {list(self.shape[1:])} "
                f"as its first example does, got {examples.dtype} of shape "
                f"{list(examples.shape[1:])}"
            )
        return examples


def chunks(rows: "Rows | LazyRows", size: int = CHUNK) -> Iterator[np.ndarray]:
    """All examples in their order, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[np.arange(start, min(start + size, len(rows)))]


def mean_example(
    rows: "Rows | LazyRows",
    missing: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """The mean over all examples, float64, in one pass over them.

    Args:
        rows: The examples.
        missing: True where they are not known, which does not count; a value that never
            is known is 0.
        weight: How often each of them counts.
    """
    total, counts = np.zeros(rows.shape[1:]), np.zeros(rows.shape[1:])
    start = 0
    for chunk in chunks(rows):
        part = slice(start, start + len(chunk))
        start += len(chunk)
        each = np.ones(len(chunk)) if weight is None else weight[part]
        known = each.reshape(-1, *[1] * (chunk.ndim - 1))
        if missing is not None:
            known = known * ~missing[part]
        total += (known * chunk).sum(axis=0, dtype=np.float64)
        counts += np.broadcast_to(known, chunk.shape).sum(axis=0, dtype=np.float64)
    return total / np.where(counts == 0, 1, counts)
