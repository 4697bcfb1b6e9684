"""Files of images through `train.compress` and `train.decompress`, in this process."""

import dataclasses
import sys
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

import jaxae
from jaxae.compression import read_header
from jaxae.errors import ArgumentError
from jaxae.samplers.autoregressive import code_density, sequence_recipe
from train import compress, decompress
from train.__main__ import parse
from train.errors import DataError, RunError
from train.training import train


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


def test_what_a_file_has_no_place_for_is_refused(folder, tmp_path):
    x = np.load(folder / "images.npy")
    for field, values in {"missing": x > 9, "inputs": x}.items():
        path = tmp_path / f"{field}.npz"
        np.savez(path, x=x, **{field: values})
        arguments = compress.Arguments(folder / "model", path, tmp_path / "a.jae")
        with pytest.raises(ArgumentError, match=f"'{field}' must be left out, a file"):
            compress.compress(arguments)
    np.savez(path, x=x, missing=np.zeros(x.shape, bool), label=np.arange(5))
    compress.compress(arguments)
    assert read_header(arguments.out.read_bytes()).count == 5


def test_a_model_that_moved(folder, tmp_path):
    file, out = tmp_path / "a.jae", tmp_path / "out.npy"
    images, model = folder / "images.npy", folder / "model"
    compress.compress(compress.Arguments(model, images, file))
    moved = tmp_path / "moved"
    model.rename(moved)
    try:
        with pytest.raises(ArgumentError, match=r"--run must be given: .*/model', w"):
            decompress.decompress(decompress.Arguments(file, out))
        decompress.decompress(decompress.Arguments(file, out, moved))
    finally:
        moved.rename(model)
    assert np.array_equal(np.load(out), np.load(images))


def test_files_that_could_not_come_back_are_refused(folder, tmp_path):
    wide = Image.fromarray(np.full((4, 4), 5947, np.uint16))
    clear = Image.fromarray(np.zeros((4, 4, 2), np.uint8), "LA")
    for name, image in (("wide", wide), ("clear", clear)):
        root = tmp_path / name
        root.mkdir()
        image.save(root / "a.png")
        arguments = compress.Arguments(folder / "model", root, tmp_path / "a.jae")
        with pytest.raises(DataError, match=r"a\.png must be of 8 bits, without"):
            compress.compress(arguments)


def test_a_folder_is_not_called_as_a_file(folder, tmp_path):
    file = tmp_path / "a.jae"
    images, model = folder / "images.npy", folder / "model"
    compress.compress(compress.Arguments(model, images, file))
    for name in ("out.npz", "out.PNG"):
        with pytest.raises(ArgumentError, match=r"--out must be a \.npy file"):
            decompress.decompress(decompress.Arguments(file, tmp_path / name))


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


SMALL = {"width": 4, "depth": 1, "num_heads": 1}
"""A prior of codes that is compiled in little time."""


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory):
    """A run with codes of whole numbers."""
    root = tmp_path_factory.mktemp("vqvae")
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    np.save(root / "images.npy", images)
    words = ["vqvae", "--data", str(root / "images.npy"), "--out", str(root / "run")]
    words += "--epochs 1 --batch-size 20 --nll-samples 0 --parallel none".split()
    words += "--model.likelihood beta_binomial --model.network conv:4".split()
    words += "--model.codebook-size 5 --model.code-dim 2".split()
    name, config = parse(words)
    return train(root / "run", name, config).path


def test_a_run_keeps_the_prior_of_its_codes(vqvae, tmp_path, monkeypatch, capsys):
    small = partial(code_density, **SMALL)
    monkeypatch.setattr("train.code_priors.samplers.code_density", small)
    images = vqvae.parent / "images.npy"
    for file in (tmp_path / "a.jae", tmp_path / "b.jae"):
        compress.compress(compress.Arguments(vqvae, images, file))
        printed = capsys.readouterr().out
        assert ("prior of the codes of" in printed) == (file.stem == "a")
    assert file.read_bytes() == (tmp_path / "a.jae").read_bytes()
    decompress.decompress(decompress.Arguments(file, tmp_path / "out.npy"))
    assert np.array_equal(np.load(tmp_path / "out.npy"), np.load(images))


def test_images_are_checked_before_a_prior_is_fitted(vqvae, tmp_path, monkeypatch):
    monkeypatch.setattr("train.code_priors.code_prior", None)
    path = tmp_path / "other.npy"
    for bad, message in (
        (np.zeros((3, 8, 8, 1), np.uint8), r"images must be of shape \[n, 4, 4, 1\]"),
        (np.zeros((3, 4, 4, 1), np.float32), r"images must be bytes \(uint8\)"),
    ):
        np.save(path, bad)
        with pytest.raises(ArgumentError, match=message):
            compress.compress(compress.Arguments(vqvae, path, tmp_path / "a.jae"))


def test_a_prior_of_ones_own(vqvae, folder, tmp_path):
    images, file = vqvae.parent / "images.npy", tmp_path / "a.jae"
    model = jaxae.load(vqvae)
    jaxae.save(model, tmp_path / "alone")
    arguments = compress.Arguments(tmp_path / "alone", images, file)
    with pytest.raises(ArgumentError, match=r"--prior must be given: .* is no run"):
        compress.compress(arguments)
    recipe = sequence_recipe(4, 5, **SMALL)
    jaxae.save(jaxae.init(recipe, jax.random.key(0)), tmp_path / "prior")
    compress.compress(dataclasses.replace(arguments, prior=tmp_path / "prior"))
    with pytest.raises(ArgumentError, match="--prior must be given: there is none"):
        decompress.decompress(decompress.Arguments(file, tmp_path / "out.npy"))
    out = decompress.Arguments(file, tmp_path / "out.npy", prior=tmp_path / "prior")
    decompress.decompress(out)
    assert np.array_equal(np.load(tmp_path / "out.npy"), np.load(images))
    with pytest.raises(ArgumentError, match="--prior is for codes of whole numbers"):
        images = folder / "images.npy"
        arguments = compress.Arguments(folder / "model", images, tmp_path / "b.jae")
        compress.compress(dataclasses.replace(arguments, prior=tmp_path / "prior"))
