"""What a trained model is for: encode, decode, reconstruct, sample, repair.

Examples x go in as they are stored, bytes or floats, and come out as floats, the mean
of p(x | z). Any number of them works; they pass through the device in chunks of
`CHUNK`. Under `jax.jit`, `jax.grad` and `jax.vmap` all of it works too: then shapes are
checked, but not values.

The codes of a model are one array [n, ...], or a tuple of arrays, top first, for models
with several latents; they are whole numbers where the latent code is discrete. What a
model is shown beside x, such as labels, is given by name: `label=` [n].
"""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from jaxae.checks import check_count, check_key
from jaxae.corruptions import fill_in, identity
from jaxae.errors import ArgumentError, ensure, require
from jaxae.inputs import (
    abstract_fields,
    check_conditions,
    check_examples,
    check_mask,
    check_model,
    check_scalable,
    check_values,
    shard_rows,
    split_missing,
)
from jaxae.models.family import Family, call
from jaxae.preparation import inverse, unit_interval
from jaxae.recipe import Model
from jaxae.training.batch import FILL, prepare_inputs
from jaxae.types import Batch, Latent, Variables
from jaxae.views import Part

CHUNK = 250

BLOCK = 8 * CHUNK
"""Examples that are checked, prepared and put on the device at a time."""

Codes = PyTree[Array]
"""[n, ...], or a tuple of several."""


def encode(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    key: jax.Array | None = None,
    **conditions: Any,
) -> Codes:
    """The codes of examples: the means of q(z | x), or a sample of it if given a key.

    Args:
        model: As `fit` returns it.
        x: What the encoder sees, [n, *shape]; [n, *input_shape] for a model that was
            trained on "inputs" of their own. Or `jaxae.Shards`, in their order, with
            what is missing and shown of them.
        missing: True where x is not known, of its shape or [n, h, w, 1]; "nan" where x
            is NaN there. What x holds there is not looked at.
        key: Draws from the posterior; not for deterministic codes, which have none.
        **conditions: What the model is shown besides, by name, as `label=` [n].

    Raises:
        ValueError: x, what is missing or the labels are not as the model needs them,
            or the code is deterministic and a key was given.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.encode(model, x).shape
        (20, 2)
    """
    check_model(model)
    if key is not None:
        check_key(key)
    sharded = shard_rows(x) is not None
    x, missing, conditions = _of_shards(model, x, missing, conditions)
    large = sharded or (isinstance(x, np.ndarray) and len(x) > BLOCK)
    if not large or isinstance(missing, Tracer):
        return _codes(model, encoder_batch(model, x, missing, conditions), key)
    parts = model.module.encoded_with
    shown = check_conditions(model.recipe, conditions, len(x), *parts)
    keys = None if key is None else jax.random.split(key, len(x))

    def block(rows: slice) -> Codes:
        """What lies on the disk is read when its turn comes."""
        gaps = missing if missing is None or isinstance(missing, str) else missing[rows]
        own = {name: values[rows] for name, values in shown.items()}
        batch = encoder_batch(model, x[rows], gaps, own)
        return _codes(model, batch, None if keys is None else keys[rows])

    first = block(slice(0, BLOCK))
    codes = jax.tree.map(lambda c: jnp.zeros((len(x), *c.shape[1:]), c.dtype), first)
    for start in range(0, len(x), BLOCK):
        own = first if start == 0 else block(slice(start, start + BLOCK))
        # At most one block is on its way while the next is read.
        codes = _written(jax.block_until_ready(codes), own, start)
    return codes


def _of_shards(
    model: Model, x: Any, missing: Any, conditions: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """What the encoder sees of `Shards`, not read yet, and what they say beside it."""
    rows = shard_rows(x)
    if rows is None:
        return x, missing, conditions
    ensure(missing is None, "missing must be left out: the shards say it themselves")
    gaps = None if "inputs" in rows else rows.get("missing")
    shown = {name: rows[name][:] for name in model.module.view.fields if name in rows}
    return rows.get("inputs", rows["x"]), gaps, shown | conditions


@partial(jax.jit, donate_argnums=0)
def _written(codes: Codes, block: Codes, start: Any) -> Codes:
    """In place, so that there is no second copy of all of them."""
    place = jax.lax.dynamic_update_slice_in_dim
    return jax.tree.map(lambda c, part: place(c, part, start, 0), codes, block)


def _codes(model: Model, batch: Batch, key: jax.Array | None = None) -> Codes:
    """The means of q(z | x) without a key; with one, or one for each, draws."""
    draw, count = key is not None, len(batch["inputs"])
    keys = jax.random.key(0) if key is None else key
    keys = keys if keys.ndim else jax.random.split(keys, count)
    return _encode(model.module, draw, model.variables, (batch, keys))


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
    made = _decode(model.module, False, model.variables, shown)
    return inverse(model.recipe.prepare, made)


def reconstruct(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    key: jax.Array | None = None,
    **conditions: Any,
) -> Float[Array, "n ..."]:
    """Through the bottleneck and back; by a sample of the code if given a key.

    Arguments and errors are those of `encode`.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.reconstruct(model, x).shape
        (20, 4, 4, 1)
    """
    check_model(model)
    if shard_rows(x) is not None:
        x, missing, conditions = _of_shards(model, x, missing, conditions)
        x, missing = x[:], None if missing is None else missing[:]
    codes = encode(model, x, missing=missing, **conditions, key=key)
    _, missing = split_missing(x, missing, "x")
    # Of inputs of another shape, what is missing says nothing of x.
    missing = missing if model.module.sees_x else None
    return decode(model, codes, missing=missing, **conditions)


def repair(
    model: Model,
    x: Any,
    *,
    missing: Any = None,
    fill: float = 0.0,
    **conditions: Any,
) -> Float[Array, "n ..."]:
    """Cleans damaged examples, or fills their holes.

    Args:
        model: A denoising or an inpainting model.
        x: [n, *shape], damaged. Nothing is damaged further.
        missing: True where entries are missing, [n, h, w, 1] or [n, h, w], or of the
            shape of x; "nan" where x is NaN there. Only those are changed, and what x
            holds there is not looked at. Without it all entries are the model's.
        fill: What the missing entries are set to before the model sees them; what the
            corruption filled in while training.
        **conditions: As for `encode`.

    Raises:
        ValueError: x, what is missing or the labels are not as the model needs them.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.inpainting_autoencoder((4, 4, 1), 8)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> mask = np.zeros((20, 4, 4, 1), bool)
        >>> mask[:, :2] = True  # the upper half is missing
        >>> filled = jaxae.repair(model, np.where(mask, np.nan, x), missing=mask)
        >>> bool((filled[:, 2:] == x[:, 2:]).all())
        True
    """
    check_model(model)
    x, hole = split_missing(x, missing, "x")
    if hole is None:
        shown = "mask" in model.module.view.needs
        ensure(not shown, "missing must be given to a model that fills holes")
        return reconstruct(model, x, **conditions)
    other = "missing must be left out: what is made of x has another shape"
    ensure(model.module.sees_x, other)
    codes = _codes(model, encoder_batch(model, x, hole, conditions, fill))
    hole = jnp.asarray(hole)
    made = decode(model, codes, missing=hole, **conditions)
    # Bytes come out as levels, like what the model makes.
    kept = unit_interval(jax.random.key(0), jnp.asarray(x))
    return jnp.where(hole, made, kept)


def sample(
    model: Model,
    key: jax.Array,
    count: int,
    *,
    draw: bool = False,
    **conditions: Any,
) -> Float[Array, "n ..."]:
    """Examples of `count` codes from the prior.

    Args:
        model: A model with a prior.
        key: A typed key.
        count: How many.
        draw: Draw from p(x | z) too, rather than take its mean.
        **conditions: As for `encode`, as `label=` [count].

    Raises:
        ValueError: The family has no prior, or `count` is below 1.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.sample(model, key, count=3).shape
        (3, 4, 4, 1)
    """
    check_model(model)
    check_key(key)
    check_count("count", count)
    key_code, key_draw = jax.random.split(key)
    module, variables = model.module, model.variables
    shown = _conditions(model, count, conditions, "decoder", "prior")
    side = {name: shown[name] for name in module.view.shown_to("decoder")}
    to_prior = {name: shown[name] for name in module.view.shown_to("prior")}
    codes = _sample_codes(module, count, variables, key_code, to_prior)
    if not draw:
        made = _decode(module, True, variables, (codes, side))
    else:
        keys = jax.random.split(key_draw, count)
        made = _draw(module, variables, (codes, side, keys))
    return inverse(model.recipe.prepare, made)


def sample_codes(model: Model, key: jax.Array, count: int, **conditions: Any) -> Codes:
    """`count` codes from the prior p(z), as `encode` returns them.

    Args:
        model: A model with a prior.
        key: A typed key.
        count: How many.
        **conditions: What the prior is shown, by name.

    Raises:
        ValueError: The family has no prior, or `count` is below 1.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> jaxae.inference.sample_codes(model, key, 3).shape
        (3, 2)
    """
    check_model(model)
    check_key(key)
    check_count("count", count)
    shown = _conditions(model, count, conditions, "prior")
    codes = _sample_codes(model.module, count, model.variables, key, shown)
    return codes[0] if len(codes) == 1 else codes


def codes_of(latents: tuple[Latent, ...]) -> Codes:
    """What users see as the code: [b, ...], a tuple of several, or whole numbers."""
    shown = tuple(u.mean if u.indices is None else u.indices for u in latents)
    return shown[0] if len(shown) == 1 else shown


@partial(jax.jit, static_argnums=(0, 1))
def _encode(
    module: Family, draw: bool, variables: Variables, inputs: tuple[Batch, Array]
) -> Codes:
    def one(example: tuple[Batch, Array]) -> Codes:
        return encode_one(module, variables, *example, draw=draw)

    return jax.lax.map(one, inputs, batch_size=CHUNK)


def encode_one(
    module: Family, variables: Variables, batch: Batch, key: Array, draw: bool = False
) -> Codes:
    """The code of one example: what a batch has in common is not to be seen here.

    Raises:
        ValueError: `draw`, and there is no posterior.
    """
    latents = call(module, variables, _alone(batch), key, method="encode")
    if draw:
        ensure(module.generative, "key must be left out: the code is deterministic")
        latents = tuple(latent._replace(mean=latent.z[0]) for latent in latents)
    return jax.tree.map(lambda code: code[0], codes_of(latents))


@partial(jax.jit, static_argnums=(0, 1))
def _decode(
    module: Family, embedded: bool, variables: Variables, inputs: tuple[Codes, Batch]
) -> Array:
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
    codes, batch = _alone((codes, batch))
    codes = _alone(codes) if embedded else embed(module, variables, codes)
    return call(module, variables, codes, batch, method="decode").mean[0, 0]


def embed(module: Family, variables: Variables, codes: Codes) -> tuple[Array, ...]:
    """One sample of codes as users see them, [n, ...], as a decoder takes it."""
    if module.num_codes:
        return call(module, variables, codes, method="embed")
    return _alone(codes if isinstance(codes, tuple) else (codes,))


@partial(jax.jit, static_argnums=0)
def _draw(
    module: Family,
    variables: Variables,
    inputs: tuple[tuple[Array, ...], Batch, Array],
) -> Array:
    def one(example: tuple[tuple[Array, ...], Batch, Array]) -> Array:
        codes, batch, key = example
        codes = _alone(_alone(codes))
        likelihood = call(module, variables, codes, _alone(batch), method="decode")
        return likelihood.sample(key)[0, 0]

    return jax.lax.map(one, inputs, batch_size=CHUNK)


@partial(jax.jit, static_argnums=(0, 1))
def _sample_codes(
    module: Family, count: int, variables: Variables, key: jax.Array, shown: Batch
) -> tuple[Array, ...]:
    codes = call(module, variables, key, count, shown, method="sample_codes")
    return jax.tree.map(lambda code: code[0], codes)


def _alone(values: Any) -> Any:
    """With a leading axis of one, for all arrays."""
    return jax.tree.map(lambda value: value[None], values)


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
    side = _conditions(model, count, conditions, "decoder")
    if missing is not None:
        shape = (count, *model.module.shape)
        side["mask"] = jnp.asarray(check_mask(missing, shape, "missing"))
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
    return jnp.asarray(code, form.dtype)


def _code_shapes(model: Model, side: Batch) -> Any:
    """Of one example's code, and its dtype: [1, ...], or a tuple of them."""
    x = jax.ShapeDtypeStruct((1, *model.module.shape_seen), jnp.float32)
    fields = abstract_fields(model.module, 1) | {
        k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in side.items()
    }
    keys = jax.random.split(jax.random.key(0), 1)
    encoder = partial(_encode, model.module, False, model.variables)
    return jax.eval_shape(encoder, ({"inputs": x, **fields}, keys))


def _conditions(
    model: Model, count: int, given: Mapping[str, Any], *parts: Part
) -> dict[str, Any]:
    """What these are shown beside x or z, as arrays."""
    checked = check_conditions(model.recipe, given, count, *parts)
    return {name: jnp.asarray(values) for name, values in checked.items()}


def encoder_batch(
    model: Model,
    x: Any,
    missing: Any,
    conditions: Mapping[str, Any],
    fill: float = FILL,
) -> dict[str, Any]:
    """What the encoder sees of examples, prepared as in training but not drawn."""
    check_model(model)
    recipe, shape = model.recipe, model.module.shape_seen
    x, missing = split_missing(x, missing, "x")
    x = check_examples(shape, x)
    check_scalable(recipe, x, "x")
    # Damage and another view may have any values.
    same = model.module.sees_x and recipe.corruption is identity
    if same and not isinstance(x, Tracer):
        _warn_of_values(model, x, missing)
    x = prepare_inputs(recipe, jax.random.key(0), jnp.asarray(x))
    shown = _conditions(model, len(x), conditions, *model.module.encoded_with)
    if missing is None:
        return {"inputs": x, **shown}
    mask = jnp.asarray(missing)
    return {"inputs": fill_in(x, mask, fill), "mask": mask, **shown}


def _warn_of_values(model: Model, x: Any, missing: Any) -> None:
    """An encoder that was trained on x is not for other values; one of inputs may be.

    Which of both a model is, it does not know.
    """
    try:
        check_values(model.recipe, x, "x", None if missing is None else ~missing)
    except ArgumentError as error:
        right = "right only for a model that was trained on inputs of their own"
        warnings.warn(f"{error}; {right}", stacklevel=4)
