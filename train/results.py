"""The numbers and the report of a trained model."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import jaxae
from jaxae.corruptions import identity
from jaxae.evaluation import evaluate
from train.data import Dataset
from train.data.rows import LazyRows, mean_example
from train.errors import RunError
from train.examples import examples
from train.options import flat
from train.report import write_report
from train.run import Run, write_json

if TYPE_CHECKING:  # most runs compare no samplers
    from train.generation import Comparison

# Beside what the seed of the training makes: the test set does not vary with it.
EVALUATION_KEY = 1_000_003


def write_results(
    run: Run,
    model: jaxae.Model,
    epoch: int,
    data: Dataset,
    generated: "Comparison | None" = None,
) -> dict[str, Any]:
    """Evaluates on the test set and writes result.json, the report and its pictures.

    Args:
        run: The finished or interrupted run.
        model: Its best model.
        epoch: The epoch which that is of.
        data: What it was trained on.
        generated: How samplers compare, where that was asked for.
    """
    key = jax.random.key(EVALUATION_KEY)
    history = run.history()
    undamaged = model.recipe.corruption is identity  # no holes to fill
    numbers = evaluate(
        model,
        examples(model.recipe, data.test),
        key,
        nll_samples=run.config.nll_samples,
        pixel_means=None if undamaged else _pixel_means(data.train.images),
    )
    compared = {} if generated is None else generated.numbers()
    result = {**_about(run, model, epoch, history), **numbers, **compared}
    write_json(run.result, result)
    config = {"preset": run.preset, **flat(run.config)}
    write_report(
        run.path,
        model,
        data.test,
        config=config,
        history=history,
        result=result,
        key=key,
        generated=generated.images if generated else {},
    )
    if run.config.tensorboard:
        from train.tensorboard import pictures

        pictures(run.path, len(history))
    print(summary(result))
    print(f"report: {run.path / 'report.html'}")
    return result


def _about(
    run: Run, model: jaxae.Model, epoch: int, history: list[dict[str, Any]]
) -> dict[str, Any]:
    """What was trained, and how fast the epochs went."""
    seconds = sum(row["seconds"] for row in history)
    best = next((row for row in history if row["epoch"] == epoch), None)
    if best is None:
        raise RunError(f"{run.metrics}: has no line of epoch {epoch}, the best one")
    return {
        "preset": run.preset,
        "data": run.config.data,
        "seed": run.config.seed,
        "parameters": sum(p.size for p in jax.tree.leaves(model.variables["params"])),
        "epochs": len(history),
        "best_epoch": epoch,
        "validation_loss": best["validation_loss"],
        "train_seconds": seconds,
        "images_per_second": len(history) * run.train_size / seconds,
        "device": jax.devices()[0].device_kind,
        "jax_version": jax.__version__,
    }


def _pixel_means(images: np.ndarray | LazyRows) -> np.ndarray:
    """The training set's mean image in [0, 1]."""
    mean = mean_example(images)
    return (mean / 255 if images.dtype == np.uint8 else mean).astype(np.float32)


def summary(result: dict[str, Any]) -> str:
    """The numbers that there are, a line each."""
    numbers = {k: v for k, v in result.items() if isinstance(v, int | float)}
    width = max(map(len, numbers))
    return "\n".join(f"  {k:<{width}}  {v:,.6g}" for k, v in numbers.items())
