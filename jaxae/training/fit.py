"""The training loop: epochs, validation, the best model, callbacks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxae.checks import check_count, check_data, check_key, check_recipe
from jaxae.errors import TrainingDiverged, require
from jaxae.training.epoch import make_validation
from jaxae.training.progress import Report, progress_log
from jaxae.training.runners import (
    Row,
    RunEpoch,
    array_runner,
    is_array_data,
    stream_runner,
)
from jaxae.training.state import init_state, trained_model
from jaxae.training.step import make_train_step
from jaxae.types import Model, Recipe, TrainState


class Epoch(NamedTuple):
    """What a callback gets after every epoch.

    Attributes:
        number: Epochs done, from 1.
        state: The train state. The next epoch reuses its buffers: copy what you keep.
        metrics: The epoch's row of the history.
        improved: Whether this is the best epoch so far.
    """

    number: int
    state: TrainState
    metrics: Row
    improved: bool


class Fit(NamedTuple):
    """What `fit` returns.

    Attributes:
        model: The best epoch's model: what `encode`, `sample` and the rest take.
        state: The last train state.
        history: One row an epoch: means over the epoch, "validation_..." where there
            are validation data, "seconds" and "images_per_second" of the pass alone.
        best_epoch: From 1.
    """

    model: Model
    state: TrainState
    history: list[Row]
    best_epoch: int


def fit(
    recipe: Recipe,
    images: Any,
    *,
    key: jax.Array,
    epochs: int = 10,
    batch_size: int = 100,
    steps_per_epoch: int | None = None,
    tx: optax.GradientTransformation | None = None,
    validation: Any = None,
    monitor: str | None = None,
    callbacks: Sequence[Callable[[Epoch], None]] = (),
    max_skipped: int = 10,
    progress: bool = True,
) -> Fit:
    """Trains a recipe.

    Args:
        recipe: The family, see `jaxae.recipes`.
        images: An array [n, *shape] of bytes, or of floats in [0, 1]; or a mapping with
            such an array as "x" and, where there are any, "label" [n] and "weight" [n];
            or an iterable of batches of either kind. An array goes to the device whole,
            batches one by one.
        key: A typed key, `jax.random.key(0)`. The result depends on nothing else.
        epochs: Passes over the data.
        batch_size: Examples per step; the last step of a pass takes what is left. Not
            for an iterable, which brings its own.
        steps_per_epoch: Batches that make an epoch of an iterable; needed where it does
            not end, or where it can be read only once. Not for an array.
        tx: An optimizer over {"model": ..., "objective": ...}; Adam at 1e-3 if None.
        validation: An array or a mapping, to judge every epoch by.
        monitor: The metric that the best epoch has least of; "validation_loss" where
            there are validation data and otherwise "loss", unless given. With a weight
            that is scheduled to grow, "loss" is least early: give validation data.
        callbacks: Called after every epoch, before the next one starts.
        max_skipped: Updates in a row that are not finite before training gives up.
        progress: Report every epoch.

    Raises:
        ValueError: An argument or the data are not as they must be.
        TrainingDiverged: `max_skipped` updates in a row were not finite, or the
            monitored metric of no epoch was.
    """
    check_recipe(recipe)
    check_key(key)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    check_count("max_skipped", max_skipped)
    tx = optax.adam(1e-3) if tx is None else tx
    step = make_train_step(recipe, tx)
    if is_array_data(images):
        whole = "None for an array, whose epoch is one pass"
        require(steps_per_epoch is None, "steps_per_epoch", steps_per_epoch, whole)
        runner = array_runner(recipe, step, images, batch_size)
        example, run_epoch, steps_per_epoch = runner
    else:
        example, run_epoch = stream_runner(recipe, step, images, steps_per_epoch)
    key_init, key_validation = jax.random.split(key)
    last_step = None if steps_per_epoch is None else epochs * steps_per_epoch - 1
    validate = _validator(recipe, validation, key_validation, batch_size, last_step)
    state = jax.jit(partial(init_state, recipe, tx))(example, key_init)

    def epoch(state: TrainState) -> tuple[TrainState, Row]:
        state, row = run_epoch(state)
        _check_updates(state, max_skipped)
        return state, {**row, **validate(state)}

    monitor = monitor or ("loss" if validation is None else "validation_loss")
    with progress_log(epochs, enabled=progress) as report:
        return _loop(recipe, state, epoch, epochs, monitor, callbacks, report)


def _loop(
    recipe: Recipe,
    state: TrainState,
    epoch: RunEpoch,
    epochs: int,
    monitor: str,
    callbacks: Sequence[Callable[[Epoch], None]],
    report: Report,
) -> Fit:
    """Epoch after epoch; keeps the best model."""
    best = _Best(trained_model(recipe, state), 0, float("inf"))
    history: list[Row] = []
    for number in range(1, epochs + 1):
        state, row = epoch(state)
        row = {"epoch": number, **row}
        best = _better(best, recipe, state, row, monitor)
        history.append(row)
        for callback in callbacks:
            callback(Epoch(number, state, row, best.epoch == number))
        report(number, row)
    if best.epoch == 0:
        raise TrainingDiverged(f"no epoch had a finite {monitor}: {history[-1]}")
    return Fit(best.model, state, history, best.epoch)


class _Best(NamedTuple):
    model: Model
    epoch: int
    value: float


def _better(
    best: _Best, recipe: Recipe, state: TrainState, row: Row, monitor: str
) -> _Best:
    require(monitor in row, "monitor", monitor, f"one of {sorted(row)}")
    if not row[monitor] < best.value:
        return best
    # A copy, since the next epoch reuses the state's buffers.
    model = jax.tree.map(jnp.copy, trained_model(recipe, state).variables)
    return _Best(Model(recipe, model), int(row["epoch"]), row[monitor])


def _validator(
    recipe: Recipe,
    validation: Any,
    key: jax.Array,
    batch_size: int,
    last_step: int | None,
) -> Callable[[TrainState], Row]:
    """The function state -> {"validation_...": mean}; of nothing without data.

    Scheduled weights have their values at the last step, where it is known, so that
    epochs can be compared: early in a warm-up of beta a loss is low only because the
    rate costs nothing yet.
    """
    if validation is None:
        return lambda state: {}
    data = jax.device_put(check_data(recipe, validation, "validation"))
    compiled = jax.jit(make_validation(recipe, batch_size))

    def validate(state: TrainState) -> Row:
        at = state.step if last_step is None else jnp.asarray(last_step)
        means = compiled(state.params, state.collections, at, data, key)
        return {f"validation_{k}": float(v) for k, v in jax.device_get(means).items()}

    return validate


def _check_updates(state: TrainState, max_skipped: int) -> None:
    skipped = int(state.skipped_in_row)
    if skipped >= max_skipped:
        raise TrainingDiverged(
            f"the last {skipped} updates were not finite and were left out, at step "
            f"{int(state.step)}: lower the learning rate, clip the gradient "
            "(optax.clip_by_global_norm), or clamp log_std_range"
        )
