"""A recipe: a family of auto-encoders as a choice of parts; with variables, a model."""

from __future__ import annotations  # help() shows names, not types

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from jaxae.checks import check_count, check_function
from jaxae.corruptions import identity
from jaxae.corruptions.base import check_corruption
from jaxae.errors import check_choice, ensure, kind_of, require
from jaxae.models.family import Family
from jaxae.objectives.base import Objective, check_objective
from jaxae.preparation import Scale, unit_interval
from jaxae.types import Corrupt, Hook, Prepare, Variables
from jaxae.values import Value

_Computing = Literal["bfloat16", "float32"]
_NETWORKS = ("encoder", "decoder")


class Recipe(Value):
    """A family of auto-encoders as a choice of parts.

    Attributes:
        module: A linen module, see `jaxae.models.Family`.
        objective: What is minimised.
        prepare: From stored values to the target: `unit_interval`, `binarize` or a
            `preparation.Scale`.
        corruption: What damages the target before the encoder sees it.
        num_samples: `K`, the samples of the code per example and step.
        hooks: What happens after an update beside it, as the revival of dead codes.
        monitor: The metric that the best epoch has least of, of the validation data
            where there are any.
        title: What the family is called in reports.

    Raises:
        ValueError: A part is of another kind.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.vae((28, 28, 1), latent_dim=16, beta=4.0)
        >>> recipe.objective
        objectives.ELBO(beta=4.0)
        >>> recipe == jaxae.recipes.vae((28, 28, 1), latent_dim=16, beta=4.0)
        True
        >>> eval(repr(recipe), vars(jaxae)) == recipe
        True
    """

    module: Family
    objective: Objective
    prepare: Prepare = unit_interval
    corruption: Corrupt = identity
    num_samples: int = 1
    hooks: tuple[Hook, ...] = ()
    monitor: str = "loss"
    title: str = "auto-encoder"

    def __post_init__(self) -> None:
        """Checks the kinds of the parts."""
        made = isinstance(self.module, Family)
        family = "a Family, such as jaxae.AutoEncoder(...)"
        ensure(made, f"module must be {family}, got {kind_of(self.module)}")
        check_objective("objective", self.objective)
        prepares = "a function (key, values) -> x, as of jaxae.preparation"
        check_function("prepare", self.prepare, prepares, "key", "values")
        check_corruption("corruption", self.corruption)
        check_count("num_samples", self.num_samples)
        hooks = "a tuple of functions (state, seen, key) -> state, as of jaxae.hooks"
        require(isinstance(self.hooks, tuple), "hooks", self.hooks, hooks)
        one, seen = "a function (state, seen, key) -> state", ("state", "seen", "key")
        for i, hook in enumerate(self.hooks):
            check_function(f"hooks[{i}]", hook, one, *seen)


def split_numbers(recipe: Recipe) -> tuple[Recipe, dict[str, np.ndarray]]:
    """The recipe without the numbers of its scale, and these by their names.

    A program that is compiled for the former and takes the latter as arrays serves
    equal recipes with other numbers, too.
    """
    scale = recipe.prepare
    if not isinstance(scale, Scale) or not scale.fitted:
        return recipe, {}
    numbers = {name: np.asarray(getattr(scale, name)) for name in scale.estimated}
    bare = scale.replace(**dict.fromkeys(numbers))
    return recipe.replace(prepare=bare), numbers


def join_numbers(recipe: Recipe, numbers: Mapping[str, Any]) -> Recipe:
    """The way back from `split_numbers`, where JAX may trace the numbers."""
    scale: Any = recipe.prepare
    return recipe.replace(prepare=scale.replace(**numbers)) if numbers else recipe


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
    """A recipe with its variables: what `encode`, `sample` or `evaluate` work on.

    A pytree whose leaves are the variables; the recipe is static. So models pass
    through `jax.jit`, `jax.grad` and, stacked, `jax.vmap`.

    Attributes:
        recipe: The family.
        variables: What its module learned and keeps.

    Example:
        >>> import jax, jaxae
        >>> network = jaxae.networks.FullyConnected((4,))
        >>> recipe = jaxae.recipes.vae((6,), latent_dim=2, network=network)
        >>> new = lambda key: jaxae.init(recipe, key)
        >>> model = jax.eval_shape(new, jax.random.key(0))  # of shapes alone
        >>> model.variables["params"]["encoder"]["Dense_0"]["kernel"].shape
        (6, 4)
    """

    recipe: Recipe = dataclasses.field(metadata={"static": True})
    variables: Variables

    @property
    def module(self) -> Family:
        """The recipe's module."""
        return self.recipe.module

    def replace(self, **changes: Any) -> Model:
        """The same with another recipe or other variables."""
        return dataclasses.replace(self, **changes)

    def __repr__(self) -> str:
        """The recipe, and how many numbers there are beside it."""
        count = sum(jnp.size(leaf) for leaf in jax.tree.leaves(self.variables))
        return f"<Model of {count:,} numbers: {self.recipe!r}>"


def compute_in(recipe: Recipe, dtype: DTypeLike | None) -> Recipe:
    """The same family with an encoder and a decoder whose layers compute in `dtype`.

    Every layer casts its input and its parameters to `dtype` and computes its output
    there; the gradients reach the parameters as they are stored. Parameters, gradients
    and the optimizer's state stay float32, as do bottlenecks, priors, likelihoods,
    critics and losses, for which what the networks put out is cast back. A checkpoint
    fits the recipe with any `dtype`.

    Args:
        recipe: Any whose networks have the field `dtype`, as all of `jaxae.networks`
            and linen's own layers.
        dtype: bfloat16 or float32; None for that of the inputs and parameters.

    Raises:
        ValueError: `dtype` is another one, or a network has no such field.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> half = jaxae.compute_in(recipe, 'bfloat16')
        >>> half.module.encoder
        networks.MLP(dtype='bfloat16')
    """
    if dtype is not None:
        name = dtype if isinstance(dtype, str) else jnp.dtype(dtype).name
        # The gradients of float16 would need a scaled loss.
        check_choice("dtype", name, _Computing)
        dtype = name  # not the dtype itself, which does not print as what makes it
    return recipe.replace(module=_computing_in(recipe.module, dtype))


def _computing_in(module: Family, dtype: str | None) -> Family:
    if _has_dtype(module):
        return module.clone(dtype=dtype)
    parts = {
        each.name: getattr(module, each.name) for each in dataclasses.fields(module)
    }
    stacked = {name: part for name, part in parts.items() if isinstance(part, Family)}
    if stacked:
        cast = {name: _computing_in(part, dtype) for name, part in stacked.items()}
        return module.clone(**cast)  # pyright: ignore[reportArgumentType]
    cast = {}
    for name in _NETWORKS:
        network = parts.get(name)
        kind = "none" if network is None else type(network).__name__
        ensure(
            _has_dtype(network),
            f"{name} must be a module with a field `dtype` to compute in {dtype}, "
            f"got {kind} in {type(module).__name__}",
        )
        cast[name] = network.clone(dtype=dtype)  # pyright: ignore[reportOptionalMemberAccess]
    return module.clone(**cast)


def _has_dtype(module: object) -> bool:
    if not isinstance(module, nn.Module):
        return False
    return "dtype" in {field.name for field in dataclasses.fields(module)}
