"""What compresses codes of whole numbers: fitted once for a run, and kept there."""

from pathlib import Path

import jax

import jaxae
from jaxae import samplers
from jaxae.compression.files import fingerprint
from jaxae.errors import ensure
from train.data import LazySplit
from train.examples import configured
from train.generation import MAX_STREAMED
from train.recognition import check_unchanged
from train.run import CONFIG, EVALUATION_KEY, open_run

KEPT = "code_priors"
"""In the directory of a run, with a folder for every model of it."""


def code_prior(
    model: jaxae.Model, run: Path, given: Path | None, *, fit: bool = False
) -> jaxae.Model | None:
    """The prior of a model's codes; None for codes that are no whole numbers.

    Args:
        model: That of the run.
        run: Where it is.
        given: The folder of a prior; None for the run's own.
        fit: Whether the run's own is fitted to its training data if there is none yet.

    Raises:
        CheckpointError: There is no prior.
        ArgumentError: It is given for nothing, or missing and there are no data to fit
            one to.
        RunError: The run's data have changed.
        DataError: They cannot be used.
    """
    if not model.module.num_codes:
        ensure(given is None, "--prior is for codes of whole numbers alone")
        return None
    folder = given or run / KEPT / fingerprint(model)
    if fit and given is None and not folder.exists():
        jaxae.save(_fitted(model, run), folder)
        print(f"-> {folder}", flush=True)
    none = f"--prior must be given: there is none of the run's own in {folder}"
    ensure(given is not None or folder.exists(), none)
    return jaxae.load(folder)


def _fitted(model: jaxae.Model, run: Path) -> jaxae.Model:
    needed = f"--prior must be given: {run} is no run, whose training data are known"
    ensure((run / CONFIG).exists(), needed)
    opened = open_run(run)
    data = configured(opened.config)
    check_unchanged(opened, data)
    train = data.train
    train = train.head(MAX_STREAMED) if isinstance(train, LazySplit) else train
    gaps = "--prior must be given: some values of the run's training data are missing"
    ensure(train.missing is None, gaps)
    key = jax.random.fold_in(jax.random.key(EVALUATION_KEY), 2)
    key_codes, key_fit = jax.random.split(key)
    codes = samplers.aggregate_codes(model, train.images, key_codes)
    print(f"prior of the codes of {len(train.images):,} training images", flush=True)
    num_codes = model.module.num_codes
    return samplers.code_density(codes, key_fit, num_codes=num_codes, progress=True)
