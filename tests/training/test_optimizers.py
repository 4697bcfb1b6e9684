"""Optimizers of any kind, averages of the weights, and ends by patience."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import networks, recipes
from jaxae.training import average_weights, init_state, make_train_step, trained_model
from jaxae.training.averaging import params_in_use

KEY, SHAPE = jax.random.key(0), (6,)
X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
NETWORK = networks.FullyConnected((8,))
VAE = recipes.vae(SHAPE, 2, network=NETWORK)
FACTOR = recipes.factor_vae(SHAPE, 2, network=NETWORK, hidden=(8,))
FIT = {"key": KEY, "epochs": 2, "batch_size": 20, "progress": False}


def start(recipe, tx):
    return jax.jit(partial(init_state, recipe, tx))({"x": X}, KEY)


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau(patience=1)),
        optax.polyak_sgd(),
        optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
        optax.MultiSteps(optax.adam(1e-3), 2).gradient_transformation(),
        optax.contrib.muon(1e-2),
    ],
    ids=["plateau", "polyak", "sam", "several steps", "muon"],
)
def test_optimizers_that_want_more_than_a_gradient(tx):
    fitted = jaxae.fit(VAE, X, tx=tx, **FIT)
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]


def test_the_loss_reaches_the_optimizer():
    """By Polyak's step length: (loss - 0) / |gradient|², at most 1."""
    tx = optax.polyak_sgd(max_learning_rate=1e6)
    state, plain = start(VAE, tx), start(VAE, optax.sgd(1.0))
    new, metrics = jax.jit(make_train_step(VAE, tx))(state, {"x": X})
    unit, _ = jax.jit(make_train_step(VAE, optax.sgd(1.0)))(plain, {"x": X})
    new, unit, state, metrics = jax.device_get(
        (new.params, unit.params, state.params, metrics)
    )
    length = metrics["loss"] / np.square(metrics["grad_norm"])
    moved, gradient = (
        jax.tree.map(np.subtract, each["model"], state["model"]) for each in (new, unit)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, length * b, rtol=1e-3, atol=1e-6),
        moved,
        gradient,
    )


def test_a_line_search_is_named_before_training():
    with pytest.raises(jaxae.ArgumentError, match=r"tx must take .*lbfgs.*value_fn"):
        jaxae.fit(VAE, X, tx=optax.lbfgs(), **FIT)


def test_an_optimizer_that_wants_the_objective_itself():
    with pytest.raises(jaxae.ArgumentError, match=r"tx must take .*obj_fn"):
        jaxae.fit(VAE, X, tx=optax.contrib.sophia(1e-3), **FIT)


@pytest.mark.parametrize("recipe", [VAE, FACTOR], ids=["one", "two players"])
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_the_average_is_that_of_the_steps(recipe, decay):
    tx = average_weights(optax.sgd(0.01), decay)
    state = start(recipe, tx)
    step, seen = jax.jit(make_train_step(recipe, tx)), []
    for _ in range(3):
        state, _ = step(state, {"x": X})
        seen.append(state.params)
    weights = decay ** np.arange(3)[::-1]

    def check(found, *each):
        expected = np.average(np.stack(each), axis=0, weights=weights)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    jax.tree.map(check, params_in_use(state)["model"], *[p["model"] for p in seen])
    model = trained_model(recipe, state)
    jax.tree.map(check, model.variables["params"], *[p["model"] for p in seen])


def test_what_is_validated_is_what_the_model_has():
    tx = average_weights(optax.adam(0.05), 0.9)
    recipe = recipes.autoencoder(SHAPE, 2, network=NETWORK)
    fitted = jaxae.fit(recipe, X, tx=tx, validation=X, **FIT)
    made = jaxae.reconstruct(fitted.model, X)
    best = fitted.history[fitted.best_epoch - 1]["validation_loss"]
    error = 0.5 * np.square(made - X).sum(axis=1).mean() + 3 * np.log(2 * np.pi)
    np.testing.assert_allclose(error, best, rtol=1e-5)


def test_schedule_free_models_have_its_average():
    tx = optax.contrib.schedule_free_adamw(0.01)
    fitted = jaxae.fit(VAE, X, tx=tx, **FIT | {"epochs": 1})
    expected = optax.contrib.schedule_free_eval_params(
        fitted.state.opt_state, fitted.state.params
    )
    params = fitted.model.variables["params"]
    jax.tree.map(np.testing.assert_array_equal, params, expected["model"])


def test_patience_ends_a_training_and_a_resumed_one():
    """At a learning rate of 0 no epoch is better than the first."""
    recipe = recipes.autoencoder(SHAPE, 2, network=NETWORK)
    options = {"validation": X, "tx": optax.sgd(0.0), "patience": 2}
    fitted = jaxae.fit(recipe, X, **FIT | options | {"epochs": 10})
    assert fitted.best_epoch == 1 and len(fitted.history) == 3
    whole = jaxae.fit(recipe, X, **FIT | options | {"epochs": 10, "patience": None})
    assert len(whole.history) == 10
    best = jaxae.training.loop.Best(fitted.model, 1, fitted.history[0]["loss"])
    start = jaxae.training.Progress(fitted.state, best, 3, fitted.history)
    again = jaxae.fit(recipe, X, resume=start, **FIT | options | {"epochs": 10})
    assert len(again.history) == 3
    with pytest.raises(jaxae.ArgumentError, match="patience must be a whole number"):
        jaxae.fit(recipe, X, **FIT | options | {"patience": 0})


def test_a_state_that_is_a_mapping_is_of_the_whole():
    """As that of an optimizer of one's own may be."""

    def init(params):
        return {"count": jnp.zeros((), jnp.int32)}

    def update(updates, state, params=None):
        return updates, {"count": state["count"] + 1}

    tx = optax.chain(optax.GradientTransformation(init, update), optax.sgd(0.1))
    own = optax.GradientTransformation(
        lambda params: dict(enumerate(tx.init(params))),
        lambda updates, state, params: (
            lambda new, states: (new, dict(enumerate(states)))
        )(*tx.update(updates, tuple(state.values()), params)),
    )
    found, expected = (jaxae.fit(VAE, X, tx=each, **FIT) for each in (own, tx))
    assert found.history[-1]["loss"] == expected.history[-1]["loss"]
