"""A small classifier, whose features are the space in which images are compared."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float
from numpyro.distributions import CategoricalLogits

from jaxae import likelihoods, objectives, views
from jaxae.likelihoods import Likelihood
from jaxae.models.family import Family
from jaxae.networks import ConvEncoder
from jaxae.networks.pairs import Shape
from jaxae.recipe import Recipe
from jaxae.recipes import compose_recipe
from jaxae.types import Batch, Latent, Trace
from jaxae.views import View


class Classifier(Family):
    """x -> features -> p(label | x); the features are the code.

    So `jaxae.fit` trains it by -log p(label | x), and `jaxae.encode` gives the
    features.

    Attributes:
        shape: Of one image.
        num_labels: How many labels there are.
        view: The images, and the labels, which the encoder is not shown.
        num_features: Size of the last layer but one.
        likelihood: Of use alone for what it says of x: values in [0, 1].
    """

    shape: Shape
    num_labels: int
    view: View
    num_features: int = 64
    likelihood: Likelihood = likelihoods.BinaryCrossEntropy()

    def setup(self) -> None:
        """Makes the layers."""
        self.network = ConvEncoder((16, 32))
        self.features = nn.Dense(self.num_features)
        self.logits = nn.Dense(self.num_labels)

    @property
    def generative(self) -> bool:
        """There is no posterior."""
        return False

    def __call__(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> Trace:
        """Explains `batch["label"]`."""
        latents = self.encode(batch, key, train=train)
        likelihood = CategoricalLogits(self.logits(latents[0].z))
        return Trace(batch["inputs"], batch["label"], None, likelihood, latents)

    def encode(
        self, batch: Batch, key: jax.Array, *, num_samples: int = 1, train: bool = False
    ) -> tuple[Latent, ...]:
        """The features, [1, b, num_features]."""
        h: Float[Array, "b h w c"] = self.network(batch["inputs"], train=train)
        features = nn.relu(self.features(h.reshape(h.shape[0], -1)))
        return (Latent(features[None], features),)


def classifier(shape: Shape, num_labels: int) -> Recipe:
    """The cross-entropy of the labels, for images in [0, 1]."""
    # Declared, so that whoever needs a batch's form, as checkpoints do, has the labels.
    view = views.Condition("label", num_labels, to=("decoder",))
    module = Classifier(shape=shape, num_labels=num_labels, view=view)
    return compose_recipe(module, objectives.Reconstruction())
