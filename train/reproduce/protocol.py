"""How a published protocol runs: a training that can be interrupted, and its number."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

import jaxae
from jaxae.training import Epoch, Parallel, Progress, trained_model
from jaxae.training.checkpoint import restore_progress, save_epochs, saved_epochs
from jaxae.training.parallel import make_mesh, replicated
from train.errors import RunError
from train.run import write_json

KEY_OF_TEST = 1_000_003
"""Beside what the seed makes: a test set is drawn once, whatever the seed."""


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
    """

    folder: Path
    seed: int
    share: float = 1.0


class Outcome(NamedTuple):
    """What came out.

    Attributes:
        value: In the unit of the row.
        configuration: What ran, in words and numbers.
        seconds: Of training and test.
        shortened: What was left out of the protocol; None for nothing.
    """

    value: float
    configuration: dict[str, Any]
    seconds: float
    shortened: str | None = None


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

    def run(self, job: Job) -> Outcome:
        """Trains, or goes on, and measures.

        Raises:
            RunError: Another protocol, seed or share is in the folder.
            CheckpointError: No checkpoint in it can be read.
        """
        parts = self.data(job.seed)
        model, seconds = self._trained(job, parts)
        key = jax.random.key(KEY_OF_TEST)
        value, took = timed(lambda: self.measure(model, parts, key))
        configuration = self._configuration(job, parts)
        return Outcome(value, configuration, seconds + took, self._shortened(job))

    def _trained(self, job: Job, parts: Parts) -> tuple[jaxae.Model, float]:
        """The model of the best or the last epoch, and the seconds that it took."""
        length = self._length(job, parts)
        recipe, tx = self.recipe(*length), self.tx(*length)
        key, seconds = jax.random.key(job.seed), 0.0
        start = None
        if self.after is not None:
            earlier = job._replace(folder=job.folder / "before")
            start, seconds = self.after._trained(earlier, self.after.data(job.seed))
        elif self.begin is not None:
            key, key_start = jax.random.split(key)
            start = self.begin(jaxae.init(recipe, key_start), parts, key_start)
        _check_same(job, self._configuration(job, parts))
        resume = _progress(job.folder, recipe, tx)
        judged = parts.validation is not None
        with ExitStack() as stack:
            save = save_epochs(
                job.folder / "checkpoints", "validation_loss" if judged else "loss"
            )
            fitted = jaxae.fit(
                recipe,
                parts.train,
                key=key,
                epochs=self._epochs(job),
                batch_size=self.batch_size,
                tx=tx,
                validation=parts.validation,
                monitor=None if judged else "loss",
                patience=self.patience,
                callbacks=[_appended(job.folder), stack.enter_context(save)],
                start=None if resume else start,
                resume=resume,
            )
        last = trained_model(fitted.model.recipe, fitted.state)
        seconds += sum(row["seconds"] for row in fitted.history)
        return fitted.model if judged else last, seconds

    def _epochs(self, job: Job) -> int:
        return max(1, round(job.share * self.epochs))

    def _length(self, job: Job, parts: Parts) -> tuple[int, int]:
        """Steps of an epoch, and epochs."""
        return -(-len(parts.train["x"]) // self.batch_size), self._epochs(job)

    def _shortened(self, job: Job) -> str | None:
        done = self._epochs(job)
        if done == self.epochs:
            return None
        return f"{done} of {self.epochs} epochs"

    def _configuration(self, job: Job, parts: Parts) -> dict[str, Any]:
        before = {}
        if self.after is not None:
            own = self.after._configuration(job, self.after.data(job.seed))
            before = {"before": own}
        return {
            "recipe": repr(self.recipe(*self._length(job, parts))),
            "optimizer": self.optimizer,
            "epochs": self._epochs(job),
            "batch_size": self.batch_size,
            "patience": self.patience,
            "train_size": len(parts.train["x"]),
            "seed": job.seed,
            **before,
        }


def timed(function: Callable[[], float]) -> tuple[float, float]:
    """What a function returns, and the seconds that it took."""
    start = time.perf_counter()
    value = float(function())
    return value, time.perf_counter() - start


def _check_same(job: Job, configuration: dict[str, Any]) -> None:
    """Notes what runs in the folder, or sees to it that it is the same."""
    file = job.folder / "protocol.json"
    if not file.exists():
        job.folder.mkdir(parents=True, exist_ok=True)
        write_json(file, configuration)
    before = json.loads(file.read_text("utf-8"))
    names = sorted(configuration.keys() | before.keys())
    for name in names:
        came, found = configuration.get(name), before.get(name)
        if came != found:
            raise RunError(f"{job.folder}: has another {name}: {found}, now {came}")


def _appended(folder: Path) -> Callable[[Epoch], None]:
    def append(epoch: Epoch) -> None:
        with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(epoch.metrics) + "\n")

    return append


def _progress(
    folder: Path, recipe: jaxae.Recipe, tx: optax.GradientTransformation
) -> Progress | None:
    """Where a training that was interrupted goes on; None to begin."""
    checkpoints, metrics = folder / "checkpoints", folder / "metrics.jsonl"
    if not saved_epochs(checkpoints):
        metrics.unlink(missing_ok=True)
        return None
    parallel = Parallel(make_mesh(), replicated)
    found = restore_progress(checkpoints, recipe, tx, parallel)
    rows = metrics.read_text("utf-8").splitlines()[: found.epoch]
    metrics.write_text("".join(row + "\n" for row in rows), "utf-8")
    return found._replace(history=[json.loads(row) for row in rows])
