"""Training a recipe: data, devices, validation and the loop put together."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxae.checks import check_key
from jaxae.errors import TrainingDiverged, ensure, require
from jaxae.inputs import SCALE, check_recipe
from jaxae.recipe import Model, Recipe
from jaxae.training.loop import (
    Best,
    Epoch,
    Fit,
    Loop,
    Member,
    Progress,
    copy_model,
    run_epochs,
)
from jaxae.training.monitor import choose_monitor
from jaxae.training.parallel import Parallel, default_mesh, replicated
from jaxae.training.placement import local, place, place_data
from jaxae.training.programs import (
    Plan,
    default_optimizer,
    init_program,
    validation_program,
)
from jaxae.training.runners import (
    Row,
    Runner,
    array_runner,
    called,
    is_array_data,
    stream_runner,
)
from jaxae.training.scale import fit_scale, with_scale_of
from jaxae.training.start import begun
from jaxae.training.state import trained_model
from jaxae.types import TrainState


def fit(
    recipe: Recipe,
    data: Any,
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
    patience: int | None = None,
    progress: bool = True,
    parallel: Parallel | None = None,
    accumulate: int = 1,
    remat: bool = False,
    start: Model | None = None,
    resume: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fit:
    """Trains a recipe.

    Args:
        recipe: The family, see `jaxae.recipes`.
        data: An array [n, *shape] of bytes, or of floats as the recipe's likelihood
            takes them; or a mapping with it as "x" and, where there are any, the
            fields of `jaxae.inputs.FIELDS`: "inputs", "missing", "label" and "weight",
            or a condition by its name; or an iterable of batches of either kind or of
            pairs (x, label), or a function from the number of steps done to one, as
            `jaxae.Shards` is for several files. An array goes to the devices whole,
            batches one by one; for several hosts see `jaxae.training.placement`.
        key: A typed key, `jax.random.key(0)`. The result depends on nothing else.
        epochs: Passes over the data.
        batch_size: Examples per step; the last step of a pass takes what is left. Not
            for an iterable, which brings its own.
        steps_per_epoch: Batches that make an epoch of an iterable; needed where it does
            not end, or where it can be read only once. Not for an array; a function
            may have it as an attribute.
        tx: An optimizer over {"model": ..., "objective": ...}; Adam at 1e-3 if None.
            Programs are kept for the very object: give a second training the same one.
        validation: An array, a mapping or `Shards`, to judge every epoch by; with
            scheduled weights as at the last step, so that epochs can be compared.
        monitor: The metric that the best epoch has least of; unless given the recipe's,
            as "loss", where there are validation data of these: "validation_loss".
            With a weight that is scheduled to grow, "loss" is least early: give
            validation data.
        callbacks: Called after every epoch, before the next one starts. For a tracker
            as of Weights & Biases or MLflow: `lambda epoch: wandb.log(epoch.metrics)`.
        max_skipped: Updates in a row that are not finite before training gives up.
        patience: Epochs in a row without a better one after which training ends; None
            for no such end.
        progress: Report every epoch.
        parallel: The devices and how they share the work. None for data parallel over
            all of them, those of other hosts too, or for the one that
            `jax.default_device` names. The result is the same to rounding.
        accumulate: Parts that a batch goes through the model in, for less memory; see
            `make_train_step`.
        remat: Compute activations again for the backward pass, for less memory.
        start: A model, of this or of another recipe, whose variables to begin with as
            far as they fit by name and shape; a warning says which do not. All else
            begins anew, the optimizer and schedules too. A scale without numbers has
            the model's.
        resume: Go on from there, with the same other arguments, to the very result of
            a training that was never interrupted.
        stop: Asked after every epoch whether to end early, as when a machine is about
            to be taken away.

    Raises:
        ValueError: An argument or the data are not as they must be.
        TrainingDiverged: `max_skipped` updates in a row were not finite, or the
            monitored metric of no epoch was.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> fitted = jaxae.fit(recipe, x, key=key, epochs=1, progress=False)
        >>> fitted.best_epoch, sorted(fitted.history[0])[:3]
        (1, ['distortion_nats', 'elbo_nats', 'epoch'])
    """
    check_recipe(recipe)
    check_key(key)
    made = "an optimizer of optax, such as optax.adam(1e-3)"
    require(tx is None or hasattr(tx, "init"), "tx", tx, made)
    devices = "a Parallel, such as jaxae.training.Parallel(make_mesh(), fsdp)"
    known = parallel is None or isinstance(parallel, Parallel)
    require(known, "parallel", parallel, devices)
    gone_on = "a Progress, as restore_progress of jaxae.training.checkpoint reads it"
    kind = type(resume).__name__
    require(resume is None or isinstance(resume, Progress), "resume", kind, gone_on)
    loop = Loop(epochs, max_skipped, patience, progress, stop)
    loop.check(callbacks, batch_size, accumulate)
    ensure(start is None or resume is None, "start must be left out with resume")
    done = 0 if resume is None else int(resume.state.step)
    earlier = start if resume is None else resume.best.model
    if isinstance(earlier, Model):
        recipe = with_scale_of(recipe, earlier.recipe)
    recipe, data = fit_scale(recipe, data, done)
    plan = Plan(
        recipe if start is None else begun(recipe, start),
        default_optimizer() if tx is None else tx,
        Parallel(default_mesh(), replicated) if parallel is None else parallel,
        accumulate,
        remat,
    )
    runner = _runner(plan, data, batch_size, steps_per_epoch, done)
    judged = validation is not None
    monitor = choose_monitor(
        monitor, recipe, plan.tx, runner.example, judged, callbacks
    )
    key_init, key_validation = jax.random.split(key)
    steps = runner.steps and epochs * runner.steps
    validate = make_validator(plan, validation, key_validation, batch_size, steps)
    if resume is None:
        given = None if start is None else jax.device_get(local(start.variables))
        state = init_program(plan.split()[0])(runner.example, key_init, given)
        resume = Progress(state, Best(copy_model(trained_model(recipe, state))))
    else:  # a copy, as the epochs donate it
        mesh, layout, _ = plan.parallel
        resume = resume._replace(state=place(resume.state, mesh, layout))

    def epoch(state: TrainState) -> tuple[TrainState, list[Row]]:
        state, row = runner.epoch(state)
        return state, [row | validate(state)]

    members = [Member(recipe, resume, monitor, callbacks)]
    (result,) = run_epochs(loop, members, resume.state, epoch, lambda state: [state])
    if result.best_epoch == 0:
        last = result.history[-1]
        remedy = f"if the data are not about 0 to 1 in size, {SCALE}Standardize())"
        raise TrainingDiverged(f"no epoch had a finite {monitor}: {last}; {remedy}")
    return result


def _runner(
    plan: Plan,
    data: Any,
    batch_size: int,
    steps_per_epoch: int | None,
    done: int,
) -> Runner:
    if is_array_data(data):
        ensure(
            steps_per_epoch is None,
            "steps_per_epoch must be left out for an array, whose epoch is one pass",
        )
        return array_runner(plan, data, batch_size)
    if callable(data):
        steps_per_epoch = steps_per_epoch or getattr(data, "steps_per_epoch", None)
        data = called(data, done)
    return stream_runner(plan, data, steps_per_epoch)


def make_validator(
    plan: Plan, validation: Any, key: jax.Array, batch_size: int, steps: int | None
) -> Callable[[TrainState], Row]:
    """The function state -> {"validation_...": mean}; of nothing without data.

    Scheduled weights have their values at the last of `steps`, where they are known, so
    that epochs can be compared: early in a warm-up of beta a loss is low only because
    the rate costs nothing yet.
    """
    if validation is None:
        return lambda state: {}
    data = place_data(plan.recipe, validation, plan.parallel.mesh, "validation")
    bare, numbers = plan.split()
    program = validation_program(bare, batch_size)

    def validate(state: TrainState) -> Row:
        at = state.step if steps is None else jnp.asarray(steps - 1, jnp.int32)
        means = jax.device_get(program(state, at, data, key, numbers))
        return {f"validation_{k}": float(v) for k, v in means.items()}

    return validate
