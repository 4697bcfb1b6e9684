"""From a configuration to a finished run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxae
from jaxae.checks import check_count
from jaxae.corruptions import identity
from jaxae.errors import ensure, require
from jaxae.inputs import check_data
from jaxae.preparation import Scale
from jaxae.streaming.batches import shuffled_batches
from jaxae.training import Epoch, Parallel, Progress, trained_model
from jaxae.training.checkpoint import abstract_state, save_epochs, saved_epochs
from jaxae.training.many import fit_many
from jaxae.training.mapped import check_mapped
from jaxae.training.parallel import DATA, fsdp, make_mesh, replicated
from jaxae.training.placement import local
from jaxae.training.scale import fit_scale
from jaxae.training.start import compare
from train import words
from train.config import Config
from train.data import Dataset, LazySplit, Split
from train.examples import configured, examples
from train.hosts import first_host, join, say, wait_for_all, watching_hosts
from train.members import Members, check_members, plan_members
from train.presets import PRESETS
from train.results import write_results
from train.resuming import create_or_check, restore
from train.run import Run, append_metrics, save_models
from train.summary import write_summary
from train.termination import Terminated, noting_termination

CHECKED = 1000  # unread examples before the training; the rest as they come


def train(path: Path, preset: str, config: Config) -> Run:
    """Trains, evaluates and reports into a directory.

    Raises:
        RunError: The directory holds something already.
        DataError: The data cannot be used.
        ArgumentError: An option, or an option and the data, do not go together.
        CheckpointError: There is nothing to resume from that can be read.
        LostHost: Another host is gone.
        Terminated: SIGTERM came; the finished epochs are kept.
        OSError: The directory cannot be written to.
    """
    _check_options(config)
    join(config)
    with (
        watching_hosts(),
        jax.default_prng_impl(config.random),
        noting_termination() as stop,
    ):
        return _train(path, preset, config, stop)


def _train(path: Path, preset: str, config: Config, stop: Callable[[], bool]) -> Run:
    _check_words(config)
    data = configured(config)
    images, beside = data.train.images, (data.train.input_shape, data.digests)
    run = Run(path, preset, config, images.shape[1:], len(images), *beside)
    if config.scale is not None:
        part = words.SCALE.read(config.scale, "--scale", run.steps_per_epoch)
        run = run._replace(scale=_fitted(part, run.recipe(), data.train))
    _check_pairs(run, data.train)
    members = plan_members(run)
    runs = [run] if members is None else members.runs
    # All that can be wrong is said before the directory is made.
    for each in runs:
        recipe = each.recipe()
        abstract_state(recipe, each.optimizer())
    given = _given(run)
    for name, split in data.splits().items():
        check_split(recipe, split, f"the {name} images of {data.name}")
    parallel = _parallel(config)
    if parallel.pmap:
        _check_pmap(parallel, run)
    # Members may be dealt out to a part of the devices.
    where = parallel if members is None else _on_one_device()
    say(f"{preset} on {data.name}: {len(images):,} examples, run {path}")
    say(_situation(parallel, len(runs)))
    there = [create_or_check(each) for each in dict.fromkeys([run, *runs])]
    starts = restore(runs, where) if all(there) else None
    if starts is not None:
        say(f"going on after epoch {len(starts[0].history)}")
    try:
        if members is None:
            fits = [_fit(run, data, parallel, given, starts, stop)]
        else:
            fits = _fit_members(members, data, parallel, starts, stop)
    except KeyboardInterrupt:
        say(f"\nthe finished epochs are kept: python -m train.evaluate {path}")
        raise
    _say_why_early(config, len(fits[0].history), stop)
    _write(run, runs, fits, data, members)
    return run


def _say_why_early(config: Config, done: int, stop: Callable[[], bool]) -> None:
    """Patience ends a training with epochs left, unless it was told to end.

    Raises:
        Terminated: It was.
    """
    if done == config.epochs:
        return
    after = f"after epoch {done} of {config.epochs}"
    if stop():
        raise Terminated(f"saved {after}; go on with --resume")
    say(f"ended {after}: no better one for --patience {config.patience}")


def _fitted(scale: Scale, recipe: jaxae.Recipe, train: Split | LazySplit) -> Scale:
    """With the numbers of the training examples, for which all of them are read."""
    if isinstance(train, LazySplit):
        return scale.of(train.images)
    scaled = recipe.replace(prepare=scale)
    fitted, _ = fit_scale(scaled, examples(recipe, train))
    assert isinstance(fitted.prepare, Scale)
    return fitted.prepare


def _check_options(config: Config) -> None:
    for option in ("resume", "distributed"):  # by default --out has the time in it
        given = config.out is not None or not getattr(config, option)
        ensure(given, f"--out must be given with --{option}")
    both = config.resume and config.overwrite
    ensure(not both, "--overwrite must be left out with --resume")
    check_count("--epochs", config.epochs)
    check_count("--batch-size", config.batch_size)
    if config.patience is not None:
        check_count("--patience", config.patience)
    check_count("--accumulate", config.accumulate)
    check_count("--nll-samples", config.nll_samples, least=0)
    if config.steps_per_epoch is not None:
        check_count("--steps-per-epoch", config.steps_per_epoch)
        ensure(config.stream, "--steps-per-epoch must be given with --stream alone")
    fits = config.batch_size % config.accumulate == 0
    require(fits, "--accumulate", config.accumulate, "a divisor of --batch-size")


def _check_words(config: Config) -> None:
    """Before the data are read, which may take long; how many they are is no matter."""
    config.model.read(steps_per_epoch=1)
    if config.scale is not None:
        words.SCALE.read(config.scale, "--scale", 1)
    check_members(config)


def _check_pairs(run: Run, train: Split | LazySplit) -> None:
    """What data bring as inputs is damaged already, so that a preset's own is not."""
    paired = isinstance(train, Split) and train.inputs is not None
    preset, damage = PRESETS[run.preset].config(), run.recipe().corruption
    if not paired or damage is identity:
        return
    twice = f"the data bring inputs, which {run.preset} would damage once more"
    words_of = getattr(run.config.model, "corruption", None)
    chosen = words_of != getattr(preset.model, "corruption", None)
    remedy = "--model.corruption must be identity, or one that you choose"
    if not hasattr(preset.model, "corruption"):
        remedy = "--inputs must be left out"
    ensure(chosen, f"{remedy}: {twice}")


def _given(run: Run) -> jaxae.Model | None:
    """The model of `--start`, unless the run goes on from checkpoints of its own."""
    config = run.config
    if config.start is None or (config.resume and saved_epochs(run.checkpoints)):
        return None
    model = jaxae.load(config.start)
    compare(run.recipe(), model)
    return model


def check_split(recipe: jaxae.Recipe, split: Split | LazySplit, name: str) -> None:
    """As `fit` does; and pictures, which damage and reports take so, lie in [0, 1]."""
    if isinstance(split, LazySplit):
        split = split.head(CHECKED)
    elif jax.process_count() > 1:  # every host reads, and checks, its own share later
        split = split.head(CHECKED)
    images = split.images
    check_data(recipe, examples(recipe, split), name)
    if images.ndim == 4 and images.dtype != np.uint8:
        low, high = images.min(), images.max()
        count, height, width, channels = images.shape
        pictures = f"pictures of {height}×{width}, bytes or floats in [0, 1]"
        vectors = f"[{count}, {height * width * channels}]"
        ensure(
            low >= 0 and high <= 1,
            f"{name} must be {pictures}, got {low:g} to {high:g}: what is no picture "
            f"is given as vectors, of shape {vectors}, with --scale",
        )


def _parallel(config: Config) -> Parallel:
    kind = config.parallel
    devices = jax.devices()[:1] if kind == "none" else jax.devices()
    hosts = jax.process_count()
    require(kind != "none" or hosts == 1, "--parallel", kind, f"data on {hosts} hosts")
    layout = fsdp if kind == "fsdp" else replicated
    return Parallel(make_mesh(devices=devices), layout, pmap=kind == "pmap")


def _on_one_device() -> Parallel:
    return Parallel(make_mesh(devices=jax.devices()[:1]), replicated)


def _check_pmap(parallel: Parallel, run: Run) -> None:
    """With the names of the command line, before the directory is made."""
    devices, config = parallel.mesh.size, run.config
    even = config.batch_size % devices == 0
    expected = f"a multiple of the {devices} devices, for --parallel pmap"
    require(even, "--batch-size", config.batch_size, expected)
    left = run.train_size % config.batch_size % devices
    whole = f"a last batch that the {devices} devices divide for --parallel pmap"
    ensure(not (config.stream and left), f"--stream needs {whole}, {left} are left")
    check_mapped(parallel, config.batch_size, run.train_size)


def _situation(parallel: Parallel, members: int) -> str:
    mesh = parallel.mesh
    kind = mesh.devices.flat[0].device_kind
    parts = [f"{mesh.size} × {kind}"]
    if jax.process_count() > 1:
        parts.append(f"{jax.process_count()} hosts")
    if members > 1:
        parts.append(f"{members} trainings at once")
    return ", ".join(parts)


def _fit(
    run: Run,
    data: Dataset,
    parallel: Parallel,
    given: jaxae.Model | None,
    starts: list[Progress] | None,
    stop: Callable[[], bool],
) -> jaxae.Fit:
    config, recipe = run.config, run.recipe()
    images = examples(recipe, data.train)
    with ExitStack() as stack:

        def stream(first: int) -> Iterator[Any]:
            batches = shuffled_batches(
                images,
                config.batch_size,
                config.seed,
                first=first,
                process=jax.process_index(),
                processes=jax.process_count(),
                devices=parallel.mesh.shape[DATA],
            )
            return stack.enter_context(closing(batches))

        return jaxae.fit(
            recipe,
            stream if config.stream else images,
            steps_per_epoch=run.steps_per_epoch if config.stream else None,
            key=jax.random.key(config.seed),
            epochs=config.epochs,
            patience=config.patience,
            batch_size=config.batch_size,
            tx=run.optimizer(),
            validation=examples(recipe, data.validation),
            callbacks=_callbacks(run, stack, keep=2),
            progress=first_host(),
            parallel=parallel,
            accumulate=config.accumulate,
            remat=config.remat,
            start=given,
            resume=starts.pop() if starts else None,  # the only one that keeps it
            stop=stop,
        )


def _fit_members(
    members: Members,
    data: Dataset,
    parallel: Parallel,
    starts: Sequence[Progress] | None,
    stop: Callable[[], bool],
) -> list[jaxae.Fit]:
    config, recipe = members.runs[0].config, members.runs[0].recipe()
    with ExitStack() as stack:
        # Members may be two epochs apart on disk, and go on from one that all have.
        callbacks = [_callbacks(run, stack, keep=4) for run in members.runs]

        def notify(member: int, epoch: Epoch) -> None:
            for callback in callbacks[member]:
                callback(epoch)

        return fit_many(
            members.build,
            examples(recipe, data.train),
            keys=members.keys(),
            values=members.values,
            epochs=config.epochs,
            patience=config.patience,
            batch_size=config.batch_size,
            validation=examples(recipe, data.validation),
            callbacks=[notify],
            mesh=parallel.mesh,
            accumulate=config.accumulate,
            remat=config.remat,
            resume=starts,
            stop=stop,
        )


def _callbacks(run: Run, stack: ExitStack, keep: int) -> list[Callable[[Epoch], None]]:
    """What is written after every epoch; only checkpoints by all hosts."""
    monitor = f"validation_{run.recipe().monitor}"
    save = stack.enter_context(save_epochs(run.checkpoints, monitor, keep))
    if not first_host():
        return [save]
    # A row without a checkpoint does no harm, but not the other way round.
    callbacks = [lambda epoch: append_metrics(run.metrics, epoch.metrics), save]
    if run.config.tensorboard:
        from train.tensorboard import scalars

        callbacks.append(stack.enter_context(scalars(run.path, run.history())))
    return callbacks


def _write(
    run: Run,
    runs: Sequence[Run],
    fits: Sequence[jaxae.Fit],
    data: Dataset,
    members: Members | None,
) -> None:
    """Evaluates and reports on the first host, from where every model fits whole."""
    for each, fitted in zip(runs, fits, strict=True):
        model, last = local((fitted.model, _last_model(fitted)))
        if first_host() and fitted.best_epoch:
            save_models(each, model, last)
            name = "" if members is None else f"{each.path.name}: "
            print(f"{name}best epoch {fitted.best_epoch}; evaluating", flush=True)
            write_results(each, model, fitted.best_epoch, data)
    if members is not None and first_host():
        write_summary(run, members)
    wait_for_all("the results")


def _last_model(fitted: jaxae.Fit) -> jaxae.Model:
    return trained_model(fitted.model.recipe, fitted.state)
