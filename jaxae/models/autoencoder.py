"""The composition: encoder, bottleneck, prior, decoder, likelihood."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution

from jaxae.bottlenecks.base import Bottleneck, check_density, check_latent
from jaxae.checks import check_returned
from jaxae.errors import ensure, given, kind_of, require
from jaxae.likelihoods import Likelihood
from jaxae.models.family import (
    Codes,
    Family,
    beside_samples,
    embeddings,
    fold_samples,
    looked_up,
    seen_in_training,
    unfold_samples,
)
from jaxae.networks.calling import (
    call_network,
    check_outputs,
    options_of,
    taken_by,
)
from jaxae.precision import widened
from jaxae.types import Batch, Latent
from jaxae.views import Plain, View, looked_at, shown_by


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
        prior: In place of the bottleneck's own, see `jaxae.priors`.
        view: What the networks are shown of a batch beside x and z.
        input_shape: Of what the encoder sees of an example; None for that of x.

    Raises:
        ValueError: A part is of another kind; the view shows a prior something that
            there is none for, or nothing to one that depends on it; when a trace is
            first seen also if a part of the user's own returns what it must not.

    Example:
        >>> import jaxae
        >>> from jaxae import bottlenecks, likelihoods, networks
        >>> module = jaxae.AutoEncoder(
        ...     shape=(6,),
        ...     encoder=networks.MLP((32,)),
        ...     bottleneck=bottlenecks.Gaussian(latent_dim=2),
        ...     decoder=networks.MLPDecoder((6,), (32,)),
        ...     likelihood=likelihoods.Gaussian(),
        ... )
        >>> recipe = jaxae.Recipe(module, jaxae.objectives.ELBO())
    """

    shape: tuple[int, ...]
    encoder: nn.Module
    bottleneck: Bottleneck
    decoder: nn.Module
    likelihood: Likelihood
    prior: nn.Module | None = None
    view: View = Plain()
    input_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Checks the kinds, and that a prior takes what it is shown, if anything."""
        _check_parts(self)
        shown = sorted(self.view.shown_to("prior"))
        takes = self.prior is not None and taken_by(self.prior, {"shown": None})
        none = f"view must show {type(self.prior).__name__} something: have a field "
        ensure(shown or not takes, f'{none}with "prior" among to=')
        needed = (
            f"prior must depend on what it is shown, {shown}, as a ConditionalPrior"
        )
        ensure(not shown or takes, f"{needed}, got {type(self.prior).__name__}")
        super().__post_init__()

    def setup(self) -> None:
        """The learned vectors of categories."""
        self.embeddings = embeddings(self.view)

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
        x, expected = batch["inputs"], self.shape_seen
        require(x.shape[1:] == expected, "inputs", x.shape, f"[b, {expected}]")
        h = self._features(batch, train)
        latent = self.bottleneck(
            h, key, num_samples=num_samples, train=train, weight=batch.get("weight")
        )
        count = x.shape[0]
        check_latent(self.bottleneck, latent, num_samples, count)
        if self.prior is not None:
            # For a code alone a conditional prior need not be known.
            known = self.view.shown_to("prior").keys() <= batch.keys()
            latent = latent._replace(prior=self._prior(batch) if known else None)
        if latent.prior is not None:
            check_density("prior", latent.prior, {1, latent.z.shape[0]}, {1, count})
            own, codes = latent.prior.event_shape, latent.z.shape[2:]
            require(own == codes, "prior", own, f"one of codes of shape {codes}")
        return (latent,)

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z) with batch shape [k, b]; see `Family`."""
        z = self.bottleneck.constrain(codes[0])
        kept = f"codes that {type(self.bottleneck).__name__} constrains"
        check_returned(kept, z, codes[0].shape)
        k, flat = z.shape[0], fold_samples(z)
        shown = beside_samples(self.view, looked_up(self.embeddings, batch), k)
        target = seen_in_training(batch, train)
        weight = None if target is None else target.weight
        outputs = call_network(
            self.decoder,
            shown_by(self.view.decoder, flat, shown),
            train=train,
            weight=None if weight is None else jnp.repeat(weight, k),
        )
        *sizes, channels = self.shape
        values = (*sizes, channels * self.likelihood.params_per_value)
        each = f": the parameters of {type(self.likelihood).__name__} for every code"
        check_outputs("decoder", self.decoder, outputs, (flat.shape[0], *values), each)
        return self.likelihood(unfold_samples(outputs, k), target)

    def prior_below(self, above: Codes, batch: Batch) -> Distribution | None:
        """p(z) of the one latent; None where there is none."""
        del above
        return self._prior(batch) if self.has_prior else None

    def posterior_below(self, above: Codes, batch: Batch) -> Distribution | None:
        """q(z | x) of the one latent; None where its density is not known."""
        del above
        return self.bottleneck(self._features(batch), jax.random.key(0)).posterior

    def sample_codes(self, key: jax.Array, count: int, batch: Batch) -> Codes:
        """`count` codes from the prior: ([1, count, d],); see `Family`.

        Raises:
            ValueError: The family has no prior.
        """
        kind = type(self.bottleneck).__name__
        ensure(self.has_prior, f"model must have a prior p(z), got one with {kind}")
        prior = self._prior(batch)
        each = count // prior.batch_shape[1]  # one prior for all, or one for each
        codes = jnp.asarray(prior.sample(key, (each,)))
        return (codes.reshape(1, count, *prior.event_shape),)

    def embed(self, indices: Int[Array, "b ..."]) -> Codes:
        """The code [1, b, ...] of whole numbers, of a discrete bottleneck."""
        return (self.bottleneck.embed(indices)[None],)

    def _features(self, batch: Batch, train: bool = False) -> Array:
        batch, weight = looked_up(self.embeddings, batch), batch.get("weight")
        shown = shown_by(self.view.encoder, batch)
        h = call_network(self.encoder, shown, train=train, weight=weight)
        count = batch["inputs"].shape[0]
        each = ": features of every example"
        check_outputs("encoder", self.encoder, h, (count, ...), each)
        return widened(h)

    def _prior(self, batch: Batch) -> Distribution:
        prior = self._own_prior(batch)
        of = self.bottleneck if self.prior is None else self.prior
        kind = f"prior of {type(of).__name__} must be a distribution of numpyro"
        ensure(isinstance(prior, Distribution), f"{kind}, got {kind_of(prior)}")
        return prior

    def _own_prior(self, batch: Batch) -> Any:
        if self.prior is None:
            return self.bottleneck.prior()
        shown = looked_at(self.view.prior, looked_up(self.embeddings, batch))
        options = {"shown": shown, "fields": self.view.shown_to("encoder")}
        q, words = self._posterior, "the function x -> q(z | x)"
        return self.prior(q, **options_of(self.prior, words, q, options))

    def _posterior(
        self, x: Float[Array, "m ..."], conditions: Batch | None = None
    ) -> Distribution:
        """q(z | x) with batch shape [1, m], whatever the noise."""
        h = self._features({"inputs": x, **(conditions or {})})
        return given(
            self.bottleneck(h, jax.random.key(0)).posterior,
            "a prior made of posteriors needs a bottleneck with a density of any z, "
            f"which {type(self.bottleneck).__name__} has not",
        )


def _check_parts(model: AutoEncoder) -> None:
    """Raises ValueError unless each is of its kind, and made: no class is."""
    kinds = {
        "encoder": (nn.Module, "a linen module"),
        "bottleneck": (Bottleneck, "one of jaxae.bottlenecks"),
        "decoder": (nn.Module, "a linen module"),
        "likelihood": (Likelihood, "one of jaxae.likelihoods"),
        "prior": (nn.Module | None, "a linen module, as of jaxae.priors, or None"),
        "view": (View, "one of jaxae.views"),
    }
    for name, (kind, expected) in kinds.items():
        part = getattr(model, name)
        right = isinstance(part, kind)
        ensure(right, f"{name} must be {expected}, got {kind_of(part)}")
