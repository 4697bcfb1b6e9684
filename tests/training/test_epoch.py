"""One pass: every example once, nothing padded, one trace, right means."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import Objective, fit, make_train_step, networks, recipes
from jaxae.networks.norm import MOMENTUM
from jaxae.training import init_state, make_epoch, make_validation

EXAMPLES, BATCH = 10, 4


class Ledger(Objective):
    """Writes down in which step every example was seen.

    Example i is the byte i. Row i of the objective's parameters gains (1, step + 1)
    each time that SGD with rate 1 meets the example; the model stays as it is.
    """

    traced: Callable[[int], object] = abs  # called with the size of a batch

    def init(self, key, trace):
        return jnp.zeros((EXAMPLES, 2))

    def loss(self, params, trace, context):
        size = trace.target.shape[0]
        self.traced(size)
        number = jnp.round(trace.target[:, 0] * 255).astype(jnp.int32)
        entry = jnp.stack([jnp.ones(()), context.step.astype(float) + 1.0])
        gain = (params[number] * entry[None]).sum(axis=-1)
        # The step takes the mean, so the sum over the batch is that times its size.
        return -size * gain, {"power": jnp.exp2(number.astype(jnp.float32))}


LEDGER = Ledger()


def ledger_recipe(objective=LEDGER):
    network = networks.FullyConnected((3,), batch_norm=True)
    recipe = recipes.autoencoder((1,), 2, network=network)
    return recipe.replace(objective=objective)


def numbers(count=EXAMPLES):
    return np.arange(count, dtype=np.float32)[:, None] / np.float32(255)


def start(recipe, key=0):
    init = jax.jit(partial(init_state, recipe, optax.sgd(1.0)))
    return init({"x": jnp.asarray(numbers())}, jax.random.key(key))


def ledger_of(state):
    return np.asarray(state.params["objective"])


@pytest.fixture(scope="module")
def passes():
    """The states before, between and after two passes, and their metrics."""
    recipe = ledger_recipe()
    epoch = jax.jit(make_epoch(make_train_step(recipe, optax.sgd(1.0)), BATCH))
    states, rows = [start(recipe)], []
    for _ in range(2):
        state, row = epoch(states[-1], {"x": jnp.asarray(numbers())})
        states.append(state)
        rows.append(row)
    return states, rows


def test_every_example_counts_once_per_pass(passes):
    states, _ = passes
    for done, state in enumerate(states):
        np.testing.assert_array_equal(ledger_of(state)[:, 0], done)


def test_the_last_step_has_the_remainder(passes):
    states, _ = passes
    seen_in = ledger_of(states[1])[:, 1]
    assert sorted(seen_in) == [1] * 4 + [2] * 4 + [3] * 2
    assert int(states[2].step) == 6


def test_every_pass_has_its_own_order(passes):
    states, _ = passes
    first = ledger_of(states[1])[:, 1]
    second = ledger_of(states[2])[:, 1] - first - 3
    assert sorted(second) == sorted(first)
    assert (second != first).any()


def test_means_are_over_the_examples(passes):
    # A sum of n powers of two is 2ⁿ - 1 only if each of 1, 2, 4 ... occurs once.
    for row in passes[1]:
        assert float(row["power"]) * EXAMPLES == pytest.approx(2**EXAMPLES - 1)
        assert float(row["skipped_steps"]) == 0


def test_batch_statistics_see_the_examples_only(passes):
    states, _ = passes
    seen_in = ledger_of(states[1])[:, 1]
    kernel = np.asarray(states[0].params["model"]["encoder"]["Dense_0"]["kernel"])
    h = [numbers()[seen_in == step] @ kernel for step in (1, 2, 3)]
    share = MOMENTUM ** np.asarray([2, 1, 0])
    mean = np.average([each.mean(axis=0) for each in h], axis=0, weights=share)
    variance = np.average([each.var(axis=0) for each in h], axis=0, weights=share)
    kept = states[1].collections["batch_stats"]["encoder"]["BatchNorm_0"]
    np.testing.assert_allclose(kept["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(kept["var"], variance, rtol=1e-5)


def test_fewer_examples_than_a_batch():
    recipe = ledger_recipe()
    epoch = jax.jit(make_epoch(make_train_step(recipe, optax.sgd(1.0)), 8))
    state, row = epoch(start(recipe), {"x": jnp.asarray(numbers(3))})
    np.testing.assert_array_equal(ledger_of(state)[:, 0], [1] * 3 + [0] * 7)
    assert float(row["power"]) * 3 == pytest.approx(7)


@pytest.mark.parametrize(("count", "sizes"), [(8, [4]), (10, [4, 2]), (3, [3])])
def test_arrays_are_traced_once_per_batch_shape(count, sizes):
    traces = []
    fit(
        ledger_recipe(Ledger(traces.append)),
        numbers(count),
        key=jax.random.key(0),
        epochs=3,
        batch_size=BATCH,
        progress=False,
    )
    assert traces == sizes


def test_streams_are_traced_once_per_batch_shape():
    traces = []
    batches = [numbers(4), numbers(2), numbers(4), numbers(2)]
    fit(
        ledger_recipe(Ledger(traces.append)),
        batches,
        key=jax.random.key(0),
        epochs=2,
        progress=False,
    )
    assert traces == [4, 2]


def test_validation_is_a_mean_over_the_examples_and_repeats():
    recipe = ledger_recipe()
    state, data = start(recipe), {"x": jnp.asarray(numbers())}
    by_size = []
    for batch_size in (4, 10):
        validate = jax.jit(make_validation(recipe, batch_size))
        arguments = (state.params, state.collections, state.step, data)
        means = [validate(*arguments, jax.random.key(1)) for _ in range(2)]
        assert means[0] == means[1]
        by_size.append(float(means[0]["power"]) * EXAMPLES)
    assert by_size == pytest.approx([2**EXAMPLES - 1] * 2)


def test_skipped_steps_are_counted_and_left_out_of_the_means():
    class Poisoned(Ledger):
        def loss(self, params, trace, context):
            loss, metrics = super().loss(params, trace, context)
            return loss + jnp.where(context.step == 1, jnp.nan, 0.0), metrics

    recipe = ledger_recipe(Poisoned())
    epoch = jax.jit(make_epoch(make_train_step(recipe, optax.sgd(1.0)), BATCH))
    state, row = epoch(start(recipe), {"x": jnp.asarray(numbers())})
    counted = ledger_of(state)[:, 0]
    assert sorted(counted) == [0] * 4 + [1] * 6
    assert float(row["skipped_steps"]) == 1
    expected = 2.0 ** np.flatnonzero(counted)
    assert float(row["power"]) == pytest.approx(expected.mean())
    assert np.isfinite(float(row["loss"]))
