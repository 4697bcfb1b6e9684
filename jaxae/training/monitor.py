"""The metric that the best epoch has least of, checked before the first epoch."""

from collections.abc import Callable, Mapping, Sequence

import jax
import optax

from jaxae.errors import ensure, unknown
from jaxae.recipe import Recipe
from jaxae.training.epoch import count_examples, make_validation, means
from jaxae.training.loop import Epoch, Watcher
from jaxae.training.loss import OF_THE_EPOCH, Metrics
from jaxae.training.state import init_state
from jaxae.training.step import make_train_step
from jaxae.types import AnyArray, Batch


def choose_monitor(
    monitor: str | None,
    recipe: Recipe,
    tx: optax.GradientTransformation,
    batch: Mapping[str, AnyArray],
    validated: bool,
    callbacks: Sequence[Callable[[Epoch], None]] = (),
) -> str:
    """The name of the metric: as given, or the recipe's, on validation data if any.

    Raises:
        ArgumentError: The training will have no such metric, or none that a callback
            watches.
    """
    losses = ("loss", "validation_loss")[: 1 + validated]
    if monitor is None:
        monitor = f"validation_{recipe.monitor}" if validated else recipe.monitor
    watched = [each.monitor for each in callbacks if isinstance(each, Watcher)]
    # The losses are always there: nothing has to be traced for them.
    if others := [name for name in (monitor, *watched) if name not in losses]:
        known = metric_names(recipe, tx, batch, validated)
        for name in others:
            check_monitor(name, known)
    return monitor


def check_monitor(monitor: str, known: Sequence[str]) -> None:
    """Raises ArgumentError unless there is such a metric, with the nearest that is."""
    ensure(monitor in known, unknown("monitor", monitor, known))


def metric_names(
    recipe: Recipe,
    tx: optax.GradientTransformation,
    batch: Mapping[str, AnyArray],
    validated: bool,
) -> list[str]:
    """What every row of the history will have, in order; nothing is computed."""

    def one_step(batch: Batch, key: jax.Array) -> tuple[Metrics, Metrics]:
        state = init_state(recipe, tx, batch, key)
        step = count_examples(make_train_step(recipe, tx))
        validation = make_validation(recipe, batch["x"].shape[0])
        judged = validation(state.params, state.collections, state.step, batch, key)
        return means(step(state, batch)[1]), judged

    trained, judged = jax.eval_shape(one_step, batch, jax.random.key(0))
    named = [f"validation_{name}" for name in judged] if validated else []
    return sorted([*OF_THE_EPOCH, *trained, *named])
