"""From codes to the examples that they stand for."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxae.errors import ensure, require
from jaxae.inference.base import CHUNK, Codes, alone, shown_beside
from jaxae.inference.encoding import encoding_program
from jaxae.inputs import (
    abstract_fields,
    check_mask,
    check_model,
    on_device,
)
from jaxae.models.family import Family, call
from jaxae.preparation import inverse
from jaxae.recipe import Model
from jaxae.types import Batch, Variables


def decode(
    model: Model, codes: Any, *, missing: Any = None, **conditions: Any
) -> Float[Array, "n ..."]:
    """The examples that codes stand for: the means of p(x | z).

    Args:
        model: As `fit` returns it.
        codes: As `encode` returns them.
        missing: As for `encode`, for models whose decoder is shown it.
        **conditions: As for `encode`.

    Raises:
        ValueError: The codes have not the shape of this model's, or are not finite.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.decode(model, jaxae.encode(model, x)).shape
        (20, 4, 4, 1)
    """
    shown = decoder_batch(model, codes, missing, conditions)
    made = decoding_program(model.module, False, model.variables, shown)
    return inverse(model.recipe.prepare, made)


@partial(jax.jit, static_argnums=(0, 1))
def decoding_program(
    module: Family, embedded: bool, variables: Variables, inputs: tuple[Codes, Batch]
) -> Array:
    """The means of p(x | z), chunk by chunk."""

    def one(example: tuple[Codes, Batch]) -> Array:
        return decode_one(module, variables, *example, embedded=embedded)

    return jax.lax.map(one, inputs, batch_size=CHUNK)


def decode_one(
    module: Family,
    variables: Variables,
    codes: Codes,
    batch: Batch,
    embedded: bool = False,
) -> Array:
    """The mean of p(x | z) for one code; whole numbers may be embedded already."""
    codes, batch = alone((codes, batch))
    codes = alone(codes) if embedded else embed(module, variables, codes)
    return call(module, variables, codes, batch, method="decode").mean[0, 0]


def embed(module: Family, variables: Variables, codes: Codes) -> tuple[Array, ...]:
    """One sample of codes as users see them, [n, ...], as a decoder takes it."""
    if module.num_codes:
        return call(module, variables, codes, method="embed")
    return alone(codes if isinstance(codes, tuple) else (codes,))


def decoder_batch(
    model: Model, codes: Any, missing: Any, conditions: Mapping[str, Any]
) -> tuple[Codes, dict[str, Any]]:
    """Codes as arrays of the device, [n, ...] each, and what is shown beside them.

    Raises:
        ValueError: They have not the shape of this model's, or are not finite.
    """
    check_model(model)
    if isinstance(codes, list) and isinstance(_code_shapes(model, {}), tuple):
        codes = tuple(codes)
    leaves = codes if isinstance(codes, tuple) else (codes,)
    count = (np.shape(leaves[0]) or (0,))[0]
    side = shown_beside(model, count, conditions, "decoder")
    if missing is not None:
        shape = (count, *model.module.shape)
        side["mask"] = on_device(check_mask(missing, shape, "missing"))
    return _check_codes(model, codes, side), side


def _check_codes(model: Model, codes: Any, side: Batch) -> Codes:
    expected = _code_shapes(model, side)
    single = isinstance(expected, jax.ShapeDtypeStruct)
    leaves = (codes,) if single else tuple(codes)
    forms = (expected,) if single else expected
    ensure(
        len(leaves) == len(forms),
        f"codes must be {len(forms)} arrays, top first, got {len(leaves)}",
    )
    pairs = zip(leaves, forms, strict=True)
    num_codes = model.module.num_codes
    checked = tuple(_check_code(code, form, num_codes) for code, form in pairs)
    return checked[0] if single else checked


def _check_code(code: Any, form: jax.ShapeDtypeStruct, num_codes: int) -> Array:
    traced = isinstance(code, Tracer)
    code = code if traced else np.asarray(code)
    sizes = ", ".join(map(str, form.shape[1:]))
    fits = code.shape[1:] == form.shape[1:] and code.ndim and len(code)
    require(fits, "codes", code.shape, f"of shape [n, {sizes}]")
    if num_codes:
        whole = f"codes must be whole numbers from 0 to {num_codes - 1}, got"
        ensure(code.dtype.kind in "iu", f"{whole} {code.dtype}")
        inside = traced or (code.min() >= 0 and code.max() < num_codes)
        ensure(inside, f"{whole} {code.min()} to {code.max()}")
    else:
        finite = traced or np.isfinite(np.asarray(code, np.float32)).all()
        ensure(finite, "codes hold a value that is not finite")
    return on_device(code, form.dtype)


def _code_shapes(model: Model, side: Batch) -> Any:
    """Shape and dtype of one example's code, [1, ...], or a tuple of them."""
    x = jax.ShapeDtypeStruct((1, *model.module.shape_seen), jnp.float32)
    fields = abstract_fields(model.module, 1) | {
        k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in side.items()
    }
    keys = jax.random.split(jax.random.key(0), 1)
    encoder = partial(encoding_program, model.module, False, model.variables)
    return jax.eval_shape(encoder, ({"inputs": x, **fields}, keys))
