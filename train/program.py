"""What all programs share: errors in one line, a compilation cache, quiet logs."""

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from absl import logging as absl_logging

from jaxae.errors import ArgumentError, CheckpointError, TrainingDiverged
from jaxae.inputs import SCALE
from train.data.cache import default_folder
from train.errors import DataError, LostHost, RunError
from train.supervisor import LOST_HOST
from train.termination import EXIT_STATUS, Terminated
from train.words import snake_case

EXPECTED = (
    ArgumentError,
    CheckpointError,
    DataError,
    OSError,
    RunError,
    TrainingDiverged,
)
INTERRUPTED = 130

_OPTIONS: tuple[tuple[str, Any], ...] = (
    (
        re.escape(SCALE) + r"(\w+)\(\)\)",
        lambda scale: f"scale them by --scale {snake_case(scale[1])}",
    ),
    (r"\blikelihood='(\w+)'", r"--model.likelihood \1"),
    (r"\bmissing='nan'", "--missing nan"),
    ("^shape must be", "the shape of an example in --data must be"),
)


@contextmanager
def program() -> Iterator[None]:
    """Runs a program's body; what a user can get wrong ends in one line."""
    set_up()
    try:
        yield
    except EXPECTED as error:
        print(f"error: {in_options(str(error))}", file=sys.stderr, flush=True)
        if jax.distributed.is_initialized():
            # JAX would wait for the other hosts, which wait for this one.
            os._exit(1)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Terminated as end:
        print(f"terminated: {end}", file=sys.stderr)
        raise SystemExit(EXIT_STATUS) from None
    except LostHost as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        # JAX would wait for the other hosts, minutes long, before the process ends.
        os._exit(LOST_HOST)


def set_up() -> None:
    """Keeps compiled programs for the next start, and logs nothing of the libraries.

    What they log as an error is raised too, and said once, by `program`.
    """
    warnings.showwarning = _show_warning
    if (folder := default_folder()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    absl_logging.set_verbosity(absl_logging.FATAL)


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"warning: {in_options(str(message))}", file=sys.stderr)


def in_options(message: str) -> str:
    """What the library says of a program's data, with options for its arguments."""
    for pattern, option in _OPTIONS:
        message = re.sub(pattern, option, message)
    return message
