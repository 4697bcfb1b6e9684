"""Models: linen modules that turn a batch into a `Trace`."""

from jaxae.models.autoencoder import AutoEncoder
from jaxae.models.family import Codes, Family, call
from jaxae.models.ladder import LadderVAE
from jaxae.models.stacked import Stacked
from jaxae.models.unet import UNet

__all__ = [
    "AutoEncoder",
    "Codes",
    "Family",
    "LadderVAE",
    "Stacked",
    "UNet",
    "call",
]
