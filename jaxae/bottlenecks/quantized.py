"""Vector quantisation: every feature becomes the nearest code of a learned codebook."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxae.averages import any_weight, running_mean
from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.bottlenecks.codebook import (
    count_and_sum,
    dead_codes,
    draw_features,
    nearest_code,
    per_position,
    residual_kmeans,
    rotation_trick,
    straight_through,
    usage_metrics,
)
from jaxae.checks import as_finite, check_count, settle
from jaxae.errors import check_choice, choose, require
from jaxae.types import Latent

Learning = Literal["ema", "gradient"]
Estimator = Literal["straight_through", "rotation"]
Statistics = Mapping[str, Array]

_ESTIMATORS = {
    "straight_through": straight_through,
    "rotation": rotation_trick,
}
_SMOOTHING = 1e-5


class VectorQuantizer(Bottleneck):
    """The bottleneck of the VQ-VAE (van den Oord et al. 2017).

    Features [b, ..., c] are projected to f [b, ..., code_dim], and every position takes
    the nearest code. With several quantizers each one quantises what those before it
    leave over, and the code is their sum (residual quantisation, Zeghidour et al.
    2021).

    The penalty is a squared error, summed over the dimensions, the positions and the
    quantizers of an example: commitment_weight · |f - stop(e)|², with a codebook
    learned by gradient plus |stop(f) - e|².

    An "ema" codebook is no parameter but the running mean of the features that chose
    each code (appendix A.1), with Laplace smoothing of the counts. The collection
    "statistics" keeps it, and training alone changes it: it starts at the k-means
    centres of the first batch, and a code that is hardly used any more is replaced by a
    random feature of the batch. A "gradient" codebook is a parameter, for which the
    hook `jaxae.hooks.revive_codes` does both.

    Attributes:
        codebook_size: Codes in each codebook.
        code_dim: Dimensions of a code.
        codebook: How the codes are learned: "ema" or "gradient".
        commitment_weight: Of the pull of the features towards their codes.
        decay: Of the running counts and sums, per step.
        gradient_estimator: What gradient the features get through the choice of a code:
            "straight_through", or "rotation" (Fifty et al. 2024).
        num_quantizers: Codebooks, one after the other.
        dead_below: A code is dead when its running count is below this share of the
            mean count; 0 to replace none.
        kmeans_steps: Lloyd iterations on the first batch; 0 takes random features.

    Raises:
        ValueError: An argument is outside its range.
    """

    codebook_size: int = 512
    code_dim: int = 16
    codebook: Learning = "ema"
    commitment_weight: float = 0.25
    decay: float = 0.99
    gradient_estimator: Estimator = "straight_through"
    num_quantizers: int = 1
    dead_below: float = 0.01
    kmeans_steps: int = 10

    def __post_init__(self) -> None:
        for name in ("codebook_size", "code_dim", "num_quantizers"):
            check_count(name, getattr(self, name))
        check_count("kmeans_steps", self.kmeans_steps, least=0)
        check_choice("codebook", self.codebook, Learning)
        choose("gradient_estimator", self.gradient_estimator, _ESTIMATORS)
        settle(self, as_finite, "commitment_weight", "decay", "dead_below")
        weight, decay, dead = self.commitment_weight, self.decay, self.dead_below
        require(weight >= 0, "commitment_weight", weight, "at least 0")
        require(0 <= decay < 1, "decay", decay, "at least 0 and below 1")
        require(0 <= dead < 1, "dead_below", dead, "at least 0 and below 1")
        super().__post_init__()

    @property
    def num_codes(self) -> int:
        """`codebook_size`."""
        return self.codebook_size

    @property
    def num_codebooks(self) -> int:
        """`num_quantizers`."""
        return self.num_quantizers

    def setup(self) -> None:
        """Makes the projection, the codebooks and their statistics."""
        self.project = nn.Dense(self.code_dim)
        shape = (self.num_quantizers, self.codebook_size, self.code_dim)
        init = nn.initializers.normal(1.0)
        if self.codebook == "gradient":
            self.embedding = self.param("codebook", init, shape, jnp.float32)
            fresh = {}
        else:
            fresh = {
                "embedding": lambda: init(self.make_rng("params"), shape, jnp.float32),
                "sums": lambda: jnp.zeros(shape, jnp.float32),
            }
        fresh["counts"] = lambda: jnp.zeros(shape[:2], jnp.float32)
        fresh["mass"] = fresh["initialized"] = lambda: jnp.zeros((), jnp.float32)
        self.statistics = {
            name: self.variable("statistics", name, value)
            for name, value in fresh.items()
        }

    def __call__(
        self,
        h: Float[Array, "b ..."],
        key: jax.Array,
        *,
        num_samples: int = 1,
        train: bool = False,
        weight: Float[Array, " b"] | None = None,
    ) -> Latent:
        """One code per position: z [1, b, ..., code_dim], whatever `num_samples` is.

        `info["features"]` [b, ..., num_quantizers, code_dim] is what each quantizer was
        given.
        """
        del num_samples
        f = self.project(h)
        rows = f.reshape(-1, self.code_dim)
        weights = per_position(weight, f.shape[:-1])
        key_start, key_revive = jax.random.split(key)
        learning = train and not self.is_initializing()
        if learning and self.codebook == "ema":
            self._start(jax.lax.stop_gradient(rows), weights, key_start)
        stages, codes, indices = _quantize(rows, self._books())
        penalty = self.commitment_weight * _squared_error(
            stages, jax.lax.stop_gradient(codes)
        )
        if self.codebook == "gradient":
            penalty = penalty + _squared_error(jax.lax.stop_gradient(stages), codes)
        if learning:
            self._learn(jax.lax.stop_gradient(stages), indices, weights, key_revive)
        total = codes.sum(axis=0).reshape(f.shape)
        z = _ESTIMATORS[self.gradient_estimator](f, total)
        chosen = indices.T.reshape(*f.shape[:-1], self.num_quantizers)
        return exact(
            z,
            penalty=flat(penalty.reshape(f.shape[:-1])).sum(axis=-1),
            indices=chosen if self.num_quantizers > 1 else chosen[..., 0],
            metrics=usage_metrics(chosen, self.codebook_size, weight),
            info={
                "features": stages.swapaxes(0, 1).reshape(
                    *f.shape[:-1], self.num_quantizers, self.code_dim
                )
            },
        )

    def embed(self, indices: Int[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The codes [b, ..., code_dim], the sum of all quantizers' ones."""
        if self.num_quantizers == 1:
            indices = indices[..., None]
        books = self._books()
        return sum(
            (book[indices[..., i]] for i, book in enumerate(books)),
            jnp.zeros((*indices.shape[:-1], self.code_dim), jnp.float32),
        )

    def _books(self) -> Float[Array, "q m d"]:
        if self.codebook == "gradient":
            return self.embedding
        return self.statistics["embedding"].value

    def _store(self, new: Statistics) -> None:
        for name, value in new.items():
            self.statistics[name].value = value

    def _start(
        self, features: Float[Array, "n d"], weights: Float[Array, " n"], key: jax.Array
    ) -> None:
        """The centres of the first batch; afterwards, what is there."""
        shape = (self.num_quantizers, self.codebook_size)
        old = {k: self.statistics[k].value for k in ("embedding", "initialized")}

        def centres() -> dict[str, Array]:
            embedding, _ = residual_kmeans(
                key, features, shape, self.kmeans_steps, weights
            )
            return {
                "embedding": embedding,
                "initialized": jnp.ones_like(old["initialized"]),
            }

        first = (old["initialized"] == 0) & any_weight(weights)
        self._store(jax.lax.cond(first, centres, lambda: old))

    def _learn(
        self,
        stages: Float[Array, "q n d"],
        indices: Int[Array, "q n"],
        weights: Float[Array, " n"],
        key: jax.Array,
    ) -> None:
        """Statistics, and with them an "ema" codebook, after a batch."""
        old = {name: variable.value for name, variable in self.statistics.items()}
        count = partial(count_and_sum, size=self.codebook_size, weight=weights)
        counts, sums = jax.vmap(count)(indices, stages)
        batch = {"counts": counts} | ({"sums": sums} if "sums" in old else {})
        before, known = {name: old[name] for name in batch}, any_weight(weights)
        new, mass = running_mean(before, batch, old["mass"], self.decay, known)
        if self.codebook == "ema":
            new["embedding"] = self._means(new, old["embedding"])
            new = self._revive(new, stages, weights, key)
        self._store({**new, "mass": mass})

    def _means(
        self, new: Statistics, old: Float[Array, "q m d"]
    ) -> Float[Array, "q m d"]:
        """The mean of the features that chose a code, for each."""
        counts, size = new["counts"], self.codebook_size
        total = counts.sum(axis=-1, keepdims=True)
        smooth = (counts + _SMOOTHING) / (total + size * _SMOOTHING) * total
        # Nothing is known of a code that was never chosen: it stays.
        known = (counts > _SMOOTHING)[..., None]
        return jnp.where(known, new["sums"] / smooth[..., None], old)

    def _revive(
        self,
        new: dict[str, Array],
        stages: Float[Array, "q n d"],
        weights: Float[Array, " n"],
        key: jax.Array,
    ) -> dict[str, Array]:
        """Dead codes become random features that count as much as the mean code."""
        if not self.dead_below:
            return new
        dead = dead_codes(new["counts"], self.dead_below) > 0

        def replace() -> dict[str, Array]:
            rows = draw_features(key, stages, self.codebook_size, weights)
            mean = new["counts"].mean(axis=-1, keepdims=True)
            counts = jnp.where(dead, mean, new["counts"])
            wide = dead[..., None]
            return {
                "embedding": jnp.where(wide, rows, new["embedding"]),
                "sums": jnp.where(wide, rows * counts[..., None], new["sums"]),
                "counts": counts,
            }

        return jax.lax.cond(dead.any() & any_weight(weights), replace, lambda: new)


def _quantize(
    features: Float[Array, "n d"], books: Float[Array, "q m d"]
) -> tuple[Float[Array, "q n d"], Float[Array, "q n d"], Int[Array, "q n"]]:
    """What every quantizer is given, the codes it takes and their numbers."""
    stages, codes, indices = [], [], []
    rest = features
    for book in books:
        chosen = nearest_code(rest, book)
        stages.append(rest)
        codes.append(book[chosen])
        indices.append(chosen)
        rest = rest - jax.lax.stop_gradient(codes[-1])
    return jnp.stack(stages), jnp.stack(codes), jnp.stack(indices)


def _squared_error(
    a: Float[Array, "q n d"], b: Float[Array, "q n d"]
) -> Float[Array, " n"]:
    return jnp.square(a - b).sum(axis=(0, -1))
