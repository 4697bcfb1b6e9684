"""Several hosts on JAX's distributed runtime: joining, waiting, losing one."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import jax
import orbax.checkpoint as ocp
from jax.errors import JaxRuntimeError

from jaxae.errors import ArgumentError, ensure, require
from train.config import Config
from train.errors import DataError, LostHost

HEARTBEAT_SECONDS = 60  # without one, a host counts as lost
WAIT_SECONDS = 24 * 3600  # for the first host, while it evaluates and reports
_WAITS = count()  # every wait has a name of its own, the same on all hosts


def join(config: Config) -> None:
    """Joins the other hosts, before JAX looks at its devices.

    Raises:
        ArgumentError: The options do not go together.
        LostHost: The others did not come.
    """
    address, index = config.distributed, config.process_id
    processes = config.num_processes
    if address is None:
        alone = processes is None and index is None
        needed = "--distributed must be auto or HOST:PORT"
        ensure(alone, f"{needed} with --num-processes and --process-id")
        return
    if address != "auto":
        required = "--num-processes and --process-id beside --distributed HOST:PORT"
        host, _, port = address.rpartition(":")
        right = bool(host) and port.isdecimal() and 0 < int(port) < 2**16
        require(right, "--distributed", address, "auto or HOST:PORT")
        given = processes is not None and index is not None and 0 <= index < processes
        require(given, required, (processes, index), "a number and an index below it")
    try:
        jax.distributed.initialize(
            None if address == "auto" else address,
            processes,
            index,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:  # what auto needs was not found
        expected = "HOST:PORT where JAX finds no TPU pod, Slurm, Open MPI or GKE"
        require(False, "--distributed", address, f"{expected} ({error})")
    except JaxRuntimeError as error:
        raise LostHost(f"the other hosts did not come to {address}: {error}") from error


def first_host() -> bool:
    """Whether this host writes logs and reports: one does."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints on one host."""
    if first_host():
        print(text, flush=True)


def wait_for_all(what: str) -> None:
    """Returns when every host is there."""
    if jax.process_count() > 1:
        ocp.multihost.sync_global_processes(
            f"jaxae {next(_WAITS)} {what}",
            timeout=WAIT_SECONDS,
            # Said explicitly they wait by the coordination service, with this timeout.
            processes=set(range(jax.process_count())),
        )


@contextmanager
def watching_hosts() -> Iterator[None]:
    """Says that a host was lost where the devices only say that they failed.

    Raises:
        LostHost: On several hosts, in place of JAX's own exception.
    """
    try:
        yield
    except (ArgumentError, DataError):
        raise
    except (JaxRuntimeError, ValueError) as error:
        if jax.process_count() == 1 or not _is_loss(error):
            raise
        raise LostHost(
            "another host was lost, or the connection to it; start all of them again "
            f"with --resume ({str(error).splitlines()[0][:200]})"
        ) from error


def _is_loss(error: Exception) -> bool:
    """Gloo, NCCL and the coordination service have no exception of their own."""
    words = ("gloo", "nccl", "connection", "coordination", "barrier", "heartbeat")
    return any(word in str(error).lower() for word in words)
