"""The weight of an example counts in the model, whatever the model is made of.

Of weight 0 an example may be anything; a whole weight is as many copies. The parts
whose numbers are of the whole batch have their own tests of the latter.
"""

from functools import cache, partial

import jax
import numpy as np
import pytest

from jaxae import networks, recipes
from jaxae.training.batch import model_batch
from jaxae.training.loss import latent_metrics

SHAPE, COUNT, KEY = (8, 8, 1), 8, jax.random.key(0)
MLP = {"network": networks.FullyConnected((16,), batch_norm=True)}
RESIDUAL = {"network": networks.Convolutional((4,), batch_norm=True, residual_blocks=1)}
CONV = {"network": networks.Convolutional((4,), batch_norm=True)}
OPTIMAL = {"likelihood": "gaussian_optimal"}
SPARSE = {"latent_dim": 16, "k": 3}
QUANTIZED = {"codebook_size": 6, "code_dim": 3, **CONV}

CASES = {
    "autoencoder": (recipes.autoencoder, MLP | OPTIMAL),
    "batch_topk": (recipes.sparse_autoencoder, SPARSE | {"activation": "batch_topk"}),
    "flow_vae": (recipes.flow_vae, {"latent_dim": 4, "hidden": (8,), **MLP}),
    "fsq_autoencoder": (recipes.fsq_autoencoder, {"levels": (3, 3), **CONV}),
    "ladder_vae": (
        recipes.ladder_vae,
        {"channels": (4, 4), "latent_channels": 2, **OPTIMAL},
    ),
    "lfq_autoencoder": (recipes.lfq_autoencoder, {"bits": 4, **CONV}),
    "topk": (recipes.sparse_autoencoder, SPARSE),
    "vae": (recipes.vae, RESIDUAL | OPTIMAL | {"num_samples": 2}),
    "vamp_vae": (recipes.vamp_vae, {"components": 4, **MLP}),
    "vqvae": (recipes.vqvae, QUANTIZED),
    "vqvae by gradient": (recipes.vqvae, QUANTIZED | {"codebook": "gradient"}),
}


def batch(seed):
    x = np.random.default_rng(seed).uniform(size=(COUNT, *SHAPE))
    weight = [1, 0, 2, 0.5, 1, 0, 1, 3]
    return {"x": x.astype(np.float32), "weight": np.asarray(weight, np.float32)}


@cache
def started(name):
    """A recipe, and variables of any values: the first ones would be compiled for."""
    make, options = CASES[name]
    recipe, rng = make(SHAPE, **options), np.random.default_rng(2)

    def init(batch):
        return recipe.module.init(KEY, model_batch(recipe, batch, KEY), KEY, train=True)

    def drawn(path, leaf):
        scale = 0.3 if path[0].key == "params" else 0.1
        if path[-1].key == "initialized":  # so that codebooks start from the batch
            return np.zeros(leaf.shape, leaf.dtype)
        # Variances and counts are positive.
        around = 0.0 if path[0].key == "params" else 1.0
        return rng.normal(around, scale, leaf.shape).astype(leaf.dtype)

    shapes = jax.eval_shape(init, batch(0))
    return recipe, jax.tree_util.tree_map_with_path(drawn, shapes)


@partial(jax.jit, static_argnums=(0, 2))
def run(recipe, variables, train, batch):
    """The gradient, what is by example, and the new statistics."""
    seen = model_batch(recipe, batch, KEY)
    collections = [name for name in variables if name != "params"]

    def loss(params):
        trace, new = recipe.module.apply(
            {**variables, "params": params},
            seen,
            KEY,
            num_samples=recipe.num_samples,
            train=train,
            mutable=collections if train else [],
        )
        each = -trace.likelihood.log_prob(trace.target).mean(axis=0)
        for latent in trace.latents:
            each = each if latent.penalty is None else each + latent.penalty
        shown = {"metrics": latent_metrics(trace.latents), "loss": each}
        return (seen["weight"] * each).sum(), (shown, new)

    return jax.grad(loss, has_aux=True)(variables["params"])


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_contents_of_an_example_without_weight_change_nothing(name, train):
    recipe, variables = started(name)
    one, other = batch(0), batch(1)
    counts = one["weight"] > 0
    keep = counts[:, None, None, None]
    mixed = {**one, "x": np.where(keep, one["x"], 3 * other["x"])}
    if train:  # after a step, when all statistics are known
        variables = {**variables, **run(recipe, variables, True, one)[1][1]}
    values = run(recipe, variables, train, one)
    grads, (shown, new) = jax.device_get(values)
    other_values = run(recipe, variables, train, mixed)
    other_grads, (other_shown, other_new) = jax.device_get(other_values)
    changed = np.abs(shown["loss"] - other_shown["loss"])[~counts].min()
    assert changed > 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        (grads, new, jax.tree.map(lambda a: a[counts], shown)),
        (other_grads, other_new, jax.tree.map(lambda a: a[counts], other_shown)),
    )
