"""What every family has to do, whatever it is made of."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxae
from jaxae import corruptions, networks, recipes
from jaxae.training import Epoch, init_state, make_train_step, trained_model
from jaxae.training.checkpoint import restore_state, save_epochs

SHAPE, COUNT, STEPS, FEW = (8, 8, 1), 32, 30, 3
# Adam would turn the rounding of gradients that are zero into steps of full length.
TX = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.03))
MLP = {"network": networks.FullyConnected((16,))}

# What makes a family small. A recipe that is not here has no place in the library.
OPTIONS = {
    "adversarial_autoencoder": {"hidden": (16, 16), **MLP},
    "autoencoder": MLP,
    "beta_tc_vae": {"data_size": COUNT, **MLP},
    "conditional_vae": {"num_labels": 4, **MLP},
    "contractive_autoencoder": {},
    "denoising_autoencoder": MLP,
    "dip_vae": MLP,
    "factor_vae": {"hidden": (16, 16), **MLP},
    "flow_vae": {"latent_dim": 4, "layers": 2, "hidden": (8,), **MLP},
    "fsq_autoencoder": {"levels": (4, 4), **MLP},
    "hyperspherical_vae": MLP,
    "info_vae_mmd": MLP,
    "inpainting_autoencoder": {"network": networks.Convolutional((4, 4))},
    "iwae": {"num_samples": 2, **MLP},
    "keras_denoiser": {},
    "ladder_vae": {"channels": (4, 4, 4), "latent_channels": 2, "stem": 0},
    "lfq_autoencoder": {"bits": 4, **MLP},
    "masked_autoencoder": {"patch": 2, "width": 8, "depth": 1},
    "mixture_vae": MLP,
    "regularized_autoencoder": {},
    "sparse_autoencoder": {"latent_dim": 32, "k": 4, "k_aux": 4},
    "stacked_vae": {"latent_dims": (4, 3), "upper_network": MLP["network"], **MLP},
    "unet": {"channels": (4, 4), "corruption": corruptions.GaussianNoise(0.3)},
    "vae": {"network": networks.Convolutional((4, 4))},
    "vae_gan": {"critic_learning_rate": 1e-4, **MLP},
    "vamp_vae": {"components": 8, **MLP},
    "vqvae": {
        "codebook_size": 8,
        "code_dim": 4,
        "network": networks.Convolutional((4, 4)),
    },
    "wae_mmd": MLP,
}
NAMES = sorted(OPTIONS)
# Each stands for others like it; the rest are slow tests.
CORE = {
    "adversarial_autoencoder",
    "autoencoder",
    "factor_vae",
    "flow_vae",
    "iwae",
    "sparse_autoencoder",
    "vae",
    "vamp_vae",
    "vqvae",
}
CORE_FIRST = [
    name if name in CORE else pytest.param(name, marks=pytest.mark.slow)
    for name in NAMES
]


def images():
    """Bright squares on a dark ground: easy to learn in thirty steps."""
    rng = np.random.default_rng(0)
    x = np.zeros((COUNT, *SHAPE), np.uint8)
    for image, (row, column) in zip(x, rng.integers(0, 5, (COUNT, 2)), strict=True):
        image[row : row + 4, column : column + 4] = rng.integers(150, 256)
    return x


def batch(recipe):
    labels = {"label": np.arange(COUNT, dtype=np.int32) % 4}
    shown = labels if "label" in recipe.module.view.needs else {}
    return {"x": jnp.asarray(images()), **jax.tree.map(jnp.asarray, shown)}


@cache
def recipe_of(name):
    make = {family.__name__: family for family in recipes.FAMILIES}[name]
    return make(SHAPE, **OPTIONS[name])


@cache
def start(name):
    return jax.jit(partial(init_state, recipe_of(name), TX, batch(recipe_of(name))))


@cache
def trained(name):
    """(states after FEW and after STEPS steps, losses, how often it was traced)."""
    recipe, traces = recipe_of(name), []

    def step(state, batch):
        traces.append(1)
        return make_train_step(recipe, TX)(state, batch)

    data, state = batch(recipe), start(name)(jax.random.key(0))
    compiled, states, losses = jax.jit(step), [], []
    for _ in range(STEPS):
        state, metrics = compiled(state, data)
        states.append(state)
        losses.append(metrics["loss"])
        assert all(np.isfinite(value) for value in metrics.values()), metrics
    return states[FEW - 1], states[-1], np.asarray(losses), len(traces)


def test_every_recipe_is_here():
    assert {family.__name__ for family in recipes.FAMILIES} == set(NAMES)


@pytest.mark.parametrize("name", CORE_FIRST)
def test_the_loss_falls_and_the_step_is_traced_once(name):
    *_, losses, traces = trained(name)
    assert losses[-5:].mean() < losses[:5].mean()
    assert traces == 1


@pytest.mark.parametrize("name", CORE_FIRST)
def test_two_seeds_on_eight_devices_give_the_numbers_of_one_on_one(name):
    recipe, (alone, _, losses, _) = recipe_of(name), trained(name)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    data = jax.device_put(batch(recipe), NamedSharding(mesh, PartitionSpec("data")))
    seeds = [start(name)(jax.random.key(seed)) for seed in (0, 1)]
    stack = jax.jit(lambda *states: jax.tree.map(lambda *x: jnp.stack(x), *states))
    both = jax.device_put(stack(*seeds), NamedSharding(mesh, PartitionSpec()))
    step = jax.jit(jax.vmap(make_train_step(recipe, TX), in_axes=(0, None)))
    for i in range(FEW):
        both, metrics = step(both, data)
        first, second = np.asarray(metrics["loss"])
        np.testing.assert_allclose(first, losses[i], rtol=1e-5)
        assert first != second
    one = jax.tree.leaves((alone.params, alone.collections))
    two = jax.tree.leaves(jax.device_get((both.params, both.collections)))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CORE_FIRST)
def test_a_checkpoint_holds_all_of_it(name, tmp_path):
    _, state, losses, _ = trained(name)
    with save_epochs(tmp_path, "loss") as save:
        save(Epoch(1, state, {"loss": float(losses[-1])}, True))
    restored, epoch = restore_state(tmp_path, recipe_of(name), TX)
    assert epoch == 1
    a, b = (s._replace(key=jax.random.key_data(s.key)) for s in (state, restored))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("name", CORE_FIRST)
def test_images_come_back_and_are_drawn(name):
    recipe, (_, state, *_) = recipe_of(name), trained(name)
    model, x = trained_model(recipe, state), images()[:3]
    labels = {"label": [0, 1, 2]} if "label" in recipe.module.view.needs else {}
    shown = [jaxae.reconstruct(model, x, **labels)]
    if recipe.module.has_prior:
        shown.append(jaxae.sample(model, jax.random.key(1), 3, **labels))
    for values in shown:
        assert values.shape == x.shape
        assert np.isfinite(values).all()
        # The mean of a Gaussian may leave the range of the data, far after few steps.
        bounded = not recipe.module.likelihood.support(jnp.asarray(-1.0))
        low, high = (0, 1) if bounded else (-10, 10)
        assert values.min() >= low and values.max() <= high
