"""What the command line can set: frozen dataclasses, from which recipes are made.

The text under every field is its help on the command line.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jax
import optax

import jaxae
from jaxae import corruptions, likelihoods, recipes
from jaxae.errors import require
from jaxae.objectives import Region
from jaxae.objectives.base import Weight

Activation = Literal["relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu"]
if TYPE_CHECKING:
    Likelihood = str
else:
    Likelihood = Literal[likelihoods.NAMES]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class MLP:
    """Fully connected layers."""

    hidden: tuple[int, ...] = (512,)
    """Units of the encoder's layers; the decoder mirrors them."""
    gated: bool = False
    """Gated layers, h * sigmoid(g), which replace the activation."""
    activation: Activation = "relu"
    """Between the layers."""
    batch_norm: bool = False
    """Normalise before every activation."""

    def networks(self) -> recipes.Networks:
        """The encoder and the decoder's factory."""
        return recipes.mlp(
            self.hidden,
            gated=self.gated,
            activation=getattr(jax.nn, self.activation),
            batch_norm=self.batch_norm,
        )


@dataclass(frozen=True)
class Conv:
    """Strided convolutions; every stage halves the image."""

    channels: tuple[int, ...] = (32, 64)
    """Channels of the encoder's stages; the decoder mirrors them."""
    kernel_size: int = 3
    """Of the strided convolutions."""
    residual_blocks: int = 0
    """Residual blocks in every stage."""
    activation: Activation = "relu"
    """Between the layers."""
    batch_norm: bool = False
    """Normalise before every activation."""

    def networks(self) -> recipes.Networks:
        """The encoder and the decoder's factory."""
        return recipes.conv(
            self.channels,
            kernel_size=self.kernel_size,
            residual_blocks=self.residual_blocks,
            activation=getattr(jax.nn, self.activation),
            batch_norm=self.batch_norm,
        )


Network = MLP | Conv


@dataclass(frozen=True)
class AutoEncoder:
    """The classic auto-encoder."""

    latent_dim: int = 32
    """Size of the code."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    l1: float = 0.0
    """Weight of an L1 penalty on the code, in nats."""
    network: Network = field(default_factory=MLP)
    """The networks."""

    def recipe(self, shape: Shape, steps_per_epoch: int) -> jaxae.Recipe:
        """For examples of this shape."""
        del steps_per_epoch
        return recipes.autoencoder(
            shape,
            self.latent_dim,
            network=self.network.networks(),
            likelihood=self.likelihood,
            l1=self.l1,
        )


@dataclass(frozen=True)
class Denoiser:
    """The denoising auto-encoder."""

    latent_dim: int = 128
    """Size of the code."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    damage: Literal["gaussian", "masking", "salt_and_pepper"] = "gaussian"
    """What is done to the images, afresh at every step."""
    noise: float = 0.4
    """Standard deviation of the gaussian noise, or the rate of the other two."""
    network: Network = field(default_factory=MLP)
    """The networks."""

    def recipe(self, shape: Shape, steps_per_epoch: int) -> jaxae.Recipe:
        """For examples of this shape."""
        del steps_per_epoch
        damages = {
            "gaussian": lambda: corruptions.gaussian_noise(self.noise, clip=True),
            "masking": lambda: corruptions.masking(self.noise),
            "salt_and_pepper": lambda: corruptions.salt_and_pepper(self.noise),
        }
        return recipes.denoising_autoencoder(
            shape,
            self.latent_dim,
            corruption=damages[self.damage](),
            network=self.network.networks(),
            likelihood=self.likelihood,
        )


@dataclass(frozen=True)
class Inpainter:
    """The inpainting auto-encoder."""

    latent_dim: int = 128
    """Size of the code."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    hole: tuple[int, int] = (12, 12)
    """Height and width of the hole, at a random place in every image and step."""
    region: Region = "hole"
    """Where the loss counts."""
    network: Network = field(default_factory=Conv)
    """The networks."""

    def recipe(self, shape: Shape, steps_per_epoch: int) -> jaxae.Recipe:
        """For examples of this shape."""
        del steps_per_epoch
        return recipes.inpainting_autoencoder(
            shape,
            self.latent_dim,
            corruption=corruptions.holes(*self.hole),
            network=self.network.networks(),
            likelihood=self.likelihood,
            region=self.region,
        )


@dataclass(frozen=True)
class VAE:
    """The variational auto-encoder."""

    latent_dim: int = 16
    """Number of latent dimensions."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    beta: float = 1.0
    """Weight of the rate, the KL divergence from the prior."""
    warmup_epochs: float = 0.0
    """Epochs over which the weight of the rate grows from 0 to beta."""
    free_bits: float = 0.0
    """Nats per latent dimension that the rate charges at least."""
    num_samples: int = 1
    """Samples of the code per image and step."""
    log_std_range: tuple[float, float] | None = None
    """Lowest and highest logarithm of the posterior's standard deviations."""
    network: Network = field(default_factory=MLP)
    """The networks."""

    def recipe(self, shape: Shape, steps_per_epoch: int) -> jaxae.Recipe:
        """For examples of this shape."""
        beta: Weight = self.beta
        for name in ("beta", "warmup_epochs"):
            value = getattr(self, name)
            require(value >= 0, f"--model.{name}", value, "at least 0")
        if self.warmup_epochs:
            steps = max(1, round(self.warmup_epochs * steps_per_epoch))
            beta = optax.linear_schedule(0.0, self.beta, steps)
        return recipes.vae(
            shape,
            self.latent_dim,
            network=self.network.networks(),
            likelihood=self.likelihood,
            beta=beta,
            free_bits=self.free_bits,
            num_samples=self.num_samples,
            log_std_range=self.log_std_range,
        )


@dataclass(frozen=True)
class KerasDenoiser:
    """The denoiser of Keras' examples, 28,353 parameters."""

    noise: float = 0.4
    """Standard deviation of the noise, fresh at every step, clipped to [0, 1]."""

    def recipe(self, shape: Shape, steps_per_epoch: int) -> jaxae.Recipe:
        """For images of this shape."""
        del steps_per_epoch
        return recipes.keras_denoiser(shape, self.noise)


@dataclass(frozen=True)
class Optimizer:
    """Adam."""

    learning_rate: float = 1e-3
    """At the start."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Down to 1 % of it at the end, or constant."""
    weight_decay: float = 0.0
    """Decoupled (AdamW)."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient."""

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """For a training of so many steps."""
        rate = self.learning_rate
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, steps, alpha=0.01)
        adam = optax.adamw(rate, weight_decay=self.weight_decay)
        if not self.weight_decay:
            adam = optax.adam(rate)
        if self.clip_norm is None:
            return adam
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adam)


@dataclass(frozen=True)
class Config:
    """Trains an auto-encoder."""

    model: AutoEncoder | Denoiser | Inpainter | VAE | KerasDenoiser
    """The family and its networks."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """The optimizer."""
    data: str = "mnist"
    """mnist (embedded), tfds:NAME, FILE.npy, FILE.npz, or a FOLDER of PNG and JPEG."""
    image_size: tuple[int, int] | None = None
    """Height and width to resize the images to."""
    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 100
    """Images per step."""
    seed: int = 0
    """Everything random follows from it."""
    nll_samples: int = 500
    """Importance samples per test image for the log-likelihood; 0 leaves it out."""
    out: Path | None = None
    """Directory of the run; runs/PRESET-DATE if not given."""
    overwrite: bool = False
    """Replace the run that is already there."""
    tensorboard: bool = False
    """Write scalars and pictures for TensorBoard into the run's directory."""
