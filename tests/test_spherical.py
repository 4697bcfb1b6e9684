"""The von Mises-Fisher distribution against scipy's Bessel functions and quadrature."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from numpyro.distributions import kl_divergence

import jaxae
from jaxae import networks
from jaxae.bottlenecks.spherical import VonMisesFisher as Bottleneck
from jaxae.distributions import spherical
from jaxae.distributions.spherical import SphereUniform, VonMisesFisher
from jaxae.evaluation import evaluate
from jaxae.recipes.spherical import hyperspherical_vae

DIMS = [2, 3, 5, 10, 40]
KAPPAS = np.array([1e-3, 0.3, 1.0, 7.5, 60.0, 900.0, 1e4])


def _exact_log_normalizer(kappa, dim):
    """log(Γ(ν + 1) (2/κ)^ν I_ν(κ) e^-κ) in float64; by its series if that is tiny."""
    nu = dim / 2 - 1
    bessel = scipy.special.ive(nu, kappa)
    return scipy.special.gammaln(nu + 1) + nu * np.log(2 / kappa) + np.log(bessel)


def _exact_resultant(kappa, dim):
    return scipy.special.ive(dim / 2, kappa) / scipy.special.ive(dim / 2 - 1, kappa)


def _jit(of_dim):
    return jax.jit(of_dim, static_argnums=1)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_the_quadrature_is_not_computed_on_import(monkeypatch):
    def computed(count):
        raise AssertionError(f"{count} nodes")

    monkeypatch.setattr(np.polynomial.legendre, "leggauss", computed)
    spec = importlib.util.find_spec("jaxae.distributions.spherical")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(AssertionError, match="256 nodes"):
        module.log_normalizer(jnp.ones(()), 3)


@pytest.mark.parametrize("dim", DIMS)
def test_normalizer_and_mean_are_ratios_of_bessel_functions(dim):
    kappa = np.float32(KAPPAS)
    exact = _exact_log_normalizer(KAPPAS, dim)
    # float32 rounds logs as large as -150 to 1e-5.
    got = _jit(spherical.log_normalizer)(kappa, dim)
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=1e-5)
    got = _jit(spherical.mean_resultant)(kappa, dim)
    np.testing.assert_allclose(got, _exact_resultant(KAPPAS, dim), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dim", DIMS)
def test_the_normalizers_derivative_is_the_mean(dim):
    total = jax.grad(lambda k: spherical.log_normalizer(k, dim).sum())
    slope = jax.jit(total)(np.float32(KAPPAS))
    exact = _exact_resultant(KAPPAS, dim) - 1
    np.testing.assert_allclose(slope, exact, rtol=2e-5)


def _log_prob(q, z):
    return np.asarray(jax.jit(lambda q, z: q.log_prob(z))(q, z))


def test_in_a_plane_it_is_von_mises_and_integrates_to_one():
    angle = np.linspace(-np.pi, np.pi, 2001)[:-1]
    z = np.stack([np.cos(angle), np.sin(angle)], -1)
    mean, kappa = np.array([np.cos(0.7), np.sin(0.7)]), 3.0
    q = VonMisesFisher(
        jnp.asarray(np.float32(mean[None])), jnp.asarray(np.float32([kappa]))
    )
    got = _log_prob(q, np.float32(z)[:, None])[:, 0]
    expected = scipy.stats.vonmises(kappa, loc=0.7).logpdf(angle)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert np.exp(np.float64(got)).mean() * 2 * np.pi == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dim", [3, 6])
def test_log_prob_is_that_of_scipy(dim):
    rng = np.random.default_rng(dim)
    mean, z = _unit(rng.normal(size=dim)), _unit(rng.normal(size=(7, dim)))
    kappa = 12.0
    q = VonMisesFisher(
        jnp.asarray(np.float32(mean[None])), jnp.asarray(np.float32([kappa]))
    )
    got = _log_prob(q, np.float32(z)[:, None])[:, 0]
    exact = scipy.stats.vonmises_fisher(mean, kappa)
    np.testing.assert_allclose(got, exact.logpdf(z), rtol=1e-5, atol=1e-5)
    entropy = jax.jit(lambda q: q.entropy())(q)
    np.testing.assert_allclose(entropy, [exact.entropy()], rtol=1e-5)


def _posterior(dim, kappas):
    rng = np.random.default_rng(3)
    means = _unit(rng.normal(size=(1, len(kappas), dim))).astype(np.float32)
    # Means along the axis, from which the reflection starts, are no exception.
    means[0, 0], means[0, 1] = np.eye(dim)[0], -np.eye(dim)[0]
    return VonMisesFisher(jnp.asarray(means), jnp.asarray(np.float32([kappas])))


@pytest.fixture(scope="module", params=[2, 3, 8])
def drawn(request):
    """(posterior [1, 4], its samples [6000, 1, 4, dim])."""
    q = _posterior(request.param, [0.5, 4.0, 50.0, 5000.0])
    # It computes longer than it compiles.
    some = {"xla_backend_optimization_level": 1}
    draw = jax.jit(lambda key: q.sample(key, (6_000,)), compiler_options=some)
    return q, np.float64(draw(jax.random.key(0)))


def test_samples_lie_on_the_sphere_with_the_right_mean(drawn):
    q, z = drawn
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 1, atol=1e-5)
    exact = (
        np.float64(q.loc)
        * _exact_resultant(np.float64(q.concentration), z.shape[-1])[..., None]
    )
    error = z.std(axis=0) / np.sqrt(len(z))
    # 5 standard errors, and what float32 rounds.
    assert (np.abs(z.mean(axis=0) - exact) < 5 * error + 2e-6).all()
    mean = jax.jit(lambda q: q.mean)(q)
    np.testing.assert_allclose(mean, exact, atol=2e-6)


def test_the_cosine_has_the_right_second_moment(drawn):
    # E[cos²] = 1 - (d - 1) A / κ follows from the recurrence of Bessel functions.
    q, z = drawn
    dim, kappa = z.shape[-1], np.float64(q.concentration)
    gap = 0.5 * np.square(z - np.float64(q.loc)).sum(-1)
    resultant = _exact_resultant(kappa, dim)
    exact = 2 - 2 * resultant - (dim - 1) * resultant / kappa  # E[(1 - cos)²]
    squares = np.square(gap)
    error = squares.std(axis=0) / np.sqrt(len(z))
    assert (np.abs(squares.mean(axis=0) - exact) < 5 * error + 1e-9).all()


def test_kl_to_the_uniform_is_the_mean_log_ratio(drawn):
    q, z = drawn
    p = SphereUniform(z.shape[-1], (1, 1))
    ratio = jax.jit(lambda z: q.log_prob(z) - p.log_prob(z))(np.float32(z))
    ratio = np.float64(ratio)
    error = ratio.std(axis=0) / np.sqrt(len(z))
    got = jax.jit(lambda: kl_divergence(q, p))()
    assert got.shape == (1, 4)
    assert (np.abs(ratio.mean(axis=0) - got) < 5 * error + 1e-4).all()


@pytest.mark.slow
def test_without_concentration_it_is_uniform():
    kappa = jnp.asarray([[0.0, 1e-6]])
    for dim in (2, 3, 10):
        q = VonMisesFisher(jnp.broadcast_to(jnp.eye(dim)[:1, None], (1, 2, dim)), kappa)
        p = SphereUniform(dim, (1, 1))
        z = p.sample(jax.random.key(0), (5,))
        np.testing.assert_allclose(
            q.log_prob(z), np.broadcast_to(p.log_prob(z), (5, 1, 2)), atol=2e-5
        )
        np.testing.assert_allclose(kl_divergence(q, p), 0, atol=2e-5)
        angles = spherical.sample_angle(jax.random.key(1), jnp.zeros(4000), dim)
        error = 1 / np.sqrt(dim * 4000)
        assert abs(np.cos(np.float64(angles)).mean()) < 5 * error
    area = {2: 2 * np.pi, 3: 4 * np.pi, 4: 2 * np.pi**2}
    for dim, expected in area.items():
        assert spherical.log_area(dim) == pytest.approx(np.log(expected))


@pytest.mark.parametrize("dim", [2, 3, 8])
@pytest.mark.parametrize("kappa", [0.5, 6.0, 300.0])
def test_an_angles_derivative_keeps_its_quantile(dim, kappa):
    """Against the inverse distribution function, differentiated numerically."""

    def quantile(angle, k):
        # Shifted by the value at the mode's scale: exp never overflows.
        def density(t):
            return np.sin(t) ** (dim - 2) * np.exp(k * (np.cos(t) - 1))

        grid = np.linspace(0, np.pi, 400_001)
        cumulative = scipy.integrate.cumulative_simpson(
            density(grid), x=grid, initial=0
        )
        return np.interp(angle, grid, cumulative / cumulative[-1]), density(
            angle
        ) / cumulative[-1]

    angles = np.float32(np.linspace(0.3, 1.6, 6) * min(1, 1.5 * np.sqrt(dim / kappa)))
    step = 1e-3 * kappa
    at = np.float64(angles)
    rise = (quantile(at, kappa + step)[0] - quantile(at, kappa - step)[0]) / (2 * step)
    expected = -rise / quantile(at, kappa)[1]
    slope = jax.jit(spherical._angle_slope, static_argnums=2)
    got = slope(angles, np.full(6, kappa, np.float32), dim)
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 1.5), (3, 2.0), (8, 20.0)])
def test_gradients_of_expectations_reach_the_concentration(dim, kappa):
    """E[cos²] has the derivative that finite differences of the exact one have."""
    loc = jnp.asarray(np.eye(dim, dtype=np.float32)[None, 1:2])

    def square(k, key):
        z = VonMisesFisher(loc, k.reshape(1, 1)).sample(key)
        return jnp.square(z[0, 0, 1])

    keys = jax.random.split(jax.random.key(4), 6_000)
    draws = jax.jit(jax.vmap(jax.grad(square), in_axes=(None, 0)))
    grads = np.float64(draws(jnp.asarray(kappa), keys))

    def exact(k):
        return 1 - (dim - 1) * _exact_resultant(k, dim) / k

    expected = (exact(kappa + 1e-4) - exact(kappa - 1e-4)) / 2e-4
    error = grads.std() / np.sqrt(len(grads))
    assert abs(grads.mean() - expected) < 5 * error
    assert error < 0.1 * abs(expected)


def test_gradients_of_expectations_reach_the_mean():
    """E[aᵀz] = A aᵀμ; the direction is normalised on the way."""
    kappa, a = 3.0, jnp.asarray([0.3, -1.0, 0.5])
    start = jnp.asarray([0.8, 0.2, -0.5])

    def unit(m):
        return m / jnp.linalg.norm(m)

    def draw(m, key):
        return a @ VonMisesFisher(unit(m)[None], jnp.full((1,), kappa)).sample(key)[0]

    keys = jax.random.split(jax.random.key(5), 6_000)
    grads = jax.jit(jax.vmap(jax.grad(draw), in_axes=(None, 0)))(start, keys)
    grads = np.float64(grads)
    slope = jax.jit(jax.grad(lambda m: a @ unit(m)))(start)
    expected = np.asarray(slope) * _exact_resultant(kappa, 3)
    error = grads.std(axis=0) / np.sqrt(len(grads))
    assert (np.abs(grads.mean(axis=0) - expected) < 5 * error).all()


def test_it_passes_through_jit_as_a_pytree():
    q = _posterior(3, [1.0, 2.0])
    back, prior = jax.jit(lambda q, p: (q, p))(q, SphereUniform(3, (1, 1)))
    np.testing.assert_array_equal(back.concentration, q.concentration)
    assert back.batch_shape == (1, 2) and back.event_shape == (3,)
    assert prior.dim == 3 and prior.batch_shape == (1, 1)


@pytest.mark.slow
def test_the_bottleneck_has_unit_codes_and_finite_gradients():
    module, key = Bottleneck(3), jax.random.key(0)
    h = jax.random.normal(key, (8, 5)).at[0].set(0.0)
    params = module.init(key, h, key)
    latent = module.apply(params, h, key, num_samples=4)
    assert latent.z.shape == (4, 8, 3) and latent.posterior.batch_shape == (1, 8)
    assert latent.prior.batch_shape == (1, 1)
    np.testing.assert_allclose(jnp.linalg.norm(latent.z, axis=-1), 1, atol=1e-5)
    assert (latent.posterior.concentration > 1).all()

    def total(params):
        latent = module.apply(params, h, key, num_samples=4)
        return latent.z[..., 0].sum() + kl_divergence(*latent[2:4]).sum()

    grads = jax.grad(total)(params)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(grads))
    assert all(bool((g != 0).any()) for g in jax.tree.leaves(grads))


@pytest.mark.slow
def test_the_recipe_trains_samples_and_is_evaluated():
    recipe = hyperspherical_vae((5,), 3, num_samples=2, likelihood="gaussian")
    x = np.random.default_rng(0).random((8, 5)).astype(np.float32)
    key = jax.random.key(0)
    fitted = jaxae.fit(recipe, x, key=key, epochs=2, batch_size=8, progress=False)
    model = fitted.model
    codes = jaxae.encode(model, x)
    np.testing.assert_allclose(jnp.linalg.norm(codes, axis=-1), 1, atol=1e-5)
    assert np.isfinite(jaxae.sample(model, key, 3)).all()
    assert np.isfinite(evaluate(model, x, key, nll_samples=20)["nll_nats"])


def test_the_decoder_sees_directions_alone():
    recipe = hyperspherical_vae((3,), 2, network=networks.FullyConnected(()))
    x = np.zeros((1, 3), np.float32)
    key = jax.random.key(0)
    variables = jax.jit(recipe.module.init)(key, {"x": x, "inputs": x}, key)
    model = jaxae.Model(recipe, variables)
    z = np.asarray([[0.6, 0.8], [3.0, 4.0]], np.float32)
    near, far = jaxae.decode(model, z)
    np.testing.assert_allclose(near, far, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Bottleneck(1),
        lambda: SphereUniform(1),
        lambda: spherical.log_area(1),
        lambda: spherical.log_normalizer(jnp.ones(2), 1),
        lambda: spherical.mean_resultant(jnp.ones(2), 1),
        lambda: spherical.sample_angle(jax.random.key(0), jnp.ones(2), 1),
    ],
)
def test_a_sphere_needs_two_dimensions(wrong):
    with pytest.raises(ValueError, match="whole number of at least 2"):
        wrong()
