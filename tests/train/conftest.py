"""What the tests of programs share: files, and pictures that are drawn fast."""

from collections.abc import Callable

import matplotlib
import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="module")
def coarse_pictures():
    """Of few pixels: drawing them took longer than what they are of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matplotlib.rcParams, "savefig.dpi", 60)
        yield


@pytest.fixture
def save(tmp_path) -> Callable[..., str]:
    """Writes a file of named arrays, or of one."""

    def write(name: str, array: np.ndarray | None = None, **arrays: np.ndarray) -> str:
        path = tmp_path / name
        np.savez(path, **arrays) if array is None else np.save(path, array)
        return str(path)

    return write
