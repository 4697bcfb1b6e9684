"""Classic, denoising and inpainting auto-encoders."""

from dataclasses import dataclass, field
from typing import Any, Literal

from jaxae import corruptions, recipes
from jaxae.objectives import Region
from train.families.base import Family, Likelihood, Plan
from train.networks import MLP, Conv, Network


@dataclass(frozen=True)
class AutoEncoder(Family):
    """The classic auto-encoder."""

    title = "auto-encoder"
    make = staticmethod(recipes.autoencoder)
    latent_dim: int = 32
    """Size of the code."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    l1: float = 0.0
    """Weight of an L1 penalty on the code, in nats."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class Denoiser(Family):
    """The denoising auto-encoder."""

    title = "denoising auto-encoder"
    make = staticmethod(recipes.denoising_autoencoder)
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

    def options(self, plan: Plan) -> dict[str, Any]:
        """See `Family`."""
        values = super().options(plan)
        damage, noise = values.pop("damage"), values.pop("noise")
        damages = {
            "gaussian": lambda: corruptions.GaussianNoise(noise, clip=True),
            "masking": lambda: corruptions.Masking(noise),
            "salt_and_pepper": lambda: corruptions.SaltAndPepper(noise),
        }
        return {**values, "corruption": damages[damage]()}


@dataclass(frozen=True)
class Inpainter(Family):
    """The inpainting auto-encoder."""

    title = "inpainting auto-encoder"
    make = staticmethod(recipes.inpainting_autoencoder)
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

    def options(self, plan: Plan) -> dict[str, Any]:
        """See `Family`."""
        values = super().options(plan)
        damage = corruptions.Holes(*values.pop("hole"))
        return {**values, "corruption": damage}


@dataclass(frozen=True)
class KerasDenoiser(Family):
    """The denoiser of Keras' examples, 28,353 parameters."""

    title = "denoising auto-encoder"
    make = staticmethod(recipes.keras_denoiser)
    noise: float = 0.4
    """Standard deviation of the noise, fresh at every step, clipped to [0, 1]."""
