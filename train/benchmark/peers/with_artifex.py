# pyright: reportMissingImports=false
"""artifex's VAE in its fastest loop, the staged epoch.

It goes through the images in their order, every epoch alike, and would leave out a
last batch that is not full.
"""

import jax
import jax.numpy as jnp
import optax
from artifex.generative_models.core.configuration import (
    DecoderConfig,
    EncoderConfig,
    VAEConfig,
)
from artifex.generative_models.models.vae import VAE
from artifex.generative_models.training.loops import train_epoch_staged
from artifex.generative_models.training.trainers import VAETrainer, VAETrainingConfig
from flax import nnx

from train.benchmark.peers.memory import device_peak
from train.benchmark.peers.worker import read_task, serve

SHAPE = (28, 28, 1)


def main() -> None:
    """Serves the case."""
    case, images = read_task()
    model = VAE(make_config(), rngs=nnx.Rngs(0, params=0, sample=1, dropout=2))
    adam = optax.adam(case["learning_rate"])
    optimizer = nnx.Optimizer(model, adam, wrt=nnx.Param)
    loss = VAETrainer(VAETrainingConfig(kl_annealing="none")).create_loss_fn("bce")
    data = jax.device_put(images.astype(jnp.float32) / 255)
    key, step = jax.random.key(0), 0

    def one_round() -> float:
        nonlocal step
        own = jax.random.fold_in(key, step)
        step, metrics = train_epoch_staged(
            model, optimizer, data, case["batch_size"], own, loss, base_step=step
        )
        return metrics["loss"]

    params = jax.tree.leaves(nnx.state(model, nnx.Param))
    serve(sum(leaf.size for leaf in params), one_round, device_peak)


def make_config() -> VAEConfig:
    """784-512-16-512-784."""
    layers = {"latent_dim": 16, "hidden_dims": (512,), "activation": "relu"}
    encoder = EncoderConfig(name="encoder", input_shape=SHAPE, **layers)
    decoder = DecoderConfig(name="decoder", output_shape=SHAPE, **layers)
    return VAEConfig(name="vae", encoder=encoder, decoder=decoder, encoder_type="dense")


if __name__ == "__main__":
    main()
