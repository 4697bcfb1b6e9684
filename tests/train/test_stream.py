"""Batches from the disk: their order, their division, and what they are read from."""

import io
import os
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxae
from jaxae.errors import ArgumentError
from jaxae.streaming.batches import shuffled_batches
from jaxae.training.placement import Share
from train.data import DataError, LazySplit, load, mnist
from train.data import images as images_module
from train.data.rows import LazyRows, chunks, mean_example

ROOT = Path(__file__).parents[2]
TOTAL, SIZE, PER_PASS = 11, 4, 3


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("JAXAE_CACHE", str(folder))
    return folder


@pytest.fixture
def rows(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(2.0 * TOTAL, dtype=np.float32).reshape(-1, 2))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    return {"x": x, "label": np.arange(TOTAL, dtype=np.int32)}


def first_labels(count, rows, *arguments, **options):
    return [
        batch["label"].tolist()
        for batch in islice(shuffled_batches(rows, *arguments, **options), count)
    ]


# --- the order ----------------------------------------------------------------------


def test_a_pass_has_every_example_once_with_its_label(rows):
    drawn = list(islice(shuffled_batches(rows, SIZE, 0), 3 * PER_PASS))
    for batch in drawn:
        assert isinstance(batch["x"], np.ndarray) and batch["x"].dtype == np.float32
        np.testing.assert_array_equal(batch["x"][:, 0], 2 * batch["label"])
    assert [len(b["x"]) for b in drawn] == [4, 4, 3] * 3
    labels = [b["label"] for b in drawn]
    orders = [np.concatenate(labels[i : i + PER_PASS]) for i in (0, 3, 6)]
    assert all(sorted(order) == list(range(TOTAL)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_a_batch_larger_than_the_data_is_all_of_them(rows):
    first, second = first_labels(2, rows, 100, 0)
    assert sorted(first) == sorted(second) == list(range(TOTAL)) and first != second
    assert first_labels(30, {"label": rows["label"][:1]}, 5, 0) == [[0]] * 30


def test_the_order_follows_from_the_seed_and_the_pass(rows):
    first, again, other = (first_labels(PER_PASS, rows, SIZE, s) for s in (5, 5, 6))
    assert first == again != other
    # The passes of one seed are not those of the next, one later.
    second_pass = first_labels(2 * PER_PASS, rows, SIZE, 5)[PER_PASS:]
    assert second_pass != other
    for odd in (-1, 2**40):
        one_pass = np.concatenate(first_labels(PER_PASS, rows, SIZE, odd))
        assert sorted(one_pass) == list(range(TOTAL))


def test_the_order_is_the_same_everywhere():
    # Written down once: training that is resumed elsewhere has to go on with it.
    assert first_labels(3, {"label": np.arange(TOTAL)}, SIZE, 0) == [
        [5, 8, 9, 7],
        [4, 2, 1, 0],
        [3, 6, 10],
    ]


def test_a_large_pass_is_shuffled_well():
    (order,) = first_labels(1, {"label": np.arange(20_000)}, 20_000, 0)
    order = np.array(order)
    assert np.array_equal(np.sort(order), np.arange(20_000))
    # Of random permutations: correlations with the place and between neighbours have a
    # standard deviation of n^(-1/2) = 0.007; the number of fixed points is Poisson(1).
    assert abs(np.corrcoef(order, np.arange(20_000))[0, 1]) < 0.03
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.03
    assert (order == np.arange(20_000)).sum() < 8


@pytest.mark.parametrize("first", [1, 2, 3, 7, 3_000_001])
def test_starting_late_is_to_continue(rows, first):
    late = first_labels(8, rows, SIZE, 3, first=first)
    if first < 100:
        assert late == first_labels(first + 8, rows, SIZE, 3)[first:]
    # Nothing is read that was used up before.
    later = first_labels(5, rows, SIZE, 3, first=first + 3)
    assert later == late[3:]


class Counted:
    """Rows that note what is asked of them, and by whom."""

    shape, dtype = (1000, 1), np.dtype(np.int64)

    def __init__(self):
        self.asked, self.threads = [], set()

    def __len__(self):
        return 1000

    def __getitem__(self, numbers):
        self.asked.append(numbers)
        self.threads.add(threading.current_thread())
        return numbers[:, None]


def test_little_is_read_ahead_in_threads_which_end():
    counted = Counted()
    stream = shuffled_batches({"x": counted}, 10, 0, first=10_000_000)
    assert not counted.asked
    for _ in range(20):
        next(stream)
    time.sleep(0.05)
    assert len(counted.asked) <= 20 + 5
    assert counted.threads and threading.main_thread() not in counted.threads
    stream.close()
    deadline = time.monotonic() + 300
    while any(thread.is_alive() for thread in counted.threads):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- several processes --------------------------------------------------------------


def joined(per_process):
    """The whole batches, of what all processes have of them."""
    for parts in zip(*per_process, strict=True):
        if isinstance(parts[0], Share):
            whole = np.concatenate([part.batch["label"] for part in parts])
            assert {part.total for part in parts} == {len(whole)}
            yield "divided", whole.tolist()
        else:
            assert len({tuple(part["label"]) for part in parts}) == 1
            yield "whole", parts[0]["label"].tolist()


@pytest.mark.parametrize(
    ("processes", "devices", "size", "kinds"),
    [
        (2, None, 4, ["divided", "divided", "whole"]),
        (3, None, 6, ["divided", "whole"]),
        (2, 4, 4, ["divided", "divided", "whole"]),
        (2, 4, 2, ["whole"] * 6),  # one for each process, but not for each device
        (5, 5, 10, ["divided", "whole"]),  # one is left
        (2, 2, 9, ["whole", "divided"]),
        (2, 1, 4, ["whole"] * 3),  # the mesh divides something else than rows
        (2, 3, 6, ["whole", "whole"]),
        (1, 4, 4, ["whole"] * 3),
    ],
)
def test_processes_see_together_what_one_sees(rows, processes, devices, size, kinds):
    count, several = 2 * len(kinds), {"processes": processes, "devices": devices}

    def read(process):
        stream = shuffled_batches(rows, size, 1, process=process, **several)
        return list(islice(stream, count))

    together = list(joined([read(process) for process in range(processes)]))
    assert [labels for _, labels in together] == first_labels(count, rows, size, 1)
    assert [kind for kind, _ in together] == 2 * kinds


def test_a_process_reads_its_share_alone():
    counted = Counted()
    stream = shuffled_batches({"x": counted}, 100, 0, process=2, processes=4)
    share = next(stream)
    stream.close()
    assert share.total == 100 and share.batch["x"].shape == (25, 1)
    assert {len(numbers) for numbers in counted.asked} == {25}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be a whole number"),
        ({"size": True}, "size must be a whole number"),
        ({"first": -1}, "first must be a whole number of at least 0"),
        ({"process": 2, "processes": 2}, "process must be below processes=2, got 2"),
        ({"process": -1}, "process must be a whole number of at least 0"),
        ({"processes": 0}, "processes must be"),
        ({"devices": 0}, "devices must be"),
        ({"rows": {}}, "rows must be of one length"),
        ({"rows": {"x": np.zeros((0, 2))}}, "rows must be of one length"),
        ({"rows": {"x": np.zeros(2), "label": np.zeros(3)}}, "one length.*'label': 3"),
    ],
)
def test_unusable_arguments_are_named_at_the_call(rows, options, message):
    with pytest.raises(ArgumentError, match=message):
        shuffled_batches(**({"rows": rows, "size": SIZE, "seed": 0} | options))


# --- the whole ----------------------------------------------------------------------


def test_grain_is_imported_where_it_is_needed_and_ends_with_the_program(
    tmp_path, cache_dir
):
    np.save(tmp_path / "x.npy", np.zeros((40, 3), np.float32))
    code = (
        "import sys\n"
        "from train.data import load\n"
        "from jaxae.streaming.batches import shuffled_batches\n"
        f"data = load({str(tmp_path / 'x.npy')!r}, stream=True)\n"
        "assert 'grain' not in sys.modules\n"
        "stream = shuffled_batches({'x': data.train.images}, 4, 0)\n"
        "assert next(stream)['x'].shape == (4, 3)\n"
        "assert 'grain' in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=os.environ | {"JAXAE_CACHE": str(cache_dir)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_training_does_not_depend_on_where_the_rows_come_from():
    array = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)

    def fit(stream):
        fitted = jaxae.fit(
            jaxae.recipes.autoencoder((5,), 2),
            stream,
            key=jax.random.key(0),
            epochs=2,
            steps_per_epoch=4,
        )
        return jax.tree.leaves(fitted.model.variables)

    from_array, from_rows = (
        fit(shuffled_batches({"x": rows}, 8, 0)) for rows in (array, lazy(array))
    )
    for first, second in zip(from_array, from_rows, strict=True):
        np.testing.assert_array_equal(first, second)


# --- rows that are decoded when they are needed -------------------------------------


def lazy(array, count=None, seen=None):
    def read(numbers):
        if seen is not None:
            seen.append(numbers.tolist())
        return array[numbers]

    return LazyRows(read, np.arange(len(array) if count is None else count), "mine")


def test_lazy_rows_are_like_an_array():
    array = np.random.default_rng(0).normal(size=(600, 3, 2)).astype(np.float32)
    rows = lazy(array)
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == ((600, 3, 2), "f4", 3, 600)
    picked = np.array([599, 0, 0, 7])
    np.testing.assert_array_equal(rows[picked], array[picked])
    np.testing.assert_array_equal(rows[:5], array[:5])
    np.testing.assert_array_equal(rows[np.arange(599, -1, -1)], array[::-1])
    assert rows[picked[:0]].shape == (0, 3, 2)
    part = rows.subset(np.array([5, 1, 9]))
    assert part.shape == (3, 3, 2)
    np.testing.assert_array_equal(part[np.array([2, 0])], array[[9, 5]])
    again = part.subset(np.array([1]))
    np.testing.assert_array_equal(again[:1], array[[1]])
    np.testing.assert_array_equal(np.concatenate([*chunks(rows, 7)]), array)


def test_lazy_rows_are_never_read_as_a_whole_by_accident():
    rows = lazy(np.zeros((5, 2), np.float32))
    for convert in (np.asarray, np.mean, np.isfinite, jnp.asarray):
        with pytest.raises(TypeError, match=r"mine is read from the disk a few"):
            convert(rows)


def test_lazy_rows_read_a_bounded_number_at_a_time():
    seen = []
    lazy(np.zeros((600, 1), np.uint8), seen=seen)[np.arange(600)]
    assert [len(numbers) for numbers in seen] == [1, 250, 250, 100]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_mean_example(dtype):
    array = np.random.default_rng(0).integers(0, 256, (700, 2, 3, 1)).astype(dtype)
    for rows in (array, lazy(array)):
        mean = mean_example(rows)
        assert mean.dtype == np.float64
        np.testing.assert_allclose(mean, array.mean(axis=0, dtype=float), rtol=1e-14)


def test_examples_that_differ_from_the_first_are_refused():
    def shapes(numbers):
        return np.zeros((len(numbers), 2 if numbers[0] < 3 else 3), np.float32)

    def types(numbers):
        return np.zeros((len(numbers), 2), np.uint8 if numbers[0] < 3 else np.float32)

    for read, message in ((shapes, r"shape \[3\]"), (types, "got float32")):
        rows = LazyRows(read, np.arange(9), "mine")
        assert rows[np.arange(3)].shape == (3, 2)
        with pytest.raises(DataError, match=f"^mine must hold .* {message}"):
            rows[np.array([5])]


def test_an_error_in_a_thread_is_the_one_that_arrives():
    def read(numbers):
        if 7 in numbers:
            raise DataError("mine[7]: damaged")
        return numbers[:, None].astype(np.float32)

    stream = shuffled_batches({"x": LazyRows(read, np.arange(10), "mine")}, 5, 0)
    with pytest.raises(DataError) as error:
        list(islice(stream, 2))
    assert str(error.value) == "mine[7]: damaged"


# --- files of arrays ----------------------------------------------------------------


def check_equal_to_decoded(source, **options):
    """A streamed set is the decoded one, except for how its images are held."""
    decoded = load(source, **options)
    for _ in range(2):  # the second time from the cache
        streamed = load(source, stream=True, **options)
        assert streamed.name == decoded.name
        images, labels = streamed.train
        assert isinstance(streamed.train, LazySplit) and isinstance(images, LazyRows)
        assert images.shape == decoded.train.images.shape
        assert images.dtype == decoded.train.images.dtype
        backwards = np.arange(len(images) - 1, -1, -1)
        np.testing.assert_array_equal(images[backwards], decoded.train.images[::-1])
        np.testing.assert_array_equal(images[:3], streamed.train.head(3).images)
        for part in ("validation", "test"):
            ours, theirs = getattr(streamed, part), getattr(decoded, part)
            assert isinstance(ours.images, np.ndarray)
            np.testing.assert_array_equal(ours.images, theirs.images)
            assert (ours.labels is None) == (theirs.labels is None) == (labels is None)
            if labels is not None:
                np.testing.assert_array_equal(ours.labels, theirs.labels)
        if labels is not None:
            np.testing.assert_array_equal(labels, decoded.train.labels)
            np.testing.assert_array_equal(labels[:3], streamed.train.head(3).labels)
    return streamed


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (40, 5, 4)),  # int64, no channels
        np.random.default_rng(0).normal(size=(40, 6)),  # float64 vectors
        np.random.default_rng(0).random((40, 5, 4, 1)) < 0.5,
        np.asfortranarray(np.random.default_rng(0).random((40, 6, 2))),
    ],
    ids=["bytes", "integers", "vectors", "bool", "fortran"],
)
def test_a_mapped_npy_file_is_as_if_decoded(tmp_path, array):
    np.save(tmp_path / "mine.npy", array)
    check_equal_to_decoded(str(tmp_path / "mine.npy"))
    check_equal_to_decoded(str(tmp_path / "mine.npy"), validation=0.3, seed=4)
    if array.ndim > 2:
        check_equal_to_decoded(str(tmp_path / "mine.npy"), image_size=(3, 7))


def test_the_cache_does_not_take_a_copy_of_a_mapped_file(tmp_path, cache_dir):
    np.save(tmp_path / "mine.npy", np.zeros((1000, 30, 30), np.uint8))
    load(str(tmp_path / "mine.npy"), stream=True)
    (entry,) = cache_dir.iterdir()
    sizes = {path.name: path.stat().st_size for path in entry.iterdir()}
    assert sizes["train_images.npy"] < 800 * 8 + 200  # numbers of rows
    assert sizes["validation_images.npy"] > 100 * 900


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.r_[np.zeros(299), np.nan][:, None], "not finite"),
        (np.r_[np.zeros(299, np.int64), 256][:, None], "integers in 0..255"),
        (np.zeros(5), r"must have shape \[n, h, w, c\]"),
        (np.zeros(()), "not a readable array"),
        (np.zeros((0, 2, 2)), "has no images"),
        (np.array([["a"], ["b"]]), "must hold numbers"),
        (np.array([[{}]]), "not a readable array"),
    ],
)
def test_unusable_npy_files_are_found_at_once(tmp_path, array, message):
    np.save(tmp_path / "bad.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message) as error:
        load(str(tmp_path / "bad.npy"), stream=True)
    assert "bad.npy" in str(error.value)


def test_a_damaged_npy_file_is_found_at_once(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((50, 6)))
    content = (tmp_path / "a.npy").read_bytes()
    for damaged in (content[:-100], content[:20], b"", b"PK\x03\x04"):
        (tmp_path / "a.npy").write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.npy: not a readable array"):
            load(str(tmp_path / "a.npy"), stream=True)


def test_other_sources_are_decoded_and_mapped(tmp_path):
    x, y = np.arange(30, dtype=np.uint8).repeat(4).reshape(30, 2, 2), np.arange(30)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    streamed, decoded = (load(str(tmp_path / "a.npz"), stream=s) for s in (True, False))
    assert isinstance(streamed.train.images, np.memmap)
    np.testing.assert_array_equal(streamed.train.images, decoded.train.images)


# --- TFDS ---------------------------------------------------------------------------


@pytest.fixture
def tfds_dir(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def prepare(folder, parts, **features):
    """Writes a data set of the name "mine", which is then known by its files alone."""
    import tensorflow_datasets as tfds

    def info(self):
        described = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=described)

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "name": "mine",
        "pkg_dir_path": folder,
        "_info": info,
        "_split_generators": lambda self, _: {
            part: enumerate(examples) for part, examples in parts.items()
        },
        "_generate_examples": None,
    }
    with tfds.core.registered.skip_registration():
        builder = type("mine", (tfds.core.GeneratorBasedBuilder,), body)
    with mnist._quiet():
        builder(data_dir=folder).download_and_prepare(file_format="array_record")


def photographs(count, side=8):
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return [{"image": Image.fromarray(x), "label": i} for i, x in enumerate(pixels)]


def prepare_photographs(folder, examples=None, shape=(8, 8, 3), **parts):
    import tensorflow_datasets as tfds

    prepare(
        folder,
        parts or {"train": photographs(40) if examples is None else examples},
        image=tfds.features.Image(shape=shape, encoding_format="png"),
        label=tfds.features.ClassLabel(num_classes=100),
    )


def record_file(folder):
    (path,) = folder.rglob("*train*array_record*")
    return path


@pytest.mark.parametrize("options", [{}, {"image_size": 5}, {"test": 0.3, "seed": 7}])
def test_tfds_rows_are_those_of_the_decoded_cache(tfds_dir, options):
    prepare_photographs(tfds_dir)
    streamed = check_equal_to_decoded("tfds:mine", **options)
    images, labels = streamed.train
    # Through the threads: each image with its label, as it went in.
    fields = {"x": images, "label": labels}
    drawn = list(islice(shuffled_batches(fields, 10, 0), -(-len(images) // 10)))
    known = dict(zip(load("tfds:mine", **options).train.labels, images[:], strict=True))
    for batch in drawn:
        for x, label in zip(batch["x"], batch["label"], strict=True):
            np.testing.assert_array_equal(x, known[label])
    assert sorted(np.concatenate([b["label"] for b in drawn])) == sorted(labels)


def test_tfds_parts_of_their_own_are_kept(tfds_dir):
    examples = photographs(60)
    parts = {"train": examples[:40], "validation": examples[40:45]}
    prepare_photographs(tfds_dir, **parts, test=examples[45:])
    streamed = check_equal_to_decoded("tfds:mine")
    assert [len(split.images) for split in streamed.splits().values()] == [40, 5, 15]
    assert set(streamed.test.labels) == set(range(45, 60))


def test_tfds_floats_without_labels(tfds_dir):
    import tensorflow_datasets as tfds

    tensor = tfds.features.Tensor(shape=(2, 3, 1), dtype=np.float32)
    pixels = np.random.default_rng(0).normal(size=(30, 2, 3, 1)).astype(np.float32)
    prepare(tfds_dir, {"everything": [{"image": x} for x in pixels]}, image=tensor)
    streamed = check_equal_to_decoded("tfds:mine")
    assert streamed.train.images.dtype == np.float32 and streamed.train.labels is None
    check_equal_to_decoded("tfds:mine", image_size=4)


def test_only_what_is_held_out_is_decoded_and_only_once(tfds_dir, monkeypatch):
    import train.data.tfds as ours

    prepare_photographs(tfds_dir)
    decoded = []

    def counting(images, count, size):
        decoded.append(count)
        return images_module.stack(images, count, size)

    monkeypatch.setattr(ours, "stack", counting)
    load("tfds:mine", stream=True)
    first = sum(decoded)
    assert 8 <= first <= 8 + 5 and max(decoded) == 4
    monkeypatch.setattr(ours, "_read_labels", None)
    monkeypatch.setattr(ours, "_read_split", None)
    streamed = load("tfds:mine", stream=True)
    assert sum(decoded) - first <= 2  # the forms
    decoded.clear()
    next(shuffled_batches({"x": streamed.train.images}, 16, 0)).clear()
    assert set(decoded) == {16} and len(decoded) <= 5


def test_tfds_images_whose_size_is_not_known_need_image_size(tfds_dir):
    examples = [{"image": Image.new("RGB", (8, 6 + i)), "label": i} for i in range(9)]
    prepare_photographs(tfds_dir, examples, shape=(None, None, 3))
    with pytest.raises(DataError, match=r"mine/train: .*may differ.* give image_size"):
        load("tfds:mine", stream=True)
    check_equal_to_decoded("tfds:mine", image_size=5)


@pytest.mark.parametrize("stream", [True, False])
def test_a_damaged_record_is_found_at_once(tfds_dir, stream):
    prepare_photographs(tfds_dir, photographs(40, side=32), shape=(32, 32, 3))
    path = record_file(tfds_dir)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine/train\[\d+\]: damaged"):
        load("tfds:mine", stream=stream)


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_file_of_records_is_found_at_once(tfds_dir, damage):
    prepare_photographs(tfds_dir)
    path = record_file(tfds_dir)
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="mine"):
        load("tfds:mine", stream=True)


def test_a_damaged_image_in_a_sound_record_is_named_when_it_is_read(tfds_dir):
    examples = photographs(40)
    examples[5]["image"] = io.BytesIO(b"this is not an image")
    held_out = {"validation": photographs(1), "test": photographs(1)}
    prepare_photographs(tfds_dir, train=examples, **held_out)
    images, labels = load("tfds:mine", stream=True).train
    assert labels is not None
    (place,) = np.flatnonzero(labels == 5)
    with pytest.raises(DataError, match=rf"^mine/train\[{place}\]: damaged"):
        list(islice(shuffled_batches({"x": images}, 10, 0), 4))


def test_missing_or_unusable_tfds_sets_are_named(tfds_dir):
    import tensorflow_datasets as tfds

    with pytest.raises(DataError, match="no such data set"):
        load("tfds:mine", stream=True)
    prepare(
        tfds_dir,
        {"train": [{"value": 1}]},
        value=tfds.features.Scalar(np.int32),
    )
    with pytest.raises(DataError, match="no feature 'image'"):
        load("tfds:mine", stream=True)
