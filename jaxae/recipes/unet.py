"""The U-Net, which restores pictures."""

from __future__ import annotations  # help() shows names, not types

from jaxae import objectives
from jaxae.corruptions import identity
from jaxae.likelihoods import Likelihood
from jaxae.models.unet import UNet
from jaxae.networks.pairs import Shape
from jaxae.recipe import Recipe
from jaxae.recipes.base import as_likelihood, as_view, check_shape, compose_recipe
from jaxae.types import Corrupt
from jaxae.views import Condition, MaskChannel


def unet(
    shape: Shape,
    *,
    channels: tuple[int, ...] = (16, 32, 64),
    corruption: Corrupt | None = None,
    likelihood: str | Likelihood = "gaussian",
    holes: bool = False,
    conditions: tuple[Condition, ...] = (),
) -> Recipe:
    """Restores pictures, with features of all sizes as the code; see `UNet`.

    Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597. Nothing has to pass a
    narrow code, so that fine detail stays; and without damage there is nothing to
    learn. For pictures larger than `shape` see `jaxae.repair_in_tiles`.

    Args:
        shape: The shape of one example.
        channels: Channels of the features of each size, the full one first; each
            further one halves the image.
        corruption: What is done to the data, afresh at every step. Nothing unless
            given, for data that bring pairs: what is damaged as "inputs" beside x.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.
        holes: Whether the network is shown where values are missing.
        conditions: Further arrays of the data, and who is shown them: the encoder, or
            the decoder beside its smallest code. Pictures are for `to=("encoder",)`.

    Example:
        >>> import jaxae
        >>> noise = jaxae.corruptions.GaussianNoise(0.2)
        >>> recipe = jaxae.recipes.unet((28, 28, 1), corruption=noise)
    """
    check_shape(shape)
    mask = (MaskChannel(),) if holes else ()
    module = UNet(
        shape=shape,
        likelihood=as_likelihood(likelihood, shape),
        channels=channels,
        view=as_view(conditions, first=mask),
    )
    damage = identity if corruption is None else corruption
    return compose_recipe(module, objectives.Reconstruction(), damage, title="U-Net")
