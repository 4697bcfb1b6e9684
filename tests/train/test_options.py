"""The command line of a family follows from its function; parts are said in words."""

import json
import warnings
from inspect import signature
from typing import get_type_hints

import jax
import numpy as np
import pytest
from flax import linen as nn

import jaxae
from jaxae import corruptions, likelihoods, networks, recipes
from jaxae.corruptions import Compose, GaussianNoise, Holes, Patches
from jaxae.errors import ArgumentError
from jaxae.networks import Convolutional, FullyConnected
from jaxae.objectives import ELBO, Weight
from jaxae.recipes import compose_model, compose_recipe
from jaxae.schedules import Cosine, Cyclical, Linear
from train import evaluate, words
from train.__main__ import main, parse
from train.errors import DataError
from train.options import Plan, flat, options_of, replaced
from train.presets import PRESETS, Preset
from train.run import open_run
from train.training import train

PLAN = Plan(train_size=100, steps_per_epoch=10)
SHAPE = (8, 8, 1)
DECIDED_BY_THE_DATA = {"shape", "input_shape", "data_size"}
WITH_NETWORK = [
    family for family in recipes.FAMILIES if "network" in signature(family).parameters
]


def name_of(family):
    return family.__name__


def help_of(options):
    """The help text of every option."""
    hints = get_type_hints(options, include_extras=True)
    own = {name: hints[name] for name in hints if name not in ("family", "parts")}
    return {name: hint.__metadata__[0].help for name, hint in own.items()}


@pytest.mark.parametrize("family", recipes.FAMILIES, ids=name_of)
def test_every_argument_is_an_option_that_says_what_it_is(family):
    texts = help_of(options_of(family))
    assert set(texts) == set(signature(family).parameters) - DECIDED_BY_THE_DATA
    assert all(len(text.strip()) > 5 for text in texts.values()), texts
    of_python = ("of your own", "as a module", "as a pair")
    assert not [text for text in texts.values() for way in of_python if way in text]
    assert options_of(family).__doc__.strip()


@pytest.mark.parametrize("family", recipes.FAMILIES, ids=name_of)
def test_without_options_it_is_the_recipe_with_its_defaults(family):
    known = {"data_size": 100} & signature(family).parameters.keys()
    own = {name: 100 for name in known}
    assert options_of(family)().recipe(SHAPE, PLAN) == family(SHAPE, **own)


def test_every_family_has_a_preset():
    assert {preset.family for preset in PRESETS.values()} == set(recipes.FAMILIES)


def test_help_shows_the_texts(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["iwae", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ended.value.code == 0
    for text in help_of(options_of(recipes.iwae)).values():
        assert text.partition(" One of:")[0] in shown
    assert "--model.network NETWORK" in shown
    assert "(default:mlp:300,300:gated=yes)" in shown.replace(" ", "")  # as wrapped


@pytest.mark.parametrize("family", WITH_NETWORK, ids=name_of)
@pytest.mark.parametrize("text", ["conv:4,6", "mlp:5,6"])
def test_every_family_takes_every_network(family, text):
    preset = next(name for name, each in PRESETS.items() if each.family is family)
    options = ["--model.network", text]
    if family is recipes.contractive_autoencoder:  # "closed_form" has one layer
        options += ["--model.estimator", "exact"]
    _, config = parse([preset, *options])
    module = config.model.recipe(SHAPE, PLAN).module
    module = getattr(module, "lower", module)
    pair = Convolutional((4, 6)) if text[:4] == "conv" else FullyConnected((5, 6))
    assert module.encoder == pair.encoder()
    assert module.decoder == pair.decoder(module.decoder.shape)


# Words


def read(part, text):
    return part.read(text, "--model.part", 10)


@pytest.mark.parametrize(
    ("part", "text", "value"),
    [
        (words.WEIGHT, "2", 2.0),
        (words.WEIGHT, "1e-3", 1e-3),
        (words.WEIGHT, "linear:0:1:50", Linear(0.0, 1.0, 50)),
        (words.WEIGHT, "linear:0:1:steps=50", Linear(0.0, 1.0, 50)),
        (words.WEIGHT, "linear:0:1:epochs=2.5", Linear(0.0, 1.0, 25)),
        (words.WEIGHT, "linear:end=0:start=3:epochs=1", Linear(3.0, 0.0, 10)),
        (words.WEIGHT, "cosine:1:0:epochs=0.01", Cosine(1.0, 0.0, 1)),
        (words.WEIGHT, "cyclical:epochs=3:peak=4", Cyclical(30, 4.0)),
        (words.CORRUPTION, "holes:3", Holes(3)),
        (words.CORRUPTION, "holes:3:4:count=2:fill=0.5", Holes(3, 4, 2, fill=0.5)),
        (words.CORRUPTION, "holes:3:at=1,2", Holes(3, at=(1, 2))),
        (words.CORRUPTION, "gaussian_noise:0.4:clip=yes", GaussianNoise(0.4, True)),
        (
            words.CORRUPTION,
            "holes:2+gaussian_noise:1e+3+patches:4",
            Compose((Holes(2), GaussianNoise(1e3), Patches(4))),
        ),
        (words.CORRUPTION, "salt_and_pepper:0.1", corruptions.SaltAndPepper(0.1)),
        (words.NETWORK, "mlp", FullyConnected()),
        (words.NETWORK, "mlp:", FullyConnected(())),
        (words.NETWORK, "mlp:9:yes", FullyConnected((9,), gated=True)),
        (words.NETWORK, "mlp:activation=gelu", FullyConnected(activation="gelu")),
        (words.NETWORK, "conv:4,8:5", Convolutional((4, 8), 5)),
        (words.NETWORK, "conv:batch_norm=true", Convolutional(batch_norm=True)),
        (words.CRITIC, "mlp:7,8", networks.MLP((7, 8))),
        (words.CRITIC, "conv:4", networks.ConvEncoder((4,))),
        (words.LIKELIHOOD, "gaussian:0.1", likelihoods.Gaussian(0.1)),
        (words.LIKELIHOOD, "gaussian:optimal", likelihoods.Gaussian("optimal")),
        (words.LIKELIHOOD, "laplace_shared", likelihoods.Laplace("shared")),
        (
            words.LIKELIHOOD,
            "discretized_logistic_mixture:3",
            likelihoods.DiscretizedLogisticMixture(3),
        ),
    ],
    ids=str,
)
def test_words_make_a_part(part, text, value):
    made = read(part, text)
    assert made == value and type(made) is type(value)


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        (words.WEIGHT, "liner:0:1:5", "did you mean 'linear'?"),
        (words.NETWORK, "convs:4", "did you mean 'conv'?"),
        (words.LIKELIHOOD, "bernouli", "did you mean 'bernoulli'?"),
        (words.CORRUPTION, "hole:3", "did you mean 'holes'?"),
        (words.CORRUPTION, "holes:3+gauss_noise:1", "did you mean 'gaussian_noise'?"),
        (words.WEIGHT, "linear:a:1:5", "linear:a:1:5: 'a' must be a number"),
        (words.WEIGHT, "linear:0:1:2.5", "linear:0:1:2.5: '2.5' must be a whole num"),
        (words.WEIGHT, "linear:0:1:epochs=x", "'x' must be a number"),
        (words.NETWORK, "mlp:4,b", "mlp:4,b: 'b' must be a whole number"),
        (words.NETWORK, "conv:4:big", "conv:4:big: 'big' must be a whole number"),
        (words.NETWORK, "unet", "a family of its own: the preset unet"),
        (words.NETWORK, "mlp:4:maybe", "must be one of false, no, true, yes"),
        (words.WEIGHT, "a lot", "must be a number or one of cosine, cyclical, linear"),
        (words.WEIGHT, "linear:0:1", "END:STEPS, and lacks STEPS, or epochs=N in its"),
        (words.WEIGHT, "linear", "START:END:STEPS, and lacks START and END and STEPS"),
        (
            words.WEIGHT,
            "linear:0:1:5:6",
            "as linear:START:END:STEPS, and '6' is one ar",
        ),
        (words.WEIGHT, "linear:0:start=1:steps=5", "'start=1' is start once more"),
        (words.WEIGHT, "linear:0:1:stepps=5", "arguments; did you mean 'steps'?"),
        (words.NETWORK, "mlp:gatd=yes", "of these arguments; did you mean 'gated'?"),
        (
            words.CORRUPTION,
            "gaussian_noise",
            "as gaussian_noise:STD:CLIP, and lacks STD",
        ),
        (
            words.LIKELIHOOD,
            "gaussian_shared:2",
            "as gaussian_shared, and '2' is one argu",
        ),
    ],
)
def test_words_that_make_none_are_named(part, text, message):
    with pytest.raises(ArgumentError) as raised:
        read(part, text)
    sentence = str(raised.value)
    assert message in sentence and "\n" not in sentence
    assert sentence.startswith("--model.part ")


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        (words.WEIGHT, "linear:0:1:0", "steps must be a whole number of at least 1"),
        (words.NETWORK, "mlp:0", "every size in hidden"),
        (words.NETWORK, "mlp:4:activation=rellu", "did you mean 'relu'?"),
        (words.CORRUPTION, "gaussian_noise:-1", "std must be"),
        (words.CORRUPTION, "none", "must be identity for no damage, got 'none'"),
        (words.WEIGHT, "linear:nan:1:5", "linear:nan:1:5: start must be a finite num"),
        (words.WEIGHT, "linear:0:1:epochs=-1", "epochs must be .* above 0, got '-1'"),
        (words.WEIGHT, "linear:0:1:epochs=0", "epochs must be .* above 0, got '0'"),
        (words.WEIGHT, "linear:0:1:epochs=nan", "epochs must be .* got 'nan'"),
        (words.WEIGHT, "linear:0:1:epochs=inf", "epochs must be .* got 'inf'"),
    ],
)
def test_what_the_part_itself_refuses(part, text, message):
    with pytest.raises(ArgumentError, match=rf"^--model\.part .*{message}"):
        read(part, text)


def test_none_is_none_where_that_is_a_value():
    for none in ("none", "None"):  # as other options that may be none are written
        _, config = parse(["vae", "--model.capacity", none])
        assert config.model.recipe(SHAPE, PLAN).objective.capacity is None
    _, config = parse(["vae", "--model.beta", "none"])
    with pytest.raises(
        ArgumentError, match=r"^--model\.beta must be a number or one of .*'none'"
    ):
        config.model.recipe(SHAPE, PLAN)


def test_a_wrong_word_is_said_with_its_option():
    _, config = parse(["vae", "--model.beta", "liner:0:1:5"])
    with pytest.raises(
        ArgumentError, match=r"^--model\.beta must be a number or one of .*'linear'"
    ):
        config.model.recipe(SHAPE, PLAN)


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        (words.WEIGHT, 0.1, "0.1"),
        (words.WEIGHT, Linear(0.0, 1.0, 5), "linear:0.0:1.0:5"),
        (words.WEIGHT, Cyclical(7, ratio=0.25), "cyclical:7:ratio=0.25"),
        (words.NETWORK, FullyConnected(()), "mlp:hidden="),
        (words.NETWORK, FullyConnected((3, 4), gated=True), "mlp:hidden=3,4:gated=yes"),
        (words.NETWORK, Convolutional(), "conv"),
        (words.CORRUPTION, Holes(3), "holes:3"),
        (words.CORRUPTION, Holes(3, at=(1, 2)), "holes:3:at=1,2"),
        (
            words.CORRUPTION,
            Compose((GaussianNoise(0.4, clip=True), Patches(2))),
            "gaussian_noise:0.4:clip=yes+patches:2",
        ),
        (words.LIKELIHOOD, likelihoods.Gaussian("shared"), "gaussian:std=shared"),
    ],
)
def test_what_is_written_reads_back(part, value, text):
    assert part.write(value) == text
    assert read(part, text) == value


@pytest.mark.parametrize("family", recipes.FAMILIES, ids=name_of)
def test_defaults_that_are_parts_read_back(family):
    options = options_of(family)
    defaults = signature(family).parameters
    for name, part in options.parts.items():
        text, default = getattr(options(), name), defaults[name].default
        if isinstance(default, tuple):
            assert text == tuple(map(part.write, default))
            continue
        made = None if text is None else part.read(text, name, 10)
        by_name = part.makers.get(default) if isinstance(default, str) else None
        assert made == (default if by_name is None else by_name())


def test_what_has_no_words_is_said():
    for part, value in (
        (words.WEIGHT, lambda step: 1.0),
        (words.WEIGHT, GaussianNoise(0.1)),
        (words.NETWORK, FullyConnected(activation=lambda x: x)),
    ):
        with pytest.raises(TypeError, match="no words for"):
            part.write(value)


# Options


def test_options_are_flat_by_path_and_replaced_by_path():
    _, config = parse(["vae", "--model.beta", "2", "--optimizer.clip-norm", "3"])
    found = flat(config)
    assert found["model.beta"] == "2" and found["optimizer.clip_norm"] == 3.0
    assert found["model.network"] == "mlp:300,300:gated=yes"
    changed = replaced(replaced(config, "model.beta", 4.0), "epochs", 7)
    assert changed.model.recipe(SHAPE, PLAN).objective.beta == 4.0
    assert changed.epochs == 7 and config.epochs == 20
    with pytest.raises(AttributeError):
        replaced(config, "model.nothing", 1)


def test_weights_and_real_numbers_can_be_swept():
    vae, wae = options_of(recipes.vae), options_of(recipes.wae_mmd)
    assert vae.is_number("beta") and vae.is_number("capacity")
    assert wae.is_number("bandwidth") and not wae.is_number("kernel")
    for name in ("latent_dim", "network", "likelihood", "log_std_range", "nothing"):
        assert not vae.is_number(name)


# Training


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """What a program sets for its process, set back."""
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def bars(tmp_path):
    """Bright bars on black, 8x8."""
    x = np.zeros((40, 8, 8), np.uint8)
    for i, image in enumerate(x):
        image[:, i % 8] = 255
    np.savez(tmp_path / "bars.npz", images=x)
    return tmp_path / "bars.npz"


def test_importance_weighted_with_convolutions_trains():
    _, config = parse(
        ["iwae", "--model.network", "conv:4,8", "--model.latent-dim", "2"]
    )
    recipe = config.model.recipe(SHAPE, PLAN)
    assert recipe.module.encoder == networks.ConvEncoder((4, 8))
    x = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), np.uint8)
    options = {"epochs": 2, "batch_size": 8, "progress": False}
    history = jaxae.fit(recipe, x, key=jax.random.key(0), **options).history
    assert np.isfinite([row["loss"] for row in history]).all()


class Doubled(nn.Module):
    """A network that jaxae does not know."""

    width: int

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.tanh(nn.Dense(2 * self.width)(x.reshape(x.shape[0], -1)))


def own_family(
    shape: tuple[int, ...], width: int = 4, *, beta: Weight = 1.0
) -> jaxae.Recipe:
    """A family of the test's own.

    Args:
        shape: The shape of one example.
        width: Half of the units of the encoder.
        beta: Weight of the rate; or a schedule.
    """
    network = Doubled(width), FullyConnected((6,)).decoder
    bottleneck = jaxae.bottlenecks.Gaussian(2)
    module = compose_model(shape, network, bottleneck, "bernoulli")
    return compose_recipe(module, ELBO(beta), title="auto-encoder of bars")


def test_a_family_of_ones_own_takes_a_function_and_a_line(
    bars, tmp_path, programs, monkeypatch
):
    monkeypatch.setitem(PRESETS, "own", Preset(own_family, {"width": 3}))
    out = tmp_path / "run"
    small = "--epochs 1 --batch-size 16 --nll-samples 3 --parallel none".split()
    beta = ["--model.beta", "linear:0:1:epochs=1"]
    main(["own", "--data", str(bars), "--out", str(out), *small, *beta])
    run = open_run(out)
    steps = -(-run.train_size // 16)
    assert run.recipe() == own_family(SHAPE, 3, beta=Linear(0.0, 1.0, steps))
    saved = json.loads((out / "config.json").read_text())["config"]
    assert saved["model.width"] == 3 and saved["model.beta"] == beta[1]
    result = json.loads(run.result.read_text())
    # 64 · 6 + 6, 6 · 4 + 4, 2 · 6 + 6, 6 · 64 + 64
    assert result["parameters"] == 884 and np.isfinite(result["nll_nats"])
    page = (out / "report.html").read_text()
    assert "Auto-encoder of bars on" in page
    assert "python -m train own" in page and " ".join(beta) in page
    run.result.unlink()
    evaluate.evaluate(evaluate.Arguments(out))
    again = json.loads(run.result.read_text())
    assert again["nll_nats"] == result["nll_nats"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.likelihood", "gausian"], "--model.likelihood must be .* 'gaussian'"),
        (["--model.beta", "linear:0:1:epochs=x"], "--model.beta linear.* a number"),
        (["--model.network", "mlp:9,x"], "--model.network mlp.* a whole number"),
        (["--scale", "standardise"], "--scale must be .* 'standardize'"),
        (["--sweep", "model.beta", "one"], "--sweep must be OPTION NUMBER NUMBER"),
        (["--sweep", "model.gama", "1"], "--sweep must be one of"),
        (["--seeds", "0"], "--seeds must be a whole number"),
        (["--seeds", "2", "--stream"], "--seeds is for data in memory"),
    ],
)
def test_what_is_wrong_in_words_is_said_before_the_data_are_read(
    options, message, tmp_path
):
    name, config = parse(["vae", "--data", str(tmp_path / "none.npy"), *options])
    with pytest.raises(ArgumentError, match=message):
        train(tmp_path / "run", name, config)
    _, config = parse(["vae", "--data", str(tmp_path / "none.npy")])
    with pytest.raises(DataError, match=r"none\.npy: no such file"):
        train(tmp_path / "run", name, config)
