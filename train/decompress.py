"""`python -m train.decompress FILE.jae --out PATH`: the images of a compressed file."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from train.commands import parse


@dataclass(frozen=True)
class Arguments:
    """Writes the images that `python -m train.compress` was given."""

    file: tyro.conf.Positional[Path]
    """What it wrote."""
    out: Path = Path("out.npy")
    """Where to: FILE.npy for an array [n, h, w, c] of bytes, or a new folder for PNG
    images."""
    run: Path | None = None
    """Where the model is now; where it was when the images were compressed if not
    given."""
    prior: Path | None = None
    """The folder of the prior that `train.compress` was given, if it was."""


def main() -> None:
    """Parses first: help and wrong options should not wait for JAX to start."""
    arguments = parse(Arguments, "python -m train.decompress")

    from train.program import program

    with program():
        decompress(arguments)


def decompress(arguments: Arguments) -> None:
    """Reads, decompresses, writes.

    Raises:
        CheckpointError: There is no model.
        ArgumentError: The file is none of `train.compress` or damaged, or of another
            model or computer; or the output exists, or is not for such images.
        RunError: constriction is not installed.
        OSError: The file cannot be read, or the images cannot be written.
    """
    import jaxae
    from jaxae import compression
    from jaxae.errors import ArgumentError, ensure, require
    from train.code_priors import code_prior
    from train.compress import constriction_needed
    from train.writing import check_place, write_levels

    file, out = arguments.file, arguments.out
    require(not out.exists(), "--out", str(out), "a path that does not exist yet")
    data = file.read_bytes()
    try:
        header = compression.read_header(data)
        check_place(out, (header.count, *header.shape))
        run = arguments.run or Path(header.source)
        there = arguments.run or (header.source and run.exists())
        known = f"compressed with the model in {header.source!r}, which is not there"
        ensure(there, f"--run must be given: the images were {known}")
        model = jaxae.load(run)
        prior = code_prior(model, run, arguments.prior)
        with constriction_needed():
            images = compression.decompress(model, data, prior=prior)
    except ArgumentError as error:
        raise ArgumentError(f"{file}: {error}") from error
    write_levels(out, images)
    print(f"{len(images)} images -> {out}")


if __name__ == "__main__":
    main()
