"""Many trainings at once in one program: seeds, and values of a scalar."""

from __future__ import annotations  # help() shows names, not types

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.checks import check_keys
from jaxae.errors import ensure, kind_of, require
from jaxae.inputs import check_recipe
from jaxae.recipe import Model, Recipe
from jaxae.training.averaging import params_in_use
from jaxae.training.batch import like_few_of
from jaxae.training.epoch import make_epoch, make_validation
from jaxae.training.loop import (
    Best,
    Epoch,
    Fit,
    Loop,
    Member,
    Progress,
    run_epochs,
)
from jaxae.training.loss import Metrics
from jaxae.training.monitor import choose_monitor
from jaxae.training.parallel import DATA, default_mesh, make_mesh
from jaxae.training.placement import local, place_data
from jaxae.training.runners import Row, as_row, is_array_data, timed
from jaxae.training.scale import fit_scale, with_scale_of
from jaxae.training.start import begun, unstarted
from jaxae.training.state import init_state, trained_model
from jaxae.training.step import make_train_step
from jaxae.types import AnyArray, Batch, TrainState, Variables

Build = Callable[[Any], tuple[Recipe, optax.GradientTransformation]]
"""From a member's value to its recipe and optimizer. While training the value is traced
by JAX: the numbers of a recipe may follow from it, shapes and choices may not."""


def fit_many(
    build: Build,
    data: Any,
    *,
    keys: jax.Array,
    values: Any = None,
    epochs: int = 10,
    batch_size: int = 100,
    validation: Any = None,
    monitor: str | None = None,
    callbacks: Sequence[Callable[[int, Epoch], None]] = (),
    max_skipped: int = 10,
    patience: int | None = None,
    progress: bool = True,
    mesh: Mesh | None = None,
    accumulate: int = 1,
    remat: bool = False,
    start: Model | None = None,
    resume: Sequence[Progress] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Fit]:
    """Trains S models at once, each as `fit` trains one, to rounding.

    By `vmap`, so that a step of the one program is a step of all of them; on a CPU,
    which one model keeps busy, they take turns in it. Where there are several devices
    the models are dealt out to them, and nothing travels between devices.

    Args:
        build: A member's value -> (recipe, tx).
        data: An array or a mapping, as for `fit`.
        keys: [S] typed keys, such as `jax.vmap(jax.random.key)(jnp.arange(8))`.
        values: Arrays [S, ...], in any tree: what `build` gets, of every member its
            own. None where the members differ in their keys alone.
        epochs: Passes over the data.
        batch_size: Examples per step.
        validation: An array or a mapping, to judge every epoch by.
        monitor: The metric that the best epoch has least of, see `fit`.
        callbacks: Called with (number of the member from 0, its epoch).
        max_skipped: Updates in a row that are not finite, in every member, before
            training gives up.
        patience: Epochs in a row that are better for no member after which training
            ends.
        progress: Report every epoch, by the means over the members.
        mesh: The devices. None for all, or the one that `jax.default_device` names;
            as many are used as divide S.
        accumulate: Parts that a batch goes through the model in.
        remat: Compute activations again for the backward pass.
        start: A model that all members begin with, as far as it fits, see `fit`.
        resume: Go on from there, one for every member, all after the same epoch.
        stop: Asked after every epoch whether to end early.

    Returns:
        In the order of the keys. A member whose monitored metric was never finite has
        0 as its best epoch, and its first model.

    Raises:
        ValueError: An argument or the data are not as they must be.
        TrainingDiverged: In all members `max_skipped` updates in a row were not finite.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> import optax
        >>> def build(beta):
        ...     recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2, beta=beta)
        ...     return recipe, optax.adam(1e-3)
        >>> fits = jaxae.fit_many(
        ...     build, x, keys=jax.vmap(jax.random.key)(np.arange(2)),
        ...     values=np.array([0.5, 2.0], np.float32), epochs=1, progress=False
        ... )
        >>> [fitted.model.recipe.objective for fitted in fits]
        [objectives.ELBO(beta=0.5), objectives.ELBO(beta=2.0)]
    """
    count = check_keys(keys)
    loop = Loop(epochs, max_skipped, patience, progress, stop)
    loop.check(callbacks, batch_size, accumulate)
    kind = kind_of(data)
    ensure(is_array_data(data), f"data must be an array or a mapping, got {kind}")
    hosts = jax.process_count()
    ensure(hosts == 1, f"many models are trained on one host, not on {hosts}")
    ensure(start is None or resume is None, "start must be left out with resume")
    built = _built(build, values, count)
    earlier = resume[0].best.model if resume else start
    build, recipes, data = _with_one_scale(build, built, data, earlier)
    if start is not None and begun(recipes[0], start) is not recipes[0]:
        build, recipes = _changed(build, unstarted), list(map(unstarted, recipes))
    mesh = _part_of(default_mesh() if mesh is None else mesh, count)
    data = place_data(recipes[0], data, mesh, "data")
    example = like_few_of(data)
    judged = validation is not None
    monitor = choose_monitor(monitor, recipes[0], built[0][1], example, judged)
    key_init, key_validation = jax.vmap(jax.random.split, out_axes=1)(keys)

    def train(value: Any, state: TrainState, data: Batch) -> tuple[TrainState, Metrics]:
        recipe, tx = build(value)
        step = make_train_step(recipe, tx, accumulate=accumulate, remat=remat)
        return make_epoch(step, batch_size)(state, data)

    steps = -(-data["x"].shape[0] // batch_size)
    one_pass = jax.jit(_dealt(train, mesh, shared=1), donate_argnums=1)
    one_pass = timed(one_pass, data["x"].shape[0])
    if judged:
        validation = place_data(recipes[0], validation, mesh, "validation")
    validate = _validator(build, validation, batch_size, epochs * steps, mesh)

    def epoch(state: TrainState) -> tuple[TrainState, list[Row]]:
        state, metrics, timing = one_pass(values, state, data)
        metrics |= validate(values, state, key_validation)
        rows = each(metrics, count)
        return state, [as_row(row) | timing for row in rows]

    def split(state: TrainState) -> Iterator[TrainState]:
        return (_member(state, i) for i in range(count))

    if resume is None:
        given = None if start is None else jax.device_get(local(start.variables))
        state = _fresh_states(build, values, key_init, example, given, mesh)
        firsts = zip(recipes, split(state), strict=True)
        resume = [Progress(own, Best(trained_model(r, own))) for r, own in firsts]
    else:
        state = _stack(_same_epoch(resume, count), mesh)
    members = [
        Member(recipe, own, monitor, [partial(callback, i) for callback in callbacks])
        for i, (recipe, own) in enumerate(zip(recipes, resume, strict=True))
    ]
    return run_epochs(loop, members, state, epoch, split)


def _built(
    build: Build, values: Any, count: int
) -> list[tuple[Recipe, optax.GradientTransformation]]:
    """What it makes of every member's value.

    Raises:
        ValueError: The values are of other members, or what is made is no such pair.
    """
    _check_values(values, count)
    member = "a function of a member's value, which returns a recipe and an optimizer"
    require(callable(build), "build", type(build).__name__, member)
    built = [build(value) for value in each(_as_numbers(values), count)]
    for made in built:
        pair = isinstance(made, tuple) and len(made) == 2
        pair = pair and isinstance(made[0], Recipe)
        ensure(pair, f"build must be {member}, it returned a {type(made).__name__}")
    return built


def _with_one_scale(
    build: Build,
    built: Sequence[tuple[Recipe, optax.GradientTransformation]],
    data: Any,
    earlier: Any,
) -> tuple[Build, list[Recipe], Any]:
    """With the scale of the data, or of an earlier model, in all recipes."""
    recipes = [recipe for recipe, _ in built]
    scaled = recipes[0]
    if isinstance(earlier, Model):
        scaled = with_scale_of(scaled, earlier.recipe)
    scaled, data = fit_scale(scaled, data)
    if scaled is not recipes[0]:
        prepare = scaled.prepare
        build = _changed(build, lambda recipe: recipe.replace(prepare=prepare))
        recipes = [recipe.replace(prepare=prepare) for recipe in recipes]
    for recipe in recipes:
        check_recipe(recipe)
    return build, recipes, data


def _same_epoch(resume: Sequence[Progress], count: int) -> list[TrainState]:
    """The members' states, which have come equally far."""
    require(len(resume) == count, "resume", len(resume), f"of {count} members")
    done = {own.epoch for own in resume}
    same = "resume must have all members after the same epoch"
    ensure(len(done) == 1, f"{same}, got epochs {sorted(done)}")
    return [own.state for own in resume]


def _changed(build: Build, change: Callable[[Recipe], Recipe]) -> Build:
    """What all members have in common, as the scale of the data."""

    def changed(value: Any) -> tuple[Recipe, optax.GradientTransformation]:
        recipe, tx = build(value)
        return change(recipe), tx

    return changed


def _as_numbers(values: Any) -> Any:
    """On the host, where a member's numbers become Python's: recipes are compared."""
    return jax.tree.map(np.asarray, values)


def _check_values(values: Any, count: int) -> None:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(values)]
    right = all(shape[:1] == (count,) for shape in shapes)
    require(right, "values", shapes, f"arrays [{count}, ...], a row for every member")


@jax.jit
def _member(state: TrainState, i: int | jax.Array) -> TrainState:
    return jax.tree.map(lambda x: x[i], state)


def each(tree: Any, count: int) -> list[Any]:
    """From arrays [S, ...] to S trees of arrays [...]; NumPy's scalars to numbers."""

    def row(x: Any, i: int) -> Any:
        return x[i].item() if isinstance(x[i], np.generic) else x[i]

    return [jax.tree.map(partial(row, i=i), tree) for i in range(count)]


def _part_of(mesh: Mesh, count: int) -> Mesh:
    """As many of the devices as divide the members evenly."""
    devices = list(mesh.devices.flat)
    return make_mesh(devices=devices[: math.gcd(count, len(devices))])


def _dealt(function: Callable[..., Any], mesh: Mesh, shared: int) -> Callable[..., Any]:
    """`function` for all members, each on its device; the last arguments are shared."""
    # One member keeps a CPU's cores busy, and its products are slower in batches: there
    # the members take turns, epoch by epoch; see `train.benchmark.seeds`.
    in_turns = mesh.devices.flat[0].platform == "cpu"

    def all_here(*arguments: Any) -> Any:
        own, same = arguments[:-shared], arguments[-shared:]
        if in_turns:
            return jax.lax.map(lambda own: function(*own, *same), own)
        return jax.vmap(lambda *own: function(*own, *same))(*own)

    def dealt(*arguments: Any) -> Any:
        own = len(arguments) - shared
        members = PartitionSpec(DATA)
        specs = (members,) * own + (PartitionSpec(),) * shared
        return jax.shard_map(
            all_here, mesh=mesh, in_specs=specs, out_specs=members, check_vma=False
        )(*arguments)

    return dealt


def _fresh_states(
    build: Build,
    values: Any,
    keys: jax.Array,
    example: Mapping[str, AnyArray],
    start: Variables | None,
    mesh: Mesh,
) -> TrainState:
    def init(value: Any, key: jax.Array, example: Batch, start: Any) -> TrainState:
        return init_state(*build(value), example, key, start)

    return jax.jit(_dealt(init, mesh, shared=2))(values, keys, example, start)


def _stack(states: Sequence[TrainState], mesh: Mesh) -> TrainState:
    def stack(states: Sequence[TrainState]) -> TrainState:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    # Wherever they are: a part of the devices may train them.
    stacked = jax.jit(stack)([local(state) for state in states])
    return jax.device_put(stacked, NamedSharding(mesh, PartitionSpec(DATA)))


def _validator(
    build: Build, data: Batch | None, batch_size: int, steps: int, mesh: Mesh
) -> Callable[[Any, TrainState, jax.Array], dict[str, Any]]:
    """(values, state, keys) -> {"validation_...": [S]}; of nothing without data."""
    if data is None:
        return lambda values, state, keys: {}

    def judge(value: Any, state: TrainState, key: jax.Array, data: Batch) -> Metrics:
        mean = make_validation(build(value)[0], batch_size)
        at = jnp.asarray(steps - 1, jnp.int32)
        return mean(params_in_use(state), state.collections, at, data, key)

    compiled = jax.jit(_dealt(judge, mesh, shared=1))

    def validate(values: Any, state: TrainState, keys: jax.Array) -> dict[str, Any]:
        means = jax.device_get(compiled(values, state, keys, data))
        return {f"validation_{name}": value for name, value in means.items()}

    return validate
