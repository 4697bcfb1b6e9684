"""An encoder and its mirror image, for recipes: from a name, a value or two modules."""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jaxae.checks import why_not
from jaxae.errors import ArgumentError, choose, ensure, kind_of, must_define
from jaxae.networks.activations import Activation
from jaxae.networks.conv import ConvDecoder, ConvEncoder, check_image, check_stages
from jaxae.networks.mlp import MLP, MLPDecoder, check_layers
from jaxae.values import Value, expression, fields_of

Shape = tuple[int, ...]


class Pair(Value):
    """Base of the pairs: an encoder, and from the shape of its outputs a decoder.

    Example:
        >>> import jaxae
        >>> class Funnel(jaxae.networks.Pair):
        ...     width: int = 64
        ...     def encoder(self):
        ...         return jaxae.networks.MLP((self.width, self.width // 2))
        ...     def decoder(self, shape):
        ...         return jaxae.networks.MLPDecoder(shape, (self.width,))
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2, network=Funnel(32))
    """

    def encoder(self) -> nn.Module:
        """x -> features."""
        raise must_define(self, "encoder(self)", "a linen module: x -> features")

    def decoder(self, shape: Shape) -> nn.Module:
        """A code -> outputs of this shape, without the batch."""
        returns = "a linen module: code -> outputs of this shape"
        raise must_define(self, "decoder(self, shape)", returns)


class FullyConnected(Pair):
    """An MLP and its mirror image.

    Attributes:
        hidden: Units of the encoder's layers; the decoder mirrors them.
        gated: Gated layers, h · sigmoid(g), which replace the activation.
        activation: Between the layers, by name or itself.
        batch_norm: Normalise before every activation.

    Raises:
        ValueError: See `MLP`.

    Example:
        >>> import jaxae
        >>> network = jaxae.networks.FullyConnected((300, 300), gated=True)
        >>> recipe = jaxae.recipes.vae((28, 28, 1), latent_dim=40, network=network)
    """

    hidden: tuple[int, ...] = (512,)
    gated: bool = False
    activation: Activation = "relu"
    batch_norm: bool = False

    def __post_init__(self) -> None:
        """Checks the attributes."""
        check_layers(self)

    def encoder(self) -> nn.Module:
        """x [b, ...] -> features [b, hidden[-1]]."""
        return MLP(**fields_of(self))

    def decoder(self, shape: Shape) -> nn.Module:
        """A code [b, ...] -> [b, *shape]."""
        mirrored: dict[str, Any] = fields_of(self) | {"hidden": self.hidden[::-1]}
        return MLPDecoder(shape, **mirrored)


class Convolutional(Pair):
    """Strided convolutions and their mirror image, for images of any size.

    Attributes:
        channels: Of the encoder's stages, each of which halves the image; the decoder
            mirrors them.
        kernel_size: Of the strided convolutions.
        residual_blocks: Residual blocks in every stage.
        activation: Between the layers, by name or itself.
        batch_norm: Normalise before every activation.
        inner_blocks: Residual blocks where the image is smallest, on both sides.
        skip: Show the code the image itself too, shrunk to the size of the features,
            and add one to the output that is linear in the code: what principal
            components can say need not go through the activations.

    Raises:
        ValueError: See `ConvEncoder`; or the examples are no images.

    Example:
        >>> import jaxae
        >>> network = jaxae.networks.Convolutional((32, 64), residual_blocks=1)
        >>> recipe = jaxae.recipes.autoencoder((32, 32, 3), network=network)
    """

    channels: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    residual_blocks: int = 0
    activation: Activation = "relu"
    batch_norm: bool = False
    inner_blocks: int = 0
    skip: bool = False

    def __post_init__(self) -> None:
        """Checks the attributes."""
        check_stages(self)

    def encoder(self) -> nn.Module:
        """Images [b, h, w, c] -> features [b, h', w', channels[-1]]."""
        return ConvEncoder(**fields_of(self))

    def decoder(self, shape: Shape) -> nn.Module:
        """A code [b, ...] -> images [b, *shape]."""
        check_image(shape)
        sizes = shape[0], shape[1], shape[2]
        mirrored: dict[str, Any] = fields_of(self) | {"channels": self.channels[::-1]}
        return ConvDecoder(sizes, **mirrored)


class Own(Pair):
    """Two modules of your own.

    Attributes:
        module: The encoder.
        make_decoder: The decoder, or what makes it of the shape of its outputs.
    """

    module: nn.Module
    make_decoder: nn.Module | Callable[[Shape], nn.Module]

    def encoder(self) -> nn.Module:
        """The encoder."""
        return self.module

    def decoder(self, shape: Shape) -> nn.Module:
        """The decoder."""
        make = self.make_decoder
        if isinstance(make, nn.Module):
            return make
        wrong, called = why_not(make, shape), expression(make)
        own = f"network's decoder must be a linen module, {called}, or a function"
        ensure(not wrong, f"{own} from the outputs' shape to one: {wrong}")
        made: Any = make(shape)
        own = "network's function from the outputs' shape must return a linen module"
        by = f"{kind_of(made)} from {expression(make)}"
        ensure(isinstance(made, nn.Module), f"{own}, got {by}")
        return made


BY_NAME: dict[str, type[Pair]] = {"mlp": FullyConnected, "conv": Convolutional}
"""What `network` may be by name, with its default arguments."""

Networks = str | Pair | tuple[nn.Module, nn.Module | Callable[[Shape], nn.Module]]
"""A name of `BY_NAME`, a `Pair`, or an encoder with a decoder.

In place of the decoder, a function may make it of the shape of its outputs.
"""


def as_pair(network: Networks) -> Pair:
    """A pair by its name, as it is, or of two modules.

    Raises:
        ValueError: The name is unknown, or it is none of these.
    """
    if isinstance(network, Pair):
        return network
    if isinstance(network, str):
        check_no_family("network", network, "jaxae.recipes.unet")
        return choose("network", network, BY_NAME)()
    if _is_own(network):
        return Own(*network)
    raise ArgumentError(
        f"network must be one of {', '.join(BY_NAME)}, a pair of jaxae.networks, or "
        "(encoder, decoder or a function from the outputs' shape to it), "
        f"got {network!r:.200}"
    )


def check_no_family(name: str, network: str, instead: str) -> None:
    """Raises ValueError of the U-Net, which is none of two networks around a code."""
    family = network.lower().replace("-", "").replace("_", "") == "unet"
    known = f"{name} must be one of {', '.join(BY_NAME)}, got {network!r}"
    ensure(not family, f"{known}, which is a family of its own: {instead}")


def _is_own(network: Any) -> bool:
    if not isinstance(network, tuple) or len(network) != 2:
        return False
    encoder, decoder = network
    return isinstance(encoder, nn.Module) and callable(decoder)
