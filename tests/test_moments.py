"""What an optimizer holds of parameters that were replaced."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import Objective, make_train_step, networks, recipes
from jaxae.hooks import reset_moments
from jaxae.training import init_state

PATH = ("model", "a", "codebook")
KEEP = np.float32([1.0, 0.0, 1.0, 0.0])[:, None]
ROWS = [1, 3]


def mean_of_params(decay):
    """Changes no update, and keeps a running mean of the parameters."""

    def update(updates, state, params):
        return updates, optax.incremental_update(params, state, 1.0 - decay)

    return optax.GradientTransformation(lambda params: params, update)


OPTIMIZERS = {
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1, weight_decay=0.0),
    "adagrad": optax.adagrad(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "lion": optax.lion(0.1, weight_decay=0.0),
    "schedule-free": optax.contrib.schedule_free_adamw(0.1),
    "prodigy": optax.contrib.prodigy(0.1),
    "ema": optax.chain(optax.ema(0.9), optax.sgd(0.1)),
    "mean": optax.chain(optax.adam(0.1), mean_of_params(0.9)),
    "nested": optax.MultiSteps(optax.chain(optax.clip(1.0), optax.adam(0.1)), 2),
}


@partial(jax.jit, static_argnums=0)
def steps(tx, params, state, grads):
    """From the first state if there is none."""
    state = tx.init(params) if state is None else state
    for grad in grads:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replaced_rows_are_as_at_the_start_and_others_as_they_were(name):
    tx, rng = OPTIMIZERS[name], np.random.default_rng(0)

    def values():
        draw = np.float32(rng.normal(size=(4, 2)))
        return {"model": {"a": {"codebook": draw}, "codebook": draw + np.float32(1)}}

    params, state = steps(tx, values(), None, [values() for _ in range(3)])
    old = np.asarray(params["model"]["a"]["codebook"])
    new = np.where(KEEP > 0, old, np.float32(7))
    params["model"]["a"]["codebook"] = new

    @jax.jit
    def reset(state, params):
        fresh = tx.init(params)
        return reset_moments(state, PATH, jnp.asarray(KEEP), fresh), fresh

    after, fresh = reset(state, params)
    replaced = np.zeros((4, 2), bool)
    replaced[ROWS] = True
    count = 0

    def check(path, leaf, before, start):
        nonlocal count
        name = jax.tree_util.keystr(path)
        own = name.endswith("['a']['codebook']")
        count += own
        expected = np.where(replaced, start, before) if own else before
        np.testing.assert_array_equal(leaf, expected, err_msg=name)

    jax.tree_util.tree_map_with_path(check, after, state, fresh)
    assert count > 0
    # Without a gradient they stay, whatever was known of the old ones.
    nothing = jax.tree.map(np.zeros_like, params)
    still, _ = steps(tx, params, after, [nothing] * 4)
    rows = np.asarray(still["model"]["a"]["codebook"])[ROWS]
    np.testing.assert_allclose(rows, np.full((2, 2), 7.0), rtol=1e-6)


def test_a_step_tells_hooks_how_its_optimizer_starts():
    """Also that of a player with an optimizer of its own."""

    def hook(state, seen, key):
        del key
        bias = state.params["model"]["decoder"]["Dense_0"]["bias"]
        decoder = {"Dense_0": {**state.params["model"]["decoder"]["Dense_0"]}}
        decoder["Dense_0"]["bias"] = jnp.full_like(bias, 5.0)
        model = {**state.params["model"], "decoder": decoder}
        params = {**state.params, "model": model}
        path, all_of_it = ("model", "decoder", "Dense_0", "bias"), jnp.zeros(1)
        fresh = seen.fresh(params)
        opt_state = reset_moments(state.opt_state, path, all_of_it, fresh)
        return state._replace(params=params, opt_state=opt_state)

    recipe = recipes.autoencoder((4,), 2, network=networks.FullyConnected(()))
    plain = recipe.objective

    class Player(Objective):
        def init(self, key, trace):
            return jnp.ones(3)

        def loss(self, params, trace, context):
            return plain.loss({}, trace, context)[0] + jnp.square(params).sum(), {}

        def tx(self, main):
            return optax.sgd(0.1, momentum=0.9)

    recipe = recipe.replace(objective=Player(), hooks=(hook,))
    tx = optax.contrib.schedule_free_adamw(0.1)
    batch = {
        "x": jnp.asarray(np.random.default_rng(0).uniform(size=(6, 4)), jnp.float32)
    }
    state = jax.jit(partial(init_state, recipe, tx))(batch, jax.random.key(0))
    state, _ = jax.jit(make_train_step(recipe, tx))(state, batch)
    z = state.opt_state["model"].z["decoder"]["Dense_0"]
    np.testing.assert_array_equal(z["bias"], np.full(4, 5.0))
    assert (z["kernel"] != 5.0).all()
    assert state.opt_state["objective"][0].trace.any()
