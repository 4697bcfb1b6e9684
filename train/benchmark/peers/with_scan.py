"""A hand-written JAX loop: linen layers, optax, and a scan over a shuffled epoch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import Array

from train.benchmark.peers.memory import device_peak
from train.benchmark.peers.worker import Case, read_task, serve

LATENT = 16


class VAE(nn.Module):
    """784-512-16-512-784."""

    def setup(self) -> None:
        """Makes the layers."""
        self.encoder = nn.Sequential([nn.Dense(512), nn.relu, nn.Dense(2 * LATENT)])
        self.decoder = nn.Sequential([nn.Dense(512), nn.relu, nn.Dense(784)])

    def __call__(self, x: Array, key: Array, samples: int) -> tuple[Array, ...]:
        """Mean and log std of the posterior, noise, code [k, b, d] and logits."""
        mean, log_std = jnp.split(self.encoder(x), 2, axis=-1)
        noise = jax.random.normal(key, (samples, *mean.shape))
        z = mean + jnp.exp(log_std) * noise
        return mean, log_std, noise, z, self.decoder(z)


class Denoiser(nn.Module):
    """That of Keras' example."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits."""
        for _ in range(2):
            x = nn.relu(nn.Conv(32, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2), "SAME")
        for _ in range(2):
            x = nn.relu(nn.ConvTranspose(32, (3, 3), (2, 2))(x))
        return nn.Conv(1, (3, 3))(x)


Apply = Callable[..., Any]
Loss = Callable[[Apply, Any, Array, Array, int], Array]


def elbo_loss(apply: Apply, params: Any, x: Array, key: Array, _: int) -> Array:
    """Cross-entropy and KL divergence per image."""
    x = x.reshape(len(x), -1)
    mean, log_std, _, _, logits = apply(params, x, key, 1)
    error = optax.sigmoid_binary_cross_entropy(logits[0], x)
    kl = -0.5 * (1 + 2 * log_std - mean**2 - jnp.exp(2 * log_std))
    return error.sum(-1) + kl.sum(-1)


def bound_loss(apply: Apply, params: Any, x: Array, key: Array, samples: int) -> Array:
    """The importance-weighted bound per image, negative."""
    x = x.reshape(len(x), -1)
    _, log_std, noise, z, logits = apply(params, x, key, samples)
    error = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    log_q = (-0.5 * noise**2 - log_std).sum(-1)
    log_weights = -error - 0.5 * (z**2).sum(-1) - log_q
    return jnp.log(samples) - jax.nn.logsumexp(log_weights, axis=0)


def denoising_loss(apply: Apply, params: Any, x: Array, key: Array, _: int) -> Array:
    """Cross-entropy per image, from the noisy one."""
    noisy = jnp.clip(x + 0.4 * jax.random.normal(key, x.shape), 0, 1)
    logits = apply(params, noisy)
    return optax.sigmoid_binary_cross_entropy(logits, x).sum((1, 2, 3))


def main() -> None:
    """Serves the case."""
    case, images = read_task()
    key = jax.random.key(0)
    if case["model"] == "keras-denoiser":
        module, loss = Denoiser(), denoising_loss
        params = module.init(key, jnp.zeros((1, 28, 28, 1)))
    else:
        module, loss = VAE(), elbo_loss if case["samples"] == 1 else bound_loss
        params = module.init(key, jnp.zeros((1, 784)), key, 1)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    rounds = evaluation if case["task"] == "nll" else training
    one_round = rounds(case, module.apply, loss, params, jax.device_put(images))
    serve(count, one_round, device_peak)


def training(
    case: Case, apply: Apply, loss: Loss, params: Any, images: Array
) -> Callable[[], float]:
    """A round is an epoch, one compiled function."""
    tx = optax.adam(case["learning_rate"])

    def mean_loss(params: Any, x: Array, key: Array) -> Array:
        return loss(apply, params, x, key, case["samples"]).mean()

    def epoch(params: Any, opt_state: Any, key: Array, images: Array) -> Any:
        def step(carry: Any, rows: Array) -> tuple[Any, Array]:
            params, opt_state, key = carry
            key, own = jax.random.split(key)
            x = images[rows].astype(jnp.float32) / 255
            value, grads = jax.value_and_grad(mean_loss)(params, x, own)
            updates, opt_state = tx.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state, key), value

        key, own = jax.random.split(key)
        rows = jax.random.permutation(own, len(images)).reshape(-1, case["batch_size"])
        state, losses = jax.lax.scan(step, (params, opt_state, key), rows)
        return state, losses.mean()

    epoch = jax.jit(epoch, donate_argnums=(0, 1))
    state = (params, tx.init(params), jax.random.key(1))

    def one_round() -> float:
        nonlocal state
        state, value = epoch(*state, images)
        return float(value)

    return one_round


def evaluation(
    case: Case, apply: Apply, loss: Loss, params: Any, images: Array
) -> Callable[[], float]:
    """A round is the log-likelihood of all images, one after the other."""

    @jax.jit
    def all_images(params: Any, images: Array, key: Array) -> Array:
        def one(each: tuple[Array, Array]) -> Array:
            x = each[0].astype(jnp.float32)[None] / 255
            return loss(apply, params, x, each[1], case["samples"])[0]

        return jax.lax.map(one, (images, jax.random.split(key, len(images))))

    def one_round() -> float:
        return float(np.mean(all_images(params, images, jax.random.key(1))))

    return one_round


if __name__ == "__main__":
    main()
