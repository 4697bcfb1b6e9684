"""A variational auto-encoder whose code is explained by another one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, constraints

from jaxae.bottlenecks.base import Bottleneck
from jaxae.errors import ensure, require
from jaxae.likelihoods import Likelihood
from jaxae.models.autoencoder import AutoEncoder
from jaxae.models.family import Codes, Family, fold_samples, unfold_samples
from jaxae.types import Batch, Latent
from jaxae.views import Part, View


class Stacked(Family):
    """p(z_top) ... p(z | z_above) p(x | z), with inference from the bottom up.

    The code z of `lower` is what `upper` encodes and explains: q(z_above | z) is its
    posterior, and its likelihood p(z | z_above) is the prior of z (Rezende et al. 2014,
    section 3, https://arxiv.org/abs/1401.4082; Burda et al. 2016, section 2,
    https://arxiv.org/abs/1509.00519). `upper` may be a stack itself.

    Codes are given top first, and x depends on the last one alone: those above only
    say where it may lie.

    Attributes:
        lower: Of x, with a posterior over real numbers and the bottleneck's own prior,
            which is not used.
        upper: Of the codes [n, d] of `lower`, with a posterior, a prior and a
            likelihood over real numbers, and shown nothing beside them.

    Raises:
        ValueError: A part is of another kind; when a trace is first seen also if the
            sizes of both do not fit.

    Example:
        >>> import jaxae
        >>> lower = jaxae.recipes.vae((6,), 4, likelihood="gaussian").module
        >>> upper = jaxae.recipes.vae((4,), 2, likelihood="gaussian_shared").module
        >>> module = jaxae.Stacked(lower, upper)
        >>> recipe = jaxae.recipes.compose_recipe(module, jaxae.objectives.ELBO())
    """

    lower: AutoEncoder
    upper: "AutoEncoder | Stacked"

    def __post_init__(self) -> None:
        """Checks the kinds of both."""
        for name, kinds in (("lower", AutoEncoder), ("upper", AutoEncoder | Stacked)):
            part = getattr(self, name)
            expected = "an AutoEncoder" + " or a Stacked" * (name == "upper")
            require(isinstance(part, kinds), name, type(part).__name__, expected)
            both = f"{name} must have a posterior and a prior, got"
            ensure(part.generative, f"{both} {getattr(part, 'bottleneck', part)!r}")
        free = type(self.lower.bottleneck).constrain is Bottleneck.constrain
        anywhere = "a bottleneck whose codes may lie anywhere, as `upper` takes them to"
        require(free, "lower", self.lower.bottleneck, anywhere)
        own = self.lower.prior is None and not self.lower.view.shown_to("prior")
        ensure(own, "lower must have no prior of its own, as `upper` is its prior")
        fields = sorted(self.upper.view.fields)
        ensure(not fields, f"upper must be shown nothing beside codes, got {fields}")
        likelihood = self.upper.likelihood
        real = likelihood.normalized and likelihood.support is constraints.real
        expected = "normalised over all real numbers"
        require(real, "upper.likelihood", likelihood, expected)
        fixed = getattr(likelihood, "std", None) != "optimal"
        known = "of a std that is fixed, learned or decoded, as codes are drawn anew"
        require(fixed, "upper.likelihood", likelihood, known)
        super().__post_init__()

    @property
    def shape(self) -> tuple[int, ...]:
        """That of `lower`."""
        return self.lower.shape

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """That of `lower`."""
        return self.lower.input_shape

    @property
    def likelihood(self) -> Likelihood:
        """That of `lower`."""
        return self.lower.likelihood

    @property
    def view(self) -> View:
        """That of `lower`."""
        return self.lower.view

    @property
    def generative(self) -> bool:
        """There is a posterior and a prior."""
        return True

    @property
    def encoded_with(self) -> tuple[Part, ...]:
        """Those of `lower`."""
        return self.lower.encoded_with

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The codes of `batch["inputs"]`, top first, `num_samples` each.

        Every sample of a code has one of each code above it. Posteriors above the
        bottom are distributions where there is one sample; of several their densities
        are known at these.
        """
        key_lower, key_upper = jax.random.split(key)
        found = self.lower.encode(
            batch, key_lower, num_samples=num_samples, train=train
        )
        (own,) = found
        given, expected = own.z.shape[2:], self.upper.shape
        require(given == expected, "lower", given, f"one of codes of shape {expected}")
        weight = {"weight": batch["weight"]} if "weight" in batch else {}
        folded = {"inputs": fold_samples(own.z)}
        for name, each in weight.items():
            folded[name] = jnp.repeat(each, num_samples)
        above = self.upper.encode(folded, key_upper, train=train)
        # Without noise; where nothing reads the means, the compiler leaves it out.
        quiet = self.upper.encode({"inputs": own.mean}, key_upper)
        above = self._unfolded(above, quiet, num_samples)
        codes = tuple(latent.z for latent in above)
        prior = self.upper.decode(codes, {"x": own.z[0], **weight}, train=train)
        # A closed form would take z_above for independent of z.
        return (*above, own._replace(prior=prior, log_posterior=_density(own)))

    def _unfolded(
        self, latents: tuple[Latent, ...], quiet: tuple[Latent, ...], k: int
    ) -> tuple[Latent, ...]:
        """Those of `upper`, [1, b · k, ...], as [k, b, ...]; `quiet` has the means."""
        unfolded: list[Latent] = []
        for latent, still in zip(latents, quiet, strict=True):
            density = latent.log_posterior
            if k > 1 or density is not None:
                density = unfold_samples(_density(latent)[0], k)
            above = tuple(each.z for each in unfolded)
            unfolded.append(
                Latent(
                    unfold_samples(latent.z[0], k),
                    still.mean,
                    latent.posterior if k == 1 else None,
                    self.upper.prior_below(above, {}),
                    density,
                )
            )
        return tuple(unfolded)

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z) with batch shape [k, b], from codes given top first."""
        return self.lower.decode(codes[-1:], batch, train=train)

    def prior_below(self, above: Codes, batch: Batch) -> Distribution | None:
        """p(z_i | z_above); see `Family`."""
        del batch
        if self._has_all(above):
            return self.upper.decode(above, {})
        return self.upper.prior_below(above, {})

    def posterior_below(self, above: Codes, batch: Batch) -> Distribution | None:
        """q(z_i | x, z_above): None, as inference goes from the bottom up."""
        del above, batch

    def sample_codes(self, key: jax.Array, count: int, batch: Batch) -> Codes:
        """Ancestral samples from the top down: [1, count, d] each."""
        del batch
        key_upper, key_lower = jax.random.split(key)
        above = self.upper.sample_codes(key_upper, count, {})
        prior = self.upper.decode(above, {})
        return (*above, jnp.asarray(prior.sample(key_lower)))

    def _has_all(self, above: Codes) -> bool:
        """Whether these are all codes of `upper`."""
        inner, count = self.upper, 1
        while isinstance(inner, Stacked):
            inner, count = inner.upper, count + 1
        return len(above) == count


def _density(latent: Latent) -> Float[Array, "k b"]:
    """log q(z | x) of the samples."""
    if latent.log_posterior is not None:
        return latent.log_posterior
    assert latent.posterior is not None  # of a generative family
    return jnp.asarray(latent.posterior.log_prob(latent.z))
