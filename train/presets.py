"""The presets of `python -m train`: a name, a family, and what it sets otherwise."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxae import recipes
from train.config import Config, Optimizer
from train.options import Family, options_of

DEFAULT = "vae"
GATED = "mlp:300,300:gated=yes"
# Many steps are what convolutions need most: after as many photographs a batch of 32 is
# ahead of one of 100, as twice the usual rate is.
CONVOLUTIONS = {
    "epochs": 10,
    "batch_size": 32,
    "optimizer": Optimizer(learning_rate=2e-3),
}
# The matrices around a narrow code are what Adam is slow with: after 30,000 photographs
# Muon has a third less error. Skips carry to photographs that were not seen what they
# have in common with all others: 0.6 dB. So does a weight decay: 0.1 dB at 0.4, which
# costs the sharpness of digits, so that `conv-ae` has half of it.
NARROW = {**CONVOLUTIONS, "optimizer": Optimizer("muon", 4e-3, weight_decay=0.2)}
NOISY = {**CONVOLUTIONS, "optimizer": Optimizer("muon", 4e-3, weight_decay=0.4)}
SKIPPING = "conv:skip=yes"


class Preset(NamedTuple):
    """What a name on the command line stands for.

    Attributes:
        family: The recipe function; its arguments are the options `--model.*`.
        model: Those that the preset sets, as on the command line.
        training: Further options that it sets, such as epochs.
    """

    family: Family
    model: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}

    def config(self) -> Config:
        """All options, with the preset's values as defaults."""
        return Config(model=options_of(self.family)(**self.model), **self.training)

    def about(self) -> str:
        """A line for `--help`: the family, and what is set."""
        summary = (self.family.__doc__ or "").strip().partition("\n")[0]
        own = [f"{name} {value}" for name, value in self.model.items()]
        return f"{summary} {'; '.join(own)}".strip()


PRESETS: dict[str, Preset] = {
    "vae": Preset(recipes.vae, {"latent_dim": 40, "network": GATED}),
    "conv-vae": Preset(recipes.vae, {"latent_dim": 32, "network": SKIPPING}, NOISY),
    "ae": Preset(recipes.autoencoder),
    "conv-ae": Preset(recipes.autoencoder, {"network": SKIPPING}, NARROW),
    "dae": Preset(recipes.denoising_autoencoder, {"network": "mlp:1024"}),
    "conv-dae": Preset(
        recipes.denoising_autoencoder, {"network": "conv"}, {"epochs": 10}
    ),
    "unet": Preset(
        recipes.unet, {"corruption": "gaussian_noise:0.4:clip=yes"}, {"epochs": 10}
    ),
    "inpaint": Preset(recipes.inpainting_autoencoder, training={"epochs": 10}),
    "keras-dae": Preset(
        recipes.keras_denoiser,
        training={
            "optimizer": Optimizer(schedule="constant"),
            "epochs": 5,
            "batch_size": 128,
        },
    ),
    "iwae": Preset(recipes.iwae, {"latent_dim": 40, "network": GATED}),
    "beta-tc-vae": Preset(recipes.beta_tc_vae, {"latent_dim": 10}),
    "factor-vae": Preset(recipes.factor_vae),
    "dip-vae": Preset(recipes.dip_vae),
    "vamp-vae": Preset(recipes.vamp_vae, {"network": GATED}),
    "mixture-vae": Preset(recipes.mixture_vae, {"latent_dim": 40, "network": GATED}),
    "iaf-vae": Preset(
        recipes.flow_vae, {"latent_dim": 40, "hidden": (320,), "network": GATED}
    ),
    "conditional-vae": Preset(recipes.conditional_vae, {"network": GATED}),
    "hyperspherical-vae": Preset(recipes.hyperspherical_vae),
    "aae": Preset(recipes.adversarial_autoencoder),
    "vae-gan": Preset(recipes.vae_gan, training={"epochs": 10}),
    "wae": Preset(recipes.wae_mmd),
    "info-vae": Preset(recipes.info_vae_mmd),
    "vqvae": Preset(recipes.vqvae, training=CONVOLUTIONS),
    "rvq": Preset(
        recipes.vqvae, {"codebook_size": 64, "num_quantizers": 4}, {"epochs": 10}
    ),
    "fsq": Preset(recipes.fsq_autoencoder, training={"epochs": 10}),
    "lfq": Preset(recipes.lfq_autoencoder, training={"epochs": 10}),
    "ladder-vae": Preset(
        recipes.ladder_vae,
        {"beta": "linear:0:1:epochs=2"},
        {"epochs": 10, "nll_samples": 100},
    ),
    "stacked-vae": Preset(recipes.stacked_vae, {"beta": "linear:0:1:epochs=2"}),
    "sae": Preset(recipes.sparse_autoencoder),
    "mae": Preset(recipes.masked_autoencoder, training={"epochs": 10}),
    "contractive": Preset(recipes.contractive_autoencoder),
    "rae": Preset(recipes.regularized_autoencoder),
}
