"""What a trained model is for: encode, decode, reconstruct, sample, repair.

Examples x go in as they are stored, bytes or floats, and come out as floats, the mean
of p(x | z). Any number of them works; they pass through the device in chunks of
`CHUNK`. Under `jax.jit`, `jax.grad` and `jax.vmap` all of it works too: then shapes are
checked, but not values.

The codes of a model are one array [n, ...], or a tuple of arrays, top first, for models
with several latents; they are whole numbers where the latent code is discrete. What a
model is shown beside x, such as labels, is given by name: `label=` [n].
"""

from jaxae.inference.base import CHUNK, Codes
from jaxae.inference.decoding import decode, decode_one, decoder_batch, embed
from jaxae.inference.encoding import BLOCK, codes_of, encode, encode_one, encoder_batch
from jaxae.inference.imputation import impute
from jaxae.inference.probabilities import likelihood, posterior
from jaxae.inference.repairing import reconstruct, repair
from jaxae.inference.sampling import sample, sample_codes
from jaxae.inference.tiles import repair_in_tiles
from jaxae.inference.walks import interpolate, traverse

__all__ = [
    "BLOCK",
    "CHUNK",
    "Codes",
    "codes_of",
    "decode",
    "decode_one",
    "decoder_batch",
    "embed",
    "encode",
    "encode_one",
    "encoder_batch",
    "impute",
    "interpolate",
    "likelihood",
    "posterior",
    "reconstruct",
    "repair",
    "repair_in_tiles",
    "sample",
    "sample_codes",
    "traverse",
]
