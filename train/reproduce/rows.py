"""The published results that are run again: what a paper says, and how it was had."""

from dataclasses import dataclass, replace
from typing import Any

import optax
from flax import linen as nn

from train.reproduce import coding, models, parts
from train.reproduce.protocol import Computation, Training


@dataclass(frozen=True)
class Row:
    """One published number.

    Attributes:
        about: What it is of, in a line.
        protocol: How it is had.
        published: The number.
        tolerance: How far from it ours may be.
        unit: Of both.
        source: Where it is published.
        minutes: That its whole protocol takes on two cores, about; above 200 by a few
            epochs of it.
        notes: In what ours differs, or the source says nothing.
    """

    about: str
    protocol: Training | Computation
    published: float
    tolerance: float
    unit: str
    source: str
    minutes: float
    notes: str = ""


def adam(rate: float = 1e-3) -> dict[str, Any]:
    """The same rate throughout, in a protocol."""
    return {"tx": lambda steps, epochs: optax.adam(rate), "optimizer": f"Adam {rate:g}"}


KERAS = Training(
    data=parts.mnist_60k,
    recipe=models.keras_autoencoder,
    measure=parts.cross_entropy,
    epochs=50,
    batch_size=128,
    **adam(),
)
KERAS_DENOISER = replace(KERAS, data=parts.mnist_once_noisy, epochs=100, after=KERAS)

TOMCZAK = Training(
    data=parts.mnist_50k,
    recipe=models.tomczak,
    measure=parts.nll(5000),
    epochs=2000,
    patience=50,
    batch_size=100,
    tx=lambda steps, epochs: parts.normalised_adam(5e-4),
    optimizer="Adam 0.0005 on gradients divided by their norm, tensor by tensor",
)
VAMP = replace(TOMCZAK, recipe=lambda *length: models.tomczak(*length, vamp=True))
CONV = replace(TOMCZAK, recipe=models.convolutional)
CONV_VAMP = replace(
    TOMCZAK, recipe=lambda *length: models.convolutional(*length, vamp=True)
)
JOINT = (
    "The two halves of a gated layer are one tensor here, as are mean and log std, so "
    "that their gradients have one norm"
)
PLAIN = f"{JOINT}; and these and the output layer begin as LeCun's, not as He's."
HALVES = "Mean and log std are one tensor here, of a tenth less by Glorot's rule."

BB_ANS = Training(
    data=parts.mnist_bits,
    recipe=models.townsend,
    measure=coding.file_size,
    epochs=20,
    batch_size=100,
    beside=coding.sizes_beside,
    **adam(),
)


def burda(recipe: models.Make) -> Training:
    """All that the paper's models have in common."""
    return Training(
        data=parts.mnist_60k,
        recipe=recipe,
        measure=parts.nll(5000),
        epochs=3280,
        batch_size=20,
        tx=parts.adam_in_stages,
        optimizer="Adam 0.001 with epsilon 0.0001, stages of 3^i epochs, 10^(-i/7)",
        begin=parts.as_burda,
    )


EXEMPLAR = "https://arxiv.org/abs/2004.04795, table 1"
BURDA = "https://arxiv.org/abs/1509.00519, table 1"
TOWNSEND = "https://arxiv.org/abs/1901.04866, table 2"
TIGHTER = "https://arxiv.org/abs/1802.04537, table 1"
NATS = "nats, -log p(x)"

ROWS: dict[str, Row] = {
    "keras-ae": Row(
        "Keras' convolutional auto-encoder",
        KERAS,
        0.0622,
        0.0005,
        "nats a pixel, cross-entropy",
        "https://keras.io/examples/vision/autoencoder",
        150,
    ),
    "keras-denoiser": Row(
        "Keras' denoiser, which goes on with it",
        KERAS_DENOISER,
        0.0839,
        0.0005,
        "nats a pixel, cross-entropy",
        "https://keras.io/examples/vision/autoencoder",
        450,
    ),
    "vae": Row(
        "VAE, dynamically binarised MNIST",
        TOMCZAK,
        84.45,
        0.3,
        NATS,
        EXEMPLAR,
        180,
        PLAIN,
    ),
    "vamp-vae": Row(
        "VampPrior of 500 pseudo-inputs, dynamically binarised MNIST",
        VAMP,
        82.43,
        0.4,
        NATS,
        EXEMPLAR,
        400,
        PLAIN,
    ),
    "hyperspherical-vae": Row(
        "hyperspherical VAE, dynamically binarised MNIST",
        Training(
            data=parts.mnist_60k,
            recipe=models.davidson,
            measure=parts.nll(500),
            epochs=500,
            batch_size=64,
            **adam(),
        ),
        93.13,
        0.5,
        NATS,
        "https://github.com/clementchadebec/benchmark_VAE, its table of reproductions",
        60,
    ),
    "flax-vae": Row(
        "Flax's example of a VAE, at epoch 21",
        Training(
            data=parts.mnist_50k,
            recipe=models.flax_example,
            measure=parts.negative_elbo,
            epochs=21,
            batch_size=128,
            **adam(),
        ),
        101.5,
        1.0,
        "nats, -ELBO",
        "https://github.com/google/flax/tree/main/examples/vae",
        2,
        "Binarised afresh at every step here, once, before the training, there; of the "
        "21 epochs the best by 10,000 further images.",
    ),
    "pca-30": Row(
        "30 principal components",
        Computation(parts.error_of_components(30), "PCA of 60,000 images"),
        13.87,
        0.05,
        "squared error an image",
        "https://doi.org/10.1126/science.1127647",
        0.2,
    ),
    "deep-ae-30": Row(
        "deep auto-encoder, 784-1000-500-250-30",
        Training(
            data=parts.mnist_60k,
            recipe=models.hinton,
            measure=parts.squared_error,
            epochs=200,
            batch_size=100,
            tx=lambda steps, epochs: optax.adam(
                optax.cosine_decay_schedule(1e-3, steps * epochs)
            ),
            optimizer="Adam 0.001, to 0 along a cosine",
        ),
        3.00,
        0.3,
        "squared error an image",
        "https://doi.org/10.1126/science.1127647",
        100,
        "Trained from the start by Adam with GELU, where the paper had layers trained "
        "one by one, logistic units and conjugate gradients.",
    ),
    "keras-vqvae": Row(
        "Keras' VQ-VAE",
        Training(
            data=parts.mnist_60k,
            recipe=models.keras_vqvae,
            measure=parts.relative_error,
            epochs=30,
            batch_size=128,
            begin=parts.narrow_codebook,
            **adam(),
        ),
        0.0444,
        0.005,
        "squared error over the pixels' variance",
        "https://keras.io/examples/generative/vq_vae",
        12,
        "Of the test set here; a mean over the last epoch's training batches there. "
        "Pixels lie in [0, 1] here, in [-0.5, 0.5] there.",
    ),
    "miwae": Row(
        "MIWAE, breast cancer, half of the values missing",
        Training(
            data=parts.breast_cancer,
            recipe=models.mattei,
            measure=parts.imputation_error,
            epochs=2002,
            batch_size=64,
            begin=parts.redrawn(nn.initializers.orthogonal()),
            **adam(),
        ),
        0.280,
        0.02,
        "squared error of a standardised value",
        "https://arxiv.org/abs/1812.02633, table 1",
        10,
        "Conditional means of 10,000 importance samples. The authors' notebook has 601 "
        "epochs, and 0.300; after 2,002 the known values are fitted too well, and over "
        "five seeds it was 0.309.",
    ),
    "bb-ans": Row(
        "BB-ANS, files of the 10,000 test images, binarised once",
        BB_ANS,
        0.19,
        0.005,
        "bits a pixel",
        TOWNSEND,
        7,
        "Test images are drawn once, training images afresh at every step. 20 epochs "
        "at 0.001, as the authors' program has, where the paper says nothing.",
    ),
    "bb-ans-8-bit": Row(
        "BB-ANS, files of the 10,000 test images",
        replace(BB_ANS, data=parts.mnist_60k, recipe=models.townsend_8_bit),
        1.41,
        0.03,
        "bits a pixel",
        TOWNSEND,
        30,
        "20 epochs, as the authors' program has, at twice its rate, and without its "
        "batch norm.",
    ),
    "conv-hvae": Row(
        "convolutional VAE of two layers, dynamically binarised MNIST",
        CONV,
        80.52,
        0.3,
        NATS,
        EXEMPLAR,
        60000,
        f"{JOINT}.",
    ),
    "conv-hvae-vamp": Row(
        "convolutional VAE of two layers, VampPrior of 500 pseudo-inputs",
        CONV_VAMP,
        79.67,
        0.4,
        NATS,
        EXEMPLAR,
        60000,
        f"{JOINT}.",
    ),
    **{
        name: Row(about, burda(recipe), value, 0.3, NATS, BURDA, minutes, HALVES)
        for name, about, recipe, value, minutes in (
            ("iwae-1", "IWAE, one layer, K = 1", models.burda(1), 86.76, 180),
            ("iwae-5", "IWAE, one layer, K = 5", models.burda(5), 85.54, 500),
            ("iwae-50", "IWAE, one layer, K = 50", models.burda(50), 84.78, 4500),
            (
                "iwae-2-layers-1",
                "IWAE, two layers, K = 1",
                models.burda_2(1),
                85.33,
                450,
            ),
            (
                "iwae-2-layers-5",
                "IWAE, two layers, K = 5",
                models.burda_2(5),
                83.89,
                1200,
            ),
            (
                "iwae-2-layers-50",
                "IWAE, two layers, K = 50",
                models.burda_2(50),
                82.90,
                9000,
            ),
            (
                "vae-5",
                "VAE, one layer, 5 samples",
                models.burda(5, weighted=False),
                86.47,
                500,
            ),
            (
                "vae-50",
                "VAE, one layer, 50 samples",
                models.burda(50, weighted=False),
                86.35,
                4500,
            ),
            (
                "vae-2-layers-5",
                "VAE, two layers, 5 samples",
                models.burda_2(5, weighted=False),
                85.01,
                1200,
            ),
            (
                "vae-2-layers-50",
                "VAE, two layers, 50 samples",
                models.burda_2(50, weighted=False),
                84.78,
                9000,
            ),
        )
    },
    **{
        name: Row(about, protocol, value, 0.3, NATS, TIGHTER, 6000, HALVES)
        for name, about, protocol, value in (
            ("miwae-8-8", "MIWAE (8, 8)", burda(models.burda(64, groups=8)), 84.97),
            (
                "piwae-8-8",
                "PIWAE (8, 8)",
                burda(models.burda(64, groups=8, gradient="piwae")),
                84.46,
            ),
            (
                "ciwae",
                "CIWAE, β = 0.05",
                burda(models.burda(64, elbo_weight=0.05)),
                84.57,
            ),
        )
    },
}
