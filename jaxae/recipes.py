"""The families by name: each is a choice of parts.

A recipe needs the shape of one example, such as (28, 28, 1), and picks the networks by
`network`: "mlp" or "conv" with their defaults, or a pair of modules of your own, the
encoder (x -> features) and a function from the output's shape to the decoder.
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxae import bottlenecks, corruptions, likelihoods, networks, objectives
from jaxae.autoencoder import AutoEncoder
from jaxae.checks import check_count, check_sizes
from jaxae.errors import choose, require
from jaxae.likelihoods import Likelihood
from jaxae.objectives import Region
from jaxae.objectives.base import Weight
from jaxae.preparation import binarize, unit_interval
from jaxae.types import Corruption, Objective, Recipe

Shape = tuple[int, ...]
Networks = tuple[nn.Module, Callable[[Shape], nn.Module]]


def mlp(hidden: tuple[int, ...] = (512,), **options: Any) -> Networks:
    """An MLP and its mirror image; `options` as of `networks.MLP`."""

    def decoder(shape: Shape) -> nn.Module:
        return networks.MLPDecoder(shape, hidden[::-1], **options)

    return networks.MLP(hidden, **options), decoder


def conv(channels: tuple[int, ...] = (32, 64), **options: Any) -> Networks:
    """A strided convolutional network and its mirror image; see `ConvEncoder`."""

    def decoder(shape: Shape) -> nn.Module:
        require(len(shape) == 3, "shape", shape, "(height, width, channels) for conv")
        return networks.ConvDecoder(shape, channels[::-1], **options)  # pyright: ignore

    return networks.ConvEncoder(channels, **options), decoder


def autoencoder(
    shape: Shape,
    latent_dim: int = 32,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
    l1: Weight = 0.0,
) -> Recipe:
    """The classic auto-encoder (Hinton & Salakhutdinov 2006).

    `l1` is the weight of Σ_j |z_j|, a number or an optax schedule.
    """
    require(callable(l1) or l1 >= 0, "l1", l1, "a schedule or at least 0")
    bottleneck = bottlenecks.Deterministic(latent_dim, l1=1.0 if l1 else 0.0)
    model = compose_model(shape, network, bottleneck, likelihood)
    return _recipe(model, objectives.reconstruction(penalty_weight=l1))


def denoising_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    corruption: Corruption | None = None,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Restores clean data from damaged data (Vincent et al. 2010).

    `corruption` is gaussian noise of std 0.4, clipped to [0, 1], unless given.
    """
    bottleneck = bottlenecks.Deterministic(latent_dim)
    model = compose_model(shape, network, bottleneck, likelihood)
    damage = corruption or corruptions.gaussian_noise(0.4, clip=True)
    return _recipe(model, objectives.reconstruction(), damage)


def inpainting_autoencoder(
    shape: Shape,
    latent_dim: int = 128,
    *,
    corruption: Corruption | None = None,
    network: str | Networks = "conv",
    likelihood: str | Likelihood = "gaussian",
    region: Region = "hole",
) -> Recipe:
    """Fills holes: a denoising auto-encoder whose encoder is shown where they are.

    `corruption` is one random box of about 3/7 of the sides (12x12 of 28x28) unless
    given; it has to return a mask. `region` says where the loss counts.
    """
    _check_shape(shape)
    sides = (max(1, round(side * 3 / 7)) for side in shape[:2])
    bottleneck = bottlenecks.Deterministic(latent_dim)
    model = compose_model(shape, network, bottleneck, likelihood, mask_channel=True)
    damage = corruption or corruptions.holes(*sides)
    return _recipe(model, objectives.reconstruction(region), damage)


def vae(
    shape: Shape,
    latent_dim: int = 16,
    *,
    network: str | Networks = "mlp",
    likelihood: str | Likelihood = "bernoulli",
    beta: Weight = 1.0,
    free_bits: Weight = 0.0,
    num_samples: int = 1,
    log_std_range: tuple[float, float] | None = None,
) -> Recipe:
    """The variational auto-encoder (Kingma & Welling 2014).

    Under the Bernoulli likelihood the data are binarised afresh at every step.
    """
    bottleneck = bottlenecks.Gaussian(latent_dim, log_std_range)
    model = compose_model(shape, network, bottleneck, likelihood)
    objective = objectives.elbo(beta, free_bits=free_bits)
    return _recipe(model, objective, num_samples=num_samples)


def keras_denoiser(shape: Shape = (28, 28, 1), noise: float = 0.4) -> Recipe:
    """The denoiser of Keras' examples: 28,353 parameters, binary cross-entropy.

    The sides of the images have to be multiples of 4. The noise is fresh at every step,
    where Keras draws it once.
    """
    _check_shape(shape)
    sides_fit = len(shape) == 3 and shape[0] % 4 == 0 and shape[1] % 4 == 0
    require(
        sides_fit, "shape", shape, "(height, width, channels), sides multiples of 4"
    )
    model = AutoEncoder(
        shape,
        networks.KerasEncoder(),
        bottlenecks.Deterministic(None),
        networks.KerasDecoder(shape[-1]),
        likelihoods.BinaryCrossEntropy(),
    )
    damage = corruptions.gaussian_noise(noise, clip=True)
    return _recipe(model, objectives.reconstruction(), damage)


def compose_model(
    shape: Shape,
    network: str | Networks,
    bottleneck: nn.Module,
    likelihood: str | Likelihood,
    *,
    mask_channel: bool = False,
) -> AutoEncoder:
    """An `AutoEncoder` from names or modules.

    Raises:
        ValueError: A name is unknown, or `shape` is not made of positive sizes.
    """
    _check_shape(shape)
    if isinstance(network, str):
        network = choose("network", network, {"mlp": mlp, "conv": conv})()
    encoder, decoder = network
    if isinstance(likelihood, str):
        likelihood = likelihoods.by_name(likelihood)
    outputs = (*shape[:-1], shape[-1] * likelihood.params_per_value)
    return AutoEncoder(
        shape, encoder, bottleneck, decoder(outputs), likelihood, mask_channel
    )


def _check_shape(shape: Shape) -> None:
    check_sizes("shape", shape)
    require(len(shape) > 0, "shape", shape, "the sizes of one example")


def _recipe(
    model: AutoEncoder,
    objective: Objective,
    corruption: Corruption = corruptions.identity,
    num_samples: int = 1,
) -> Recipe:
    """Binary likelihoods get binarised data, all others the values in [0, 1]."""
    check_count("num_samples", num_samples)
    binary = isinstance(model.likelihood, likelihoods.Bernoulli)
    prepare = binarize if binary else unit_interval
    return Recipe(model, objective, prepare, corruption, num_samples)
