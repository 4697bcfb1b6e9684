"""Hooks of sparse auto-encoders: a start without dead latents, and new use for them."""

import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxae.checks import as_finite, check_count, settle
from jaxae.errors import ensure, require
from jaxae.hooks.moments import reset_moments
from jaxae.networks.dictionary import normalize_rows
from jaxae.types import Observed, TrainState, Variables
from jaxae.values import Value

Rows = Float[Array, "n d"]


class TieAtStart(Value):
    """After the first step makes the encoder the transpose of the centred decoder.

    The decoder's bias becomes the mean of the batch, and the pre-activations the
    products of the atoms with what differs from it (Gao et al. 2024, "Preventing dead
    latents", with the mean for the geometric median). Latents that start unrelated to
    their atoms, or all alike excited by what the examples have in common, die in large
    numbers. The optimizer forgets what the first step told it of all these. An encoder
    of inputs of another shape than x keeps its weights, and its pre-activations are
    products with what differs from the mean of these.

    For the models that `ResampleDead` is for.
    """

    at_start: ClassVar[bool] = True

    def __call__(self, state: TrainState, seen: Observed, key: jax.Array) -> TrainState:
        """The state, tied if this was the first step."""
        del key
        return jax.lax.cond(state.step == 0, lambda: _tie(state, seen), lambda: state)


def _tie(state: TrainState, seen: Observed) -> TrainState:
    model = state.params["model"]
    encoder, decoder = model["bottleneck"], model["decoder"]
    _check_kernel(encoder["kernel"], seen)
    atoms = normalize_rows(decoder["atoms"])
    kernel = atoms.T if _alike(seen) else encoder["kernel"]
    mean = _mean(seen, "x")
    offset = -(_mean(seen, "inputs") @ kernel)
    biases = {name: offset for name in encoder if name.endswith("bias")}
    new = {
        "bottleneck": {**encoder, "kernel": kernel, **biases},
        "decoder": {**decoder, "atoms": atoms, "bias": mean},
    }
    params = {**state.params, "model": {**model, **new}}
    fresh = None if seen.fresh is None else seen.fresh(params)
    opt_state = state.opt_state
    for part, values in new.items():
        for name, value in values.items():
            nothing = jnp.zeros([1] * value.ndim, value.dtype)
            opt_state = reset_moments(opt_state, ("model", part, name), nothing, fresh)
    return state._replace(params=params, opt_state=opt_state)


def _alike(seen: Observed) -> bool:
    """Whether inputs have the shape of x, so that atoms are directions of both."""
    return seen.batch["inputs"].shape == seen.batch["x"].shape


def _mean(seen: Observed, field: str) -> Float[Array, " d"]:
    """Over the examples that a value is known of; 0 where there is none."""
    values = _flat(seen, field)
    known = _known(seen, field).astype(values.dtype)
    weight = seen.batch.get("weight")
    counts = known if weight is None else weight[:, None] * known
    return (counts * values).sum(axis=0) / jnp.maximum(counts.sum(axis=0), 1e-12)


def _flat(seen: Observed, field: str) -> Rows:
    return seen.batch[field].reshape(seen.loss.shape[0], -1)


def _known(seen: Observed, field: str) -> Bool[Array, "b d"]:
    """Where x, or what the encoder sees, is not missing."""
    shape = seen.batch[field].shape
    missing = seen.batch.get("missing" if field == "x" else "filled")
    known = jnp.ones(shape, bool) if missing is None else ~missing
    return jnp.broadcast_to(known, shape).reshape(shape[0], -1)


class ResampleDead(Value):
    """Points dead latents at examples that are explained badly.

    After every `every` steps, a latent that the bottleneck counts as dead gets an
    example, drawn from the batch with probability proportional to its squared loss, as
    its direction: the atom is the example, less the decoder's bias, divided by its
    norm, and the encoder's weights are `scale` times the mean norm of those of the
    living latents in the same direction, or in that of inputs of their own, with no
    bias beside what centres x (Bricken et al. 2023, "Neuron resampling", which draws
    from a larger sample of the data). What is missing counts for nothing. Its moments
    in the optimizer and its count of examples start anew, and what else an activation
    learns for every latent takes its first value, or for thresholds the mean of the
    living ones.

    For a model of `bottlenecks.Sparse` on the flattened input, `networks.Dictionary`
    and the Gaussian likelihood of std 1, whose constant does not count as loss.

    Attributes:
        every: Steps from one resampling to the next.
        scale: See above.

    Raises:
        ValueError: `every` is below 1 or `scale` not above 0.
    """

    every: int = 2500
    scale: float = 0.2

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_count("every", self.every)
        settle(self, as_finite, "scale")
        require(self.scale > 0, "scale", self.scale, "above 0")

    def __call__(self, state: TrainState, seen: Observed, key: jax.Array) -> TrainState:
        """The state with new directions for its dead latents, when it is time."""
        dead = seen.info["dead"]
        due = ((state.step + 1) % self.every == 0) & dead.any()
        return jax.lax.cond(
            due,
            lambda: _resample(state, seen, key, self.scale),
            lambda: state,
        )


def _resample(
    state: TrainState, seen: Observed, key: jax.Array, scale: float
) -> TrainState:
    dead = seen.info["dead"]
    model = state.params["model"]
    center, old = model["decoder"]["bias"], model["decoder"]["atoms"]
    chosen = _chosen(seen, key, dead.shape[0], center)
    kernel = model["bottleneck"]["kernel"]
    _check_kernel(kernel, seen)
    middle = center if _alike(seen) else _mean(seen, "inputs")
    otherwise = old if _alike(seen) else kernel.T
    own = _directions(_centred(seen, "inputs", middle)[chosen], otherwise)
    encoder = _new_encoder(model["bottleneck"], own, middle, dead, scale)
    directions = _directions(_centred(seen, "x", center)[chosen], old)
    atoms = jnp.where(dead[:, None], directions, old)
    decoder = {**model["decoder"], "atoms": atoms}
    own = {**model, "bottleneck": encoder, "decoder": decoder}
    params = {**state.params, "model": own}
    fresh = None if seen.fresh is None else seen.fresh(params)
    return state._replace(
        params=params,
        opt_state=_forget(state.opt_state, tuple(encoder), dead, fresh),
        collections=_restart_counts(state.collections, dead),
    )


def _directions(rows: Rows, otherwise: Rows) -> Rows:
    """An example of zeros has none; without another a latent keeps its own."""
    empty = (rows == 0).all(axis=1, keepdims=True)
    return normalize_rows(jnp.where(empty, otherwise, rows))


def _centred(seen: Observed, field: str, center: Float[Array, " d"]) -> Rows:
    """Flat, and 0 where it is not known."""
    known = _known(seen, field)
    return jnp.where(known, _flat(seen, field) - center[None], 0.0)


def _chosen(
    seen: Observed, key: jax.Array, count: int, center: Float[Array, " d"]
) -> Int[Array, " n"]:
    """`count` examples, with probability ∝ weight · loss²; none of zeros."""
    known = _known(seen, "x").astype(jnp.float32)
    constant = 0.5 * math.log(2.0 * math.pi) * known.sum(axis=1)
    odds = jnp.square(jnp.maximum(seen.loss - constant, 0.0))
    if "weight" in seen.batch:
        odds = odds * seen.batch["weight"]
    odds = jnp.where((_centred(seen, "x", center) == 0).all(axis=1), 0.0, odds)
    # Where nothing is left to explain, every example is as good.
    odds = jnp.where(odds.sum() > 0, odds, jnp.ones_like(odds))
    return jax.random.categorical(key, jnp.log(odds), shape=(count,))


def _new_encoder(
    encoder: Mapping[str, Array],
    directions: Rows,
    center: Float[Array, " d"],
    dead: Bool[Array, " n"],
    scale: float,
) -> dict[str, Array]:
    """The bottleneck's parameters, new ones for the dead latents."""
    kernel = encoder["kernel"]
    norm = _mean_of_living(jnp.linalg.norm(kernel, axis=0), dead)
    new = {name: jnp.zeros_like(value) for name, value in encoder.items()}
    new["kernel"] = scale * norm * directions.T
    # The bias of zero is that of an encoder which subtracts the decoder's bias.
    offset = -(center @ new["kernel"])
    new |= {name: offset for name in encoder if name.endswith("bias")}
    if "log_threshold" in encoder:
        old = encoder["log_threshold"]
        new["log_threshold"] = jnp.full_like(old, _mean_of_living(old, dead))
    return {
        name: jnp.where(dead.reshape(*[1] * (old.ndim - 1), -1), new[name], old)
        for name, old in encoder.items()
    }


def _check_kernel(kernel: Float[Array, "m n"], seen: Observed) -> None:
    features, inputs = kernel.shape[0], math.prod(seen.batch["inputs"].shape[1:])
    ensure(
        features == inputs,
        "encoder must give the flattened input for this hook, "
        f"got {features} features of {inputs} inputs",
    )


def _mean_of_living(
    values: Float[Array, " n"], dead: Bool[Array, " n"]
) -> Float[Array, ""]:
    """All values count where no latent lives."""
    counts = jnp.where(dead.all(), True, ~dead).astype(values.dtype)
    return (values * counts).sum() / counts.sum()


def _forget(
    opt_state: PyTree, names: tuple[str, ...], dead: Bool[Array, " n"], fresh: PyTree
) -> PyTree:
    """Zeroes the moments of the rows and columns that were replaced."""
    keep = (~dead).astype(jnp.float32)
    for name in names:
        shape = (1, -1) if name == "kernel" else (-1,)
        path = ("model", "bottleneck", name)
        opt_state = reset_moments(opt_state, path, keep.reshape(shape), fresh)
    atoms = ("model", "decoder", "atoms")
    return reset_moments(opt_state, atoms, keep[:, None], fresh)


def _restart_counts(collections: Variables, dead: Bool[Array, " n"]) -> Variables:
    statistics = collections["statistics"]
    own = statistics["bottleneck"]
    count = jnp.where(dead, 0.0, own["examples_since_active"])
    own = {**own, "examples_since_active": count}
    return {**collections, "statistics": {**statistics, "bottleneck": own}}
