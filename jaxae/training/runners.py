"""The two ways through an epoch: one compiled scan over arrays, or batch by batch."""

import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.checks import check_count, check_data
from jaxae.errors import require
from jaxae.training.epoch import count_examples, make_epoch, means
from jaxae.training.mapped import check_mapped, mapped_epoch, mapped_step
from jaxae.training.parallel import Parallel, compile_step, on_mesh
from jaxae.training.placement import Share, place_batch, place_data
from jaxae.training.step import Step
from jaxae.types import Batch, Recipe, TrainState

Row = dict[str, int | float]
RunEpoch = Callable[[TrainState], tuple[TrainState, Row]]


def is_array_data(images: Any) -> bool:
    """Whether `images` is an array or a mapping of arrays, rather than batches."""
    return isinstance(images, Mapping) or hasattr(images, "shape")


class Runner(NamedTuple):
    """A way through an epoch.

    Attributes:
        example: A few examples for the initialisation.
        epoch: state -> (state, row).
        steps: In an epoch, where that is known.
    """

    example: Batch
    epoch: RunEpoch
    steps: int | None


def array_runner(
    recipe: Recipe, step: Step, images: Any, batch_size: int, parallel: Parallel
) -> Runner:
    """Puts the data on the devices and compiles the epoch at its first call."""
    mesh, layout, mapped = parallel
    data = place_data(recipe, images, mesh, "images")
    count = data["x"].shape[0]
    if mapped:
        check_mapped(parallel, batch_size, count)
        count -= count % mesh.size  # the rest is left out
        epoch = mapped_epoch(step, batch_size, mesh)
    else:
        epoch = make_epoch(on_mesh(step, mesh, layout), batch_size)
        epoch = jax.jit(epoch, donate_argnums=0)
    one_pass = timed(epoch, count)

    def run(state: TrainState) -> tuple[TrainState, Row]:
        state, metrics, timing = one_pass(state, data)
        return state, as_row(metrics) | timing

    example = {name: jnp.zeros_like(values[:2]) for name, values in data.items()}
    return Runner(example, run, -(-count // batch_size))


def timed(
    epoch: Any, count: int
) -> Callable[..., tuple[TrainState, dict[str, np.ndarray], Row]]:
    """(arguments) -> (state, metrics on the host, timing), of a jitted epoch.

    Compiled at the first call; the time, for `count` examples, is without that.
    """
    compiled: list[Any] = []

    def run(*arguments: Any) -> tuple[TrainState, dict[str, np.ndarray], Row]:
        if not compiled:
            compiled.append(epoch.lower(*arguments).compile())
        start = time.perf_counter()
        state, metrics = compiled[0](*arguments)
        fetched = _fetch(metrics)
        return state, fetched, _speed(count, start)

    return run


def stream_runner(
    recipe: Recipe,
    step: Step,
    batches: Iterable[Any],
    steps_per_epoch: int | None,
    parallel: Parallel,
) -> Runner:
    """Steps through batches as they come; metrics stay on the device until the end."""
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch)
    first, epochs = _epochs(recipe, batches, steps_per_epoch, parallel)
    spread, counted, collect = _compile(step, parallel)
    add = jax.jit(partial(jax.tree.map, operator.add), donate_argnums=0)

    def run(state: TrainState) -> tuple[TrainState, Row]:
        start, count, totals = time.perf_counter(), 0, {}
        state = spread(state)
        for batch in next(epochs, ()):
            count += batch["x"].shape[0]
            state, new = counted(state, batch)
            totals = add(totals, new) if totals else new
        require(totals, "images", "an iterable with no batch left", _AGAIN)
        return collect(state), as_row(_fetch(means(totals))) | _speed(count, start)

    return Runner(first, run, steps_per_epoch)


def _compile(step: Step, parallel: Parallel) -> tuple[Any, Any, Any]:
    """What becomes of the state before an epoch, with a batch, and after the epoch."""
    if parallel.pmap:
        check_mapped(parallel)
        return mapped_step(step, parallel.mesh)
    counted = compile_step(count_examples(step), parallel.mesh, parallel.layout)
    return _same, counted, _same


def _same(state: TrainState) -> TrainState:
    return state


_AGAIN = (
    "an iterable that starts anew for every epoch (a list or a loader), or one that "
    "does not end, with steps_per_epoch"
)


def _epochs(
    recipe: Recipe, batches: Iterable[Any], steps: int | None, parallel: Parallel
) -> tuple[Batch, Iterator[Iterator[Batch]]]:
    """The first checked batch, and the batches of one epoch after the other."""
    require(
        isinstance(batches, Iterable),
        "images",
        type(batches).__name__,
        "an array, a mapping of arrays or an iterable of batches, or a function to it",
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
        if isinstance(batch, Share):
            batch = batch._replace(batch=check_data(recipe, batch.batch, "images"))
        else:
            batch = check_data(recipe, batch, "images")
        return place_batch(batch, parallel.mesh)

    epochs = passes() if steps is None else counted()
    return check(first), (map(check, epoch) for epoch in epochs)


def _fetch(metrics: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Waits for an epoch without blocking Ctrl-C, and copies its metrics over."""
    while not all(value.is_ready() for value in metrics.values()):
        time.sleep(0.002)
    return jax.device_get(dict(metrics))


def as_row(metrics: Mapping[str, np.ndarray | np.floating]) -> Row:
    """Numbers of Python's own."""
    return {name: float(value) for name, value in metrics.items()}


def _speed(count: int, start: float) -> Row:
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "images_per_second": count / seconds}
