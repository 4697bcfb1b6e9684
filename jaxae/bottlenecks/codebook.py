"""Pure functions of discrete codes: search, gradients, k-means, how codes are used.

Letters: `n` features (the positions of all examples), `d` their dimensions, `m` codes
in a codebook, `q` codebooks one after the other. A `weight` [n] says how often each
feature counts; None for once.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Codebooks and their statistics come from sums over a batch. TF32 would round every
# term to 10 bits, and choose another code than the nearest one.
_PRECISION = jax.lax.Precision.HIGHEST
_TINY = 1e-6


def nearest_code(
    features: Float[Array, "n d"], codes: Float[Array, "m d"]
) -> Int[Array, " n"]:
    """argmin_j |f - e_j|², the first one of several.

    |f|² is the same for all codes, so that |e_j|² - 2 f·e_j decides: one product.
    """
    # An offset that all have in common would make the two terms cancel.
    center = codes.mean(axis=0, keepdims=True)
    features, codes = features - center, codes - center
    products = jnp.matmul(features, codes.T, precision=_PRECISION)
    squares = jnp.square(codes).sum(axis=-1)[None]
    return jnp.argmin(squares - 2 * products, axis=-1).astype(jnp.int32)


def straight_through(
    features: Float[Array, "... d"], codes: Float[Array, "... d"]
) -> Float[Array, "... d"]:
    """`codes`, with the gradient of `features` (van den Oord et al. 2017, section 3.2).

    The usual f + stop(e - f) equals e only up to rounding; this sum is exact.
    """
    return jax.lax.stop_gradient(codes) + (features - jax.lax.stop_gradient(features))


def rotation_trick(
    features: Float[Array, "... d"], codes: Float[Array, "... d"]
) -> Float[Array, "... d"]:
    """`codes` as a rotation and a scaling of `features` (Fifty et al. 2024, section 4).

    e = (|e| / |f|) R f with R = I - 2 r rᵀ + 2 ê f̂ᵀ, where f̂ and ê are the unit
    vectors and r the one along f̂ + ê. R and the scale are constants to the gradient,
    which keeps its angle to the code when it is taken back to the feature.
    """
    f, e = jax.lax.stop_gradient((features, codes))
    f_norm, e_norm = _norm(f), _norm(e)
    f_unit, e_unit = f / f_norm, e / e_norm
    r = f_unit + e_unit
    r = r / _norm(r)
    rotated = (
        features
        - 2 * r * (r * features).sum(axis=-1, keepdims=True)
        + 2 * e_unit * (f_unit * features).sum(axis=-1, keepdims=True)
    )
    return straight_through(e_norm / f_norm * rotated, e)


def _norm(x: Float[Array, "... d"]) -> Float[Array, "... 1"]:
    return jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), _TINY)


def per_position(
    weight: Float[Array, " b"] | None, shape: tuple[int, ...]
) -> Float[Array, " n"]:
    """The weight of its example, or 1, for every position of features [*shape, d]."""
    count = math.prod(shape)
    if weight is None:
        return jnp.ones(count, jnp.float32)
    return jnp.repeat(weight.astype(jnp.float32), count // shape[0])


def count_and_sum(
    indices: Int[Array, " n"],
    features: Float[Array, "n d"],
    size: int,
    weight: Float[Array, " n"] | None = None,
) -> tuple[Float[Array, " m"], Float[Array, "m d"]]:
    """How many features chose each of `size` codes, and the sum of those features."""
    chosen = jax.nn.one_hot(indices, size, dtype=features.dtype)
    if weight is not None:
        chosen = chosen * weight[:, None]
    sums = jnp.matmul(chosen.T, features, precision=_PRECISION)
    return chosen.sum(axis=0), sums


def draw_rows(
    key: jax.Array,
    features: Float[Array, "n d"],
    count: int,
    weight: Float[Array, " n"] | None = None,
) -> Float[Array, "m d"]:
    """`count` random features, each once as long as there are enough.

    The largest of log weights with Gumbel noise are draws by weight without replacement
    (Efraimidis & Spirakis 2006).
    """
    some = features.shape[0]
    odds = jax.random.gumbel(key, (some,), features.dtype)
    _, order = jax.lax.top_k(
        odds if weight is None else odds + jnp.log(weight), min(count, some)
    )
    if weight is not None:
        some = jnp.maximum((weight > 0).sum(), 1)
    return features[order[jnp.arange(count) % some]]


def kmeans(
    key: jax.Array,
    features: Float[Array, "n d"],
    size: int,
    steps: int,
    weight: Float[Array, " n"] | None = None,
) -> Float[Array, "m d"]:
    """`size` centres by `steps` iterations of Lloyd's algorithm from random features.

    A centre that no feature is nearest to stays where it is.
    """

    def lloyd(_: Array, codes: Array) -> Array:
        indices = nearest_code(features, codes)
        counts, sums = count_and_sum(indices, features, size, weight)
        chosen = counts[:, None] > 0
        return jnp.where(chosen, sums / jnp.where(chosen, counts[:, None], 1.0), codes)

    return jax.lax.fori_loop(0, steps, lloyd, draw_rows(key, features, size, weight))


def residual_kmeans(
    key: jax.Array,
    features: Float[Array, "n d"],
    shape: tuple[int, int],
    steps: int,
    weight: Float[Array, " n"] | None = None,
) -> tuple[Float[Array, "q m d"], Float[Array, "q m"]]:
    """`shape` = (q, m) centres, each codebook of what the ones before leave over.

    Returns:
        The centres and how many features chose each.
    """
    books, counts = [], []
    for i in range(shape[0]):
        codes = kmeans(jax.random.fold_in(key, i), features, shape[1], steps, weight)
        indices = nearest_code(features, codes)
        counts.append(count_and_sum(indices, features, shape[1], weight)[0])
        books.append(codes)
        features = features - codes[indices]
    return jnp.stack(books), jnp.stack(counts)


def dead_codes(counts: Float[Array, "q m"], below: float) -> Float[Array, "q m"]:
    """1 where a code is used less than `below` times the mean code of its codebook."""
    return (counts < below * counts.mean(axis=-1, keepdims=True)).astype(counts.dtype)


def draw_features(
    key: jax.Array,
    features: Float[Array, "q n d"],
    size: int,
    weight: Float[Array, " n"] | None = None,
) -> Float[Array, "q m d"]:
    """`size` random features for every codebook; see `draw_rows`."""
    keys = jax.random.split(key, features.shape[0])
    return jax.vmap(draw_rows, in_axes=(0, 0, None, None))(keys, features, size, weight)


def perplexity(counts: Float[Array, "... m"]) -> Float[Array, "..."]:
    """exp H of how often codes occur: 1 for a single code, `m` if all are alike."""
    total = counts.sum(axis=-1, keepdims=True)
    share = counts / jnp.maximum(total, _TINY)
    return jnp.exp(jax.scipy.special.entr(share).sum(axis=-1))


def usage_metrics(
    indices: Int[Array, "b ... q"],
    num_codes: int,
    weight: Float[Array, " b"] | None = None,
) -> dict[str, Float[Array, " b"]]:
    """What is logged of the codes of a batch, the mean of all codebooks.

    `perplexity` is from 1 to `num_codes`; `usage` is the share of codes that occur.
    Both belong to the batch, and are repeated for every example.
    """
    size, books = indices.shape[0], indices.shape[-1]
    columns = indices.reshape(-1, books).T
    weights = per_position(weight, indices.shape[:-1])
    counts = jax.vmap(lambda column: jnp.bincount(column, weights, length=num_codes))(
        columns
    )
    used = (counts > 0).astype(jnp.float32).mean()
    values = {"perplexity": perplexity(counts).mean(), "usage": used}
    return {name: jnp.broadcast_to(value, (size,)) for name, value in values.items()}
