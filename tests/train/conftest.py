"""What the tests of programs share: files, and pictures that are drawn fast."""

import os
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="module")
def coarse_pictures():
    """Of few pixels: drawing them took longer than what they are of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matplotlib.rcParams, "savefig.dpi", 60)
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory, worker_id) -> Path:
    """Of all workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def use_devices() -> Callable[[pytest.MonkeyPatch, int], None]:
    """Has the programs that a test starts simulate so many devices."""

    def use(patch: pytest.MonkeyPatch, count: int) -> None:
        flag = f"--xla_force_host_platform_device_count={count}"  # the last one counts
        patch.setenv("XLA_FLAGS", f"{os.environ['XLA_FLAGS']} {flag}")

    return use


@pytest.fixture
def save(tmp_path) -> Callable[..., str]:
    """Writes a file of named arrays, or of one."""

    def write(name: str, array: np.ndarray | None = None, **arrays: np.ndarray) -> str:
        path = tmp_path / name
        np.savez(path, **arrays) if array is None else np.save(path, array)
        return str(path)

    return write
