"""Wrong arguments: one error that names the argument, before anything is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse

from jaxae import (
    Objective,
    bottlenecks,
    compute_in,
    corruptions,
    encode,
    fit,
    likelihoods,
    networks,
    recipes,
    sample,
    schedules,
    views,
)
from jaxae.errors import ArgumentError
from jaxae.evaluation import nll_nats
from jaxae.preparation import unit_interval
from jaxae.recipe import Model
from jaxae.training import average_weights
from jaxae.training.checkpoint import restore_state

pytestmark = pytest.mark.usefixtures("as_users_call_it")

SHAPE = (4, 3, 1)
KEY = jax.random.key(0)


class Untraceable(Objective):
    def init(self, key, trace):
        raise AssertionError("traced before the arguments were checked")


def untraceable(family=recipes.vae, shape=SHAPE, **options):
    """A recipe that must not get as far as being initialised."""
    return family(shape, 2, network=networks.FullyConnected((3,)), **options).replace(
        objective=Untraceable()
    )


VAE = untraceable()
GREY = untraceable(likelihood="continuous_bernoulli")


def train(recipe=VAE, data=None, **options):
    data = floats() if data is None else data
    options = {"key": KEY, "epochs": 1, "batch_size": 4, "progress": False} | options
    return fit(recipe, data, **options)


def floats(count=5, shape=SHAPE):
    values = np.random.default_rng(0).uniform(size=(count, *shape))
    return values.astype(np.float32)


def with_value(value):
    images = floats()
    images[1, 2, 0, 0] = value
    return images


WRONG_EXAMPLES = {
    "rank": (floats()[..., 0], r"\[n, 4, 3, 1\]: add .* data\[\.\.\., None\]"),
    "one image": (floats()[0], r"of shape \[n, 4, 3, 1\], got \(4, 3, 1\)"),
    "scalar": (np.float32(1), r"of shape \[n, 4, 3, 1\]: files are .*, got \(\)"),
    "channels": (floats(shape=(4, 3, 3)), r"\[n, 4, 3, 1\], got \(5, 4, 3, 3\)"),
    "flat": (floats(shape=(12,)), r"of shape \[n, 4, 3, 1\], got \(5, 12\)"),
    "empty": (floats(0), "at least one example"),
    "nan": (with_value(np.nan), "finite, but 1 of its values are NaN or infinite"),
    "inf": (with_value(np.inf), "finite, but 1 of its values are NaN or infinite"),
    "too large": (floats().astype(np.float64) * 1e300, "NaN or infinite"),
    "negative": (with_value(-0.5), r"in \[0, 1\].*values from -0.5 to"),
    "0-255": (floats() * 255, r"in \[0, 1\].*values from .* to 2\d\d"),
    "int64": (
        np.ones((5, *SHAPE), np.int64),
        r"\(uint8\) or floats, got 'int64': give .*float32",
    ),
    "complex": (np.ones((5, *SHAPE), complex), r"or floats, got 'complex128'"),
    "object": (np.full((5, *SHAPE), None), r"or floats, got 'object'"),
    "str": (np.full((5, *SHAPE), "a"), r"or floats, got '<U1'"),
}


@pytest.mark.parametrize("case", WRONG_EXAMPLES)
@pytest.mark.parametrize("recipe", [VAE, GREY], ids=["binarised", "grey"])
def test_wrong_examples(case, recipe):
    examples, message = WRONG_EXAMPLES[case]
    with pytest.raises(ArgumentError, match=f"^data must .*{message}"):
        train(recipe, examples)
    with pytest.raises(ArgumentError, match=f"^data must .*{message}"):
        train(recipe, [examples] if examples.shape else examples)
    validation = message.replace("data", "validation")
    with pytest.raises(ArgumentError, match=f"^validation must .*{validation}"):
        train(recipe, validation=examples)


@pytest.mark.parametrize(
    ("likelihood", "words"),
    [
        ("bernoulli", r"lie in \[0, 1\] for preparation.binarize"),
        ("binary_cross_entropy", r"be in \[0, 1\]"),
        ("continuous_bernoulli", r"be in \[0, 1\]"),
        ("categorical", "be a level k/255"),
        ("discretized_logistic_mixture", "be a level k/255"),
    ],
)
@pytest.mark.parametrize("data", [floats() * 255, floats() - 0.5])
def test_values_that_the_likelihood_cannot_explain(likelihood, words, data):
    with pytest.raises(ArgumentError, match=f"^data must {words}.*values from"):
        train(untraceable(likelihood=likelihood), data)


def test_grey_values_are_not_levels():
    with pytest.raises(ArgumentError, match=r"^data must be a level k/255"):
        train(untraceable(likelihood="categorical"), floats())


@pytest.mark.parametrize("data", [floats(), (floats() * 255).astype(np.uint8)])
def test_grey_images_under_bernoulli_without_binarisation(data):
    recipe = VAE.replace(prepare=unit_interval)
    with pytest.raises(ArgumentError, match=r"^data must be 0 or 1, .*values from"):
        train(recipe, data)


WRONG_FIELDS = {
    "no x": (
        {"label": np.arange(5)},
        r"data must have an 'x', got \['label'\]",
    ),
    "unknown": (
        {"x": floats(), "labels": np.arange(5)},
        "every field of data must be one of .*, got 'labels'; did you mean 'label'",
    ),
    "short": (
        {"x": floats(), "label": np.arange(4)},
        r"data\['label'\] must be a row for each of 5 examples, got \(4,\)",
    ),
    "missing for other data": (
        {"x": floats(), "missing": np.zeros((5, 4, 4, 1), bool)},
        r"missing must be of shape \(5, 4, 3, 1\), got \(5, 4, 4, 1\)",
    ),
    "a word for what is missing": (
        {"x": floats(), "missing": "NaN"},
        "missing must be an array of booleans, or 'nan', got 'NaN'",
    ),
    "inputs of another shape": (
        {"x": floats(), "inputs": floats()[:, :2]},
        r"data\['inputs'\] must be of shape \[n, 4, 3, 1\], got \(5, 2, 3, 1\)",
    ),
    "fewer inputs": (
        {"x": floats(), "inputs": floats()[:4]},
        r"data\['inputs'\] must be a row for each of 5 examples, got \(4, 4, 3, 1\)",
    ),
    "nan": (
        {"x": floats(), "weight": np.full(5, np.nan)},
        r"data\['weight'\] holds a value that is not finite",
    ),
    "negative": (
        {"x": floats(), "weight": np.full(5, -1.0)},
        r"data\['weight'\] must be at least 0, got -1",
    ),
}


@pytest.mark.parametrize("case", WRONG_FIELDS)
def test_wrong_mappings(case):
    fields, message = WRONG_FIELDS[case]
    for data in (fields, [fields]):
        with pytest.raises(ArgumentError, match=message):
            train(data=data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "data must have a batch, got an empty iterable"),
        (object(), "data must be an array, a mapping .*, got a value of type object"),
        (5, "data must be an array, a mapping of arrays, .*, got a value of type int"),
        *[
            (data, r"^data must .*, got a list of numbers: give numpy\.asarray\(data")
            for data in ([0.5], [[0.5, 1.0]], floats().tolist())
        ],
        ("digits", r"data must be of shape \[n, 4, 3, 1\]"),
        ((floats(), floats()), "data must not be a tuple: .*'inputs'"),
        (np.where(floats() > 0.5, np.nan, floats()), "say missing='nan'"),
        (scipy.sparse.eye_array(12), "must be a dense array, got .* give x.toarray"),
    ],
)
def test_what_is_no_data(data, message):
    with pytest.raises(ArgumentError, match=message):
        train(data=data)


@pytest.mark.parametrize("form", [iter, list, lambda parts: [parts[0][:2], *parts]])
def test_batches_are_no_validation_data(form):
    message = r"^validation must be .*: join batches, as by numpy\.concatenate\("
    with pytest.raises(ArgumentError, match=message):
        train(validation=form([floats(), floats()]))
    with pytest.raises(ArgumentError, match=message.replace("validation", "x")):
        encode(Model(VAE, {}), form([floats(), floats()]))


def test_gaps_of_inputs_are_no_gaps_of_x():
    data = {"x": floats(), "inputs": with_value(np.nan), "missing": "nan"}
    message = r"data\['inputs'\] must be finite.*'missing' is said of x alone: fill in"
    with pytest.raises(ArgumentError, match=message):
        train(data=data)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "max_skipped"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3", None])
def test_wrong_counts(name, value):
    with pytest.raises(ArgumentError, match=f"^{name} must be a whole number"):
        train(**{name: value})


@pytest.mark.parametrize("callbacks", [print, [print, None], "print"])
def test_what_is_called_after_an_epoch_is_looked_at_before(callbacks):
    with pytest.raises(ArgumentError, match=r"^callbacks must be a sequence of func"):
        train(callbacks=callbacks)
    with pytest.raises(ArgumentError, match=r"^stop must be a function"):
        train(stop=True)


@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_wrong_steps_per_epoch(value):
    with pytest.raises(ArgumentError, match=r"^steps_per_epoch must be a whole number"):
        train(data=[floats()], steps_per_epoch=value)
    with pytest.raises(ArgumentError, match=r"^steps_per_epoch must be left out"):
        train(steps_per_epoch=2)


@pytest.mark.parametrize(
    "key",
    [0, None, np.zeros(2, np.uint32), jnp.zeros(2, jnp.uint32), jax.random.split(KEY)],
    ids=["int", "None", "numpy", "legacy", "two keys"],
)
def test_wrong_keys(key):
    message = "^key must be one typed key, such as jax.random.key"
    with pytest.raises(ArgumentError, match=message):
        train(key=key)
    model = Model(VAE, {})
    with pytest.raises(ArgumentError, match=message):
        sample(model, key, 2)
    if key is not None:
        with pytest.raises(ArgumentError, match=message):
            encode(model, floats(), key=key)


@pytest.mark.parametrize("recipe", [None, "vae", recipes.vae, VAE.module])
def test_wrong_recipes(recipe):
    with pytest.raises(ArgumentError, match=r"^recipe must be a Recipe, as jaxae"):
        train(recipe)


WRONG_DIMS = [0, -1, 2.0, True, "2"]


@pytest.mark.parametrize("dim", WRONG_DIMS)
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("family", [recipes.autoencoder, recipes.vae])
def test_wrong_latent_dims(family, network, dim):
    with pytest.raises(ArgumentError, match=r"^latent_dim must be a whole number"):
        family(SHAPE, dim, network=network)


FAMILIES = [
    recipes.autoencoder,
    recipes.denoising_autoencoder,
    recipes.inpainting_autoencoder,
    recipes.vae,
]


@pytest.mark.parametrize("family", [*FAMILIES, recipes.keras_denoiser])
@pytest.mark.parametrize(
    "shape",
    [(), (4, 0, 1), (4, -3, 1), ("4", "3", "1"), "abc", 12, (4.0, 3.0, 1), None],
)
def test_wrong_shapes(family, shape):
    with pytest.raises(ArgumentError, match="shape"):
        family(shape)


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_names(family):
    with pytest.raises(ArgumentError, match="network must be one of conv, mlp, got"):
        family(SHAPE, network="transformer")
    with pytest.raises(ArgumentError, match=r"got 'U-Net', .*: jaxae\.recipes\.unet"):
        family(SHAPE, network="U-Net")
    with pytest.raises(ArgumentError, match=r"likelihood must be one .*'normal'"):
        family(SHAPE, likelihood="normal")


CHOICES = {
    "which": (
        lambda: restore_state("/nowhere", VAE, optax.sgd(0.1), "bst"),
        "which must be one of best, last, got 'bst'; did you mean 'best'",
    ),
    "flow": (
        lambda: bottlenecks.FlowPosterior(2, "planer"),
        "flow must be one of iaf, maf, planar, radial, .*did you mean 'planar'",
    ),
    "codebook": (
        lambda: bottlenecks.VectorQuantizer(codebook="gradients"),
        "codebook must be one of ema, gradient, .*did you mean 'gradient'",
    ),
    "activation": (
        lambda: bottlenecks.Sparse(2, "top_k", k=1),
        "activation must be one of .*did you mean 'topk'",
    ),
    "to": (
        lambda: views.Condition("age", to=("encodr",)),
        "to must be one of .*, got 'encodr'; did you mean 'encoder'",
    ),
    "a word for a tuple": (
        lambda: views.Condition("age", to="encoder"),
        "to must be a tuple of some of .*, got 'encoder'",
    ),
    "dtype": (
        lambda: compute_in(recipes.vae(SHAPE, 2), "bfloat"),
        "dtype must be one of .*, got 'bfloat'; did you mean 'bfloat16'",
    ),
    "std": (
        lambda: likelihoods.Gaussian("per_values"),
        "std must be a positive number or one of .*did you mean 'per_value'",
    ),
    "no word": (
        lambda: recipes.wae_mmd(SHAPE, 2, kernel=["rbf"]),
        r"kernel must be one of .*, got \['rbf'\]; did you mean 'rbf'",
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_a_choice_is_named_with_those_that_there_are(case):
    make, message = CHOICES[case]
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


NO_NUMBERS = {
    "std": lambda: corruptions.GaussianNoise("a"),
    "std ": lambda: corruptions.GaussianNoise(True),
    "std  ": lambda: corruptions.GaussianNoise(np.inf),
    "clip": lambda: corruptions.GaussianNoise(0.1, clip="yes"),
    "rate": lambda: corruptions.Masking(None),
    "rate ": lambda: corruptions.SaltAndPepper("0.1"),
    "rate  ": lambda: corruptions.Patches(2, rate=None),
    "fill": lambda: corruptions.Holes(3, fill="0"),
    "at": lambda: corruptions.Holes(3, at=(1,)),
    "at ": lambda: corruptions.Holes(3, at=(1, 0.5)),
    "start": lambda: schedules.Linear("0", 1, 3),
    "start ": lambda: schedules.Cosine(None, 1.0, 3),
    "end": lambda: schedules.Cosine(0.0, np.nan, 3),
    "peak": lambda: schedules.Cyclical(3, "1"),
    "bandwidth": lambda: recipes.wae_mmd(SHAPE, 2, bandwidth="1"),
    "bandwidth ": lambda: bottlenecks.Sparse(40, bandwidth="1"),
    "alpha": lambda: recipes.info_vae_mmd(SHAPE, 2, alpha="1"),
    "rate of patches": lambda: recipes.masked_autoencoder(SHAPE, patch=1, rate="1"),
    "log_std_range": lambda: recipes.vae(SHAPE, 2, log_std_range=2.0),
    "log_std_range ": lambda: recipes.vae(SHAPE, 2, log_std_range=("a", "b")),
    "commitment_weight": lambda: recipes.vqvae((8, 8, 1), commitment_weight="1"),
    "diversity": lambda: bottlenecks.LFQ(4, diversity=None),
    "beta": lambda: recipes.vae(SHAPE, 2, beta=np.array([1.0, 2.0])),
    "beta ": lambda: recipes.vae(SHAPE, 2, beta=jnp.ones((1,))),
    "capacity": lambda: recipes.vae(SHAPE, 2, capacity="none"),
    "elbo_weight": lambda: recipes.iwae(SHAPE, 2, elbo_weight="1"),
    "activation": lambda: networks.FullyConnected(activation=3),
    "gated": lambda: networks.FullyConnected(gated="yes"),
    "skip": lambda: networks.Convolutional(skip=1),
    "hidden": lambda: networks.FullyConnected(300),
    "flatten": lambda: views.Condition("age", flatten="yes"),
    "critic": lambda: recipes.vae_gan(SHAPE, 2, critic="mlp"),
    "decay": lambda: average_weights(optax.sgd(0.1), decay="1"),
    "parallel": lambda: train(parallel="fsdp"),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_is_of_another_kind_is_named_when_it_is_given(name):
    with pytest.raises(ArgumentError) as raised:
        NO_NUMBERS[name]()
    sentence = str(raised.value)
    assert sentence.startswith(name.split(" of ")[0].strip()) and " got " in sentence
    assert " must be " in sentence and "\n" not in sentence


def test_images_only():
    with pytest.raises(ArgumentError, match=r"shape must be \(height, width, channels"):
        recipes.vae((12,), network="conv")
    message = r"got \(64, 3\); of a series give x\[:, None\], .*\(1, steps, channels\)$"
    for family, options in (
        (recipes.vae, {"network": "conv"}),
        (recipes.ladder_vae, {}),
        (recipes.unet, {}),
    ):
        with pytest.raises(ArgumentError, match=message):
            family((64, 3), **options)
    with pytest.raises(ArgumentError, match="sides multiples of 4"):
        recipes.keras_denoiser((27, 27, 1))


@pytest.mark.parametrize(
    ("module", "options", "name"),
    [
        (networks.MLP, {"hidden": (4, 0)}, "hidden"),
        (networks.MLP, {"hidden": (-4,)}, "hidden"),
        (networks.MLP, {"hidden": (4.0,)}, "hidden"),
        (networks.MLP, {"hidden": 4}, "hidden"),
        (networks.MLP, {"hidden": [4]}, "hidden"),
        (networks.MLP, {"gated": True, "batch_norm": True}, "batch_norm"),
        (networks.MLPDecoder, {"shape": SHAPE, "hidden": (0,)}, "hidden"),
        (networks.MLPDecoder, {"shape": (4, 0)}, "shape"),
        (networks.MLP, {"activation": "rellu"}, "activation"),
        (networks.MLPDecoder, {"shape": (4,), "activation": "rellu"}, "activation"),
        (networks.SpectralMLPDecoder, {"shape": (4,), "activation": ""}, "activation"),
        (networks.ConvEncoder, {"channels": (0,)}, "channels"),
        (networks.ConvEncoder, {"channels": ()}, "channels"),
        (networks.ConvEncoder, {"kernel_size": 0}, "kernel_size"),
        (networks.ConvEncoder, {"kernel_size": 2.5}, "kernel_size"),
        (networks.ConvEncoder, {"residual_blocks": -1}, "residual_blocks"),
        (networks.ConvDecoder, {"shape": SHAPE, "inner_blocks": -1}, "inner_blocks"),
        (networks.ConvEncoder, {"activation": "selu"}, "activation"),
        (networks.ConvDecoder, {"shape": SHAPE, "channels": (4, -2)}, "channels"),
        (networks.ConvDecoder, {"shape": SHAPE, "kernel_size": -3}, "kernel_size"),
        (recipes.vae, {"shape": SHAPE, "num_samples": 0}, "num_samples"),
        (recipes.vae, {"shape": SHAPE, "beta": -1.0}, "beta"),
        (recipes.vae, {"shape": SHAPE, "free_bits": -1.0}, "free_bits"),
        (recipes.vae, {"shape": SHAPE, "log_std_range": (1.0, -1.0)}, "log_std_range"),
        (recipes.autoencoder, {"shape": SHAPE, "l1": -1.0}, "l1"),
    ],
)
def test_wrong_sizes(module, options, name):
    with pytest.raises(ArgumentError, match=f"{name}.* must be "):
        module(**options)


def test_numbers_of_numpy_are_fine():
    recipe = recipes.vae(
        SHAPE, np.int64(2), network=networks.FullyConnected((np.int32(3),))
    )
    result = train(recipe, batch_size=np.int64(5), epochs=np.int64(1))
    assert encode(result.model, floats()).shape == (5, 2)


@pytest.mark.parametrize("make", [np.array, np.float32, jnp.float32])
def test_an_array_of_one_number_is_that_number(make):
    recipe = recipes.vae(SHAPE, 2, beta=make(0.5), capacity=make(2.0))
    assert recipe == recipes.vae(SHAPE, 2, beta=0.5, capacity=2.0)
    assert hash(recipe) == hash(recipes.vae(SHAPE, 2, beta=0.5, capacity=2.0))
    assert type(recipe.objective.beta) is float
    assert recipes.autoencoder(SHAPE, 2, l1=make(0.0)) == recipes.autoencoder(SHAPE, 2)
    assert hash(schedules.Linear(make(0.0), 1.0, 5)) == hash(
        schedules.Linear(0.0, 1.0, 5)
    )
    assert (
        repr(corruptions.GaussianNoise(make(0.5)))
        == "corruptions.GaussianNoise(std=0.5)"
    )
    limits = recipes.vae(SHAPE, 2, log_std_range=(make(-1.0), make(2.0)))
    assert limits == recipes.vae(SHAPE, 2, log_std_range=(-1.0, 2.0))


def test_evaluation_checks_its_images_too():
    with pytest.raises(ArgumentError, match=r"^data must be .*add the channel axis"):
        nll_nats(Model(VAE, {}), floats()[..., 0], KEY)
