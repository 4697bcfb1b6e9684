"""Critics: who gets which gradient, known density ratios, and the recipes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxae import fit, networks
from jaxae.errors import ArgumentError
from jaxae.objectives.adversarial import (
    AdversarialPrior,
    TotalCorrelationCritic,
    permute_dims,
)
from jaxae.recipes.adversarial import adversarial_autoencoder, factor_vae
from jaxae.training import init_state
from jaxae.training.loss import batch_loss
from jaxae.training.step import make_train_step
from jaxae.types import Context, Latent, Trace

IMAGES = np.random.default_rng(0).random((8, 2, 2, 1)).astype(np.float32)
SMALL = {"network": networks.FullyConnected((4,)), "hidden": (5,)}
TERMS = (TotalCorrelationCritic, AdversarialPrior)
RECIPES = (factor_vae, adversarial_autoencoder)


def _trace(z):
    return Trace(z[0], z[0], None, None, (Latent(z, z[0]),))


def _codes(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def _context(seed=0):
    return Context(jax.random.key(seed), jnp.asarray(0), {}, {}, None, None)


def _norm(tree):
    return np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize("make", RECIPES)
def test_gradients_are_separate(make):
    """Of the mean loss of a real recipe, for the model and for the objective."""
    batch = {"x": jnp.asarray(IMAGES)}

    @jax.jit
    def gradients(weight):
        recipe = make((2, 2, 1), 3, weight=lambda step: weight, **SMALL)
        state = init_state(recipe, optax.sgd(0.1), batch, jax.random.key(0))

        def value(params):
            rest = (state.collections, batch, jax.random.key(1), state.step)
            return batch_loss(recipe, params, *rest)[0]

        return jax.grad(value)(state.params)

    with_term, without = (jax.device_get(gradients(w)) for w in (2.0, 0.0))
    # The critic learns the same, however much the model is charged.
    jax.tree.map(
        np.testing.assert_array_equal, with_term["objective"], without["objective"]
    )
    assert _norm(with_term["objective"]) > 1e-3
    difference = jax.tree.map(np.subtract, with_term["model"], without["model"])
    assert _norm(difference["encoder"]) > 1e-4
    # The decoder has no part in it.
    jax.tree.map(
        np.testing.assert_array_equal,
        with_term["model"]["decoder"],
        without["model"]["decoder"],
    )


@pytest.mark.parametrize("term", TERMS)
def test_without_weight_the_codes_get_no_gradient(term):
    objective = term(0.0, hidden=(5,))

    @jax.jit
    @jax.value_and_grad
    def value(z):
        params = objective.init(jax.random.key(1), _trace(z))
        return objective.loss(params, _trace(z), _context())[0].mean()

    total, grad = value(_codes(2, 8, 3))
    np.testing.assert_array_equal(grad, 0.0)
    assert total == 0


class _GaussianRatio(nn.Module):
    """log p(z) - Σ_j log p(z_j) of two unit normals of correlation r, as two logits."""

    @nn.compact
    def __call__(self, z):
        r = self.param("r", nn.initializers.constant(0.8), ())
        x, y = z[..., 0], z[..., 1]
        quadratic = (x**2 - 2 * r * x * y + y**2) / (1 - r**2) - x**2 - y**2
        ratio = -0.5 * (jnp.log(1 - r**2) + quadratic)
        return jnp.stack([ratio, jnp.zeros_like(ratio)], axis=-1)


class _Optimal(TotalCorrelationCritic):
    @property
    def critic(self):
        return _GaussianRatio()


def test_the_optimal_critic_gives_the_total_correlation():
    noise = np.random.default_rng(0).normal(size=(1, 40000, 2))
    z = noise @ np.linalg.cholesky([[1, 0.8], [0.8, 1]]).T
    trace = _trace(jnp.asarray(z, jnp.float32))
    objective = _Optimal(1.0)
    params = jax.jit(objective.init)(jax.random.key(0), trace)

    @jax.jit
    def evaluated(params):
        return objective.loss(params, trace, _context())[1]

    metrics = jax.device_get(evaluated(params))
    expected = -0.5 * np.log(1 - 0.8**2)
    assert metrics["total_correlation_nats"].mean() == pytest.approx(expected, abs=0.02)

    @jax.jit
    @jax.value_and_grad
    def own(r):
        return evaluated({"r": r})["critic_loss"].mean()

    # The true ratio is where the critic's loss is least.
    (less, _), (least, slope), (more, _) = (own(r) for r in (0.6, 0.8, 0.9))
    assert params["r"] == np.float32(0.8)
    assert abs(slope) < 0.01
    assert less > least < more


def test_permuted_dimensions_keep_their_marginals():
    z = _codes(2, 50, 3)
    z, permuted = map(np.asarray, (z, jax.jit(permute_dims)(jax.random.key(1), z)))
    np.testing.assert_array_equal(np.sort(z, axis=1), np.sort(permuted, axis=1))
    order = np.argmax(permuted[:, :, None] == z[:, None], axis=2)
    assert (order[..., 0] != order[..., 1]).any()
    assert (order[0] != order[1]).any()


def test_the_adversarial_losses_by_hand():
    z = _codes(1, 8, 3)
    objective = AdversarialPrior(2.0, hidden=())

    @jax.jit
    def evaluated(z):
        params = objective.init(jax.random.key(1), _trace(z))
        return params, *objective.loss(params, _trace(z), _context())

    params, total, metrics = evaluated(z)
    (dense,) = jax.tree.map(np.float64, params).values()
    draws = np.asarray(jax.random.normal(_context().key, z.shape)[0])
    real = (draws @ dense["kernel"])[:, 0] + dense["bias"]
    fake = (np.asarray(z[0]) @ dense["kernel"])[:, 0] + dense["bias"]
    generator = np.log1p(np.exp(-fake))
    np.testing.assert_allclose(total, 2 * generator, rtol=1e-5)
    own = 0.5 * (np.log1p(np.exp(-real)) + np.log1p(np.exp(fake)))
    np.testing.assert_allclose(metrics["critic_loss"], own, rtol=1e-5)
    right = 0.5 * ((real > 0).astype(float) + (fake < 0))
    np.testing.assert_allclose(metrics["critic_accuracy"], right)


@pytest.mark.parametrize("make", RECIPES)
def test_the_critic_has_its_own_optimizer(make):
    """A rate of 0 stops the critic alone; another one is Adam, not the model's SGD."""
    batch, tx = {"x": jnp.asarray(IMAGES)}, optax.sgd(0.1)
    still, moving = (
        make((2, 2, 1), 3, critic_learning_rate=rate, **SMALL) for rate in (0.0, 1e-2)
    )
    state = jax.jit(partial(init_state, still, tx))(batch, jax.random.key(0))
    for recipe, rate in ((still, 0.0), (moving, 1e-2)):
        new, _ = jax.jit(make_train_step(recipe, tx))(state, batch)
        before, after = jax.device_get((state.params, new.params))
        moved = jax.tree.map(np.subtract, after, before)
        assert _norm(moved["model"]) > 1e-3
        largest = max(np.abs(x).max() for x in jax.tree.leaves(moved["objective"]))
        # The first step of Adam is the learning rate.
        assert float(largest) == pytest.approx(rate, rel=1e-2)


@pytest.mark.parametrize("make", RECIPES)
def test_trains(make):
    recipe = make((2, 2, 1), 3, **SMALL)
    result = fit(
        recipe,
        IMAGES,
        key=jax.random.key(0),
        epochs=10,
        batch_size=4,
        validation=IMAGES,
        progress=False,
    )
    assert int(result.state.step) == 20
    assert all(np.isfinite(list(row.values())).all() for row in result.history)
    assert {"critic_loss", "critic_accuracy"} <= result.history[0].keys()
    assert result.history[-1]["skipped_steps"] == 0


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize(
    ("name", "value"), [("weight", -1.0), ("learning_rate", -1.0), ("hidden", (0,))]
)
def test_bad_arguments_are_named(term, name, value):
    with pytest.raises(ArgumentError, match=name):
        term(**{name: value})
