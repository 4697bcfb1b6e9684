"""Normalising flows whose parameters depend on a context, as an encoder's features.

A layer is a linen module: (z [k, b, d], context [b, c]) -> (z', log |det ∂z'/∂z|), the
latter [k, b] in nats. Autoregressive layers have an `inverse` with the same signature.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.checks import check_sizes
from jaxae.values import Module

Mapped = tuple[Float[Array, "k b d"], Float[Array, "k b"]]
"""(z', log |det ∂z'/∂z|)."""

_DAMPING, _LIMIT = 0.3, 3.0  # of masked layers, see `Autoregressive.gated`
_ShiftAndLogScale = Callable[[Array], tuple[Array, Array]]


class Planar(Module):
    """z' = z + u · tanh(wᵀz + b) (Rezende & Mohamed 2015, equation 10).

    It can be inverted where wᵀu ≥ -1, to which u is moved along w as in their appendix
    A.1, but with m(x) = softplus(x + log(e - 1)) - 1. Since m(0) = 0 the layer is the
    identity at u = 0, and u stays bounded as w goes to 0.
    """

    @nn.compact
    def __call__(
        self, z: Float[Array, "k b d"], context: Float[Array, "b c"]
    ) -> Mapped:
        """Maps z forward, for sampling."""
        d = z.shape[-1]
        w, u, b = jnp.split(nn.Dense(2 * d + 1)(context), (d, 2 * d), axis=-1)
        u, along = constrain_planar(w, u)
        activation = jnp.tanh(jnp.einsum("kbd,bd->kb", z, w) + b[:, 0][None])
        slope = 1.0 - jnp.square(activation)
        return z + u[None] * activation[..., None], jnp.log1p(slope * along[None])


def constrain_planar(
    w: Float[Array, "b d"], u: Float[Array, "b d"]
) -> tuple[Float[Array, "b d"], Float[Array, " b"]]:
    """(u moved along w until wᵀu > -1, its wᵀu)."""
    before = jnp.sum(w * u, axis=-1)
    after = jax.nn.softplus(before + math.log(math.e - 1.0)) - 1.0
    # The bound matters at w = 0 alone, where nothing is to be moved.
    square = jnp.maximum(jnp.sum(w * w, axis=-1), 1e-12)
    return u + ((after - before) / square)[:, None] * w, after


class Radial(Module):
    """z' = z + β (z - z₀) / (α + |z - z₀|) (Rezende & Mohamed 2015, equation 14).

    With α = softplus(a) and β = softplus(c) - α ≥ -α it can be inverted (appendix A.2).
    """

    @nn.compact
    def __call__(
        self, z: Float[Array, "k b d"], context: Float[Array, "b c"]
    ) -> Mapped:
        """Maps z forward, for sampling."""
        d = z.shape[-1]
        center, raw = jnp.split(nn.Dense(d + 2)(context), (d,), axis=-1)
        alpha, above = jax.nn.softplus(raw[:, 0]), jax.nn.softplus(raw[:, 1])
        alpha, beta = alpha[None], (above - alpha)[None]
        offset = z - center[None]
        near = 1.0 / (alpha + _norm(offset))
        # Of the Jacobian's eigenvalues d - 1 are 1 + β h and one is 1 + β h + β h' r,
        # where h = 1 / (α + r), so that h + h' r = α h².
        across, along = jnp.log1p(beta * near), jnp.log1p(beta * alpha * near * near)
        return z + (beta * near)[..., None] * offset, (d - 1) * across + along


def _norm(x: Float[Array, "k b d"]) -> Float[Array, "k b"]:
    """|x|, with a gradient of zero instead of NaN at 0."""
    square = jnp.sum(x * x, axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


class Autoregressive(Module):
    """y_j = scale_j · x_j + shift_j, where both are functions of x_<j and the context.

    The functions are one masked network, MADE (Germain et al. 2015, section 4). From x
    to y it takes one pass, from y to x one pass per dimension. An inverse
    autoregressive flow (Kingma et al. 2016) has codes y and samples in one pass; a
    masked autoregressive flow (Papamakarios et al. 2017) has codes x and finds their
    density in one pass.

    Attributes:
        hidden: Units per layer of the masked network; empty for a linear one.
        masked_codes: False for the inverse flow, True for the masked one, whose
            codes are what the network sees.
        gated: shift_j = (1 - scale_j) m_j with scale_j = sigmoid(s_j + 2), so that
            layers keep most of x at first (Kingma et al. 2016, equations 13 and 14);
            otherwise shift_j = 0.3 m_j and log scale_j = 3 tanh(0.1 s_j), which starts
            near the identity as well. Log scales without bounds go on growing where
            there are no codes, and what comes near there overflows.

    Raises:
        ValueError: A size is below 1.
    """

    hidden: tuple[int, ...] = (64,)
    masked_codes: bool = False
    gated: bool = True

    def __post_init__(self) -> None:
        """Checks the sizes."""
        check_sizes("hidden", self.hidden)
        super().__post_init__()

    def __call__(
        self, z: Float[Array, "k b d"], context: Float[Array, "b c"]
    ) -> Mapped:
        """Maps z forward, for sampling."""
        function = self._function(context, z.shape[-1])
        return _solve(function, z) if self.masked_codes else _apply(function, z)

    def inverse(self, z: Float[Array, "k b d"], context: Float[Array, "b c"]) -> Mapped:
        """Maps z back, with the log-determinant of the way back."""
        function = self._function(context, z.shape[-1])
        return _apply(function, z) if self.masked_codes else _solve(function, z)

    @nn.compact
    def _function(self, context: Float[Array, "b c"], d: int) -> _ShiftAndLogScale:
        """x -> (shift, log scale), each [k, b, d], with the weights looked up.

        A unit of degree n sees x_1 … x_n, and units of degree up to n; the outputs of
        dimension j have degree j - 1. Units of degree 0 see the context alone.
        """
        degrees = [np.arange(1, d + 1), *(np.arange(n) % d for n in self.hidden)]
        degrees.append(np.tile(np.arange(d), 2))
        kernels, biases = [], []
        for i, (seen, own) in enumerate(pairwise(degrees)):
            init = nn.initializers.lecun_normal()
            shape = (len(seen), len(own))
            kernel = self.param(f"kernel_{i}", init, shape, jnp.float32)
            mask = jnp.asarray(seen[:, None] <= own[None], kernel.dtype)
            kernels.append(kernel * mask)
            zeros = nn.initializers.zeros
            shape = (1, 1, len(own))
            biases.append(self.param(f"bias_{i}", zeros, shape, jnp.float32))
        # The context enters where x does.
        given = nn.Dense(len(degrees[1]), use_bias=False, name="context")(context)
        biases[0] = biases[0] + given[None]

        def function(x: Array) -> tuple[Array, Array]:
            for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
                x = jnp.einsum("kbi,io->kbo", nn.elu(x) if i else x, kernel) + bias
            shift, raw = jnp.split(x, 2, axis=-1)
            if not self.gated:
                return _DAMPING * shift, _LIMIT * jnp.tanh(_DAMPING / _LIMIT * raw)
            gate = raw + 2.0
            return jax.nn.sigmoid(-gate) * shift, jax.nn.log_sigmoid(gate)

        return function


def _apply(function: _ShiftAndLogScale, x: Float[Array, "k b d"]) -> Mapped:
    """From x to y, in one pass."""
    shift, log_scale = function(x)
    return jnp.exp(log_scale) * x + shift, log_scale.sum(axis=-1)


def _solve(function: _ShiftAndLogScale, y: Float[Array, "k b d"]) -> Mapped:
    """From y to x: one dimension a pass, in their order."""
    dimension = jnp.arange(y.shape[-1])

    def find(x: Array, j: Array) -> tuple[Array, None]:
        shift, log_scale = function(x)
        found = (y - shift) * jnp.exp(-log_scale)
        # Those after j stay 0: what they would be now is wrong, and could be infinite.
        return jnp.where((dimension == j)[None, None], found, x), None

    x, _ = jax.lax.scan(find, jnp.zeros_like(y), dimension)
    _, log_scale = function(x)
    return x, -log_scale.sum(axis=-1)
