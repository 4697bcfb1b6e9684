"""Reports of models with random weights, read as a browser would."""

import base64
import dataclasses
import io
import shlex
from functools import cache, partial
from html.parser import HTMLParser

import jax
import numpy as np
import optax
import pytest
from PIL import Image

import jaxae
from jaxae import networks, recipes
from jaxae.evaluation.quality import mean_squared_error
from jaxae.training import init_state, trained_model
from tests.weights import some_weights
from train.__main__ import parse
from train.data.types import Split
from train.options import flat
from train.presets import PRESETS
from train.report import write_report
from train.report.page import rerun_command

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a page holds; fails on tags that are not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.cells, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data

    def images(self):
        prefix = "data:image/png;base64,"
        sources = [attrs["src"] for tag, attrs in self.tags if tag == "img"]
        assert all(source.startswith(prefix) for source in sources)
        return [base64.b64decode(source.removeprefix(prefix)) for source in sources]


def examples(*shape, count=40):
    """Bytes of pictures, or vectors."""
    x = np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)
    return x if len(shape) > 1 else x.astype(np.float32) / 255


HISTORY = [
    {"epoch": 1, "loss": 9.0, "validation_loss": 8.0, "seconds": 1.0},
    {"epoch": 2, "loss": 7.0, "validation_loss": None, "seconds": 0.5},
]
DATA = "<b>&\"'</b>"
CONFIG = {
    "preset": "vae",
    "data": DATA,
    "epochs": 2,
    "model": {"latent_dim": 3, "network": "mlp:300,300:gated=yes"},
    "seed": 7,
    "image_size": None,
}
RESULT = {
    "nll_nats": 98.76543,
    "nll_samples": 5000,
    "examples_per_second": 12345.678,
    "mse": 0.000123456,
    "device": "<script>alert(1)</script>",
    "psnr_db": None,
    "some": {"nested_nats": -1.5},
    "works": True,
}
LABELS = np.arange(40, dtype=np.int32) % 10

MLP = networks.FullyConnected((16,))
VAE = recipes.vae((12, 12, 1), 3, network=MLP)
FAMILIES = {
    "vae": VAE,
    "plane": recipes.vae((10, 8, 3), 2, network=MLP, likelihood="gaussian"),
    "denoising": recipes.denoising_autoencoder((12, 12, 1), 4, network=MLP),
    "inpainting": recipes.inpainting_autoencoder((12, 12, 1), 4, network=MLP),
    "vectors": recipes.autoencoder((6,), 1, network=MLP),
    "vamp": recipes.vamp_vae((12, 12, 1), 3, network=MLP, components=4),
    "sparse": recipes.sparse_autoencoder((12, 12, 1), 16, k=4),
    "discrete": recipes.vqvae((12, 12, 1), 8, 3, network=MLP, num_quantizers=2),
}
ALWAYS = {"learning_curves", "codes"}
WALKS = ALWAYS | {"reconstructions", "interpolations"}
PICTURES = {
    "vae": WALKS | {"samples", "traversals"},
    "plane": WALKS | {"samples", "traversals", "latent_plane"},
    "vamp": WALKS | {"samples", "traversals", "pseudo_inputs"},
    "sparse": WALKS | {"atoms"},
    "discrete": {"learning_curves", "reconstructions", "code_usage"},
    "denoising": WALKS | {"restorations"},
    "inpainting": ALWAYS | {"reconstructions", "restorations"},
    "vectors": ALWAYS,
}


def random_model(recipe):
    """Weights of the right shapes; initialising them would take a compilation."""
    batch = {"x": examples(*recipe.module.shape, count=2)}
    init = partial(init_state, recipe, optax.identity())

    def variables(key):
        return trained_model(recipe, init(batch, key)).variables

    shapes = jax.eval_shape(variables, jax.random.key(0))
    return jaxae.Model(recipe, some_weights(shapes, 0.3))


def report(run, recipe, images, labels=None, config=CONFIG):
    write_report(
        run,
        random_model(recipe),
        Split(images, labels),
        config=config,
        history=HISTORY,
        result=RESULT,
        key=jax.random.key(1),
    )


def read_page(run):
    return Page((run / "report.html").read_text(encoding="utf-8"))


def pictures(run):
    return {path.stem for path in run.glob("*.png")}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Makes the folder of a family's report: once, since all of it is compiled."""

    @cache
    def make(family):
        run, recipe = tmp_path_factory.mktemp(family), FAMILIES[family]
        config = {"data": "digits"} if family == "vectors" else CONFIG
        report(run, recipe, examples(*recipe.module.shape), LABELS, config)
        return run

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_a_report_embeds_the_pictures_of_its_family(run_of, family):
    run = run_of(family)
    assert pictures(run) == PICTURES[family]
    files = {path.read_bytes() for path in run.glob("*.png")}
    assert set(read_page(run).images()) == files
    for data in files:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        assert len(np.unique(pixels)) > 10, "blank"
        assert (pixels[[0, -1]] == 255).all(), "cut off"


@pytest.fixture(scope="module")
def page_and_text(run_of):
    run = run_of("vae")
    return read_page(run), (run / "report.html").read_text(encoding="utf-8")


def test_the_results_are_there_with_their_units(page_and_text):
    cells = page_and_text[0].cells
    for value in ("98.765", "5,000", "12,346", "0.00012346", "-1.5", "yes"):
        assert value in cells, value
    row = cells.index("98.765")
    assert cells[row - 1] == "negative log-likelihood"
    assert cells[row + 1].startswith("nats per example")
    assert "peak signal-to-noise ratio" not in cells  # null: left out


def test_nothing_of_the_configuration_becomes_a_tag(page_and_text):
    page, text = page_and_text
    names = {tag for tag, _ in page.tags}
    assert "script" not in names and "b" not in names
    assert DATA in page.cells
    assert "<script>alert(1)</script>" in page.cells
    assert "<script>" not in text


def test_the_page_asks_for_nothing(page_and_text):
    page, text = page_and_text
    assert "http:" not in text and "https:" not in text and "url(" not in text
    assert "@import" not in text
    assert not {"link", "script", "iframe"} & {tag for tag, _ in page.tags}


def test_the_command_says_what_differs_from_the_preset(page_and_text):
    page, _ = page_and_text
    words = ["--epochs", "2", "--model.latent-dim", "3", "--seed", "7"]
    assert f"python -m train vae {shlex.join(['--data', DATA, *words])}" in page.text


def test_the_command_makes_the_same_configuration_again():
    default = PRESETS["vae"].config()
    model = dataclasses.replace(
        default.model, beta="linear:0:1:epochs=2", network="mlp:9,8", num_samples=2
    )
    size, optimizer = (12, 12), dataclasses.replace(default.optimizer, clip_norm=1.0)
    config = dataclasses.replace(
        default, model=model, image_size=size, optimizer=optimizer, tensorboard=True
    )
    saved = {"preset": "vae", **flat(config)}
    words = shlex.split(rerun_command(saved))
    assert words[:3] == ["python", "-m", "train"]
    assert parse(words[3:]) == ("vae", config)


def test_the_summary_says_what_was_trained(run_of):
    page = read_page(run_of("vectors"))
    assert "Auto-encoder on digits" in page.text
    assert "vectors of 6 values" in page.text
    # 6 · 16 + 16, 16 · 1 + 1, 1 · 16 + 16, 16 · 6 + 6
    assert "263 parameters" in page.text
    assert "2 epochs" in page.text and "code of 1 number stands" in page.text
    assert "python -m train" not in page.text  # without a preset there is no command


def test_one_image_without_a_label_is_enough(tmp_path):
    report(tmp_path, VAE, examples(12, 12, 1, count=1))
    assert pictures(tmp_path) == ALWAYS | {"reconstructions", "samples", "traversals"}


def test_images_of_samplers_have_a_picture_each(tmp_path):
    image = examples(12, 12, 1).astype(np.float32) / 255
    write_report(
        tmp_path,
        random_model(VAE),
        Split(examples(12, 12, 1)),
        config=CONFIG,
        history=HISTORY,
        result={"frechet_prior": 1.5, "frechet_space": "a classifier"},
        key=jax.random.key(1),
        generated={"prior": image, "gaussian_mixture": image},
    )
    assert {"samples", "samples_gaussian_mixture"} <= pictures(tmp_path)
    page = read_page(tmp_path)
    assert "Fréchet distance, prior" in page.cells
    assert "not Inception" in page.text and "a classifier" in page.cells


def test_the_error_in_a_hole_counts_the_hole_alone():
    x = examples(12, 12, 3, count=4).astype(np.float32) / 255
    mask = np.zeros((4, 12, 12, 1), bool)
    for n in range(4):
        mask[n, n : n + 5, 2 * n : 2 * n + 4] = True
    error = jax.jit(mean_squared_error)
    damaged, where = np.where(mask, np.float32(0), x), np.broadcast_to(mask, x.shape)
    expected = [(x[i][where[i]] ** 2).mean() for i in range(4)]
    np.testing.assert_allclose(error(damaged, x, mask), expected, rtol=1e-5)
    outside = np.where(mask, x, np.float32(0))  # differs outside the hole only
    np.testing.assert_array_equal(error(outside, x, mask), 0.0)
