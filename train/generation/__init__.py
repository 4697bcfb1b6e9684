"""New images from every sampler that suits a model, and how far they are from real."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

import jaxae
from jaxae import samplers
from jaxae.errors import ensure
from jaxae.evaluation import frechet_distance
from jaxae.inputs import on_device
from jaxae.preparation import unit_interval
from train.data import Dataset, LazySplit, Split
from train.examples import seen, shown_beside
from train.generation.features import FeatureSpace, feature_space
from train.run import Run

# A mixture with full covariances and a masked flow grow with the square of it.
MAX_CODE_SIZE = 256
# Of images that are streamed, as many of the first as are kept in memory for this.
MAX_STREAMED = 50_000


class Comparison(NamedTuple):
    """What `compare_samplers` found.

    Attributes:
        space: The name of the feature space.
        distances: Fréchet distances to the test images by name.
        images: New images by the name of their sampler, [n, h, w, c].
    """

    space: str
    distances: dict[str, float]
    images: dict[str, np.ndarray]

    def numbers(self) -> dict[str, Any]:
        """As the results name them."""
        named = {f"frechet_{name}": value for name, value in self.distances.items()}
        return {**named, "frechet_space": self.space}


def compare_samplers(
    run: Run, model: jaxae.Model, data: Dataset, features: str | None, key: jax.Array
) -> Comparison:
    """Fits every sampler to the codes of the training images, and draws from it.

    As many images are drawn as there are test images, with which they are compared; so
    are the reconstructions of the test images, and as many training images, the best
    that could be hoped for. What is compared are the means of p(x | z).

    Args:
        run: Where a classifier is kept, see `feature_space`.
        model: The trained model.
        data: What it was trained on.
        features: "package.module:function" of the user's own feature space.
        key: A typed key.

    Raises:
        ArgumentError: Something is missing in the data, or see `feature_space`.
    """
    key_fit, key_draw, key_prepare = jax.random.split(key, 3)
    train = data.train
    if isinstance(train, LazySplit):
        train = train.head(MAX_STREAMED)
        data = data._replace(train=train)
    gaps = train.missing is not None or data.test.missing is not None
    ensure(not gaps, "--samplers is for data that are known whole, some are missing")
    space = feature_space(run, data, features)
    test, count = data.test, len(data.test.images)
    beside = shown_beside(model.recipe, test)
    shown = {
        "training_images": _unit(data.train.images[:count]),
        "reconstructions": jaxae.reconstruct(model, **_shown(model, test, key_prepare)),
    }
    new = {}
    for i, (name, make) in enumerate(_samplers(model, train, beside, key_fit)):
        print(f"sampler: {name}", flush=True)
        codes = make()(jax.random.fold_in(key_draw, i), count)
        new[name] = np.asarray(jaxae.decode(model, codes, **beside))
    real = _features(space, _unit(test.images))
    distances = {
        name: frechet_distance(_features(space, images), real)
        for name, images in {**shown, **new}.items()
    }
    return Comparison(space.name, distances, new)


def _samplers(
    model: jaxae.Model, train: Split, beside: Mapping[str, Any], key: jax.Array
) -> Iterator[tuple[str, Callable[[], samplers.Sampler]]]:
    """Those that suit the model, by name; nothing is fitted before the call."""
    module = model.module
    if module.has_prior:
        yield "prior", lambda: samplers.prior(model, **beside)
    key_codes, key_fit = jax.random.split(key)
    key_prepare, key_code = jax.random.split(key_codes)
    draw = key_code if module.generative else None
    codes = jaxae.encode(model, **_shown(model, train, key_prepare), key=draw)
    if module.num_codes:
        yield (
            "autoregressive",
            lambda: samplers.autoregressive(codes, key_fit, num_codes=module.num_codes),
        )
        return
    size = sum(leaf[0].size for leaf in jax.tree.leaves(codes))
    if size > MAX_CODE_SIZE:
        print(f"codes of {size:,} numbers: too many to fit a sampler to", flush=True)
        return
    yield "gaussian_mixture", lambda: samplers.gaussian_mixture(codes, key_fit)
    yield "two_stage", lambda: samplers.two_stage(codes, key_fit)
    yield "flow", lambda: samplers.flow(codes, key_fit)


def _shown(model: jaxae.Model, split: Split, key: jax.Array) -> dict[str, Any]:
    """What the encoder sees, with images as the model is to explain them."""
    shown = seen(model.recipe, split)
    if split.inputs is None:
        shown["x"] = samplers.prepared(model, split.images, key)
    return shown


def _features(space: FeatureSpace, images: Any) -> np.ndarray:
    # The mean of a normal distribution may lie a little outside.
    return np.asarray(space.function(np.clip(np.asarray(images), 0.0, 1.0)))


def _unit(images: np.ndarray) -> Array:
    return unit_interval(jax.random.key(0), on_device(images))
