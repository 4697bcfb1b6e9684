"""Auto-encoders whose code is an image of whole numbers."""

from jaxae import bottlenecks, objectives
from jaxae.bottlenecks.lookup_free import FSQ, LFQ
from jaxae.bottlenecks.quantized import Estimator, Learning, VectorQuantizer
from jaxae.hooks import revive_codes
from jaxae.likelihoods import Likelihood
from jaxae.recipes.base import Networks, Shape, compose_model, compose_recipe
from jaxae.types import Hook, Recipe


def vqvae(
    shape: Shape,
    codebook_size: int = 128,
    code_dim: int = 16,
    *,
    network: str | Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    codebook: Learning = "ema",
    commitment_weight: float = 0.25,
    decay: float = 0.99,
    gradient_estimator: Estimator = "straight_through",
    num_quantizers: int = 1,
) -> Recipe:
    """The VQ-VAE (van den Oord et al. 2017), with one codebook or several.

    See `bottlenecks.VectorQuantizer` for the arguments. With the "conv" network there
    is one code per position of the encoder's features, with "mlp" one per example.
    """
    bottleneck = VectorQuantizer(
        codebook_size,
        code_dim,
        codebook,
        commitment_weight,
        decay,
        gradient_estimator,
        num_quantizers,
    )
    hooks = (revive_codes(bottleneck),) if codebook == "gradient" else ()
    return _compose(shape, network, bottleneck, likelihood, hooks)


def fsq_autoencoder(
    shape: Shape,
    levels: tuple[int, ...] = (8, 5, 5, 5),
    *,
    network: str | Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Finite scalar quantisation (Mentzer et al. 2023); see `bottlenecks.FSQ`."""
    return _compose(shape, network, FSQ(levels), likelihood)


def lfq_autoencoder(
    shape: Shape,
    bits: int = 10,
    *,
    network: str | Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    entropy_weight: float = 0.3,
    diversity: float = 1.0,
    commitment_weight: float = 0.02,
) -> Recipe:
    """Lookup-free quantisation (Yu et al. 2023); see `bottlenecks.LFQ`."""
    bottleneck = LFQ(bits, entropy_weight, diversity, commitment_weight)
    return _compose(shape, network, bottleneck, likelihood)


def _compose(
    shape: Shape,
    network: str | Networks,
    bottleneck: bottlenecks.Bottleneck,
    likelihood: str | Likelihood,
    hooks: tuple[Hook, ...] = (),
) -> Recipe:
    model = compose_model(shape, network, bottleneck, likelihood)
    return compose_recipe(model, objectives.reconstruction(), hooks=hooks)
