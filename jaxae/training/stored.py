"""What a checkpoint holds, and whether it is the one that is asked for."""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from jaxae import notation
from jaxae.errors import CheckpointError
from jaxae.preparation import unfitted
from jaxae.recipe import Recipe
from jaxae.types import TrainState
from jaxae.values import fields_of

Other = Callable[[Mapping[str, Any] | None], str | None]

VALUE = "monitored"

_RECIPE = "recipe"

_EMPTY = "an empty container"

_NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


class DamagedCheckpoint(CheckpointError):
    """It cannot be read, as opposed to: it is not the one asked for."""


@contextmanager
def reader(directory: Path) -> Iterator[ocp.CheckpointManager]:
    """A manager that changes nothing.

    Raises:
        CheckpointError: There is no such directory.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such directory of checkpoints")
    # Without the values of the metric: a damaged one would be no `CheckpointError`.
    with (
        _quiet(),
        open_manager(directory, read_only=True, lightweight_initialize=True) as manager,
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


def read(
    manager: ocp.CheckpointManager,
    directory: Path,
    epoch: int,
    target: TrainState,
    other: Other | None = None,
) -> TrainState:
    """The state of an epoch, if it is the one that is asked for.

    Args:
        manager: Of the directory.
        directory: Where it lies.
        epoch: Its number.
        target: Shapes, dtypes and places of its arrays.
        other: From what is noted beside it to what differs, or None.

    Raises:
        DamagedCheckpoint: It cannot be read.
        CheckpointError: It is of another recipe, architecture or optimizer.
    """
    with said_as_damaged(directory, epoch):
        about, kind = manager.metadata(epoch), "recipe"
        differs = None if other is None else other(about.custom_metadata)
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


def as_recorded(recipe: Recipe, manager: ocp.CheckpointManager, epoch: int) -> Recipe:
    """With the scale that was estimated then, where the recipe's is not known."""
    record = manager.metadata(epoch).custom_metadata
    if not record or not unfitted(recipe.prepare):
        return recipe
    ((_, fields),) = record[_RECIPE].items()
    own = notation.by_own_names([type(recipe.prepare)])
    return recipe.replace(prepare=notation.read(fields["prepare"], own))


def record(recipe: Recipe | None) -> dict[str, Any] | None:
    """What is noted beside a state: arrays of the same shapes may mean other things."""
    return None if recipe is None else {_RECIPE: notation.outline(recipe)}


def other_than(recipe: Recipe, free: Set[str]) -> Other:
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
def said_as_damaged(directory: Path, epoch: int) -> Iterator[None]:
    """Errors of reading as a `DamagedCheckpoint`, but those of the disk."""
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


def open_manager(directory: Path, **options: Any) -> ocp.CheckpointManager:
    """orbax's, which writes and reads the states of a directory."""
    return ocp.CheckpointManager(
        directory.absolute(),
        item_handlers=ocp.StandardCheckpointHandler(),
        options=ocp.CheckpointManagerOptions(
            best_fn=lambda metrics: metrics[VALUE],
            best_mode="min",
            **options,
        ),
    )
