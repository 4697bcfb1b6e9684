"""What data may have beside their images: inputs, what is missing, labels, weights."""

import numpy as np
import pytest
from PIL import Image

from train.data import DataError, load
from train.data.__main__ import describe
from train.data.fields import NAN
from train.data.images import resize

COUNT = 20
PARTS = ("train", "validation", "test")
RNG = np.random.default_rng(0)
X = RNG.random((COUNT, 4, 6, 1)).astype(np.float32)
HOLES = RNG.random((COUNT, 4, 6, 1)) < 0.3
GAPS = np.where(HOLES, np.float32(np.nan), X)


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path_factory.mktemp("cache")))


def whole(dataset, field):
    """The field of all parts, in no particular order."""
    return np.concatenate([getattr(getattr(dataset, part), field) for part in PARTS])


def numbered(side=4):
    """Bytes; every image holds its number in its first pixel."""
    x = np.random.default_rng(1).integers(0, 256, (COUNT, side, side), np.uint8)
    x[:, 0, 0] = np.arange(COUNT)
    return x


def save_folder(folder, images, suffix="png"):
    for i, image in enumerate(images):
        path = folder / f"{i % 2}" / f"{i}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return str(folder)


def test_fields_in_one_file_stay_together(tmp_path):
    x = numbered()
    arrays = {
        "x": x,
        "inputs": np.repeat(np.arange(COUNT)[:, None], 5, axis=1),
        "missing": x == 7,
        "label": np.char.mod("name %d", np.arange(COUNT)),
        "weight": np.arange(COUNT, dtype=np.float64),
    }
    np.savez(tmp_path / "all.npz", **arrays)
    for stream in (False, True):
        data = load(str(tmp_path / "all.npz"), stream=stream)
        number = np.where(whole(data, "labels") == "name 7", 7, whole(data, "weight"))
        np.testing.assert_array_equal(
            whole(data, "labels"), arrays["label"][number.astype(int)]
        )
        found = whole(data, "inputs")
        assert found.shape == (COUNT, 5) and found.dtype == np.uint8
        np.testing.assert_array_equal(found[:, 0], number)
        images, missing = whole(data, "images"), whole(data, "missing")
        assert missing.shape == images.shape and missing.sum() == (x == 7).sum()
        expected = np.where(x == 7, 0, x)[number.astype(int)]
        np.testing.assert_array_equal(images[..., 0], expected)


def test_parts_of_their_own_have_their_fields(tmp_path):
    arrays = {
        "x": X,
        "inputs": X[..., :3, :],
        "missing": HOLES,
        "weight": np.ones(COUNT),
    }
    arrays["label"] = np.arange(COUNT)
    halves = {"train": slice(15), "test": slice(15, None)}
    named = {
        f"{k}_{part}": v[rows]
        for k, v in arrays.items()
        for part, rows in halves.items()
    }
    np.savez(tmp_path / "parts.npz", **named)
    data = load(str(tmp_path / "parts.npz"))
    np.testing.assert_array_equal(data.test.labels, np.arange(15, COUNT))
    np.testing.assert_array_equal(data.test.inputs, X[15:, :, :3])
    np.testing.assert_array_equal(data.test.missing, HOLES[15:])
    assert data.test.input_shape == data.train.input_shape == (4, 3, 1)
    for part in PARTS:
        assert "inputs (" in describe(getattr(data, part))
    del named["inputs_test"]
    np.savez(tmp_path / "lacks.npz", **named)
    with pytest.raises(DataError, match="inputs_train or inputs_test is missing"):
        load(str(tmp_path / "lacks.npz"))


@pytest.mark.parametrize(
    "label", [np.eye(COUNT), np.linspace(0, 1, COUNT), np.full(COUNT, 2**40)]
)
def test_labels_of_any_kind_are_carried_along(label, tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=label)
    found = whole(load(str(tmp_path / "a.npz")), "labels")
    assert found.dtype == label.dtype
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(label, axis=0))


@pytest.mark.parametrize("form", ["in the file", "word", "mask", "no channel", "bytes"])
def test_ways_to_say_what_is_missing(form, tmp_path):
    images, missing = tmp_path / "x.npy", NAN
    if form == "in the file":
        images, missing = tmp_path / "x.npz", None
        np.savez(images, x=GAPS, missing=NAN)
    else:
        np.save(images, GAPS)
    if form not in ("in the file", "word"):
        mask = {
            "mask": HOLES,
            "no channel": HOLES[..., 0],
            "bytes": HOLES * np.uint8(255),
        }
        np.save(tmp_path / "mask.npy", mask[form])
        missing = str(tmp_path / "mask.npy")
    data = load(str(images), missing=missing)
    np.savez(tmp_path / "plain.npz", x=np.where(HOLES, 0, X), missing=HOLES)
    expected = load(str(tmp_path / "plain.npz"))
    for part in PARTS:
        for found, asked in zip(
            getattr(data, part), getattr(expected, part), strict=True
        ):
            np.testing.assert_array_equal(found, asked)


def test_vectors_with_gaps(tmp_path):
    np.save(tmp_path / "x.npy", GAPS.reshape(COUNT, -1))
    data = load(str(tmp_path / "x.npy"), missing=NAN)
    assert whole(data, "missing").mean() == HOLES.mean()
    assert np.isfinite(whole(data, "images")).all()
    with pytest.raises(DataError, match="not finite"):
        load(str(tmp_path / "x.npy"))


def test_what_is_missing_reaches_no_resized_pixel_that_is_known(tmp_path):
    """Whatever stands in the holes, known pixels are the same means."""
    known = []
    for fill in (0.0, 1.0):
        np.savez(tmp_path / f"{fill}.npz", x=np.where(HOLES, fill, X), missing=HOLES)
        data = load(str(tmp_path / f"{fill}.npz"), image_size=(3, 3)).train
        assert data.images.shape == data.missing.shape
        assert 0 < data.missing.mean() < 1
        known.append(np.where(data.missing, 0, data.images))
    np.testing.assert_array_equal(*known)
    # Resized without its holes, a known pixel is just the same.
    np.savez(tmp_path / "whole.npz", x=X)
    full = load(str(tmp_path / "whole.npz"), image_size=(3, 3)).train.images
    np.testing.assert_array_equal(known[0], np.where(data.missing, 0, full))


def test_two_arrays_of_pairs(tmp_path):
    x = numbered()
    np.save(tmp_path / "clean.npy", x)
    np.save(tmp_path / "damaged.npy", x // 2)
    clean, damaged = (str(tmp_path / f"{name}.npy") for name in ("clean", "damaged"))
    data = load(clean, inputs=damaged)
    np.testing.assert_array_equal(whole(data, "inputs"), whole(data, "images") // 2)
    assert data.train.input_shape is None
    np.save(tmp_path / "damaged.npy", x[1:])
    with pytest.raises(DataError, match=r"--inputs .*damaged.npy must have shape \[20"):
        load(clean, inputs=damaged)


def test_two_folders_of_pairs_and_masks(tmp_path):
    x, hole = numbered(12), np.zeros((12, 12), np.uint8)
    hole[2:7, 3:] = 255
    clean = save_folder(tmp_path / "clean", x)
    damaged = save_folder(tmp_path / "damaged", x // 2)
    # Few pixels of JPEG are just black or white.
    masks = save_folder(tmp_path / "masks", [hole] * COUNT, "jpg")
    data = load(clean, inputs=damaged, missing=masks)
    images = whole(data, "images")
    order = images[:, 0, 0, 0]
    np.testing.assert_array_equal(order % 2, whole(data, "labels"))
    np.testing.assert_array_equal(whole(data, "inputs")[..., 0], x[order] // 2)
    assert (whole(data, "missing")[..., 0] == (hole > 0)).all()
    np.testing.assert_array_equal(images[..., 0], np.where(hole, 0, x[order]))


def test_pictures_of_several_sizes_with_their_masks(tmp_path):
    images = [np.full((side, side), 100, np.uint8) for side in range(4, 4 + COUNT)]
    holes = [np.zeros((side, side), np.uint8) for side in range(4, 4 + COUNT)]
    for hole in holes:
        hole[: len(hole) // 2] = 255
    folder = save_folder(tmp_path / "images", images)
    masks = save_folder(tmp_path / "masks", holes)
    data = load(folder, missing=masks, image_size=4)
    images, missing = whole(data, "images"), whole(data, "missing")
    assert missing[:, 0].all() and not missing[:, -1].any()
    assert (images[missing] == 0).all() and (images[~missing] == 100).all()
    for hole, side in zip(holes, range(4, 4 + COUNT), strict=True):
        assert resize(hole[..., None], (4, 4)).shape == (4, 4, 1), side
    save_folder(tmp_path / "masks", [hole[1:] for hole in holes])
    with pytest.raises(
        DataError, match=r"--missing must have the size .*\[4, 4\], its"
    ):
        load(folder, missing=masks, image_size=4)


def test_names_that_do_not_match(tmp_path):
    clean = save_folder(tmp_path / "clean", numbered())
    damaged = save_folder(tmp_path / "damaged", numbered())
    (tmp_path / "damaged" / "0" / "4.png").rename(tmp_path / "damaged" / "new.png")
    one, two = f"1 only in {clean}, as 0/4", f"1 only in {damaged}, as new"
    with pytest.raises(DataError, match=f"of the same names: {one} and {two}$"):
        load(clean, inputs=damaged)
    (tmp_path / "damaged" / "new.png").rename(tmp_path / "damaged" / "0" / "4.png")
    Image.new("L", (4, 4)).save(tmp_path / "damaged" / "0" / "4.jpg")
    with pytest.raises(DataError, match=r"4\.jpg and 4\.png have the same name"):
        load(clean, inputs=damaged)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("mnist", {"inputs": "x.npy"}, "--inputs must be left out beside --data mnist"),
        ("tfds:x", {"missing": NAN}, "--missing must be left out beside --data tfds:x"),
        ("x.npy", {"inputs": "folder"}, "--inputs must be a .npy file beside --data"),
        (
            "x.npy",
            {"missing": "folder"},
            "--missing must be a .npy file, or nan, beside",
        ),
        ("x.npy", {"inputs": "none.npy"}, "none.npy: no such file"),
        (
            "x.npy",
            {"missing": "x.npy"},
            r"--missing .*must be black and white.*9 at most",
        ),
        (
            "x.npy",
            {"missing": "small.npy"},
            r"--missing .*must have the shape of the im",
        ),
        ("folder", {"inputs": "x.npy"}, "--inputs must be a folder as --data"),
        ("folder", {"missing": NAN}, "--missing must be a folder as --data"),
        (
            "own.npz",
            {"inputs": "x.npy"},
            "--inputs must be left out beside --data .*own",
        ),
        ("word.npz", {}, "word.npz: missing must be nan or a mask, got 'none'"),
        ("weight.npz", {}, r"weight must be numbers of shape \[20\]"),
    ],
)
def test_what_does_not_go_together(source, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_folder(tmp_path / "folder", numbered())
    np.save("x.npy", numbered() % 10)
    np.save("small.npy", HOLES)
    np.savez("own.npz", x=X, inputs=X)
    np.savez("word.npz", x=X, missing="none")
    np.savez("weight.npz", x=X, weight=np.ones((COUNT, 2)))
    with pytest.raises(DataError, match=message):
        load(source, **options)
