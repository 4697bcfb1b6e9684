"""The two ways through an epoch: one compiled scan over arrays, or batch by batch."""

import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any

import jax

from jaxae.checks import check_count, check_data
from jaxae.errors import require
from jaxae.training.epoch import count_examples, make_epoch, means
from jaxae.training.step import Step
from jaxae.types import Batch, Recipe, TrainState

Row = dict[str, int | float]
RunEpoch = Callable[[TrainState], tuple[TrainState, Row]]


def is_array_data(images: Any) -> bool:
    """Whether `images` is an array or a mapping of arrays, rather than batches."""
    return isinstance(images, Mapping) or hasattr(images, "shape")


def array_runner(
    recipe: Recipe, step: Step, images: Any, batch_size: int
) -> tuple[Batch, RunEpoch, int]:
    """Puts the data on the device and compiles the epoch at its first call.

    Returns:
        A few examples for the initialisation, state -> (state, row), and the number of
        steps in an epoch.
    """
    data = jax.device_put(check_data(recipe, images, "images"))
    count = data["x"].shape[0]
    epoch = jax.jit(make_epoch(step, batch_size), donate_argnums=0)
    compiled: list[Any] = []

    def run(state: TrainState) -> tuple[TrainState, Row]:
        if not compiled:
            compiled.append(epoch.lower(state, data).compile())
        start = time.perf_counter()
        state, metrics = compiled[0](state, data)
        row = _fetch(metrics)
        return state, row | _speed(count, start)

    example = {name: values[:2] for name, values in data.items()}
    return example, run, -(-count // batch_size)


def stream_runner(
    recipe: Recipe, step: Step, batches: Iterable[Any], steps_per_epoch: int | None
) -> tuple[Batch, RunEpoch]:
    """Steps through batches as they come; metrics stay on the device until the end.

    Returns:
        The first batch for the initialisation, and state -> (state, row).
    """
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch)
    first, epochs = _epochs(recipe, batches, steps_per_epoch)
    counted = jax.jit(count_examples(step), donate_argnums=0)
    add = jax.jit(partial(jax.tree.map, operator.add), donate_argnums=0)

    def run(state: TrainState) -> tuple[TrainState, Row]:
        start, count, totals = time.perf_counter(), 0, {}
        for batch in next(epochs, ()):
            count += batch["x"].shape[0]
            state, new = counted(state, batch)
            totals = add(totals, new) if totals else new
        require(totals, "images", "an iterable with no batch left", _AGAIN)
        return state, _fetch(means(totals)) | _speed(count, start)

    return first, run


_AGAIN = (
    "an iterable that starts anew for every epoch (a list or a loader), or one that "
    "does not end, with steps_per_epoch"
)


def _epochs(
    recipe: Recipe, batches: Iterable[Any], steps: int | None
) -> tuple[Batch, Iterator[Iterator[Batch]]]:
    """The first checked batch, and the batches of one epoch after the other."""
    require(
        isinstance(batches, Iterable),
        "images",
        type(batches).__name__,
        "an array, a mapping of arrays or an iterable of batches",
    )
    stream = iter(batches)
    first = next(stream, None)
    require(first is not None, "images", "an iterable without a batch", "not empty")
    # The batch that was looked at comes first again.
    stream = chain([first], stream)

    def passes() -> Iterator[Iterator[Any]]:
        yield stream
        # An iterator is its own iter(), and has nothing more to give.
        while (again := iter(batches)) is not batches:
            head = list(islice(again, 1))
            if not head:
                return
            yield chain(head, again)

    def counted() -> Iterator[Iterator[Any]]:
        endless = chain.from_iterable(passes())
        while True:
            yield islice(endless, steps)

    def check(batch: Any) -> Batch:
        return jax.device_put(check_data(recipe, batch, "images"))

    epochs = passes() if steps is None else counted()
    return check(first), (map(check, epoch) for epoch in epochs)


def _fetch(metrics: Mapping[str, Any]) -> Row:
    """Waits for an epoch without blocking Ctrl-C, and copies its metrics over."""
    while not all(value.is_ready() for value in metrics.values()):
        time.sleep(0.002)
    return {name: float(value) for name, value in jax.device_get(metrics).items()}


def _speed(count: int, start: float) -> Row:
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "images_per_second": count / seconds}
