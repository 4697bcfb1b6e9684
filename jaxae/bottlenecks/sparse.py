"""The bottleneck of sparse auto-encoders: many latents, few of them active."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from jaxae.averages import running_mean
from jaxae.bottlenecks.base import Bottleneck, exact, flat
from jaxae.checks import as_finite, check_count, settle
from jaxae.errors import check_choice, require
from jaxae.types import Latent

SparseActivation = Literal["l1", "topk", "batch_topk", "jump_relu", "gated"]

THRESHOLD_MOMENTUM = 0.9
"""Decay of BatchTopK's running threshold: what a batch counts beside the next one.

At 0.99 the thresholds of weights left long ago have a part: after 120 steps from data
off the origin 2.6 latents were active outside training for a `k` of 4; at 0.9, 4.2.
"""

Codes = Float[Array, "b n"]
Weights = Float[Array, " b"] | None


class _Code(NamedTuple):
    """A sparse code, what it costs, and the gate of gated codes."""

    z: Codes
    penalty: Float[Array, " b"] | None = None
    gate: Codes | None = None


class Sparse(Bottleneck):
    """Latents that are linear in the features, and mostly zero.

    The pre-activations are a = h W + c; subtracting the decoder's bias from h first, as
    much of the literature does, is the same function with another c. The activations:

    - "l1": z = relu(a), penalty Σ_j z_j (Bricken et al. 2023; Cunningham et al. 2023).
    - "topk": the `k` largest of every example, no penalty (Gao et al. 2024).
    - "batch_topk": the `k` · b largest of the batch while training; otherwise those
      above a threshold, the running average of the smallest one kept (Bussmann et al.
      2024). No penalty.
    - "jump_relu": those above a learned threshold each, the penalty is their number
      (Rajamanoharan et al. 2024, JumpReLU).
    - "gated": a gate decides which are active and another bias and scale by how much;
      penalty Σ_j relu(gate_j) (Rajamanoharan et al. 2024, Gated SAE). Needs the
      auxiliary term of `objectives.sparse_reconstruction`.

    The penalty has no weight here: the objective's `penalty_weight` is its weight.

    The collection "statistics" counts for every latent the examples since it was last
    active. Metrics: `l0`, the number of active latents, and `dead_fraction`, the part
    of the latents that `dead_after` examples did not activate. Info:
    `pre_activations` [b, n], `dead` [n], and `gate` [b, n] of gated codes.

    Attributes:
        latent_dim: n, the number of latents.
        activation: See above.
        k: Active latents per example, of "topk" and "batch_topk" alone.
        bandwidth: ε of "jump_relu" alone: the width of the window around a threshold
            in which it gets gradients, and the thresholds' first value. The default is
            for pre-activations of a size of about 1, as of features of unit variance,
            and batches of hundreds. The paper's 0.001 is for examples of norm 1, whose
            pre-activations are √d times smaller, and batches of 4,096: here a threshold
            would see no value in most batches, and the penalty's weight do nothing.
        dead_after: Examples without activation after which a latent counts as dead.

    Raises:
        ValueError: An argument is outside its range.
    """

    latent_dim: int
    activation: SparseActivation = "topk"
    k: int = 32
    bandwidth: float = 0.3
    dead_after: int = 10_000

    def __post_init__(self) -> None:
        check_count("latent_dim", self.latent_dim)
        check_choice("activation", self.activation, SparseActivation)
        check_count("k", self.k)
        fits = self.k <= self.latent_dim or not self.activation.endswith("topk")
        require(fits, "k", self.k, f"at most latent_dim, {self.latent_dim}")
        settle(self, as_finite, "bandwidth")
        require(self.bandwidth > 0, "bandwidth", self.bandwidth, "above 0")
        check_count("dead_after", self.dead_after)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "b ..."],
        key: jax.Array,
        *,
        num_samples: int = 1,
        train: bool = False,
        weight: Weights = None,
    ) -> Latent:
        """One code per example: z [1, b, latent_dim], whatever `num_samples` is."""
        del key, num_samples
        h = flat(h)
        shape = (h.shape[-1], self.latent_dim)
        init = nn.initializers.lecun_normal()
        linear = h @ self.param("kernel", init, shape, jnp.float32)
        pre = linear + self._parameter("bias")
        learning = train and not self.is_initializing()
        code = self._activate(linear, pre, learning, weight)
        active = code.z > 0
        dead = self._count_inactive(active, learning, weight) >= self.dead_after
        dead_fraction = jnp.broadcast_to(dead.astype(pre.dtype).mean(), pre.shape[:1])
        l0 = active.astype(pre.dtype).sum(axis=-1)
        info = {"pre_activations": pre, "dead": dead}
        if code.gate is not None:
            info["gate"] = code.gate
        return exact(
            code.z,
            penalty=code.penalty,
            metrics={"l0": l0, "dead_fraction": dead_fraction},
            info=info,
        )

    def _parameter(self, name: str, value: float = 0.0) -> Float[Array, "1 n"]:
        start = nn.initializers.constant(value)
        return self.param(name, start, (self.latent_dim,), jnp.float32)[None]

    def _activate(
        self, linear: Codes, pre: Codes, learning: bool, weight: Weights
    ) -> _Code:
        if self.activation == "l1":
            z = nn.relu(pre)
            return _Code(z, penalty=z.sum(axis=-1))
        if self.activation == "topk":
            return _Code(top_k(pre, self.k))
        if self.activation == "batch_topk":
            return _Code(self._batch_top_k(pre, learning, weight))
        if self.activation == "jump_relu":
            log_threshold = self._parameter("log_threshold", np.log(self.bandwidth))
            threshold = jnp.broadcast_to(jnp.exp(log_threshold), pre.shape)
            count = step(pre, threshold, self.bandwidth).sum(axis=-1)
            return _Code(jump_relu(pre, threshold, self.bandwidth), penalty=count)
        scale = jnp.exp(self._parameter("log_scale"))
        magnitude = scale * linear + self._parameter("magnitude_bias")
        gate = nn.relu(pre)
        return _Code(gated(pre, magnitude), penalty=gate.sum(axis=-1), gate=gate)

    def _batch_top_k(self, pre: Codes, learning: bool, weight: Weights) -> Codes:
        average = self._statistic("threshold")
        mass = self._statistic("mass")
        if not learning:
            return jnp.where(pre > average.value, pre, 0.0)
        z = batch_top_k(pre, self.k, weight)
        kept = z > 0 if weight is None else (z > 0) & (weight > 0)[:, None]
        smallest = jax.lax.stop_gradient(jnp.where(kept, z, jnp.inf).min())
        average.value, mass.value = running_mean(
            average.value,
            smallest.astype(jnp.float32),
            mass.value,
            THRESHOLD_MOMENTUM,
            kept.any(),
        )
        return z

    def _count_inactive(
        self, active: Bool[Array, "b n"], learning: bool, weight: Weights
    ) -> Float[Array, " n"]:
        """Examples since every latent was last active, to the end of this batch."""
        count = self._statistic("examples_since_active", (self.latent_dim,))
        if learning:
            new: Array | float = float(active.shape[0])
            if weight is not None:
                active = active & (weight > 0)[:, None]
                new = weight.sum().astype(jnp.float32)
            count.value = jnp.where(active.any(axis=0), 0.0, count.value + new)
        return count.value

    def _statistic(self, name: str, shape: tuple[int, ...] = ()) -> nn.Variable[Array]:
        return self.variable("statistics", name, jnp.zeros, shape, jnp.float32)


def top_k(pre: Codes, k: int) -> Codes:
    """The `k` largest of every example where they are positive, zero elsewhere.

    Gao et al. 2024. Of equal values the first ones count.
    """
    return nn.relu(largest(pre, k))


def largest(pre: Codes, k: int) -> Codes:
    """The `k` largest of every example, zero elsewhere."""
    values, indices = jax.lax.top_k(pre, k)

    def scatter(values: Array, indices: Array) -> Array:
        return jnp.zeros(pre.shape[1:], pre.dtype).at[indices].set(values)

    return jax.vmap(scatter)(values, indices)


def batch_top_k(pre: Codes, k: int, weight: Weights = None) -> Codes:
    """The `k` · b largest of the batch where they are positive, zero elsewhere.

    Bussmann et al. 2024. With weights b is their sum, and a value takes as much of the
    `k` · b as its example weighs: kept are those that the larger ones leave some of.
    """
    values = pre.reshape(1, -1)
    if weight is None:
        return top_k(values, k * pre.shape[0]).reshape(pre.shape)
    order = jnp.argsort(-values[0])
    each = jnp.repeat(weight, pre.shape[1])[order]
    kept = jnp.cumsum(each) - each < k * weight.sum()
    kept = jnp.zeros_like(kept).at[order].set(kept).reshape(pre.shape)
    return jnp.where(kept, nn.relu(pre), 0.0)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def jump_relu(pre: Codes, threshold: Codes, bandwidth: float) -> Codes:
    """The values above the threshold, zero elsewhere.

    The threshold's gradient is -(θ / ε) K((a - θ) / ε), with the rectangle K of width 1
    (Rajamanoharan et al. 2024, JumpReLU).
    """
    del bandwidth
    return jnp.where(pre > threshold, pre, 0.0)


@jump_relu.defjvp
def _jump_relu_jvp(
    bandwidth: float, primals: tuple[Codes, Codes], tangents: tuple[Codes, Codes]
) -> tuple[Codes, Codes]:
    pre, threshold = primals
    through = jnp.where(pre > threshold, tangents[0], 0.0)
    shift = threshold * _window(pre, threshold, bandwidth) * tangents[1]
    return jump_relu(pre, threshold, bandwidth), through - shift


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def step(pre: Codes, threshold: Codes, bandwidth: float) -> Codes:
    """1 above the threshold, 0 elsewhere.

    The threshold's gradient is -(1 / ε) K((a - θ) / ε), the value's zero
    (Rajamanoharan et al. 2024, JumpReLU).
    """
    del bandwidth
    return (pre > threshold).astype(pre.dtype)


@step.defjvp
def _step_jvp(
    bandwidth: float, primals: tuple[Codes, Codes], tangents: tuple[Codes, Codes]
) -> tuple[Codes, Codes]:
    pre, threshold = primals
    shift = _window(pre, threshold, bandwidth) * tangents[1]
    return step(pre, threshold, bandwidth), -shift


def _window(pre: Codes, threshold: Codes, bandwidth: float) -> Codes:
    """K((a - θ) / ε) / ε."""
    inside = jnp.abs(pre - threshold) < bandwidth / 2
    return inside.astype(pre.dtype) / bandwidth


def gated(gate: Codes, magnitude: Codes) -> Codes:
    """relu(magnitude) where the gate is positive, zero elsewhere.

    Rajamanoharan et al. 2024, Gated SAE. The gate gets no gradient.
    """
    return jnp.where(gate > 0, nn.relu(magnitude), 0.0)
