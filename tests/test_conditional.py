"""The conditional variational auto-encoder: the label reaches both networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae.evaluation import evaluate
from jaxae.recipe import Model
from jaxae.recipes.conditional import conditional_vae

LABELS = 3
X = np.random.default_rng(0).random((8, 4, 4, 1)).astype(np.float32)
DATA = {"x": X, "label": np.arange(8) % LABELS}
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def model():
    recipe = conditional_vae((4, 4, 1), 2, num_labels=LABELS)
    return jaxae.fit(
        recipe, DATA, key=KEY, epochs=2, batch_size=8, progress=False
    ).model


def test_the_label_changes_code_and_image(model):
    zeros, ones = np.zeros(8, int), np.ones(8, int)
    codes = jaxae.encode(model, X, label=zeros)
    assert codes.shape == (8, 2)
    assert (np.abs(codes - jaxae.encode(model, X, label=ones)) > 1e-6).any(axis=1).all()
    images = jaxae.decode(model, codes, label=zeros)
    assert images.shape == X.shape
    other = jaxae.decode(model, codes, label=ones)
    assert (np.abs(images - other) > 1e-6).any(axis=(1, 2, 3)).all()


def test_samples_of_one_key_differ_by_their_label_alone(model):
    first = jaxae.sample(model, KEY, 3, label=np.array([0, 1, 2]))
    second = jaxae.sample(model, KEY, 3, label=np.array([0, 2, 2]))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[2], second[2])
    assert (first[1] != second[1]).any()


def test_labels_are_a_bias_of_the_decoders_first_layer(model):
    """One-hot codes beside z pick rows of its kernel, which is what a CVAE adds."""
    params = model.variables["params"]["decoder"]
    label, z = 2, jnp.asarray([[0.3, -0.7]])
    kernel = params["MLP_0"]["Dense_0"]["kernel"]
    bias = params["MLP_0"]["Dense_0"]["bias"]
    h = jax.nn.relu(z @ kernel[:2] + (bias + kernel[2 + label])[None])
    out = h @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
    expected = jax.nn.sigmoid(out).reshape(1, 4, 4, 1)
    got = jaxae.decode(model, z, label=np.array([label]))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_the_bound_is_evaluated_with_labels(model):
    assert np.isfinite(evaluate(model, DATA, KEY, nll_samples=10)["nll_nats"])


@pytest.mark.slow
def test_convolutions_see_labels_too():
    recipe = conditional_vae((4, 4, 1), 2, num_labels=LABELS, network="conv")
    batch = {"inputs": jnp.asarray(X), "x": jnp.asarray(X)}
    batch["label"] = jnp.asarray(DATA["label"], jnp.int32)
    variables = recipe.module.init(KEY, batch, KEY)
    model = Model(recipe, variables)
    codes = np.zeros((2, 2), np.float32)
    first, second = jaxae.decode(model, codes, label=np.array([0, 1]))
    assert (first != second).any()


def test_wrong_labels_are_named(model):
    with pytest.raises(
        ValueError, match=r"label must be from 0 to 2, got values from 0 to 3"
    ):
        jaxae.encode(model, X[:2], label=np.array([0, 3]))
    with pytest.raises(ValueError, match="label must be given"):
        jaxae.decode(model, np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="label"):
        jaxae.sample(model, KEY, 2, label=np.array([0]))
    wrong = {"x": X, "label": np.full(8, LABELS)}
    with pytest.raises(ValueError, match=r"'label'.* must be from 0 to 2"):
        jaxae.fit(model.recipe, wrong, key=KEY, epochs=1, progress=False)
    with pytest.raises(ValueError, match="must have 'label'"):
        jaxae.fit(model.recipe, X, key=KEY, epochs=1, progress=False)
    with pytest.raises(ValueError, match="num_labels"):
        conditional_vae((4,), num_labels=0)
