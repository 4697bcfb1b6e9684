"""How a published protocol runs: a training that can be interrupted, and its number."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import optax

import jaxae
from jaxae.training import Parallel, Progress, trained_model
from jaxae.training.checkpoint import (
    restore_progress,
    restore_state,
    save_epochs,
    saved_epochs,
)
from jaxae.training.parallel import default_mesh, replicated
from train.errors import RunError
from train.run import (
    EVALUATION_KEY,
    append_metrics,
    keep_rows,
    read_json,
    read_metrics,
    write_json,
)


class Parts(NamedTuple):
    """What a protocol learns from and is judged by.

    Attributes:
        train: As for `jaxae.fit`.
        test: What the number is of; whatever `Training.measure` takes.
        validation: As for `jaxae.fit`; None for protocols that take the last epoch.
    """

    train: Mapping[str, Any]
    test: Mapping[str, Any]
    validation: Mapping[str, Any] | None = None


class Job(NamedTuple):
    """One run of a protocol.

    Attributes:
        folder: Of checkpoints and metrics; what is there is gone on with.
        seed: Everything random follows from it.
        share: Of the published schedule, above 0; 1 for all of it.
        row: The name of what is run.
        so_far: Measure what is there, in place of going on with it.
    """

    folder: Path
    seed: int
    share: float = 1.0
    row: str = ""
    so_far: bool = False


class Outcome(NamedTuple):
    """What came out.

    Attributes:
        value: In the unit of the row.
        configuration: What ran, in words and numbers.
        seconds: Of training and test.
        shortened: What was left out of the protocol; None for nothing.
        beside: Other numbers in the unit of the row, by name.
    """

    value: float
    configuration: dict[str, Any]
    seconds: float
    shortened: str | None = None
    beside: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Computation:
    """A protocol without a training: the seed -> the number."""

    value: Callable[[int], float]
    about: str

    def run(self, job: Job) -> Outcome:
        """Computes it; there is nothing to be shortened."""
        value, seconds = timed(lambda: self.value(job.seed))
        return Outcome(value, {"computation": self.about}, seconds)


@dataclass(frozen=True)
class Training:
    """A protocol of one training, or of two in a row."""

    data: Callable[[int], Parts]
    """The seed -> the examples."""
    recipe: Callable[[int, int], jaxae.Recipe]
    """Steps of an epoch, and epochs -> the recipe."""
    measure: Callable[[jaxae.Model, Parts, jax.Array], float]
    """The number of a trained model, on the test set."""
    epochs: int
    batch_size: int
    tx: Callable[[int, int], optax.GradientTransformation]
    """Likewise -> the optimizer."""
    optimizer: str
    """The optimizer in words."""
    patience: int | None = None
    """Epochs without a better one; see `jaxae.fit`."""
    begin: Callable[[jaxae.Model, Parts, jax.Array], jaxae.Model] | None = None
    """From the untrained model to the one to start with; None for as it is."""
    after: "Training | None" = None
    """The training whose model this one goes on with."""
    beside: Callable[[jaxae.Model, Parts, jax.Array], dict[str, float]] | None = None
    """Other numbers to be shown with that of `measure`."""

    def run(self, job: Job) -> Outcome:
        """Trains, or goes on, and measures.

        Raises:
            RunError: Another protocol, seed or share is in the folder; or nothing is
                that could be measured so far.
            CheckpointError: No checkpoint in it can be read.
        """
        model, parts, configuration, seconds = self._trained(job)
        key = jax.random.key(EVALUATION_KEY)
        value, took = timed(lambda: self.measure(model, parts, key))
        beside = self.beside(model, parts, key) if self.beside else {}
        shortened = self._shortened(configuration)
        return Outcome(value, configuration, seconds + took, shortened, beside)

    def _trained(self, job: Job) -> tuple[jaxae.Model, Parts, dict[str, Any], float]:
        """The model of the best or the last epoch, of what, how, and the seconds."""
        checkpoints, metrics = job.folder / "checkpoints", job.folder / "metrics.jsonl"
        if job.so_far and not saved_epochs(checkpoints):
            raise RunError(f"{job.folder}: has no finished epoch to be measured so far")
        parts, epochs = self.data(job.seed), self._epochs(job)
        steps = -(-len(parts.train["x"]) // self.batch_size)
        recipe, tx = self.recipe(steps, epochs), self.tx(steps, epochs)
        key, seconds = jax.random.key(job.seed), 0.0
        configuration = self._configuration(job, recipe, parts)
        start = None
        if self.after is not None:
            earlier = job._replace(folder=job.folder / "before", so_far=False)
            start, _, own, seconds = self.after._trained(earlier)
            configuration["before"] = own
        elif self.begin is not None:
            key, key_start = jax.random.split(key)
            start = self.begin(jaxae.init(recipe, key_start), parts, key_start)
        judged = parts.validation is not None
        _check_same(job.folder, configuration)
        if job.so_far:
            which = "best" if judged else "last"
            state, best = restore_state(checkpoints, recipe, tx, which)
            rows = read_metrics(metrics)[: max(saved_epochs(checkpoints))]
            ended = self.patience is not None and len(rows) - best >= self.patience
            if not ended and len(rows) < epochs:
                configuration["stopped_after"] = len(rows)
            model = trained_model(recipe, state)
            return model, parts, configuration, seconds + _seconds(rows)
        resume = _progress(checkpoints, metrics, recipe, tx)
        monitor = "validation_loss" if judged else "loss"
        with save_epochs(checkpoints, monitor) as save:
            fitted = jaxae.fit(
                recipe,
                parts.train,
                key=key,
                epochs=epochs,
                batch_size=self.batch_size,
                tx=tx,
                validation=parts.validation,
                monitor=monitor,
                patience=self.patience,
                callbacks=[lambda epoch: append_metrics(metrics, epoch.metrics), save],
                start=None if resume else start,
                resume=resume,
            )
        last = trained_model(fitted.model.recipe, fitted.state)
        seconds += _seconds(fitted.history)
        return fitted.model if judged else last, parts, configuration, seconds

    def _epochs(self, job: Job) -> int:
        return max(1, round(job.share * self.epochs))

    def _shortened(self, configuration: dict[str, Any]) -> str | None:
        done = configuration.get("stopped_after", configuration["epochs"])
        if done == self.epochs:
            return None
        if self.after is not None and done == configuration["epochs"]:
            earlier = f"{configuration['before']['epochs']} of {self.after.epochs}"
            return f"{done} of {self.epochs} epochs after {earlier}"
        return f"{done} of {self.epochs} epochs"

    def _configuration(
        self, job: Job, recipe: jaxae.Recipe, parts: Parts
    ) -> dict[str, Any]:
        return {
            "row": job.row,
            "data": self.data.__name__,
            "recipe": repr(recipe),
            "optimizer": self.optimizer,
            "epochs": self._epochs(job),
            "batch_size": self.batch_size,
            "patience": self.patience,
            "train_size": len(parts.train["x"]),
            "seed": job.seed,
        }


def timed(function: Callable[[], float]) -> tuple[float, float]:
    """What a function returns, and the seconds that it took."""
    start = time.perf_counter()
    value = float(function())
    return value, time.perf_counter() - start


def _seconds(rows: Sequence[Mapping[str, float]]) -> float:
    return sum(row["seconds"] for row in rows)


def _check_same(folder: Path, configuration: dict[str, Any]) -> None:
    """Notes what runs in the folder, or sees to it that it is the same."""
    file = folder / "protocol.json"
    if not file.exists():
        if saved_epochs(folder / "checkpoints"):
            raise RunError(f"{folder}: has checkpoints, but no {file.name} of what ran")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, configuration)
    before = read_json(file)
    for name in sorted(configuration.keys() | before.keys()):
        came, found = configuration.get(name), before.get(name)
        if came != found:
            raise RunError(f"{folder}: has another {name}: {found}, now {came}")


def _progress(
    checkpoints: Path,
    metrics: Path,
    recipe: jaxae.Recipe,
    tx: optax.GradientTransformation,
) -> Progress | None:
    """Where a training that was interrupted goes on; None to begin."""
    if not saved_epochs(checkpoints):
        keep_rows(metrics, 0)
        return None
    parallel = Parallel(default_mesh(), replicated)
    found = restore_progress(checkpoints, recipe, tx, parallel)
    keep_rows(metrics, found.epoch)
    return found._replace(history=read_metrics(metrics))
