"""What every family has to do, whatever it is made of."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxae
from jaxae import recipes
from jaxae.training import Epoch, init_state, make_train_step, trained_model
from jaxae.training.checkpoint import restore_state, save_epochs
from jaxae.training.state import optimizer

SHAPE, COUNT, STEPS = (8, 8, 1), 32, 30
TX = optax.adam(3e-3)

# What makes a family small. A recipe that is not here has no place in the library.
OPTIONS = {
    "adversarial_autoencoder": {"hidden": (16, 16)},
    "autoencoder": {},
    "beta_tc_vae": {"data_size": COUNT},
    "conditional_vae": {"num_labels": 4},
    "contractive_autoencoder": {},
    "denoising_autoencoder": {},
    "factor_vae": {"hidden": (16, 16)},
    "flow_vae": {"latent_dim": 4, "layers": 2, "hidden": (8,)},
    "fsq_autoencoder": {"levels": (4, 4)},
    "hyperspherical_vae": {},
    "info_vae_mmd": {},
    "inpainting_autoencoder": {},
    "iwae": {"num_samples": 2},
    "keras_denoiser": {},
    "ladder_vae": {"channels": (4, 4, 4), "latent_channels": 2, "stem": 4},
    "lfq_autoencoder": {"bits": 4},
    "masked_autoencoder": {"patch": 2, "width": 8, "depth": 1},
    "mixture_vae": {},
    "regularized_autoencoder": {},
    "sparse_autoencoder": {"latent_dim": 32, "k": 4, "k_aux": 4},
    "vae": {},
    "vae_gan": {"critic_learning_rate": 1e-4},
    "vamp_vae": {"components": 8},
    "vqvae": {"codebook_size": 8, "code_dim": 4},
    "wae_mmd": {},
}
NAMES = sorted(OPTIONS)


def images():
    """Bright squares on a dark ground: easy to learn in thirty steps."""
    rng = np.random.default_rng(0)
    x = np.zeros((COUNT, *SHAPE), np.uint8)
    for image, (row, column) in zip(x, rng.integers(0, 5, (COUNT, 2)), strict=True):
        image[row : row + 4, column : column + 4] = rng.integers(150, 256)
    return x


def batch(recipe):
    labels = {"label": np.arange(COUNT, dtype=np.int32) % 4}
    shown = labels if "label" in recipe.model.view.needs else {}
    return {"x": jnp.asarray(images()), **jax.tree.map(jnp.asarray, shown)}


@cache
def recipe_of(name):
    make = {family.__name__: family for family in recipes.FAMILIES}[name]
    return make(SHAPE, **OPTIONS[name])


@cache
def fresh(name):
    recipe = recipe_of(name)
    init = partial(init_state, recipe, TX, batch(recipe))
    return jax.jit(init)(jax.random.key(0))


@cache
def trained(name):
    """(state after STEPS steps, losses, how often the step was traced)."""
    recipe, traces = recipe_of(name), []

    def step(state, batch):
        traces.append(1)
        return make_train_step(recipe, TX)(state, batch)

    data, state = batch(recipe), fresh(name)
    compiled, losses = jax.jit(step), []
    for _ in range(STEPS):
        state, metrics = compiled(state, data)
        losses.append(metrics["loss"])
        assert all(np.isfinite(value) for value in metrics.values()), metrics
    return state, np.asarray(losses), len(traces)


def test_every_recipe_is_here():
    assert {family.__name__ for family in recipes.FAMILIES} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_and_the_step_is_traced_once(name):
    _, losses, traces = trained(name)
    assert losses[-5:].mean() < losses[:5].mean()
    assert traces == 1


@pytest.mark.parametrize("name", NAMES)
def test_eight_devices_give_the_numbers_of_one(name):
    recipe, tx = recipe_of(name), optax.sgd(1e-4)
    data, state = batch(recipe), fresh(name)
    state = state._replace(opt_state=optimizer(recipe, tx).init(state.params))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(data, NamedSharding(mesh, PartitionSpec("data")))
    everywhere = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    step = jax.jit(make_train_step(recipe, tx))
    for _ in range(3):
        state, one = step(state, data)
        everywhere, eight = step(everywhere, sharded)
    np.testing.assert_allclose(one["loss"], eight["loss"], rtol=1e-5)
    first = jax.tree.leaves((state.params, state.collections))
    second = jax.tree.leaves((everywhere.params, everywhere.collections))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_several_seeds_train_in_one_program(name):
    recipe, (_, alone, _) = recipe_of(name), trained(name)
    data = batch(recipe)

    def start(key):
        state = init_state(recipe, TX, data, key)
        state, metrics = make_train_step(recipe, TX)(state, data)
        return metrics["loss"], optax.tree.norm(state.params)

    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    losses, norms = jax.jit(jax.vmap(start))(keys)
    np.testing.assert_allclose(losses[0], alone[0], rtol=1e-4)
    assert losses[0] != losses[1] and norms[0] != norms[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_holds_all_of_it(name, tmp_path):
    state, losses, _ = trained(name)
    with save_epochs(tmp_path, "loss") as save:
        save(Epoch(1, state, {"loss": float(losses[-1])}, True))
    restored, epoch = restore_state(tmp_path, recipe_of(name), TX)
    assert epoch == 1
    a, b = (s._replace(key=jax.random.key_data(s.key)) for s in (state, restored))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", NAMES)
def test_images_come_back_and_are_drawn(name):
    recipe, (state, *_) = recipe_of(name), trained(name)
    model, x = trained_model(recipe, state), images()[:3]
    labels = {"label": [0, 1, 2]} if "label" in recipe.model.view.needs else {}
    shown = [jaxae.reconstruct(model, x, **labels)]
    if recipe.model.has_prior:
        shown.append(jaxae.sample(model, jax.random.key(1), 3, **labels))
    for values in shown:
        assert values.shape == x.shape
        assert np.isfinite(values).all()
        # The mean of a Gaussian may leave the range of the data, far after few steps.
        bounded = not recipe.model.likelihood.support(jnp.asarray(-1.0))
        low, high = (0, 1) if bounded else (-10, 10)
        assert values.min() >= low and values.max() <= high
