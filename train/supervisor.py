"""A process beside the training on several hosts, that can say why it ended.

When a host is lost, JAX ends the processes of the others from inside, with a trace of
its own and no exception. This one has not joined them, so it stays to tell.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import IO

LOST_HOST = 70  # "internal software error", by the convention of sysexits.h
_STDOUT = 1
_CHILD = "JAXAE_SUPERVISED"
_NOISE = ("    @ ", "*** Check failure", "[Gloo]")  # of the libraries


def supervised() -> bool:
    """Whether this process is the one that trains."""
    return _CHILD in os.environ


def supervise(arguments: Sequence[str]) -> int:
    """Runs `python -m train` with the same arguments, and returns its exit status."""
    child = subprocess.Popen(
        [sys.executable, "-m", "train", *arguments],
        env={**os.environ, _CHILD: "1"},
        stderr=subprocess.PIPE,
        encoding=sys.stderr.encoding,  # the child has the same environment
        errors="backslashreplace",
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    printing = Thread(target=_pass_on, args=(child.stderr, sys.stderr))
    printing.start()
    before = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    try:
        status = child.wait()
    except KeyboardInterrupt:  # the child got it too, and says so
        status = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        printing.join()
    if status != -signal.SIGABRT:
        return status if status >= 0 else 128 - status
    print(
        "error: another host was lost, or the connection to it; the finished epochs "
        "are kept: start all hosts again with --resume",
        file=sys.stderr,
    )
    return LOST_HOST


def _end_with_parent() -> None:
    """So that no training goes on of which its user thinks that it was killed."""
    prctl_set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGKILL)


def only_python_prints() -> None:
    """What other languages write to the standard output is dropped from now on.

    Gloo says there whom it is connected to, from several threads at once.
    """
    sys.stdout.flush()
    own, encoding = os.dup(_STDOUT), sys.stdout.encoding
    errors = "backslashreplace"
    sys.stdout = os.fdopen(own, "w", buffering=1, encoding=encoding, errors=errors)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)


def _pass_on(source: IO[str] | None, target: IO[str]) -> None:
    """Line by line as they come, but for `_NOISE`."""
    assert source is not None
    # Where nobody reads any more, the child has to hear of it.
    with suppress(BrokenPipeError), source:
        for line in source:
            if not line.startswith(_NOISE):
                target.write(line)
                target.flush()
