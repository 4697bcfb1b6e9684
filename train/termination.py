"""SIGTERM, by which a machine is taken away: finish the epoch, save, and end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

EXIT_STATUS = 75  # "try again later", by the convention of sysexits.h


class Terminated(Exception):
    """The training was told to end before it was done."""


@contextmanager
def noting_termination() -> Iterator[Callable[[], bool]]:
    """Yields a function for `fit`'s `stop`: whether any host was told to end.

    A second SIGTERM ends the process at once; the finished epochs are kept.
    """
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def told() -> bool:
        if jax.process_count() == 1:
            return bool(came)
        return bool(multihost_utils.process_allgather(np.asarray(bool(came))).any())

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
