"""What a trained model is for: encode, decode, reconstruct, sample, restore.

Images go in as bytes or as floats in [0, 1] and come out as floats, the mean of
p(x | z). Any number of them works; they pass through the device in chunks of `CHUNK`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.autoencoder import AutoEncoder, call
from jaxae.checks import check_count, check_images, check_key
from jaxae.corruptions import fill_in, identity
from jaxae.errors import require
from jaxae.preparation import unit_interval
from jaxae.types import Batch, Latent, Model, Variables

CHUNK = 250


def encode(
    model: Model, images: Any, *, mask: Any = None, key: jax.Array | None = None
) -> Float[Array, "n ..."]:
    """The codes of images: the means of q(z | x), or a sample of it if given a key.

    Args:
        model: As `fit` returns it.
        images: [n, *shape].
        mask: [n, h, w, 1], True where pixels are missing, for models that are shown it.
        key: Draws from the posterior; not for deterministic codes, which have none.

    Raises:
        ValueError: The images or the mask are not as the model needs them, or the code
            is deterministic and a key was given.
    """
    draw = key is not None
    key = key if draw else jax.random.key(0)
    check_key(key)
    batch = _inputs(model, images, mask)
    keys = jax.random.split(key, len(batch["inputs"]))
    return _encode(model.recipe.model, draw, model.variables, (batch, keys))


def decode(model: Model, codes: Any) -> Float[Array, "n ..."]:
    """The images that codes [n, ...] stand for: the means of p(x | z).

    Raises:
        ValueError: The codes have not the shape of this model's, or are not finite.
    """
    codes = jnp.asarray(codes, jnp.float32)
    shape = _code_shape(model)
    sizes = ", ".join(map(str, shape))
    fits = codes.shape[1:] == shape and codes.ndim
    require(fits, "codes", codes.shape, f"of shape [n, {sizes}]")
    require(bool(jnp.isfinite(codes).all()), "codes", "a value not finite", "finite")
    return _decode(model.recipe.model, model.variables, codes)


def reconstruct(
    model: Model, images: Any, *, key: jax.Array | None = None
) -> Float[Array, "n ..."]:
    """Through the bottleneck and back; by a sample of the code if given a key."""
    return decode(model, encode(model, images, key=key))


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
        shown = model.recipe.model.mask_channel
        require(not shown, "mask", None, "given to a model that fills holes")
        return reconstruct(model, images)
    images = np.asarray(images)
    hole = _check_mask(images.shape, mask)
    # Filled before they are checked: a hole is often marked by NaN.
    x = _as_floats(model, np.where(hole, np.zeros((), images.dtype), images))
    x = fill_in(x, jnp.asarray(hole), fill)
    return jnp.where(hole, decode(model, encode(model, x, mask=hole)), x)


def sample(
    model: Model, key: jax.Array, count: int, *, draw: bool = False
) -> Float[Array, "n ..."]:
    """Images of `count` codes from the prior.

    Args:
        model: A model with a prior.
        key: A typed key.
        count: How many.
        draw: Draw from p(x | z) too, rather than take its mean.

    Raises:
        ValueError: The family has no prior, or `count` is below 1.
    """
    check_key(key)
    check_count("count", count)
    key_code, key_image = jax.random.split(key)
    module, variables = model.recipe.model, model.variables
    (codes,) = call(module, variables, key_code, count, method="sample_codes")
    if not draw:
        return _decode(module, variables, codes[0])
    return _draw(module, variables, (codes[0], jax.random.split(key_image, count)))


def interpolate(
    model: Model, start: Any, end: Any, *, steps: int = 8
) -> Float[Array, "n steps ..."]:
    """Walks in a straight line from the code of `start` to that of `end`.

    Args:
        model: As `fit` returns it.
        start: [n, *shape].
        end: [n, *shape].
        steps: Images per walk, both ends included.

    Raises:
        ValueError: Different numbers of images, or fewer than two steps.
    """
    check_count("steps", steps, least=2)
    first, last = encode(model, start), encode(model, end)
    require(
        first.shape == last.shape, "end", last.shape, f"as many as start: {first.shape}"
    )
    along = jnp.linspace(0.0, 1.0, steps).reshape(1, steps, *[1] * (first.ndim - 1))
    codes = (1.0 - along) * first[:, None] + along * last[:, None]
    images = decode(model, codes.reshape(-1, *first.shape[1:]))
    return images.reshape(first.shape[0], steps, *images.shape[1:])


def latent_mean(latent: Latent) -> Float[Array, "b ..."]:
    """The code without its noise: the posterior's mean, or the deterministic code."""
    return latent.z[0] if latent.posterior is None else latent.posterior.mean


@partial(jax.jit, static_argnums=(0, 1))
def _encode(
    module: AutoEncoder, draw: bool, variables: Variables, inputs: tuple[Batch, Array]
) -> Array:
    def one(example: tuple[Batch, Array]) -> Array:
        batch, key = example
        batch = {name: value[None] for name, value in batch.items()}
        (latent,) = call(module, variables, batch, key, method="encode")
        random = latent.posterior is not None
        require(random or not draw, "key", "a key", "None: the code is deterministic")
        return latent.z[0, 0] if draw else latent_mean(latent)[0]

    return jax.lax.map(one, inputs, batch_size=CHUNK)


@partial(jax.jit, static_argnums=0)
def _decode(module: AutoEncoder, variables: Variables, codes: Array) -> Array:
    def one(code: Array) -> Array:
        codes = (code[None, None],)
        return call(module, variables, codes, method="decode").mean[0, 0]

    return jax.lax.map(one, codes, batch_size=CHUNK)


@partial(jax.jit, static_argnums=0)
def _draw(
    module: AutoEncoder, variables: Variables, inputs: tuple[Array, Array]
) -> Array:
    def one(example: tuple[Array, Array]) -> Array:
        code, key = example
        likelihood = call(module, variables, (code[None, None],), method="decode")
        return likelihood.sample(key)[0, 0]

    return jax.lax.map(one, inputs, batch_size=CHUNK)


def _code_shape(model: Model) -> tuple[int, ...]:
    module, variables = model.recipe.model, model.variables
    image = jax.ShapeDtypeStruct((1, *module.shape), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 1)
    encoder = partial(_encode, module, False, variables)
    return jax.eval_shape(encoder, ({"inputs": image}, keys)).shape[1:]


def _inputs(model: Model, images: Any, mask: Any) -> Batch:
    x = _as_floats(model, images)
    _check_range(model, x)
    if mask is None:
        return {"inputs": x}
    return {"inputs": x, "mask": jnp.asarray(_check_mask(x.shape, mask))}


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
