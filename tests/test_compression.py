"""Images as bytes and back: nothing is lost, and the length is that of the bound."""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.stats import norm

import jaxae
from jaxae import bottlenecks, likelihoods, preparation, recipes
from jaxae.compression import compress, decompress, files, read_header
from jaxae.compression import stack as stacks
from jaxae.compression.bit_swap import BitSwap
from jaxae.compression.bits_back import BitsBack
from jaxae.compression.stack import BUCKETS, CENTRES, Stack, random_words
from jaxae.samplers.autoregressive import sequence_recipe

ROOT = Path(__file__).parents[1]
SHAPE = (4, 4, 1)
GREY = ["categorical", "discretized_logistic_mixture", "beta_binomial"]


def images(likelihood: str = "bernoulli") -> np.ndarray:
    rng = np.random.default_rng(0)
    bright = rng.random((60, 1, 1, 1)) > 0.5
    level = rng.normal(np.where(bright, 190.0, 60.0), 25.0, (60, *SHAPE)).clip(0, 255)
    grey = level.astype(np.uint8)
    return 255 * (grey > 127).astype(np.uint8) if likelihood == "bernoulli" else grey


@lru_cache
def model(likelihood: str = "bernoulli") -> jaxae.Model:
    network = jaxae.networks.FullyConnected((16,))
    recipe = recipes.vae(SHAPE, 2, network=network, likelihood=likelihood)
    options = {"epochs": 20, "batch_size": 20, "progress": False}
    return jaxae.fit(recipe, images(likelihood), key=jax.random.key(0), **options).model


@lru_cache
def ladder() -> jaxae.Model:
    recipe = recipes.ladder_vae(SHAPE, channels=(4, 4), latent_channels=1)
    return jaxae.init(recipe, jax.random.key(0))


@lru_cache
def stacked() -> jaxae.Model:
    """Of three layers, for grey levels."""
    network = jaxae.networks.FullyConnected((16,))
    options = {"network": network, "likelihood": "beta_binomial"}
    recipe = recipes.stacked_vae(SHAPE, (8, 6, 4), beta=1.0, **options)
    x, options = images("grey"), {"epochs": 20, "batch_size": 20, "progress": False}
    return jaxae.fit(recipe, x, key=jax.random.key(0), **options).model


@lru_cache
def compressed(likelihood: str = "bernoulli") -> bytes:
    return compress(model(likelihood), images(likelihood), source="somewhere")


def payload(data: bytes) -> int:
    """Bits of the images alone."""
    header, words = files._split(data)
    return 32 * (len(words) - header.borrowed)


@pytest.mark.parametrize("likelihood", ["bernoulli", *GREY])
def test_nothing_is_lost(likelihood):
    x = images(likelihood)
    again = decompress(model(likelihood), compressed(likelihood))
    assert again.dtype == np.uint8 and np.array_equal(again, x)
    header = read_header(compressed(likelihood))
    assert (header.count, header.shape, header.source) == (60, SHAPE, "somewhere")


def test_zeros_and_ones_stay_so():
    x = images() // 255
    assert np.array_equal(decompress(model(), compress(model(), x)), x)


@pytest.mark.parametrize("likelihood", ["bernoulli", *GREY, "stacked"])
def test_the_length_is_the_bound(likelihood):
    """Within what the draws of the codes vary by.

    That is 15 % of an image's bits where it is black and white, 5 % at most where it is
    grey: 2 % are three standard errors of 600 draws, and five of 180.
    """
    own = stacked() if likelihood == "stacked" else model(likelihood)
    times = 10 if likelihood == "bernoulli" else 3
    key, x = jax.random.key(1), np.concatenate([images(likelihood)] * times)
    terms = jaxae.evaluation.elbo_terms(own, x, key, num_samples=50)
    bound = -np.asarray(terms["elbo_nats"], np.float64).sum() / np.log(2)
    assert payload(compress(own, x)) == pytest.approx(bound, rel=0.02)


def test_a_stack_loses_nothing():
    """Nor where codes lie off their grids, as those of white images and black ones."""
    x = images("grey")[:20]
    x[0], x[1] = 0, 255
    assert np.array_equal(decompress(stacked(), compress(stacked(), x)), x)


def test_the_length_is_that_of_the_very_codes():
    """-log2 p(x | z) - log2 p(z) + log2 q(z | x), by scipy and numpyro."""
    own, stack = model(), Stack()
    program, lengths = BitsBack(own), []
    edges = norm.ppf(np.arange(BUCKETS + 1) / BUCKETS)
    for i, x in enumerate(images()):
        levels = (x // 255).reshape(-1).astype(np.int32)
        start, borrowed = stack._ans.num_valid_bits(), stack.borrowed
        q = program.posterior(levels, ())
        copy = Stack(stack.words)
        buckets = copy.pop_gaussian(q.mean.astype(float), q.std.astype(float))
        program.push(stack, levels, i)
        grown = stack._ans.num_valid_bits() - start
        assert stack.borrowed == borrowed == 16
        bounds = edges[buckets], edges[buckets + 1]
        mass = norm.cdf(bounds[1], q.mean, q.std) - norm.cdf(bounds[0], q.mean, q.std)
        p = jaxae.likelihood(own, CENTRES[buckets][None])
        nats = -float(p.log_prob(x[None] / np.float32(255))[0, 0])
        bits = nats / np.log(2) + 2 * np.log2(BUCKETS) + np.log2(mass).sum()
        lengths.append((grown, bits))
    grown, bits = np.sum(lengths, axis=0)
    # Probabilities are rounded to 2**-24, and every bucket has one of these at least.
    assert grown == pytest.approx(bits, rel=1e-3, abs=2.0)


def test_a_ladder_loses_nothing():
    x = images()[:20]
    data = compress(ladder(), x)
    assert np.array_equal(decompress(ladder(), data), x)
    terms = jaxae.evaluation.elbo_terms(ladder(), x, jax.random.key(1))
    bound = -np.asarray(terms["elbo_nats"], np.float64).sum() / np.log(2)
    # Posteriors and priors are the same at first, so that only p(x | z) varies.
    assert payload(data) == pytest.approx(bound, rel=0.05)


@pytest.mark.parametrize("of", [model, ladder, stacked])
def test_a_pop_undoes_a_push(of):
    scheme = BitSwap if of is stacked else BitsBack
    program, stack = scheme(of()), Stack()
    levels = (images()[:3] // 255).reshape(3, -1).astype(np.int32)
    before = []
    for i, each in enumerate(levels):
        before.append(stack.words)
        program.push(stack, each, i)
    for i in reversed(range(3)):
        assert np.array_equal(program.pop(stack, i), levels[i])
        own = stack.words  # with what was borrowed since beneath
        assert np.array_equal(own[len(own) - len(before[i]) :], before[i])
    assert np.array_equal(stack.words, random_words(stack.borrowed))


@lru_cache
def quantized(quantizers: int = 1) -> tuple[jaxae.Model, jaxae.Model]:
    """With codes of whole numbers, and a prior of these."""
    network = jaxae.networks.Convolutional((8, 8))
    options = {"likelihood": "beta_binomial", "num_quantizers": quantizers}
    recipe = recipes.vqvae((8, 8, 1), 5, 3, network=network, **options)
    own = jaxae.init(recipe, jax.random.key(0))
    codes = jaxae.encode(own, pictures())
    assert len(np.unique(codes)) > 1
    sizes = {"width": 8, "depth": 1, "num_heads": 2}
    prior = sequence_recipe(codes[0].size, 5, **sizes)
    return own, jaxae.init(prior, jax.random.key(2))


def pictures() -> np.ndarray:
    return np.tile(images("beta_binomial"), (1, 2, 2, 1))


@pytest.mark.parametrize("quantizers", [1, 2])
def test_codes_of_whole_numbers_lose_nothing(quantizers):
    own, prior = quantized(quantizers)
    x = pictures()[:20]
    data = compress(own, x, prior=prior)
    assert np.array_equal(decompress(own, data, prior=prior), x)


def test_the_length_is_that_of_codes_and_pixels():
    """-log2 p(c) - log2 p(x | c), by programs that have nothing to do with these."""
    own, prior = quantized()
    x, key = pictures(), jax.random.key(1)
    codes = jaxae.encode(own, x)
    rows = np.asarray(codes, np.float32).reshape(len(x), -1)
    nats = jaxae.evaluation.nll_nats(prior, rows, key, num_samples=1).sum()
    p = jaxae.likelihood(own, codes)
    nats = nats - jax.jit(lambda: p.log_prob(x / np.float32(255)).sum())()
    bits = float(nats) / np.log(2)
    assert payload(compress(own, x, prior=prior)) == pytest.approx(bits, rel=2e-3)


def test_a_prior_that_is_none_of_the_codes():
    own, prior = quantized()
    x = pictures()[:20]
    with pytest.raises(ValueError, match=r"code_density made .* got None"):
        compress(own, x)
    with pytest.raises(ValueError, match=r"code_density made .* got AutoEncoder"):
        compress(own, x, prior=own)
    recipe = sequence_recipe(4, 6)
    other = jaxae.init(recipe, jax.random.key(0))
    with pytest.raises(
        ValueError, match=r"4 codes below 5.* got one of 4 codes below 6"
    ):
        compress(own, x, prior=other)
    with pytest.raises(ValueError, match="prior is for codes of whole numbers"):
        compress(model(), images(), prior=prior)
    data = compress(own, x, prior=prior)
    with pytest.raises(
        ValueError, match=r"prior must be the one .* weights are others"
    ):
        decompress(own, data, prior=jaxae.init(prior.recipe, jax.random.key(1)))
    with pytest.raises(ValueError, match="prior must be the one"):
        decompress(own, data)
    with pytest.raises((ValueError, TypeCheckError)):
        decompress(own, data, prior=lambda key, count: count)


def test_a_prior_can_be_kept(tmp_path):
    own, prior = quantized()
    jaxae.save(prior, tmp_path / "prior")
    again = jaxae.load(tmp_path / "prior")
    assert again.recipe == prior.recipe
    x = pictures()[:20]
    data = compress(own, x, prior=prior)
    assert np.array_equal(decompress(own, data, prior=again), x)


def test_what_is_certain_takes_no_bits():
    stack = Stack()
    stack.push_symbols(np.zeros(5, np.int32), np.ones((5, 1), np.float32))
    assert np.array_equal(stack.words, random_words(stack.borrowed))
    assert not stack.pop_symbols(np.ones((5, 1), np.float32)).any()


def test_bits_are_borrowed_where_a_code_needs_more():
    stack, size = Stack(), 200
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=size), np.exp(rng.normal(size=size))
    buckets = stack.pop_gaussian(mean, std)
    assert stack.borrowed > 16 and stack.borrowed % 16 == 0
    stack.push_gaussian(buckets, mean, std)
    assert np.array_equal(stack.words, random_words(stack.borrowed))


def test_a_stack_borrows_less_than_all_its_codes_need(monkeypatch):
    monkeypatch.setattr(stacks, "BORROWED", 1)
    levels = images("grey")[0].reshape(-1).astype(np.int32)
    swapped, at_once = Stack(), Stack()
    program = BitSwap(stacked())
    program.push(swapped, levels, 0)
    below = levels
    for i in range(3):
        below = at_once.pop_gaussian(*program._posterior(i, below))
    assert swapped.borrowed < at_once.borrowed


def test_buckets_are_drawn_as_the_posterior_says():
    stack, mean, std = Stack(random_words(40_000)), 0.7, 0.3
    drawn = stack.pop_gaussian(np.full(20_000, mean), np.full(20_000, std))
    z = CENTRES[drawn]
    # Six standard errors.
    assert z.mean() == pytest.approx(mean, abs=6 * std / np.sqrt(20_000))
    assert z.std() == pytest.approx(std, abs=6 * std / np.sqrt(40_000))


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A folder of models of all kinds, images, and what this process makes of these.

    With the threads that it has, on one of eight devices.
    """
    folder = tmp_path_factory.mktemp("kept")
    for kind, own in (("wide", wide()), ("ladder", ladder()), ("high", high())):
        jaxae.save(own, folder / kind)
        shape = (3, *own.module.shape)
        x = np.random.default_rng(0).integers(0, 2, shape, np.uint8)
        np.save(folder / f"{kind}.npy", x)
        (folder / f"{kind}.jae").write_bytes(compress(own, x))
    return folder


@pytest.mark.parametrize(
    ("flags", "cores"),
    [("", 1), ("--xla_cpu_multi_thread_eigen=false", 2)],
)
def test_the_bytes_do_not_depend_on_threads(kept, flags, cores):
    """Nor on the process: what one has compressed comes back in another."""
    in_process(flags, cores, kept)


def in_process(flags: str, cores: int, folder: Path) -> None:
    """Checks that a process of its own makes the files that are there, and back."""
    program = (
        "import os, jax, numpy as np, jaxae\n"
        "from pathlib import Path\n"
        "from jaxae.compression import compress, decompress\n"
        # One is this worker's own.
        f"own = os.sched_getaffinity(0) if {cores} == 1 else range(os.cpu_count())\n"
        f"os.sched_setaffinity(0, sorted(own)[:{cores}])\n"
        "for kind in ('wide', 'ladder', 'high'):\n"
        "    model, x = jaxae.load(kind), np.load(f'{kind}.npy')\n"
        "    data, path = compress(model, x), Path(f'{kind}.jae')\n"
        "    assert data == path.read_bytes(), kind\n"
        "    assert np.array_equal(decompress(model, data), x), kind\n"
    )
    # Beside those of this process, by which XLA generates code.
    flags = f"{os.environ['XLA_FLAGS']} {flags}"
    names = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **names},
        cwd=folder,
        check=True,
    )


@lru_cache
def wide() -> jaxae.Model:
    """Of matrices that are large enough for several threads."""
    network = jaxae.networks.FullyConnected((600,))
    recipe = recipes.vae((28, 28, 1), 40, network=network)
    return jaxae.init(recipe, jax.random.key(0))


@lru_cache
def high() -> jaxae.Model:
    """Of two layers, of matrices likewise."""
    network = jaxae.networks.FullyConnected((600,))
    options = {"network": network, "upper_network": network}
    recipe = recipes.stacked_vae((28, 28, 1), (64, 40), **options)
    return jaxae.init(recipe, jax.random.key(0))


def test_files_that_are_none():
    for data in (b"", b"\x89PNG\r\n\x1a\n and more", b"JAE"):
        with pytest.raises(ValueError, match="must be what `compress` wrote"):
            read_header(data)


@pytest.mark.parametrize("end", [8, 12, 16, 18, 100, -4, -1])
def test_files_that_are_cut_off(end):
    with pytest.raises(ValueError, match="damaged or cut off"):
        decompress(model(), compressed()[:end])


@pytest.mark.parametrize("place", [8, 16, 30, 150, -1])
def test_files_that_are_damaged(place):
    data = bytearray(compressed())
    data[place] ^= 4
    with pytest.raises(ValueError, match="damaged or cut off"):
        decompress(model(), bytes(data))


def rewritten(**changes: object) -> bytes:
    """A whole file with another header."""
    header, words = files._split(compressed())
    about = json.dumps({**header._asdict(), **changes}).encode()
    body = len(about).to_bytes(2, "little") + about + words.astype("<u4").tobytes()
    return files.MAGIC + files._digest(body) + body


def test_a_later_format():
    with pytest.raises(ValueError, match=r"jaxae 9\.9 in format 2"):
        read_header(rewritten(format=2, jaxae="9.9"))


@pytest.mark.parametrize("change", [{"probe": "0" * 16}, {"pixels": "0" * 16}])
def test_another_computer(change):
    with pytest.raises(ValueError, match=r"gives other probabilities .*JAX 0\.1 there"):
        decompress(model(), rewritten(jax="0.1", **change))


@pytest.mark.parametrize(
    "change",
    [{"count": -1}, {"count": "a"}, {"borrowed": -3}, {"more": 1}, {"step": []}],
)
def test_headers_that_say_what_cannot_be(change):
    with pytest.raises(ValueError, match="damaged or cut off"):
        decompress(model(), rewritten(**change))


@pytest.mark.parametrize("text", [b"{}", b"[", b"\xff", b'{"jaxae": "1", "format": 1}'])
def test_headers_that_are_none(text):
    body = len(text).to_bytes(2, "little") + text
    with pytest.raises(ValueError, match="damaged or cut off"):
        read_header(files.MAGIC + files._digest(body) + body)


@pytest.mark.parametrize("shape", [(16,), (2, 8, 1), (4, 4)])
def test_images_of_another_shape_than_the_models(shape):
    with pytest.raises(ValueError, match=r"model's shape \(4, 4, 1\), are of \("):
        decompress(model(), rewritten(shape=shape))


def test_what_is_no_model_or_no_source_or_no_data():
    for call in (
        lambda: compress(model().recipe, images()),
        lambda: decompress("model", compressed()),
        lambda: compress(model(), images(), source=70_000 * "x"),
        lambda: decompress(model(), [1, 2]),
    ):
        with pytest.raises((ValueError, TypeCheckError)):
            call()


def test_another_model():
    changed = jax.tree.map(lambda x: x + x.dtype.type(1e-3), model().variables)
    with pytest.raises(ValueError, match="compressed with, 'somewhere': its weights"):
        decompress(model().replace(variables=changed), compressed())


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (images("categorical"), "images must be 0 and 255, or 0 and 1, for Bernoulli"),
        (images() / 255.0, r"images must be bytes \(uint8\), got 'float64'"),
        (images()[:, :3], r"images must be of shape \[n, 4, 4, 1\]"),
        (images()[:0], "at least one example"),
    ],
)
def test_images_that_do_not_fit(x, sentence):
    with pytest.raises(ValueError, match=sentence):
        compress(model(), x)


def layer(shape: tuple, size: int, likelihood=None) -> jaxae.AutoEncoder:
    return recipes.compose_model(shape, "mlp", bottlenecks.Gaussian(size), likelihood)


REFUSED = {
    "a prior": recipes.autoencoder(SHAPE, 2),
    "likelihood must be one of grey levels": recipes.vae(
        SHAPE, 2, likelihood="gaussian"
    ),
    "got Categorical|likelihoods.Categorical": recipes.vae(
        SHAPE, 2, likelihood=likelihoods.Categorical(levels=10)
    ),
    "posterior must be a Gaussian": recipes.flow_vae(SHAPE, 2),
    "upper.likelihood must be a Gaussian .* got 'StudentT'": recipes.compose_recipe(
        jaxae.Stacked(layer(SHAPE, 3), layer((3,), 2, likelihoods.StudentT())),
        jaxae.objectives.ELBO(),
    ),
    "prior must be a Gaussian": recipes.mixture_vae(SHAPE, 2),
    "nothing beside x": recipes.conditional_vae(SHAPE, 2, num_labels=3),
    "prepare must be": recipes.vae(SHAPE, 2).replace(
        prepare=preparation.MinMax(0.0, 1.0)
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_models_of_other_kinds(sentence):
    own = jaxae.init(REFUSED[sentence], jax.random.key(0))
    with pytest.raises(ValueError, match=sentence):
        compress(own, images())


def test_numbers_that_are_not_finite():
    broken = jax.tree.map(lambda x: x * np.nan, model().variables)
    with pytest.raises(ValueError, match=r"images\[59\]: model must give finite"):
        compress(model().replace(variables=broken), images())


def test_posteriors_that_are_points():
    with pytest.raises(ValueError, match="standard deviations above 0"):
        Stack().pop_gaussian(np.zeros(2), np.array([1.0, 0.0]))


def test_only_the_images_themselves_have_to_be_finite(monkeypatch):
    """Not the one that both sides compare their numbers by."""
    probe = files._probe

    def overflowing(scheme, shape):
        monkeypatch.setattr(
            type(scheme), "table", lambda self, codes: np.full(2, np.inf)
        )
        found = probe(scheme, shape)
        monkeypatch.undo()
        return found

    monkeypatch.setattr(files, "_probe", overflowing)
    data = compress(model(), images())
    assert payload(data) == payload(compressed())


def test_without_constriction(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxae\[compress\]'"):
        compress(model(), images())
