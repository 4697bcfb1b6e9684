"""Numbers of papers, by their protocols."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

import jaxae
from jaxae import bottlenecks, likelihoods, networks, objectives, recipes

PUBLISHED = 0.280  # Mattei & Frellsen (2019), table 1, the mean of five runs


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_miwae_imputes_breast_cancer():
    """Half of the values removed at random; the mean of what is known has 1.0.

    But for the start of the weights, which is orthogonal there.
    """
    x = load_breast_cancer().data
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    missing = np.zeros(x.size, bool)
    rng = np.random.default_rng(0)
    missing[rng.choice(x.size, x.size // 2, replace=False)] = True
    missing = missing.reshape(x.shape)
    module = recipes.compose_model(
        (30,),
        networks.FullyConnected((128, 128), activation="tanh"),
        bottlenecks.StudentT(10),
        likelihoods.StudentT(),
    )
    recipe = recipes.compose_recipe(module, objectives.IWAE(), num_samples=20)
    fitted = jaxae.fit(
        recipe,
        {"x": x, "missing": missing},
        key=jax.random.key(0),
        epochs=2002,
        batch_size=64,
        progress=False,
    )
    model = jaxae.training.trained_model(recipe, fitted.state)
    gaps = np.where(missing, np.float32(np.nan), x)
    filled = jaxae.impute(
        model, gaps, missing="nan", key=jax.random.key(1), num_samples=10_000
    )
    error = np.square(np.asarray(filled) - x)[missing].mean()
    print(f"mean squared error of the missing values: {error:.4f}")
    np.testing.assert_allclose(error, PUBLISHED, atol=0.02)
