"""Shuffled batches from the disk, for data that do not fit on the device.

Which examples a batch has follows from its number alone: training that stopped after k
batches goes on with `first=k`, and several processes agree without a word.
"""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxae.checks import check_count
from jaxae.errors import importing, require
from jaxae.training.placement import Share

Fields = dict[str, np.ndarray]

THREADS = 4  # that read ahead, a batch each


@runtime_checkable
class Rows(Protocol):
    """What a batch is read from: an array, or whatever else has rows by number."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, ...]."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The type of every value."""
        ...

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """The examples with these numbers, in this order."""
        ...


def shuffled_batches(
    rows: Mapping[str, Rows],
    size: int,
    seed: int,
    *,
    first: int = 0,
    process: int = 0,
    processes: int = 1,
    devices: int | None = None,
) -> Generator[Fields | Share]:
    """Passes over the examples without end, in another order each, read by threads.

    Several processes divide a batch if its size is a multiple of `devices`: each reads
    a `Share` of its own, and the shares, laid end to end in the order of the processes,
    are the batch that a single process would read. Of other batches, such as what is
    left at the end of a pass, every process reads the whole.

    Args:
        rows: What can be indexed by arrays of row numbers, by name, all of one length.
        size: Examples in a batch; the last one of a pass has what is left.
        seed: The order of pass i follows from it and i.
        first: Number of the first batch, counted through all passes. Starting late
            costs no more than starting at 0.
        process: Number of this process.
        processes: How many there are.
        devices: Over how many the rows of a batch are divided, those of all processes
            together; where every process cannot have the same number of them, no batch
            is divided. One each by default.

    Raises:
        ArgumentError: At the call, if an argument is unusable.
        ImportError: Grain is not installed, which reads ahead.
    """
    devices = processes if devices is None else devices
    check_count("size", size)
    check_count("first", first, least=0)
    check_count("process", process, least=0)
    check_count("processes", processes)
    check_count("devices", devices)
    require(process < processes, "process", process, f"below processes={processes}")
    total = _length(rows)
    numbers = _numbers(total, seed)

    def read(batch: int) -> Fields | Share:
        start, count = _place(batch, total, size)
        if processes == 1 or count % devices or devices % processes:
            return fields(start, count)
        share = count // processes
        return Share(fields(start + process * share, share), count)

    def fields(start: int, count: int) -> Fields:
        chosen = numbers(start, count)
        return {name: values[chosen] for name, values in rows.items()}

    return _read_ahead(read, first)


def _length(rows: Mapping[str, Rows]) -> int:
    lengths = {name: len(values) for name, values in rows.items()}
    equal = len(set(lengths.values())) == 1 and min(lengths.values()) > 0
    require(equal, "rows", lengths, "of one length, of at least 1")
    return next(iter(lengths.values()))


def _place(batch: int, total: int, size: int) -> tuple[int, int]:
    """Where a batch starts in the sequence of all passes, and how long it is."""
    number, index = divmod(batch, -(-total // size))
    return number * total + index * size, min(size, total - index * size)


def _numbers(total: int, seed: int) -> Callable[[int, int], np.ndarray]:
    """(start, count) in the sequence of all passes -> the numbers of the rows."""
    grain = _grain()
    # Grain adds the number of the pass to its seed: without a hash in between, pass 1
    # of seed 0 would be pass 0 of seed 1. As for a typed key, a seed may be negative.
    (hashed,) = np.random.SeedSequence(seed % 2**64).generate_state(1)
    order = grain.MapDataset.range(total).shuffle(seed=int(hashed))
    order[0]  # what it sets up then is not meant for several threads at once
    # Positions beyond its length are those of the next passes, each in its own order.
    return lambda start, count: np.array([order[start + i] for i in range(count)])


def _read_ahead(
    read: Callable[[int], Fields | Share], first: int
) -> Generator[Fields | Share]:
    grain = _grain()
    steps = grain.MapDataset.range(first, sys.maxsize).map(read)
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=THREADS)
    with closing(iter(steps.to_iter_dataset(options))) as ahead:  # ends its threads
        yield from ahead


def _grain() -> Any:
    """Imported here, as it takes a second, which only streaming should cost."""
    with importing(
        "batches are read from the disk by grain: pip install 'jaxae[stream]'"
    ):
        import grain
    return grain
