"""The drawn shapes: all of them, as large and where their factors say."""

import numpy as np
import pytest

from train.data import DataError, Split, load
from train.data.shapes import FACTORS, FIRST, SIZES, STEP, shapes_source

COUNT = 13_824


@pytest.fixture(scope="module")
def drawn() -> Split:
    (split,) = shapes_source(None).read().values()
    return split


def test_every_combination_is_there_once_and_no_picture_twice(drawn):
    assert drawn.images.shape == (COUNT, 32, 32, 1)
    assert drawn.images.dtype == np.uint8
    assert drawn.labels.shape == (COUNT, len(FACTORS))
    assert drawn.labels.dtype == np.int32
    assert len({row.tobytes() for row in drawn.labels}) == COUNT
    for column, size in zip(drawn.labels.T, FACTORS.values(), strict=True):
        assert np.unique(column).tolist() == list(range(size))
    assert len({image.tobytes() for image in drawn.images}) == COUNT


def test_area_and_centre_are_those_of_the_factors(drawn):
    images = drawn.images[..., 0] / 255.0
    _, scale, _, x, y = drawn.labels.T
    area = images.sum(axis=(1, 2))
    # A diagonal side lies between two lines of samples, 0.044 pixels apart, and the
    # smallest square has 24 pixels of sides on 36 of area: 1.5 % at most.
    np.testing.assert_allclose(area, np.square(SIZES)[scale], rtol=0.015)
    pixels = np.arange(32) + 0.5
    across = images.sum(axis=1) @ pixels / area
    down = images.sum(axis=2) @ pixels / area
    np.testing.assert_allclose(across, FIRST + STEP * x, atol=0.04)
    np.testing.assert_allclose(down, FIRST + STEP * y, atol=0.04)
    assert FIRST + STEP * (FACTORS["x"] - 1) == 32 - FIRST  # the same room on all sides


def of(drawn, **factors):
    """The pictures with these factors."""
    right = np.ones(COUNT, bool)
    for name, value in factors.items():
        right &= drawn.labels[:, list(FACTORS).index(name)] == value
    return drawn.images[right][..., 0].astype(int)


def test_shapes_turn_to_the_left_over_their_own_periods(drawn):
    # Around its centre a quarter of a turn of the pixels is exact.
    place = {"x": 4, "y": 4, "scale": 5}
    middle = slice(FIRST + STEP * 4 - 9, FIRST + STEP * 4 + 9)

    def picture(shape, rotation):
        (image,) = of(drawn, shape=shape, rotation=rotation, **place)
        return image[middle, middle]

    for shape, steps in ((1, 6), (2, 3)):  # a quarter of a turn
        for rotation in range(12 - steps):
            turned = np.rot90(picture(shape, rotation))
            # A sample on the very edge may fall on either side, of 256 in a pixel.
            assert np.abs(picture(shape, rotation + steps) - turned).max() <= 4
    last = of(drawn, shape=0, rotation=11, **place)[0][middle, middle]
    first = picture(0, 0)
    assert np.abs(np.rot90(first) - first).max() == 0
    # 7.5° short of a quarter of a turn is 7.5° to the right.
    assert np.abs(last - picture(0, 1)[:, ::-1]).max() <= 4


def test_the_heart_stands_on_its_tip_and_the_ellipse_lies(drawn):
    place = {"x": 3, "y": 3, "scale": 5, "rotation": 0}
    (heart,), (ellipse,) = of(drawn, shape=2, **place), of(drawn, shape=1, **place)
    np.testing.assert_array_equal(heart[:, :30], heart[:, :30][:, ::-1])
    widths = (heart > 127).sum(axis=1)
    rows = np.flatnonzero(widths)
    assert widths[rows[0] : rows[0] + 4].min() > widths[rows[-1]]
    height, width = ((ellipse > 0).any(axis=axis).sum() for axis in (1, 0))
    assert width - 2 * height in (-2, -1, 0)  # two pixels more that are cut


def test_they_are_divided_cached_and_resized_as_other_data(tmp_path):
    data, again = (load("shapes", cache_dir=tmp_path) for _ in range(2))
    assert len(list(tmp_path.iterdir())) == 1
    parts = data.splits()
    assert [len(each.images) for each in parts.values()] == [11_060, 1_382, 1_382]
    for part, split in parts.items():
        np.testing.assert_array_equal(split.images, getattr(again, part).images)
        np.testing.assert_array_equal(split.labels, getattr(again, part).labels)
    labels = np.concatenate([split.labels for split in parts.values()])
    assert len(np.unique(labels, axis=0)) == COUNT
    small = load("shapes", image_size=16, cache_dir=tmp_path).train
    assert small.images.shape == (11_060, 16, 16, 1)
    with pytest.raises(DataError, match="--inputs must be left out beside --data shap"):
        load("shapes", inputs="x.npy", cache_dir=tmp_path)
