"""The masked auto-encoder."""

from __future__ import annotations  # help() shows names, not types

from jaxae import bottlenecks, objectives, views
from jaxae.checks import as_finite, check_count
from jaxae.corruptions import Patches, check_grid
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.networks.pairs import Shape
from jaxae.networks.vit import ViTDecoder, ViTEncoder
from jaxae.recipe import Recipe
from jaxae.recipes.base import check_shape, compose_model, compose_recipe


def masked_autoencoder(
    shape: Shape,
    *,
    patch: int = 4,
    rate: float = 0.75,
    width: int = 64,
    depth: int = 2,
    likelihood: str | Likelihood = "gaussian",
) -> Recipe:
    """Encodes the visible patches and predicts the hidden ones (He et al. 2022).

    https://arxiv.org/abs/2111.06377. The loss counts the hidden patches alone. The
    decoder has half the width and half the depth, rounded to what is possible.

    Args:
        shape: The shape of one image, with sides that are multiples of `patch`.
        patch: Side of a patch, in pixels.
        rate: Share of the patches that are hidden: round(`rate` · count) of them.
        width: Entries of a token of the encoder.
        depth: Transformer blocks of the encoder.
        likelihood: p(x | z), by name or as a module; "gaussian" is the squared error.

    Example:
        >>> import jaxae
        >>> recipe = jaxae.recipes.masked_autoencoder((28, 28, 1), patch=7)
    """
    check_shape(shape)
    check_count("patch", patch)
    check_grid("shape", shape, patch)
    count = (shape[0] // patch) * (shape[1] // patch)
    hidden = round(as_finite("rate", rate) * count)
    expected = f"a share that hides some but not all of {count} patches"
    require(0 < hidden < count, "rate", rate, expected)

    def decoder(outputs: Shape) -> ViTDecoder:
        sizes = outputs[0], outputs[1], outputs[2]
        return ViTDecoder(sizes, patch, max(4, width // 8 * 4), max(1, depth // 2))

    networks = ViTEncoder(patch, count - hidden, width, depth), decoder
    bottleneck, view = bottlenecks.Deterministic(None), views.Visible()
    module = compose_model(shape, networks, bottleneck, likelihood, view=view)
    objective, damage = objectives.Reconstruction("hole"), Patches(patch, rate)
    return compose_recipe(module, objective, damage, title="masked auto-encoder")
