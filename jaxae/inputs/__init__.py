"""What users hand in is checked once, early, on the host.

Arrays that JAX traces, as inside `jax.grad` or `jax.vmap`, are checked by shape and
dtype; their values are not known.
"""

from jaxae.inputs.arrays import (
    as_array,
    check_condition,
    check_mask,
    check_numbers,
    check_rows,
    check_unmasked,
    check_weight,
    is_number,
    on_device,
    owned,
    split_missing,
    unmasked,
)
from jaxae.inputs.fields import (
    FIELDS,
    abstract_batch,
    abstract_fields,
    as_fields,
    check_conditions,
    check_data,
    check_model,
    check_recipe,
    shard_rows,
)
from jaxae.inputs.values import (
    LEAST_BYTES,
    SCALE,
    UNSCALED,
    check_examples,
    check_scalable,
    check_values,
    unrounded,
)

__all__ = [
    "FIELDS",
    "LEAST_BYTES",
    "SCALE",
    "UNSCALED",
    "abstract_batch",
    "abstract_fields",
    "as_array",
    "as_fields",
    "check_condition",
    "check_conditions",
    "check_data",
    "check_examples",
    "check_mask",
    "check_model",
    "check_numbers",
    "check_recipe",
    "check_rows",
    "check_scalable",
    "check_unmasked",
    "check_values",
    "check_weight",
    "is_number",
    "on_device",
    "owned",
    "shard_rows",
    "split_missing",
    "unmasked",
    "unrounded",
]
