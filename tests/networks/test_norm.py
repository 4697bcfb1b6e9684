"""Batch normalisation against linen's, against repetition, and outside training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxae import networks, recipes
from jaxae.networks.norm import MOMENTUM, BatchNorm
from jaxae.training import init_state, make_train_step
from jaxae.training.loss import batch_loss

KEY = jax.random.key(0)


def noise(shape, seed=0, offset=0.0):
    values = np.random.default_rng(seed).normal(size=shape) + offset
    return jnp.asarray(values, jnp.float32)


def shaken(variables):
    params = variables["params"]
    moved = {
        name: jnp.asarray(np.asarray(p) + np.asarray(noise(p.shape, 7)))
        for name, p in params.items()
    }
    return {**variables, "params": moved}


@pytest.mark.parametrize("shape", [(6, 3), (4, 2, 5, 3)])
@pytest.mark.parametrize("train", [True, False])
def test_it_is_linens_without_weights(shape, train):
    x, pull = noise(shape, offset=2.0), noise(shape, 1)
    theirs = nn.BatchNorm(use_running_average=not train)
    variables = shaken(jax.jit(BatchNorm().init)(KEY, x))
    mass = variables["batch_stats"].pop("mass")
    assert mass == 0.0
    expected = jax.eval_shape(theirs.init, KEY, x)
    jax.tree.map(
        lambda a, b: np.testing.assert_equal(a.shape, b.shape), variables, expected
    )

    def run(apply, statistics):
        def loss(params, x):
            values = {"params": params, "batch_stats": statistics}
            y, _ = apply(values, x, mutable=["batch_stats"])
            return (y * pull).sum(), y

        gradients = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
        return gradients(variables["params"], x)

    kept = variables["batch_stats"]
    own = run(partial(BatchNorm().apply, train=train), {**kept, "mass": mass})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        own,
        run(theirs.apply, kept),
    )


def test_weights_are_repetition_and_nothing_else_of_an_example_counts():
    counts = np.asarray([2, 0, 1, 3])
    weight = jnp.asarray(counts, jnp.float32)
    x, pull = noise((4, 2, 2, 3), offset=2.0), noise((4, 2, 2, 3), 1)
    module = BatchNorm()
    variables = shaken(jax.jit(module.init)(KEY, x))

    @jax.jit
    def run(x, pull, weight):
        def loss(params):
            values = {**variables, "params": params}
            y, new = module.apply(
                values, x, train=True, weight=weight, mutable=["batch_stats"]
            )
            scale = 1.0 if weight is None else weight[:, None, None, None]
            return (y * pull * scale).sum(), (y, new)

        return jax.grad(loss, has_aux=True)(variables["params"])

    x, pull = np.asarray(x), np.asarray(pull)
    grads, (y, new) = jax.device_get(run(x, pull, weight))
    rows = np.repeat(np.arange(4), counts)
    expected_grads, (repeated, expected) = run(x[rows], pull[rows], None)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(y[rows], repeated)
    jax.tree.map(close, (grads, new), (expected_grads, expected))
    far = x.copy()
    far[1] = 1e3
    other = run(far, pull, weight)
    jax.tree.map(np.testing.assert_array_equal, (other[0], other[1][1]), (grads, new))
    nothing = run(x, pull, np.zeros(4, np.float32))[1][1]["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, nothing, variables["batch_stats"])


def test_running_moments_are_those_of_the_batches_alone():
    module, batches = BatchNorm(), [noise((16, 3), i, 5.0) for i in range(4)]
    variables = jax.jit(partial(module.init, train=True))(KEY, batches[0])
    apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
    for x in batches:
        _, new = apply(variables, x)
        variables = {**variables, **new}
    share = MOMENTUM ** np.arange(4)[::-1] / (MOMENTUM ** np.arange(4)).sum()
    for name, moment in (("mean", np.mean), ("var", np.var)):
        each = np.stack([moment(np.asarray(x, np.float64), axis=0) for x in batches])
        np.testing.assert_allclose(
            variables["batch_stats"][name], share @ each, rtol=1e-5
        )


def test_the_error_outside_training_is_that_in_training_after_100_steps():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 36))
    x = jnp.asarray(1.0 / (1.0 + np.exp(-low)), jnp.float32)
    network = networks.FullyConnected((64,), batch_norm=True)
    recipe = recipes.autoencoder((36,), 3, network=network)
    tx = optax.adam(3e-3)
    step = make_train_step(recipe, tx)

    @jax.jit
    def train(state):
        def body(state, i):
            return step(state, {"x": x.reshape(20, 20, 36)[i % 20]})

        return jax.lax.scan(body, state, jnp.arange(100))[0]

    @partial(jax.jit, static_argnums=1)
    def error(state, training):
        found = batch_loss(
            recipe, state.params, state.collections, {"x": x}, KEY, state.step, training
        )
        return 2.0 * found[0] / 36 - jnp.log(2.0 * jnp.pi)

    state = train(jax.jit(partial(init_state, recipe, tx))({"x": x[:2]}, KEY))
    inside, outside = error(state, True), error(state, False)
    assert inside < 0.5 * x.var()
    assert 0.7 < outside / inside < 1.3
