"""Training a recipe: data, devices, validation and the loop put together."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxae.checks import check_count, check_key, check_recipe
from jaxae.errors import TrainingDiverged, require
from jaxae.training.epoch import make_validation
from jaxae.training.loop import (
    Best,
    Epoch,
    Fit,
    Member,
    Progress,
    copy_model,
    run_epochs,
)
from jaxae.training.loss import Metrics
from jaxae.training.parallel import (
    DATA,
    Parallel,
    default_mesh,
    divide,
    gather,
    replicated,
    shardings,
)
from jaxae.training.placement import place, place_data
from jaxae.training.progress import progress_log
from jaxae.training.runners import (
    Row,
    Runner,
    array_runner,
    is_array_data,
    stream_runner,
)
from jaxae.training.state import init_state, trained_model
from jaxae.training.step import Step, make_train_step
from jaxae.types import Batch, Params, Recipe, TrainState


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
    parallel: Parallel | None = None,
    accumulate: int = 1,
    remat: bool = False,
    resume: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Fit:
    """Trains a recipe.

    Args:
        recipe: The family, see `jaxae.recipes`.
        images: An array [n, *shape] of bytes, or of floats in [0, 1]; or a mapping with
            such an array as "x" and, where there are any, "label" [n] and "weight" [n];
            or an iterable of batches of either kind, or a function from the number of
            steps done to one. An array goes to the devices whole, batches one by one;
            for several hosts see `jaxae.training.placement`.
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
        parallel: The devices and how they share the work. None for data parallel over
            all of them, those of other hosts too, or for the one that
            `jax.default_device` names. The result is the same to rounding.
        accumulate: Parts that a batch goes through the model in, for less memory; see
            `make_train_step`.
        remat: Compute activations again for the backward pass, for less memory.
        resume: Go on from there, with the same other arguments, to the very result of
            a training that was never interrupted.
        stop: Asked after every epoch whether to end early, as when a machine is about
            to be taken away.

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
    check_count("accumulate", accumulate)
    tx = optax.adam(1e-3) if tx is None else tx
    parallel = Parallel(default_mesh(), replicated) if parallel is None else parallel
    mesh, layout, mapped = parallel
    gathered = gather(mesh, layout)
    step = make_train_step(
        recipe,
        tx,
        DATA if mapped else None,
        accumulate=accumulate,
        remat=remat,
        gather=gathered,
    )
    runner = _runner(
        recipe, step, images, batch_size, steps_per_epoch, parallel, resume
    )
    key_init, key_validation = jax.random.split(key)
    steps = runner.steps and epochs * runner.steps
    validate = make_validator(
        recipe, validation, key_validation, batch_size, steps, mesh, gathered
    )
    if resume is None:
        state = fresh_state(recipe, tx, runner.example, key_init, parallel)
        best = Best(copy_model(trained_model(recipe, state)))
        resume = Progress(state, best)
    else:
        # A copy, as the epochs donate it.
        resume = resume._replace(state=place(resume.state, mesh, layout))

    def epoch(state: TrainState) -> tuple[TrainState, list[Row]]:
        state, row = runner.epoch(state)
        return state, [row | validate(state)]

    def notify(_: int, epoch: Epoch) -> None:
        for callback in callbacks:
            callback(epoch)

    monitor = monitor or ("loss" if validation is None else "validation_loss")
    with progress_log(epochs, enabled=progress) as report:
        (result,) = run_epochs(
            [Member(recipe, resume, monitor)],
            resume.state,
            epoch,
            lambda state: [state],
            epochs=epochs,
            max_skipped=max_skipped,
            callback=notify,
            report=report,
            stop=stop,
        )
    if result.best_epoch == 0:
        last = result.history[-1]
        raise TrainingDiverged(f"no epoch had a finite {monitor}: {last}")
    return result


def _runner(
    recipe: Recipe,
    step: Step,
    images: Any,
    batch_size: int,
    steps_per_epoch: int | None,
    parallel: Parallel,
    resume: Progress | None,
) -> Runner:
    if is_array_data(images):
        whole = "None for an array, whose epoch is one pass"
        require(steps_per_epoch is None, "steps_per_epoch", steps_per_epoch, whole)
        return array_runner(recipe, step, images, batch_size, parallel)
    if callable(images):
        images = images(0 if resume is None else int(resume.state.step))
    return stream_runner(recipe, step, images, steps_per_epoch, parallel)


def fresh_state(
    recipe: Recipe,
    tx: optax.GradientTransformation,
    example: Batch,
    key: jax.Array,
    parallel: Parallel,
) -> TrainState:
    """A state that is made where the layout puts it, by all devices together."""
    init = partial(init_state, recipe, tx)
    where = shardings(jax.eval_shape(init, example, key), *parallel[:2])
    return jax.jit(init, out_shardings=where)(example, key)


def make_validator(
    recipe: Recipe,
    validation: Any,
    key: jax.Array,
    batch_size: int,
    steps: int | None,
    mesh: Mesh,
    gathered: Callable[[Params], Params],
) -> Callable[[TrainState], Row]:
    """The function state -> {"validation_...": mean}; of nothing without data.

    Scheduled weights have their values at the last of `steps`, where they are known, so
    that epochs can be compared: early in a warm-up of beta a loss is low only because
    the rate costs nothing yet.
    """
    if validation is None:
        return lambda state: {}
    data = place_data(recipe, validation, mesh, "validation")
    mean = make_validation(recipe, batch_size, partial(divide, mesh=mesh))

    @jax.jit
    def compiled(state: TrainState, data: Batch) -> Metrics:
        at = state.step if steps is None else jnp.asarray(steps - 1, jnp.int32)
        return mean(gathered(state.params), state.collections, at, data, key)

    def validate(state: TrainState) -> Row:
        means = compiled(state, data)
        return {f"validation_{k}": float(v) for k, v in jax.device_get(means).items()}

    return validate
