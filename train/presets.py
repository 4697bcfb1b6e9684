"""The presets of `python -m train`: a name, what it is, and its configuration."""

from train.config import Config, Optimizer
from train.families import (
    FSQ,
    IWAE,
    LFQ,
    VAE,
    VAEGAN,
    VQVAE,
    WAE,
    AdversarialAutoEncoder,
    AutoEncoder,
    BetaTCVAE,
    ConditionalVAE,
    ContractiveAutoEncoder,
    Denoiser,
    FactorVAE,
    FlowVAE,
    HypersphericalVAE,
    InfoVAE,
    Inpainter,
    KerasDenoiser,
    LadderVAE,
    MaskedAutoEncoder,
    MixtureVAE,
    RegularizedAutoEncoder,
    SparseAutoEncoder,
    VampVAE,
)
from train.networks import MLP, Conv

DEFAULT = "vae"
GATED = MLP((300, 300), gated=True)

PRESETS: dict[str, tuple[str, Config]] = {
    "vae": (
        "Variational auto-encoder, two gated layers, 40 latent dimensions.",
        Config(VAE(latent_dim=40, network=GATED)),
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
    "iwae": (
        "Importance-weighted auto-encoder: the vae with 5 samples.",
        Config(IWAE(latent_dim=40, network=GATED)),
    ),
    "beta-tc-vae": (
        "A weight of 6 on the total correlation of 10 latent dimensions.",
        Config(BetaTCVAE()),
    ),
    "factor-vae": (
        "Total correlation estimated by a critic, which has its own optimizer.",
        Config(FactorVAE()),
    ),
    "vamp-vae": (
        "The vae with 500 learned inputs, whose posteriors are the prior.",
        Config(VampVAE(network=GATED)),
    ),
    "mixture-vae": (
        "The vae with a learned mixture of 10 Gaussians as prior.",
        Config(MixtureVAE(latent_dim=40, network=GATED)),
    ),
    "iaf-vae": (
        "The vae with 4 inverse autoregressive layers after the posterior.",
        Config(FlowVAE(latent_dim=40, network=GATED)),
    ),
    "conditional-vae": (
        "The vae with 16 latent dimensions, shown the labels.",
        Config(ConditionalVAE(network=GATED)),
    ),
    "hyperspherical-vae": (
        "Codes on the sphere in 10 dimensions.",
        Config(HypersphericalVAE()),
    ),
    "aae": (
        "Adversarial auto-encoder: a critic matches codes to the prior.",
        Config(AdversarialAutoEncoder()),
    ),
    "vae-gan": (
        "VAE-GAN: images are compared by the features of a critic.",
        Config(VAEGAN(), epochs=10),
    ),
    "wae": (
        "Wasserstein auto-encoder with maximum mean discrepancy.",
        Config(WAE()),
    ),
    "info-vae": (
        "InfoVAE: half the rate and a maximum mean discrepancy.",
        Config(InfoVAE()),
    ),
    "vqvae": (
        "VQ-VAE: 7x7 codes of 128 entries.",
        Config(VQVAE(), epochs=10),
    ),
    "rvq": (
        "Residual VQ-VAE: four codebooks of 64 entries, one after the other.",
        Config(VQVAE(codebook_size=64, num_quantizers=4), epochs=10),
    ),
    "fsq": (
        "Finite scalar quantisation: 7x7 codes of 1,000 kinds.",
        Config(FSQ(), epochs=10),
    ),
    "lfq": (
        "Lookup-free quantisation: 7x7 codes of 10 bits.",
        Config(LFQ(), epochs=10),
    ),
    "ladder-vae": (
        "Hierarchical VAE: three convolutional latents.",
        Config(LadderVAE(), epochs=10, nll_samples=100),
    ),
    "sae": (
        "Sparse auto-encoder: 32 of 1,024 latents are active.",
        Config(SparseAutoEncoder()),
    ),
    "mae": (
        "Masked auto-encoder: a small ViT that sees a quarter of the patches.",
        Config(MaskedAutoEncoder(), epochs=10),
    ),
    "contractive": (
        "Contractive auto-encoder with one sigmoid layer.",
        Config(ContractiveAutoEncoder()),
    ),
    "rae": (
        "Regularised auto-encoder: weight decay instead of noise.",
        Config(RegularizedAutoEncoder()),
    ),
}
