"""What a data set is."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np

from train.data.rows import LazyRows

PARTS = ("train", "validation", "test")
CONDITION = "condition "


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
        images: [n, h, w, c], or vectors [n, d]; uint8 levels 0..255, or finite float32.
        labels: [n] int32 where they are such numbers, else [n, ...] of any type; or
            None.
        inputs: What the encoder sees in place of the images, of any shape that those
            may have; or None.
        missing: True where the images are not known, which hold 0 there: of their shape
            or of one channel; or None.
        weight: How often each example counts, [n]; or None.
        conditions: Further arrays [n, ...] that a model is shown, by name.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    inputs: np.ndarray | None = None
    missing: np.ndarray | None = None
    weight: np.ndarray | None = None
    conditions: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of what the encoder sees, where it is not that of the images."""
        if self.inputs is None or self.inputs.shape[1:] == self.images.shape[1:]:
            return None
        return self.inputs.shape[1:]

    def take(self, rows: np.ndarray | slice) -> Self:
        """The examples of these numbers."""
        return self.of({name: values[rows] for name, values in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """All that there are by name, conditions after the word `CONDITION`."""
        own = {name: getattr(self, name) for name in self._fields[:-1]}
        there = {name: values for name, values in own.items() if values is not None}
        return there | {CONDITION + k: v for k, v in self.conditions.items()}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The way back of `arrays`."""
        own = {name: v for name, v in arrays.items() if not name.startswith(CONDITION)}
        beside = {k.removeprefix(CONDITION): arrays[k] for k in arrays.keys() - own}
        return cls(**own, conditions=beside)

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """Several, one after the other, of what the first one has."""
        arrays = [part.arrays() for part in parts]
        return cls.of(
            {
                name: np.concatenate([each[name] for each in arrays])
                for name in arrays[0]
            }
        )

    def head(self, count: int) -> Self:
        """The first examples."""
        return self.take(slice(count))


class LazySplit(NamedTuple):
    """One part of a data set whose images stay on the disk until they are needed.

    Attributes:
        images: As those of `Split`, but to be asked for a few at a time.
        labels: As those of `Split`, in memory, or None.
    """

    images: LazyRows
    labels: np.ndarray | None = None

    @property
    def input_shape(self) -> None:
        """Data with inputs of their own are not read so."""

    def arrays(self) -> dict[str, Any]:
        """All that there are by name."""
        return {name: v for name, v in self._asdict().items() if v is not None}

    def head(self, count: int) -> Split:
        """The first examples, in memory."""
        labels = None if self.labels is None else self.labels[:count]
        return Split(self.images[:count], labels)


class Dataset(NamedTuple):
    """A data set in three parts, all of one image shape and type.

    Attributes:
        name: A short name for people.
        train: For training.
        validation: For choosing the best epoch.
        test: For the results.
        digests: By what it is recognised, see `train.data.digest`.
    """

    name: str
    train: Split | LazySplit
    validation: Split
    test: Split
    digests: tuple[str, ...] = ()

    def splits(self) -> dict[str, Split | LazySplit]:
        """The three parts by name."""
        return {part: getattr(self, part) for part in PARTS}


class Lazy(NamedTuple):
    """How a source is read if the images for training stay where they are.

    Attributes:
        open: Those images, as yet unread. This is quick.
        read: Everything that `Source.read` does, but with these images unread. What can
            be wrong with them is found, as far as that takes no decoding.
    """

    open: Callable[[], LazyRows]
    read: Callable[[], dict[str, Split | LazySplit]]


class Source(NamedTuple):
    """Where images come from.

    Attributes:
        name: A short name for people.
        identity: JSON values that change whenever the images may have changed.
        read: Reads and decodes everything: "train" and, where the source itself has
            them, "validation" and "test".
        lazy: The other way to read it, where there is one.
    """

    name: str
    identity: Any
    read: Callable[[], dict[str, Split]]
    lazy: Lazy | None = None
