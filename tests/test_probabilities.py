"""The distributions of a model, a fresh model, its table, and walks through codes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import jaxae
from jaxae import networks, preparation, recipes
from jaxae.views import Condition

KEY = jax.random.key(0)
X = np.random.default_rng(0).random((6, 4)).astype(np.float32)
MLP = networks.FullyConnected((5,))
VAE = recipes.vae((4,), 2, network=MLP, likelihood="gaussian")
FIT = {"epochs": 1, "batch_size": 3, "progress": False}


@pytest.fixture(scope="module")
def model():
    return jaxae.init(VAE, KEY)


def test_the_posterior_is_what_codes_are_of(model):
    q = jaxae.posterior(model, X)
    np.testing.assert_allclose(q.mean[0], jaxae.encode(model, X), rtol=1e-6)
    z = np.asarray(q.sample(KEY, (20_000,)))[:, 0]
    std = np.asarray(q.variance)[0] ** 0.5
    # Four standard errors.
    np.testing.assert_allclose(z.mean(axis=0), q.mean[0], atol=4 * std.max() / 141)
    np.testing.assert_allclose(z.std(axis=0), std, rtol=4 / 200)
    expected = scipy.stats.norm(np.asarray(q.mean[0]), std).logpdf(z[0]).sum(axis=-1)
    np.testing.assert_allclose(q.log_prob(jnp.asarray(z[0]))[0], expected, rtol=1e-4)


def test_the_likelihood_is_what_is_decoded(model):
    codes = jaxae.encode(model, X)
    p = jaxae.likelihood(model, codes)
    np.testing.assert_allclose(p.mean[0], jaxae.decode(model, codes), rtol=1e-5)
    expected = scipy.stats.norm(np.asarray(p.mean[0]), 1.0).logpdf(X).sum(axis=1)
    np.testing.assert_allclose(p.log_prob(jnp.asarray(X))[0], expected, rtol=1e-5)


def test_several_latents_and_whole_numbers():
    sizes = {"channels": (4, 4), "latent_channels": 2, "stem": 0}
    ladder = recipes.ladder_vae((4, 4, 1), **sizes)
    model, x = jaxae.init(ladder, KEY), X.reshape(6, 4, 1, 1).repeat(4, axis=2)
    top, bottom = jaxae.posterior(model, x, key=KEY)
    assert (top.event_shape, bottom.event_shape) == ((1, 1, 2), (2, 2, 2))
    np.testing.assert_allclose(top.mean[0], jaxae.encode(model, x)[0], rtol=1e-5)
    codes = jaxae.encode(model, x)
    p = jaxae.likelihood(model, codes)
    np.testing.assert_allclose(p.mean[0], jaxae.decode(model, codes), rtol=1e-5)
    deeper = jaxae.init(recipes.unet((4, 4, 1), channels=(2, 3)), KEY)
    codes = jaxae.encode(deeper, x)
    assert len({code.shape for code in codes}) == 2
    np.testing.assert_array_equal(
        jaxae.decode(deeper, list(codes)), jaxae.decode(deeper, codes)
    )
    with pytest.raises(jaxae.ArgumentError, match=r"codes must be 2 arrays, .*1"):
        jaxae.decode(deeper, [codes[0]])
    with pytest.raises(jaxae.ArgumentError, match="key must be given: a latent of Lad"):
        jaxae.posterior(model, x)
    small = {"network": networks.Convolutional((4,)), "codebook_size": 4}
    discrete = recipes.vqvae((4, 4, 1), code_dim=2, **small)
    model = jaxae.init(discrete, KEY)
    codes = jaxae.encode(model, x)
    p = jaxae.likelihood(model, codes)
    np.testing.assert_allclose(p.mean[0], jaxae.decode(model, codes), rtol=1e-5)


@pytest.mark.parametrize(
    "recipe",
    [
        recipes.autoencoder((4,), 2, network=MLP),
        recipes.flow_vae((4,), 2, network=MLP, hidden=(3,)),
    ],
    ids=["deterministic", "flow"],
)
def test_who_has_no_posterior_says_so(recipe):
    with pytest.raises(jaxae.ArgumentError, match="model must have a density q"):
        jaxae.posterior(jaxae.init(recipe, KEY), X)


def test_a_fresh_model_is_what_a_training_begins_with():
    """At a learning rate of 0."""
    begun = jaxae.fit(VAE, X, key=KEY, tx=optax.set_to_zero(), **FIT).model
    jax.tree.map(
        np.testing.assert_array_equal,
        jaxae.init(VAE, KEY).variables,
        begun.variables,
    )


def test_a_scale_need_not_be_known():
    recipe = VAE.replace(prepare=preparation.Standardize())
    assert jaxae.init(recipe, KEY).recipe == recipe
    assert jaxae.summary(recipe) == jaxae.summary(VAE)


def test_a_table_of_the_layers():
    table = jaxae.summary(recipes.vae((4, 4, 1), 2, network="conv")).splitlines()
    model = jaxae.init(recipes.vae((4, 4, 1), 2, network="conv"), KEY)
    counts = [int(line.split()[-1].replace(",", "")) for line in table[1:-1]]
    expected = sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"]))
    assert sum(counts) == expected and table[-1].startswith(f"{expected:,} parameters")
    assert table[1].split() == ["encoder/Conv_0", "Conv", "2x2x32", "320"]
    # A product of [1, 4] by [4, 5] is 4 x 5 multiplications and as many additions.
    numbers = [
        jaxae.summary(recipes.autoencoder((n,), 2, network=MLP)).split(" ")[-6]
        for n in (4, 104)
    ]
    more = int(numbers[1].replace(",", "")) - int(numbers[0].replace(",", ""))
    # Both ways; and a bias for each that is put out.
    assert 2 * 2 * 5 * 100 <= more <= 2 * 2 * 5 * 100 + 300


def test_a_traversal_changes_one_dimension_at_a_time(model):
    along = {"limits": (-1.0, 2.0), "steps": 4}
    found = jaxae.traverse(model, X[:2], dims=(1,), **along)
    same = jaxae.traverse(model, X[:2], dims=np.array([1]), **along)
    np.testing.assert_array_equal(same, found)
    codes = np.array(jaxae.encode(model, X[:2]))
    for i, value in enumerate(np.linspace(-1, 2, 4)):
        codes[:, 1] = value
        expected = jaxae.decode(model, codes)
        np.testing.assert_allclose(found[:, 0, i], expected, rtol=1e-5, atol=1e-6)
    whole = jaxae.traverse(model, X[:2])
    assert whole.shape == (2, 2, 7, 4)
    codes = np.array(jaxae.encode(model, X[:2]))
    codes[:, 0] = 3.0
    np.testing.assert_allclose(
        whole[:, 0, -1], jaxae.decode(model, codes), rtol=1e-5, atol=1e-6
    )


def test_a_traversal_keeps_conditions():
    recipe = VAE.replace(module=VAE.module.clone(view=Condition("age")))
    model, age = jaxae.init(recipe, KEY), np.arange(2.0)
    found = jaxae.traverse(model, X[:2], steps=2, age=age)
    codes = np.array(jaxae.encode(model, X[:2], age=age))
    codes[:, 1] = 3.0
    expected = jaxae.decode(model, codes, age=age)
    np.testing.assert_allclose(found[:, 1, 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (VAE, {"dims": (2,)}, r"dims must be some of the dimensions 0 to 1.* \(2,\)"),
        (VAE, {"dims": ()}, r"dims must be some of the dimensions .* got \(\)"),
        (VAE, {"dims": np.array([0.5])}, r"dims must be some of the dimensions 0 to 1"),
        (VAE, {"dims": [True, False]}, r"dims must be some of the dimensions 0 to 1"),
        (VAE, {"limits": (1.0, 1.0)}, r"limits must be \(lowest, highest\)"),
        (VAE, {"steps": 1}, "steps must be a whole number of at least 2"),
        (recipes.autoencoder((4,), 2, network=MLP), {}, "limits must be given for"),
        (recipes.mixture_vae((4,), 2, network=MLP), {}, "whose prior is learned"),
    ],
)
def test_wrong_traversals(recipe, options, message):
    with pytest.raises(jaxae.ArgumentError, match=message):
        jaxae.traverse(jaxae.init(recipe, KEY), X, **options)
