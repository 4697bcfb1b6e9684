# pyright: reportMissingImports=false
"""pythae's own models, data sets and trainer, whose `train_step` is an epoch."""

import tempfile
from collections.abc import Callable

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, VQVAE, IWAEConfig, VAEConfig, VQVAEConfig
from pythae.models.base import BaseAE
from pythae.models.nn.benchmarks import mnist
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor

from train.benchmark.peers.worker import Case, read_task, serve

SHAPE = (1, 28, 28)
NLL_CHUNK = 500
"""Samples at a time; it takes this many even where fewer are asked for."""
CUDA = torch.cuda.is_available()


def main() -> None:
    """Serves the case."""
    case, images = read_task()
    torch.manual_seed(0)
    model = make_model(case)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    rounds = evaluation if case["task"] == "nll" else training
    count = sum(values.numel() for values in model.parameters())
    serve(count, rounds(case, model, x), device_peak)


def make_model(case: Case) -> BaseAE:
    """With the networks of its benchmark, or its default MLP."""
    if (
        case["model"] == "vq-vae"
    ):  # as in examples/scripts/distributed_training_mnist.py
        config = VQVAEConfig(SHAPE, 32, num_embeddings=256, use_ema=True)
        encoder = mnist.Encoder_ResNet_VQVAE_MNIST(config)
        return VQVAE(config, encoder, mnist.Decoder_ResNet_VQVAE_MNIST(config))
    grey = {"input_dim": SHAPE, "latent_dim": 16, "reconstruction_loss": "bce"}
    if case["model"] == "conv-vae":
        config = VAEConfig(**grey)
        encoder = mnist.Encoder_Conv_VAE_MNIST(config)
        return VAE(config, encoder, mnist.Decoder_Conv_AE_MNIST(config))
    if case["task"] == "train" and case["samples"] > 1:
        return IWAE(IWAEConfig(**grey, number_samples=case["samples"]))
    return VAE(VAEConfig(**grey))


def training(case: Case, model: BaseAE, images: Tensor) -> Callable[[], float]:
    """A round is an epoch of the trainer."""
    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=case["batch_size"],
        learning_rate=case["learning_rate"],
    )
    trainer = BaseTrainer(
        model, BaseDataset(images, torch.zeros(len(images))), training_config=config
    )
    trainer.prepare_training()
    epoch = 0

    def one_round() -> float:
        nonlocal epoch
        epoch += 1
        return trainer.train_step(epoch)

    return one_round


def evaluation(case: Case, model: BaseAE, images: Tensor) -> Callable[[], float]:
    """A round is `get_nll`, without gradients."""
    model = model.eval().to("cuda" if CUDA else "cpu")
    images = images.to("cuda" if CUDA else "cpu")

    chunk = min(NLL_CHUNK, case["samples"])

    def one_round() -> float:
        with torch.no_grad():
            return -float(model.get_nll(images, case["samples"], chunk))

    return one_round


def device_peak() -> int | None:
    """Bytes in use at most."""
    return torch.cuda.max_memory_allocated() if CUDA else None


if __name__ == "__main__":
    main()
