"""The best and the last train states on disk, written by orbax beside the training."""

import errno
import logging
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import partial
from math import inf, isfinite
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from jaxae import notation
from jaxae.errors import CheckpointError
from jaxae.inputs import abstract_batch
from jaxae.preparation import unfitted
from jaxae.recipe import Recipe
from jaxae.training.initial import unscaled
from jaxae.training.loop import Best, Epoch, Progress, copied
from jaxae.training.monitor import check_monitor
from jaxae.training.parallel import Parallel, shardings
from jaxae.training.state import init_state, trained_model
from jaxae.types import TrainState
from jaxae.values import fields_of

Which = Literal["best", "last"]
Folder = str | PathLike[str]
Other = Callable[[Mapping[str, Any] | None], str | None]
_VALUE = "monitored"
_RECIPE = "recipe"
_FREE = frozenset({"recipe.monitor", "recipe.title"})
_FREE_IN_A_MODEL = frozenset(
    {"recipe.objective", "recipe.corruption", "recipe.num_samples", "recipe.hooks"}
)
_EMPTY = "an empty container"
_NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)
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
    """
    best = policies.BestN(get_metric_fn=lambda metrics: -metrics[_VALUE], n=keep)
    kept = policies.AnyPreservationPolicy([policies.LatestN(keep), best])
    directory = Path(directory)
    # By ourselves: orbax does not mind a file in the way until the first save.
    directory.mkdir(parents=True, exist_ok=True)
    _put_damaged_aside(directory, saved_epochs(directory), _value)
    with _manager(directory, preservation_policy=kept) as manager:

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
                    metrics={_VALUE: value if better else inf},
                    custom_metadata=_record(epoch.recipe),
                )
            if not saved:
                raise CheckpointError(
                    f"{directory}: has a later checkpoint than epoch {epoch.number}: "
                    "go on from it (restore_progress), or take another directory"
                )

        yield save
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
        CheckpointError: There is none, it is damaged, or it is of another module.
    """
    directory = Path(directory)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    state = abstract_state(recipe, tx)
    target = _target(state, jax.tree.map(lambda _: device, state))
    with _reader(directory) as manager:
        saved = manager.all_steps()
        if not saved:
            raise CheckpointError(f"{directory}: no finished epoch was saved there")
        epoch = max(saved)
        if which == "best":
            epoch = min(saved, key=partial(_value, manager, directory))
        differs = _other_than(recipe, _FREE | _FREE_IN_A_MODEL)
        return _read(manager, directory, epoch, target, differs), epoch


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
    differs = _other_than(recipe, _FREE)
    state = abstract_state(recipe, tx)
    target = _target(state, shardings(state, parallel.mesh, parallel.layout))
    with _reader(directory) as manager:
        values = _values_or_warn(manager, directory)
        damaged = set(manager.all_steps()) - values.keys()
        saved = sorted(values, reverse=True)
        for number in [each for each in saved if epoch is None or each <= epoch]:
            restored = _or_warn(_read, manager, directory, number, target, differs)
            if restored is None:
                damaged.add(number)
                continue
            recipe = _as_recorded(recipe, manager, number)
            best = Best(trained_model(recipe, restored))
            for value, each in _by_value(values, number):
                found = restored
                if each != number:
                    found = _or_warn(_read, manager, directory, each, target, differs)
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
    with _said_as_damaged(directory, epoch):
        metrics = manager.metrics(epoch)
        return inf if metrics is None else float(metrics[_VALUE])


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
    _put_damaged_aside(directory, later, _read, _target(epoch.state, where))
    manager.reload()


def _put_damaged_aside(
    directory: Path, epochs: Sequence[int], read: Callable[..., Any], *arguments: Any
) -> None:
    """Those of these checkpoints that `read` finds damaged."""
    if not epochs:
        return
    aside = directory.with_name(f"{directory.name}-damaged")
    to = f"it is put aside, into {aside}"
    with _reader(directory) as manager:
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


class DamagedCheckpoint(CheckpointError):
    """It cannot be read, as opposed to: it is not the one asked for."""


@contextmanager
def _reader(directory: Path) -> Iterator[ocp.CheckpointManager]:
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such directory of checkpoints")
    # The values are read by `_value`: here a damaged one would be no `CheckpointError`.
    with (
        _quiet(),
        _manager(directory, read_only=True, lightweight_initialize=True) as manager,
    ):
        yield manager


@contextmanager
def _quiet() -> Iterator[None]:
    """orbax warns of options that are as they should be; errors are raised anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _read(
    manager: ocp.CheckpointManager,
    directory: Path,
    epoch: int,
    target: TrainState,
    other: Other = lambda record: None,
) -> TrainState:
    with _said_as_damaged(directory, epoch):
        about, kind = manager.metadata(epoch), "recipe"
        differs = other(about.custom_metadata)
        if differs is None:
            item: Any = about.item_metadata
            differs, kind = _difference(target, item.tree), "architecture or optimizer"
        if differs is None:
            state: Any = manager.restore(epoch, args=ocp.args.StandardRestore(target))
            return state
    raise CheckpointError(
        f"{directory / str(epoch)}: the checkpoint is of another {kind} than asked "
        f"for: {differs}"
    )


def _as_recorded(recipe: Recipe, manager: ocp.CheckpointManager, epoch: int) -> Recipe:
    """With the scale that was estimated then, where the recipe's is not known."""
    record = manager.metadata(epoch).custom_metadata
    if not record or not unfitted(recipe.prepare):
        return recipe
    ((_, fields),) = record[_RECIPE].items()
    own = notation.by_own_names([type(recipe.prepare)])
    return recipe.replace(prepare=notation.read(fields["prepare"], own))


def _record(recipe: Recipe | None) -> dict[str, Any] | None:
    """What is noted beside a state: arrays of the same shapes may mean other things."""
    return None if recipe is None else {_RECIPE: notation.outline(recipe)}


def _other_than(recipe: Recipe, free: Set[str]) -> Other:
    """From what was noted to the attribute that differs, if there is one."""
    asked = notation.outline(recipe)
    if unfitted(recipe.prepare):  # its numbers are those of the training
        fields = fields_of(recipe.prepare).items()
        free = free | {f"recipe.prepare.{k}" for k, value in fields if value is None}

    def may_differ(path: str) -> bool:
        return path in free or path.endswith(".dtype")  # see `compute_in`

    def other(record: Mapping[str, Any] | None) -> str | None:
        if not record:  # of a loop of the user's own, or of an earlier version
            return None
        return notation.difference(record[_RECIPE], asked, may_differ)

    return other


@contextmanager
def _said_as_damaged(directory: Path, epoch: int) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, AttributeError) as error:
        if isinstance(error, OSError) and error.errno in _NOT_DAMAGE:
            raise
        message = str(error).split(". ")[0][:300]
        raise DamagedCheckpoint(
            f"{directory / str(epoch)}: the checkpoint is damaged: {message}"
        ) from error


def _difference(target: TrainState, stored: Any) -> str | None:
    """The first array or empty container that is not in both trees alike.

    Said before orbax reads: it would say so from the middle of many reads, and in words
    that do not tell another optimizer from damage.
    """
    asked, found = _contents(target), _contents(stored)
    paths = {path for path, _ in asked.items() ^ found.items()}
    if not paths:
        return None
    # An array tells more than a container.
    path = min(paths, key=lambda p: (_EMPTY in (asked.get(p), found.get(p)), p))
    there, here = found.get(path, "not there"), asked.get(path, "nothing")
    return f"{path} is {there}, asked for was {here}"


def _contents(tree: Any) -> dict[str, str]:
    """Path -> what is there; without the key, which is stored as its words.

    Optimizers differ in containers without arrays too, such as `optax.EmptyState`.
    """
    flat = ocp.tree.to_flat_dict(tree, sep=".", keep_empty_nodes=True)
    return {
        path: f"an array of shape {tuple(x.shape)}" if hasattr(x, "shape") else _EMPTY
        for path, x in flat.items()
        if path != "key"
    }


def _manager(directory: Path, **options: Any) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        directory.absolute(),
        item_handlers=ocp.StandardCheckpointHandler(),
        options=ocp.CheckpointManagerOptions(
            best_fn=lambda metrics: metrics[_VALUE],
            best_mode="min",
            **options,
        ),
    )


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
