"""The best and the last train states on disk, written by orbax beside the training."""

import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from jaxae.errors import CheckpointError, check_choice
from jaxae.inputs import abstract_batch
from jaxae.recipe import Recipe
from jaxae.training.initial import unscaled
from jaxae.training.loop import Best, Epoch, Progress, Watcher, copied
from jaxae.training.monitor import check_monitor
from jaxae.training.parallel import Parallel, shardings
from jaxae.training.state import init_state, trained_model
from jaxae.training.stored import (
    VALUE,
    DamagedCheckpoint,
    as_recorded,
    open_manager,
    other_than,
    read,
    reader,
    record,
    said_as_damaged,
)
from jaxae.types import Folder, TrainState, Which

_FREE = frozenset({"recipe.monitor", "recipe.title"})

_FREE_IN_A_MODEL = frozenset(
    {"recipe.objective", "recipe.corruption", "recipe.num_samples", "recipe.hooks"}
)

T = TypeVar("T")


@contextmanager
def save_epochs(
    directory: Folder, monitor: str, keep: int = 2
) -> Iterator[Callable[[Epoch], None]]:
    """Yields a callback for `fit` that saves every epoch's state, while the next runs.

    The last ones stay on disk, and the best: should the newest be damaged, there is one
    before it, with what was the best then. One that is being written has another
    name until it is complete, so that an interruption leaves the ones before as they
    were. Damaged ones that are in the way are put aside, into a directory beside this
    one. On several hosts all must call it; the directory is one that all see.

    Args:
        directory: Made if it does not exist.
        monitor: The metric that the best epoch has least of.
        keep: How many of either kind.

    Raises:
        OSError: The directory cannot be written to, or the disk is full.
        CheckpointError: There are later checkpoints already.
        ValueError: There is no such metric; `fit` says so before the first epoch.
    """
    best = policies.BestN(get_metric_fn=lambda metrics: -metrics[VALUE], n=keep)
    kept = policies.AnyPreservationPolicy([policies.LatestN(keep), best])
    directory = Path(directory)
    # By ourselves: orbax does not mind a file in the way until the first save.
    directory.mkdir(parents=True, exist_ok=True)
    _put_damaged_aside(directory, saved_epochs(directory), _value)
    with open_manager(directory, preservation_policy=kept) as manager:

        def save(epoch: Epoch) -> None:
            check_monitor(monitor, sorted(epoch.metrics))
            value = epoch.metrics[monitor]
            better = epoch.improved and isfinite(value)
            _check_space(directory, epoch.state)
            _make_way(manager, directory, epoch)
            with _said_as_os_error(directory), _interrupts_held_back():
                saved = manager.save(
                    epoch.number,
                    # A copy, since the next epoch reuses the state's buffers.
                    args=ocp.args.StandardSave(copied(epoch.state)),
                    metrics={VALUE: value if better else inf},
                    custom_metadata=record(epoch.recipe),
                )
            if not saved:
                raise CheckpointError(
                    f"{directory}: has a later checkpoint than epoch {epoch.number}: "
                    "go on from it (restore_progress), or take another directory"
                )

        yield Watcher(monitor, save)
        with _said_as_os_error(directory), _interrupts_held_back():
            manager.wait_until_finished()


@contextmanager
def _said_as_os_error(directory: Path) -> Iterator[None]:
    """So that a full disk is told from a mistake: tensorstore has one exception."""
    try:
        yield
    except ValueError as error:
        if jax.process_count() > 1:  # or another host is gone, which says so itself
            raise
        reason = str(error).rsplit(": ", 1)[-1]
        raise OSError(
            f"{directory}: a checkpoint could not be saved: {reason}"
        ) from error


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the end: orbax' threads would never be joined."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts the main thread only.
        return
    came: list[bool] = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _check_space(directory: Path, state: TrainState) -> None:
    """Says early what orbax would say from many threads at once."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(
            f"{directory}: the disk is full: a checkpoint needs {needed:,} bytes, "
            f"{free:,} are free"
        )


def restore_state(
    directory: Folder,
    recipe: Recipe,
    tx: optax.GradientTransformation,
    which: Which = "best",
) -> tuple[TrainState, int]:
    """Reads a state that `save_epochs` wrote, onto one device, and its epoch.

    Args:
        directory: As given to `save_epochs`.
        recipe: The family that was trained. Its module and how it prepares the data
            must be the same, but for `dtype`; the objective and the rest may be others,
            as far as the state is of the same arrays.
        tx: The optimizer that it was trained with.
        which: "best" or "last".

    Raises:
        ValueError: `which` is neither.
        CheckpointError: There is none, it is damaged, or it is of another module.
    """
    check_choice("which", which, Which)
    directory = Path(directory)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    state = abstract_state(recipe, tx)
    target = _target(state, jax.tree.map(lambda _: device, state))
    with reader(directory) as manager:
        saved = manager.all_steps()
        if not saved:
            raise CheckpointError(f"{directory}: no finished epoch was saved there")
        epoch = max(saved)
        if which == "best":
            epoch = min(saved, key=partial(_value, manager, directory))
        differs = other_than(recipe, _FREE | _FREE_IN_A_MODEL)
        return read(manager, directory, epoch, target, differs), epoch


def restore_progress(
    directory: Folder,
    recipe: Recipe,
    tx: optax.GradientTransformation,
    parallel: Parallel,
    epoch: int | None = None,
) -> Progress:
    """Reads how far a training came, for `fit`'s `resume`; without its history.

    Where a checkpoint is damaged, the one before it is taken, with a warning. The
    devices may be other ones than those that it was written from.

    Args:
        directory: As given to `save_epochs`.
        recipe: The family that was trained; only `dtype`, monitor and title may be
            others, and numbers by the rounding of float32. For another objective see
            `start` of `fit`.
        tx: The optimizer that it was trained with.
        parallel: Where to put the state.
        epoch: To go on from, rather than the last one.

    Raises:
        CheckpointError: There is none that can be read, or it is of another recipe.
    """
    directory = Path(directory)
    differs = other_than(recipe, _FREE)
    state = abstract_state(recipe, tx)
    target = _target(state, shardings(state, parallel.mesh, parallel.layout))
    with reader(directory) as manager:
        values = _values_or_warn(manager, directory)
        damaged = set(manager.all_steps()) - values.keys()
        saved = sorted(values, reverse=True)
        for number in [each for each in saved if epoch is None or each <= epoch]:
            restored = _or_warn(read, manager, directory, number, target, differs)
            if restored is None:
                damaged.add(number)
                continue
            recipe = as_recorded(recipe, manager, number)
            best = Best(trained_model(recipe, restored))
            for value, each in _by_value(values, number):
                found = restored
                if each != number:
                    found = _or_warn(read, manager, directory, each, target, differs)
                if found is not None:
                    best = Best(trained_model(recipe, found), each, value)
                    break
            return Progress(restored, best, number, damaged=sorted(damaged))
    raise CheckpointError(f"{directory}: no finished epoch was saved there")


def saved_epochs(directory: Folder) -> list[int]:
    """The epochs that there are checkpoints of, in order; empty without any."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(ocp.utils.checkpoint_steps(directory))


def discard_after(directory: Folder, epoch: int, damaged: Collection[int] = ()) -> None:
    """Deletes the checkpoints of later epochs, which are to be trained again.

    Those that could not be read are left for `save_epochs` to put aside.
    """
    for number in saved_epochs(directory):
        if number > epoch and number not in damaged:
            shutil.rmtree(Path(directory, str(number)))


def _by_value(values: Mapping[int, float], last: int) -> list[tuple[float, int]]:
    """(value, epoch) of those that were the best when they were saved, least first."""
    return sorted(
        (value, epoch)
        for epoch, value in values.items()
        if epoch <= last and isfinite(value)
    )


def _values_or_warn(
    manager: ocp.CheckpointManager, directory: Path
) -> dict[int, float]:
    """The monitored values by epoch, without those that are damaged."""
    found = {
        epoch: _or_warn(_value, manager, directory, epoch)
        for epoch in manager.all_steps()
    }
    return {epoch: value for epoch, value in found.items() if value is not None}


def _value(manager: ocp.CheckpointManager, directory: Path, epoch: int) -> float:
    """What was monitored, where it was the best when it was saved; else infinite."""
    with said_as_damaged(directory, epoch):
        metrics = manager.metrics(epoch)
        return inf if metrics is None else float(metrics[VALUE])


def _or_warn(
    read: Callable[..., T],
    manager: ocp.CheckpointManager,
    directory: Path,
    epoch: int,
    *arguments: Any,
    remedy: str = "the one before it is taken",
) -> T | None:
    found = None
    try:
        found = read(manager, directory, epoch, *arguments)
    except DamagedCheckpoint as error:
        warnings.warn(f"{error}; {remedy}", stacklevel=3)
    if jax.process_count() == 1:
        return found
    # What one host cannot read, none takes.
    good = multihost_utils.process_allgather(np.asarray(found is not None))
    return found if good.all() else None


def _make_way(manager: ocp.CheckpointManager, directory: Path, epoch: Epoch) -> None:
    """For an epoch that is to be saved: where there is a damaged one of its number."""
    later = [each for each in saved_epochs(directory) if each >= epoch.number]
    if not later:
        return
    where = jax.tree.map(lambda leaf: leaf.sharding, epoch.state)
    _put_damaged_aside(directory, later, read, _target(epoch.state, where))
    manager.reload()


def _put_damaged_aside(
    directory: Path, epochs: Sequence[int], read: Callable[..., Any], *arguments: Any
) -> None:
    """Those of these checkpoints that `read` finds damaged."""
    if not epochs:
        return
    aside = directory.with_name(f"{directory.name}-damaged")
    to = f"it is put aside, into {aside}"
    with reader(directory) as manager:
        damaged = [
            each
            for each in epochs
            if _or_warn(read, manager, directory, each, *arguments, remedy=to) is None
        ]
    for epoch in damaged:
        _put_aside(directory, epoch, aside)


def _put_aside(directory: Path, epoch: int, aside: Path) -> None:
    _wait_for_all(f"the damage of {epoch}")  # all have seen it
    if jax.process_index() == 0:
        aside.mkdir(exist_ok=True)
        shutil.rmtree(aside / str(epoch), ignore_errors=True)
        (directory / str(epoch)).rename(aside / str(epoch))
    _wait_for_all(f"put aside {epoch}")


def _wait_for_all(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def abstract_state(recipe: Recipe, tx: optax.GradientTransformation) -> TrainState:
    """Shapes and dtypes of a state; parts that do not fit together show here."""
    recipe, batch = unscaled(recipe), abstract_batch(recipe)
    return _init.eval_shape(recipe, tx, batch, jax.random.key(0))


# What it traces is kept: a state's form is asked for more than once.
_init = jax.jit(init_state, static_argnums=(0, 1))


def _target(state: TrainState, where: Any) -> TrainState:
    """Where to put it: a checkpoint may come from a machine with other devices."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=sharding
        ),
        state,
        where,
    )
