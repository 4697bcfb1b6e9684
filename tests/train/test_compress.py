"""Files of images through `train.compress` and `train.decompress`, in this process."""

import sys

import jax
import numpy as np
import pytest
from PIL import Image

import jaxae
from jaxae.compression import read_header
from jaxae.errors import ArgumentError, CheckpointError
from train import compress, decompress
from train.errors import RunError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and images as an array and as pictures."""
    root = tmp_path_factory.mktemp("compress")
    network = jaxae.networks.FullyConnected((8,))
    recipe = jaxae.recipes.vae((4, 4, 1), 2, network=network, likelihood="categorical")
    jaxae.save(jaxae.init(recipe, jax.random.key(0)), root / "model")
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), np.uint8)
    np.save(root / "images.npy", images)
    (root / "pictures").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(root / "pictures" / f"{i}.png")
    return root


def run(monkeypatch, program, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    program.main()


@pytest.mark.parametrize("source", ["images.npy", "pictures"])
def test_there_and_back(folder, source, tmp_path, monkeypatch, capsys):
    file, array, pictures = (tmp_path / name for name in ("a.jae", "a.npy", "out"))
    run(monkeypatch, compress, folder / "model", folder / source, "--out", file)
    size = file.stat().st_size
    assert capsys.readouterr().out.splitlines() == [
        f"5 images -> {file}: {size:,} bytes, {8 * size / 80:.4f} bits per dimension"
    ]
    assert read_header(file.read_bytes()).source == str(folder / "model")
    run(monkeypatch, decompress, file, "--out", array)
    images = np.load(folder / "images.npy")
    again = np.load(array)
    assert again.dtype == np.uint8 and np.array_equal(again, images)
    run(monkeypatch, decompress, file, "--out", pictures)
    files = sorted(pictures.iterdir())
    assert np.array_equal([np.asarray(Image.open(f)) for f in files], images[..., 0])


def test_a_model_that_moved(folder, tmp_path):
    file, out = tmp_path / "a.jae", tmp_path / "out.npy"
    images, model = folder / "images.npy", folder / "model"
    compress.compress(compress.Arguments(model, images, file))
    moved = tmp_path / "moved"
    model.rename(moved)
    try:
        with pytest.raises(CheckpointError, match="no saved model"):
            decompress.decompress(decompress.Arguments(file, out))
        decompress.decompress(decompress.Arguments(file, out, moved))
    finally:
        moved.rename(model)
    assert np.array_equal(np.load(out), np.load(images))


def test_what_is_wrong_is_said(folder, tmp_path, monkeypatch, capsys):
    model, images, file = folder / "model", folder / "images.npy", tmp_path / "a.jae"
    with pytest.raises(ArgumentError, match=r"images\.npy: data must be what"):
        decompress.decompress(decompress.Arguments(images, tmp_path / "out.npy"))
    with pytest.raises(ArgumentError, match="--out must be a path that does not exist"):
        compress.compress(compress.Arguments(model, images, images))
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(RunError, match="pip install"):
        compress.compress(compress.Arguments(model, images, file))
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, compress, model, images, "--out", file)
    assert end.value.code == 1 and not file.exists()
    assert "error: images are compressed by constriction" in capsys.readouterr().err
