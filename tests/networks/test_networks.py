"""Networks: shapes for images of every size, formulas, gradients, parameter counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import bottlenecks, corruptions, networks, recipes
from jaxae.errors import ArgumentError
from jaxae.likelihoods import Gaussian
from jaxae.models.autoencoder import AutoEncoder
from jaxae.training import init_state

KEY = jax.random.key(0)


def normal(*shape):
    values = np.random.default_rng(0).standard_normal(shape)
    return jnp.asarray(np.float32(values))


def run(module, x, *, train=True):
    """The output, and the gradient of its mean square with respect to the params."""

    @jax.jit
    def compute(x):
        output, variables = module.init_with_output(KEY, x, train=train)
        rest = {k: v for k, v in variables.items() if k != "params"}

        def loss(params):
            variables = {"params": params, **rest}
            output, _ = module.apply(variables, x, train=train, mutable=[*rest])
            return jnp.square(output).mean()

        return output, variables, jax.grad(loss)(variables.get("params", {}))

    return compute(x)


def assert_learns(grads):
    """Finite everywhere, and every kernel gets some."""
    flat, _ = jax.tree_util.tree_flatten_with_path(grads)
    assert flat
    for path, grad in flat:
        name = jax.tree_util.keystr(path)
        assert np.isfinite(grad).all(), name
        assert np.abs(grad).max() > 0 or "kernel" not in name, name


@pytest.mark.parametrize(
    "options", [{}, {"gated": True}, {"batch_norm": True}, {"activation": jnp.tanh}]
)
def test_mlp_shapes_and_gradients(options):
    output, variables, grads = run(networks.MLP((7, 5), **options), normal(3, 4, 2, 1))
    assert output.shape == (3, 5)
    assert_learns(grads)
    assert ("batch_stats" in variables) == options.get("batch_norm", False)
    decoder = networks.MLPDecoder((4, 2, 3), (7, 5), **options)
    output, _, grads = run(decoder, normal(3, 6))
    assert output.shape == (3, 4, 2, 3)
    assert_learns(grads)


def test_an_mlp_without_layers_flattens():
    x = normal(3, 4, 2, 1)
    output, variables, _ = run(networks.MLP(()), x)
    np.testing.assert_array_equal(output, x.reshape(3, 8))
    assert not variables


def test_gated_dense_is_the_formula():
    x = normal(3, 4)
    layer = networks.GatedDense(5)
    variables = layer.init(KEY, x)
    dense = variables["params"]["Dense_0"]
    linear = np.asarray(x) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    h, g = linear[:, :5], linear[:, 5:]
    np.testing.assert_allclose(layer.apply(variables, x), h / (1 + np.exp(-g)), 1e-5)


def test_batch_norm_in_an_mlp_normalises_over_the_batch():
    x = normal(16, 4)
    mlp = networks.MLP((5,), batch_norm=True, activation=lambda h: h)
    output, variables, _ = run(mlp, x)
    np.testing.assert_allclose(output.mean(axis=0), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(output.var(axis=0), np.ones(5), atol=1e-3)
    assert "bias" not in variables["params"]["Dense_0"]


FULL = {"residual_blocks": 1, "inner_blocks": 1, "batch_norm": True}
OPTIONS = [{}, FULL, {"skip": True}]


@pytest.mark.parametrize(
    ("side", "halved"),
    [
        ((28, 28), (7, 7)),
        ((27, 27), (7, 7)),
        ((7, 5), (2, 2)),
        ((1, 1), (1, 1)),
        ((1, 9), (1, 3)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "full", "skip"])
def test_conv_shapes(side, halved, channels, options):
    assert networks.halvings(side, 2)[-1] == halved
    encoder = networks.ConvEncoder((2, 4), **options)
    features = 4 + channels * options.get("skip", False)
    assert shape_of(encoder, (2, *side, channels)) == (2, *halved, features)
    decoder = networks.ConvDecoder((*side, channels), (4, 2), **options)
    for code in ((2, 3), (2, *halved, 3)):
        assert shape_of(decoder, code) == (2, *side, channels)


def shape_of(module, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(partial(module.init_with_output, train=True), KEY, x)[0].shape


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "full", "skip"])
def test_conv_gradients(options):
    encoder = networks.ConvEncoder((2,), **options)
    assert_learns(run(encoder, normal(2, 7, 5, 3))[2])
    decoder = networks.ConvDecoder((7, 5, 3), (2,), **options)
    assert_learns(run(decoder, normal(2, 3))[2])


def test_a_skip_appends_the_image_itself_shrunk():
    x = normal(2, 8, 6, 3)
    plain, encoder = (networks.ConvEncoder((4,), skip=skip) for skip in (False, True))
    variables = plain.init(KEY, x)
    features, shrunk = jnp.split(encoder.apply(variables, x), [4], axis=-1)
    np.testing.assert_array_equal(features, plain.apply(variables, x))
    np.testing.assert_allclose(
        shrunk, jax.image.resize(x, (2, 4, 3, 3), "linear"), rtol=1e-6
    )


@pytest.mark.parametrize("code", [(3,), (4, 3, 3)], ids=["vector", "image"])
def test_a_skip_adds_an_image_that_is_linear_in_the_code(code):
    """All there is where the transposed convolution makes nothing."""
    decoder = networks.ConvDecoder((8, 6, 3), (4,), skip=True)
    z = normal(2, 2, *code)
    variables = jax.tree.map(jnp.asarray, decoder.init(KEY, z[0]))
    params = dict(variables["params"])
    last = params.pop("ConvTranspose_0")
    silent = {
        "params": {**params, "ConvTranspose_0": jax.tree.map(jnp.zeros_like, last)}
    }
    one, other, both = (
        decoder.apply(silent, each) for each in (z[0], z[1], z[0] + 2 * z[1])
    )
    assert np.abs(one).max() > 0.1
    np.testing.assert_allclose(both, one + 2 * other, atol=1e-5)
    assert np.abs(decoder.apply(variables, z[0]) - one).max() > 0.1


def test_a_spatial_code_of_another_size_is_refused():
    decoder = networks.ConvDecoder((8, 8, 1), (4, 2))
    with pytest.raises(ArgumentError, match=r"\[b, d\] or \[b, 2, 2, d\]"):
        decoder.init(KEY, normal(2, 3, 3, 4))


def test_a_residual_block_adds_to_its_input():
    x = normal(2, 4, 4, 3)
    block = networks.ResidualBlock()
    variables = jax.tree.map(jnp.zeros_like, block.init(KEY, x))
    np.testing.assert_array_equal(block.apply(variables, x), x)


def test_a_spatial_auto_encoder():
    pair = networks.Convolutional((2, 4))
    bottleneck = bottlenecks.Deterministic(None)
    shape = (7, 5, 3)
    networks_of = pair.encoder(), bottleneck, pair.decoder(shape)
    model = AutoEncoder(shape, *networks_of, Gaussian())
    x = normal(2, *shape)
    trace, _ = jax.eval_shape(model.init_with_output, KEY, {"x": x, "inputs": x}, KEY)
    assert trace.latents[0].z.shape == (1, 2, 2, 2, 4)
    assert trace.likelihood.base_dist.loc.shape == (1, 2, *shape)


def test_the_keras_denoiser_has_its_size():
    model = recipes.keras_denoiser().module
    batch = {
        name: jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
        for name in "x inputs".split()
    }
    trace, variables = jax.eval_shape(model.init_with_output, KEY, batch, KEY)
    sizes = [leaf.size for leaf in jax.tree.leaves(variables["params"])]
    assert sum(sizes) == 28_353
    assert trace.latents[0].z.shape == (1, 2, 7, 7, 32)
    assert trace.likelihood.base_dist.logits.shape == (1, 2, 28, 28, 1)


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize(
    "family",
    [
        recipes.autoencoder,
        recipes.denoising_autoencoder,
        recipes.inpainting_autoencoder,
        recipes.vae,
    ],
)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian_per_value"])
def test_every_family_initialises_with_every_network(family, network, likelihood):
    recipe = family((9, 7, 3), network=network, likelihood=likelihood)
    batch = {"x": jax.ShapeDtypeStruct((2, 9, 7, 3), jnp.uint8)}
    init = partial(init_state, recipe, optax.adam(1e-3))
    state = jax.eval_shape(init, batch, KEY)
    assert jax.tree.leaves(state.params["model"])


def test_the_mask_channel_of_a_vector_has_an_entry_for_every_entry():
    """One number for the whole vector would hide which entries are missing."""
    recipe = recipes.inpainting_autoencoder(
        (3,),
        3,
        network=networks.FullyConnected(()),
        corruption=corruptions.Masking(0.5),
    )
    x = jnp.zeros((3, 3))
    batch = {"x": x, "inputs": x, "mask": jnp.eye(3, dtype=bool)}
    key = jax.random.key(0)
    trace, _ = recipe.module.init_with_output(key, batch, key)
    codes = np.asarray(trace.latents[0].z[0])
    assert np.abs(codes[0] - codes[1]).max() > 1e-3
    assert np.abs(codes[1] - codes[2]).max() > 1e-3
