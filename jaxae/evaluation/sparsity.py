"""How sparse a code is, and how much of the data it explains."""

import operator
from functools import reduce
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxae.errors import require
from jaxae.evaluation.examples import CHUNKS, known_values, map_examples
from jaxae.inputs import check_data, check_model
from jaxae.models.family import call
from jaxae.networks.dictionary import Dictionary, normalize_rows
from jaxae.recipe import Model, Recipe
from jaxae.types import Batch, Variables


class _Totals(NamedTuple):
    """Sums over examples, in float64."""

    examples: float
    known: Float[np.ndarray, " d"]
    active: Float[np.ndarray, " n"]
    squared_error: float
    offset: Float[np.ndarray, " d"]
    offset_squared: Float[np.ndarray, " d"]


def sparsity(
    model: Model, data: Any, key: jax.Array, *, chunk: int = 250
) -> dict[str, int | float | None]:
    """The numbers by which sparse auto-encoders are compared, over a data set.

    Args:
        model: A trained model with one latent of real numbers.
        data: As for `fit`.
        key: A typed key, for recipes that binarise or damage the data.
        chunk: Examples at a time.

    Returns:
        `num_latents`: how many latents there are;
        `l0`: the mean number of them per example that are not zero;
        `explained_variance`: 1 - Σ (x - x̂)² / Σ (x - mean of the data)², None where
        all examples are equal, as one alone is;
        `dead_fraction`: the part of the latents that no example activates.

    Raises:
        ValueError: The data are not as the model needs them, or the code is of whole
            numbers.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 6), np.float32)
        >>> recipe = jaxae.recipes.sparse_autoencoder((6,), 8, k=2)
        >>> model = jaxae.init(recipe, jax.random.key(0))  # or `fit(...).model`
        >>> numbers = jaxae.evaluation.sparsity(model, x, jax.random.key(1))
        >>> numbers["num_latents"], numbers["l0"]
        (8, 2.0)
    """
    check_model(model)
    discrete = model.module.num_codes > 0
    require(not discrete, "model", "one with discrete codes", "one with real codes")
    data = check_data(model.recipe, data, "data")
    size, parts, origin = chunk * CHUNKS, [], None
    for i, start in enumerate(range(0, len(data["x"]), size)):
        part = {name: values[start : start + size] for name, values in data.items()}
        own = jax.random.fold_in(key, i)
        explained = map_examples(_explained, model, part, own, chunk)
        origin = explained[1][0] if origin is None else origin
        weight = part.get("weight", np.ones(len(part["x"])))
        weight = np.asarray(weight, np.float64)
        parts.append(_totals(*explained, weight=weight, origin=origin))
    total = reduce(_add, parts)
    mean_square = total.offset**2 / np.maximum(total.known, 1e-12)
    variance = (total.offset_squared - mean_square).sum()
    explained = 1.0 - total.squared_error / variance if variance > 0 else None
    return {
        "num_latents": total.active.size,
        "l0": float(total.active.sum() / total.examples),
        "explained_variance": None if explained is None else float(explained),
        "dead_fraction": float((total.active == 0).mean()),
    }


def atoms(model: Model) -> Float[Array, "n ..."]:
    """What every latent adds to x per unit, as the decoder uses it: of norm 1.

    Of x as it is scaled, where the recipe's preparation is a `Scale`. The parameter
    itself is of any length, see `networks.Dictionary`.

    Args:
        model: A sparse auto-encoder.

    Returns:
        [n, *shape], one for every latent.

    Raises:
        ValueError: The decoder is no `Dictionary`.

    Example:
        >>> import jax, jaxae
        >>> recipe = jaxae.recipes.sparse_autoencoder((6,), 8, k=2)
        >>> model = jaxae.init(recipe, jax.random.key(0))  # or `fit(...).model`
        >>> jaxae.evaluation.atoms(model).shape
        (8, 6)
    """
    check_model(model)
    decoder = getattr(model.module, "decoder", None)
    own = isinstance(decoder, Dictionary)
    require(own, "the decoder", type(decoder).__name__, "a networks.Dictionary")
    rows = normalize_rows(model.variables["params"]["decoder"]["atoms"])
    return rows.reshape(-1, *model.module.shape)


def _add(a: _Totals, b: _Totals) -> _Totals:
    return jax.tree.map(operator.add, a, b)


def _totals(
    code: Float[np.ndarray, "b n"],
    x: Float[np.ndarray, "b ..."],
    reconstruction: Float[np.ndarray, "b ..."],
    known: Bool[np.ndarray, "b ..."],
    weight: Float[np.ndarray, " b"],
    origin: Float[np.ndarray, "..."],
) -> _Totals:
    x = x.reshape(len(x), -1).astype(np.float64)
    error = x - reconstruction.reshape(x.shape)
    # From one of the examples: where all are equal, exactly 0.
    offset = x - origin.reshape(-1)
    counts = weight[:, None] * known.reshape(x.shape)
    return _Totals(
        float(weight.sum()),
        counts.sum(axis=0),
        weight @ (code != 0),
        float((counts * np.square(error)).sum()),
        (counts * offset).sum(axis=0),
        (counts * np.square(offset)).sum(axis=0),
    )


def _explained(
    recipe: Recipe, variables: Variables, batch: Batch, key: jax.Array
) -> tuple[Array, Array, Array, Array]:
    """The flat code, x, the mean of p(x | z), and where x is known, of one example."""
    (latent,) = call(recipe.module, variables, batch, key, method="encode")
    codes = (latent.mean[None],)
    likelihood = call(recipe.module, variables, codes, batch, method="decode")
    code, known = latent.mean[0].reshape(-1), known_values(batch)[0]
    return code, batch["x"][0], likelihood.mean[0, 0], known
