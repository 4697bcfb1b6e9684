"""How recipes are put together.

A recipe needs the shape of one example, such as (28, 28, 1), and picks the networks by
`network`: "mlp" or "conv" with their defaults, a pair of `jaxae.networks`, or two
modules of your own, the encoder (x -> features) and a function from the output's shape
to the decoder.
"""

from __future__ import annotations  # help() shows names, not types

from flax import linen as nn

from jaxae import likelihoods
from jaxae.bottlenecks import Bottleneck
from jaxae.checks import check_sizes
from jaxae.corruptions import identity
from jaxae.errors import ArgumentError, require
from jaxae.likelihoods import Likelihood
from jaxae.models.autoencoder import AutoEncoder
from jaxae.models.family import Family
from jaxae.networks.mlp import MLP
from jaxae.networks.pairs import Networks, Shape, as_pair
from jaxae.objectives.base import Objective
from jaxae.recipe import Recipe
from jaxae.types import Corrupt, Hook
from jaxae.views import Chain, Condition, Plain, View


def compose_model(
    shape: Shape,
    network: Networks,
    bottleneck: Bottleneck,
    likelihood: str | Likelihood | None,
    *,
    prior: nn.Module | None = None,
    view: View = Plain(),  # noqa: B008, a value
    input_shape: Shape | None = None,
) -> AutoEncoder:
    """An `AutoEncoder` from names or modules.

    Raises:
        ValueError: A name is unknown, or a shape is not made of positive sizes.

    Example:
        >>> from jaxae import bottlenecks, recipes
        >>> module = recipes.compose_model((6,), "mlp", bottlenecks.FSQ(), "gaussian")
        >>> module.bottleneck, module.likelihood
        (bottlenecks.FSQ(), likelihoods.Gaussian())
    """
    check_shape(shape)
    if input_shape is not None:
        check_shape(input_shape, "input_shape")
    pair = as_pair(network)
    likelihood = as_likelihood(likelihood, shape)
    outputs = (*shape[:-1], shape[-1] * likelihood.params_per_value)
    return AutoEncoder(
        shape=shape,
        encoder=pair.encoder(),
        bottleneck=bottleneck,
        decoder=pair.decoder(outputs),
        likelihood=likelihood,
        prior=prior,
        view=view,
        input_shape=None if input_shape == shape else input_shape,
    )


def as_view(
    conditions: tuple[Condition, ...],
    network: Networks | None = None,
    first: tuple[View, ...] = (),
) -> View:
    """What shows all of these conditions; as vectors where an encoder flattens images.

    Args:
        conditions: Any number.
        network: As for `compose_model`.
        first: Views that show something before them.

    Raises:
        ValueError: They are no conditions, or two have the same name.
    """
    right = isinstance(conditions, tuple)
    right = right and all(isinstance(each, Condition) for each in conditions)
    require(right, "conditions", conditions, "a tuple of jaxae.views.Condition")
    if network is not None and isinstance(as_pair(network).encoder(), MLP):
        conditions = tuple(each.replace(flatten=True) for each in conditions)
    views = (*first, *conditions)
    if len(views) < 2:
        return views[0] if views else Plain()
    return Chain(views)


def as_likelihood(likelihood: str | Likelihood | None, shape: Shape) -> Likelihood:
    """A likelihood by its name, as it is, or the usual one for examples of this shape.

    Raises:
        ValueError: The name is unknown, or it is no likelihood.
    """
    if likelihood is None:
        # Bits drawn of three levels a pixel leave little to see: on 32x32 photographs a
        # VAE gave back 12.4 dB, and 22.5 dB with a Gaussian of the best width.
        in_colour = len(shape) == 3 and shape[-1] == 3
        likelihood = "gaussian_optimal" if in_colour else "bernoulli"
    if isinstance(likelihood, str):
        return likelihoods.by_name(likelihood)
    if isinstance(likelihood, Likelihood):
        return likelihood
    raise ArgumentError(
        "likelihood must be a name or one of jaxae.likelihoods, as "
        f"likelihoods.Gaussian(), got {likelihood!r:.200}"
    )


def check_shape(shape: Shape, name: str = "shape") -> None:
    """Raises ValueError unless a shape is made of positive sizes."""
    check_sizes(name, shape)
    require(len(shape) > 0, name, shape, "the sizes of one example")


def compose_recipe(
    module: Family,
    objective: Objective,
    corruption: Corrupt | None = None,
    *,
    num_samples: int = 1,
    hooks: tuple[Hook, ...] = (),
    monitor: str = "loss",
    title: str = "auto-encoder",
) -> Recipe:
    """A recipe whose data are prepared as its likelihood needs them.

    Without a corruption the encoder sees them whole.

    Example:
        >>> from jaxae import bottlenecks, objectives, recipes
        >>> code = bottlenecks.Gaussian(latent_dim=2)
        >>> module = recipes.compose_model((6,), "mlp", code, "bernoulli")
        >>> recipe = recipes.compose_recipe(module, objectives.ELBO())
        >>> recipe.prepare.__name__
        'binarize'
    """
    return Recipe(
        module=module,
        objective=objective,
        prepare=module.likelihood.prepare,
        corruption=identity if corruption is None else corruption,
        num_samples=num_samples,
        hooks=hooks,
        monitor=monitor,
        title=title,
    )
