"""The autoregressive prior over whole-number codes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jaxae
from jaxae import recipes
from jaxae.evaluation import elbo_terms, nll_nats
from jaxae.networks import Convolutional
from jaxae.networks.causal import CausalTransformer
from jaxae.recipe import Model
from jaxae.samplers.autoregressive import autoregressive, sequence_recipe

NUM_CODES, LENGTH = 3, 4
SIZES = {"width": 8, "depth": 2, "num_heads": 2}
EVERY = np.array(list(itertools.product(range(NUM_CODES), repeat=LENGTH)))
"""All 81 sequences."""


@pytest.fixture(scope="module")
def network():
    """A network whose logits are far from uniform, and its variables."""
    module = CausalTransformer(NUM_CODES, LENGTH, **SIZES)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.asarray(EVERY[:2]))
    rng = np.random.default_rng(1)

    def noisy(leaf):
        return jnp.asarray(leaf + np.float32(rng.normal(0, 0.4, leaf.shape)))

    return module, jax.tree.map(noisy, jax.device_get(variables))


@pytest.fixture(scope="module")
def logits(network):
    """Of all sequences, [81, t, m]."""
    module, variables = network
    return np.asarray(jax.jit(module.apply)(variables, jnp.asarray(EVERY)))


@pytest.fixture(scope="module")
def model(network):
    recipe = sequence_recipe(LENGTH, NUM_CODES, **SIZES)
    return Model(recipe, {"params": {"network": network[1]["params"]}})


@pytest.fixture(scope="module")
def density(model):
    """p(c) as the model gives it."""
    return model.module.apply(model.variables, (), {}, method="decode")


@pytest.fixture(scope="module")
def log_probs(density):
    """Of all sequences, [81]."""
    found = jax.jit(density.log_prob)(jnp.asarray(np.float32(EVERY)))
    assert found.shape == (1, len(EVERY))
    return np.asarray(found[0])


def _layer_norm(p, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    return centred / std * p["scale"] + p["bias"]


def _dense(p, x):
    return x @ p["kernel"] + p["bias"]


def _attention(p, x):
    """One sequence [t, width]; every position looks at itself and those before it."""
    q, k, v = (
        np.einsum("tw,whd->htd", x, p[name]["kernel"]) + p[name]["bias"][:, None]
        for name in ("query", "key", "value")
    )
    out = np.zeros_like(q)
    for i in range(len(x)):
        scores = np.einsum("hd,hsd->hs", q[:, i], k[:, : i + 1]) / np.sqrt(q.shape[-1])
        weights = special.softmax(scores, axis=-1)
        out[:, i] = np.einsum("hs,hsd->hd", weights, v[:, : i + 1])
    return np.einsum("htd,hdw->tw", out, p["out"]["kernel"]) + p["out"]["bias"]


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_the_network_is_a_transformer_written_out_in_numpy(network, logits):
    params = jax.tree.map(np.float64, network[1]["params"])
    for codes, expected in zip(EVERY[::7], logits[::7], strict=True):
        before = [NUM_CODES, *codes[:-1]]
        x = params["embed"]["embedding"][before] + params["places"]
        for i in range(SIZES["depth"]):
            block = params[f"blocks_{i}"]
            attention = block["MultiHeadDotProductAttention_0"]
            x = x + _attention(attention, _layer_norm(block["LayerNorm_0"], x))
            h = _gelu(_dense(block["Dense_0"], _layer_norm(block["LayerNorm_1"], x)))
            x = x + _dense(block["Dense_1"], h)
        found = _dense(params["head"], _layer_norm(params["norm"], x))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_position_sees_all_codes_before_it_and_none_after(logits):
    table = logits.reshape(*[NUM_CODES] * LENGTH, LENGTH, NUM_CODES)
    for i, j in itertools.product(range(LENGTH), repeat=2):
        spread = np.ptp(table[..., i, :], axis=j).max()
        if j < i:
            assert spread > 1e-2, (i, j)
        else:
            assert spread < 1e-6, (i, j)


def test_with_the_cache_the_logits_are_those_of_whole_sequences(network, logits):
    module, variables = network

    @jax.jit
    def by_steps(codes):
        _, cache = module.apply(
            variables, len(codes), method="reserve", mutable=["cache"]
        )
        before = jnp.full(len(codes), module.begin)
        found = []
        for i in range(LENGTH):
            each, cache = module.apply(
                {**variables, **cache},
                before,
                jnp.asarray(i),
                method="step",
                mutable=["cache"],
            )
            found.append(each)
            before = codes[:, i]
        return jnp.stack(found, axis=1)

    np.testing.assert_allclose(by_steps(jnp.asarray(EVERY)), logits, atol=1e-5)


def test_the_density_is_the_product_of_the_conditionals(density, log_probs, logits):
    assert density.batch_shape == (1, 1)
    assert density.event_shape == (LENGTH,)
    each = np.take_along_axis(
        special.log_softmax(np.float64(logits), axis=-1), EVERY[..., None], axis=-1
    )[..., 0]
    np.testing.assert_allclose(log_probs, each.sum(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(np.exp(np.float64(log_probs)).sum(), 1.0, rtol=1e-5)
    values = jnp.asarray(np.float32(np.stack([EVERY, EVERY[::-1]])))
    several, parts = jax.jit(
        lambda x: (density.log_prob(x), density.base_dist.log_prob(x))
    )(values)
    np.testing.assert_allclose(parts[0], each, rtol=1e-4)
    np.testing.assert_allclose(several[1], log_probs[::-1], rtol=1e-5)


def test_samples_have_the_density(model, log_probs):
    count = 8000
    drawn = np.asarray(jaxae.sample(model, jax.random.key(2), count, draw=True))
    assert drawn.dtype == np.float32
    number = drawn.astype(int) @ NUM_CODES ** np.arange(LENGTH)[::-1]
    seen = np.bincount(number, minlength=len(EVERY))
    expected = count * np.exp(np.float64(log_probs))
    # Rare sequences count as one, as the test needs several of each.
    rare = expected < 5
    seen, expected = (np.append(u[~rare], u[rare].sum()) for u in (seen, expected))
    assert len(seen) > 20
    expected = expected * count / expected.sum()
    assert stats.chisquare(seen, expected).pvalue > 1e-3


def test_a_sample_depends_on_its_key_alone(density):
    keys = jax.random.split(jax.random.key(3), 6)
    together = jax.jit(jax.vmap(density.sample))(keys)
    draw = jax.jit(density.sample)
    alone = np.stack([draw(key) for key in keys])
    assert together.shape == (6, 1, 1, LENGTH)
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(together[:, 0, 0], axis=0)) > 1


def test_samples_of_one_key_are_independent(density):
    drawn = np.asarray(
        jax.jit(lambda key: density.sample(key, (500, 2)))(jax.random.key(4))
    )
    assert drawn.shape == (500, 2, 1, 1, LENGTH)
    first = drawn[:, :, 0, 0, 0]
    table = np.zeros((NUM_CODES, NUM_CODES))
    np.add.at(table, tuple(first.astype(int).T), 1)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    assert table.size > 1
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_the_density_passes_through_jit(model, log_probs):
    @jax.jit
    def decode(variables):
        return model.module.apply(variables, (), {}, method="decode")

    values = jnp.asarray(np.float32(EVERY))
    density = decode(model.variables)
    again = jax.jit(type(density).log_prob)(density, values)
    np.testing.assert_allclose(again[0], log_probs, rtol=1e-5)
    support = density.support(jnp.array([[0.0, 1.0, 2.0, 2.0], [0.0, 1.0, 3.0, 0.5]]))
    np.testing.assert_array_equal(support, [True, False])


def test_gradients_reach_every_parameter(model):
    values = jnp.asarray(np.float32(EVERY[::2]))

    @jax.jit
    @jax.grad
    def gradient(variables):
        batch = {"x": values, "inputs": values}
        trace = model.module.apply(variables, batch, jax.random.key(0))
        assert trace.latents == ()
        return -trace.likelihood.log_prob(trace.target).mean()

    for path, grad in jax.tree.leaves_with_path(gradient(model.variables)):
        grad = np.asarray(grad)
        assert np.isfinite(grad).all(), path
        # The same constant in all scores of a query changes no attention.
        if not jax.tree_util.keystr(path).endswith("['key']['bias']"):
            assert np.abs(grad).max() > 1e-6, path


def test_the_evaluation_of_the_density_is_exact(model, log_probs):
    values, exact = np.float32(EVERY[::5]), -log_probs[::5]
    for num_samples in (1, 3):
        found = nll_nats(model, values, jax.random.key(5), num_samples=num_samples)
        np.testing.assert_allclose(found, exact, rtol=1e-5)
    terms = elbo_terms(model, values, jax.random.key(5))
    np.testing.assert_allclose(terms["elbo_nats"], -exact, rtol=1e-5)


def _dependent(count):
    """[n, 2, 2]: both codes of a row are the same one; 0 or 2 above, any below."""
    random = np.random.default_rng(0)
    rows = np.stack(
        [2 * (random.random(count) < 0.3), random.integers(0, 3, count)], axis=1
    )
    return np.repeat(rows[..., None], 2, axis=2)


@pytest.mark.slow
def test_it_learns_a_dependency_and_its_entropy():
    codes = _dependent(600)
    flat = np.float32(codes.reshape(-1, 4))
    recipe = sequence_recipe(4, 3, width=16, depth=1)
    fitted = jaxae.fit(
        recipe, flat, key=jax.random.key(0), epochs=25, batch_size=50, progress=False
    )
    first, last = fitted.history[0]["loss"], fitted.history[-1]["loss"]
    entropy = sum(
        stats.entropy(np.bincount(codes[:, row, 0], minlength=3)) for row in (0, 1)
    )
    assert first > entropy + 0.5
    # Below the entropy of the data's own frequencies only what depends on the rows.
    assert abs(last - entropy) < 0.06
    found = nll_nats(fitted.model, flat, jax.random.key(1), num_samples=1)
    assert found.mean() == pytest.approx(last, abs=0.03)


@pytest.mark.slow
def test_samples_of_the_fitted_prior_are_like_the_codes():
    codes = _dependent(600).astype(np.uint8)
    options = {"width": 16, "depth": 1, "epochs": 25, "batch_size": 50}
    sampler = autoregressive(codes, jax.random.key(0), num_codes=3, **options)
    drawn = sampler(jax.random.key(1), 600)
    assert drawn.shape == (600, 2, 2)
    assert drawn.dtype == jnp.int32
    assert (drawn[:, :, 0] == drawn[:, :, 1]).mean() > 0.97
    assert (drawn[:, 0, 0] == 0).mean() == pytest.approx(0.7, abs=0.08)
    assert (drawn[:, 0, 0] == 1).mean() < 0.01
    np.testing.assert_allclose(np.bincount(drawn[:, 1, 0]) / 600, 1 / 3, atol=0.08)
    np.testing.assert_array_equal(drawn, sampler(jax.random.key(1), 600))
    assert (np.asarray(drawn) != sampler(jax.random.key(2), 600)).any()


def test_one_code_per_example():
    codes = np.random.default_rng(0).integers(0, 2, 5)
    options = {"width": 4, "depth": 1, "epochs": 1}
    sampler = autoregressive(codes, jax.random.key(0), num_codes=2, **options)
    drawn = np.asarray(sampler(jax.random.key(1), 3))
    assert drawn.shape == (3,)
    assert set(np.unique(drawn)) <= {0, 1}


@pytest.mark.slow
def test_images_of_a_quantised_model():
    images = np.random.default_rng(0).random((12, 4, 4, 1)).astype(np.float32)
    recipe = recipes.vqvae(
        (4, 4, 1), 5, 2, network=Convolutional((3,)), num_quantizers=2
    )
    fitted = jaxae.fit(
        recipe, images, key=jax.random.key(0), epochs=1, batch_size=6, progress=False
    )
    codes = jaxae.encode(fitted.model, images)
    sampler = autoregressive(
        codes,
        jax.random.key(1),
        num_codes=recipe.module.num_codes,
        width=4,
        depth=1,
        epochs=1,
    )
    drawn = sampler(jax.random.key(2), 4)
    assert codes.shape == (12, 2, 2, 2)
    assert drawn.shape == (4, 2, 2, 2)
    decoded = jaxae.decode(fitted.model, drawn)
    assert decoded.shape == (4, 4, 4, 1)
    assert np.isfinite(decoded).all()


CODES = np.array([[0, 1], [2, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codes": CODES / 1.0}, "codes must be whole numbers.*got 'float64'"),
        ({"codes": CODES > 0}, "codes must be whole numbers.*got 'bool'"),
        ({"codes": CODES - 1}, "codes must be .* 0 to 2, got values from -1 to 1"),
        ({"codes": CODES + 1}, "codes must be .* 0 to 2, got values from 1 to 3"),
        ({"codes": CODES[:0]}, "codes must be of shape"),
        ({"codes": CODES[:, :0]}, "codes must be of shape"),
        ({"codes": 1}, "codes must be of shape"),
        ({"codes": (CODES, CODES)}, "codes must be the array"),
        ({"num_codes": 0}, "num_codes must be"),
        ({"width": 6}, "width must be a multiple of 4 heads"),
        ({"depth": 0}, "depth must be"),
        ({"num_heads": 0}, "num_heads must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"key": jax.random.split(jax.random.key(0))}, "key must be"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    given = {"codes": CODES, "key": jax.random.key(0), "num_codes": 3} | arguments
    with pytest.raises(ValueError, match=message):
        autoregressive(given.pop("codes"), given.pop("key"), **given)


@pytest.mark.parametrize(("value", "came"), [(0.5, "0 to 0.5"), (3.0, "0 to 3")])
def test_data_other_than_codes_are_refused(value, came):
    recipe = sequence_recipe(2, 3)
    message = f"data must be whole numbers from 0 to 2, got values from {came}"
    with pytest.raises(ValueError, match=message):
        jaxae.fit(recipe, np.float32([[0, value]]), key=jax.random.key(0))


def test_sequences_of_another_length_are_refused(network):
    module, variables = network
    with pytest.raises(ValueError, match="codes must be of shape"):
        module.apply(variables, jnp.zeros((2, LENGTH + 1), jnp.int32))
