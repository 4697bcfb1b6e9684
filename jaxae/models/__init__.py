"""Models: linen modules that turn a batch into a `Trace`."""

from jaxae.models.autoencoder import AutoEncoder
from jaxae.models.family import Codes, Family, call
from jaxae.models.ladder import LadderVAE

__all__ = ["AutoEncoder", "Codes", "Family", "LadderVAE", "call"]
