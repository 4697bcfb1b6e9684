"""Where images are compared: the features of a classifier, or a user's function."""

import shutil
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import jaxae
from jaxae.errors import ensure, require
from jaxae.training import trained_model
from jaxae.training.checkpoint import restore_state, save_epochs
from train.data import Dataset, LazySplit, Split
from train.generation.classifier import classifier
from train.run import Run

EPOCHS, BATCH, LEARNING_RATE = 3, 100, 1e-3
MONITOR = "validation_loss"


class FeatureSpace(NamedTuple):
    """Images [n, h, w, c], floats in [0, 1] -> features [n, d], and what to call it."""

    name: str
    function: Callable[[np.ndarray], Any]


def feature_space(run: Run, data: Dataset, own: str | None) -> FeatureSpace:
    """The user's own, or that of a classifier which is trained once and kept.

    Args:
        run: The classifier's place is the folder "features" of its directory.
        data: With labels, unless the features are the user's own.
        own: "package.module:function", or None.

    Raises:
        ArgumentError: There is no such function, or no images or labels.
        CheckpointError: What is in the folder is no such classifier.
    """
    if own is not None:
        return FeatureSpace(own, _import(own))
    labels = data.train.labels
    right = data.train.images.ndim == 4 and labels is not None and _are_classes(labels)
    ensure(
        right,
        "--samplers compares pictures by what a classifier of their labels sees, which "
        f"{data.name} has not: give --features",
    )
    parts = data.splits().values()
    known = [split.labels for split in parts if split.labels is not None]
    model = _classifier(run, data, int(np.concatenate(known).max()) + 1)
    accuracy = _accuracy(model, data.test)
    name = f"the last hidden layer of a classifier of {data.name}"
    return FeatureSpace(
        f"{name} ({accuracy:.1%} of the test images right)",
        lambda images: jaxae.encode(model, images),
    )


def _are_classes(labels: np.ndarray) -> bool:
    return labels.dtype == np.int32 and labels.ndim == 1 and bool(labels.min() >= 0)


def _import(own: str) -> Callable[[np.ndarray], Any]:
    module, _, name = own.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        require(False, "--features", own, f"package.module:function ({error})")
        raise


def _classifier(run: Run, data: Dataset, num_labels: int) -> jaxae.Model:
    recipe = classifier(data.train.images.shape[1:], num_labels)
    tx, path = optax.adam(LEARNING_RATE), run.path / "features"
    if not path.is_dir():
        print(f"training a classifier for its features, kept in {path}", flush=True)
        # Under another name until it is complete.
        scratch = path.with_name("features.new")
        shutil.rmtree(scratch, ignore_errors=True)
        with save_epochs(scratch, MONITOR) as save:
            jaxae.fit(
                recipe,
                _labelled(data.train),
                key=jax.random.key(run.config.seed),
                epochs=EPOCHS,
                batch_size=BATCH,
                tx=tx,
                validation=_labelled(data.validation),
                callbacks=[save],
            )
        scratch.rename(path)
    state, _ = restore_state(path, recipe, tx)
    return trained_model(recipe, state)


def _labelled(split: Split | LazySplit) -> dict[str, Any]:
    assert split.labels is not None
    return {"x": split.images, "label": split.labels}


def _accuracy(model: jaxae.Model, test: Split) -> float:
    """The share of the images whose label is the likeliest."""
    features = np.asarray(jaxae.encode(model, test.images))
    layer = model.variables["params"]["logits"]
    logits = features @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    return float((logits.argmax(axis=-1) == test.labels).mean())
