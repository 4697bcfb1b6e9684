"""Values of x that are not known: never looked at, never counted, and filled in."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxae
from jaxae import corruptions, likelihoods, networks, objectives, recipes, views
from jaxae.evaluation import evaluate, nll_nats, sparsity
from jaxae.inputs import check_data
from jaxae.preparation import Standardize
from jaxae.recipe import Model
from jaxae.samplers.flow import flow_density
from jaxae.training.batch import model_batch
from jaxae.training.loss import batch_loss
from jaxae.training.parallel import default_mesh
from jaxae.training.placement import place_data
from jaxae.training.programs import default_optimizer
from jaxae.training.state import init_state
from tests.weights import some_weights

SHAPE, COUNT, KEY = (4, 4, 1), 6, jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.random((COUNT, *SHAPE)).astype(np.float32)
MISSING = RNG.random((COUNT, *SHAPE)) < 0.4
MLP = {"network": networks.FullyConnected((6,), batch_norm=True)}
HOLE = {"corruption": corruptions.Holes(2), "network": networks.FullyConnected((6,))}
CASES = {
    "autoencoder": (recipes.autoencoder, MLP | {"likelihood": "gaussian_optimal"}),
    "flow_vae": (recipes.flow_vae, {"latent_dim": 2, "hidden": (4,), **MLP}),
    "in holes": (
        recipes.inpainting_autoencoder,
        HOLE | {"likelihood": "gaussian_optimal"},
    ),
    "iwae": (recipes.iwae, {"num_samples": 2, **MLP}),
    "ladder_vae": (recipes.ladder_vae, {"channels": (4,), "latent_channels": 2}),
    "outside holes": (recipes.inpainting_autoencoder, HOLE | {"region": "outside"}),
    "sparse": (
        recipes.sparse_autoencoder,
        {"latent_dim": 8, "k": 2, "aux_weight": 0.1, "k_aux": 2},
    ),
    "vqvae": (recipes.vqvae, {"codebook_size": 4, "code_dim": 2, **MLP}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_stands_where_x_is_missing_changes_nothing(name):
    make, options = CASES[name]
    recipe = make(SHAPE, **options)
    known = {"x": jnp.asarray(X), "missing": jnp.asarray(MISSING)}

    def init(batch):
        return init_state(recipe, default_optimizer(), batch, KEY)

    # Weights of any values: the first ones would be compiled for. What else there is
    # has seen no batch.
    forms = jax.eval_shape(init, known)
    params = some_weights(forms.params, 0.3, seed=1)
    collections = jax.tree.map(
        lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), forms.collections
    )
    step = jnp.zeros((), jnp.int32)

    @jax.jit
    def train(x):
        def loss(params):
            batch = {**known, "x": x}
            return batch_loss(recipe, params, collections, batch, KEY, step)

        (value, aux), slope = jax.value_and_grad(loss, has_aux=True)(params)
        return value, slope, aux[:2]

    expected = train(X)
    assert np.isfinite(expected[0])
    for rubbish in (7.0, np.nan):
        found = train(np.where(MISSING, np.float32(rubbish), X))
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    other = train(np.where(MISSING, X, np.float32(0.5)))
    assert other[0] != expected[0]


def test_the_likelihood_counts_the_known_values():
    recipe = recipes.vae(SHAPE, 2, network=MLP["network"], likelihood="gaussian")
    data = {"x": jnp.asarray(X), "missing": jnp.asarray(MISSING)}
    variables = jaxae.init(recipe, KEY).variables
    seen = model_batch(recipe, data, KEY)
    trace = jax.jit(recipe.module.apply)(variables, seen, KEY)
    each = scipy.stats.norm(np.asarray(trace.likelihood.mean)[0], 1.0).logpdf(X)
    expected = np.where(MISSING, 0.0, each).sum(axis=(1, 2, 3))
    found = objectives.log_likelihood(trace)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_a_gap_it_is_as_if_there_were_no_word_of_it():
    recipe = recipes.vae(SHAPE, 2, **MLP)
    fit = partial(jaxae.fit, recipe, key=KEY, epochs=2, progress=False)
    none = np.zeros((COUNT, 4, 4, 1), bool)
    plain, masked = fit(X), fit({"x": X, "missing": none})
    np.testing.assert_allclose(
        [row["loss"] for row in masked.history],
        [row["loss"] for row in plain.history],
        rtol=1e-5,
    )


def test_a_masked_array_says_itself_what_is_missing():
    recipe = recipes.vae((4,), 2, likelihood="gaussian")
    model = jaxae.init(recipe, jax.random.key(0))
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4) / 12
    gaps = np.eye(3, 4, dtype=bool)
    key = jax.random.key(1)
    expected = jaxae.impute(model, x, missing=gaps, key=key, num_samples=5)
    found = jaxae.impute(model, np.ma.MaskedArray(x, gaps), key=key, num_samples=5)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(jaxae.ArgumentError, match="missing must be given: True where"):
        jaxae.impute(model, x, key=key)


@pytest.mark.parametrize("name", ["inputs", "weight", "age"])
def test_a_mask_of_anything_else_is_not_dropped(name):
    """What lies under it would count as known."""
    recipe = recipes.vae((4,), 2, likelihood="gaussian")
    recipe = recipe.replace(module=recipe.module.clone(view=views.Condition("age")))
    x = np.ones((3, 4), np.float32)
    fields = {"x": x, "inputs": x, "weight": x[:, 0], "label": x[:, 0], "age": x[:, 0]}
    masked = np.ma.MaskedArray(fields[name], fields[name] > 0)
    with pytest.raises(jaxae.ArgumentError, match=f"'{name}'.* must be known whole"):
        check_data(recipe, {**fields, name: masked}, "data")


@pytest.mark.parametrize("form", ["nan", "masked array", "one channel", "batches"])
def test_ways_to_say_it(form):
    """All are the same data; only one channel is another mask."""
    gaps = np.where(MISSING, np.float32(np.nan), X)
    recipe = recipes.autoencoder(SHAPE, 2, **MLP)
    expected = check_data(recipe, {"x": X, "missing": MISSING}, "data")
    np.testing.assert_array_equal(expected["x"], np.where(MISSING, 0.0, X))
    if form == "nan":
        found = check_data(recipe, {"x": gaps, "missing": "nan"}, "data")
    elif form == "masked array":
        found = check_data(recipe, np.ma.masked_invalid(gaps), "data")
    elif form == "one channel":
        found = check_data(recipe, {"x": gaps, "missing": MISSING[..., 0]}, "data")
    else:
        batches = [{"x": gaps, "missing": "nan"}]
        options = {"key": KEY, "epochs": 1, "progress": False}
        one = jaxae.fit(recipe, batches, **options)
        whole = {"x": X, "missing": MISSING}
        two = jaxae.fit(recipe, [whole], **options)
        assert one.history[0]["loss"] == two.history[0]["loss"]
        return
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_encoder_is_shown_where_if_its_view_says_so():
    batch = {"x": jnp.asarray(X), "missing": jnp.asarray(MISSING)}
    recipe = recipes.inpainting_autoencoder(SHAPE, 2, **HOLE)
    seen_of = jax.jit(partial(model_batch, recipe))
    seen = seen_of(batch, KEY)
    removed = np.asarray(seen_of({"x": batch["x"]}, KEY)["mask"])
    np.testing.assert_array_equal(seen["mask"], removed | MISSING)
    np.testing.assert_array_equal(seen["counted"], removed & ~MISSING)
    shown = views.MaskChannel().encoder(seen)
    np.testing.assert_array_equal(shown[..., 1:], removed | MISSING)
    np.testing.assert_array_equal(shown[..., :1][removed | MISSING], 0.0)


def test_noise_does_not_fill_the_gaps():
    recipe = recipes.denoising_autoencoder(SHAPE, 2)
    batch = {"x": jnp.asarray(X), "missing": jnp.asarray(MISSING)}
    seen = model_batch(recipe, batch, KEY)
    np.testing.assert_array_equal(np.asarray(seen["inputs"])[MISSING], 0.0)
    assert (np.asarray(seen["inputs"])[~MISSING] != X[~MISSING]).any()


def test_evaluation_counts_what_is_known():
    recipe = recipes.autoencoder(SHAPE, 2, **MLP)
    missing = MISSING.copy()
    missing[0] = True  # of one example nothing is known
    data = {"x": X, "missing": missing}
    model = jaxae.init(recipe, KEY)
    made = np.asarray(jaxae.reconstruct(model, X, missing=missing))
    square = np.square(made - X)
    each = [square[i][~missing[i]].mean() for i in range(1, COUNT)]
    numbers = evaluate(model, data, KEY)
    np.testing.assert_allclose(numbers["mse"], np.mean(each), rtol=1e-5)
    assert numbers["ssim"] is None and numbers["psnr_damaged_db"] is None
    counts = ~missing
    mean = np.average(X, axis=0, weights=counts + 1e-30)
    variance = (counts * np.square(X - mean)).sum()
    explained = 1 - (counts * square).sum() / variance
    found = sparsity(model, data, KEY)["explained_variance"]
    np.testing.assert_allclose(found, explained, rtol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (recipes.masked_autoencoder(SHAPE, patch=2), "data must be known whole: .*Vis"),
        (recipes.vae_gan(SHAPE, 2), "x must be known whole to a critic"),
        (flow_density((4,)), "data must be known whole: FlowModel"),
    ],
)
def test_who_takes_no_gaps_says_so(recipe, message):
    x, gaps = (each.reshape(-1, *recipe.module.shape) for each in (X, MISSING))
    with pytest.raises(jaxae.ArgumentError, match=message):
        jaxae.fit(recipe, {"x": x, "missing": gaps}, key=KEY, progress=False)


def test_later_batches_with_gaps_are_judged_as_the_first():
    """Though the objective began without."""
    recipe = recipes.vae_gan(
        SHAPE, 2, network=MLP["network"], critic=networks.MLP((4,))
    )
    with pytest.raises(jaxae.ArgumentError, match="x must be known whole to a critic"):
        batches = [{"x": X}, {"x": X, "missing": MISSING}]
        jaxae.fit(recipe, batches, key=KEY, epochs=1, progress=False)


def test_a_batch_of_which_nothing_is_known_does_not_end_a_training():
    recipe = recipes.vae(SHAPE, 2, likelihood="gaussian_optimal", **MLP)
    batches = [{"x": X, "missing": MISSING}, {"x": X, "missing": np.ones_like(MISSING)}]
    fitted = jaxae.fit(recipe, batches, key=KEY, epochs=1, progress=False)
    assert int(fitted.state.step) == 2 and int(fitted.state.skipped_in_row) == 0
    with pytest.raises(jaxae.ArgumentError, match="data must have a value"):
        jaxae.fit(recipe, batches[1], key=KEY, epochs=1, progress=False)


@pytest.mark.parametrize("weighed", [False, True])
def test_a_value_that_no_row_knows_is_warned_of(weighed):
    shape = (2, 2, 1)
    data = {"x": X[:, :2, :2], "missing": np.zeros((COUNT, *shape), bool)}
    data["missing"][2:, 0] = data["missing"][1:, 1, 1] = True
    if weighed:  # two of the six are not trained on
        data["weight"] = np.float32([0, 0, 1, 1, 1, 1])
    else:
        data["missing"][:2, 0] = True
    recipe = recipes.autoencoder(shape, 2, **MLP)
    mesh, count = default_mesh(), "3" if weighed else "2"
    message = rf"data: {count} of the 4 values .* \(at \(0, 0, 0\)"
    with pytest.warns(UserWarning, match=message):
        place_data(recipe, data, mesh, "data")
    place_data(recipe, data, mesh, "validation")
    data["missing"][:] = True
    with pytest.raises(jaxae.ArgumentError, match="all are missing"):
        place_data(recipe, data, mesh, "data")


def test_gaps_of_traced_arrays_and_of_what_is_no_number():
    recipe = recipes.autoencoder(SHAPE, 2, network=MLP["network"])
    model = jaxae.init(recipe, KEY)
    gaps = np.where(MISSING, np.float32(np.nan), X)
    expected = jaxae.encode(model, X, missing=MISSING)
    found = jax.jit(lambda x: jaxae.encode(model, x, missing="nan"))(gaps)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(jaxae.ArgumentError, match=r"x must be numbers, .*object"):
        jaxae.encode(model, gaps.astype(object), missing="nan")
    walk = jaxae.interpolate(model, gaps[:2], gaps[2:4], steps=3, missing="nan")
    ends = jaxae.decode(model, expected[:2])
    np.testing.assert_allclose(walk[:, 0], ends, rtol=1e-5)


def test_an_exported_encoder_does_not_look_at_them():
    recipe = recipes.inpainting_autoencoder(SHAPE, 2, **HOLE)
    recipe = recipe.replace(prepare=Standardize(5.0, 2.0))
    model = jaxae.init(recipe, KEY)
    part = jaxae.export(model, platforms=("cpu",))["encoder"]
    run = jax.export.deserialize(bytearray(part.serialized)).call
    hole = MISSING.any(axis=-1, keepdims=True)
    found = run(np.where(hole, np.float32(np.nan), 9 * X), missing=hole)
    expected = jaxae.encode(model, 9 * X, missing=hole)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_bits_are_counted_by_the_values_that_are_known():
    recipe = recipes.vae((6,), 2, network=MLP["network"])
    x = np.eye(8, 6, dtype=np.float32)
    gaps = np.arange(6) < np.array([0, 4] * 4)[:, None]
    data = {"x": x, "missing": gaps}
    model = jaxae.init(recipe, KEY)
    numbers = evaluate(model, data, KEY, nll_samples=5)
    expected = numbers["nll_nats"] / np.log(2) / 4
    np.testing.assert_allclose(numbers["bits_per_dim"], expected, rtol=1e-6)


def test_a_code_is_not_judged_by_what_stands_for_gaps():
    """The contractive penalty: over the columns of the Jacobian that are known."""
    recipe = recipes.contractive_autoencoder(
        (6,), 2, network=networks.FullyConnected(()), estimator="exact"
    )
    batch = {"x": jnp.ones((1, 6)), "missing": jnp.asarray(np.arange(6)[None] < 4)}
    state = jax.jit(partial(init_state, recipe, default_optimizer()))(batch, KEY)
    _, (metrics, *_) = jax.jit(partial(batch_loss, recipe))(
        state.params, state.collections, batch, KEY, state.step
    )
    model = jaxae.training.trained_model(recipe, state)
    x = jnp.asarray(np.arange(6)[None] >= 4, jnp.float32)
    slope = jax.jit(jax.jacrev(lambda x: jaxae.encode(model, x)[0]))
    jacobian = np.asarray(slope(x))[:, 0, 4:]
    found = metrics["contraction"]
    np.testing.assert_allclose(found, np.square(jacobian).sum(), rtol=1e-4)


def test_sparse_codes_start_at_the_mean_of_what_is_known():
    recipe = recipes.sparse_autoencoder((3,), 4, k=2)
    x = np.array([[1.0, 50.0, 3.0], [3.0, 8.0, 50.0]], np.float32)
    gaps = x == 50.0
    fitted = jaxae.fit(
        recipe,
        {"x": x, "missing": gaps},
        key=KEY,
        epochs=1,
        progress=False,
    )
    bias = fitted.state.params["model"]["decoder"]["bias"]
    np.testing.assert_allclose(bias, [2.0, 8.0, 3.0], rtol=1e-6)


# Imputation, against the normal distribution that a linear decoder stands for


@pytest.fixture(scope="module")
def linear():
    """x = W z + c + .5 ε of untrained weights; an encoder that knows nothing."""
    network = networks.FullyConnected(hidden=())
    recipe = recipes.vae((5,), 2, network=network, likelihood=likelihoods.Gaussian(0.5))
    x = RNG.normal(size=(8, 5)).astype(np.float32)
    params = dict(jaxae.init(recipe, KEY).variables["params"])
    # So q(z | x) is the prior.
    params["bottleneck"] = jax.tree.map(np.zeros_like, params["bottleneck"])
    return Model(recipe, {"params": params}), x


def conditional(model, x, missing):
    """Mean and covariance of the missing values of one x, given the others."""
    zero = jaxae.decode(model, np.zeros((1, 2), np.float32))
    axes = jaxae.decode(model, np.eye(2, dtype=np.float32)) - zero
    mean, w = np.float64(zero[0]), np.float64(axes).T
    covariance = w @ w.T + 0.25 * np.eye(5)
    gain = covariance[np.ix_(missing, ~missing)] @ np.linalg.inv(
        covariance[np.ix_(~missing, ~missing)]
    )
    expected = mean[missing] + gain @ (x[~missing] - mean[~missing])
    left = (
        covariance[np.ix_(missing, missing)]
        - gain @ covariance[np.ix_(~missing, missing)]
    )
    return expected, left


def test_imputation_is_the_conditional_mean(linear):
    model, x = linear
    missing = np.random.default_rng(1).random(x.shape) < 0.5
    missing[:, 0] = False
    found = jaxae.impute(model, x, missing=missing, key=KEY, num_samples=20_000)
    found = np.asarray(found)
    np.testing.assert_array_equal(found[~missing], x[~missing])
    for own, each, gaps in zip(found, x, missing, strict=True):
        expected, _ = conditional(model, each, gaps)
        # Four standard errors: .6 by the root of an effective 2,000 of the samples.
        np.testing.assert_allclose(own[gaps], expected, atol=0.055)


def test_imputations_are_draws_of_the_conditional_distribution(linear):
    model, x = linear[0], linear[1][:2]
    missing = np.zeros(x.shape, bool)
    missing[:, 3:] = True
    gaps = np.where(missing, np.float32(np.nan), x)
    draws = np.asarray(
        jaxae.impute(
            model, gaps, missing="nan", key=KEY, num_samples=5_000, draws=2_000
        )
    )
    assert draws.shape == (2_000, *x.shape)
    np.testing.assert_array_equal(draws[:, ~missing], np.tile(x[~missing], (2_000, 1)))
    for i in range(2):
        mean, covariance = conditional(model, x[i], missing[i])
        # Four standard errors of a mean and of a variance of 2,000 draws, and as much
        # again for the 5,000 samples that they are of.
        np.testing.assert_allclose(draws[:, i, 3:].mean(axis=0), mean, atol=0.12)
        found = np.cov(draws[:, i, 3:].T)
        np.testing.assert_allclose(found, covariance, atol=0.12)


def test_the_likelihood_of_what_is_known(linear):
    model, x = linear
    missing = np.random.default_rng(2).random(x.shape) < 0.4
    data = {"x": x, "missing": missing}
    found = nll_nats(model, data, KEY, num_samples=20_000)
    zero = np.float64(jaxae.decode(model, np.zeros((1, 2), np.float32))[0])
    w = (np.float64(jaxae.decode(model, np.eye(2, dtype=np.float32))) - zero).T
    covariance = w @ w.T + 0.25 * np.eye(5)
    for own, each, gaps in zip(found, np.float64(x), missing, strict=True):
        known = ~gaps
        normal = scipy.stats.multivariate_normal(
            zero[known], covariance[np.ix_(known, known)]
        )
        np.testing.assert_allclose(own, -normal.logpdf(each[known]), atol=0.05)


def test_only_what_has_a_likelihood_imputes():
    model = jaxae.init(recipes.autoencoder(SHAPE, 2, **MLP), KEY)
    with pytest.raises(jaxae.ArgumentError, match="a prior and a likelihood"):
        jaxae.impute(model, X, missing=MISSING, key=KEY)
