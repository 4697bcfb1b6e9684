"""Going on with a run that was interrupted, to the end that it would have had."""

from collections.abc import Collection, Sequence

import jaxae
from jaxae.training import Parallel, Progress
from jaxae.training.checkpoint import discard_after, restore_progress, saved_epochs
from train.data.digest import differing
from train.errors import RunError
from train.hosts import first_host, wait_for_all
from train.options import flat
from train.run import CONFIG, Run, create_run, keep_rows, open_run

# What may differ from the first start: where and how it runs, not what is trained.
MAY_DIFFER = {
    "out",
    "overwrite",
    "resume",
    "parallel",  # but see below
    "distributed",
    "num_processes",
    "process_id",
    "tensorboard",
    "nll_samples",
}

# Of data that are recognised by what they hold.
PLACES = {"data", "inputs", "missing"}


def create_or_check(run: Run) -> bool:
    """Makes the run's directory; with `--resume`, if it is not there.

    Returns:
        Whether it was there.

    Raises:
        RunError: Something is in the way, or another run is there.
        OSError: The directory cannot be written to.
    """
    there = run.config.resume and (run.path / CONFIG).exists()
    wait_for_all("the look at the directory")
    if there:
        _check_same(run, open_run(run.path))
    elif first_host():
        create_run(run)
    wait_for_all("the directory")
    return there


def _check_same(run: Run, before: Run) -> None:
    for what, asked, found in (
        ("PRESET", run.preset, before.preset),
        ("number of training images", run.train_size, before.train_size),
        ("shape of the images", run.shape, before.shape),
        ("shape of the inputs", run.input_shape, before.input_shape),
    ):
        _check_equal(run, what, asked, found)
    asked, found = flat(run.config), flat(before.config)
    may_differ = MAY_DIFFER | (PLACES if before.digests else set())
    remedy = _remedy(run, before)
    for name in sorted(asked.keys() | found.keys()):
        if name not in may_differ:
            _check_equal(run, f"--{name}", asked.get(name), found.get(name), remedy)
    if others := before.digests and differing(run.digests, before.digests):
        raise RunError(
            f"--resume: the run in {run.path} was started with other data than those "
            f"in --data {run.config.data}: they differ in {', '.join(others)}"
        )
    # Under pmap noise and batch statistics are other ones.
    if "pmap" in (run.config.parallel, before.config.parallel):
        _check_equal(run, "--parallel", run.config.parallel, before.config.parallel)


def _remedy(run: Run, before: Run) -> str:
    """How to train on in another way; "" of several trainings, which take no start."""
    if any(each.config.seeds > 1 or each.config.sweep for each in (run, before)):
        return ""
    new = f"--start {run.path} and another --out begin a new run with its weights"
    return f"; {new}, without --resume"


def _check_equal(
    run: Run, what: str, asked: object, found: object, remedy: str = ""
) -> None:
    if asked != found:
        raise RunError(
            f"--resume: the run in {run.path} was started with another {what}: "
            f"{found}, now {asked}{remedy}"
        )


def restore(runs: Sequence[Run], parallel: Parallel) -> list[Progress] | None:
    """Where the trainings of a program go on, all after the same epoch.

    What came later is deleted, as it is made again; None to start from the beginning.

    Raises:
        CheckpointError: A checkpoint is of another architecture, or all are damaged.
        RunError: The metrics of an epoch that has a checkpoint are missing.
    """
    saved = [saved_epochs(run.checkpoints) for run in runs]
    if not all(saved):
        for run in runs:
            _forget_after(run, 0)
        return None
    epoch = min(each[-1] for each in saved)
    damaged: list[set[int]] = [set() for _ in runs]
    while True:
        found = [_progress(run, parallel, epoch) for run in runs]
        for known, progress in zip(damaged, found, strict=True):
            known.update(progress.damaged)
        epochs = {progress.epoch for progress in found}
        if len(epochs) == 1:
            break
        epoch = min(epochs)  # a damaged one was found
    for run, known in zip(runs, damaged, strict=True):
        _forget_after(run, found[0].epoch, known)
    return [
        progress._replace(history=run.history())
        for run, progress in zip(runs, found, strict=True)
    ]


def _progress(run: Run, parallel: Parallel, epoch: int) -> Progress:
    recipe: jaxae.Recipe = run.recipe()
    return restore_progress(run.checkpoints, recipe, run.optimizer(), parallel, epoch)


def _forget_after(run: Run, epoch: int, damaged: Collection[int] = ()) -> None:
    if first_host():
        keep_rows(run.metrics, epoch)
        discard_after(run.checkpoints, epoch, damaged)
    wait_for_all(f"what is forgotten after epoch {epoch}")
