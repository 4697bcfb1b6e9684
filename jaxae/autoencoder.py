"""The composition: encoder, bottleneck, prior, decoder, likelihood."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution

from jaxae import views
from jaxae.bottlenecks.base import Bottleneck
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.networks.calling import call_network
from jaxae.precision import widened
from jaxae.types import Batch, Latent, Trace, Variables
from jaxae.views import View

Codes = tuple[Float[Array, "k b ..."], ...]


class Family(nn.Module):
    """Base of the models: the protocol by which everything else sees one.

    The methods take the latents and codes as tuples, top first, since hierarchical
    models have several; flat ones have one.

    Attributes:
        shape: The shape of one example, such as (28, 28, 1).
        likelihood: The decoder's outputs -> p(x | z).
        view: What the networks are shown of a batch beside x and z.
    """

    if TYPE_CHECKING:  # every model declares these, in its own order
        shape: tuple[int, ...]
        likelihood: Likelihood
        view: View

    @property
    def generative(self) -> bool:
        """Whether there is a posterior and a prior, so that p(x) has a bound."""
        raise NotImplementedError

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
        codes = tuple(latent.z for latent in latents)
        likelihood = self.decode(codes, batch, train=train)
        return Trace(
            batch["inputs"], batch["x"], batch.get("mask"), likelihood, latents
        )

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The codes of `batch["inputs"]`, `num_samples` each."""
        raise NotImplementedError

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z) with batch shape [k, b].

        Of the batch the fields in `view.needs` are used; while training also "x", by
        likelihoods that estimate a parameter from it, and "weight".
        """
        raise NotImplementedError

    def sample_codes(self, key: jax.Array, count: int) -> Codes:
        """`count` codes from the prior, [1, count, ...] each.

        Raises:
            ValueError: The family has no prior.
        """
        raise NotImplementedError

    def embed(self, indices: Any) -> Codes:
        """The codes [1, b, ...] of whole numbers, of a discrete family."""
        raise NotImplementedError


class AutoEncoder(Family):
    """x -> encoder -> bottleneck -> decoder -> p(x | z).

    Attributes:
        shape: The shape of one example, such as (28, 28, 1).
        encoder: What the view shows of a batch -> features [b, ...]. If its `__call__`
            names `train` or `weight` (of the examples, [b] or None), it gets them.
        bottleneck: (features, key) -> `Latent`.
        decoder: What the view shows of a code [n, ...] -> the likelihood's parameters,
            `shape` with `likelihood.params_per_value` times the channels. It may name
            `train` and `weight`, too.
        likelihood: Those parameters -> p(x | z).
        prior: In place of the bottleneck's own: (x -> q(z | x)) -> p(z).
        view: What the networks are shown of a batch beside x and z.
    """

    shape: tuple[int, ...]
    encoder: nn.Module
    bottleneck: Bottleneck
    decoder: nn.Module
    likelihood: Likelihood
    prior: nn.Module | None = None
    view: View = views.PLAIN

    @property
    def generative(self) -> bool:
        """Whether there is a posterior and a prior, so that p(x) has a bound."""
        return self.bottleneck.stochastic

    @property
    def has_prior(self) -> bool:
        """Whether there is a p(z) to draw codes from."""
        return self.bottleneck.has_prior or self.prior is not None

    @property
    def num_codes(self) -> int:
        """The codes that users see are whole numbers below this; 0 if real numbers."""
        return self.bottleneck.num_codes

    @property
    def num_codebooks(self) -> int:
        """Above 1, the last axis of those whole numbers says which one of them."""
        return self.bottleneck.num_codebooks

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The codes of `batch["inputs"]`, `num_samples` each."""
        x = batch["inputs"]
        require(x.shape[1:] == self.shape, "x", x.shape, f"[b, {self.shape}]")
        h = self._features(batch, train)
        latent = self.bottleneck(
            h, key, num_samples=num_samples, train=train, weight=batch.get("weight")
        )
        if self.prior is not None:
            latent = latent._replace(prior=self._prior())
        return (latent,)

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z) with batch shape [k, b]; see `Family`."""
        z = self.bottleneck.constrain(codes[0])
        k, b = z.shape[:2]
        # Example by example, so that a batch that is divided over devices stays so.
        flat = z.swapaxes(0, 1).reshape(b * k, *z.shape[2:])
        needed = self.view.needs & batch.keys()
        shown = {name: jnp.repeat(batch[name], k, axis=0) for name in needed}
        target, weight = seen_in_training(batch, train)
        outputs = call_network(
            self.decoder,
            self.view.decoder(flat, shown),
            train=train,
            weight=None if weight is None else jnp.repeat(weight, k),
        )
        outputs = outputs.reshape(b, k, *outputs.shape[1:]).swapaxes(0, 1)
        return self.likelihood(outputs, target, weight)

    def sample_codes(self, key: jax.Array, count: int) -> Codes:
        """`count` codes from the prior: ([1, count, d],).

        Raises:
            ValueError: The family has no prior.
        """
        name = type(self.bottleneck).__name__
        expected = "a family with a prior p(z) to sample from"
        require(self.has_prior, "model", name, expected)
        codes = jnp.asarray(self._prior().sample(key, (count,)))
        return (codes[:, 0, 0][None],)

    def embed(self, indices: Int[Array, "b ..."]) -> Codes:
        """The code [1, b, ...] of whole numbers, of a discrete bottleneck."""
        return (self.bottleneck.embed(indices)[None],)

    def _features(self, batch: Batch, train: bool = False) -> Array:
        shown, weight = self.view.encoder(batch), batch.get("weight")
        return widened(call_network(self.encoder, shown, train=train, weight=weight))

    def _prior(self) -> Distribution:
        if self.prior is None:
            return self.bottleneck.prior()
        return self.prior(self._posterior)

    def _posterior(self, x: Float[Array, "m ..."]) -> Distribution:
        """q(z | x) with batch shape [1, m], whatever the noise."""
        labels = self.view.num_labels
        expected = "one without labels for a prior made of posteriors"
        require(not labels, "view", f"one of {labels} labels", expected)
        h = self._features({"inputs": x})
        posterior = self.bottleneck(h, jax.random.key(0)).posterior
        name, expected = type(self.bottleneck).__name__, "one with a density of any z"
        require(posterior is not None, "bottleneck", name, expected)
        assert posterior is not None
        return posterior


def seen_in_training(
    batch: Batch, train: bool
) -> tuple[Float[Array, "b ..."] | None, Float[Array, " b"] | None]:
    """The target and the weights, of which `decode` may know while training alone."""
    return (batch["x"], batch.get("weight")) if train else (None, None)


def call(module: nn.Module, variables: Variables, *args: Any, **kwargs: Any) -> Any:
    """`module.apply` where no collection changes, so that it returns a value alone."""
    return module.apply(variables, *args, **kwargs)
