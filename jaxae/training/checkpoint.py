"""The best and the last train state on disk, written atomically by orbax."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxae.errors import CheckpointError
from jaxae.training.loop import Epoch
from jaxae.training.state import init_state
from jaxae.types import Recipe, TrainState

Which = Literal["best", "last"]
_VALUE = "monitored"


@contextmanager
def save_epochs(directory: Path, monitor: str) -> Iterator[Callable[[Epoch], None]]:
    """Yields a callback for `fit` that saves every epoch's state.

    Only the best and the last stay on disk. One that is being written has another name
    until it is complete, so that an interruption leaves the ones before as they were.

    Args:
        directory: Made if it does not exist.
        monitor: The metric that the best epoch has least of.

    Raises:
        OSError: The directory cannot be written to, or the disk is full.
    """
    best = policies.BestN(get_metric_fn=lambda metrics: -metrics[_VALUE], n=1)
    keep = policies.AnyPreservationPolicy([policies.LatestN(1), best])
    # By ourselves: orbax does not mind a file in the way until the first save.
    directory.mkdir(parents=True, exist_ok=True)
    with _manager(directory, preservation_policy=keep) as manager:

        def save(epoch: Epoch) -> None:
            value = epoch.metrics[monitor]
            _check_space(directory, epoch.state)
            try:
                with _interrupts_held_back():
                    manager.save(
                        epoch.number,
                        args=ocp.args.StandardSave(epoch.state),
                        metrics={_VALUE: value if isfinite(value) else inf},
                    )
                    # The next epoch reuses the state's buffers.
                    manager.wait_until_finished()
            except ValueError as error:  # so tensorstore says that a disk is full
                reason = str(error).rsplit(": ", 1)[-1]
                raise OSError(
                    f"{directory}: epoch {epoch.number} could not be saved: {reason}"
                ) from error

        yield save


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
    directory: Path,
    recipe: Recipe,
    tx: optax.GradientTransformation,
    which: Which = "best",
) -> tuple[TrainState, int]:
    """Reads a state that `save_epochs` wrote, and its epoch.

    Args:
        directory: As given to `save_epochs`.
        recipe: The family that was trained.
        tx: The optimizer that it was trained with.
        which: "best" or "last".

    Raises:
        CheckpointError: There is none, it is damaged, or it holds another architecture.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such directory of checkpoints")
    target = jax.tree.map(_on_this_device, abstract_state(recipe, tx))
    with _manager(directory, read_only=True) as manager:
        epoch = manager.best_step() if which == "best" else manager.latest_step()
        if epoch is None:
            raise CheckpointError(f"{directory}: no finished epoch was saved there")
        try:
            differs = _difference(target, manager.item_metadata(epoch).tree)
            if differs is None:
                restore = ocp.args.StandardRestore(target)
                return manager.restore(epoch, args=restore), epoch
        except (ValueError, OSError, AttributeError) as error:
            message = str(error).split(". ")[0][:300]
            raise CheckpointError(
                f"{directory / str(epoch)}: the checkpoint is damaged: {message}"
            ) from error
    raise CheckpointError(
        f"{directory / str(epoch)}: the checkpoint is of another architecture or "
        f"optimizer than asked for: {differs}"
    )


def _difference(target: TrainState, stored: Any) -> str | None:
    """The first array that is not in both trees with the same shape.

    Said before orbax reads: it would say so from the middle of many reads.
    """
    asked, found = _shapes(target), _shapes(stored)
    for path in sorted(asked.keys() | found.keys()):
        if asked.get(path) != found.get(path):
            return f"{path} has shape {found.get(path)}, asked for {asked.get(path)}"
    return None


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape; without the key, which is stored as its words."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(p, simple=True, separator="."): x for p, x in paths}
    return {path: tuple(x.shape) for path, x in named.items() if path != "key"}


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
    batch = {
        "x": jax.ShapeDtypeStruct((2, *recipe.model.shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }
    return jax.eval_shape(partial(init_state, recipe, tx), batch, jax.random.key(0))


def _on_this_device(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Where to put it: a checkpoint may come from a machine with other devices."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
