"""The one train step: weights, skipped updates, keys, and every way to map it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxae import Objective, make_train_step, networks, objectives, recipes
from jaxae.training import init_state

DEVICES = 8


def images(count, shape=(4,), seed=0):
    values = np.random.default_rng(seed).uniform(size=(count, *shape))
    return jnp.asarray(np.float32(values))


class Family:
    """A recipe and an optimizer, each compiled once for all tests."""

    def __init__(self, recipe, tx):
        self.recipe, self.tx = recipe, tx
        self.init = jax.jit(partial(init_state, recipe, tx))
        self.step = jax.jit(make_train_step(recipe, tx))

    def start(self, batch, key=0):
        # Only the shape of one example matters.
        return self.init({"x": batch["x"][:2]}, jax.random.key(key))


CLASSIC = Family(
    recipes.autoencoder((4,), 2, network=networks.FullyConnected((3,))), optax.sgd(0.1)
)
# Every source of noise and every collection that there is.
NOISY = Family(
    recipes.vae((4,), 2, network=networks.FullyConnected((3,), batch_norm=True)),
    optax.sgd(0.05),
)
_CONV = networks.Convolutional((4,), batch_norm=True, residual_blocks=1)
CONV = Family(recipes.autoencoder((8, 8, 1), 2, network=_CONV), optax.sgd(0.01))


def assert_close(a, b, atol):
    def check(path, x, y):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=0, atol=atol, err_msg=name)

    jax.tree_util.tree_map_with_path(check, a, b)


def plain(state):
    """Without the key, which numpy cannot hold."""
    return state._replace(key=jax.random.key_data(state.key))


def test_weights_give_the_weighted_mean():
    x, weight = images(3), jnp.asarray([2.0, 0.0, 1.0])
    state = CLASSIC.start({"x": x})
    by_weight, metrics = CLASSIC.step(state, {"x": x, "weight": weight})
    by_copies, expected = CLASSIC.step(state, {"x": np.asarray(x)[[0, 0, 2]]})
    assert_close(metrics, expected, 1e-5)
    assert_close(by_weight.params, by_copies.params, 1e-6)


def test_an_update_that_is_not_finite_changes_nothing():
    batch = {"x": images(6)}

    class Poison(Objective):
        def init(self, key, trace):
            return jnp.ones(())

        def loss(self, params, trace, context):
            # Step 1: the loss is NaN. Step 2: it is finite and its gradient is not.
            itself = jax.lax.stop_gradient(params)
            fine = jnp.sqrt(params - jnp.where(context.step == 2, itself, 0.0))
            bad = jnp.where(context.step == 1, jnp.nan, 0.0)
            return jnp.full(trace.target.shape[0], fine + bad), {}

    objective = objectives.Chain((NOISY.recipe.objective, Poison()))
    family = Family(NOISY.recipe.replace(objective=objective), optax.adam(1e-2))
    states, losses = [family.start(batch)], []
    for _ in range(4):
        state, metrics = family.step(states[-1], batch)
        states.append(state)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).tolist() == [True, False, True, True]
    assert [int(state.skipped_in_row) for state in states] == [0, 0, 1, 2, 0]
    assert [int(state.step) for state in states] == [0, 1, 2, 3, 4]
    applied, skipped, again = states[1], states[3], states[4]
    for name in ("params", "collections", "opt_state"):
        assert_close(getattr(applied, name), getattr(skipped, name), 0)
        leaves = jax.tree.leaves(getattr(again, name))
        before = jax.tree.leaves(getattr(skipped, name))
        pairs = zip(*map(jax.device_get, (leaves, before)), strict=True)
        changed = [(a != b).any() for a, b in pairs]
        assert all(changed), name


def test_the_key_decides_everything():
    batch = {"x": images(6)}
    results = [NOISY.step(NOISY.start(batch, key), batch) for key in (0, 0, 1)]
    (same, loss), (twin, twin_loss), (other, other_loss) = results
    assert_close(plain(same), plain(twin), 0)
    assert float(loss["loss"]) == float(twin_loss["loss"])
    assert float(loss["loss"]) != float(other_loss["loss"])
    kernel = ("model", "encoder", "Dense_0", "kernel")
    a, b = (pick(state.params, kernel) for state in (same, other))
    assert (a != b).any()


def pick(tree, path):
    for name in path:
        tree = tree[name]
    return tree


def test_two_steps_draw_different_noise():
    batch = {"x": images(6)}
    state = NOISY.start(batch)
    later = state._replace(step=state.step + 1)
    (_, first), (_, second) = NOISY.step(state, batch), NOISY.step(later, batch)
    assert float(first["loss"]) != float(second["loss"])


@pytest.mark.parametrize(("family", "shape"), [(NOISY, (4,)), (CONV, (8, 8, 1))])
@pytest.mark.slow
def test_numbers_do_not_depend_on_the_device_count(family, shape):
    assert jax.device_count() == DEVICES
    batch = {"x": images(16, shape)}
    state = family.start(batch)
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    alone = jax.device_put((state, batch), jax.devices()[0])
    spread = jax.device_put(state, everywhere), jax.device_put(batch, split)
    results = []
    for state, batch in (alone, spread):
        for _ in range(20):
            state, metrics = family.step(state, batch)
        results.append((state, metrics))
    (one, one_metrics), (many, many_metrics) = results
    assert all(len(leaf.devices()) == DEVICES for leaf in jax.tree.leaves(many))
    start_params, end_params = (jax.tree.leaves(s.params) for s in (alone[0], one))
    moved = max(
        float(abs(a - b).max()) for a, b in zip(start_params, end_params, strict=True)
    )
    assert moved > 1e-2
    assert_close(one.params, many.params, 1e-5)
    assert_close(one.collections, many.collections, 1e-5)
    np.testing.assert_allclose(one_metrics["loss"], many_metrics["loss"], rtol=1e-5)


def pmapped(family, steps, **fields):
    """The state on every device after `steps`, and the one that all began with."""
    batch = {"x": images(2 * DEVICES), **fields}
    state = family.start(batch)
    shards = {
        k: np.asarray(v).reshape(DEVICES, 2, *v.shape[1:]) for k, v in batch.items()
    }
    step = make_train_step(family.recipe, family.tx, axis_name="devices")
    step = jax.pmap(step, axis_name="devices")
    states = jax.jit(jax.vmap(lambda _: state))(np.arange(DEVICES))
    for _ in range(steps):
        states, metrics = step(states, shards)
    return states, metrics, state, batch


def test_devices_under_pmap_stay_in_sync():
    states, metrics, begin, _ = pmapped(NOISY, 3)
    assert np.isfinite(metrics["loss"]).all()
    for leaf in jax.tree.leaves((plain(states), metrics)):
        leaf = np.asarray(leaf)
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    kernel = ("model", "encoder", "Dense_0", "kernel")
    assert (pick(states.params, kernel)[0] != pick(begin.params, kernel)).any()


def test_pmap_without_noise_is_the_step_on_the_whole_batch():
    states, metrics, state, batch = pmapped(CLASSIC, 2)
    for _ in range(2):
        state, expected = CLASSIC.step(state, batch)
    first = partial(jax.tree.map, lambda leaf: np.asarray(leaf)[0])
    assert_close(first(states.params), state.params, 1e-6)
    assert_close(first(metrics), expected, 1e-5)


def test_devices_under_pmap_count_by_weight():
    weight = jnp.asarray([0.0] * 4 + [3.0, 0.5] + [0.0, 1.0] * 5)
    states, metrics, state, batch = pmapped(CLASSIC, 2, weight=weight)
    for _ in range(2):
        state, expected = CLASSIC.step(state, batch)
    first = partial(jax.tree.map, lambda leaf: np.asarray(leaf)[0])
    assert_close(first(states.params), state.params, 1e-6)
    assert_close(first(metrics), expected, 1e-5)


def test_a_batch_without_weight_leaves_statistics_under_pmap():
    weight = jnp.asarray(np.zeros(2 * DEVICES, np.float32))
    states, metrics, state, _ = pmapped(NOISY, 1, weight=weight)
    found = jax.tree.map(lambda leaf: np.asarray(leaf)[0], states.collections)
    assert_close(found, state.collections, 0)
    assert (metrics["loss"] == 0).all()


@pytest.mark.slow
def test_vmap_over_keys_trains_several_seeds():
    batch = {"x": images(6)}
    begin = {"x": batch["x"][:2]}
    keys = jax.random.split(jax.random.key(5), 3)
    states = jax.jit(jax.vmap(NOISY.init, in_axes=(None, 0)))(begin, keys)
    each = jax.jit(jax.vmap(NOISY.step, in_axes=(0, None)))
    for _ in range(3):
        states, metrics = each(states, batch)
    assert len(set(metrics["loss"].tolist())) == 3
    for i in range(3):
        state = NOISY.init(begin, keys[i])
        for _ in range(3):
            state, expected = NOISY.step(state, batch)
        own = jax.tree.map(lambda leaf, i=i: leaf[i], states)
        assert_close(plain(own), plain(state), 1e-6)
        assert float(metrics["loss"][i]) == pytest.approx(float(expected["loss"]), 1e-6)
