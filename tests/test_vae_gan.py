"""The VAE-GAN: who gets which gradient, the terms by hand, and the recipe."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import fit, networks, recipes
from jaxae.errors import ArgumentError
from jaxae.objectives.vae_gan import ImageCritic
from jaxae.recipes.adversarial import vae_gan
from jaxae.training import init_state, make_train_step
from jaxae.training.batch import MODEL, OBJECTIVE, model_batch
from jaxae.training.loss import batch_loss

SHAPE, DIM, K, WEIGHT = (4, 4, 1), 3, 2, 0.7
IMAGES = np.random.default_rng(0).random((8, *SHAPE)).astype(np.float32)
SGD, STEP_KEY = optax.sgd(0.1), 1
MLPS = {"network": networks.FullyConnected((4,)), "critic": networks.MLP((5,))}


def _batch(**fields):
    return {"x": jnp.asarray(IMAGES), **fields}


def _state(recipe, batch=None):
    init = partial(init_state, recipe, SGD, _batch() if batch is None else batch)
    return jax.jit(init)(jax.random.key(0))


def _total(recipe, state, params, batch=None):
    """The mean loss of a step, and its mean metrics."""
    batch = _batch() if batch is None else batch
    key = jax.random.key(STEP_KEY)
    loss, (metrics, *_) = batch_loss(
        recipe, params, state.collections, batch, key, state.step
    )
    return loss, metrics


def _trace(recipe, state):
    """What the model makes of the batch in that step."""
    key = jax.random.key(STEP_KEY)
    return recipe.module.apply(
        {"params": state.params["model"]},
        model_batch(recipe, _batch(), key),
        jax.random.fold_in(key, MODEL),
        num_samples=recipe.num_samples,
    )


class _Step(NamedTuple):
    """What the library says of one step, and the random numbers of that step."""

    model: dict
    critic: dict
    loss: jax.Array
    metrics: dict
    grads: dict
    noise: jax.Array  # of the codes: z = mean + std · noise
    draws: jax.Array  # codes from the prior


@pytest.fixture(scope="module")
def step():
    recipe = vae_gan(
        SHAPE,
        DIM,
        network=networks.Convolutional((3,)),
        critic=networks.ConvEncoder((4,)),
        likelihood="binary_cross_entropy",
        weight=lambda step: WEIGHT + step,
        num_samples=K,
    )
    state = _state(recipe)

    @jax.jit
    def run(params):
        value = jax.value_and_grad(partial(_total, recipe, state), has_aux=True)
        (loss, metrics), grads = value(params)
        mean, log_std = _posterior(params["model"])
        z = _trace(recipe, state._replace(params=params)).latents[0].z
        noise = (z - mean[None]) / jnp.exp(log_std)[None]
        key = jax.random.fold_in(jax.random.key(STEP_KEY), OBJECTIVE)
        return loss, metrics, grads, noise, jax.random.normal(key, noise.shape)

    params = state.params
    return _Step(params["model"], params["objective"], *run(params))


# The three players anew, from the library's networks alone: each a function of its own
# parameters, as in the paper.


def _posterior(model):
    network = networks.ConvEncoder((3,))
    h = network.apply({"params": model["encoder"]}, jnp.asarray(IMAGES))
    dense = model["bottleneck"]["Dense_0"]
    both = h.reshape(len(IMAGES), -1) @ dense["kernel"] + dense["bias"][None]
    return jnp.split(both, 2, axis=-1)


def _codes(model, noise):
    mean, log_std = _posterior(model)
    return mean[None] + jnp.exp(log_std)[None] * noise


def _decode(decoder, z):
    """Images [k · b, ...] of codes [k, b, d]."""
    network = networks.ConvDecoder(SHAPE, (3,))
    return jax.nn.sigmoid(network.apply({"params": decoder}, z.reshape(-1, DIM)))


def _features(critic, x):
    network = networks.ConvEncoder((4,))
    return network.apply({"params": critic["encoder"]}, x).reshape(len(x), -1)


def _log_odds(critic, x):
    dense = critic["Dense_0"]
    return (_features(critic, x) @ dense["kernel"] + dense["bias"][None])[:, 0]


def _kl(model):
    mean, log_std = _posterior(model)
    each = jnp.square(mean) + jnp.exp(2 * log_std) - 1 - 2 * log_std
    return 0.5 * each.sum(axis=1).mean()


def _distortion(critic, decoder, z):
    wanted = jnp.tile(_features(critic, jnp.asarray(IMAGES)), (K, 1))
    error = wanted - _features(critic, _decode(decoder, z))
    return 0.5 * jnp.square(error).sum(axis=1).mean()


def _generator(critic, decoder, z, draws):
    verdicts = [_log_odds(critic, _decode(decoder, codes)) for codes in (z, draws)]
    return -jax.nn.log_sigmoid(jnp.stack(verdicts)).mean()


def _cross_entropy(critic, decoder, z, draws):
    real = _log_odds(critic, jnp.asarray(IMAGES))
    reconstructed, sampled = (
        _log_odds(critic, _decode(decoder, u)) for u in (z, draws)
    )
    return -(
        0.5 * jax.nn.log_sigmoid(real).mean()
        + 0.25 * jax.nn.log_sigmoid(-reconstructed).mean()
        + 0.25 * jax.nn.log_sigmoid(-sampled).mean()
    )


def _assert_same(came, expected):
    def close(a, b):
        scale = float(np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * scale)
        assert scale > 1e-5

    jax.tree.map(close, came, expected)


@pytest.mark.slow
def test_the_encoder_minimises_rate_and_feature_distortion(step):
    def own(part):
        model = {**step.model, **part}
        z = _codes(model, step.noise)
        return _kl(model) + _distortion(step.critic, step.model["decoder"], z)

    part = {name: step.model[name] for name in ("encoder", "bottleneck")}
    came = {name: step.grads["model"][name] for name in part}
    _assert_same(came, jax.jit(jax.grad(own))(part))


def test_the_decoder_minimises_feature_distortion_and_persuades_the_critic(step):
    def own(decoder):
        z = _codes(step.model, step.noise)
        generator = _generator(step.critic, decoder, z, step.draws)
        return _distortion(step.critic, decoder, z) + WEIGHT * generator

    expected = jax.jit(jax.grad(own))(step.model["decoder"])
    _assert_same(step.grads["model"]["decoder"], expected)


def test_the_critic_minimises_its_cross_entropy(step):
    def own(critic):
        z = _codes(step.model, step.noise)
        return _cross_entropy(critic, step.model["decoder"], z, step.draws)

    expected = jax.jit(jax.grad(own))(step.critic)
    _assert_same(step.grads["objective"], expected)


def test_the_loss_and_its_parts(step):
    @jax.jit
    def by_hand(model, critic, noise, draws):
        z, decoder = _codes(model, noise), model["decoder"]
        return {
            "rate_nats": _kl(model),
            "feature_distortion_nats": _distortion(critic, decoder, z),
            "generator_loss": _generator(critic, decoder, z, draws),
            "critic_loss": _cross_entropy(critic, decoder, z, draws),
        }

    known = by_hand(step.model, step.critic, step.noise, step.draws)
    known = {name: float(value) for name, value in known.items()}
    kl, distortion = known["rate_nats"], known["feature_distortion_nats"]
    known["elbo_nats"] = -float(step.metrics["distortion_nats"]) - kl
    for name, value in known.items():
        assert step.metrics[name] == pytest.approx(value, rel=1e-4), name
    total = kl + distortion + WEIGHT * known["generator_loss"]
    assert step.loss == pytest.approx(float(total), rel=1e-4)


def test_a_critic_that_sees_pixels_measures_half_the_squared_error():
    """And the scale that the likelihood learns is left as it is."""
    recipe = vae_gan(
        SHAPE,
        DIM,
        network=networks.FullyConnected((4,)),
        critic=networks.MLP(()),
        likelihood="gaussian_shared",
    )
    state = _state(recipe)
    value = jax.value_and_grad(partial(_total, recipe, state), has_aux=True)
    (_, metrics), grads = jax.jit(value)(state.params)
    mean = jax.jit(lambda: _trace(recipe, state).likelihood.mean[0])()
    error = IMAGES - np.float64(mean)
    expected = 0.5 * np.square(error).sum(axis=(1, 2, 3)).mean()
    assert metrics["feature_distortion_nats"] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(grads["model"]["likelihood"]["log_std"], 0.0)


def test_the_critic_has_its_own_optimizer():
    recipe = vae_gan(SHAPE, DIM, critic_learning_rate=1e-2, **MLPS)
    state = _state(recipe)
    new, _ = jax.jit(make_train_step(recipe, SGD))(state, _batch())
    moved = jax.tree.map(np.subtract, *jax.device_get((new.params, state.params)))
    # The first step of Adam is the learning rate; that of SGD is the gradient's.
    largest = [
        max(float(np.abs(x).max()) for x in jax.tree.leaves(moved[player]))
        for player in ("model", "objective")
    ]
    assert largest[1] == pytest.approx(1e-2, rel=1e-2) != largest[0] > 1e-3


def test_the_default_critic_is_like_the_encoder_but_apart_from_it():
    recipe = vae_gan(SHAPE, DIM, network=networks.Convolutional((3,)))
    params = jax.device_get(_state(recipe).params)
    encoder, critic = params["model"]["encoder"], params["objective"]["encoder"]
    assert jax.tree.map(jnp.shape, encoder) == jax.tree.map(jnp.shape, critic)
    kernels = encoder["Conv_0"]["kernel"], critic["Conv_0"]["kernel"]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-2


def test_made_images_are_of_the_labels_of_the_batch():
    labelled = recipes.conditional_vae(
        SHAPE, DIM, num_labels=2, network=MLPS["network"], likelihood="gaussian"
    )
    recipe = labelled.replace(objective=ImageCritic(MLPS["critic"]))

    def batch(label):
        return _batch(label=jnp.full(len(IMAGES), label, jnp.int32))

    state = _state(recipe, batch(0))

    def verdict(label):
        metrics = _total(recipe, state, state.params, batch(label))[1]
        return metrics["generator_loss"]

    first, second = map(float, map(jax.jit(verdict), (0, 1)))
    assert np.isfinite([first, second]).all() and abs(first - second) > 1e-4


@pytest.mark.slow
def test_trains():
    result = fit(
        vae_gan(SHAPE, DIM, **MLPS),
        IMAGES,
        key=jax.random.key(0),
        epochs=10,
        batch_size=4,
        validation=IMAGES,
        monitor="validation_distortion_nats",
        progress=False,
    )
    assert int(result.state.step) == 20
    assert all(np.isfinite(list(row.values())).all() for row in result.history)
    assert {"critic_loss", "elbo_nats"} <= result.history[0].keys()
    assert result.history[-1]["skipped_steps"] == 0


@pytest.mark.parametrize("name", ["weight", "learning_rate"])
def test_bad_arguments_are_named(name):
    with pytest.raises(ArgumentError, match=name):
        ImageCritic(networks.MLP((4,)), **{name: -1.0})


def test_a_critic_with_statistics_is_refused():
    recipe = vae_gan(SHAPE, DIM, network=networks.FullyConnected((4,), batch_norm=True))
    with pytest.raises(ArgumentError, match=r"critic must be .*batch_stats"):
        _state(recipe)


def test_models_without_one_random_code_are_refused():
    objective = ImageCritic(networks.MLP((4,)))
    ladder = recipes.ladder_vae((8, 8, 1), channels=(4, 4, 4), latent_channels=2)
    batch = {"x": jnp.zeros((2, 8, 8, 1))}
    with pytest.raises(ArgumentError, match="for models with one latent, not 3"):
        _state(ladder.replace(objective=objective), batch)
    plain = recipes.autoencoder(SHAPE, DIM, network=networks.FullyConnected((4,)))
    recipe = plain.replace(objective=objective)
    state = _state(recipe)
    with pytest.raises(ArgumentError, match="needs a posterior and a prior"):
        jax.eval_shape(partial(_total, recipe, state), state.params)
