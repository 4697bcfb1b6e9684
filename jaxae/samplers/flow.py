"""A normalising flow as a density model of codes."""

import math
from dataclasses import field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro import distributions as dist

from jaxae import likelihoods, objectives
from jaxae.bottlenecks.gaussian import standard_normal
from jaxae.checks import check_count, check_sizes
from jaxae.flows import Autoregressive, Mapped
from jaxae.likelihoods import Likelihood
from jaxae.models.family import Codes, call
from jaxae.recipe import Recipe
from jaxae.recipes.base import check_shape, compose_recipe
from jaxae.samplers.base import Density, Sampler, fit_sampler
from jaxae.types import Batch, Variables
from jaxae.values import Module
from jaxae.views import Plain, View


def flow(
    codes: Any,
    key: jax.Array,
    *,
    layers: int = 5,
    hidden: tuple[int, ...] = (256, 256),
    epochs: int = 20,
    batch_size: int = 200,
) -> Sampler:
    """A masked autoregressive flow (Papamakarios et al. 2017) of the codes.

    It is trained by maximum likelihood. A draw takes one pass through a layer per
    dimension of the codes.

    Args:
        codes: As `aggregate_codes` returns them, real numbers.
        key: A typed key, from which weights and data order follow.
        layers: How many, with the order of the dimensions reversed between them.
        hidden: Units per layer of the masked networks; empty for linear ones.
        epochs: Passes over the codes.
        batch_size: Codes per step.

    Raises:
        ValueError: The codes are not real and finite, or a number is below 1.
        TrainingDiverged: See `jaxae.fit`.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> codes = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
        >>> key = jax.random.key(0)
        >>> options = dict(layers=1, hidden=(4,), epochs=1)
        >>> jaxae.samplers.flow(codes, key, **options)(key, 3).shape
        (3, 2)
    """
    check_count("layers", layers)
    check_sizes("hidden", hidden)

    def make(shape: tuple[int, ...]) -> Recipe:
        return flow_density(shape, layers, hidden)

    return fit_sampler(make, codes, key, epochs, batch_size)


def flow_density(
    shape: tuple[int, ...], layers: int = 5, hidden: tuple[int, ...] = (256, 256)
) -> Recipe:
    """The recipe of a flow that is trained to maximise log p(x)."""
    return compose_recipe(
        FlowModel(shape=shape, layers=layers, hidden=hidden),
        objectives.Reconstruction(),
    )


class MaskedAutoregressiveFlow(Module):
    """Layers from noise u ~ N(0, I) to x, whose density takes one pass each.

    Attributes:
        layers: How many, with the order of the dimensions reversed between them.
        hidden: Units per layer of the masked networks.
    """

    layers: int
    hidden: tuple[int, ...]

    def setup(self) -> None:
        """Names the layers."""
        self.stack = [
            Autoregressive(self.hidden, masked_codes=True, gated=False)
            for _ in range(self.layers)
        ]

    def __call__(self, u: Float[Array, "k b d"]) -> Mapped:
        """From noise to x, for sampling: as many passes per layer as dimensions."""
        context, total = _no_context(u), jnp.zeros(u.shape[:2], u.dtype)
        for i, layer in enumerate(self.stack):
            u, log_det = layer(u[..., ::-1] if i else u, context)
            total = total + log_det
        return u, total

    def inverse(self, x: Float[Array, "k b d"]) -> Mapped:
        """From x to noise, with the log-determinant of the way back."""
        context, total = _no_context(x), jnp.zeros(x.shape[:2], x.dtype)
        for i, layer in reversed(list(enumerate(self.stack))):
            x, log_det = layer.inverse(x, context)
            x, total = (x[..., ::-1] if i else x), total + log_det
        return x, total


def _no_context(z: Float[Array, "k b d"]) -> Float[Array, "b 1"]:
    """A constant, with which a layer's context is a bias of its first product."""
    return jnp.ones((z.shape[1], 1), z.dtype)


class FlowDensity(dist.Distribution):
    """The distribution of x = f(u) with u ~ N(0, I); batch shape [1, 1]."""

    arg_constraints: ClassVar = {}
    pytree_data_fields = ("variables",)
    pytree_aux_fields = ("module",)

    def __init__(
        self,
        module: MaskedAutoregressiveFlow,
        variables: Variables,
        shape: tuple[int, ...],
    ) -> None:
        """The layers, their variables and the shape of one x."""
        self.module, self.variables = module, variables
        super().__init__((1, 1), shape, validate_args=False)

    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """log p(x) of [b, *shape] or [k, b, *shape], in nats: [1, b] or [k, b]."""
        lead = value.shape[: value.ndim - len(self.event_shape)]
        flat = value.reshape(*(1, *lead)[-2:], -1)
        u, log_det = call(self.module, self.variables, flat, method="inverse")
        return jnp.asarray(standard_normal(flat.shape[-1]).log_prob(u)) + log_det

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws [*sample_shape, 1, 1, *shape]."""
        size, count = math.prod(self.event_shape), math.prod(sample_shape)
        u = jax.random.normal(key, (1, count, size), jnp.float32)
        x, _ = call(self.module, self.variables, u)
        return x.reshape(*sample_shape, 1, 1, *self.event_shape)


class FlowModel(Density):
    """The density of a flow, as a family that `jaxae.fit` trains.

    Attributes:
        shape: The shape of one example.
        layers: See `MaskedAutoregressiveFlow`.
        hidden: See `MaskedAutoregressiveFlow`.
        likelihood: Says what x may be, all real numbers; the density is the flow's.
        view: Nothing is shown beside x.

    Raises:
        ValueError: A size is below 1.
    """

    shape: tuple[int, ...]
    layers: int = 5
    hidden: tuple[int, ...] = (256, 256)
    likelihood: Likelihood = field(default=likelihoods.Gaussian(), init=False)
    view: View = field(default=Plain(), init=False)

    def __post_init__(self) -> None:
        """Checks the sizes."""
        check_shape(self.shape)
        check_count("layers", self.layers)
        check_sizes("hidden", self.hidden)
        super().__post_init__()

    def setup(self) -> None:
        """Names the flow."""
        self.flow = MaskedAutoregressiveFlow(self.layers, self.hidden)

    def decode(self, codes: Codes, batch: Batch, *, train: bool = False) -> FlowDensity:
        """p(x), batch shape [1, 1]."""
        if self.is_initializing():
            self.flow.inverse(jnp.zeros((1, 1, math.prod(self.shape)), jnp.float32))
        # Unbound, since an objective asks for the density after this call is over.
        module, variables = self.flow.unbind()
        return FlowDensity(module, variables, self.shape)
