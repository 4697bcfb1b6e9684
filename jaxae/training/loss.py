"""The mean loss of a batch: what the train step differentiates."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Mapping, Sequence

import jax
from jaxtyping import Array
from numpyro.distributions import Distribution

from jaxae.averages import weighted_mean
from jaxae.errors import ensure
from jaxae.models.family import call
from jaxae.networks.remat import KEEP_LAYERS
from jaxae.objectives.base import loss_of
from jaxae.recipe import Recipe
from jaxae.training.batch import (
    DROPOUT,
    MODEL,
    OBJECTIVE,
    model_batch,
)
from jaxae.types import Batch, Context, Latent, Observed, Params, Trace, Variables

Metrics = Mapping[str, Array]
Aux = tuple[Metrics, Variables, Observed]

OF_THE_EPOCH = ("epoch", "seconds", "examples_per_second")
"""What every row of the history has beside means."""

_OF_TRAINING = ("loss", "grad_norm", "weight", "skipped_steps", *OF_THE_EPOCH)


def batch_loss(
    recipe: Recipe,
    params: dict[str, Params],
    collections: Variables,
    batch: Batch,
    key: jax.Array,
    step: Array,
    train: bool = True,
    remat: bool = False,
) -> tuple[Array, Aux]:
    """The mean loss of a stored batch, with (mean metrics, new collections, seen)."""
    seen = model_batch(recipe, batch, key)

    def apply(variables: Variables, seen: Batch) -> tuple[Trace, Variables]:
        return recipe.module.apply(
            variables,
            seen,
            jax.random.fold_in(key, MODEL),
            num_samples=recipe.num_samples,
            train=train,
            mutable=list(collections) if train else [],
            rngs={"dropout": jax.random.fold_in(key, DROPOUT)} if train else None,
        )

    if remat:
        apply = jax.checkpoint(apply, policy=KEEP_LAYERS)
    variables = {"params": params["model"], **collections}
    trace, new_collections = apply(variables, seen)
    key_objective = jax.random.fold_in(key, OBJECTIVE)
    context = _context(recipe, params, collections, seen, key_objective, step)
    loss, metrics = loss_of(recipe.objective, params["objective"], trace, context)
    metrics = _together(recipe, latent_metrics(trace.latents), metrics)
    weight = seen.get("weight")
    means = {name: weighted_mean(value, weight) for name, value in metrics.items()}
    info = {k: v for latent in trace.latents for k, v in latent.info.items()}
    observed = Observed(seen, loss, info)
    return weighted_mean(loss, weight), (means, new_collections, observed)


def _together(recipe: Recipe, kept: Metrics, logged: Metrics) -> Metrics:
    """The metrics of the latents and those of the objective.

    Raises:
        ValueError: Two have the same name, or one has that of a number of training's.
    """
    by, both = f"{recipe.objective!r:.300}", {**kept, **logged}
    twice = sorted(kept.keys() & logged.keys())
    ensure(not twice, f"latents and {by} must log different metrics, twice: {twice}")
    own = [k for k in both if k in _OF_TRAINING or k.startswith("validation_")]
    names = f"{', '.join(_OF_TRAINING)} or validation_..., as training calls its own"
    ensure(not own, f"a metric must not be called {names}, got {own} beside {by}")
    return both


def latent_metrics(latents: Sequence[Latent]) -> dict[str, Array]:
    """What the bottlenecks log; with the number of the latent if there are several."""
    several = len(latents) > 1
    return {
        f"{name}_{i}" if several else name: value
        for i, latent in enumerate(latents, start=1)
        for name, value in latent.metrics.items()
    }


def _context(
    recipe: Recipe,
    params: dict[str, Params],
    collections: Variables,
    seen: Batch,
    key: jax.Array,
    step: Array,
) -> Context:
    """What objectives may call: the model as a function of its parameters."""

    def encode(params: Params, inputs: Array) -> tuple[Latent, ...]:
        variables = {"params": params, **collections}
        return call(
            recipe.module, variables, {**seen, "inputs": inputs}, key, method="encode"
        )

    def decode(params: Params, codes: tuple[Array, ...]) -> Distribution:
        variables = {"params": params, **collections}
        return call(recipe.module, variables, codes, seen, method="decode")

    return Context(key, step, seen, params["model"], encode, decode)
