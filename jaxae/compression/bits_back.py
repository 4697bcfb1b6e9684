"""Bits back with asymmetric numeral systems, image by image.

BB-ANS (Townsend, Bird & Barber 2019, https://arxiv.org/abs/1901.04866, section 2.2): a
code z is popped from the stack by q(z | x), the image is pushed by p(x | z) and the
code by p(z). That adds -log p(x | z) - log p(z) + log q(z | x), of which the mean is
-ELBO. Who has the stack pops code and image, and pushes the code by q(z | x), which
leaves the stack as it was before.

With several latents, top first, z is popped and pushed one latent after the other, each
by its densities given those above. Those whose posteriors go from the bottom up are for
`bit_swap.py`.
"""

import numpy as np
from jaxtyping import Array, Float, Int

from jaxae.compression.densities import Codes, Densities, Gaussian, moments, program
from jaxae.compression.stack import BUCKETS, CENTRES, Stack
from jaxae.models.family import Family, call
from jaxae.types import Batch, Variables

Levels = Int[np.ndarray, " d"]


class BitsBack(Densities):
    """Images through Gaussian codes, top first."""

    def posterior(self, levels: Levels, above: Codes) -> Gaussian:
        """q(z | x, z above) of the next latent, of an image's levels pixel by pixel."""
        return self._gaussian(_posterior, above, self._shown(levels))

    def push(self, stack: Stack, levels: Levels, number: int) -> None:
        """Puts an image on the stack, the `number`th from the top of all."""
        codes, found, count = (), [], len(self.latents)
        for _ in range(count):
            prior, posterior = self.prior(codes), self.posterior(levels, codes)
            found.append(stack.pop_gaussian(*relative(posterior, prior)))
            codes = (*codes, code_of(found[-1], prior))
        stack.push_symbols(levels, self.table(codes))
        for i in reversed(range(count)):
            stack.push_prior(found[i], number * count + i)

    def pop(self, stack: Stack, number: int) -> Levels:
        """Takes the last image off it."""
        codes, found, priors, count = (), [], [], len(self.latents)
        for i in range(count):
            priors.append(self.prior(codes))
            found.append(stack.pop_prior(priors[i].mean.size, number * count + i))
            codes = (*codes, code_of(found[i], priors[i]))
        levels = stack.pop_symbols(self.table(codes))
        for i in reversed(range(count)):
            posterior = self.posterior(levels, codes[:i])
            stack.push_gaussian(found[i], *relative(posterior, priors[i]))
        return levels

    def probe(self, levels: Levels) -> list[np.ndarray]:
        """All that the model says of an image, and of codes that everyone has."""
        codes, found = (), []
        for _ in self.latents:
            prior, posterior = self.prior(codes), self.posterior(levels, codes)
            buckets = 37 * np.arange(prior.mean.size) % BUCKETS
            codes = (*codes, code_of(buckets, prior))
            found += [*prior, *posterior]
        return [*found, self.table(codes)]


def code_of(
    buckets: Int[np.ndarray, " n"], grid: Gaussian
) -> Float[np.ndarray, "1 1 ..."]:
    """The code that buckets of the same mass under `grid` stand for."""
    centres = CENTRES[buckets].reshape(grid.mean.shape)
    with np.errstate(all="ignore"):  # what is not finite is said where it is used
        return (grid.mean + grid.std * centres)[None, None]


def relative(
    density: Gaussian, grid: Gaussian
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Mean and standard deviation in units in which the grid is N(0, 1)."""
    q, p = (
        [np.asarray(each, np.float64).ravel() for each in g] for g in (density, grid)
    )
    with np.errstate(all="ignore"):
        return (q[0] - p[0]) / p[1], q[1] / p[1]


@program
def _posterior(
    module: Family, variables: Variables, above: Codes, batch: Batch
) -> tuple[Array, Array]:
    found = call(module, variables, above, batch, method="posterior_below")
    return moments(found, "posterior")
