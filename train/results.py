"""The numbers and the report of a trained model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import jaxae
from jaxae.corruptions import identity
from jaxae.evaluation import evaluate
from train.data import Dataset, LazySplit, Split
from train.data.rows import mean_example
from train.errors import RunError
from train.examples import examples
from train.options import flat
from train.report import write_report
from train.run import EVALUATION_KEY, Run, write_json

if TYPE_CHECKING:  # most runs compare no samplers
    from train.generation import Comparison


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
    undamaged = model.recipe.corruption is identity  # no holes to fill
    result = _write(
        run,
        model,
        epoch,
        data.test,
        run.path,
        mean_fill=None if undamaged else _mean_fill(data.train),
        generated=generated,
    )
    if run.config.tensorboard:
        from train.tensorboard import pictures

        pictures(run.path, result["epochs"])
    return result


def write_results_on(
    run: Run, model: jaxae.Model, epoch: int, place: str, folder: Path, test: Split
) -> dict[str, Any]:
    """Likewise on data that the run was not trained on.

    Args:
        run: The run.
        model: Its best model.
        epoch: The epoch which that is of.
        place: Where the data come from, in words.
        folder: Of the results; those in it are replaced.
        test: The examples.
    """
    folder.mkdir(exist_ok=True)
    return _write(run, model, epoch, test, folder, place=place)


def _write(
    run: Run,
    model: jaxae.Model,
    epoch: int,
    test: Split,
    folder: Path,
    *,
    mean_fill: np.ndarray | None = None,
    generated: "Comparison | None" = None,
    place: str | None = None,
) -> dict[str, Any]:
    key = jax.random.key(EVALUATION_KEY)
    history = run.history()
    numbers = evaluate(
        model,
        examples(model.recipe, test),
        key,
        nll_samples=run.config.nll_samples,
        mean_fill=mean_fill,
    )
    compared = {} if generated is None else generated.numbers()
    where = {} if place is None else {"evaluated_on": place}
    result = {**_about(run, model, epoch, history), **where, **numbers, **compared}
    write_json(folder / run.result.name, result)
    write_report(
        folder,
        model,
        test,
        config={"preset": run.preset, **flat(run.config)},
        history=history,
        result=result,
        key=key,
        generated=generated.images if generated else {},
    )
    print(summary(result))
    print(f"report: {folder / 'report.html'}")
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
        "examples_per_second": len(history) * run.train_size / seconds,
        "device": jax.devices()[0].device_kind,
        "jax_version": jax.__version__,
    }


def _mean_fill(train: Split | LazySplit) -> np.ndarray:
    """The training set's mean of x, of bytes in [0, 1]."""
    beside = () if isinstance(train, LazySplit) else (train.missing, train.weight)
    mean = mean_example(train.images, *beside)
    return (mean / 255 if train.images.dtype == np.uint8 else mean).astype(np.float32)


def summary(result: dict[str, Any]) -> str:
    """The numbers that there are, a line each."""
    numbers = {k: v for k, v in result.items() if isinstance(v, int | float)}
    width = max(map(len, numbers))
    return "\n".join(f"  {k:<{width}}  {v:,.6g}" for k, v in numbers.items())
