"""The parts of a recipe agree on the range of x, or refuse the data together."""

import jax
import numpy as np
import pytest

import jaxae
from jaxae import networks, recipes
from jaxae.corruptions import Compose, GaussianNoise, Masking, SaltAndPepper
from jaxae.errors import ArgumentError
from jaxae.evaluation import nll_nats, reconstruction_quality
from jaxae.inputs import check_data
from jaxae.recipe import Model
from jaxae.samplers import aggregate_codes

KEY = jax.random.key(0)
MLP = networks.FullyConnected((16,))
NORMAL = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
UNIFORM = np.random.default_rng(1).uniform(size=(60, 6)).astype(np.float32)
LEVELS = np.random.default_rng(2).integers(0, 256, (60, 4, 4, 1)).astype(np.uint8)
DSPRITES = (LEVELS > 127).astype(np.uint8)
CLIPPING = GaussianNoise(0.1, clip=True)


def denoiser(corruption=None, shape=(6,)):
    return recipes.denoising_autoencoder(shape, 8, corruption=corruption, network=MLP)


def train(recipe, data, **options):
    options = {"epochs": 1, "batch_size": 30, "progress": False} | options
    return jaxae.fit(recipe, data, key=KEY, **options)


def everywhere(recipe, x):
    """What looks at the values of data."""
    inside = np.full_like(x, 0.5)
    yield lambda: train(recipe, x)
    yield lambda: train(recipe, {"x": x})
    yield lambda: train(recipe, [x])
    yield lambda: train(recipe, inside, validation=x)
    yield lambda: reconstruction_quality(Model(recipe, {}), x, KEY)


ROUNDED = {
    "bernoulli": recipes.vae((6,), 2, network=MLP),
    "continuous": recipes.vae((6,), 2, network=MLP, likelihood="continuous_bernoulli"),
    "levels": recipes.vae((6,), 2, network=MLP, likelihood="categorical"),
    "clipping": denoiser(CLIPPING),
}


@pytest.mark.parametrize("kind", ROUNDED)
def test_what_rounding_took_out_of_the_unit_interval_is_put_back(kind):
    """As scikit-learn's MinMaxScaler does in float32, by one unit in the last place."""
    recipe = ROUNDED[kind]
    x = (NORMAL > 0).astype(np.float32)
    off = np.where(x == 1, np.nextafter(np.float32(1), np.float32(2)), -1e-8)
    checked = check_data(recipe, off.astype(np.float32), "data")["x"]
    np.testing.assert_array_equal(checked, x)
    beyond = np.where(x == 1, np.float32(1.000002), x)
    with pytest.raises(ArgumentError, match="data must"):
        check_data(recipe, beyond, "data")


def test_values_of_any_size_stay_as_they_are_and_codes_are_those_of_the_whole():
    any_size = recipes.vae((6,), 2, network=MLP, likelihood="gaussian")
    tiny = np.full((2, 6), -1e-8, np.float32)
    np.testing.assert_array_equal(check_data(any_size, tiny, "data")["x"], tiny)
    model = jaxae.init(ROUNDED["continuous"], KEY)
    ones = np.ones((2, 6), np.float32)
    codes = jaxae.encode(model, np.nextafter(ones, np.float32(2)))
    np.testing.assert_array_equal(codes, jaxae.encode(model, ones))


VAMP = recipes.vamp_vae((6,), 2, components=3, network=MLP, likelihood="gaussian")
UNIT_INTERVAL = {
    "clipping": (denoiser(CLIPPING), r"corruptions\.GaussianNoise\(std=0\.1, clip=Tr"),
    "salt": (denoiser(SaltAndPepper(0.1)), r"corruptions\.SaltAndPepper\(rate=0\.1\)"),
    "among others": (denoiser(Compose((Masking(0.5), CLIPPING))), r"corruptions\.Comp"),
    "pseudo-inputs": (VAMP, r"priors\.VampPrior\(shape=\(6,\), components=3\)"),
}


@pytest.mark.parametrize("kind", UNIT_INTERVAL)
def test_a_part_that_takes_x_in_the_unit_interval_is_named(kind):
    recipe, part = UNIT_INTERVAL[kind]
    message = rf"must lie in \[0, 1\] for {part}.*, got values from -\d\S* to \d"
    for use in everywhere(recipe, NORMAL):
        with pytest.raises(ArgumentError, match=message):
            use()
    with pytest.raises(
        ArgumentError, match=r"^data .* got values from 0 to 2; scale them"
    ):
        train(recipe, np.linspace(0, 2, 12, dtype=np.float32).reshape(2, 6))


def test_pictures_of_0_to_255_are_refused_by_the_default_denoiser():
    recipe = denoiser(shape=(4, 4, 1))
    assert recipe.corruption == GaussianNoise(0.4, clip=True)
    with pytest.raises(
        ArgumentError, match=r"in \[0, 1\] for corruptions.*to 25\d; scale them"
    ):
        train(recipe, LEVELS.astype(np.float32))
    fitted = train(recipe, LEVELS)
    np.testing.assert_allclose(
        jaxae.repair(fitted.model, LEVELS),
        jaxae.repair(fitted.model, LEVELS / np.float32(255)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_numbers_of_any_size_are_told_their_likelihood():
    x, recipe = np.float32(NORMAL), recipes.vae((6,), 2)
    told = r"\[0, 1\] for preparation.binarize.*; numbers of any size .*'gaussian'"
    with pytest.raises(ArgumentError, match=told):
        train(recipe, x)
    scaled = recipe.replace(prepare=jaxae.preparation.MinMax())
    told = r"must be 0 or 1, .* as prepared; numbers of any size .*'gaussian'"
    with pytest.raises(ArgumentError, match=told):
        train(scaled, x)


def test_data_inside_the_interval_are_taken_by_all():
    for recipe, _ in UNIT_INTERVAL.values():
        np.testing.assert_array_equal(check_data(recipe, UNIFORM, "x")["x"], UNIFORM)


def test_the_default_noise_of_vectors_is_not_clipped_and_is_removed():
    recipe = denoiser()
    assert recipe.corruption == GaussianNoise(0.4, clip=False)
    x = np.random.default_rng(3).normal(size=(2000, 6)).astype(np.float32)
    noise = np.random.default_rng(4).normal(0, 0.4, size=(500, 6)).astype(np.float32)
    model = train(recipe, x[:1500], epochs=60, batch_size=50).model
    clean = x[1500:]
    repaired = np.square(jaxae.repair(model, clean + noise) - clean).mean()
    # The best there is: 0.4² / (1 + 0.4²), the variance of x given the noisy x.
    assert 0.13 < repaired < 0.95 * np.square(noise).mean()


# Bytes


def test_bytes_of_zero_and_one_are_refused():
    recipe = recipes.vae((4, 4, 1), 2, network=MLP)
    message = r"holds bytes of 0 and 1 alone, .*give booleans, .*\.astype\(bool\)"
    with pytest.raises(ArgumentError, match=rf"^data {message}"):
        train(recipe, DSPRITES)
    with pytest.raises(ArgumentError, match=rf"^data {message}"):
        train(recipe, [DSPRITES])
    with pytest.raises(ArgumentError, match=rf"^validation {message}"):
        train(recipe, LEVELS, validation=DSPRITES)
    model = Model(recipe, {})
    with pytest.raises(ArgumentError, match=rf"^data {message}"):
        nll_nats(model, DSPRITES, KEY)
    for use in (jaxae.encode, jaxae.reconstruct, jaxae.repair):
        with pytest.raises(ArgumentError, match=rf"^x {message}"):
            use(model, DSPRITES)
    with pytest.raises(ArgumentError, match=rf"^x {message}"):
        aggregate_codes(model, DSPRITES, KEY)


def test_booleans_and_levels_are_the_same_black_and_white():
    recipe = recipes.vae((4, 4, 1), 2, network=MLP)
    model = train(recipe, DSPRITES.astype(bool)).model
    same = (DSPRITES.astype(bool), DSPRITES * np.uint8(255), np.float32(DSPRITES))
    nll = [nll_nats(model, x, KEY, num_samples=3) for x in same]
    np.testing.assert_allclose(nll[1:], [nll[0]] * 2, rtol=1e-5)
    codes = [jaxae.encode(model, x) for x in same]
    np.testing.assert_allclose(codes[1:], [codes[0]] * 2, rtol=1e-5, atol=1e-6)


def test_black_bytes_and_those_with_other_levels_are_taken():
    recipe = recipes.autoencoder((4, 4, 1), 2, network=MLP)
    train(recipe, np.zeros_like(DSPRITES))
    train(recipe, np.where(LEVELS < 3, LEVELS, 2).astype(np.uint8))
