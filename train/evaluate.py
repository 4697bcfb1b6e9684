"""`python -m train.evaluate RUN`: compute the results of a run again.

The numbers and the report are made from the best checkpoint, in the run's directory,
and the models that `jaxae.load` takes from there are written again. Those on other data
get a folder of their own in it.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import tyro

from train.commands import parse


@dataclass(frozen=True)
class Arguments:
    """Computes the results of a run again, from the checkpoint of its best epoch."""

    run: tyro.conf.Positional[Path]
    """Directory of the run."""
    data: str | None = None
    """Where the run's data are now, which are recognised by what they hold; or other
    data of the same shape, of which the test part counts, or all if there is none."""
    inputs: str | None = None
    """With --data, as in training."""
    missing: str | None = None
    """With --data, as in training."""
    nll_samples: int | None = None
    """Importance samples per test image; as in training if not given, 0 for none."""
    samplers: bool = False
    """Fit samplers to the codes too, and compare their images by Fréchet distance."""
    features: str | None = None
    """package.module:function from images to features, to compare them by; those of
    a classifier, trained once and kept in the run, if not given."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = parse(Arguments, "python -m train.evaluate")

    from train.program import program

    with program():
        evaluate(arguments)


def evaluate(arguments: Arguments) -> None:
    """Restores, evaluates, writes.

    Raises:
        RunError: There is no run, or its data have changed.
        CheckpointError: It has no checkpoint, or one of another architecture.
        DataError: Its data cannot be used.
        ArgumentError: There are no features to compare images by.
    """
    import jax

    from jaxae.errors import ensure
    from train.examples import configured
    from train.generation import compare_samplers
    from train.recognition import check_unchanged, found
    from train.results import write_results, write_results_on
    from train.run import EVALUATION_KEY, Run, open_run, restore_model, save_models

    beside = (arguments.inputs, arguments.missing)
    alone = arguments.data is None and beside != (None, None)
    ensure(not alone, "--data must be given with --inputs and --missing")
    run = open_run(arguments.run)
    if arguments.nll_samples is not None:
        config = dataclasses.replace(run.config, nll_samples=arguments.nll_samples)
        run = run._replace(config=config)
    model, epoch = restore_model(run)
    if arguments.data is not None:
        there = found(run, arguments.data, *beside)
        if not isinstance(there, Run):
            ensure(not arguments.samplers, "--samplers is for the run's own data alone")
            write_results_on(run, model, epoch, *there)
            return
        run = there
    save_models(run, model, restore_model(run, "last")[0])
    data = configured(run.config)
    check_unchanged(run, data)
    generated = None
    if arguments.samplers:
        key = jax.random.fold_in(jax.random.key(EVALUATION_KEY), 1)
        generated = compare_samplers(run, model, data, arguments.features, key)
    write_results(run, model, epoch, data, generated)


if __name__ == "__main__":
    main()
