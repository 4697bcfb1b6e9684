"""The families that the command line can train."""

from train.families.base import Plan
from train.families.classic import AutoEncoder, Denoiser, Inpainter, KerasDenoiser
from train.families.discrete import (
    FSQ,
    LFQ,
    VQVAE,
    LadderVAE,
    MaskedAutoEncoder,
    SparseAutoEncoder,
)
from train.families.regularized import (
    VAEGAN,
    WAE,
    AdversarialAutoEncoder,
    ContractiveAutoEncoder,
    FactorVAE,
    InfoVAE,
    RegularizedAutoEncoder,
)
from train.families.variational import (
    IWAE,
    VAE,
    BetaTCVAE,
    ConditionalVAE,
    FlowVAE,
    HypersphericalVAE,
    MixtureVAE,
    VampVAE,
)

Model = (
    AutoEncoder
    | Denoiser
    | Inpainter
    | KerasDenoiser
    | VAE
    | IWAE
    | BetaTCVAE
    | VampVAE
    | MixtureVAE
    | FlowVAE
    | ConditionalVAE
    | HypersphericalVAE
    | FactorVAE
    | AdversarialAutoEncoder
    | VAEGAN
    | WAE
    | InfoVAE
    | ContractiveAutoEncoder
    | RegularizedAutoEncoder
    | FSQ
    | LFQ
    | VQVAE
    | LadderVAE
    | MaskedAutoEncoder
    | SparseAutoEncoder
)
"""Any of them."""

__all__ = [
    "FSQ",
    "IWAE",
    "LFQ",
    "VAE",
    "VAEGAN",
    "VQVAE",
    "WAE",
    "AdversarialAutoEncoder",
    "AutoEncoder",
    "BetaTCVAE",
    "ConditionalVAE",
    "ContractiveAutoEncoder",
    "Denoiser",
    "FactorVAE",
    "FlowVAE",
    "HypersphericalVAE",
    "InfoVAE",
    "Inpainter",
    "KerasDenoiser",
    "LadderVAE",
    "MaskedAutoEncoder",
    "MixtureVAE",
    "Model",
    "Plan",
    "RegularizedAutoEncoder",
    "SparseAutoEncoder",
    "VampVAE",
]
