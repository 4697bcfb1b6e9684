"""The masked auto-encoder."""

from jaxae import bottlenecks, objectives
from jaxae.checks import check_count
from jaxae.errors import require
from jaxae.likelihoods import Likelihood
from jaxae.networks.vit import VISIBLE, ViTDecoder, ViTEncoder
from jaxae.patches import check_grid, patches
from jaxae.recipes.base import Shape, check_shape, compose_model, compose_recipe
from jaxae.types import Recipe


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

    round(`rate` · count) of the patches are hidden, and the loss counts those alone.
    The decoder has half the width and half the depth, rounded to what is possible.
    """
    check_shape(shape)
    check_count("patch", patch)
    check_grid("shape", shape, patch)
    count = (shape[0] // patch) * (shape[1] // patch)
    hidden = round(rate * count)
    expected = f"a share that hides some but not all of {count} patches"
    require(0 < hidden < count, "rate", rate, expected)

    def decoder(outputs: Shape) -> ViTDecoder:
        sizes = outputs[0], outputs[1], outputs[2]
        return ViTDecoder(sizes, patch, max(4, width // 8 * 4), max(1, depth // 2))

    encoder = ViTEncoder(patch, count - hidden, width, depth)
    bottleneck = bottlenecks.Deterministic(None)
    networks = (encoder, decoder)
    model = compose_model(shape, networks, bottleneck, likelihood, view=VISIBLE)
    objective = objectives.reconstruction("hole")
    return compose_recipe(model, objective, patches(patch, rate))
