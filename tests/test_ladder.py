"""The hierarchical variational auto-encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxae
from jaxae import evaluation, likelihoods, views
from jaxae.models.ladder import LadderVAE
from jaxae.objectives.base import log_posterior, log_prior
from jaxae.objectives.elbo import rate
from jaxae.recipe import Model
from jaxae.recipes.ladder import ladder_vae

SHAPE = (4, 4, 1)
SIZES = {"channels": (4, 5, 6), "latent_channels": 2}


def _module(shape=SHAPE):
    return LadderVAE(shape, likelihoods.Bernoulli(), **SIZES)


def _batch(shape=SHAPE, count=3):
    x = jax.random.bernoulli(jax.random.key(1), 0.5, (count, *shape))
    x = x.astype(jnp.float32)
    return {"x": x, "inputs": x}


def _variables(module, batch):
    """With noise added, as the heads start at zero."""

    @jax.jit
    def start(batch):
        variables = module.init(jax.random.key(2), batch, jax.random.key(3))
        flat, unflatten = ravel_pytree(variables)
        return unflatten(flat + 0.2 * jax.random.normal(jax.random.key(4), flat.shape))

    return start(batch)


@pytest.fixture(scope="module")
def small():
    batch = _batch()
    return _module(), _variables(_module(), batch), batch


def _trace(small, num_samples=1, key=5):
    module, variables, batch = small
    apply = jax.jit(module.apply, static_argnames="num_samples")
    return apply(variables, batch, jax.random.key(key), num_samples=num_samples)


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((28, 28, 1), [(4, 4), (7, 7), (14, 14)]),
        ((7, 5, 3), [(1, 1), (2, 2), (4, 3)]),
    ],
)
def test_the_latents_are_images_top_first(shape, sides, num_samples):
    module, batch = _module(shape), _batch(shape, 2)

    def first(key):
        return module.init_with_output(key, batch, key, num_samples=num_samples)[0]

    trace = jax.eval_shape(first, jax.random.key(0))
    assert trace.likelihood.batch_shape == (num_samples, 2)
    assert trace.likelihood.event_shape == shape
    for i, (latent, side) in enumerate(zip(trace.latents, sides, strict=True)):
        k = num_samples if i else 1
        assert latent.z.shape == (num_samples, 2, *side, 2)
        assert latent.mean.shape == (2, *side, 2)
        assert latent.posterior.batch_shape == (k, 2)
        assert latent.prior.batch_shape == ((k, 2) if i else (1, 1))
        assert latent.posterior.event_shape == (*side, 2)
        assert latent.prior.event_shape == (*side, 2)


@pytest.mark.parametrize("shape", [(28, 28, 1), (7, 5, 3)])
def test_a_stem_is_a_halving_without_a_latent(shape):
    module = LadderVAE(shape, likelihoods.Bernoulli(), **SIZES, stem=3)
    batch = _batch(shape, 2)

    def first(key):
        return module.init_with_output(key, batch, key)[0]

    trace = jax.eval_shape(first, jax.random.key(0))
    assert trace.likelihood.event_shape == shape
    without = jax.eval_shape(
        lambda key: _module(_halved(shape)).init_with_output(
            key, _batch(_halved(shape), 2), key
        )[0],
        jax.random.key(0),
    )
    for latent, other in zip(trace.latents, without.latents, strict=True):
        assert latent.z.shape == other.z.shape


def _halved(shape):
    height, width, channels = shape
    return -(-height // 2), -(-width // 2), channels


@pytest.mark.slow
def test_at_first_no_layer_costs_anything():
    module, batch = _module(), _batch()
    initialise = jax.jit(module.init_with_output)
    trace, _ = initialise(jax.random.key(0), batch, jax.random.key(1))
    for latent in trace.latents:
        np.testing.assert_array_equal(rate(latent), 0.0)


@pytest.mark.slow
def test_decoding_the_codes_of_a_trace_gives_its_likelihood(small):
    module, variables, batch = small
    trace = _trace(small, 2)
    codes = tuple(latent.z for latent in trace.latents)
    again = module.apply(variables, codes, batch, method="decode")
    np.testing.assert_allclose(again.mean, trace.likelihood.mean, rtol=1e-5)


@pytest.mark.slow
def test_every_layer_reaches_the_image_and_depends_on_those_above(small):
    module, variables, batch = small
    trace = _trace(small)
    codes = [latent.z for latent in trace.latents]
    before = module.apply(variables, tuple(codes), batch, method="decode").mean
    for i, code in enumerate(codes):
        moved = [*codes[:i], code + 1.0, *codes[i + 1 :]]
        after = module.apply(variables, tuple(moved), batch, method="decode").mean
        assert jnp.abs(after - before).max() > 1e-3
    other = _trace(small, key=6)
    top, *lower = zip(trace.latents, other.latents, strict=True)
    np.testing.assert_array_equal(top[0].posterior.mean, top[1].posterior.mean)
    for one, two in lower:
        assert jnp.abs(one.posterior.mean - two.posterior.mean).max() > 1e-3
        assert jnp.abs(one.prior.mean - two.prior.mean).max() > 1e-3


@pytest.mark.slow
def test_the_rate_of_every_layer_is_its_monte_carlo_estimate(small):
    trace = _trace(small, 4000)
    for latent in trace.latents:
        # Given the codes above, the mean of log q - log p is the KL, sample by sample.
        drawn = np.float64(log_posterior(latent) - log_prior(latent))
        q, p = latent.posterior, latent.prior
        s, t = np.float64(q.base_dist.scale), np.float64(p.base_dist.scale)
        moved = np.float64(q.mean) - np.float64(p.mean)
        each = np.log(t / s) + (s**2 + moved**2) / (2 * t**2) - 0.5
        exact = each.sum(axis=(2, 3, 4))
        np.testing.assert_allclose(rate(latent), exact.mean(axis=0), rtol=1e-4)
        error = (drawn - exact).std(axis=0) / np.sqrt(len(drawn))
        assert (np.abs((drawn - exact).mean(axis=0)) < 4 * error).all()
        assert exact.mean() > 0.01


@pytest.mark.slow
def test_the_mean_is_the_way_down_without_noise(small):
    module, variables, _ = small
    trace = _trace(small)
    # With all standard deviations at exp(-20) a sample is its mean.
    quiet = module.clone(log_std_range=(-20.0, -19.9))
    still = _trace((quiet, variables, small[2]))
    for latent, other in zip(trace.latents, still.latents, strict=True):
        np.testing.assert_allclose(latent.mean, other.z[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_samples_of_an_example_are_independent_draws_of_one_posterior(small):
    many = _trace(small, 3)
    top = many.latents[0]
    assert len(np.unique(np.asarray(top.z[:, 0, 0, 0, 0]))) == 3
    # Sample j of a lower layer belongs to sample j of the layer above.
    module, variables, batch = small
    codes = tuple(latent.z for latent in many.latents)
    for j in range(3):
        own = tuple(code[j : j + 1] for code in codes)
        alone = module.apply(variables, own, batch, method="decode").mean
        np.testing.assert_allclose(alone[0], many.likelihood.mean[j], rtol=1e-4)


@pytest.mark.slow
def test_ancestral_samples_have_the_moments_of_the_priors(small):
    module, variables, _ = small
    count = 3000
    sample = jax.jit(
        lambda key: module.apply(variables, key, count, {}, method="sample_codes")
    )
    codes = sample(jax.random.key(7))
    assert [code.shape for code in codes] == [
        (1, count, 1, 1, 2),
        (1, count, 1, 1, 2),
        (1, count, 2, 2, 2),
    ]
    top = np.asarray(codes[0]).reshape(count, 2)
    np.testing.assert_allclose(top.mean(axis=0), 0.0, atol=4 / np.sqrt(count))
    np.testing.assert_allclose(top.var(axis=0), 1.0, atol=4 * np.sqrt(2 / count))
    assert len(np.unique(np.asarray(codes[-1])[0, :, 0, 0, 0])) == count

    def second_prior(module, code):
        return module._prior(1, module.rungs[0].descend(None, code))

    prior = module.apply(variables, codes[0], method=second_prior)
    base = prior.base_dist
    white = np.asarray((codes[1] - base.loc) / base.scale).reshape(count, 2)
    np.testing.assert_allclose(white.mean(axis=0), 0.0, atol=4 / np.sqrt(count))
    np.testing.assert_allclose(white.var(axis=0), 1.0, atol=4 * np.sqrt(2 / count))


@pytest.mark.slow
def test_gradients_reach_every_parameter(small):
    module, variables, batch = small

    def loss(variables):
        trace = module.apply(variables, batch, jax.random.key(0))
        rates = sum(rate(latent).mean() for latent in trace.latents)
        return rates - trace.likelihood.log_prob(trace.target).mean()

    for path, grad in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables)):
        assert jnp.isfinite(grad).all(), path
        assert jnp.abs(grad).max() > 0, path


@pytest.mark.slow
def test_it_trains_and_the_trained_model_is_usable():
    images = np.asarray(_batch(count=16)["x"])
    sizes = {"channels": (4, 4, 4), "stem": 0}
    recipe = ladder_vae(SHAPE, 2, **sizes, num_samples=2, free_bits=0.01)
    fitted = jaxae.fit(
        recipe,
        images,
        key=jax.random.key(0),
        epochs=8,
        batch_size=8,
        progress=False,
    )
    first, last = fitted.history[0], fitted.history[-1]
    assert last["loss"] < first["loss"]
    for row in fitted.history:
        each = sum(row[f"rate_{i}_nats"] for i in (1, 2, 3))
        assert row["rate_nats"] == pytest.approx(each, rel=1e-5, abs=1e-6)
    model = fitted.model
    codes = jaxae.encode(model, images)
    assert isinstance(codes, tuple)
    assert [code.shape for code in codes] == [
        (16, 1, 1, 2),
        (16, 1, 1, 2),
        (16, 2, 2, 2),
    ]
    np.testing.assert_allclose(
        jaxae.decode(model, codes), jaxae.reconstruct(model, images), rtol=1e-5
    )
    drawn = jaxae.sample(model, jax.random.key(1), 3)
    assert drawn.shape == (3, *SHAPE)
    assert np.isfinite(drawn).all()
    loose = evaluation.elbo_terms(model, images, jax.random.key(2), num_samples=50)
    nll = evaluation.nll_nats(model, images, jax.random.key(2), num_samples=50)
    assert np.isfinite(nll).all()
    # The importance-weighted bound is at least as tight, up to the noise.
    assert nll.mean() < -loose["elbo_nats"].mean() + 0.1


@pytest.mark.slow
def test_the_bottom_up_network_may_be_shown_the_mask():
    batch = _batch()
    module = LadderVAE(
        SHAPE, likelihoods.Bernoulli(), **SIZES, view=views.MaskChannel()
    )
    mask = jnp.zeros((3, 4, 4, 1), bool)
    variables = _variables(module, batch)
    key = jax.random.key(0)
    open_, shut = (
        module.apply(variables, {**batch, "mask": m}, key, method="encode")
        for m in (mask, ~mask)
    )
    assert jnp.abs(open_[0].mean - shut[0].mean).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4, 4)}, "shape must be"),
        ({"channels": ()}, "channels must be"),
        ({"channels": (4, 0)}, "every size in channels"),
        ({"latent_channels": 0}, "latent_channels must be"),
        ({"log_std_range": (1.0, 1.0)}, "log_std_range must be"),
        ({"view": views.Condition("label", 3)}, "both decoder and prior"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LadderVAE(**{"shape": SHAPE, "likelihood": likelihoods.Bernoulli()} | arguments)


def test_images_of_another_shape_are_refused(small):
    module, variables, _ = small
    model = Model(ladder_vae(SHAPE, stem=0), variables)
    with pytest.raises(ValueError, match="x must be of shape"):
        jaxae.encode(model, np.zeros((2, 5, 5, 1), np.float32))
    with pytest.raises(ValueError, match="inputs must be"):
        module.apply(variables, _batch((5, 5, 1)), jax.random.key(0), method="encode")
