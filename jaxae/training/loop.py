"""Epoch after epoch: the history, the best model, callbacks, when to stop."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.checks import check_count
from jaxae.errors import TrainingDiverged, ensure, require
from jaxae.inputs import SCALE
from jaxae.recipe import Model, Recipe
from jaxae.training.progress import progress_log
from jaxae.training.runners import Row
from jaxae.training.state import trained_model
from jaxae.types import TrainState

T = TypeVar("T")


class Epoch(NamedTuple):
    """What a callback gets after every epoch.

    Attributes:
        number: Epochs done, from 1.
        state: The train state. The next epoch reuses its buffers: copy what you keep.
        metrics: The epoch's row of the history.
        improved: Whether this is the best epoch so far.
        recipe: What is trained, as `fit` and `fit_many` say it.

    Example:
        >>> import jaxae
        >>> def say(epoch):  # for `fit(..., callbacks=[say])`
        ...     if epoch.improved:
        ...         print(epoch.number, epoch.metrics["loss"])
        >>> say(jaxae.Epoch(3, state=None, metrics={"loss": 0.25}, improved=True))
        3 0.25
    """

    number: int
    state: TrainState
    metrics: Row
    improved: bool
    recipe: Recipe | None = None


class Watcher(NamedTuple):
    """A callback that reads a metric, which `fit` looks for before the first epoch.

    Attributes:
        monitor: The metric.
        call: The callback itself.
    """

    monitor: str
    call: Callable[[Epoch], None]

    def __call__(self, epoch: Epoch) -> None:
        """After an epoch."""
        self.call(epoch)


class Best(NamedTuple):
    """The best epoch so far.

    Attributes:
        model: Its model.
        epoch: From 1; 0 before the first.
        value: Of the monitored metric.
    """

    model: Model
    epoch: int = 0
    value: float = float("inf")


class Progress(NamedTuple):
    """How far a training came, all that it needs to go on.

    Attributes:
        state: The train state after the last finished epoch.
        best: The best epoch so far.
        epoch: Epochs done.
        history: Their rows, where they are to be in the history again.
        damaged: Epochs with a checkpoint that cannot be read.

    Example:
        >>> import jaxae
        >>> from jaxae.training.loop import Best
        >>> model = jaxae.Model(jaxae.recipes.vae((6,), latent_dim=2), variables={})
        >>> fitted = jaxae.Fit(model, None, [{"epoch": 1, "loss": 0.5}], best_epoch=1)
        >>> best = Best(fitted.model, epoch=1, value=0.5)
        >>> resume = jaxae.Progress(fitted.state, best, 1, fitted.history)  # for `fit`
    """

    state: TrainState
    best: Best
    epoch: int = 0
    history: Sequence[Row] = ()
    damaged: Sequence[int] = ()


class Fit(NamedTuple):
    """What `fit` returns.

    Attributes:
        model: The best epoch's model: what `encode`, `sample` and the rest take.
        state: The last train state.
        history: One row an epoch: means over the epoch, "validation_..." where there
            are validation data, "seconds" and "examples_per_second" of the pass alone:
            over an array without compiling, which is done before.
        best_epoch: From 1; 0 if the monitored metric was finite in none, which only
            `fit_many` returns.

    Example:
        >>> import jaxae
        >>> model = jaxae.Model(jaxae.recipes.vae((6,), latent_dim=2), variables={})
        >>> history = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
        >>> fitted = jaxae.Fit(model, state=None, history=history, best_epoch=2)
        >>> [row["loss"] for row in fitted.history]
        [0.5, 0.25]
    """

    model: Model
    state: TrainState
    history: list[Row]
    best_epoch: int

    def __repr__(self) -> str:
        """Without the arrays, which would fill a notebook."""
        epochs = f"{len(self.history)} epochs, best_epoch={self.best_epoch}"
        return f"Fit(model={self.model!r}, {epochs})"


class Member:
    """One training's record: the only thing that changes while epochs go by."""

    def __init__(
        self,
        recipe: Recipe,
        progress: Progress,
        monitor: str,
        callbacks: Sequence[Callable[[Epoch], None]],
    ) -> None:
        """Goes on where `progress` is."""
        self.recipe, self.monitor, self.callbacks = recipe, monitor, callbacks
        self.best, self.done = progress.best, progress.epoch
        self.history = list(progress.history)

    def add(self, state: TrainState, row: Row) -> None:
        """Notes an epoch, and tells the callbacks of it."""
        self.done += 1
        row = {"epoch": self.done, **row}
        self.history.append(row)
        if improved := row[self.monitor] < self.best.value:
            model = copy_model(trained_model(self.recipe, state))
            self.best = Best(model, self.done, row[self.monitor])
        epoch = Epoch(self.done, state, row, improved, self.recipe)
        for callback in self.callbacks:
            callback(epoch)

    def result(self, state: TrainState) -> Fit:
        """After the last epoch."""
        return Fit(self.best.model, state, self.history, self.best.epoch)


class Loop(NamedTuple):
    """How `fit` and `fit_many` go through epochs, see there."""

    epochs: int
    max_skipped: int
    patience: int | None
    progress: bool
    stop: Callable[[], bool] | None

    def check(self, callbacks: Any, batch_size: Any, accumulate: Any) -> None:
        """Raises ArgumentError for what would be noticed after an epoch only."""
        check_count("epochs", self.epochs)
        check_count("batch_size", batch_size)
        check_count("max_skipped", self.max_skipped)
        check_count("accumulate", accumulate)
        if self.patience is not None:
            check_count("patience", self.patience)
        several = isinstance(callbacks, Sequence) and all(map(callable, callbacks))
        require(several, "callbacks", callbacks, "a sequence of functions")
        # A decorator, so that it can be called, which would do nothing at all.
        entered = not any(isinstance(each, ContextDecorator) for each in callbacks)
        once = "save_epochs must be entered: with save_epochs(...) as save: "
        ensure(entered, f"{once}fit(..., callbacks=[save])")
        asked = self.stop is None or callable(self.stop)
        require(asked, "stop", self.stop, "a function")


@jax.jit
def copied(tree: T) -> T:
    """Buffers of its own: the next epoch reuses those of the state."""
    return jax.tree.map(jnp.copy, tree)


def copy_model(model: Model) -> Model:
    """With buffers of its own."""
    return model.replace(variables=copied(model.variables))


def run_epochs(
    loop: Loop,
    members: Sequence[Member],
    state: TrainState,
    epoch: Callable[[TrainState], tuple[TrainState, list[Row]]],
    split: Callable[[TrainState], Iterable[TrainState]],
) -> list[Fit]:
    """Trains until all epochs are done or `loop.stop` says so, the members in step.

    Args:
        loop: How many epochs, and when to stop.
        members: One, or several that are trained at once.
        state: Of all of them.
        epoch: state -> (state, a row for every member).
        split: From the state of all to one each.

    Raises:
        TrainingDiverged: `loop.max_skipped` updates in a row were not finite.
    """
    with progress_log(loop.epochs, enabled=loop.progress) as report:
        while members[0].done < loop.epochs and not _out_of_patience(loop, members):
            state, rows = epoch(state)
            _check_updates(state, loop.max_skipped)
            for member, own, row in zip(members, split(state), rows, strict=True):
                member.add(own, row)
            done = members[0].done
            report(done, _mean(rows))
            if done < loop.epochs and loop.stop is not None and loop.stop():
                break
    states = split(state)
    return [member.result(own) for member, own in zip(members, states, strict=True)]


def _out_of_patience(loop: Loop, members: Sequence[Member]) -> bool:
    """Whether no member has had a best epoch for as many as there is patience."""
    if loop.patience is None:
        return False
    return all(each.done - each.best.epoch >= loop.patience for each in members)


def _mean(rows: Sequence[Row]) -> Row:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _check_updates(state: TrainState, max_skipped: int) -> None:
    """Gives up where no member has had a finite update for long."""
    skipped = int(np.min(jax.device_get(state.skipped_in_row)))
    if skipped >= max_skipped:
        raise TrainingDiverged(
            f"the last {skipped} updates were not finite and were left out, at step "
            f"{int(np.max(jax.device_get(state.step)))}: lower the learning rate, clip "
            "the gradient (optax.clip_by_global_norm), clamp log_std_range, or, where "
            f"the data are not about 0 to 1 in size, {SCALE}Standardize())"
        )
