"""Compiled programs of a training: made once in a process for equal recipes.

What `jax.jit` returns keeps what it compiled. So a second `fit` of an equal recipe with
the same optimizer, in a notebook or a grid search, finds its programs here.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array

from jaxae.recipe import Recipe
from jaxae.training.averaging import params_in_use
from jaxae.training.epoch import count_examples, make_epoch, make_validation
from jaxae.training.loss import Metrics
from jaxae.training.mapped import mapped_epoch, mapped_step
from jaxae.training.parallel import (
    DATA,
    Parallel,
    compile_step,
    divide,
    gather,
    on_mesh,
    shardings,
)
from jaxae.training.state import init_state
from jaxae.training.step import Step, make_train_step
from jaxae.types import Batch, TrainState, Variables

KEPT = 16
"""Trainings whose programs are kept, the latest ones."""


class Plan(NamedTuple):
    """What the programs of a training depend on, beside the shapes of the data."""

    recipe: Recipe
    tx: optax.GradientTransformation
    parallel: Parallel
    accumulate: int
    remat: bool

    def step(self) -> Step:
        """The train step, not yet compiled."""
        mesh, layout, mapped = self.parallel
        return make_train_step(
            self.recipe,
            self.tx,
            DATA if mapped else None,
            accumulate=self.accumulate,
            remat=self.remat,
            gather=gather(mesh, layout),
        )


@lru_cache(maxsize=1)
def default_optimizer() -> optax.GradientTransformation:
    """Adam at 1e-3: one object, so that trainings without an optimizer share it."""
    return optax.adam(1e-3)


@lru_cache(KEPT)
def init_program(plan: Plan) -> Any:
    """(example, key, start) -> a state, made where the layout puts it by all devices.

    `start` are another model's variables, of which those that fit are taken, or None.
    """
    mesh, layout, _ = plan.parallel

    def init(example: Batch, key: jax.Array, start: Variables | None) -> TrainState:
        state = init_state(plan.recipe, plan.tx, example, key, start)
        where = shardings(state, mesh, layout)
        return jax.lax.with_sharding_constraint(state, where)

    return jax.jit(init)


@lru_cache(KEPT)
def epoch_program(plan: Plan, batch_size: int) -> Any:
    """(state, data) -> (state, mean metrics): a pass over arrays."""
    mesh, layout, mapped = plan.parallel
    if mapped:
        return mapped_epoch(plan.step(), batch_size, mesh)
    epoch = make_epoch(on_mesh(plan.step(), mesh, layout), batch_size)
    return jax.jit(epoch, donate_argnums=0)


@lru_cache(KEPT)
def batch_programs(plan: Plan) -> tuple[Callable[..., Any], Any, Callable[..., Any]]:
    """What becomes of the state before an epoch, with a batch, and after the epoch."""
    mesh, layout, mapped = plan.parallel
    if mapped:
        return mapped_step(plan.step(), mesh)
    return _same, compile_step(count_examples(plan.step()), mesh, layout), _same


def _same(state: TrainState) -> TrainState:
    return state


@lru_cache(KEPT)
def validation_program(plan: Plan, batch_size: int) -> Any:
    """(state, step, data, key) -> mean metrics, with weights as scheduled at `step`."""
    mesh, layout, _ = plan.parallel
    mean = make_validation(plan.recipe, batch_size, partial(divide, mesh=mesh))
    gathered = gather(mesh, layout)

    @jax.jit
    def validate(
        state: TrainState, step: Array, data: Batch, key: jax.Array
    ) -> Metrics:
        params = gathered(params_in_use(state))
        return mean(params, state.collections, step, data, key)

    return validate
