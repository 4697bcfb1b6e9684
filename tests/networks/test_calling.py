"""Networks of users' own: with or without `train` and `weight`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxae
from jaxae import recipes
from jaxae.networks.calling import call_network
from jaxae.training import init_state

KEY = jax.random.key(0)


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.reshape(x.shape[0], -1))


class Noisy(nn.Module):
    """Dropout needs to know whether this is training."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z, train):
        z = nn.Dropout(0.5, deterministic=not train)(nn.Dense(16)(z))
        return nn.Dense(np.prod(self.shape))(z).reshape(-1, *self.shape)


class Reshape(nn.Module):
    shape: tuple[int, ...]

    def __call__(self, x):
        return x.reshape(-1, *self.shape)


class Sum(nn.Module):
    """x + train + weight, and 100 for what it has no name for."""

    @nn.compact
    def __call__(self, x, *, weight=None, train=False, **others):
        return (
            x + float(train) + (0.0 if weight is None else weight) + 100 * len(others)
        )


def test_only_what_the_network_names_is_passed():
    x, weight = jnp.zeros(2), jnp.asarray([1.0, 2.0])
    call = partial(call_network, Sum().bind({}), x)
    np.testing.assert_array_equal(call(weight=weight, unknown=1), weight)
    np.testing.assert_array_equal(call(train=True, unknown=1), [1.0, 1.0])
    # A transformed class has the signature of the one that it wraps.
    remat = nn.remat(Sum)().bind({})
    np.testing.assert_array_equal(call_network(remat, x, weight=weight, no=1), weight)
    # It would hand both to its first layer.
    pair = nn.Sequential((jnp.sin, jnp.cos)).bind({})
    np.testing.assert_array_equal(call_network(pair, x, train=True), [1.0, 1.0])


def sequential(shape):
    outputs = nn.Dense(int(np.prod(shape)))
    return nn.Sequential((nn.Dense(8), nn.relu, outputs, Reshape(shape)))


@pytest.mark.parametrize(
    "network",
    [(nn.Sequential((Plain(), nn.relu)), sequential), (Plain(), Noisy)],
    ids=["Sequential", "modules"],
)
def test_a_users_networks_train_and_are_used(network):
    recipe = recipes.vae((4, 4, 1), 2, network=network, likelihood="gaussian")
    x = np.random.default_rng(0).uniform(size=(8, 4, 4, 1)).astype(np.float32)
    data = {"x": x, "weight": np.arange(8) % 2}
    fitted = jaxae.fit(recipe, data, key=KEY, epochs=1, batch_size=4, progress=False)
    assert np.isfinite(fitted.history[0]["loss"])
    once, again = (jaxae.reconstruct(fitted.model, x) for _ in range(2))
    assert once.shape == x.shape
    np.testing.assert_array_equal(once, again)


class Slow(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.Conv(2, (3, 3))(x).reshape(x.shape[0], -1))


def test_slow_layers_of_a_users_network_are_named_on_the_cpu():
    networks = Slow(), jaxae.networks.FullyConnected((4,)).decoder
    recipe = jaxae.recipes.autoencoder((4, 4, 1), 2, network=networks)
    batch = {"x": np.ones((2, 4, 4, 1), np.float32)}
    with pytest.warns(UserWarning, match=r"Conv of flax.linen .*jaxae.networks.Conv"):
        init_state(recipe, optax.sgd(0.1), batch, KEY)
