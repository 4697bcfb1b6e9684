"""Models: linen modules that turn a batch into a `Trace`."""

from jaxae.models.autoencoder import AutoEncoder as AutoEncoder
from jaxae.models.family import Codes as Codes
from jaxae.models.family import Family as Family
from jaxae.models.family import call as call
from jaxae.models.ladder import LadderVAE as LadderVAE
from jaxae.models.stacked import Stacked as Stacked
from jaxae.models.unet import UNet as UNet
