"""Codes that are rounded: FSQ and LFQ, and the recipes made of them."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxae
from jaxae import Model, make_train_step, networks
from jaxae.bottlenecks import lookup_free
from jaxae.bottlenecks.lookup_free import FSQ, LFQ
from jaxae.recipes import discrete
from jaxae.training import init_state
from jaxae.training.state import trained_model

KEY = jax.random.key(0)
LEVELS = [(8, 5, 5, 5), (2, 3, 4), (7,)]


def noise(shape, seed=0, scale=1.0):
    values = scale * np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(np.float32(values))


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_indices_and_codes_are_one_to_one(levels):
    module = FSQ(levels)
    count = math.prod(levels)
    assert module.num_codes == count
    indices = jnp.arange(count, dtype=jnp.int32)
    codes = jax.jit(partial(module.apply, method="embed"))({}, indices)
    assert len(np.unique(np.asarray(codes), axis=0)) == count
    half = np.asarray(levels, np.float32) // 2
    digits = np.stack(np.unravel_index(np.arange(count), levels, order="F"), -1)
    np.testing.assert_allclose(codes, (digits - half) / half, atol=1e-6)

    @jax.jit
    def there_and_back(indices):
        values = lookup_free.indices_to_levels(indices, levels)
        return lookup_free.levels_to_indices(values, levels)

    np.testing.assert_array_equal(there_and_back(indices), indices)


@pytest.mark.parametrize("levels", LEVELS)
def test_fsq_rounding_reaches_every_code_and_is_idempotent(levels):
    wide = np.repeat(
        np.linspace(-20, 20, 4001, dtype=np.float32)[:, None], len(levels), 1
    )

    @jax.jit
    def rounded(wide):
        once = lookup_free.round_to_levels(lookup_free.bound(wide, levels))
        indices = lookup_free.levels_to_indices(once, levels)
        back = lookup_free.indices_to_levels(indices, levels)
        return once, lookup_free.round_to_levels(once), back

    once, twice, back = rounded(wide)
    for column, size in zip(np.asarray(once).T, levels, strict=True):
        np.testing.assert_array_equal(
            np.unique(column), np.arange(-(size // 2), (size + 1) // 2)
        )
    np.testing.assert_array_equal(twice, once)
    np.testing.assert_array_equal(back, once)


def test_fsq_gradient_is_that_of_the_bound():
    f = noise((6, 3))
    levels = (8, 5, 2)

    def rounded(f):
        return lookup_free.round_to_levels(lookup_free.bound(f, levels)).sum()

    def bounded(f):
        return lookup_free.bound(f, levels).sum()

    found, expected = (np.asarray(jax.jit(jax.grad(g))(f)) for g in (rounded, bounded))
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).min() > 0


@pytest.mark.parametrize("module", [FSQ((4, 3)), LFQ(3)], ids=["fsq", "lfq"])
@pytest.mark.parametrize("shape", [(8, 5), (4, 2, 3, 5)], ids=["vectors", "images"])
def test_embedded_indices_are_the_code(module, shape):
    h = noise(shape, scale=2.0)
    init = jax.jit(partial(module.init_with_output, num_samples=2))
    latent, variables = init(KEY, h, KEY)
    assert set(variables) == {"params"}
    assert latent.indices.shape == shape[:-1] and latent.indices.dtype == jnp.int32
    assert latent.z.shape == (1, *latent.mean.shape)
    np.testing.assert_array_equal(np.asarray(latent.z)[0], latent.mean)
    embedded = jax.jit(partial(module.apply, method="embed"))(variables, latent.indices)
    np.testing.assert_array_equal(embedded, latent.mean)
    assert len(np.unique(np.asarray(latent.indices))) > 1
    counts = np.bincount(np.asarray(latent.indices).ravel(), minlength=module.num_codes)
    share = counts[counts > 0] / counts.sum()
    perplexity = np.exp(-(share * np.log(share)).sum())
    np.testing.assert_allclose(latent.metrics["perplexity"], perplexity, rtol=1e-5)
    np.testing.assert_allclose(latent.metrics["usage"], (counts > 0).mean(), rtol=1e-6)


def test_lfq_entropies_are_those_of_the_softmax_over_all_codes():
    bits, f = 3, np.asarray(noise((7, 3), scale=0.5), np.float64)
    codes = np.asarray(list(itertools.product((-1.0, 1.0), repeat=bits)))
    logits = -np.square(f[:, None] - codes[None]).sum(-1)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    sure, even = jax.jit(lookup_free.code_entropies)(np.float32(f))
    np.testing.assert_allclose(sure, -(p * np.log(p)).sum(-1), rtol=1e-5)
    mean = p.mean(0)
    np.testing.assert_allclose(even, -(mean * np.log(mean)).sum(), rtol=1e-5)


@pytest.mark.parametrize("module", [FSQ((4, 3)), LFQ(3)], ids=["fsq", "lfq"])
def test_what_is_of_the_batch_is_by_weight(module):
    counts, h = np.asarray([2, 0, 1, 3]), noise((4, 2, 5), scale=2.0)
    rows, weight = np.repeat(np.arange(4), counts), jnp.asarray(counts, jnp.float32)
    variables = jax.jit(module.init)(KEY, h, KEY)
    run = jax.jit(lambda h, weight: module.apply(variables, h, KEY, weight=weight))
    by_weight, repeated = run(h, weight), run(h[rows], None)
    other = run(h.at[1].set(-9.0), weight)
    for name in ("penalty", "metrics"):
        values = [getattr(latent, name) for latent in (by_weight, repeated, other)]
        found, expected, changed = values
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[rows], b, rtol=1e-5),
            found,
            expected,
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_array_equal(a[rows], b[rows]), found, changed
        )


def test_lfq_penalty_by_hand_and_at_its_least():
    h = noise((6, 2, 2, 4))
    module = LFQ(3, entropy_weight=0.5, diversity=2.0, commitment_weight=0.25)
    latent, variables = jax.jit(module.init_with_output)(KEY, h, KEY)
    dense = variables["params"]["Dense_0"]
    f = np.asarray(h) @ np.asarray(dense["kernel"])
    entropies = jax.jit(lookup_free.code_entropies)
    sure, even = entropies(f)
    commitment = np.square(f - np.where(f > 0, 1, -1)).sum(-1)
    each = 0.5 * (np.asarray(sure) - 2.0 * float(even)) + 0.25 * commitment
    np.testing.assert_allclose(latent.penalty, each.sum((1, 2)), rtol=1e-4)
    # Certain bits that are opposites: one bit of information, not two.
    sure, even = entropies(np.float32([[50.0, -50.0], [-50.0, 50.0]]))
    np.testing.assert_allclose(sure, 0.0, atol=1e-6)
    np.testing.assert_allclose(even, math.log(2), rtol=1e-5)


def test_entropies_have_finite_gradients_where_bits_are_certain():
    def total(f):
        sure, even = lookup_free.code_entropies(f)
        return sure.sum() + even

    f = np.float32([[0.0, 80.0, -80.0], [1.0, 80.0, -80.0]])
    assert np.isfinite(jax.jit(jax.grad(total))(f)).all()


@pytest.mark.parametrize(
    "recipe",
    [
        discrete.fsq_autoencoder(
            (4, 4, 1), (3, 2), network=networks.Convolutional((3,))
        ),
        discrete.lfq_autoencoder((4, 4, 1), 3, network=networks.Convolutional((3,))),
    ],
    ids=["fsq", "lfq"],
)
@pytest.mark.slow
def test_recipe_trains_and_its_codes_are_whole_numbers(recipe):
    x = jnp.asarray(np.float32(np.random.default_rng(0).uniform(size=(8, 4, 4, 1))))
    tx = optax.adam(0.01)
    state = jax.jit(partial(init_state, recipe, tx))({"x": x}, KEY)
    step = jax.jit(make_train_step(recipe, tx))
    losses = []
    for _ in range(40):
        state, metrics = step(state, {"x": x})
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    assert 1 <= float(metrics["perplexity"]) <= recipe.module.num_codes
    model = trained_model(recipe, state)
    assert isinstance(model, Model)
    codes = jaxae.encode(model, x)
    assert codes.shape == (8, 2, 2) and jnp.issubdtype(codes.dtype, jnp.integer)
    np.testing.assert_array_equal(
        jaxae.decode(model, codes), jaxae.reconstruct(model, x)
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FSQ(()), "levels"),
        (lambda: FSQ((4, 1)), "levels"),
        (lambda: FSQ((1024, 1024, 2)), "levels"),
        (lambda: LFQ(0), "bits"),
        (lambda: LFQ(21), "bits"),
        (lambda: LFQ(4, entropy_weight=-1.0), "entropy_weight"),
        (lambda: LFQ(4, diversity=-1.0), "diversity"),
        (lambda: LFQ(4, commitment_weight=-1.0), "commitment_weight"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()
