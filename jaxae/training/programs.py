"""Compiled programs of a training: made once in a process for equal recipes.

What `jax.jit` returns keeps what it compiled. So a second `fit` of an equal recipe with
the same optimizer, in a notebook or a grid search, finds its programs here. The numbers
of a recipe's scale, which follow from the data, are arguments of the programs.
"""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array

from jaxae.recipe import Recipe, join_numbers, split_numbers
from jaxae.training.averaging import params_in_use
from jaxae.training.epoch import count_examples, make_epoch, make_validation
from jaxae.training.initial import unscaled
from jaxae.training.loss import Metrics
from jaxae.training.mapped import mapped_epoch, mapped_step
from jaxae.training.parallel import (
    DATA,
    Parallel,
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

Numbers = Mapping[str, Any]
"""Those of a recipe's scale, by their names; none where it has none."""


class Plan(NamedTuple):
    """What the programs of a training depend on, beside the shapes of the data.

    They are made of a plan without numbers, see `split`.
    """

    recipe: Recipe
    tx: optax.GradientTransformation
    parallel: Parallel
    accumulate: int
    remat: bool

    def split(self) -> tuple[Plan, Numbers]:
        """The plan without the numbers of the recipe's scale, and these."""
        recipe, numbers = split_numbers(self.recipe)
        return self._replace(recipe=recipe), numbers

    def step(self, numbers: Numbers) -> Step:
        """The train step, not yet compiled."""
        mesh, layout, mapped = self.parallel
        return make_train_step(
            join_numbers(self.recipe, numbers),
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
        state = init_state(unscaled(plan.recipe), plan.tx, example, key, start)
        where = shardings(state, mesh, layout)
        return jax.lax.with_sharding_constraint(state, where)

    return jax.jit(init)


@lru_cache(KEPT)
def epoch_program(plan: Plan, batch_size: int) -> Any:
    """(state, data, numbers) -> (state, mean metrics): a pass over arrays."""
    mesh, layout, mapped = plan.parallel
    if mapped:
        return mapped_epoch(plan.step, batch_size, mesh)

    @partial(jax.jit, donate_argnums=0)
    def epoch(
        state: TrainState, data: Batch, numbers: Numbers
    ) -> tuple[TrainState, Metrics]:
        step = on_mesh(plan.step(numbers), mesh, layout)
        return make_epoch(step, batch_size)(state, data)

    return epoch


@lru_cache(KEPT)
def batch_programs(plan: Plan) -> tuple[Callable[..., Any], Any, Callable[..., Any]]:
    """What becomes of the state before an epoch, with a batch, and after the epoch.

    The one in the middle is (state, batch, numbers) -> (state, metrics).
    """
    mesh, layout, mapped = plan.parallel
    if mapped:
        return mapped_step(plan.step, mesh)

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, batch: Batch, numbers: Numbers
    ) -> tuple[TrainState, Metrics]:
        counted = count_examples(plan.step(numbers))
        return on_mesh(counted, mesh, layout)(state, batch)

    return _same, step, _same


def _same(state: TrainState) -> TrainState:
    return state


@lru_cache(KEPT)
def validation_program(plan: Plan, batch_size: int) -> Any:
    """(state, step, data, key, numbers) -> mean metrics.

    With weights as scheduled at `step`.
    """
    mesh, layout, _ = plan.parallel
    gathered = gather(mesh, layout)

    @jax.jit
    def validate(
        state: TrainState, step: Array, data: Batch, key: jax.Array, numbers: Numbers
    ) -> Metrics:
        recipe = join_numbers(plan.recipe, numbers)
        mean = make_validation(recipe, batch_size, partial(divide, mesh=mesh))
        params = gathered(params_in_use(state))
        return mean(params, state.collections, step, data, key)

    return validate
