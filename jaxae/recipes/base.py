"""How recipes are put together.

A recipe needs the shape of one example, such as (28, 28, 1), and picks the networks by
`network`: "mlp" or "conv" with their defaults, or a pair of modules of your own, the
encoder (x -> features) and a function from the output's shape to the decoder.
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxae import likelihoods, networks, views
from jaxae.autoencoder import AutoEncoder, Family
from jaxae.bottlenecks import Bottleneck
from jaxae.checks import check_count, check_sizes
from jaxae.corruptions import identity
from jaxae.errors import choose, require
from jaxae.likelihoods import Likelihood
from jaxae.preparation import binarize, unit_interval
from jaxae.types import Corruption, Hook, Objective, Recipe
from jaxae.views import View

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


def compose_model(
    shape: Shape,
    network: str | Networks,
    bottleneck: Bottleneck,
    likelihood: str | Likelihood,
    *,
    prior: nn.Module | None = None,
    view: View = views.PLAIN,
) -> AutoEncoder:
    """An `AutoEncoder` from names or modules.

    Raises:
        ValueError: A name is unknown, or `shape` is not made of positive sizes.
    """
    check_shape(shape)
    encoder, decoder = as_networks(network)
    likelihood = as_likelihood(likelihood)
    outputs = (*shape[:-1], shape[-1] * likelihood.params_per_value)
    return AutoEncoder(
        shape=shape,
        encoder=encoder,
        bottleneck=bottleneck,
        decoder=decoder(outputs),
        likelihood=likelihood,
        prior=prior,
        view=view,
    )


def as_networks(network: str | Networks) -> Networks:
    """Networks by their name, or as they are."""
    if isinstance(network, str):
        return choose("network", network, {"mlp": mlp, "conv": conv})()
    return network


def as_likelihood(likelihood: str | Likelihood) -> Likelihood:
    """A likelihood by its name, or as it is."""
    if isinstance(likelihood, str):
        return likelihoods.by_name(likelihood)
    return likelihood


def check_shape(shape: Shape) -> None:
    """Raises ValueError unless `shape` is made of positive sizes."""
    check_sizes("shape", shape)
    require(len(shape) > 0, "shape", shape, "the sizes of one example")


def compose_recipe(
    model: Family,
    objective: Objective,
    corruption: Corruption = identity,
    *,
    num_samples: int = 1,
    hooks: tuple[Hook, ...] = (),
) -> Recipe:
    """Binary likelihoods get binarised data, all others the values as they are."""
    check_count("num_samples", num_samples)
    binary = isinstance(model.likelihood, likelihoods.Bernoulli)
    prepare = binarize if binary else unit_interval
    return Recipe(model, objective, prepare, corruption, num_samples, hooks)
