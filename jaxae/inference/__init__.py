"""What a trained model is for: encode, decode, reconstruct, sample, repair.

Examples x go in as they are stored, bytes or floats, and come out as floats, the mean
of p(x | z). Any number of them works; they pass through the device in chunks of
`CHUNK`. Under `jax.jit`, `jax.grad` and `jax.vmap` all of it works too: then shapes are
checked, but not values.

The codes of a model are one array [n, ...], or a tuple of arrays, top first, for models
with several latents; they are whole numbers where the latent code is discrete. What a
model is shown beside x, such as labels, is given by name: `label=` [n].
"""

from jaxae.inference.base import CHUNK as CHUNK
from jaxae.inference.base import Codes as Codes
from jaxae.inference.decoding import decode as decode
from jaxae.inference.decoding import decode_one as decode_one
from jaxae.inference.decoding import decoder_batch as decoder_batch
from jaxae.inference.decoding import embed as embed
from jaxae.inference.encoding import BLOCK as BLOCK
from jaxae.inference.encoding import codes_of as codes_of
from jaxae.inference.encoding import encode as encode
from jaxae.inference.encoding import encode_one as encode_one
from jaxae.inference.encoding import encoder_batch as encoder_batch
from jaxae.inference.imputation import impute as impute
from jaxae.inference.probabilities import likelihood as likelihood
from jaxae.inference.probabilities import posterior as posterior
from jaxae.inference.repairing import reconstruct as reconstruct
from jaxae.inference.repairing import repair as repair
from jaxae.inference.sampling import sample as sample
from jaxae.inference.sampling import sample_codes as sample_codes
from jaxae.inference.tiles import repair_in_tiles as repair_in_tiles
from jaxae.inference.walks import interpolate as interpolate
from jaxae.inference.walks import traverse as traverse
