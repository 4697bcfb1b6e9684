"""The cases: what is trained, how much of it, and what that costs in FLOPs."""

from dataclasses import dataclass, replace
from typing import Literal

PEERS = ("jaxae", "scan", "torch", "torch-compile", "pythae", "artifex")
"""In the order in which they take turns."""

Model = Literal["mlp-vae", "keras-denoiser", "conv-vae", "vq-vae"]
Task = Literal["train", "nll", "start"]


@dataclass(frozen=True)
class Case:
    """One model, trained or evaluated by several peers.

    Attributes:
        name: On the command line.
        words: For people.
        model: Which networks and loss.
        batch_size: Images of a step.
        images: Of a round; a multiple of the batch.
        encoder: Multiply-adds of its layers for one image, input first.
        decoder: Those of the decoder for one code.
        search: Those without a gradient: of the search in a codebook.
        samples: Codes per image.
        task: Train, evaluate -log p(x), or time the start of a program.
        learning_rate: Adam's.
        peers: That have this model.
    """

    name: str
    words: str
    model: Model
    batch_size: int
    images: int
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    search: int = 0
    samples: int = 1
    task: Task = "train"
    learning_rate: float = 1e-3
    peers: tuple[str, ...] = PEERS

    @property
    def flops(self) -> int:
        """For one image: two for every multiply-add of a layer, and nothing else.

        Training costs every layer three products, of which the first one needs no
        gradient by its input. Products with padding count; transposed convolutions
        count what they spread, and no zeros in between.
        """
        forward = sum(self.encoder) + self.samples * sum(self.decoder)
        if self.task == "nll":
            return 2 * forward
        return 2 * (3 * forward - self.encoder[0] + self.search)

    def shorten(self, images: int | None) -> "Case":
        """With at most so many images a round, but a whole batch."""
        if images is None or images >= self.images:
            return self
        return replace(self, images=max(1, images // self.batch_size) * self.batch_size)


def dense(inputs: int, outputs: int) -> int:
    """Multiply-adds of a linear layer."""
    return inputs * outputs


def conv(side: int, kernel: int, inputs: int, outputs: int) -> int:
    """Multiply-adds of a convolution.

    `side` is that of the result, or of the input if the convolution is transposed.
    """
    return side**2 * kernel**2 * inputs * outputs


_MLP = {
    "model": "mlp-vae",
    "encoder": (dense(784, 512), dense(512, 2 * 16)),
    "decoder": (dense(16, 512), dense(512, 784)),
}
_RESIDUAL = 2 * (conv(4, 3, 128, 32) + conv(4, 1, 32, 128))

CASES = (
    Case(
        name="mlp-100",
        words="VAE 784-512-16, batch 100",
        batch_size=100,
        images=60_000,
        **_MLP,
    ),
    Case(
        name="mlp-1024",
        words="VAE 784-512-16, batch 1,024",
        batch_size=1024,
        images=58 * 1024,
        **_MLP,
    ),
    Case(
        name="keras-denoiser",
        words="Keras' denoiser, batch 128",
        model="keras-denoiser",
        batch_size=128,
        images=20 * 128,
        encoder=(conv(28, 3, 1, 32), conv(14, 3, 32, 32)),
        decoder=(conv(7, 3, 32, 32), conv(14, 3, 32, 32), conv(28, 3, 32, 1)),
        peers=("jaxae", "scan", "torch", "torch-compile"),
    ),
    Case(
        name="pythae-conv-vae",
        words="pythae's convolutional VAE, batch 100",
        model="conv-vae",
        batch_size=100,
        images=1_000,
        encoder=(
            conv(14, 4, 1, 128),
            conv(7, 4, 128, 256),
            conv(3, 4, 256, 512),
            conv(1, 4, 512, 1024),
            dense(1024, 2 * 16),
        ),
        decoder=(
            dense(16, 16 * 1024),
            conv(4, 3, 1024, 512),
            conv(7, 3, 512, 256),
            conv(14, 3, 256, 1),
        ),
        learning_rate=1e-4,  # pythae's default; at 1e-3 the first variances explode
        peers=("jaxae", "torch", "torch-compile", "pythae"),
    ),
    Case(
        name="vq-vae",
        words="pythae's VQ-VAE, batch 1,024",
        model="vq-vae",
        batch_size=1024,
        images=8 * 1024,
        encoder=(
            conv(14, 4, 1, 64),
            conv(7, 4, 64, 128),
            conv(4, 3, 128, 128),
            _RESIDUAL,
            conv(4, 1, 128, 32),
        ),
        decoder=(
            conv(4, 1, 32, 128),
            conv(4, 3, 128, 128),
            _RESIDUAL * 49 // 16,  # of 7 x 7 pixels
            conv(7, 3, 128, 64),
            conv(14, 3, 64, 1),
        ),
        search=2 * conv(4, 1, 32, 256),  # the nearest codes, and their new means
        peers=("jaxae", "torch", "torch-compile", "pythae"),
    ),
    Case(
        name="iwae-50",
        words="IWAE of 50 samples, batch 100",
        batch_size=100,
        images=2_000,
        samples=50,
        peers=("jaxae", "scan", "torch", "torch-compile", "pythae"),
        **_MLP,
    ),
    Case(
        name="nll",
        words="-log p(x) by 1,000 samples",
        batch_size=1,
        images=200,
        samples=1000,
        task="nll",
        peers=("jaxae", "scan", "torch", "pythae"),
        **_MLP,
    ),
    Case(
        name="start",
        words="from the command to training, VAE 784-512-16, batch 100",
        batch_size=100,
        images=60_000,
        task="start",
        **_MLP,
    ),
)
"""All of them."""
