"""Under `jax_enable_x64` everything that is learned stays float32, as the data are."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxae import likelihoods, networks, recipes
from jaxae.recipes import (
    flow_vae,
    regularized_autoencoder,
    sparse_autoencoder,
    vae,
    vqvae,
)
from jaxae.training import init_state, make_train_step

SHAPE, KEY = (8, 8, 1), jax.random.key(0)
MLP = {"network": networks.FullyConnected((4,))}
NORMALISED = {
    "network": networks.Convolutional((4, 4), batch_norm=True, residual_blocks=1)
}

# What a family cannot be made without, or is large without.
NEEDED = {
    "beta_tc_vae": {"data_size": 8},
    "conditional_vae": {"num_labels": 4},
    "masked_autoencoder": {"patch": 2},
}
CASES = {
    family.__name__: partial(family, SHAPE, **NEEDED.get(family.__name__, {}))
    for family in recipes.FAMILIES
}
CASES |= {
    f"sparse {name}": partial(sparse_autoencoder, SHAPE, 16, activation=name, k=2)
    for name in ("l1", "topk", "batch_topk", "jump_relu", "gated")
}
CASES |= {
    f"flow {name}": partial(flow_vae, SHAPE, 4, flow=name, **MLP)
    for name in ("radial", "iaf", "maf")
}
CASES |= {
    name: partial(vae, SHAPE, 2, likelihood=name, **MLP) for name in likelihoods.NAMES
}
CASES |= {
    "normalised": partial(vae, SHAPE, 2, **NORMALISED),
    "spectral": partial(regularized_autoencoder, SHAPE, regularizer="spectral_norm"),
    "residual": partial(vqvae, SHAPE, 8, 4, num_quantizers=2, **NORMALISED),
}


def wide(tree):
    """Floats that are not float32, by name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): leaf.dtype
        for path, leaf in leaves
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype != jnp.float32
    }


@pytest.mark.parametrize("name", CASES)
def test_a_step_leaves_float32(name):
    recipe, tx = CASES[name](), optax.adam(1e-3)
    batch = {"x": jax.ShapeDtypeStruct((4, *SHAPE), jnp.uint8)}
    batch["weight"] = jax.ShapeDtypeStruct((4,), jnp.float32)
    if "label" in recipe.module.view.needs:
        batch["label"] = jax.ShapeDtypeStruct((4,), jnp.int32)
    # Objectives add numbers of theirs, which are float64 here.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        assert jnp.zeros(()).dtype == jnp.float64
        state = jax.eval_shape(partial(init_state, recipe, tx), batch, KEY)
        new, _ = jax.eval_shape(make_train_step(recipe, tx), state, batch)
    assert not wide(state) and not wide(new)
