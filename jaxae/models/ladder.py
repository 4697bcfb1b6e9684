"""The hierarchical variational auto-encoder with top-down inference."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from jaxae.checks import as_range, check_count, check_sizes, settle
from jaxae.distributions.elementwise import Normal
from jaxae.errors import ensure, require
from jaxae.likelihoods import Likelihood
from jaxae.models.family import (
    Codes,
    Family,
    embeddings,
    looked_up,
    seen_in_training,
)
from jaxae.networks import Conv, ConvTranspose, ResidualBlock, halvings
from jaxae.networks.conv import check_image
from jaxae.precision import widened
from jaxae.types import Batch, Latent
from jaxae.values import Module
from jaxae.views import PARTS, Part, Plain, View, shown_by


def check_resolutions(model: Any) -> None:
    """Raises ValueError unless a model of several sizes of an image can be made."""
    check_sizes("shape", model.shape)
    check_image(model.shape)
    check_sizes("channels", model.channels)
    some = len(model.channels) > 0
    require(some, "channels", model.channels, "at least one size")


class LadderVAE(Family):
    """p(z_1) p(z_2 | z_1) ... p(x | z_1, ..., z_L), with z_1 the top of the ladder.

    A bottom-up network halves the image once per entry of `channels`. From its smallest
    features down, every layer has a Gaussian posterior q(z_l | x, z_above) of the
    features of its size beside the state that came from above, and a Gaussian prior
    p(z_l | z_above) of that state alone (Sønderby et al. 2016; with the one shared
    top-down path of Kingma et al. 2016, section 4, and Child 2021, figure 3). The top
    prior is N(0, I). A code z_l is an image [k, b, h_l, w_l, latent_channels].

    At first all posteriors and priors are N(0, I): their last layers start at zero.

    What a view shows the decoder joins every code, so that the priors below the top
    depend on it, too: it has to show both the same.

    Attributes:
        shape: Height, width and channels of one example.
        likelihood: The last layer's outputs -> p(x | z).
        channels: Of the features after each halving, and of the states of that size;
            there are as many latents. The largest image comes first.
        latent_channels: Of every latent code.
        stem: Channels of a first halving that has no latent, as the layers of the
            largest image take most of the time; 0 for none.
        log_std_range: Clamps log std of all posteriors and priors to (lowest, highest).
        view: What the bottom-up network is shown of a batch beside x, and the top-down
            path, which is decoder and prior in one, beside the codes.
        dtype: Compute dtype of the convolutions; None: that of inputs and parameters.
            Posteriors, priors, codes and the likelihood are float32 at least.

    Raises:
        ValueError: `shape` is not that of an image, a size is below 1, there are no
            channels, the range is not increasing, or the view shows the decoder what it
            does not show the prior.

    Example:
        >>> import jaxae
        >>> likelihood = jaxae.likelihoods.Bernoulli()
        >>> module = jaxae.LadderVAE((16, 16, 1), likelihood, channels=(8, 16))
        >>> recipe = jaxae.recipes.compose_recipe(module, jaxae.objectives.ELBO())
    """

    shape: tuple[int, ...]
    likelihood: Likelihood
    channels: tuple[int, ...] = (16, 32, 32)
    latent_channels: int = 4
    stem: int = 0
    log_std_range: tuple[float, float] = (-6.0, 2.0)
    view: View = Plain()
    dtype: Any = None

    def __post_init__(self) -> None:
        """Checks the attributes."""
        check_resolutions(self)
        check_count("latent_channels", self.latent_channels)
        check_count("stem", self.stem, least=0)
        settle(self, as_range, "log_std_range")
        for name, form in self.view.fields.items():
            both = f"view must show {name!r} to both decoder and prior of a LadderVAE"
            none = f"or to none, as they are one path; got to={form.to}"
            same = ("decoder" in form.to) == ("prior" in form.to)
            ensure(same, f"{both}, {none}")
        super().__post_init__()

    def setup(self) -> None:
        """Names the networks; the rungs of the ladder are top first."""
        sides = self._sides[-1 - len(self.channels) : -1]
        outputs = self.shape[-1] * self.likelihood.params_per_value
        below = (self.stem or outputs, *self.channels[:-1])
        if self.stem:
            self.first = Conv(self.stem, stride=2, dtype=self.dtype)
            self.last = ConvTranspose(outputs, stride=2, dtype=self.dtype)
        self.stages = [Stage(features, self.dtype) for features in self.channels]
        limits, latent = self.log_std_range, self.latent_channels
        self.rungs = [
            Rung(width, latent, out, side, limits, self.dtype)
            for width, out, side in zip(self.channels, below, sides, strict=True)
        ][::-1]
        self.embeddings = embeddings(self.view)

    @property
    def _sides(self) -> list[tuple[int, int]]:
        """The sides of the image, and those after every halving."""
        count = len(self.channels) + bool(self.stem)
        return halvings((self.shape[0], self.shape[1]), count)

    @property
    def generative(self) -> bool:
        """There is a posterior and a prior."""
        return True

    @property
    def encoded_with(self) -> tuple[Part, ...]:
        """All: every posterior but the top one depends on the state from above."""
        return PARTS

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The codes of `batch["inputs"]`, top first, `num_samples` each.

        A latent's `mean` is that of its posterior when all codes above are means too.
        """
        del train
        x, batch = batch["inputs"], looked_up(self.embeddings, batch)
        require(x.shape[1:] == self.shape, "inputs", x.shape, f"[b, {self.shape}]")
        features = self._features(batch)
        drawn = self._infer(features, batch, key, num_samples)
        # A second way down without noise; where nothing reads the means, the compiler
        # leaves it out.
        quiet = self._infer(features, batch, None, 1)
        pairs = zip(drawn, quiet, strict=True)
        return tuple(latent._replace(mean=still.z[0]) for latent, still in pairs)

    def _features(self, batch: Batch) -> list[Array]:
        """Features of every size, the smallest first."""
        features = []
        h = shown_by(self.view.encoder, batch)
        if self.stem:
            h = nn.relu(self.first(h))
        for stage in self.stages:
            h = stage(h)
            features.append(h)
        return features[::-1]

    def _infer(
        self,
        features: list[Array],
        batch: Batch,
        key: jax.Array | None,
        num_samples: int,
    ) -> list[Latent]:
        """Posteriors from the top down: samples of them, or their means if no key."""
        latents: list[Latent] = []
        state = None
        for i, (rung, h) in enumerate(zip(self.rungs, features, strict=True)):
            posterior = rung.posterior(state, h)
            if key is None:
                z = jnp.asarray(posterior.mean)
            else:
                key_rung = jax.random.fold_in(key, i)
                z = _draw(posterior, key_rung, (num_samples, h.shape[0]))
            prior = self._prior(i, state)
            latents.append(Latent(z, z[0], posterior, prior))
            state = self._descend(rung, state, z, batch)
        return latents

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x | z) with batch shape [k, b], from codes given top first."""
        state = self._state_below(codes, looked_up(self.embeddings, batch))
        assert state is not None
        if self.stem:
            height, width, _ = self.shape
            outputs = self.last(nn.relu(_fold(state)))[:, :height, :width]
            state = outputs.reshape(*state.shape[:2], *outputs.shape[1:])
        return self.likelihood(state, seen_in_training(batch, train))

    def prior_below(self, above: Codes, batch: Batch) -> Distribution:
        """p(z_i | z_above); see `Family`."""
        state = self._state_below(above, looked_up(self.embeddings, batch))
        return self._prior(len(above), state)

    def posterior_below(self, above: Codes, batch: Batch) -> Distribution:
        """q(z_i | x, z_above); see `Family`."""
        i, batch = len(above), looked_up(self.embeddings, batch)
        h, state = self._features(batch)[i], self._state_below(above, batch)
        return self.rungs[i].posterior(state, h)

    def sample_codes(self, key: jax.Array, count: int, batch: Batch) -> Codes:
        """Ancestral samples from the top down: [1, count, h_l, w_l, c] each."""
        codes: list[Array] = []
        state, batch = None, looked_up(self.embeddings, batch)
        for i, rung in enumerate(self.rungs):
            key_rung = jax.random.fold_in(key, i)
            codes.append(_draw(self._prior(i, state), key_rung, (1, count)))
            state = self._descend(rung, state, codes[-1], batch)
        return tuple(codes)

    def _state_below(self, codes: Codes, batch: Batch) -> Array | None:
        """Below some codes, the top one first; None above the top."""
        state = None
        for rung, z in zip(self.rungs, codes, strict=False):  # some of the codes
            state = self._descend(rung, state, z, batch)
        return state

    def _descend(
        self,
        rung: "Rung",
        state: Array | None,
        z: Float[Array, "k b ..."],
        batch: Batch,
    ) -> Array:
        """The state below, of a code with what the view shows beside it."""
        k, flat = z.shape[0], _fold(z)
        needed = self.view.needs & batch.keys()
        beside = {name: jnp.concatenate([batch[name]] * k) for name in needed}
        shown = shown_by(self.view.decoder, flat, beside)
        return rung.descend(state, shown.reshape(*z.shape[:2], *shown.shape[1:]))

    def _prior(self, i: int, state: Array | None) -> Distribution:
        """p(z_i | z_above) with batch shape [k, b]; N(0, I) with [1, 1] at the top."""
        if state is not None:
            return self.rungs[i].prior(state)
        shape = (1, 1, *self._sides[-1], self.latent_channels)
        zeros = jnp.zeros(shape, jnp.float32)
        return Normal(zeros, jnp.ones_like(zeros)).to_event(3)


class Stage(Module):
    """One step up: halves the image, then a residual block.

    Attributes:
        features: Channels of the result.
        dtype: See `LadderVAE`.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _h _w _c"]:
        """The features of half the size; an odd side n becomes (n + 1) / 2."""
        halved = Conv(self.features, stride=2, dtype=self.dtype)(x)
        return ResidualBlock(dtype=self.dtype)(halved)


class Rung(Module):
    """One step down: a latent code of a prior or a posterior, and the state below it.

    States are [k, b, h, w, c]; that above the top is None.

    Attributes:
        features: Channels of the state at this size.
        latent_channels: Of the code.
        below: Channels of the state below.
        side: Height and width of the state below.
        log_std_range: Clamps log std to (lowest, highest).
        dtype: See `LadderVAE`.
    """

    features: int
    latent_channels: int
    below: int
    side: tuple[int, int]
    log_std_range: tuple[float, float]
    dtype: Any = None

    def setup(self) -> None:
        """Names the layers."""
        conv = partial(Conv, dtype=self.dtype)
        head = partial(
            conv, 2 * self.latent_channels, kernel_init=nn.initializers.zeros
        )
        self.prior_head = head()
        self.posterior_hidden = conv(self.features)
        self.posterior_head = head()
        self.embed = conv(self.features, kernel_size=1)
        self.block = ResidualBlock(dtype=self.dtype)
        self.upsample = ConvTranspose(self.below, stride=2, dtype=self.dtype)

    def prior(self, state: Float[Array, "k b ..."]) -> Distribution:
        """p(z | z above), batch shape [k, b]."""
        parameters = self.prior_head(nn.relu(_fold(state)))
        return self._normal(parameters, state.shape[0])

    def posterior(self, state: Array | None, h: Float[Array, "b ..."]) -> Distribution:
        """q(z | x, z above), batch shape [k, b]; [1, b] at the top."""
        k = 1 if state is None else state.shape[0]
        if state is not None:
            h = jnp.concatenate([jnp.tile(h, (k, 1, 1, 1)), _fold(state)], axis=-1)
        hidden = nn.relu(self.posterior_hidden(nn.relu(h)))
        return self._normal(self.posterior_head(hidden), k)

    def descend(self, state: Array | None, z: Float[Array, "k b ..."]) -> Array:
        """The state below, [k, b, *side, below]."""
        h = self.embed(_fold(z))
        if state is not None:
            h = h + _fold(state)
        h = self.upsample(nn.relu(self.block(h)))[:, : self.side[0], : self.side[1]]
        return h.reshape(*z.shape[:2], *h.shape[1:])

    def _normal(self, parameters: Float[Array, "n ..."], k: int) -> Distribution:
        n, *sizes = parameters.shape
        parameters = widened(parameters).reshape(k, n // k, *sizes)
        mean, log_std = jnp.split(parameters, 2, axis=-1)
        log_std = jnp.clip(log_std, *self.log_std_range)
        return Normal.from_log_scale(mean, log_std).to_event(3)


def _fold(values: Float[Array, "k b ..."]) -> Float[Array, "n ..."]:
    """The samples as further examples: [k, b, ...] -> [k · b, ...]."""
    return values.reshape(-1, *values.shape[2:])


def _draw(
    distribution: Distribution, key: jax.Array, shape: tuple[int, int]
) -> Float[Array, "k b ..."]:
    """Samples with batch axes `shape`, to which those of the distribution broadcast."""
    repeats = tuple(
        size // have for size, have in zip(shape, distribution.batch_shape, strict=True)
    )
    drawn = jnp.asarray(distribution.sample(key, repeats))
    # The repeats of an axis lie beside the axis itself, and one of the two is 1.
    return drawn.swapaxes(1, 2).reshape(*shape, *distribution.event_shape)
