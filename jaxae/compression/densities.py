"""What a model says of one image at a time, as numbers: its Gaussians and p(x | z).

Who decompresses has to find the very numbers that were compressed with, to the last
bit. So both run the same programs, for one image, on the CPU and in one thread:
kernels of a GPU may be chosen by how long they take, and sums that threads divide among
them depend on how many there are.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution, Independent, Normal, constraints

from jaxae.distributions.levels import Categorical, grey_levels
from jaxae.errors import ArgumentError, ensure, of_kind, require
from jaxae.evaluation.likelihood import check_generative
from jaxae.likelihoods import Likelihood
from jaxae.models.family import Family, call
from jaxae.preparation import binarize, unit_interval
from jaxae.recipe import Model, Recipe
from jaxae.types import AnyArray, Batch, Variables

Codes = tuple[Float[AnyArray, "k b ..."], ...]
"""The codes of one image, [1, 1, ...] each, top first."""

program = partial(
    jax.jit,
    static_argnums=0,
    compiler_options={"xla_cpu_multi_thread_eigen": False},
)


class Gaussian(NamedTuple):
    """With independent entries: of a code, in its shape."""

    mean: Float[np.ndarray, "..."]
    std: Float[np.ndarray, "..."]


class Pixels:
    """The programs of a model, for one image.

    Attributes:
        levels: How many grey levels a pixel may have.
        latents: What the encoder makes, without values.
    """

    def __init__(self, model: Model) -> None:
        """Checks that images can be compressed with the model.

        Raises:
            ValueError: A part of it does not allow that.
        """
        check_pixels(model.recipe)
        self._module, self._variables = model.module, on_cpu(model.variables)
        self.levels = levels_of(model.module.likelihood)
        x = jax.ShapeDtypeStruct((1, *model.module.shape), jnp.float32)
        encode = partial(call, self._module, method="encode")
        batch = {"inputs": x}
        self.latents = jax.eval_shape(encode, self._variables, batch, jax.random.key(0))
        kind = type(self._module).__name__
        ensure(self.latents, f"model must have a latent code, {kind} has none")

    def table(self, codes: Codes) -> Float[np.ndarray, "d levels"]:
        """p(x | z) of every level of every pixel."""
        return np.asarray(_table(self._module, self._variables, codes))

    def _shown(self, levels: Int[np.ndarray, " d"]) -> Batch:
        """What the encoder sees of an image's levels pixel by pixel."""
        x = levels.astype(np.float32) / np.float32(self.levels - 1)
        return {"inputs": jnp.asarray(x.reshape(1, *self._module.shape))}


class Densities(Pixels):
    """With Gaussians of codes."""

    def __init__(self, model: Model) -> None:
        """Checks that images can be compressed with the model.

        Raises:
            ValueError: A part of it does not allow that.
        """
        check_generative(model.recipe)
        super().__init__(model)

    def prior(self, above: Codes) -> Gaussian:
        """p(z | z above) of the next latent."""
        return self._gaussian(_prior, above)

    def _gaussian(self, of: Any, *inputs: Any) -> Gaussian:
        found = of(self._module, self._variables, *inputs)
        return Gaussian(*map(np.asarray, found))


def check_pixels(recipe: Recipe) -> None:
    """Raises ValueError unless images can be compressed with such a decoder."""
    module = recipe.module
    none = "model must be shown nothing beside x, which a file does not hold, got"
    ensure(not module.view.fields, f"{none} {sorted(module.view.fields)}")
    same = "model must encode x itself, got one of inputs of shape"
    ensure(module.sees_x, f"{same} {module.shape_seen}")
    known = recipe.prepare in (unit_interval, binarize)
    require(known, "prepare", recipe.prepare, "unit_interval or binarize, for pixels")
    levels_of(module.likelihood)


def levels_of(likelihood: Likelihood) -> int:
    """How many grey levels a pixel may have.

    Raises:
        ValueError: It is not a likelihood of levels that a byte can hold.
    """
    support = likelihood.support
    levels = 2 if support is constraints.boolean else getattr(support, "levels", 0)
    expected = (
        "one of grey levels that a byte can hold, as a Bernoulli or a Categorical"
    )
    grey = support is constraints.boolean or isinstance(support, grey_levels)
    fits = grey and 255 % (levels - 1) == 0
    require(fits, "likelihood", likelihood, expected)
    return levels


@program
def _prior(module: Family, variables: Variables, above: Codes) -> tuple[Array, Array]:
    return moments(call(module, variables, above, {}, method="prior_below"), "prior")


@program
def _table(module: Family, variables: Variables, codes: Codes) -> Array:
    likelihood = call(module, variables, codes, {}, method="decode")
    each, levels = likelihood.base_dist, levels_of(module.likelihood)
    if isinstance(
        each, Categorical
    ):  # for which log_prob looks at all levels each time
        return jax.nn.softmax(each.logits).reshape(-1, levels)
    values = jnp.arange(levels, dtype=jnp.float32) / (levels - 1)
    values = values.reshape(-1, *[1] * (len(module.shape) + 1))
    values = jnp.broadcast_to(values, (levels, 1, *module.shape))
    return jnp.exp(each.log_prob(values)).reshape(levels, -1).T


def moments(distribution: Distribution | None, name: str) -> tuple[Array, Array]:
    """Mean and standard deviation of one code.

    Raises:
        ValueError: It is no factorised Gaussian.
    """
    expected = "a Gaussian factorised over the dimensions to compress by"
    factorised = of_kind(Independent, name, distribution, expected)
    base = of_kind(Normal, name, factorised.base_dist, expected)
    shape = (1, 1, *factorised.event_shape)
    both = jnp.asarray(base.loc), jnp.asarray(base.scale)
    mean, std = (jnp.broadcast_to(each, shape)[0, 0] for each in both)
    return mean, std


def on_cpu(variables: Variables) -> Variables:
    """Where all programs run."""
    try:
        cpu = jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        alone = "images are compressed on the CPU, which JAX_PLATFORMS leaves out"
        raise ArgumentError(f"{alone}: add cpu to it") from error
    return jax.device_put(jax.device_get(variables), cpu)
