"""`python -m train.compress RUN INPUT --out FILE.jae`: images by a trained model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from train.commands import parse


@dataclass(frozen=True)
class Arguments:
    """Compresses images without loss, to about as much as the model says: -ELBO."""

    run: tyro.conf.Positional[Path]
    """Directory of the run, of which the best model counts, or a folder that
    `jaxae.save` wrote."""
    input: tyro.conf.Positional[Path]
    """FILE.npy, FILE.npz or a FOLDER of PNG and JPEG, of the model's shape and 8 bits;
    for a Bernoulli likelihood 0 and 255, or 0 and 1."""
    out: Path = Path("out.jae")
    """The file to write."""
    prior: Path | None = None
    """A prior of whole numbers, a folder that `jaxae.save` wrote; if not given, it is
    fitted to those of the run's training data and kept with the run."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = parse(Arguments, "python -m train.compress")

    from train.program import program

    with program():
        compress(arguments)


def compress(arguments: Arguments) -> None:
    """Reads, compresses, writes.

    Raises:
        CheckpointError: There is no model.
        ArgumentError: The model or the images are of another kind, or the file exists.
        DataError: The images or the run's training data cannot be read.
        RunError: constriction is not installed, or the run's data have changed.
        OSError: The file cannot be written.
    """
    import jaxae
    from jaxae import compression
    from jaxae.compression.densities import check_pixels
    from jaxae.compression.files import check_images
    from jaxae.errors import ensure, require
    from train.code_priors import code_prior
    from train.data import read_examples
    from train.data.folder import check_pixels_stay

    out = arguments.out
    require(not out.exists(), "--out", str(out), "a path that does not exist yet")
    if arguments.input.is_dir():
        check_pixels_stay(arguments.input)
    found = read_examples(arguments.input)
    gaps = f"{arguments.input}: 'missing' must be left out, a file holds images whole"
    ensure(found.missing is None or not found.missing.any(), gaps)
    own = f"{arguments.input}: 'inputs' must be left out, a file is of what is encoded"
    ensure(found.inputs is None, own)
    images, model = found.images, jaxae.load(arguments.run)
    check_pixels(model.recipe)  # before a prior is fitted, as all that takes no time
    check_images(model, images)
    prior = code_prior(model, arguments.run, arguments.prior, fit=True)
    with constriction_needed():
        source = str(arguments.run)
        data = compression.compress(model, images, prior=prior, source=source)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    share = 8 * len(data) / images.size
    print(f"{len(images)} images -> {out}: {len(data):,} bytes, ", end="")
    print(f"{share:.4f} bits per dimension")


@contextmanager
def constriction_needed() -> Iterator[None]:
    """That it is not installed is no fault of a program."""
    from train.errors import RunError

    try:
        yield
    except ImportError as error:
        raise RunError(str(error)) from error


if __name__ == "__main__":
    main()
