"""The two ways through an epoch: one compiled scan over arrays, or batch by batch."""

import inspect
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxae.checks import check_count
from jaxae.errors import ArgumentError, ensure, kind_of
from jaxae.inputs import check_data
from jaxae.recipe import Recipe
from jaxae.training.batch import like_few_of
from jaxae.training.epoch import means
from jaxae.training.loss import Metrics
from jaxae.training.mapped import check_mapped
from jaxae.training.parallel import Parallel
from jaxae.training.placement import Share, place_batch, place_data
from jaxae.training.programs import Plan, batch_programs, epoch_program
from jaxae.types import AnyArray, Batch, TrainState

Row = dict[str, int | float]
RunEpoch = Callable[[TrainState], tuple[TrainState, Row]]


def is_array_data(data: Any) -> bool:
    """Whether `data` is an array or a mapping of arrays, rather than batches.

    A tuple is meant as arrays, too, and refused later.
    """
    return isinstance(data, Mapping | tuple) or hasattr(data, "shape")


def called(data: Callable[..., Any], done: int) -> Any:
    """The batches of a training that has done so many steps.

    Raises:
        ValueError: The function does not ask for these.
    """
    try:
        inspect.signature(data).bind(done)
    except TypeError as error:
        name = getattr(data, "__name__", repr(data))
        raise ArgumentError(
            "data must be a function of the number of steps that are done, as "
            f"`lambda done: {name}()`, or batches, got the function {name} ({error})"
        ) from error
    return data(done)


class Runner(NamedTuple):
    """A way through an epoch.

    Attributes:
        example: A few examples for the initialisation.
        epoch: state -> (state, row).
        steps: In an epoch, where that is known.
    """

    example: Mapping[str, AnyArray]
    epoch: RunEpoch
    steps: int | None


def array_runner(plan: Plan, data: Any, batch_size: int) -> Runner:
    """Puts the data on the devices and compiles the epoch at its first call."""
    mesh = plan.parallel.mesh
    data = place_data(plan.recipe, data, mesh, "data")
    count = data["x"].shape[0]
    if plan.parallel.pmap:
        check_mapped(plan.parallel, batch_size, count)
        count -= count % mesh.size  # the rest is left out
    program, numbers = plan.split()
    one_pass = timed(epoch_program(program, batch_size), count)

    def run(state: TrainState) -> tuple[TrainState, Row]:
        state, metrics, timing = one_pass(state, data, numbers)
        return state, as_row(metrics) | timing

    return Runner(like_few_of(data), run, -(-count // batch_size))


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
    plan: Plan, batches: Iterable[Any], steps_per_epoch: int | None
) -> Runner:
    """Steps through batches as they come; metrics stay on the device until the end."""
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch)
    first, epochs = _epochs(plan.recipe, batches, steps_per_epoch, plan.parallel)
    if plan.parallel.pmap:
        check_mapped(plan.parallel)
    program, numbers = plan.split()
    spread, counted, collect = batch_programs(program)

    def run(state: TrainState) -> tuple[TrainState, Row]:
        start, count, totals = time.perf_counter(), 0, {}
        state = spread(state)
        for batch in next(epochs, ()):
            count += batch["x"].shape[0]
            state, new = counted(state, batch, numbers)
            totals = _add(totals, new) if totals else new
        ensure(totals, f"data has no batch left: give {_AGAIN}")
        return collect(state), as_row(_fetch(means(totals))) | _speed(count, start)

    return Runner(first, run, steps_per_epoch)


@partial(jax.jit, donate_argnums=0)
def _add(totals: Metrics, new: Metrics) -> Metrics:
    return jax.tree.map(operator.add, totals, new)


_AGAIN = (
    "an iterable that starts anew for every epoch (a list or a loader), or one that "
    "does not end, with steps_per_epoch"
)


def _epochs(
    recipe: Recipe, batches: Iterable[Any], steps: int | None, parallel: Parallel
) -> tuple[Batch, Iterator[Iterator[Batch]]]:
    """The first checked batch, and the batches of one epoch after the other."""
    maps = isinstance(batches, list) and any(isinstance(b, np.memmap) for b in batches)
    ensure(
        not maps,
        "data must not be a list of memory maps, each of which would be one batch: "
        "give jaxae.Shards(data), which is shuffled across them",
    )
    first, stream = first_batch(batches)
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
            batch = batch._replace(batch=check_data(recipe, batch.batch, "data"))
        else:
            batch = check_data(recipe, as_batch(batch), "data")
        return place_batch(batch, parallel.mesh)

    epochs = passes() if steps is None else counted()
    return check(first), (map(check, epoch) for epoch in epochs)


def first_batch(batches: Any) -> tuple[Any, Iterator[Any]]:
    """The first batch as it comes, and an iterator of those after it.

    Raises:
        ValueError: There is none, or these are no batches.
    """
    kinds = "an array, a mapping of arrays, an iterable of batches or a function to one"
    came = kind_of(batches)
    ensure(isinstance(batches, Iterable), f"data must be {kinds}, got {came}")
    stream = iter(batches)
    first = next(stream, None)
    ensure(first is not None, "data must have a batch, got an empty iterable")
    listed = isinstance(batches, list) and _is_listed(first)
    numbers = "got a list of numbers: give numpy.asarray(data)"
    ensure(not listed, f"data must be {kinds}, {numbers}")
    return first, stream


def _is_listed(first: Any) -> bool:
    """Whether it is a number, or numbers in lists that are no pair of x and label."""
    inner = first[0] if isinstance(first, list) and first else first
    while isinstance(inner, list) and inner and len(first) > 2:
        inner = inner[0]
    return isinstance(inner, int | float | np.number)


def as_batch(batch: Any) -> Any:
    """Loaders bring x alone, or x with its label, as a pair."""
    if not isinstance(batch, tuple | list):
        return batch
    known = "a batch must be an array, a mapping, or a pair of x and label"
    ensure(1 <= len(batch) <= 2, f"{known}, got {len(batch)} values")
    pair = zip(("x", "label"), batch, strict=False)
    return {name: values for name, values in pair if values is not None}


def _fetch(metrics: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Waits for an epoch without blocking Ctrl-C, and copies its metrics over."""
    while not all(value.is_ready() for value in metrics.values()):
        time.sleep(0.002)
    return jax.device_get(dict(metrics))


def as_row(metrics: Mapping[str, np.ndarray | np.floating | float]) -> Row:
    """Numbers of Python's own."""
    return {name: float(value) for name, value in metrics.items()}


def _speed(count: int, start: float) -> Row:
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "examples_per_second": count / seconds}
