"""An autoregressive prior over the codes of a model whose codes are whole numbers.

A quantised model has no prior of its own to draw from. One is fitted to the codes of
its training data in a second stage (van den Oord et al. 2017, section 3.3), here a
small causal transformer, which is a recipe as any other: its data are the codes, and it
has no latent code itself.
"""

import math
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution

from jaxae import inference, objectives
from jaxae.checks import check_count
from jaxae.errors import ensure, require
from jaxae.likelihoods import Likelihood, WholeNumbers
from jaxae.models.family import Codes, call
from jaxae.networks.causal import CausalTransformer
from jaxae.recipe import Model, Recipe
from jaxae.recipes.base import compose_recipe
from jaxae.samplers.base import Density, Sampler, fit_density
from jaxae.types import Batch, Variables
from jaxae.views import Plain, View

LEARNING_RATE = 3e-3
"""The highest that the optimizer of `autoregressive` has."""


class Sequences(Distribution):
    """p(c) = Π_i p(c_i | c_1, ..., c_{i-1}), as the factors that the product has.

    Batch shape [1, 1, t]: `log_prob` is that of every code given those before it, and
    `to_event(1)` makes it that of the sequence. Codes are floats, as every x is.
    """

    arg_constraints: ClassVar = {}
    pytree_data_fields: ClassVar = ("variables",)
    pytree_aux_fields: ClassVar = ("network", "likelihood")

    def __init__(
        self, network: CausalTransformer, likelihood: Likelihood, variables: Variables
    ) -> None:
        """An unbound network with its variables, and what its logits stand for."""
        self.network, self.likelihood, self.variables = network, likelihood, variables
        super().__init__((1, 1, network.length), validate_args=False)

    @property
    def support(self) -> Any:
        """The constraint that every code has to satisfy."""
        return self.likelihood.support

    def log_prob(
        self, value: Float[Array, "... b t"], intermediates: Any = None
    ) -> Float[Array, "k b t"]:
        """Per code, in nats: [1, b, t] of codes [b, t], [k, b, t] of [k, b, t]."""
        codes = value.astype(jnp.int32)
        codes = codes.reshape(-1, *codes.shape[-2:])
        logits = self.logits(codes.reshape(-1, codes.shape[-1]))
        logits = logits.reshape(*codes.shape, -1)
        return jnp.asarray(self.likelihood.elementwise(logits, None).log_prob(codes))

    def logits(self, codes: Int[Array, "b t"]) -> Float[Array, "b t m"]:
        """Those of every value of every code, given the codes before it."""
        return call(self.network, self.variables, codes)

    def sample(
        self, key: jax.Array, sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "... t"]:
        """Draws [*sample_shape, 1, 1, t], code by code."""
        network, count = self.network, math.prod(sample_shape)
        advance = partial(network.apply, mutable=["cache"])

        def step(
            carry: tuple[Any, Array], inputs: tuple[Array, jax.Array]
        ) -> tuple[tuple[Any, Array], Array]:
            cache, before = carry
            position, key_step = inputs
            variables = {**self.variables, **cache}
            logits, cache = advance(variables, before, position, method="step")
            drawn = self.likelihood.elementwise(logits, None).sample(key_step)
            code = jnp.asarray(drawn, jnp.int32)
            return (cache, code), code

        _, cache = advance(self.variables, count, method="reserve")
        begin = jnp.full(count, network.begin, jnp.int32)
        keys = jax.random.split(key, network.length)
        positions = jnp.arange(network.length)
        _, codes = jax.lax.scan(step, (cache, begin), (positions, keys))
        shape = (*sample_shape, *self.batch_shape)
        return codes.T.reshape(shape).astype(jnp.float32)


class AutoregressiveModel(Density):
    """p(x) of sequences of codes.

    Attributes:
        shape: (t,), the length of a sequence.
        likelihood: What the network's logits stand for.
        network: The logits of every code given those before it.
        view: The network is shown nothing beside the codes.
    """

    shape: tuple[int, ...]
    likelihood: Likelihood
    network: CausalTransformer
    view: View = Plain()

    def decode(
        self, codes: Codes, batch: Batch, *, train: bool = False
    ) -> Distribution:
        """p(x) with batch shape [1, 1]."""
        del codes, train
        if self.is_initializing():
            # The distribution works outside the module, where no parameter is made.
            self.network(batch["x"].astype(jnp.int32))
        network, variables = self.network.unbind()
        likelihood, _ = self.likelihood.unbind()
        return Sequences(network, likelihood, variables).to_event(1)


def sequence_recipe(
    length: int, num_codes: int, *, width: int = 64, depth: int = 2, num_heads: int = 4
) -> Recipe:
    """The density of sequences of codes; its data are floats [n, length].

    Minimises -log p(c) in nats per sequence. See `CausalTransformer` for the arguments.

    Raises:
        ValueError: A number is below 1, or `width` is no multiple of `num_heads`.
    """
    network = CausalTransformer(num_codes, length, width, depth, num_heads)
    module = AutoregressiveModel(
        shape=(length,), likelihood=WholeNumbers(num_codes), network=network
    )
    return compose_recipe(module, objectives.Reconstruction())


def code_density(
    codes: Any,
    key: jax.Array,
    *,
    num_codes: int,
    width: int = 64,
    depth: int = 2,
    num_heads: int = 4,
    epochs: int = 4,
    batch_size: int = 100,
    progress: bool = False,
) -> Model:
    """Fits a causal transformer to codes of whole numbers: their p(c).

    The codes of an example are taken row by row as one sequence; with residual
    quantisation all quantizers' codes of a position come one after the other.

    Trained by Adam, with a learning rate that rises to `LEARNING_RATE` in the first
    twentieth of the steps and falls to 0 along a cosine. For other training use
    `sequence_recipe` with `jaxae.fit`.

    Args:
        codes: Whole numbers [n, ...], as `jaxae.encode` returns them.
        key: A typed key. The weights and the order of the data follow from it.
        num_codes: The codes are below this: the model's `num_codes`.
        width: Entries of a token, a multiple of `num_heads`.
        depth: Transformer blocks.
        num_heads: Heads of the attention.
        epochs: Passes over the codes.
        batch_size: Sequences per step.
        progress: Report every epoch; "loss" is -log p(c) in nats per sequence.

    Returns:
        A model of sequences [n, t], which `evaluation.nll_nats` says -log p(c) of.

    Raises:
        ValueError: The codes are no whole numbers from 0 to `num_codes` - 1, there are
            none, or a number is outside its range.
        TrainingDiverged: See `jaxae.fit`.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> codes = np.random.default_rng(0).integers(0, 3, (40, 4))
        >>> key = jax.random.key(0)
        >>> options = dict(num_codes=3, width=4, depth=1, num_heads=1, epochs=1)
        >>> prior = jaxae.samplers.code_density(codes, key, **options)
        >>> x = codes.astype(np.float32)
        >>> jaxae.evaluation.nll_nats(prior, x, key, num_samples=1).shape
        (40,)
    """
    check_count("num_codes", num_codes)
    codes = _check_codes(codes, num_codes)
    sequences = codes.reshape(len(codes), -1).astype(np.float32)
    recipe = sequence_recipe(
        sequences.shape[1], num_codes, width=width, depth=depth, num_heads=num_heads
    )
    return fit_density(
        recipe, sequences, key, epochs, batch_size, _learning_rates, progress
    )


def autoregressive(
    codes: Any, key: jax.Array, *, num_codes: int, **options: Any
) -> Sampler:
    """Fits `code_density` to codes, to draw new ones from it.

    Arguments and errors are those of `code_density`.

    Returns:
        The function (key, count) -> codes [count, ...], int32.

    Example:
        >>> import jax, numpy as np, jaxae
        >>> codes = np.random.default_rng(0).integers(0, 3, (40, 4))
        >>> key = jax.random.key(0)
        >>> options = dict(num_codes=3, width=4, depth=1, num_heads=1, epochs=1)
        >>> jaxae.samplers.autoregressive(codes, key, **options)(key, 2).shape
        (2, 4)
    """
    model = code_density(codes, key, num_codes=num_codes, **options)
    shape = np.shape(codes)[1:]

    def sampler(key: jax.Array, count: int) -> Int[Array, "n ..."]:
        drawn = inference.sample(model, key, count, draw=True)
        return drawn.astype(jnp.int32).reshape(count, *shape)

    return sampler


def _check_codes(codes: Any, num_codes: int) -> np.ndarray:
    one = "codes must be the array of a model with one latent code, got a tuple"
    ensure(not isinstance(codes, tuple), one)
    codes = np.asarray(codes)
    whole = codes.dtype.kind in "iu"
    require(whole, "codes", str(codes.dtype), "whole numbers: those of a discrete code")
    some = codes.ndim > 0 and codes.size > 0
    require(some, "codes", codes.shape, "of shape [n, ...], at least one")
    low, high = int(codes.min()), int(codes.max())
    inside = low >= 0 and high < num_codes
    expected = f"codes must be whole numbers from 0 to {num_codes - 1}"
    ensure(inside, f"{expected}, got values from {low} to {high}")
    return codes


def _learning_rates(steps: int) -> optax.Schedule:
    warmup = steps // 20
    return optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, warmup, steps)
