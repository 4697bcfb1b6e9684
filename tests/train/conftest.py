"""Pictures of few pixels: drawing them took longer than what they are of."""

import matplotlib
import pytest


@pytest.fixture(autouse=True, scope="module")
def coarse_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matplotlib.rcParams, "savefig.dpi", 60)
        yield
