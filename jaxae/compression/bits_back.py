"""Bits back with asymmetric numeral systems, image by image.

BB-ANS (Townsend, Bird & Barber 2019, https://arxiv.org/abs/1901.04866, section 2.2): a
code z is popped from the stack by q(z | x), the image is pushed by p(x | z) and the
code by p(z). That adds -log p(x | z) - log p(z) + log q(z | x), of which the mean is
-ELBO. Who has the stack pops code and image, and pushes the code by q(z | x), which
leaves the stack as it was before.

With several latents, top first, z is popped and pushed one latent after the other, each
by its densities given those above. (Bit-Swap, Kingma et al. 2019, would need fewer bits
to begin with, but posteriors that go from the bottom up.)
"""

import numpy as np
from jaxtyping import Float, Int

from jaxae.compression.densities import Densities, Gaussian
from jaxae.compression.stack import CENTRES, Stack

Levels = Int[np.ndarray, " d"]


def push(stack: Stack, model: Densities, levels: Levels, number: int) -> None:
    """Puts an image on the stack, the `number`th from the top of all."""
    codes, found = (), []
    for _ in range(model.latents):
        prior, posterior = model.prior(codes), model.posterior(levels, codes)
        found.append(stack.pop_posterior(*_relative(posterior, prior)))
        codes = (*codes, code_of(found[-1], prior))
    stack.push_levels(levels, model.table(codes))
    for i in reversed(range(model.latents)):
        stack.push_prior(found[i], number * model.latents + i)


def pop(stack: Stack, model: Densities, number: int) -> Levels:
    """Takes the last image off it."""
    codes, found, priors = (), [], []
    for i in range(model.latents):
        priors.append(model.prior(codes))
        size = priors[i].mean.size
        found.append(stack.pop_prior(size, number * model.latents + i))
        codes = (*codes, code_of(found[i], priors[i]))
    levels = stack.pop_levels(model.table(codes))
    for i in reversed(range(model.latents)):
        posterior = model.posterior(levels, codes[:i])
        stack.push_posterior(found[i], *_relative(posterior, priors[i]))
    return levels


def code_of(
    buckets: Int[np.ndarray, " n"], prior: Gaussian
) -> Float[np.ndarray, "1 1 ..."]:
    """The code that buckets of the prior stand for."""
    centres = CENTRES[buckets].reshape(prior.mean.shape)
    return (prior.mean + prior.std * centres)[None, None]


def _relative(
    posterior: Gaussian, prior: Gaussian
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Mean and standard deviation in units in which the prior is N(0, 1)."""
    q, p = (
        [np.asarray(each, np.float64).ravel() for each in g] for g in (posterior, prior)
    )
    return (q[0] - p[0]) / p[1], q[1] / p[1]
