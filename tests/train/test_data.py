"""Every source of images, its rules and its errors, on real files."""

import errno
import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data import DataError, cache, idx, load, mnist
from train.data.images import as_images, as_labels, resize
from train.data.split import divide
from train.data.types import Split

ROOT = Path(__file__).parents[2]
PARTS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("JAXAE_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def mnist_decoded(tmp_path_factory):
    """The cache, and how the process ended that filled it."""
    folder = tmp_path_factory.mktemp("mnist")
    ended = python(
        "import sys\n"
        "from train.data import load\n"
        "load('mnist')\n"
        "assert 'tensorflow_datasets' in sys.modules\n"
        "assert 'tensorflow' not in sys.modules\n",
        JAXAE_CACHE=str(folder),
    )
    return folder, ended


@pytest.fixture(scope="module")
def mnist_cache(mnist_decoded):
    return mnist_decoded[0]


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def everything(dataset):
    """All images and labels in one array and one list, in no particular order."""
    splits = [getattr(dataset, part) for part in PARTS]
    images = np.concatenate([split.images for split in splits])
    if splits[0].labels is None:
        return images, None
    return images, np.concatenate([split.labels for split in splits])


def sizes(dataset):
    return tuple(len(getattr(dataset, part).images) for part in PARTS)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def grey(count, side=4):
    """Images of one level each: 0, 1, 2 ..."""
    return np.arange(count, dtype=np.uint8).repeat(side**2).reshape(count, side, side)


# --- the embedded set ---------------------------------------------------------------


def raw(name, header):
    content = gzip.decompress((ROOT / "train/data/mnist" / name).read_bytes())
    return np.frombuffer(content, np.uint8)[header:]


def test_mnist_is_the_original_in_its_order_and_division(mnist_cache):
    dataset = load(cache_dir=mnist_cache)
    assert dataset.name == "mnist"
    assert sizes(dataset) == (50_000, 10_000, 10_000)
    images = raw("train-images-idx3-ubyte.gz", 16).reshape(60_000, 28, 28, 1)
    labels = raw("train-labels-idx1-ubyte.gz", 8)
    np.testing.assert_array_equal(dataset.train.images, images[:50_000])
    np.testing.assert_array_equal(dataset.train.labels, labels[:50_000])
    np.testing.assert_array_equal(dataset.validation.images, images[50_000:])
    np.testing.assert_array_equal(dataset.validation.labels, labels[50_000:])
    tests = raw("t10k-images-idx3-ubyte.gz", 16).reshape(10_000, 28, 28, 1)
    np.testing.assert_array_equal(dataset.test.images, tests)
    np.testing.assert_array_equal(
        dataset.test.labels, raw("t10k-labels-idx1-ubyte.gz", 8)
    )
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.labels.dtype == np.int32
    # LeCun's first training digits, and the size of each class in the test set.
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(dataset.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]


def test_mnist_readme_states_the_checksums():
    text = (idx.FOLDER / "README.md").read_text()
    for name, digest in idx.SHA256.items():
        assert f"| `{name}` | `{digest}` |" in text


@pytest.mark.parametrize("name", idx.SHA256)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_mnist_file_is_named(tmp_path, monkeypatch, name, damage):
    shutil.copytree(idx.FOLDER, tmp_path / "mnist")
    monkeypatch.setattr(idx, "FOLDER", tmp_path / "mnist")
    path = tmp_path / "mnist" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flip":
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:1000])
    else:
        path.unlink()
    with pytest.raises(DataError, match=name):
        idx.read_files()


def test_damage_is_reported_through_tfds_as_the_same_error(tmp_path, monkeypatch):
    shutil.copytree(idx.FOLDER, tmp_path / "mnist")
    monkeypatch.setattr(idx, "FOLDER", tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"^\S*t10k-labels-idx1-ubyte.gz: damaged"):
        load("mnist")


def test_cached_mnist_is_fast_and_imports_no_tfds(mnist_cache):
    result = python(
        "import sys, time\n"
        "from train.data import load\n"
        "times = []\n"
        "for _ in range(3):\n"
        "    start = time.perf_counter()\n"
        "    dataset = load('mnist')\n"
        "    times.append(time.perf_counter() - start)\n"
        "assert min(times) < 0.3, times\n"
        "slow = {'tensorflow_datasets', 'tensorflow', 'PIL', 'jax'}\n"
        "assert not slow & {*sys.modules}\n",
        JAXAE_CACHE=str(mnist_cache),
    )
    assert result.returncode == 0, result.stderr


def test_mnist_needs_no_tensorflow_and_is_quiet(mnist_decoded):
    result = mnist_decoded[1]
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_mnist_of_another_size(tmp_path, monkeypatch):
    """By its first images: all of them take long to write and to read."""
    first = {
        name: (images[:90], labels[:90])
        for name, (images, labels) in idx.read_files().items()
    }
    monkeypatch.setattr("train.data.embedded_mnist.read_files", lambda: first)
    load("mnist", image_size=32, cache_dir=tmp_path)
    again = load("mnist", image_size=(32, 32), cache_dir=tmp_path)
    assert again.test.images.shape == (90, 32, 32, 1)
    expected = [resize(image, (32, 32)) for image in first["test"][0]]
    np.testing.assert_array_equal(again.test.images, expected)
    assert len(list(tmp_path.iterdir())) == 1  # the entry was found


# --- other TFDS sets ----------------------------------------------------------------


@pytest.fixture
def tfds_dir(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def prepare(folder, name, splits, features, version="1.0.0"):
    """Writes a data set that TFDS can read back from its files alone."""
    import tensorflow_datasets as tfds

    def info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    body = {
        "VERSION": tfds.core.Version(version),
        "name": name,
        "pkg_dir_path": folder,
        "_info": info,
        "_split_generators": lambda self, _: {
            part: enumerate(examples) for part, examples in splits.items()
        },
        "_generate_examples": None,
    }
    with tfds.core.registered.skip_registration():
        builder = type(name, (tfds.core.GeneratorBasedBuilder,), body)
    with mnist._quiet():
        builder(data_dir=folder).download_and_prepare(file_format="array_record")


def colours(count, side=8):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    return [{"image": Image.fromarray(x), "label": i} for i, x in enumerate(pixels)]


def test_a_prepared_stock_set_is_read_without_tensorflow(tfds_dir):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(8, 8, 3), encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=40),
    }
    examples = colours(40)
    splits = {"train": examples[:30], "test": examples[30:]}
    prepare(tfds_dir, "cifar10", splits, features, version="3.0.2")
    for source in ("tfds:cifar10", "tfds:cifar10:3.0.2"):
        dataset = load(source)
        assert dataset.name == "cifar10"
        assert sizes(dataset) == (27, 3, 10)
        assert {*dataset.test.labels.tolist()} == {*range(30, 40)}
        for image, label in zip(*everything(dataset), strict=True):
            np.testing.assert_array_equal(image, np.asarray(examples[label]["image"]))
    assert "tensorflow" not in sys.modules


def test_a_set_known_by_its_files_alone(tfds_dir):
    import tensorflow_datasets as tfds

    examples = [
        {"image": np.full((2, 3, 1), i / 8, np.float32), "label": "text"}
        for i in range(8)
    ]
    features = {
        "image": tfds.features.Tensor(shape=(2, 3, 1), dtype=np.float32),
        "label": tfds.features.Text(),
    }
    prepare(tfds_dir, "only_files", {"everything": examples}, features)
    images, labels = everything(load("tfds:only_files"))
    assert labels is None
    assert images.dtype == np.float32
    assert sorted(images[:, 0, 0, 0].tolist()) == [i / 8 for i in range(8)]
    assert load("tfds:only_files", image_size=4).train.images.shape == (6, 4, 4, 1)


def test_tfds_images_of_several_sizes(tfds_dir):
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    examples = [{"image": Image.new("RGB", (8, side))} for side in (6, 7, 8)]
    prepare(tfds_dir, "mixed_sizes", {"train": examples}, features)
    with pytest.raises(DataError, match=r"mixed_sizes/train\[0\] .* --image-size"):
        load("tfds:mixed_sizes")
    assert load("tfds:mixed_sizes", image_size=5).test.images.shape == (1, 5, 5, 3)


def test_tfds_set_without_images_or_training_part(tfds_dir):
    import tensorflow_datasets as tfds

    prepare(
        tfds_dir,
        "no_images",
        {"train": [{"value": 1}]},
        {"value": tfds.features.Scalar(np.int32)},
    )
    with pytest.raises(DataError, match=r"no feature 'image', only \['value'\]"):
        load("tfds:no_images")
    image = {"image": tfds.features.Image(shape=(8, 8, 3))}
    parts = {part: [{"image": colours(1)[0]["image"]}] for part in ("one", "two")}
    prepare(tfds_dir, "odd_parts", parts, image)
    with pytest.raises(DataError, match="no split 'train'"):
        load("tfds:odd_parts")


def test_tfrecord_files_are_refused_with_the_remedy(tfds_dir):
    import tensorflow_datasets as tfds

    image = {"image": tfds.features.Image(shape=(8, 8, 3))}
    prepare(tfds_dir, "records", {"train": [{"image": colours(1)[0]["image"]}]}, image)
    (info,) = tfds_dir.rglob("dataset_info.json")
    content = json.loads(info.read_text())
    info.write_text(json.dumps(content | {"fileFormat": "tfrecord"}))
    for path in tfds_dir.rglob("*array_record*"):
        path.rename(str(path).replace("array_record", "tfrecord"))
    with pytest.raises(DataError, match="is not array_record; prepare it again"):
        load("tfds:records")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar100000", "did you mean 'cifar100'"),
        ("cifar10:9.9.9", "9.9.9"),
        ("no such name", "no such name"),
        ("", "tfds:"),
        ("imdb_reviews", "no feature 'image'"),
    ],
)
def test_unknown_tfds_sets(tfds_dir, name, message):
    with pytest.raises(DataError, match=message):
        load(f"tfds:{name}")


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None,
    reason="TensorFlow is installed: it would be prepared",
)
def test_preparing_a_stock_set_without_tensorflow_fails_at_once(tfds_dir):
    start = time.perf_counter()
    with pytest.raises(DataError, match="TensorFlow: install the extra `tfds`"):
        load("tfds:cifar10")
    assert time.perf_counter() - start < 10
    assert not list(tfds_dir.rglob("*.tar.gz"))


def test_preparing_a_stock_set_without_a_network_fails_soon(tfds_dir, monkeypatch):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    import train.data.tfds as ours

    # The download comes before the first need of TensorFlow, so it runs for real; no
    # machine listens at this port.
    monkeypatch.setattr(ours, "_has_tensorflow", lambda: True)
    for variable in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    tfds.disable_progress_bar()
    retries = downloader.MAX_RETRIES
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"cannot be prepared .*cifar-10-binary"):
        load("tfds:cifar10")
    assert time.perf_counter() - start < 10
    assert downloader.MAX_RETRIES == retries > ours.RETRIES


# --- arrays -------------------------------------------------------------------------


def test_npy(tmp_path):
    np.save(tmp_path / "mine.npy", grey(20))
    dataset = load(str(tmp_path / "mine.npy"))
    assert dataset.name == "mine"
    assert sizes(dataset) == (16, 2, 2)
    images, labels = everything(dataset)
    assert labels is None
    assert images.shape == (20, 4, 4, 1)
    assert sorted(images[:, 0, 0, 0].tolist()) == [*range(20)]


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("x", "labels")])
def test_npz_keeps_images_and_labels_together(tmp_path, names):
    arrays = dict(zip(names, (grey(20), np.arange(20)[:, None]), strict=True))
    np.savez_compressed(tmp_path / "mine.npz", **arrays, other=np.zeros(3))
    images, labels = everything(load(str(tmp_path / "mine.npz")))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_npz_as_keras_writes_it_keeps_its_test_part(tmp_path):
    x, y = grey(30), np.arange(30, dtype=np.uint8)
    np.savez(
        tmp_path / "k.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:]
    )
    dataset = load(str(tmp_path / "k.npz"))
    assert sizes(dataset) == (18, 2, 10)
    np.testing.assert_array_equal(dataset.test.labels, np.arange(20, 30))
    images, labels = everything(dataset)
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_npz_with_a_single_array_of_any_name(tmp_path):
    np.savez(tmp_path / "one.npz", faces=grey(3))
    assert sizes(load(str(tmp_path / "one.npz"))) == (1, 1, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": grey(4), "images": grey(4)}, "images and x mean the same: leave one"),
        (
            {"x_train": grey(4), "label_train": range(4), "y_train": range(4)},
            "label_train and y_train mean the same",
        ),
        ({"x": grey(3), "wieght": np.ones(3)}, "'wieght' is none .* mean 'weight'"),
        (
            {"x_train": grey(3), "x_test": grey(2), "input_train": grey(3)},
            "'input_train' is none .* mean 'inputs'",
        ),
        ({"a": grey(3), "b": grey(3)}, r"expected arrays named .* got \['a', 'b'\]"),
        ({}, "expected arrays named"),
        ({"inputs": grey(3)}, r"expected arrays named .* got \['inputs'\]"),
        ({"missing": grey(3) > 1}, r"expected arrays named .* got \['missing'\]"),
        ({"x": grey(3), "y": np.arange(4)}, r"y must have shape \[3, ...\]"),
        (
            {"x_train": grey(9), "x_test": grey(3), "y_train": np.arange(9)},
            "y_train or y_test is missing",
        ),
        ({"x_train": grey(9), "x_test": grey(3, side=5)}, "parts differ in image"),
    ],
)
def test_unusable_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        load(str(tmp_path / "bad.npz"))
    assert "bad.npz" in str(error.value)


def as_array_file(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name}: not a readable") as error:
        load(str(path))
    return str(error.value)


def test_damaged_array_files(tmp_path):
    np.savez_compressed(tmp_path / "good.npz", x=np.random.default_rng(0).random(999))
    content = (tmp_path / "good.npz").read_bytes()
    as_array_file(tmp_path / "short.npz", content[: len(content) // 2])
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    as_array_file(tmp_path / "flipped.npz", flipped)
    np.save(tmp_path / "good.npy", grey(20))
    as_array_file(tmp_path / "short.npy", (tmp_path / "good.npy").read_bytes()[:200])
    as_array_file(tmp_path / "text.npy", b"these are no images")
    as_array_file(tmp_path / "empty.npy", b"")


def test_python_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    trap = np.array([Trap(), Trap(), Trap()], dtype=object)
    np.save(tmp_path / "trap.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "trap.npz", images=trap)
    for suffix in ("npy", "npz"):
        with pytest.raises(DataError, match=f"trap.{suffix}"):
            load(str(tmp_path / f"trap.{suffix}"))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_become_float32(dtype):
    values = np.linspace(-1, 2, 12).reshape(3, 2, 2).astype(dtype)
    images = as_images(values, "x")
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images[..., 0], values.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, ">u2"])
def test_small_integers_become_uint8(dtype):
    images = as_images(np.arange(12).reshape(3, 2, 2).astype(dtype), "x")
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images.ravel(), np.arange(12))


def test_booleans_become_black_and_white():
    images = as_images(np.array([[True, False]]), "x")
    assert images.dtype == np.uint8
    assert images.tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0, 256]]), r"integers in 0..255, got 0..256"),
        (np.array([[-1, 5]]), r"integers in 0..255, got -1..5"),
        (np.array([[0.0, np.nan]]), "not finite"),
        (np.array([[0.0, np.inf]], np.float32), "not finite"),
        (np.array([[0.0, 1e300]]), "not finite in float32"),
        (np.array([["a"]]), "must hold numbers, got dtype <U1"),
        (np.array([[1j]]), "must hold numbers, got dtype complex128"),
        (np.zeros(5), r"must have shape .* got \[5\]"),
        (np.zeros((1, 2, 3, 4, 5)), r"must have shape .* got \[1, 2, 3, 4, 5\]"),
        (np.zeros((0, 4, 4)), r"no images: its shape is \[0, 4, 4\]"),
        (np.zeros((4, 0, 4)), r"no images: its shape is \[4, 0, 4\]"),
    ],
)
def test_unusable_arrays(array, message):
    with pytest.raises(DataError, match=f"^mine .*{message}"):
        as_images(array, "mine")


def test_vectors_are_allowed_but_not_resized(tmp_path):
    np.save(tmp_path / "v.npy", np.eye(10, 7, dtype=np.float32))
    assert load(str(tmp_path / "v.npy")).train.images.shape == (8, 7)
    with pytest.raises(DataError, match="vectors, which image_size cannot resize"):
        load(str(tmp_path / "v.npy"), image_size=8)


def test_labels_of_the_largest_range():
    limits = np.iinfo(np.int32)
    labels = as_labels(np.array([limits.min, limits.max]), 2, "y")
    assert labels.tolist() == [limits.min, limits.max]


# --- resizing -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_halving_a_blocky_image_keeps_its_range_and_mean(dtype, channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 12, channels)).astype(dtype)
    small = resize(image, (4, 6))
    assert small.shape == (4, 6, channels)
    assert small.dtype == dtype
    assert image.min() <= small.min() and small.max() <= image.max()
    # Bilinear with antialiasing by two: weights 1 3 3 1 / 8 away from the border.
    weights = np.array([1, 3, 3, 1]) / 8
    expected = np.einsum("i,j,ijc->c", weights, weights, image[1:5, 1:5].astype(float))
    # uint8 rounds after each of the two passes; float32 rounds in its last bits.
    tolerance = 1.0 if dtype == np.uint8 else 1e-4
    np.testing.assert_allclose(small[1, 1], expected, atol=tolerance)


def test_resizing_takes_height_first_and_happens_only_when_asked(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 6, 4, 2), np.float32))
    assert load(str(tmp_path / "a.npy")).train.images.shape == (1, 6, 4, 2)
    resized = load(str(tmp_path / "a.npy"), image_size=(5, 7))
    assert resized.train.images.shape == (1, 5, 7, 2)


@pytest.mark.parametrize("size", [0, -1, (3,), (3, 0), (1, 2, 3), 2.5, (2.0, 2), "8"])
def test_unusable_sizes(size):
    with pytest.raises(DataError, match="image_size must be a positive number"):
        load("mnist", image_size=size)


# --- folders ------------------------------------------------------------------------


def test_a_flat_folder_of_grey_images(tmp_path):
    for i, image in enumerate(grey(10)):
        save(tmp_path / "mine" / f"{i}.{['png', 'PNG'][i % 2]}", image)
    (tmp_path / "mine" / "notes.txt").write_text("not an image, and not named like one")
    dataset = load(str(tmp_path / "mine"))
    assert dataset.name == "mine"
    assert sizes(dataset) == (8, 1, 1)
    images, labels = everything(dataset)
    assert labels is None
    assert images.shape == (10, 4, 4, 1)
    assert sorted(images[:, 0, 0, 0].tolist()) == [*range(10)]


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path):
    for i in range(12):
        name = ("cat", "dog", "ape")[i % 3]
        image = np.full((3, 3), 40 * (i % 3))
        save(tmp_path / name / f"{i % 2}" / f"{i}.png", image)
    images, labels = everything(load(str(tmp_path)))
    level = {0: 80, 1: 0, 2: 40}  # ape, cat, dog
    assert images[:, 0, 0, 0].tolist() == [level[label] for label in labels]


def test_one_sub_folder_or_images_beside_it_are_no_classes(tmp_path):
    for i, image in enumerate(grey(3)):
        save(tmp_path / "inner" / f"{i}.png", image)
    assert load(str(tmp_path)).train.labels is None
    save(tmp_path / "other" / "a.png", grey(1)[0])
    assert load(str(tmp_path)).train.labels is not None
    save(tmp_path / "beside.png", grey(1)[0])
    assert load(str(tmp_path)).train.labels is None


def test_hidden_files_are_left_out(tmp_path):
    for i, image in enumerate(grey(3)):
        save(tmp_path / f"{i}.png", image)
    (tmp_path / "._0.png").write_bytes(b"what a Mac leaves behind")
    save(tmp_path / ".thumbnails" / "0.png", grey(1, side=2)[0])
    assert sizes(load(str(tmp_path))) == (1, 1, 1)


def test_links_are_followed(tmp_path):
    """Class folders and images that lie elsewhere, and no circle without end."""
    for i, image in enumerate(grey(30)):
        save(tmp_path / "store" / "abc"[i % 3] / f"{i}.png", image)
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    (root / "a").symlink_to(tmp_path / "store" / "a")
    (root / "c").symlink_to(Path("..", "store", "c"))
    for path in (tmp_path / "store" / "b").iterdir():
        (root / "b" / path.name).symlink_to(path)
    (root / "b" / "again").symlink_to(root)
    (tmp_path / "link").symlink_to(root)
    for folder in (root, tmp_path / "link"):
        images, labels = everything(load(str(folder)))
        assert sorted(images[:, 0, 0, 0].tolist()) == [*range(30)]
        np.testing.assert_array_equal(labels, images[:, 0, 0, 0] % 3)


def test_a_changed_image_behind_a_link_is_seen(tmp_path):
    for i, image in enumerate(grey(10)):
        save(tmp_path / "store" / f"{i}.png", image)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "all").symlink_to(tmp_path / "store")
    assert everything(load(str(tmp_path / "root")))[0].max() == 9
    save(tmp_path / "store" / "10.png", np.full((4, 4), 200))
    assert everything(load(str(tmp_path / "root")))[0].max() == 200


def test_nothing_is_left_out_silently(tmp_path):
    for i, image in enumerate(grey(5)):
        save(tmp_path / f"{i}.{['jpg', 'JPEG', 'jpe', 'JFIF', 'Png'][i]}", image)
    assert sizes(load(str(tmp_path))) == (3, 1, 1)
    save(tmp_path / "5.WEBP", grey(1)[0])
    save(tmp_path / "6.bmp", grey(1)[0])
    with pytest.warns(
        UserWarning, match=r"2 images are left out, as 5\.WEBP: only PNG"
    ):
        assert sizes(load(str(tmp_path))) == (3, 1, 1)
    (tmp_path / "cats").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cats is a link to nothing"):
        load(str(tmp_path))


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    save(tmp_path / "a" / "0.png", grey(1)[0])
    scandir = os.scandir

    def refuse(path):
        # Permissions would not stop an administrator.
        if Path(path).name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("train.data.folder.os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be read: .*Permission denied.*a'"):
        load(str(tmp_path))


def test_grey_among_colours_is_repeated(tmp_path):
    save(tmp_path / "a.png", np.full((2, 2), 7))
    save(tmp_path / "b.png", np.broadcast_to([10, 20, 30], (2, 2, 3)))
    save(tmp_path / "c.png", np.full((2, 2), 9))
    images, _ = everything(load(str(tmp_path)))
    assert sorted(images[:, 0, 0].tolist()) == [[7, 7, 7], [9, 9, 9], [10, 20, 30]]


def pixel(folder, image, **options):
    """How the first pixel of an image is read, among two black grey ones."""
    for name in ("b", "c"):
        save(folder / f"{name}.png", np.zeros((image.height, image.width)))
    image.save(folder / "a.png", **options)
    images, _ = everything(load(str(folder)))
    return images[:, 0, 0].max(axis=0).tolist()


def test_sixteen_bits_become_eight(tmp_path):
    levels = np.array([[257 * 100 + 128, 65535], [0, 257 * 7 - 128]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    for name in ("b", "c"):
        save(tmp_path / f"{name}.png", np.zeros((2, 2)))
    images, _ = everything(load(str(tmp_path)))
    assert images.max(axis=0)[..., 0].tolist() == [[100, 255], [0, 7]]


def test_transparency_is_laid_over_white(tmp_path):
    red = np.broadcast_to(np.array([200, 0, 0, 0], np.uint8), (2, 2, 4))
    assert pixel(tmp_path, Image.fromarray(red)) == [255, 255, 255]
    half = np.broadcast_to(np.array([200, 0, 0, 51], np.uint8), (2, 2, 4))
    # A fifth of the colour and four fifths of white.
    assert pixel(tmp_path, Image.fromarray(half)) == [244, 204, 204]
    solid = np.broadcast_to(np.array([200, 0, 0, 255], np.uint8), (2, 2, 4))
    assert pixel(tmp_path, Image.fromarray(solid)) == [200, 0, 0]


def test_transparent_grey_stays_grey(tmp_path):
    half = np.broadcast_to(np.array([100, 51], np.uint8), (2, 2, 2))
    assert pixel(tmp_path, Image.fromarray(half)) == [224]
    level = Image.fromarray(np.full((2, 2), 100, np.uint8))
    assert pixel(tmp_path, level, transparency=100) == [255]


def test_palettes_are_colours(tmp_path):
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert pixel(tmp_path, image) == [10, 20, 30]
    assert pixel(tmp_path, image, transparency=1) == [255, 255, 255]
    assert pixel(tmp_path, image, transparency=b"\xff\x00") == [255, 255, 255]


def test_one_bit_images_are_black_and_white(tmp_path):
    assert pixel(tmp_path, Image.new("1", (2, 2), 1)) == [255]


def test_cmyk_photographs_become_colours(tmp_path):
    for i in range(3):
        cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
        cyan.save(tmp_path / f"{i}.jpeg", quality=95)
    images, _ = everything(load(str(tmp_path)))
    # JPEG loses a few levels.
    np.testing.assert_allclose(images[:, 0, 0], [[0, 255, 255]] * 3, atol=4)


def test_the_orientation_that_a_camera_noted_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise
    wide = np.zeros((8, 16), np.uint8)
    wide[:, :8] = 255  # the left half, which turns to the top
    for i in range(3):
        Image.fromarray(wide).save(tmp_path / f"{i}.jpg", exif=exif, quality=95)
    images, _ = everything(load(str(tmp_path)))
    assert images.shape == (3, 16, 8, 1)
    assert images[:, :8].min() > 250 and images[:, 8:].max() < 5


def test_mixed_sizes_name_two_images_and_the_option(tmp_path):
    save(tmp_path / "a.png", np.zeros((4, 6)))
    save(tmp_path / "b.png", np.zeros((4, 6)))
    save(tmp_path / "c.png", np.zeros((5, 6, 3)))
    with pytest.raises(
        DataError, match=r"a\.png is 4 x 6 .*c\.png is 5 x 6 .*--image-size"
    ):
        load(str(tmp_path))
    assert load(str(tmp_path), image_size=8).train.images.shape == (1, 8, 8, 3)


def test_unreadable_images_are_named(tmp_path):
    for i, image in enumerate(grey(3, side=32)):
        save(tmp_path / f"{i}.png", image)
    (tmp_path / "text.png").write_text("this is not an image")
    with pytest.raises(DataError, match=r"text\.png: not a readable PNG or JPEG"):
        load(str(tmp_path))
    noise = np.random.default_rng(0).integers(0, 256, (32, 32))
    for name in ("text.png", "photo.jpg"):
        save(tmp_path / name, noise)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=rf"{name}: not a readable PNG or JPEG"):
            load(str(tmp_path))
        (tmp_path / name).unlink()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"gone\.png"):
        load(str(tmp_path))


# --- sources ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nowhere", "a.npy", "a.npz", "a.csv", "MNIST", ""])
def test_missing_or_unknown_sources(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    message = "no such file" if name.startswith("a.np") else "source of the data must"
    with pytest.raises(DataError, match=message):
        load(name or str(tmp_path / "x"))


def test_a_folder_without_images(tmp_path):
    with pytest.raises(DataError, match="no PNG or JPEG images in this folder"):
        load(str(tmp_path))


# --- the division into parts --------------------------------------------------------


def test_the_division_is_fixed():
    parts = divide({"train": Split(grey(10), np.arange(10))}, 0.2, 0.1, 0, "x")
    # Written down once: the same on every machine and in every version.
    assert parts["validation"].labels.tolist() == [4, 6]
    assert parts["test"].labels.tolist() == [2]
    assert parts["train"].labels.tolist() == [7, 3, 5, 9, 0, 8, 1]
    other = divide({"train": Split(grey(10), np.arange(10))}, 0.2, 0.1, 1, "x")
    assert other["train"].labels.tolist() != parts["train"].labels.tolist()


def test_the_division_does_not_depend_on_the_file_system(tmp_path):
    for folder, order in (("a", range(20)), ("b", reversed(range(20)))):
        for i in order:
            save(tmp_path / folder / f"{i}.png", grey(20)[i])
    first, second = load(str(tmp_path / "a")), load(str(tmp_path / "b"))
    for part in PARTS:
        np.testing.assert_array_equal(
            getattr(first, part).images, getattr(second, part).images
        )


@pytest.mark.parametrize("count", [3, 4, 9, 10, 11, 30, 101])
def test_every_image_is_in_exactly_one_part(tmp_path, count):
    np.save(tmp_path / "a.npy", np.arange(count, dtype=np.float32)[:, None])
    dataset = load(str(tmp_path / "a.npy"))
    held_out = max(1, count // 10)
    assert sizes(dataset) == (count - 2 * held_out, held_out, held_out)
    assert sorted(everything(dataset)[0].ravel().tolist()) == [*range(count)]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images(tmp_path, count):
    np.save(tmp_path / "a.npy", grey(count))
    with pytest.raises(DataError, match=rf"{count} image\(s\) are too few"):
        load(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("fractions", [(0, 0.1), (0.1, -1), (0.5, 0.5), (0.1, np.nan)])
def test_unusable_fractions(fractions):
    with pytest.raises(DataError, match="positive fractions with a sum below 1"):
        load("mnist", validation=fractions[0], test=fractions[1])


# --- the cache ----------------------------------------------------------------------


@pytest.fixture
def faces(tmp_path):
    for i, image in enumerate(grey(10)):
        save(tmp_path / "faces" / f"{i}.png", image)
    return tmp_path / "faces"


def entries(folder):
    return sorted(folder.iterdir())


def test_the_second_start_decodes_nothing(faces, cache_dir, monkeypatch):
    first = load(str(faces))
    assert [entry.name[:6] for entry in entries(cache_dir)] == ["faces-"]
    monkeypatch.setattr("train.data.folder._decode", None)
    second = load(str(faces))
    for part in PARTS:
        images = getattr(second, part).images
        assert isinstance(images, np.memmap) and not images.flags.writeable
        np.testing.assert_array_equal(images, getattr(first, part).images)


def test_a_changed_image_is_seen(faces):
    load(str(faces))
    path = faces / "3.png"
    stat = path.stat()
    save(path, np.full((4, 4), 200))
    # Within the resolution of the clock of the file system.
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    assert everything(load(str(faces)))[0].max() == 200
    path.unlink()
    assert len(everything(load(str(faces)))[0]) == 9


def test_arguments_have_entries_of_their_own(faces, cache_dir):
    first = load(str(faces))
    assert load(str(faces), image_size=2).train.images.shape == (8, 2, 2, 1)
    assert sizes(load(str(faces), validation=0.3)) == (6, 3, 1)
    assert sizes(load(str(faces), test=0.3)) == (6, 1, 3)
    other = load(str(faces), seed=1)
    assert not np.array_equal(other.train.images, first.train.images)
    assert len(entries(cache_dir)) == 5


@pytest.mark.parametrize("file", ["train_images.npy", "checksums.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove", "other"])
def test_a_damaged_entry_is_made_again(faces, cache_dir, file, damage):
    expected, _ = everything(load(str(faces)))
    (entry,) = entries(cache_dir)
    path = entry / file
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        new = {"flip": content, "truncate": content[:-9], "empty": b"", "other": b"[1]"}
        path.write_bytes(new[damage])
    np.testing.assert_array_equal(everything(load(str(faces)))[0], expected)
    assert entries(cache_dir) == [entry]
    assert cache._read(entry) is not None


def test_an_unwritable_cache_costs_a_warning(faces, tmp_path):
    expected, _ = everything(load(str(faces)))
    (tmp_path / "file").write_text("a file, where a folder would have to be")
    with pytest.warns(UserWarning, match="going on without the cache"):
        dataset = load(str(faces), cache_dir=tmp_path / "file" / "cache")
    np.testing.assert_array_equal(everything(dataset)[0], expected)


def test_several_processes_race_for_one_entry(faces, cache_dir):
    load(str(faces))
    (entry,) = entries(cache_dir)
    (entry / "test_images.npy").write_bytes(b"damaged")
    code = (
        "import sys\n"
        "from train.data import load\n"
        f"assert load({str(faces)!r}).train.images.shape == (8, 4, 4, 1)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    running = [
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in running:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
    assert entries(cache_dir) == [entry]
    assert cache._read(entry) is not None


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "mine"))
    assert cache.default_folder() == tmp_path / "mine"
    monkeypatch.delenv("JAXAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_folder() == tmp_path / "jaxae"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache.default_folder() == Path.home() / ".cache" / "jaxae"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.default_folder() == Path.home() / ".cache" / "jaxae"


def test_names_of_files_are_no_names_of_users(faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faces.rename("~faces")
    assert sizes(load("~faces")) == (8, 1, 1)


def test_without_a_home_there_is_no_cache(faces, monkeypatch):
    def homeless(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(Path, "expanduser", homeless)
    for variable in ("JAXAE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    cache._tell_of_no_home.cache_clear()
    with pytest.warns(UserWarning, match="going on without a cache: there is no home"):
        assert sizes(load(str(faces))) == (8, 1, 1)
    assert cache.default_folder() is None  # which is said once
    monkeypatch.setenv("JAXAE_CACHE", "~/mine")
    assert cache.default_folder() is None


def test_the_nearest_source_is_suggested(tmp_path, monkeypatch):
    np.save(tmp_path / "digits.npy", grey(3))
    (tmp_path / "photos").mkdir()
    for wrong, right in (("digit.npy", "digits.npy"), ("Photo", "photos")):
        with pytest.raises(DataError, match=f"did you mean '{right}'\\?"):
            load(str(tmp_path / wrong))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"got 'MNSIT'; did you mean 'mnist'\?"):
        load("MNSIT")
    with pytest.raises(DataError, match=r"~no such user/x\.npy: no such file"):
        load("~no such user/x.npy")
    with pytest.raises(DataError, match=r"\.npz: no such file$"):
        load(str(tmp_path / "of another kind.npz"))


# --- the program --------------------------------------------------------------------


def program(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "train.data", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_program_describes_and_fills_the_cache(faces, tmp_path):
    result = program(
        str(faces), "--image-size", "6", "--cache-dir", str(tmp_path / "c")
    )
    assert result.returncode == 0, result.stderr
    assert "(8, 6, 6, 1) uint8 in 0..9, no labels" in result.stdout
    assert len(entries(tmp_path / "c")) == 1


def test_the_program_reports_an_error_in_one_line():
    result = program("nowhere")
    assert result.returncode == 1
    assert result.stderr.startswith("error: the source of the data must be")
    assert len(result.stderr.splitlines()) == 1
