"""A run's directory: what is where, and reading and writing it."""

import json
import math
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

import jaxae
from jaxae import notation
from jaxae.preparation import Scale
from jaxae.saving.models import OF_RUN
from jaxae.training import trained_model
from jaxae.training.checkpoint import restore_state
from jaxae.types import Which
from train.config import Config, Optimizer
from train.errors import RunError
from train.options import Plan, flat, replaced
from train.presets import PRESETS

CONFIG = "config.json"

# Beside what the seed of the training makes: the test set does not vary with it.
EVALUATION_KEY = 1_000_003


class Run(NamedTuple):
    """A run's directory with what was configured there.

    Attributes:
        path: The directory.
        preset: Its name.
        config: The preset with what the command line changed.
        shape: Of one example.
        train_size: Number of training examples.
        input_shape: Of what the encoder sees of one, where that is not its shape.
        digests: By what its data are recognised; none in runs of earlier versions.
        scale: Of the data, as `--scale` asks for it, with numbers.
    """

    path: Path
    preset: str
    config: Config
    shape: tuple[int, ...]
    train_size: int
    input_shape: tuple[int, ...] | None = None
    digests: tuple[str, ...] = ()
    scale: Scale | None = None

    def recipe(self) -> jaxae.Recipe:
        """The family, for this data set."""
        plan = Plan(self.train_size, self.steps_per_epoch, self.input_shape)
        recipe = self.config.model.recipe(self.shape, plan)
        if self.scale is not None:
            recipe = recipe.replace(prepare=self.scale)
        if self.config.precision == "float32":
            return recipe
        return jaxae.compute_in(recipe, self.config.precision)

    def optimizer(self) -> optax.GradientTransformation:
        """The optimizer, for the whole training."""
        return _optimizer(self.config.optimizer, self.steps)

    @property
    def steps(self) -> int:
        """How many the whole training has."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a pass over the training examples, unless configured."""
        if self.config.steps_per_epoch is not None:
            return self.config.steps_per_epoch
        return -(-self.train_size // self.config.batch_size)

    @property
    def checkpoints(self) -> Path:
        """Where the states of the best and the last epoch are."""
        return self.path / "checkpoints"

    @property
    def models(self) -> Path:
        """Where the models of the best and the last epoch are, for `jaxae.load`."""
        return self.path / OF_RUN

    @property
    def metrics(self) -> Path:
        """One JSON object a line and epoch."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """The numbers on the test set."""
        return self.path / "result.json"

    def history(self) -> list[dict[str, Any]]:
        """The rows of `metrics`; empty before the first epoch is done.

        Raises:
            RunError: A line is damaged.
        """
        return read_metrics(self.metrics)


@lru_cache
def _optimizer(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """One object, so that trainings of the same configuration share their programs."""
    return config.transformation(steps)


def create_run(run: Run) -> None:
    """Makes the directory and writes the configuration.

    Raises:
        RunError: Something is there already, and is not to be overwritten.
        OSError: The directory cannot be written to.
    """
    path = run.path
    if path.exists() and not path.is_dir():
        raise RunError(f"--out {path}: is a file, a directory is needed")
    # Nothing but an unfinished configuration: a start that was killed at once.
    scratch = _scratch(path / CONFIG)
    if path.exists() and any(each != scratch for each in path.iterdir()):
        if not run.config.overwrite:
            raise RunError(f"--out {path}: is not empty; choose another or --overwrite")
        if not (path / CONFIG).exists():
            raise RunError(f"--out {path}: holds no run, so it is not overwritten")
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    scale = None if run.scale is None else notation.write(run.scale, "--scale")
    saved = run._asdict() | {"config": flat(run.config), "scale": scale}
    write_json(path / CONFIG, {k: v for k, v in saved.items() if k != "path"})


def open_run(path: Path) -> Run:
    """Reads the configuration of an existing run.

    Raises:
        RunError: There is no run, or its configuration is damaged.
    """
    file = path / CONFIG
    if not file.exists():
        raise RunError(f"{path}: no run there (it has no {CONFIG})")
    try:
        saved = json.loads(file.read_text("utf-8"))
        preset, shape = saved["preset"], tuple(saved["shape"])
        seen = saved.get("input_shape")
        if any(isinstance(value, dict) for value in saved["config"].values()):
            early = "of jaxae 0.1.0, whose runs are not read: use that, or train again"
            raise RunError(f"{file}: {early}")
        config = PRESETS[preset].config()
        for option, value in saved["config"].items():
            value = tuple(value) if isinstance(value, list) else value
            config = replaced(config, option, value)
        seen = None if seen is None else tuple(seen)
        digests, scale = tuple(saved.get("digests", ())), saved.get("scale")
        scale = None if scale is None else notation.read(scale)
        about = (seen, digests, scale)
        return Run(path, preset, config, shape, saved["train_size"], *about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file}: damaged, or of another version: {error!r}") from error


def save_models(run: Run, best: jaxae.Model, last: jaxae.Model) -> None:
    """Writes what `jaxae.load` takes from a run's directory."""
    jaxae.save(best, run.models / "best")
    jaxae.save(last, run.models / "last")


def restore_model(run: Run, which: Which = "best") -> tuple[jaxae.Model, int]:
    """The model of the best or the last epoch, and its number.

    Raises:
        CheckpointError: There is none, or it does not fit the configuration.
    """
    recipe = run.recipe()
    if not run.checkpoints.exists() and (run.path / "summary.json").exists():
        raise RunError(f"{run.path}: holds several runs; name one of them")
    with jax.default_prng_impl(run.config.random):
        state, epoch = restore_state(run.checkpoints, recipe, run.optimizer(), which)
    return trained_model(recipe, state), epoch


def append_metrics(file: Path, row: Mapping[str, int | float]) -> None:
    """Adds an epoch's line."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(_finite(row)) + "\n")


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The rows of all epochs; empty before the first one is done.

    Raises:
        RunError: A line is damaged.
    """
    if not file.exists():
        return []
    rows = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise RunError(f"{file}: line {number} is damaged") from error
    return rows


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes whole or not at all: what was there before stays until it is replaced."""
    scratch = _scratch(path)
    text = json.dumps(_finite(value), indent=2, default=str) + "\n"
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def read_json(file: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
        RunError: The file is damaged.
    """
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"{file}: is damaged: {error}") from error


def _scratch(path: Path) -> Path:
    return path.with_suffix(".tmp")


def keep_rows(file: Path, count: int) -> None:
    """Cuts the metrics after so many epochs, as they are to be trained again.

    Raises:
        RunError: There are fewer.
    """
    if not file.exists() and count == 0:
        return
    lines = file.read_text("utf-8").splitlines(keepends=True)[:count]
    if len(lines) < count:
        raise RunError(f"{file}: has no line of epoch {count}")
    scratch = _scratch(file)
    scratch.write_text("".join(lines), encoding="utf-8")
    scratch.replace(file)


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: null."""
    bad = {k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)}
    return {k: None if k in bad else v for k, v in row.items()}
