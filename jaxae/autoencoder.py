"""The composition: encoder, bottleneck, decoder, likelihood."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.types import Batch, Latent, Trace, Variables


class AutoEncoder(nn.Module):
    """x -> encoder -> bottleneck -> decoder -> p(x | z).

    The methods are the protocol of a model. They take the latents and codes as tuples,
    top first, since hierarchical models have several; here there is one.

    Attributes:
        shape: The shape of one example, such as (28, 28, 1).
        encoder: [b, *shape] -> features [b, ...].
        bottleneck: (features, key) -> `Latent`.
        decoder: A code [b, ...] -> the likelihood's parameters, `shape` with
            `likelihood.params_per_value` times the channels.
        likelihood: Those parameters -> p(x | z).
        mask_channel: Show the corruption's mask to the encoder as one more channel.
    """

    shape: tuple[int, ...]
    encoder: nn.Module
    bottleneck: nn.Module
    decoder: nn.Module
    likelihood: Likelihood
    mask_channel: bool = False

    def __call__(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> Trace:
        """Encodes `batch["inputs"]` and explains `batch["x"]`."""
        latents = self.encode(batch, key, num_samples=num_samples, train=train)
        codes = tuple(latent.z for latent in latents)
        target = batch["x"]
        likelihood = self.decode(codes, target=target if train else None, train=train)
        return Trace(batch["inputs"], target, batch.get("mask"), likelihood, latents)

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The codes of `batch["inputs"]` (and `batch["mask"]`), `num_samples` each."""
        x = batch["inputs"]
        require(x.shape[1:] == self.shape, "x", x.shape, f"[b, {self.shape}]")
        if self.mask_channel:
            x = jnp.concatenate([x, _mask_channel(batch)], axis=-1)
        h = self.encoder(x, train=train)
        return (self.bottleneck(h, key, num_samples=num_samples),)

    def decode(
        self,
        codes: tuple[Float[Array, "k b ..."], ...],
        *,
        target: Float[Array, "b ..."] | None = None,
        train: bool = False,
    ) -> Distribution:
        """p(x | z) with batch shape [k, b]; the target is the likelihood's business."""
        (z,) = codes
        k, b = z.shape[:2]
        outputs = self.decoder(z.reshape(k * b, *z.shape[2:]), train=train)
        return self.likelihood(outputs.reshape(k, b, *outputs.shape[1:]), target)

    def sample_codes(self, key: jax.Array, count: int) -> tuple[Array, ...]:
        """`count` codes from the prior: ([1, count, d],).

        Raises:
            ValueError: The bottleneck has no prior.
        """
        require(
            hasattr(self.bottleneck, "prior"),
            "model",
            type(self.bottleneck).__name__,
            "a family with a prior p(z) to sample from",
        )
        return (self.bottleneck.prior(count).sample(key)[None],)


def call(module: nn.Module, variables: Variables, *args: Any, **kwargs: Any) -> Any:
    """`module.apply` where no collection changes, so that it returns a value alone."""
    return module.apply(variables, *args, **kwargs)


def _mask_channel(batch: Batch) -> Array:
    """The mask as zeros and ones; zeros where there is no mask.

    One more channel for images, one more entry per entry for vectors.
    """
    x, mask = batch["inputs"], batch.get("mask")
    shape = (*x.shape[:-1], 1) if x.ndim == 4 else x.shape
    if mask is None:
        return jnp.zeros(shape, x.dtype)
    if x.ndim == 4:
        mask = mask.any(axis=-1, keepdims=True)
    return jnp.broadcast_to(mask, shape).astype(x.dtype)
