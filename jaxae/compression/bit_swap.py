"""Bit-Swap: bits back through codes of codes, whose posteriors go from the bottom up.

Kingma, Abbeel & Ho 2019, https://arxiv.org/abs/1905.06845, algorithm 1: z_0 is popped
by q(z_0 | x) and x pushed by p(x | z_0), then z_1 popped by q(z_1 | z_0) and z_0 pushed
by p(z_0 | z_1), and so on; the last code is pushed by its prior. An image adds as much
as if all its codes had been popped at first, but fewer bits have to be there before.

A code has to be on a grid before it is known what the one above will say of it. So the
grid of all but the top one is that of a fixed Gaussian for each value, and q(z_i |
z_{i-1}) and p(z_i | z_{i+1}) both give probabilities of its buckets.
"""

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae.compression.bits_back import code_of, relative
from jaxae.compression.densities import Densities, Gaussian, moments, program
from jaxae.compression.stack import BUCKETS, Stack
from jaxae.models.family import Family, call
from jaxae.models.stacked import Stacked
from jaxae.recipe import Model
from jaxae.types import Variables

Levels = Int[np.ndarray, " d"]
Buckets = Int[np.ndarray, " n"]
Moments = tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]

WIDER = 2.0
"""How much wider than p(z_i) a grid is: codes of images that are less expected fit too.

The outermost buckets begin at 7 standard deviations of p(z_i); those in the middle are
1/800 of one wide, far less than what a posterior leaves open.
"""

SAMPLES = 2**10
"""Draws of p(z_i) that a grid is made by."""


class BitSwap(Densities):
    """Images through the codes z_0, z_1, ... of a stack, the one next to x first."""

    def __init__(self, model: Model) -> None:
        """Checks that images can be compressed with the model, and makes the grids.

        Raises:
            ValueError: A part of it does not allow that.
        """
        super().__init__(model)
        below = _samples(self._module, self._variables)[:0:-1]
        self._grids = [*map(_grid_of, below), self.prior(())]

    def push(self, stack: Stack, levels: Levels, number: int) -> None:
        """Puts an image on the stack, the `number`th from the top of all."""
        below = levels
        for i in range(len(self._grids)):
            above = stack.pop_gaussian(*self._posterior(i, below))
            if i == 0:
                stack.push_symbols(below, self._pixels(above))
            else:
                stack.push_gaussian(below, *self._likelihood(i, above))
            below = above
        stack.push_prior(below, number)

    def pop(self, stack: Stack, number: int) -> Levels:
        """Takes the last image off it."""
        above = stack.pop_prior(self._grids[-1].mean.size, number)
        for i in reversed(range(len(self._grids))):
            if i == 0:
                below = stack.pop_symbols(self._pixels(above))
            else:
                below = stack.pop_gaussian(*self._likelihood(i, above))
            stack.push_gaussian(above, *self._posterior(i, below))
            above = below
        return above

    def probe(self, levels: Levels) -> list[np.ndarray]:
        """All that the model says of an image, and of codes that everyone has."""
        below, found = levels, []
        for i, grid in enumerate(self._grids):
            above = 37 * np.arange(grid.mean.size) % BUCKETS
            explained = self._likelihood(i, above) if i else [self._pixels(above)]
            found += [*grid, *self._posterior(i, below), *explained]
            below = above
        return found

    def _posterior(self, i: int, below: Levels | Buckets) -> Moments:
        """q(z_i | z_{i-1}) or, for 0, q(z_0 | x), in units of its grid."""
        shown = self._code(i - 1, below)[0] if i else self._shown(below)["inputs"]
        return relative(self._gaussian(_posterior, i, shown), self._grids[i])

    def _likelihood(self, i: int, above: Buckets) -> Moments:
        """p(z_{i-1} | z_i), in units of the grid of z_{i-1}."""
        found = self._gaussian(_likelihood, i, self._code(i, above))
        return relative(found, self._grids[i - 1])

    def _pixels(self, buckets: Buckets) -> Float[np.ndarray, "d levels"]:
        """p(x | z_0)."""
        return self.table((self._code(0, buckets),))

    def _code(self, i: int, buckets: Buckets) -> Float[np.ndarray, "1 1 ..."]:
        return code_of(buckets, self._grids[i])


def _layers(module: Family, variables: Variables) -> list[Family]:
    """The auto-encoders of a stack with their variables, the one of x first."""
    layers, inner = [], module.bind(variables)
    while isinstance(inner, Stacked):
        layers.append(inner.lower)
        inner = inner.upper
    return [*layers, inner]


layer_program = partial(program, static_argnums=(0, 2))


@layer_program
def _posterior(
    module: Family, variables: Variables, i: int, below: Float[Array, "1 ..."]
) -> tuple[Array, Array]:
    layer = _layers(module, variables)[i]
    return moments(layer.posterior_below((), {"inputs": below}), "posterior")


@layer_program
def _likelihood(
    module: Family, variables: Variables, i: int, code: Float[Array, "1 1 ..."]
) -> tuple[Array, Array]:
    layer = _layers(module, variables)[i]
    return moments(layer.decode((code,), {}), "upper.likelihood")


@program
def _samples(
    module: Family, variables: Variables
) -> tuple[Float[Array, "samples ..."], ...]:
    """Draws of every code, top first; one at a time, as all programs here."""

    def draw(key: jax.Array) -> tuple[Float[Array, "..."], ...]:
        codes = call(module, variables, key, 1, {}, method="sample_codes")
        return tuple(z[0, 0] for z in codes)

    key = jax.random.key(0, impl="threefry2x32")
    return jax.lax.map(draw, jax.random.split(key, SAMPLES))


def _grid_of(samples: Float[Array, "samples ..."]) -> Gaussian:
    """By NumPy: how XLA adds many numbers depends on the threads that there are."""
    values = np.asarray(samples, np.float64)
    with np.errstate(all="ignore"):  # what is not finite is said where it is used
        mean, std = values.mean(axis=0), WIDER * values.std(axis=0)
        return Gaussian(mean.astype(np.float32), std.astype(np.float32))
