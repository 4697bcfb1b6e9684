"""Samplers compared by Fréchet distance, on small images."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn

import jaxae
from jaxae import networks
from jaxae.errors import ArgumentError
from jaxae.samplers import gaussian_mixture
from train import evaluate
from train.__main__ import parse
from train.data import Dataset, Split
from train.generation import features
from train.generation.classifier import Classifier, classifier
from train.generation.features import feature_space
from train.run import Run
from train.training import train

COUNT = 80


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A VAE of vertical and horizontal bars, which are the two labels."""
    folder = tmp_path_factory.mktemp("generation")
    label = np.arange(COUNT) % 2
    x = np.zeros((COUNT, 8, 8), np.uint8)
    for i, image in enumerate(x):
        (image.T if label[i] else image)[i // 2 % 8] = 255
    np.savez(folder / "bars.npz", images=x, labels=label)
    small = ["--epochs", "2", "--batch-size", "20", "--nll-samples", "0"]
    sizes = ["--model.latent-dim", "3", "--model.network", "mlp:9"]
    data = ["--data", str(folder / "bars.npz"), "--out", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXAE_CACHE", str(folder / "cache"))
        name, config = parse(["vae", *data, *small, *sizes])
        yield train(folder / "run", name, config)


@pytest.fixture
def bare(tmp_path):
    """A run that is not trained, where that is of no account."""
    name, config = parse(["vae"])
    return Run(tmp_path, name, config, (8, 8, 1), COUNT)


class Small(Classifier):
    """Of one layer before its features."""

    def setup(self):
        self.network = networks.ConvEncoder((4,))
        self.features = nn.Dense(self.num_features)
        self.logits = nn.Dense(self.num_labels)


def small(shape, num_labels):
    recipe = classifier(shape, num_labels)
    return recipe.replace(module=Small(shape, num_labels, recipe.module.view))


@pytest.mark.slow
def test_every_sampler_has_a_distance_and_a_picture(run):
    evaluate.evaluate(evaluate.Arguments(run.path, samplers=True))
    result = json.loads((run.path / "result.json").read_text())
    names = {"prior", "gaussian_mixture", "two_stage", "flow"}
    compared = names | {"training_images", "reconstructions"}
    distances = {name: result[f"frechet_{name}"] for name in compared}
    assert all(0 <= value < np.inf for value in distances.values())
    assert distances["training_images"] < distances["prior"]
    assert "classifier" in result["frechet_space"]
    assert (run.path / "features").is_dir()
    for name in names - {"prior"}:
        assert (run.path / f"samples_{name}.png").exists()
    assert "Fréchet distance, two stage" in (run.path / "report.html").read_text()


def dataset(labels=True):
    """In the part for training there are fewer labels than in the others."""
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    parts = [np.arange(20, dtype=np.int32) % count for count in (2, 3, 3)]
    return Dataset("noise", *[Split(x, own if labels else None) for own in parts])


def test_the_classifier_is_trained_once_and_kept(bare, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "EPOCHS", 1)
    monkeypatch.setattr(features, "classifier", small)
    data = dataset()
    images = data.test.images.astype(np.float32) / 255
    space = feature_space(bare, data, None)
    first = space.function(images)
    changed = max(p.stat().st_mtime_ns for p in tmp_path.rglob("*"))
    again = feature_space(bare, data, None)
    np.testing.assert_array_equal(first, again.function(images))
    assert again.name == space.name
    assert max(p.stat().st_mtime_ns for p in tmp_path.rglob("*")) == changed
    assert first.shape == (20, 64) and np.asarray(first).std() > 0


@pytest.mark.slow
def test_features_of_ones_own(run, tmp_path, monkeypatch):
    code = "def mean(images):\n    return images.reshape(len(images), -1)[:, :3]\n"
    (tmp_path / "own_features.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    space = feature_space(run, dataset(labels=False), "own_features:mean")
    assert space.name == "own_features:mean"
    assert space.function(np.ones((2, 8, 8, 1))).shape == (2, 3)


@pytest.mark.parametrize("own", ["nowhere:mean", "numpy:nothing", "numpy", ""])
def test_a_function_that_is_not_there_is_named(bare, own):
    with pytest.raises(ArgumentError, match="--features must be package"):
        feature_space(bare, dataset(), own)


def test_without_labels_there_is_no_classifier(bare):
    with pytest.raises(ArgumentError, match=r"^--samplers .* give --features$"):
        feature_space(bare, dataset(labels=False), None)


def test_an_auto_encoder_without_a_prior_draws_from_a_mixture():
    x = np.random.default_rng(0).uniform(size=(30, 5)).astype(np.float32)
    recipe = jaxae.recipes.autoencoder(
        (5,), 2, network=jaxae.networks.FullyConnected((8,))
    )
    model = jaxae.fit(recipe, x, key=jax.random.key(0), epochs=1, progress=False).model
    sampler = gaussian_mixture(jaxae.encode(model, x), jax.random.key(1), components=2)
    new = jaxae.decode(model, sampler(jax.random.key(2), 7))
    assert new.shape == (7, 5) and np.isfinite(new).all()
