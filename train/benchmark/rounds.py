"""Peers as processes that take turns: while one works, the others wait for a line."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from train.benchmark.cases import Case
from train.benchmark.results import Result, Round, Start

ROOT = Path(__file__).parents[2]
MODULES = {"scan": "flax", "torch-compile": "torch"}
"""What a peer needs of its Python, where that is not what it is called."""
PATIENCE = 900.0
"""Seconds for the first or any other round, compiling included."""
CACHES = ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
"""Where compiled programs are kept."""
SETTINGS = {
    # Else the first peer would take most of a GPU's memory from the others.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    # Else a note comes after the error.
    "JAX_TRACEBACK_FILTERING": "off",
}
KEEP_ALL = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

Pythons = Mapping[str, Path]


class PeerFailed(Exception):
    """A peer ended, or does not answer; the message is the last that it said."""


class Peer:
    """A running peer."""

    def __init__(
        self, name: str, case: Case, images: Path, pythons: Pythons, caches: Path | None
    ) -> None:
        """Starts it; it begins with a first round by itself.

        Args:
            name: One of `PEERS`.
            case: What it shall do.
            images: The `.npy` file of its images.
            pythons: Interpreters by peer, where it is not this one.
            caches: Folder for compiled programs; None to keep none.
        """
        self._log = tempfile.TemporaryFile("w+", errors="backslashreplace")
        self.started = time.perf_counter()
        told = json.dumps({**asdict(case), "peer": name})
        self._process = subprocess.Popen(
            [*_command(name, pythons), told, str(images)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=_environment(caches),
        )

    def ask(self) -> dict[str, Any]:
        """One more round, and what the peer says of it.

        Raises:
            PeerFailed: It ended, or does not answer.
        """
        try:
            self._stdin.write("go\n")
            self._stdin.flush()
        except BrokenPipeError:
            raise PeerFailed(self._last_words()) from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line from the peer.

        Raises:
            PeerFailed: It ended, or does not answer.
        """
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        if not ready:
            self._process.kill()  # or it would work on while others are timed
            raise PeerFailed(f"no answer within {PATIENCE:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerFailed(self._last_words())
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            self._process.kill()
            raise PeerFailed(f"said {line.strip()!r}") from None

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        # What could not be written to a process that is gone is written again on exit.
        with suppress(BrokenPipeError), self._process, self._log:
            self._process.kill()

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10.0)
        self._process.kill()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else f"ended with {self._process.returncode}"


def missing(name: str, pythons: Pythons) -> str | None:
    """The package that a peer's Python lacks."""
    module = MODULES.get(name, name)
    # A folder of this name is found as well, but has no origin.
    found = f"importlib.util.find_spec('{module}')"
    code = f"import importlib.util, sys; sys.exit(not getattr({found}, 'origin', 0))"
    ended = subprocess.run([_python(name, pythons), "-c", code], cwd=ROOT)
    return module if ended.returncode else None


def alternate(
    case: Case, names: Sequence[str], images: Path, pythons: Pythons, rounds: int
) -> list[Result]:
    """Round by round, in turn; a peer that fails is left out from there on."""
    results = {name: Result(case, name) for name in names}
    with ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for name, result in results.items():
            with _failures(result):
                peer = Peer(name, case, images, pythons, None)
                stack.callback(peer.end)
                ready = peer.answer()
                result.parameters = ready["parameters"]
                peers[name] = peer
        for _ in range(rounds):
            for name, peer in peers.items():
                if results[name].failed is None:
                    with _failures(results[name]):
                        results[name].rounds.append(Round(**peer.ask()))
    return list(results.values())


def start_over(
    case: Case, names: Sequence[str], images: Path, pythons: Pythons, rounds: int
) -> list[Result]:
    """New processes in turn: each with an empty cache, then with that cache again.

    A whole epoch is one program for some peers, in which no one can see the first step
    end; so the first step is that of processes whose epoch is one batch.
    """
    one_step = replace(case, images=case.batch_size)
    batch = images.with_name("batch.npy")
    np.save(batch, np.load(images)[: case.batch_size])
    results = {name: Result(case, name) for name in names}
    for _ in range(rounds):
        for name, result in results.items():
            if result.failed is None:
                with _failures(result):
                    steps = _start_twice(name, one_step, batch, pythons)
                    epochs = _start_twice(name, case, images, pythons)
                    _add_starts(result, steps, epochs)
    return list(results.values())


def _start_twice(
    name: str, case: Case, images: Path, pythons: Pythons
) -> list[tuple[float, dict[str, Any]]]:
    """Seconds from the command to the end of the first round, and what the peer says.

    Of the first start, which compiles, and of the second one.
    """
    starts = []
    with tempfile.TemporaryDirectory() as caches:
        for _ in range(2):
            peer = Peer(name, case, images, pythons, Path(caches))
            try:
                ready = peer.answer()
                starts.append((time.perf_counter() - peer.started, ready))
            finally:
                peer.end()
    return starts


def _add_starts(
    result: Result,
    steps: Sequence[tuple[float, Any]],
    epochs: Sequence[tuple[float, dict[str, Any]]],
) -> None:
    first, second = (
        Start(step, epoch) for (step, _), (epoch, _) in zip(steps, epochs, strict=True)
    )
    result.first_starts.append(first)
    result.second_starts.append(second)
    ready = dict(epochs[-1][1])
    result.parameters = ready.pop("parameters")
    result.rounds.append(Round(second.epoch, **ready))


@contextmanager
def _failures(result: Result) -> Iterator[None]:
    try:
        yield
    except PeerFailed as error:
        result.failed = str(error)


def _command(name: str, pythons: Pythons) -> list[str]:
    program = "torch" if name == "torch-compile" else name
    return [_python(name, pythons), "-m", f"train.benchmark.peers.with_{program}"]


def _python(name: str, pythons: Pythons) -> str:
    if name == "torch-compile":
        name = "torch"
    return str(pythons.get(name, sys.executable))


def _environment(caches: Path | None) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in CACHES}
    own |= SETTINGS
    if caches is None:
        return own
    return own | KEEP_ALL | {name: str(caches / name) for name in CACHES}
