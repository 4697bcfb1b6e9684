"""What a trained model is for: encode, decode, reconstruct, sample, restore.

Images go in as bytes or as floats in [0, 1] and come out as floats, the mean of
p(x | z). Any number of them works; they pass through the device in chunks of `CHUNK`.

The codes of a model are one array [n, ...], or a tuple of arrays, top first, for models
with several latents; they are whole numbers where the latent code is discrete. Models
that are shown labels take those of the images as `label` [n].
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxae.autoencoder import Family, call
from jaxae.checks import check_count, check_images, check_key, check_labels
from jaxae.corruptions import fill_in, identity
from jaxae.errors import require
from jaxae.preparation import unit_interval
from jaxae.types import Batch, Latent, Model, Variables

CHUNK = 250

Codes = PyTree[Array]
"""[n, ...], or a tuple of several."""


def encode(
    model: Model,
    images: Any,
    *,
    mask: Any = None,
    label: Any = None,
    key: jax.Array | None = None,
) -> Codes:
    """The codes of images: the means of q(z | x), or a sample of it if given a key.

    Args:
        model: As `fit` returns it.
        images: [n, *shape].
        mask: [n, h, w, 1], True where pixels are missing, for models that are shown it.
        label: [n], for models that are shown it.
        key: Draws from the posterior; not for deterministic codes, which have none.

    Raises:
        ValueError: The images, the mask or the labels are not as the model needs them,
            or the code is deterministic and a key was given.
    """
    draw = key is not None
    key = key if draw else jax.random.key(0)
    check_key(key)
    x = _as_floats(model, images)
    _check_range(model, x)
    batch = {"inputs": x, **_side_fields(model, x.shape[0], mask, label)}
    keys = jax.random.split(key, x.shape[0])
    return _encode(model.recipe.model, draw, model.variables, (batch, keys))


def decode(
    model: Model, codes: Any, *, mask: Any = None, label: Any = None
) -> Float[Array, "n ..."]:
    """The images that codes stand for: the means of p(x | z).

    Args:
        model: As `fit` returns it.
        codes: As `encode` returns them.
        mask: As for `encode`, for models whose decoder is shown it.
        label: [n], for models that are shown it.

    Raises:
        ValueError: The codes have not the shape of this model's, or are not finite.
    """
    leaves = codes if isinstance(codes, tuple) else (codes,)
    side = _side_fields(model, (np.shape(leaves[0]) or (0,))[0], mask, label)
    codes = _check_codes(model, codes, side)
    return _decode(model.recipe.model, False, model.variables, (codes, side))


def reconstruct(
    model: Model, images: Any, *, label: Any = None, key: jax.Array | None = None
) -> Float[Array, "n ..."]:
    """Through the bottleneck and back; by a sample of the code if given a key."""
    return decode(model, encode(model, images, label=label, key=key), label=label)


def restore(
    model: Model, images: Any, *, mask: Any = None, fill: float = 0.0
) -> Float[Array, "n ..."]:
    """Cleans damaged images, or fills their holes.

    Args:
        model: A denoising or an inpainting model.
        images: [n, *shape], damaged. Nothing is damaged further.
        mask: [n, h, w, 1] or [n, h, w], True where pixels are missing: only those are
            changed, and what the images hold there is not looked at. Without a mask all
            pixels are the model's.
        fill: What the missing pixels are set to before the model sees them; what the
            corruption filled in while training.

    Raises:
        ValueError: The images or the mask are not as the model needs them.
    """
    if mask is None:
        shown = "mask" in model.recipe.model.view.needs
        require(not shown, "mask", None, "given to a model that fills holes")
        return reconstruct(model, images)
    images = np.asarray(images)
    hole = _check_mask(images.shape, mask)
    # Filled before they are checked: a hole is often marked by NaN.
    x = _as_floats(model, np.where(hole, np.zeros((), images.dtype), images))
    x = fill_in(x, jnp.asarray(hole), fill)
    return jnp.where(hole, decode(model, encode(model, x, mask=hole), mask=hole), x)


def sample(
    model: Model,
    key: jax.Array,
    count: int,
    *,
    label: Any = None,
    draw: bool = False,
) -> Float[Array, "n ..."]:
    """Images of `count` codes from the prior.

    Args:
        model: A model with a prior.
        key: A typed key.
        count: How many.
        label: [count], for models that are shown labels.
        draw: Draw from p(x | z) too, rather than take its mean.

    Raises:
        ValueError: The family has no prior, or `count` is below 1.
    """
    check_key(key)
    check_count("count", count)
    key_code, key_image = jax.random.split(key)
    module, variables = model.recipe.model, model.variables
    side = _side_fields(model, count, None, label)
    codes = _sample_codes(module, count, variables, key_code)
    if not draw:
        return _decode(module, True, variables, (codes, side))
    return _draw(module, variables, (codes, side, jax.random.split(key_image, count)))


def sample_codes(model: Model, key: jax.Array, count: int) -> Codes:
    """`count` codes from the prior p(z), as `encode` returns them.

    Raises:
        ValueError: The family has no prior, or `count` is below 1.
    """
    check_key(key)
    check_count("count", count)
    codes = _sample_codes(model.recipe.model, count, model.variables, key)
    return codes[0] if len(codes) == 1 else codes


def interpolate(
    model: Model, start: Any, end: Any, *, label: Any = None, steps: int = 8
) -> Float[Array, "n steps ..."]:
    """Walks in a straight line from the code of `start` to that of `end`.

    Args:
        model: As `fit` returns it.
        start: [n, *shape].
        end: [n, *shape].
        label: [n], for models that are shown it: one for every walk.
        steps: Images per walk, both ends included.

    Raises:
        ValueError: Different numbers of images, fewer than two steps, or codes that are
            whole numbers.
    """
    check_count("steps", steps, least=2)
    discrete = model.recipe.model.num_codes > 0
    require(not discrete, "model", "one with discrete codes", "one with real codes")
    first = encode(model, start, label=label)
    last = encode(model, end, label=label)
    came, expected = (jax.tree.leaves(codes)[0].shape for codes in (last, first))
    require(came == expected, "end", came, f"as many as start: {expected}")
    along = jnp.linspace(0.0, 1.0, steps, dtype=jnp.float32)

    def line(a: Array, b: Array) -> Array:
        t = along.reshape(1, steps, *[1] * (a.ndim - 1))
        points = (1.0 - t) * a[:, None] + t * b[:, None]
        return points.reshape(-1, *a.shape[1:])

    codes = jax.tree.map(line, first, last)
    label = None if label is None else np.repeat(np.asarray(label), steps)
    images = decode(model, codes, label=label)
    return images.reshape(expected[0], steps, *images.shape[1:])


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
        require(module.generative, "key", "a key", "None: the code is deterministic")
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
    if embedded:
        codes = _alone(codes)
    elif module.num_codes:
        codes = call(module, variables, codes, method="embed")
    else:
        codes = _alone(codes if isinstance(codes, tuple) else (codes,))
    return call(module, variables, codes, batch, method="decode").mean[0, 0]


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
    module: Family, count: int, variables: Variables, key: jax.Array
) -> tuple[Array, ...]:
    codes = call(module, variables, key, count, method="sample_codes")
    return jax.tree.map(lambda code: code[0], codes)


def _alone(values: Any) -> Any:
    """With a leading axis of one, for all arrays."""
    return jax.tree.map(lambda value: value[None], values)


def _check_codes(model: Model, codes: Any, side: Batch) -> Codes:
    expected = _code_shapes(model, side)
    single = isinstance(expected, jax.ShapeDtypeStruct)
    leaves = (codes,) if single else tuple(codes)
    forms = (expected,) if single else expected
    count = f"{len(forms)} arrays of codes, top first"
    require(len(leaves) == len(forms), "codes", f"{len(leaves)} arrays", count)
    pairs = zip(leaves, forms, strict=True)
    num_codes = model.recipe.model.num_codes
    checked = tuple(_check_code(code, form, num_codes) for code, form in pairs)
    return checked[0] if single else checked


def _check_code(code: Any, form: jax.ShapeDtypeStruct, num_codes: int) -> Array:
    code = np.asarray(code)
    sizes = ", ".join(map(str, form.shape[1:]))
    fits = code.shape[1:] == form.shape[1:] and code.ndim and len(code)
    require(fits, "codes", code.shape, f"of shape [n, {sizes}]")
    if num_codes:
        whole = code.dtype.kind in "iu" and code.min() >= 0 and code.max() < num_codes
        came = f"{code.dtype} from {code.min()} to {code.max()}"
        require(whole, "codes", came, f"whole numbers from 0 to {num_codes - 1}")
    else:
        finite = np.isfinite(np.asarray(code, np.float32)).all()
        require(finite, "codes", "a value not finite", "finite")
    return jnp.asarray(code, form.dtype)


def _code_shapes(model: Model, side: Batch) -> Any:
    """Of one example's code, and its dtype: [1, ...], or a tuple of them."""
    module, variables = model.recipe.model, model.variables
    image = jax.ShapeDtypeStruct((1, *module.shape), jnp.float32)
    fields = {
        k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in side.items()
    }
    keys = jax.random.split(jax.random.key(0), 1)
    encoder = partial(_encode, module, False, variables)
    return jax.eval_shape(encoder, ({"inputs": image, **fields}, keys))


def _side_fields(model: Model, count: int, mask: Any, label: Any) -> Batch:
    """The mask and the labels as the model needs them."""
    module, fields = model.recipe.model, {}
    if mask is not None:
        fields["mask"] = jnp.asarray(_check_mask((count, *module.shape), mask))
    needed = "label" in module.view.needs
    require(needed or label is None, "label", label, "None: the model sees no labels")
    if needed:
        require(label is not None, "label", None, f"given: one of {count} labels each")
        label = np.asarray(label)
        whole = label.dtype.kind in "iu" and label.shape == (count,)
        require(
            whole, "label", f"{label.dtype} {label.shape}", f"[{count}] whole numbers"
        )
        check_labels(model.recipe, label, "label")
        fields["label"] = jnp.asarray(label, jnp.int32)
    return fields


def _as_floats(model: Model, images: Any) -> Array:
    checked = check_images(model.recipe, images)
    return unit_interval(jax.random.key(0), jnp.asarray(checked))


def _check_range(model: Model, x: Array) -> None:
    """Not after damage, which may leave [0, 1], nor where every number is possible."""
    bounded = not bool(model.recipe.model.likelihood.support(jnp.asarray(-1e6)))
    if bounded and model.recipe.corruption is identity:
        low, high = float(x.min()), float(x.max())
        came = f"values from {low:g} to {high:g}"
        require(low >= 0 and high <= 1, "images", came, "bytes, or floats in [0, 1]")


def _check_mask(shape: tuple[int, ...], mask: Any) -> np.ndarray:
    mask = np.asarray(mask)
    require(mask.dtype == bool, "mask", str(mask.dtype), "bool, True where pixels miss")
    if mask.ndim == len(shape) - 1:
        mask = mask[..., None]
    one_channel = (*shape[:-1], 1)
    fits = mask.shape in (shape, one_channel)
    require(fits, "mask", mask.shape, f"of shape {one_channel}")
    return mask
