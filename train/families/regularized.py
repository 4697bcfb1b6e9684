"""Auto-encoders that match an aggregate posterior to a prior, or are regularised."""

from dataclasses import dataclass, field

from jaxae import recipes
from jaxae.objectives.mmd import KernelName
from jaxae.recipes.regularized import ContractionEstimator, Regularizer
from train.families.base import Family, Likelihood
from train.networks import MLP, Conv, Network


@dataclass(frozen=True)
class FactorVAE(Family):
    """A critic's estimate of the total correlation is charged."""

    title = "factorising variational auto-encoder (FactorVAE)"
    # The loss has the verdict of a critic that learns.
    monitor = "validation_distortion_nats"
    make = staticmethod(recipes.factor_vae)
    latent_dim: int = 10
    """Number of latent dimensions."""
    weight: float = 10.0
    """Weight of the total correlation."""
    hidden: tuple[int, ...] = (256, 256)
    """Units of the critic's layers."""
    critic_learning_rate: float = 1e-4
    """Of the critic's own optimizer."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class AdversarialAutoEncoder(Family):
    """A critic matches the codes to the prior."""

    title = "adversarial auto-encoder"
    # The loss has the verdict of a critic that learns.
    monitor = "validation_distortion_nats"
    make = staticmethod(recipes.adversarial_autoencoder)
    latent_dim: int = 8
    """Number of latent dimensions."""
    weight: float = 1.0
    """Weight of the critic's verdict."""
    hidden: tuple[int, ...] = (256, 256)
    """Units of the critic's layers."""
    critic_learning_rate: float = 1e-4
    """Of the critic's own optimizer."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class VAEGAN(Family):
    """A critic of images, whose features also say how alike two images are."""

    title = "variational auto-encoder with a critic of images (VAE-GAN)"
    # The loss is in the unit of the critic's features, which grow as it learns.
    monitor = "validation_distortion_nats"
    make = staticmethod(recipes.vae_gan)
    latent_dim: int = 16
    """Number of latent dimensions."""
    weight: float = 1.0
    """Weight of the critic's verdict."""
    critic_learning_rate: float = 1e-3
    """Of the critic's own optimizer."""
    likelihood: Likelihood = "gaussian"
    """p(x | z), of which the mean alone is trained."""
    network: Network = field(default_factory=Conv)
    """The networks; the critic is built like the encoder."""


@dataclass(frozen=True)
class WAE(Family):
    """The Wasserstein auto-encoder with maximum mean discrepancy."""

    title = "Wasserstein auto-encoder"
    make = staticmethod(recipes.wae_mmd)
    latent_dim: int = 8
    """Number of latent dimensions."""
    weight: float = 10.0
    """Weight of the discrepancy."""
    kernel: KernelName = "inverse_multiquadratic"
    """Of the maximum mean discrepancy."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class InfoVAE(Family):
    """A VAE with less rate and a maximum mean discrepancy."""

    title = "information-maximising variational auto-encoder (InfoVAE)"
    make = staticmethod(recipes.info_vae_mmd)
    latent_dim: int = 16
    """Number of latent dimensions."""
    alpha: float = 0.5
    """1 minus the weight of the rate."""
    weight: float = 100.0
    """Weight of the discrepancy."""
    kernel: KernelName = "rbf"
    """Of the maximum mean discrepancy."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class ContractiveAutoEncoder(Family):
    """The slope of the encoder is charged."""

    title = "contractive auto-encoder"
    make = staticmethod(recipes.contractive_autoencoder)
    latent_dim: int = 128
    """Size of the code."""
    weight: float = 0.1
    """Weight of the squared norm of the Jacobian."""
    estimator: ContractionEstimator = "closed_form"
    """closed_form has an encoder of one layer; the others have an MLP."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""


@dataclass(frozen=True)
class RegularizedAutoEncoder(Family):
    """A smooth decoder and small codes in place of noise."""

    title = "regularised auto-encoder"
    make = staticmethod(recipes.regularized_autoencoder)
    latent_dim: int = 16
    """Size of the code."""
    regularizer: Regularizer = "l2"
    """What keeps the decoder smooth."""
    code_weight: float = 1e-2
    """Weight of half the squared norm of the code."""
    weight: float | None = None
    """Weight of the regularizer."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
