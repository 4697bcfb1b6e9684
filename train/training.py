"""From a configuration to a finished run."""

from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np

import jaxae
from jaxae.checks import check_count, check_data
from jaxae.errors import require
from jaxae.training.checkpoint import abstract_state, save_epochs
from train.config import Config
from train.data import Dataset, Split, load
from train.data.stream import shuffled_batches
from train.data.types import examples
from train.results import write_results
from train.run import Run, append_metrics, create_run


def train(path: Path, preset: str, config: Config) -> Run:
    """Trains, evaluates and reports into a new directory.

    Raises:
        RunError: The directory holds something already.
        DataError: The data cannot be used.
        ArgumentError: An option, or an option and the data, do not go together.
        OSError: The directory cannot be written to.
    """
    check_count("--epochs", config.epochs)
    check_count("--batch-size", config.batch_size)
    check_count("--nll-samples", config.nll_samples, least=0)
    data = load(config.data, image_size=config.image_size)
    images = data.train.images
    run = Run(path, preset, config, images.shape[1:], len(images))
    recipe = run.recipe()
    # All that can be wrong is said before the directory is made.
    for name, split in data.splits().items():
        _check_split(recipe, split, f"the {name} images of {data.name}")
    abstract_state(recipe, run.optimizer())
    create_run(run)
    print(f"{preset} on {data.name}: {len(images):,} images, run {path}", flush=True)
    try:
        fitted = _fit(run, recipe, data)
    except KeyboardInterrupt:
        print(f"\nthe finished epochs are kept: python -m train.evaluate {path}")
        raise
    print(f"best epoch {fitted.best_epoch}; evaluating", flush=True)
    write_results(run, fitted.model, fitted.best_epoch, data)
    return run


def _check_split(recipe: jaxae.Recipe, split: Split, name: str) -> None:
    """As `fit` does; and images, which damage and reports take so, lie in [0, 1]."""
    images = split.images
    check_data(recipe, examples(recipe, split), name)
    if images.ndim == 4 and images.dtype != np.uint8:
        low, high = images.min(), images.max()
        came = f"floats from {low:g} to {high:g}"
        require(low >= 0 and high <= 1, name, came, "bytes, or floats in [0, 1]")


def _fit(run: Run, recipe: jaxae.Recipe, data: Dataset) -> jaxae.Fit:
    config = run.config
    with ExitStack() as stack:
        save = stack.enter_context(save_epochs(run.checkpoints, config.model.monitor))
        # A row without a checkpoint does no harm, but not the other way round.
        callbacks = [lambda epoch: append_metrics(run, epoch.metrics), save]
        if config.tensorboard:
            from train.tensorboard import scalars

            callbacks.append(stack.enter_context(scalars(run.path)))
        images = examples(recipe, data.train)
        batch_size = config.batch_size
        stream = shuffled_batches(images, batch_size, config.seed)
        return jaxae.fit(
            recipe,
            stream if config.stream else images,
            steps_per_epoch=run.steps_per_epoch if config.stream else None,
            key=jax.random.key(config.seed),
            epochs=config.epochs,
            batch_size=batch_size,
            tx=run.optimizer(),
            validation=examples(recipe, data.validation),
            monitor=config.model.monitor,
            callbacks=callbacks,
        )
