"""How codes are used, against counting by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxae
from jaxae import networks, recipes
from jaxae.evaluation import codebook_usage
from jaxae.recipe import Model

KEY = jax.random.key(0)
LINEAR = networks.FullyConnected(hidden=())


def fresh(recipe, count=40):
    x = np.random.default_rng(0).uniform(size=(count, *recipe.module.shape))
    x = np.asarray(x, np.float32)
    batch = {"x": jnp.asarray(x), "inputs": jnp.asarray(x)}
    return Model(recipe, jax.jit(recipe.module.init)(KEY, batch, KEY)), x


@pytest.mark.parametrize("books", [1, 2])
def test_usage_and_perplexity_are_means_over_the_codebooks(books):
    recipe = recipes.vqvae((4,), 5, 2, network=LINEAR, num_quantizers=books)
    model, x = fresh(recipe)
    found = codebook_usage(model, x, KEY, chunk=7)
    codes = np.asarray(jaxae.encode(model, x)).reshape(len(x), books)
    used, perplexities = [], []
    for column in codes.T:
        counts = np.unique(column, return_counts=True)[1]
        share = counts / counts.sum()
        used.append(len(counts) / 5)
        perplexities.append(np.exp(-(share * np.log(share)).sum()))
    assert found["codebook_usage"] == pytest.approx(np.mean(used))
    assert found["codebook_perplexity"] == pytest.approx(np.mean(perplexities))
    assert 1 < found["codebook_perplexity"] <= 5 * found["codebook_usage"]


def test_an_example_counts_by_its_weight():
    model, x = fresh(recipes.vqvae((4,), 5, 2, network=LINEAR), count=8)
    weight = np.array([0, 1, 2, 0, 1, 3, 1, 0], np.float32)
    repeated = np.repeat(x, weight.astype(int), axis=0)
    found = codebook_usage(model, {"x": x, "weight": weight}, KEY)
    assert found == pytest.approx(codebook_usage(model, repeated, KEY))
    assert found != pytest.approx(codebook_usage(model, x, KEY))


def test_real_codes_have_no_codebook():
    model, x = fresh(recipes.vae((4,), 2, network=LINEAR))
    with pytest.raises(ValueError, match="these are real numbers"):
        codebook_usage(model, x, KEY)
