"""What all programs share: errors in one line, a compilation cache, quiet logs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from absl import logging as absl_logging

from jaxae.errors import ArgumentError, CheckpointError, TrainingDiverged
from train.data import DataError
from train.data.cache import default_folder
from train.run import RunError

EXPECTED = (
    ArgumentError,
    CheckpointError,
    DataError,
    OSError,
    RunError,
    TrainingDiverged,
)
INTERRUPTED = 130


@contextmanager
def program() -> Iterator[None]:
    """Runs a program's body; what a user can get wrong ends in one line."""
    set_up()
    try:
        yield
    except EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def set_up() -> None:
    """Keeps compiled programs for the next start, and logs nothing of the libraries.

    What they log as an error is raised too, and said once, by `program`.
    """
    jax.config.update("jax_compilation_cache_dir", str(default_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    absl_logging.set_verbosity(absl_logging.FATAL)
