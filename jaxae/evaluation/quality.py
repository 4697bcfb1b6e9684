"""How close reconstructions are to what they should be."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.corruptions import identity
from jaxae.errors import require
from jaxae.evaluation.examples import known_values, map_examples
from jaxae.inputs import check_data, check_model
from jaxae.models.family import call
from jaxae.objectives.reconstruction import counted
from jaxae.preparation import Scale, as_seen, inverse
from jaxae.recipe import Model, Recipe
from jaxae.types import AnyArray, Batch, Variables

Examples = Float[Array, "b ..."]
Scores = Float[Array, " b"]


def mean_squared_error(a: Examples, b: Examples, where: Array | None = None) -> Scores:
    """The mean over the values of each example, in squared units of x.

    Over those where `where` is True, if it is given; NaN where that is nothing.

    Example:
        >>> import jax.numpy as jnp, jaxae
        >>> x = jnp.zeros((2, 4))
        >>> jaxae.evaluation.mean_squared_error(x, x + 0.5).tolist()
        [0.25, 0.25]
    """
    error = jnp.square(a - b)
    if where is None:
        return error.reshape(a.shape[0], -1).mean(axis=-1)
    counts = jnp.broadcast_to(where, error.shape)
    return error.mean(axis=tuple(range(1, error.ndim)), where=counts)


def psnr_db(
    a: Examples, b: Examples, data_range: float = 1.0, where: Array | None = None
) -> Scores:
    """The peak signal-to-noise ratio of each example, in decibels.

    10 log₁₀(data_range² / mean squared error), and at most 100 dB, so that one example
    that comes back exactly (an image with a hole cut out of its black background, say)
    does not make a mean infinite.

    Args:
        a: Examples [b, ...].
        b: What they are compared with.
        data_range: From the lowest to the highest value that x can have.
        where: See `mean_squared_error`.

    Raises:
        ValueError: `data_range` is not above 0.

    Example:
        >>> import jax.numpy as jnp, jaxae
        >>> x = jnp.zeros((2, 4))
        >>> jaxae.evaluation.psnr_db(x, x + 0.1).round(2).tolist()
        [20.0, 20.0]
    """
    require(data_range > 0, "data_range", data_range, "above 0")
    error = mean_squared_error(a, b, where) / data_range**2
    return -10.0 * jnp.log10(jnp.maximum(error, 1e-10))


def ssim(a: Examples, b: Examples, data_range: float = 1.0) -> Scores:
    """The structural similarity of each image, the mean over windows and channels.

    Wang et al. (2004), "Image quality assessment: from error visibility to structural
    similarity", equation 13 with K₁ = .01 and K₂ = .03, in windows of 11 x 11 pixels
    with Gaussian weights of σ = 1.5: https://doi.org/10.1109/TIP.2003.819861. Images
    with a side below 11 get the largest odd window that fits.

    Args:
        a: Images [b, h, w, c].
        b: What they are compared with.
        data_range: From the lowest to the highest value that images can have.

    Raises:
        ValueError: These are no images of one shape, or `data_range` is not above 0.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((2, 4, 4, 1), np.float32)
        >>> jax.jit(jaxae.evaluation.ssim)(x, x).round(3).tolist()
        [1.0, 1.0]
    """
    images = a.ndim == 4 and a.shape == b.shape
    require(images, "a and b", (a.shape, b.shape), "images [b, h, w, c] of one shape")
    require(data_range > 0, "data_range", data_range, "above 0")
    height, width = a.shape[1:3]
    side = min(11, height, width)
    size = side - (side + 1) % 2
    rows, columns = _gaussian_windows(height, size), _gaussian_windows(width, size)

    def blur(images: Array) -> Array:
        # The variances are differences of blurred squares: they need all digits.
        return jnp.einsum(
            "ih,bhwc,jw->bijc", rows, images, columns, precision="highest"
        )

    # So they are taken of what differs from a mean, on which they do not depend.
    center = a.mean(axis=(1, 2), keepdims=True)
    x, y = a - center, b - center
    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x) - mean_x * mean_x + blur(y * y) - mean_y * mean_y
    covariance = blur(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + center, mean_y + center
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    similarity = luminance * (2.0 * covariance + c2) / (variances + c2)
    return similarity.mean(axis=(1, 2, 3))


def _gaussian_windows(length: int, size: int) -> Array:
    """The matrix of all windows of a line: a product, where convolutions are slow."""
    window = np.exp(-0.5 * ((np.arange(size) - size // 2) / 1.5) ** 2)
    rows = [np.pad(window, (i, length - size - i)) for i in range(length - size + 1)]
    return jnp.asarray(np.stack(rows) / window.sum(), jnp.float32)


def reconstruction_quality(
    model: Model,
    data: Any,
    key: jax.Array,
    *,
    mean_fill: Any = None,
    chunk: int = 250,
) -> dict[str, Float[AnyArray, " n"]]:
    """How well every example comes back through the bottleneck.

    The target is what the model has to explain: binarised, by the key, if the recipe
    does so. The code is the posterior's mean. Where the corruption removes values and
    damages no other, only those are taken from the model, as in `jaxae.repair`.

    Squared errors are of x as it is prepared. PSNR and SSIM are of x as it is stored,
    with a data range of 1; where the preparation is a `Scale` of floats, from the least
    to the largest value of these data. What is scaled and no picture has none.

    Args:
        model: A trained model.
        data: As for `fit`. They are damaged by the recipe's corruption.
        key: A typed key.
        mean_fill: The training set's mean of x as floats, to fill holes with.
        chunk: Examples at a time.

    Returns:
        `mse` and, of what has one unit, `psnr_db`, each [n], and `ssim` of images;
        `psnr_damaged_db` and `psnr_gain_db` where there is damage; `hole_mse`, and
        `hole_mse_mean_fill` if given the means, where values are removed: the mean over
        these, NaN for an example that by chance lost none.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> quality = jaxae.evaluation.reconstruction_quality(model, x, key)
        >>> quality['psnr_db'].shape
        (20,)
    """
    check_model(model)
    data = check_data(model.recipe, data, "data")
    shared = [_data_range(model.recipe, data)]
    shared += [] if mean_fill is None else [jnp.asarray(mean_fill, jnp.float32)]
    changed = "inputs" in data or model.recipe.corruption is not identity
    return map_examples(
        _quality, model, data, key, chunk, (changed,), shared=tuple(shared)
    )


def _data_range(recipe: Recipe, data: Mapping[str, AnyArray]) -> Float[AnyArray, ""]:
    x = data["x"]
    if x.dtype == np.uint8 or not isinstance(recipe.prepare, Scale):
        return np.ones((), np.float32)
    known = known_values(data)
    xp = jnp if isinstance(known, jax.Array) else np
    spread = xp.max(x, where=known, initial=-np.inf)
    spread -= xp.min(x, where=known, initial=np.inf)
    return xp.where(spread > 0, spread, xp.ones_like(spread))


def _quality(
    recipe: Recipe,
    variables: Variables,
    batch: Batch,
    key: jax.Array,
    changed: bool,
    data_range: Float[Array, ""],
    mean_fill: Array | None = None,
) -> dict[str, Array]:
    target, inputs = batch["x"], batch["inputs"]
    missing, hole = batch.get("missing"), hole_of(recipe, batch)
    known = None if missing is None else ~missing
    output = repaired(recipe, variables, batch, key)

    def stored(x: Examples) -> Examples:
        return inverse(recipe.prepare, x) / data_range

    scores = {"mse": mean_squared_error(output, target, known)}
    # Scaled columns have units of their own, the largest of which would decide.
    one_unit = target.ndim == 4 or not isinstance(recipe.prepare, Scale)
    if one_unit:
        scores["psnr_db"] = psnr_db(stored(output), stored(target), where=known)
    if target.ndim == 4 and missing is None:
        scores["ssim"] = ssim(stored(output), stored(target))
    if one_unit and changed and inputs.shape == target.shape:
        damaged = psnr_db(stored(inputs), stored(target), where=known)
        scores["psnr_damaged_db"] = damaged
        scores["psnr_gain_db"] = scores["psnr_db"] - scores["psnr_damaged_db"]
    if hole is not None:
        scores["hole_mse"] = mean_squared_error(output, target, hole)
        if mean_fill is not None:
            means = as_seen(recipe.prepare, key, mean_fill)
            fill = jnp.broadcast_to(means[None], target.shape)
            scores["hole_mse_mean_fill"] = mean_squared_error(fill, target, hole)
    return {name: value[0] for name, value in scores.items()}


def hole_of(recipe: Recipe, batch: Batch) -> Array | None:
    """True where the corruption removed a known value of x; None if it does not."""
    mask, same = batch.get("mask"), batch["inputs"].shape == batch["x"].shape
    if mask is None or recipe.corruption is identity or not same:
        return None
    return counted("hole", mask, batch.get("missing"))


def repaired(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array
) -> Examples:
    """What the model makes of `batch["inputs"]`, only in the holes if there are any.

    Where the corruption does more than to cut holes, all values are the model's.
    """
    output = _mean_reconstruction(recipe, variables, batch, key)
    inputs, target, mask = batch["inputs"], batch["x"], batch.get("mask")
    if mask is None or hole_of(recipe, batch) is None:
        return output
    only_holes = (jnp.where(mask, target, inputs) == target).all()
    return jnp.where(only_holes, jnp.where(mask, output, inputs), output)


def _mean_reconstruction(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array
) -> Examples:
    """The mean of p(x | z) at the code without its noise."""
    module = recipe.module
    latents = call(module, variables, batch, key, method="encode")
    codes = tuple(latent.mean[None] for latent in latents)
    return call(module, variables, codes, batch, method="decode").mean[0]
