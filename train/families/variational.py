"""The variational auto-encoder, with other bounds, penalties, priors and posteriors."""

from dataclasses import dataclass, field
from typing import Any, Literal

import optax

from jaxae import recipes
from jaxae.bottlenecks.flow import Flow
from jaxae.errors import require
from jaxae.schedules import Cyclical
from jaxae.objectives.base import Weight
from jaxae.objectives.importance import Gradient
from train.families.base import Family, Likelihood, Plan
from train.networks import MLP, Network


@dataclass(frozen=True)
class VAE(Family):
    """The variational auto-encoder."""

    title = "variational auto-encoder"
    make = staticmethod(recipes.vae)
    latent_dim: int = 16
    """Number of latent dimensions."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    beta: float = 1.0
    """Weight of the rate, the KL divergence from the prior."""
    warmup_epochs: float = 0.0
    """Epochs over which the weight of the rate grows from 0 to beta."""
    cycle_epochs: float = 0.0
    """Epochs after which that weight starts again at 0, to grow for half of them."""
    free_bits: float = 0.0
    """Nats per latent dimension that the rate charges at least."""
    capacity: float | None = None
    """Nats that the rate is held at, growing from 0 over the warm-up."""
    num_samples: int = 1
    """Samples of the code per image and step."""
    log_std_range: tuple[float, float] | None = None
    """Lowest and highest logarithm of the posterior's standard deviations."""
    network: Network = field(default_factory=MLP)
    """The networks."""

    def options(self, plan: Plan) -> dict[str, Any]:
        """See `Family`."""
        values = super().options(plan)
        warmup, cycle = values.pop("warmup_epochs"), values.pop("cycle_epochs")
        for name in ("beta", "warmup_epochs", "cycle_epochs"):
            value = getattr(self, name)
            require(value >= 0, f"--model.{name}", value, "at least 0")
        one = not (warmup and cycle)
        require(one, "--model.cycle_epochs", cycle, "0 with warm-up epochs")
        grows = "beta" if self.capacity is None else "capacity"
        steps = max(1, round((warmup or cycle) * plan.steps_per_epoch))
        if warmup:
            values[grows] = warm_up(values[grows], steps)
        elif cycle:
            values["beta"] = Cyclical(steps, self.beta)
        return values


def warm_up(weight: float, steps: int) -> Weight:
    """From 0 to `weight` in so many steps."""
    return optax.linear_schedule(0.0, weight, steps)


@dataclass(frozen=True)
class IWAE(Family):
    """The importance-weighted auto-encoder."""

    title = "importance-weighted auto-encoder"
    make = staticmethod(recipes.iwae)
    latent_dim: int = 16
    """Number of latent dimensions."""
    num_samples: int = 5
    """K, the samples of the code per image and step."""
    gradient: Gradient = "plain"
    """The estimator of the gradient; piwae trains the encoder on groups of samples."""
    groups: int = 1
    """Groups that the samples are divided into: MIWAE above 1."""
    elbo_weight: float = 0.0
    """Weight of the ELBO beside the bound, from 0 to 1: CIWAE."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class BetaTCVAE(Family):
    """A weight on the total correlation of the code."""

    title = "total-correlation variational auto-encoder (β-TC-VAE)"
    make = staticmethod(recipes.beta_tc_vae)
    latent_dim: int = 10
    """Number of latent dimensions."""
    beta: float = 6.0
    """Weight of the total correlation."""
    sampling: Literal["weighted", "stratified"] = "weighted"
    """The estimator of the aggregate posterior from a batch."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""

    def options(self, plan: Plan) -> dict[str, Any]:
        """See `Family`."""
        return {**super().options(plan), "data_size": plan.train_size}


@dataclass(frozen=True)
class VampVAE(Family):
    """The prior is the mixture of the posteriors of learned inputs."""

    title = "variational auto-encoder with a VampPrior"
    make = staticmethod(recipes.vamp_vae)
    latent_dim: int = 40
    """Number of latent dimensions."""
    components: int = 500
    """Learned inputs."""
    beta: float = 1.0
    """Weight of the rate, the KL divergence from the prior."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class MixtureVAE(Family):
    """The prior is a learned mixture of Gaussians."""

    title = "variational auto-encoder with a mixture prior"
    make = staticmethod(recipes.mixture_vae)
    latent_dim: int = 16
    """Number of latent dimensions."""
    components: int = 10
    """Gaussians."""
    beta: float = 1.0
    """Weight of the rate, the KL divergence from the prior."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class FlowVAE(Family):
    """The posterior goes through a normalizing flow."""

    title = "variational auto-encoder with a flow posterior"
    make = staticmethod(recipes.flow_vae)
    latent_dim: int = 16
    """Number of latent dimensions."""
    flow: Flow = "iaf"
    """The kind of layers."""
    layers: int = 4
    """How many of them."""
    hidden: tuple[int, ...] = (320,)
    """Units of the masked networks inside autoregressive layers."""
    beta: float = 1.0
    """Weight of the rate, the KL divergence from the prior."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class ConditionalVAE(Family):
    """Encoder and decoder are shown the label."""

    title = "conditional variational auto-encoder"
    make = staticmethod(recipes.conditional_vae)
    latent_dim: int = 16
    """Number of latent dimensions."""
    num_labels: int = 10
    """How many labels there are."""
    beta: float = 1.0
    """Weight of the rate, the KL divergence from the prior."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""


@dataclass(frozen=True)
class HypersphericalVAE(Family):
    """Codes on a sphere: von Mises-Fisher posteriors, a uniform prior."""

    title = "hyperspherical variational auto-encoder"
    make = staticmethod(recipes.hyperspherical_vae)
    latent_dim: int = 10
    """Dimensions of the space around the sphere."""
    beta: float = 1.0
    """Weight of the rate, the KL divergence from the prior."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""
    network: Network = field(default_factory=MLP)
    """The networks."""
