"""What objectives have in common, and how they are added up."""

from __future__ import annotations  # help() shows names, not types

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree
from numpyro.distributions import Distribution, Independent, Normal

from jaxae.checks import as_real, check_function, check_returned, is_array
from jaxae.errors import ArgumentError, ensure, given, kind_of, must_define, require
from jaxae.types import Context, Latent, Params, Trace
from jaxae.values import Value, expression

Loss = tuple[Array, Mapping[str, Array]]
"""(loss [b], {metric: [b]}), both in nats per example unless an objective says so."""

Weight = float | Array | optax.Schedule
"""A number, or a schedule: step -> number, of `jaxae.schedules` or optax."""


Region = Literal["all", "hole", "outside"]
"""Which values of x count where the corruption removed some."""


class Objective(Value):
    """Base of the objectives: pure functions of a trace, as values.

    An own objective overrides `loss`, and `init` and `tx` if it has parameters. What
    may be a number or a schedule has the value that `weight_at` returns of it.

    Example:
        >>> import jaxae
        >>> from jaxae.objectives import Weight, weight_at
        >>> class Darkness(jaxae.Objective):
        ...     weight: Weight = 1.0
        ...     def loss(self, params, trace, context):
        ...         mean = trace.likelihood.mean[0]
        ...         dark = -mean.reshape(mean.shape[0], -1).mean(axis=-1)
        ...         weight = weight_at(self.weight, context.step)
        ...         return weight * dark, {"darkness": dark}
        >>> rising = Darkness(jaxae.schedules.Linear(0.0, 1.0, steps=100))
        >>> recipe = jaxae.recipes.autoencoder((6,), 2).replace(objective=rising)
    """

    def init(self, key: jax.Array, trace: Trace) -> Params:
        """The objective's own parameters, such as a critic's; none by default."""
        del key, trace
        return {}

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """(params, trace, context) -> (loss [b], {metric: [b]}).

        In nats per example unless the objective says otherwise; the mean over the
        batch, by weight, is the train step's.
        """
        returns = "(loss [b], {metric: [b]})"
        raise must_define(self, "loss(self, params, trace, context)", returns)

    def tx(
        self, main: optax.GradientTransformation
    ) -> optax.GradientTransformation | None:
        """From the model's optimizer to that of `params`; None for the same."""
        del main
        return None


class Stateless(Objective):
    """An objective from a function, without parameters of its own.

    Attributes:
        function: (trace, context) -> (loss [b], {metric: [b]}).
    """

    function: Callable[[Trace, Context], Loss]

    def __post_init__(self) -> None:
        """Checks that it is one."""
        expected = "a function (trace, context) -> (loss [b], {metric: [b]})"
        check_function("function", self.function, expected, "trace", "context")

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """What the function returns."""
        del params
        return self.function(trace, context)


def as_weight(name: str, weight: Any, most: float = math.inf) -> Any:
    """A schedule as it is, or a number from 0 to `most`, see `as_real`.

    Raises:
        ValueError: It is neither.
    """
    bounds = "at least 0" if most == math.inf else f"in [0, {most:g}]"
    expected = f"a schedule or {bounds}"
    if callable(weight):
        check_function(name, weight, expected, "step")
        return weight
    number = as_real(name, weight, expected)
    require((number >= 0) & (number <= most), name, weight, expected)
    return number


def is_zero(weight: Weight | None) -> bool:
    """Whether a weight is the number 0, so that its term is left out.

    Neither a schedule is, nor a number that JAX traces.
    """
    return isinstance(weight, int | float) and weight == 0


def weight_at(weight: Weight, step: ArrayLike) -> Array:
    """The value at `step` of a weight, which may be a number or a schedule.

    Example:
        >>> import jaxae
        >>> rising = jaxae.schedules.Linear(0.0, 1.0, steps=100)
        >>> float(jaxae.objectives.weight_at(rising, step=50))
        0.5
    """
    if not callable(weight):
        return jnp.asarray(weight, jnp.float32)
    # Some of optax's schedules mix dtypes, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        value: Any = weight(step)
        if not isinstance(value, int | float):
            own = expression(weight)
            check_returned("what a schedule returns", value, (), ", one number", own)
        return jnp.asarray(value, jnp.float32)


def log_posterior(latent: Latent) -> Float[Array, "k b"]:
    """log q(z | x) of the samples, in nats.

    Raises:
        ValueError: The code is deterministic.
    """
    if latent.log_posterior is not None:
        return latent.log_posterior
    return jnp.asarray(_stochastic(latent.posterior).log_prob(latent.z))


def log_prior(latent: Latent) -> Float[Array, "k b"]:
    """log p(z) of the samples, in nats.

    Raises:
        ValueError: There is no prior.
    """
    return jnp.asarray(_stochastic(latent.prior).log_prob(latent.z))


def only_latent(trace: Trace) -> Latent:
    """The latent of a flat model.

    Raises:
        ValueError: The model has several latents, or none.
    """
    count = len(trace.latents)
    ensure(count == 1, f"this objective is for models with one latent, not {count}")
    return trace.latents[0]


def factorised_normal(
    latent: Latent,
) -> tuple[Float[Array, "k b d"], Float[Array, "k b d"]]:
    """The means and standard deviations of q(z | x), flat; k is 1 for flat models.

    Raises:
        ValueError: The posterior is another one, or there is none.
    """
    q = latent.posterior
    if not (isinstance(q, Independent) and isinstance(q.base_dist, Normal)):
        kind = type(q).__name__
        raise ArgumentError(f"the posterior must be a factorised normal, got {kind}")
    base: Any = q.base_dist
    k, b, shape = base.batch_shape[0], latent.z.shape[1], latent.z.shape[1:]
    mean, std = (
        jnp.broadcast_to(value, (k, *shape)).reshape(k, b, -1)
        for value in (base.loc, base.scale)
    )
    return mean, std


def _stochastic(distribution: Distribution | None) -> Distribution:
    return given(distribution, "this objective needs a posterior and a prior")


class Chain(Objective):
    """The sum of objectives' losses, with all their metrics, as in optax.chain.

    Attributes:
        objectives: At least one.

    Raises:
        ValueError: There is none, or two log the same metric (said when the objective
            first sees a trace).

    Example:
        >>> from jaxae.objectives import MMD, Chain, Reconstruction
        >>> wasserstein = Chain((Reconstruction(), MMD(weight=10.0)))
    """

    objectives: tuple[Objective, ...]

    def __post_init__(self) -> None:
        """Checks that there is one."""
        came = self.objectives
        some = isinstance(came, tuple) and len(came) > 0
        require(some, "objectives", came, "a tuple of at least one")
        for i, each in enumerate(came):
            check_objective(f"objectives[{i}]", each)

    def init(self, key: jax.Array, trace: Trace) -> Params:
        """Those of every part."""
        keys = jax.random.split(key, len(self.objectives))
        pairs = zip(self.objectives, keys, strict=True)
        return tuple(params_of(objective, k, trace) for objective, k in pairs)

    def loss(self, params: Params, trace: Trace, context: Context) -> Loss:
        """The sum, each part with a key of its own."""
        total = jnp.zeros(trace.target.shape[0], jnp.float32)
        metrics: dict[str, Array] = {}
        for i, (objective, own) in enumerate(zip(self.objectives, params, strict=True)):
            key = jax.random.fold_in(context.key, i)
            value, new = loss_of(objective, own, trace, context._replace(key=key))
            twice = sorted(metrics.keys() & new.keys())
            ensure(not twice, f"objectives must log different metrics, twice: {twice}")
            total, metrics = total + value, {**metrics, **new}
        return total, metrics

    def tx(
        self, main: optax.GradientTransformation
    ) -> optax.GradientTransformation | None:
        """Each part's own optimizer, or the model's."""
        own = tuple(optimizer_of(each, main) for each in self.objectives)
        if all(tx is None for tx in own):
            return None
        return each_its_own(tuple(main if tx is None else tx for tx in own))


def check_objective(name: str, objective: Any) -> None:
    """Raises ValueError unless it is an Objective, and no class of them."""
    made = "an Objective, such as jaxae.objectives.ELBO()"
    right = isinstance(objective, Objective)
    ensure(right, f"{name} must be {made}, got {kind_of(objective)}")


def loss_of(
    objective: Objective, params: Params, trace: Trace, context: Context
) -> Loss:
    """What an objective's `loss` returns, once its shapes are known to be right.

    Raises:
        ValueError: It is no number for every example, with metrics of them by name.
    """
    found: Any = objective.loss(params, trace, context)
    by = f"{objective!r:.300}"
    pair = isinstance(found, tuple) and len(found) == 2
    expected = "an objective's loss must return (loss [b], {metric: [b]})"
    ensure(pair, f"{expected}, got {kind_of(found)} from {by}")
    loss, metrics = found
    named = isinstance(metrics, Mapping) and all(isinstance(k, str) for k in metrics)
    ensure(named, f"{expected}, got metrics in {kind_of(metrics)} from {by}")
    rows, each = trace.target.shape[:1], ", a number for every example"
    check_returned("an objective's loss", loss, rows, each, by)
    floats = jnp.issubdtype(loss.dtype, jnp.floating)  # others have no gradient
    ensure(floats, f"an objective's loss must be floats, got {loss.dtype} from {by}")
    for name, value in metrics.items():
        check_returned(f"an objective's {name}", value, rows, each, by)
    return loss, metrics


def params_of(objective: Objective, key: jax.Array, trace: Trace) -> Params:
    """What an objective's `init` returns.

    Raises:
        ValueError: There is something else than numbers in it.
    """
    params = objective.init(key, trace)
    for leaf in jax.tree.leaves(params):
        number = is_array(leaf) or isinstance(leaf, int | float)
        own = f"init of {type(objective).__name__} must return arrays"
        ensure(number, f"{own}, got {kind_of(leaf)} among them")
    return params


def optimizer_of(
    objective: Objective, main: optax.GradientTransformation
) -> optax.GradientTransformation | None:
    """What an objective's `tx` returns.

    Raises:
        ValueError: It is something else.
    """
    own: Any = objective.tx(main)
    expected = f"tx of {type(objective).__name__} must return an optax optimizer"
    right = own is None or isinstance(own, optax.GradientTransformation)
    ensure(right, f"{expected}, or None for the model's, got {kind_of(own)}")
    return own


def region_of(objective: Objective) -> Region:
    """Where the distortion counts; of a sum, where all parts that have one say so."""
    parts = objective.objectives if isinstance(objective, Chain) else (objective,)
    regions: list[Region] = [p.region for p in parts if hasattr(p, "region")]  # pyright: ignore[reportAttributeAccessIssue]
    return regions[0] if len(set(regions)) == 1 else "all"


def each_its_own(optimizers: PyTree) -> optax.GradientTransformation:
    """Optimizers in a tuple or a dictionary, each over the entry at its place.

    Not optax.partition: a transformation there sees the other players' entries, masked,
    so that one partition does not fit inside another.
    """

    def init(params: Params) -> PyTree:
        return _map(lambda tx, own: tx.init(own), optimizers, params)

    def update(
        updates: Params,
        state: PyTree,
        params: Params | None = None,
        *,
        value: Any = None,
        grad: Params | None = None,
    ) -> tuple[Params, PyTree]:
        def own(tx: optax.GradientTransformation, *trees: PyTree) -> PyTree:
            updates, state, params, grad = trees
            full = optax.with_extra_args_support(tx)
            return full.update(updates, state, params, value=value, grad=grad)

        grad = updates if grad is None else grad
        pairs = _map(own, optimizers, updates, state, params, grad)
        return (
            _map(lambda _, pair: pair[0], optimizers, pairs),
            _map(lambda _, pair: pair[1], optimizers, pairs),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, optax.GradientTransformation)


def _map(function: Callable[..., Any], optimizers: PyTree, *trees: PyTree) -> PyTree:
    return jax.tree.map(function, optimizers, *trees, is_leaf=_is_optimizer)
