"""The protocol by which everything else sees a model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import check_density, check_latent
from jaxae.errors import ensure, kind_of, must_define
from jaxae.likelihoods import Likelihood, Target
from jaxae.types import Batch, Latent, Trace, Variables
from jaxae.values import Component
from jaxae.views import Part, View

Codes = tuple[Float[Array, "k b ..."], ...]


class Family(Component):
    """Base of the models: the protocol by which everything else sees one.

    The methods take the latents and codes as tuples, top first, since hierarchical
    models have several; flat ones have one.

    Attributes:
        shape: The shape of one example, such as (28, 28, 1).
        likelihood: The decoder's outputs -> p(x | z).
        view: What the networks are shown of a batch beside x and z.
    """

    if TYPE_CHECKING:  # every model declares these, in its own order, or derives them
        shape = cast("tuple[int, ...]", ())
        likelihood = cast(Likelihood, None)
        view = cast(View, None)

    @property
    def shape_seen(self) -> tuple[int, ...]:
        """What the encoder sees: `input_shape` where there is one, or `shape`."""
        return getattr(self, "input_shape", None) or self.shape

    @property
    def sees_x(self) -> bool:
        """Whether what the encoder sees has the shape of x."""
        return self.shape_seen == self.shape

    @property
    def takes_missing(self) -> bool:
        """Whether x may have missing values."""
        return self.view.takes_missing

    @property
    def encoded_with(self) -> tuple[Part, ...]:
        """The parts that `encode` goes through, which need what they are shown."""
        return ("encoder",)

    @property
    def generative(self) -> bool:
        """Whether there is a posterior and a prior, so that p(x) has a bound."""
        returns = "whether it has a posterior and a prior"
        raise must_define(self, "the property generative", returns)

    @property
    def has_prior(self) -> bool:
        """Whether there is a p(z) to draw codes from."""
        return self.generative

    @property
    def num_codes(self) -> int:
        """The codes that users see are whole numbers below this; 0 if real numbers."""
        return 0

    @property
    def num_codebooks(self) -> int:
        """Above 1, the last axis of those whole numbers says which one of them."""
        return 1

    def __call__(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> Trace:
        """Encodes `batch["inputs"]` and explains `batch["x"]`."""
        latents = self.encode(batch, key, num_samples=num_samples, train=train)
        _check_latents(self, latents, num_samples, len(batch["x"]))
        codes = tuple(latent.z for latent in latents)
        likelihood = self.decode(codes, batch, train=train)
        _check_likelihood(self, likelihood, codes, batch["x"])
        mask, missing = batch.get("mask"), batch.get("missing")
        return Trace(batch["inputs"], batch["x"], mask, likelihood, latents, missing)

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The codes of `batch["inputs"]`, `num_samples` each."""
        encode = "encode(self, batch, key, *, num_samples=1, train=False)"
        raise must_define(self, encode, "a tuple of Latents, the top one first")

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z) with batch shape [k, b].

        Of the batch the fields in `view.needs` are used; while training also "x", by
        likelihoods that estimate a parameter from it, "weight" and "counted".
        """
        returns = "a distribution of numpyro, p(x | z) with batch shape [k, b]"
        raise must_define(self, "decode(self, codes, batch, *, train=False)", returns)

    def prior_below(self, above: Codes, batch: Batch) -> Distribution | None:
        """p(z_i | z_1, ..., z_{i-1}) of the latent below these, () for the top one."""
        returns = "p(z) of the latent below, or None"
        raise must_define(self, "prior_below(self, above, batch)", returns)

    def posterior_below(self, above: Codes, batch: Batch) -> Distribution | None:
        """q(z_i | x, z_1, ..., z_{i-1}), with x as `batch["inputs"]`."""
        returns = "q(z | x) of the latent below, or None"
        raise must_define(self, "posterior_below(self, above, batch)", returns)

    def sample_codes(self, key: jax.Array, count: int, batch: Batch) -> Codes:
        """`count` codes from the prior, [1, count, ...] each.

        Of the batch the fields are used that the prior is shown, [count, ...].

        Raises:
            ValueError: The family has no prior.
        """
        returns = "a tuple of codes [1, count, ...]"
        raise must_define(self, "sample_codes(self, key, count, batch)", returns)

    def embed(self, indices: Any) -> Codes:
        """The codes [1, b, ...] of whole numbers, of a discrete family."""
        returns = "a tuple of codes [1, b, ...] of whole numbers"
        raise must_define(self, "embed(self, indices)", returns)


def _check_latents(model: Family, latents: Any, num_samples: int, count: int) -> None:
    """Raises ValueError unless they are what `encode` should return."""
    name, several = type(model).__name__, type(latents) is tuple
    made = f"encode of {name} must return a tuple of Latents, the top one first"
    ensure(several, f"{made}, got {kind_of(latents)}")
    for latent in latents:
        check_latent(model, latent, num_samples, count)


def _check_likelihood(model: Family, likelihood: Any, codes: Codes, x: Array) -> None:
    """Raises ValueError unless it is p(x | z) of every code, or p(x) without codes."""
    name = f"p(x{' | z' * bool(codes)}) of {type(model).__name__}"
    batches = ({codes[-1].shape[0]}, {len(x)}) if codes else ({1}, {1, len(x)})
    check_density(name, likelihood, *batches)
    came, shape = likelihood.event_shape, model.shape
    ensure(came == shape, f"{name} must be of x of shape {shape}, got {came}")


def embeddings(view: View) -> dict[str, nn.Embed]:
    """The vectors of categories that a model learns, for its `setup`."""
    fields = view.fields.items()
    embedded = {name: form for name, form in fields if form.embedding}
    return {n: nn.Embed(f.categories, f.embedding) for n, f in embedded.items()}


def looked_up(tables: Mapping[str, nn.Embed], batch: Batch) -> Batch:
    """A batch with vectors in place of the categories that `embeddings` has them of."""
    there = {name: table for name, table in tables.items() if name in batch}
    return {**batch, **{name: table(batch[name]) for name, table in there.items()}}


def fold_samples(z: Float[Array, "k b ..."]) -> Float[Array, "n ..."]:
    """Codes as further examples, for a network: [b · k, ...].

    Example by example, so that a batch that is divided over devices stays so.
    """
    return z.swapaxes(0, 1).reshape(-1, *z.shape[2:])


def unfold_samples(values: Float[Array, "n ..."], k: int) -> Float[Array, "k b ..."]:
    """The way back of `fold_samples`."""
    return values.reshape(-1, k, *values.shape[1:]).swapaxes(0, 1)


def beside_samples(view: View, batch: Batch, k: int) -> Batch:
    """What a view looks at of a batch, beside `k` samples of each code, folded."""
    needed = view.needs & batch.keys()
    return {name: jnp.repeat(batch[name], k, axis=0) for name in needed}


def seen_in_training(batch: Batch, train: bool) -> Target | None:
    """What `decode` may know of the target while training alone."""
    if not train:
        return None
    return Target(batch["x"], batch.get("weight"), batch.get("counted"))


def call(module: nn.Module, variables: Variables, *args: Any, **kwargs: Any) -> Any:
    """`module.apply` where no collection changes, so that it returns a value alone."""
    return module.apply(variables, *args, **kwargs)
