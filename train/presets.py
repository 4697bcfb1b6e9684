"""The presets of `python -m train`: a name, what it is, and its configuration."""

from train.config import (
    MLP,
    VAE,
    AutoEncoder,
    Config,
    Conv,
    Denoiser,
    Inpainter,
    KerasDenoiser,
    Optimizer,
)

DEFAULT = "vae"

PRESETS: dict[str, tuple[str, Config]] = {
    "vae": (
        "Variational auto-encoder, two gated layers, 40 latent dimensions.",
        Config(VAE(latent_dim=40, network=MLP((300, 300), gated=True))),
    ),
    "conv-vae": (
        "Variational auto-encoder with convolutional networks.",
        Config(VAE(latent_dim=32, network=Conv()), epochs=10),
    ),
    "ae": ("Classic auto-encoder.", Config(AutoEncoder())),
    "conv-ae": (
        "Classic auto-encoder with convolutional networks.",
        Config(AutoEncoder(network=Conv()), epochs=10),
    ),
    "dae": (
        "Denoising auto-encoder: gaussian noise of 0.4.",
        Config(Denoiser(network=MLP((1024,)))),
    ),
    "conv-dae": (
        "Denoising auto-encoder with convolutional networks.",
        Config(Denoiser(network=Conv()), epochs=10),
    ),
    "inpaint": (
        "Inpainting auto-encoder: fills holes of 12x12 pixels.",
        Config(Inpainter(), epochs=10),
    ),
    "keras-dae": (
        "The convolutional denoiser of Keras' examples, 28,353 parameters.",
        Config(
            KerasDenoiser(),
            optimizer=Optimizer(schedule="constant"),
            epochs=5,
            batch_size=128,
        ),
    ),
}
