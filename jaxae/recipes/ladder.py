"""The hierarchical variational auto-encoder."""

from __future__ import annotations  # help() shows names, not types

from jaxae import objectives
from jaxae.likelihoods import Likelihood
from jaxae.models.ladder import LadderVAE
from jaxae.networks.pairs import Shape
from jaxae.objectives.base import Weight
from jaxae.recipe import Recipe
from jaxae.recipes.base import as_likelihood, as_view, check_shape, compose_recipe
from jaxae.schedules import Linear
from jaxae.views import Condition

WARM_UP = Linear(0.0, 1.0, steps=1000)
"""Without a warm-up the layers at the top fall out of use."""


def ladder_vae(
    shape: Shape,
    latent_channels: int = 4,
    *,
    channels: tuple[int, ...] = (32, 32, 32),
    stem: int = 16,
    conditions: tuple[Condition, ...] = (),
    likelihood: str | Likelihood | None = None,
    beta: Weight = WARM_UP,
    free_bits: Weight = 0.0,
    num_samples: int = 1,
) -> Recipe:
    """The ladder VAE, with a latent code per entry of `channels`; see `LadderVAE`.

    Sønderby et al. 2016, https://arxiv.org/abs/1602.02282, with the top-down inference
    of Kingma et al. 2016, https://arxiv.org/abs/1606.04934.

    Args:
        shape: The shape of one example.
        latent_channels: Channels of every latent.
        channels: Channels of the stages, each of which halves the image.
        stem: Channels of a first halving without a latent; 0 for none.
        conditions: Further arrays of the data, and who is shown them: decoder and prior
            the same, as by `Condition("age", to=views.PARTS)`.
        likelihood: p(x | z), by name or as a module. Unless given, "bernoulli", under
            which the data are binarised afresh at every step; of pictures in colour
            "gaussian_optimal".
        beta: Weight of the rates; or a schedule: a warm-up keeps the upper layers in
            use.
        free_bits: Nats per latent dimension that the rates charge at least; or a
            schedule.
        num_samples: Samples of the code per example and step.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.ladder_vae((28, 28, 1), channels=(16, 16))
    """
    check_shape(shape)
    module = LadderVAE(
        shape=shape,
        likelihood=as_likelihood(likelihood, shape),
        channels=channels,
        latent_channels=latent_channels,
        stem=stem,
        view=as_view(conditions),
    )
    objective = objectives.ELBO(beta, free_bits=free_bits)
    title = "ladder variational auto-encoder"
    return compose_recipe(module, objective, num_samples=num_samples, title=title)
