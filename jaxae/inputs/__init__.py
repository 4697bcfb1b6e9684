"""What users hand in is checked once, early, on the host.

Arrays that JAX traces, as inside `jax.grad` or `jax.vmap`, are checked by shape and
dtype; their values are not known.
"""

from jaxae.inputs.arrays import as_array as as_array
from jaxae.inputs.arrays import check_condition as check_condition
from jaxae.inputs.arrays import check_mask as check_mask
from jaxae.inputs.arrays import check_numbers as check_numbers
from jaxae.inputs.arrays import check_rows as check_rows
from jaxae.inputs.arrays import check_unmasked as check_unmasked
from jaxae.inputs.arrays import check_weight as check_weight
from jaxae.inputs.arrays import is_number as is_number
from jaxae.inputs.arrays import split_missing as split_missing
from jaxae.inputs.arrays import unmasked as unmasked
from jaxae.inputs.fields import FIELDS as FIELDS
from jaxae.inputs.fields import abstract_batch as abstract_batch
from jaxae.inputs.fields import abstract_fields as abstract_fields
from jaxae.inputs.fields import as_fields as as_fields
from jaxae.inputs.fields import check_conditions as check_conditions
from jaxae.inputs.fields import check_data as check_data
from jaxae.inputs.fields import check_model as check_model
from jaxae.inputs.fields import check_recipe as check_recipe
from jaxae.inputs.fields import shard_rows as shard_rows
from jaxae.inputs.values import LEAST_BYTES as LEAST_BYTES
from jaxae.inputs.values import SCALE as SCALE
from jaxae.inputs.values import UNSCALED as UNSCALED
from jaxae.inputs.values import check_examples as check_examples
from jaxae.inputs.values import check_scalable as check_scalable
from jaxae.inputs.values import check_values as check_values
from jaxae.inputs.values import unrounded as unrounded
