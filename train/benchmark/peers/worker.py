"""What all peers share: a case comes as an argument, a round starts with a line.

`python -m train.benchmark.peers.with_NAME CASE IMAGES`, with the case as JSON and the
images in a `.npy` file. The answers are lines of JSON: at first, after a round that
compiles and warms up, the parameters; then one after every round.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Case = dict[str, Any]

_answers = sys.stdout


def read_task() -> tuple[Case, np.ndarray]:
    """The case, and its images: bytes [n, 28, 28, 1], in memory.

    From here on libraries may print what they like: it goes to the log.
    """
    global _answers
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return json.loads(sys.argv[1]), np.load(sys.argv[2])


def answer(**values: Any) -> None:
    """Sends a line, with the memory that was needed at most so far."""
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({**values, "peak_bytes": peak}), file=_answers, flush=True)


def wait() -> bool:
    """Until the next round is due; False if there is none."""
    return bool(sys.stdin.readline())


def serve(
    parameters: int,
    one_round: Callable[[], float],
    device_peak: Callable[[], int | None] = lambda: None,
) -> None:
    """Answers until there are no more rounds.

    Args:
        parameters: Of the model.
        one_round: Trains on all images once, waits for it, and returns the mean loss.
        device_peak: The bytes of an accelerator's memory that were in use at most.
    """
    loss = one_round()
    answer(parameters=parameters, loss=loss, device_peak_bytes=device_peak())
    while wait():
        start = time.perf_counter()
        loss = one_round()
        seconds = time.perf_counter() - start
        answer(seconds=seconds, loss=loss, device_peak_bytes=device_peak())
