"""Batches from the disk: every example once a pass, in another order each time."""

from itertools import islice

import numpy as np
import pytest

from train.data.stream import shuffled_batches


@pytest.fixture
def fields(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(22.0, dtype=np.float32).reshape(11, 2))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    return {"x": x, "label": np.arange(11, dtype=np.int32)}


def test_a_pass_has_every_example_once_with_its_label(fields):
    batches = shuffled_batches(fields, 4, seed=0)
    passes = [list(islice(batches, 3)) for _ in range(3)]
    orders = [np.concatenate([b["label"] for b in p]) for p in passes]
    for batch in passes[0]:
        np.testing.assert_array_equal(batch["x"][:, 0], 2 * batch["label"])
    assert [len(b["x"]) for b in passes[0]] == [4, 4, 3]
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_the_order_follows_from_the_seed(fields):
    first, again, other = (
        [b["label"].tolist() for b in islice(shuffled_batches(fields, 4, seed), 3)]
        for seed in (0, 0, 1)
    )
    assert first == again != other
