"""A process beside the training on several hosts, that can say why it ended.

When a host is lost, JAX ends the processes of the others from inside, with a trace of
its own and no exception. This one has not joined them, so it stays to tell.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

LOST_HOST = 70  # "internal software error", by the convention of sysexits.h
_CHILD = "JAXAE_SUPERVISED"


def supervised() -> bool:
    """Whether this process is the one that trains."""
    return _CHILD in os.environ


def supervise(arguments: Sequence[str]) -> int:
    """Runs `python -m train` with the same arguments, and returns its exit status."""
    child = subprocess.Popen(
        [sys.executable, "-m", "train", *arguments],
        env={**os.environ, _CHILD: "1"},
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    before = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    try:
        assert child.stderr is not None
        for line in child.stderr:
            if not line.startswith(("    @ ", "*** Check failure", "[Gloo]")):
                sys.stderr.write(line)
        status = child.wait()
    except KeyboardInterrupt:  # the child got it too, and says so
        status = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if status != -signal.SIGABRT:
        return status if status >= 0 else 128 - status
    print(
        "error: another host was lost, or the connection to it; the finished epochs "
        "are kept: start all hosts again with --resume",
        file=sys.stderr,
    )
    return LOST_HOST
