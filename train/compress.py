"""`python -m train.compress RUN INPUT --out FILE.jae`: images by a trained model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from train.commands import parse


@dataclass(frozen=True)
class Arguments:
    """Compresses images without loss, to about -ELBO of a variational auto-encoder."""

    run: tyro.conf.Positional[Path]
    """Directory of the run, of which the best model counts, or a folder that
    `jaxae.save` wrote."""
    input: tyro.conf.Positional[Path]
    """FILE.npy, FILE.npz or a FOLDER of PNG and JPEG, of the model's shape and 8 bits;
    for a Bernoulli likelihood 0 and 255, or 0 and 1."""
    out: Path = Path("out.jae")
    """The file to write."""


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
        DataError: The images cannot be read.
        RunError: constriction is not installed.
        OSError: The file cannot be written.
    """
    import jaxae
    from jaxae import compression
    from jaxae.errors import require
    from train.data import read_images

    out = arguments.out
    require(not out.exists(), "--out", str(out), "a path that does not exist yet")
    images = read_images(arguments.input)
    model = jaxae.load(arguments.run)
    with constriction_needed():
        data = compression.compress(model, images, source=str(arguments.run))
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
