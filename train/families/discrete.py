"""Discrete and sparse codes, several latents, and patches."""

from dataclasses import dataclass, field
from typing import Any

from jaxae import recipes
from jaxae.bottlenecks.quantized import Estimator, Learning
from jaxae.bottlenecks.sparse import SparseActivation
from train.families.base import Family, Likelihood, Plan
from train.families.variational import warm_up
from train.networks import Conv, Network


@dataclass(frozen=True)
class VQVAE(Family):
    """A code of whole numbers, each an entry of a learned codebook."""

    title = "vector-quantised auto-encoder (VQ-VAE)"
    make = staticmethod(recipes.vqvae)
    codebook_size: int = 128
    """Entries of the codebook."""
    code_dim: int = 16
    """Dimensions of an entry."""
    codebook: Learning = "ema"
    """Entries as running means, or learned by the gradient."""
    num_quantizers: int = 1
    """Codebooks, each for what the one before leaves: residual VQ above 1."""
    gradient_estimator: Estimator = "straight_through"
    """How gradients pass the quantisation."""
    commitment_weight: float = 0.25
    """Weight of the distance between features and entries."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    network: Network = field(default_factory=Conv)
    """The networks."""


@dataclass(frozen=True)
class FSQ(Family):
    """Finite scalar quantisation: every code dimension is rounded to a few levels."""

    title = "auto-encoder with finite scalar quantisation"
    make = staticmethod(recipes.fsq_autoencoder)
    levels: tuple[int, ...] = (8, 5, 5, 5)
    """Levels of every code dimension."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    network: Network = field(default_factory=Conv)
    """The networks."""


@dataclass(frozen=True)
class LFQ(Family):
    """Lookup-free quantisation: every code dimension is a bit."""

    title = "auto-encoder with lookup-free quantisation"
    make = staticmethod(recipes.lfq_autoencoder)
    bits: int = 10
    """Code dimensions."""
    entropy_weight: float = 0.3
    """Weight of the entropy penalty."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
    network: Network = field(default_factory=Conv)
    """The networks."""


@dataclass(frozen=True)
class SparseAutoEncoder(Family):
    """A linear encoder, a sparse code and unit-norm atoms."""

    title = "sparse auto-encoder"
    # The loss has the auxiliary term, which is for the dead alone.
    monitor = "validation_distortion_nats"
    make = staticmethod(recipes.sparse_autoencoder)
    latent_dim: int = 1024
    """Atoms."""
    activation: SparseActivation = "topk"
    """What makes the code sparse."""
    k: int = 32
    """Active latents per example, for topk and batch_topk."""
    sparsity_weight: float = 0.01
    """Weight of the penalty of the other activations."""
    bandwidth: float = 0.001
    """Width of the window around a threshold of jump_relu; small batches need more."""
    aux_weight: float | None = None
    """Weight of AuxK; 1/32 for topk and batch_topk and otherwise 0 if not given."""
    dead_after: int = 10_000
    """Examples without activity after which a latent is dead."""
    resample_every: int | None = None
    """Steps between resamplings of dead latents; none if not given."""


@dataclass(frozen=True)
class LadderVAE(Family):
    """A hierarchical VAE, convolutional, with a latent per stage."""

    title = "ladder variational auto-encoder"
    make = staticmethod(recipes.ladder_vae)
    latent_channels: int = 4
    """Channels of every latent."""
    channels: tuple[int, ...] = (32, 32, 32)
    """Channels of the stages, each of which halves the image."""
    stem: int = 16
    """Channels of a first halving without a latent; 0 for none."""
    beta: float = 1.0
    """Weight of the rates."""
    warmup_epochs: float = 2.0
    """Epochs over which that weight grows from 0."""
    free_bits: float = 0.0
    """Nats per latent dimension that the rates charge at least."""
    likelihood: Likelihood = "bernoulli"
    """p(x | z); under bernoulli the images are binarised afresh at every step."""

    def options(self, plan: Plan) -> dict[str, Any]:
        """See `Family`."""
        values = super().options(plan)
        steps = round(values.pop("warmup_epochs") * plan.steps_per_epoch)
        if steps:
            values["beta"] = warm_up(self.beta, steps)
        return values


@dataclass(frozen=True)
class MaskedAutoEncoder(Family):
    """A small vision transformer that predicts hidden patches."""

    title = "masked auto-encoder"
    make = staticmethod(recipes.masked_autoencoder)
    patch: int = 4
    """Side of a patch."""
    rate: float = 0.75
    """Share of the patches that are hidden."""
    width: int = 64
    """Width of the encoder."""
    depth: int = 2
    """Blocks of the encoder."""
    likelihood: Likelihood = "gaussian"
    """p(x | z); gaussian is the squared error."""
