"""Networks in bfloat16: what is computed in it, and what stays float32."""

import re
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxae
from jaxae import networks, recipes
from jaxae.models.autoencoder import AutoEncoder
from jaxae.models.ladder import LadderVAE
from jaxae.networks.dense import Dense
from jaxae.networks.dictionary import Dictionary
from jaxae.networks.spectral import SpectralMLPDecoder
from jaxae.networks.vit import (
    MultiHeadDotProductAttention,
    ViTDecoder,
    ViTEncoder,
)
from jaxae.precision import spread, widened
from jaxae.recipe import compute_in
from jaxae.samplers.autoregressive import sequence_recipe
from jaxae.training import make_train_step
from jaxae.training.batch import model_batch
from jaxae.training.checkpoint import abstract_state
from jaxae.training.loss import batch_loss
from jaxae.training.state import variables
from tests.test_protocol import CORE_FIRST, NAMES, TX, batch, recipe_of

HALF, SLOW = jnp.bfloat16, pytest.mark.slow
KEY = jax.random.key(0)


def shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def some_values(tree, seed=0):
    """Numbers of about the size of weights; positive ones for what is no parameter."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.device_put(np.zeros(leaf.shape, leaf.dtype))
        low = -0.2 if path[0].key in ("params", "model", "objective") else 0.1
        return jax.device_put(rng.uniform(low, 0.2, leaf.shape).astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(fill, tree)


def close(ours, expected, tolerance):
    """Every array to within `tolerance` of its norm."""
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(ours),
        jax.tree.leaves(expected),
        strict=True,
    ):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        error = np.linalg.norm(a - b) / np.linalg.norm(b)
        assert error < tolerance, (jax.tree_util.keystr(path), error)


@pytest.mark.parametrize("name", CORE_FIRST)
def test_the_state_of_training_stays_float32(name):
    recipe = recipe_of(name)
    half = compute_in(recipe, HALF)
    state = abstract_state(half, TX)
    assert shapes(state) == shapes(abstract_state(recipe, TX))  # checkpoints fit
    data = shapes(batch(recipe))
    new, metrics = jax.eval_shape(make_train_step(half, TX), state, data)
    assert shapes(new) == shapes(state)
    trace = jax.eval_shape(
        lambda v: half.module.apply(
            v,
            model_batch(half, data_of(data), KEY),
            KEY,
            num_samples=half.num_samples,
        ),
        variables(state),
    )
    for leaf in jax.tree.leaves((trace, metrics)):
        assert not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.dtype == jnp.float32


def data_of(data):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), data)


# One of every kind of network, bottleneck and prior.
QUICK = {"conditional_vae", "masked_autoencoder", "sparse_autoencoder"}
QUICK |= {"vae", "vamp_vae", "vqvae"}


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=SLOW) for name in NAMES],
)
def test_the_loss_is_that_of_float32(name):
    recipe = recipe_of(name)
    state = abstract_state(recipe, TX)
    params, collections = some_values(state.params), some_values(state.collections)

    @partial(jax.jit, static_argnums=0)
    def loss(dtype):
        chosen = compute_in(recipe, dtype)
        zero = jnp.zeros((), jnp.int32)
        return batch_loss(chosen, params, collections, batch(recipe), KEY, zero)[0]

    whole, half = jax.device_get((loss(None), loss("bfloat16")))
    assert half.dtype == jnp.float32
    # 1%: products of numbers of 8 bits are off by up to 0.8%, of either sign. That
    # not even the last bit differs would mean that nothing was rounded.
    assert 0 < abs(half - whole) < 0.01 * abs(whole)


NETWORKS = {
    "mlp": (networks.MLP((8, 8), gated=True), (6, 6, 1)),
    "mlp_batch_norm": (networks.MLP((8,), batch_norm=True), (5,)),
    "mlp_decoder": (networks.MLPDecoder((4, 3), (8,), activation=nn.gelu), (5,)),
    "conv_encoder": (networks.ConvEncoder((4, 8), activation=nn.gelu), (6, 6, 3)),
    "conv_residual": (
        networks.ConvEncoder((4,), 3, 1, activation=nn.gelu, batch_norm=True),
        (6, 6, 3),
    ),
    "conv_decoder": (
        networks.ConvDecoder((7, 6, 2), (8,), 3, 0, nn.gelu, batch_norm=True),
        (5,),
    ),
    "conv_decoder_of_images": (
        networks.ConvDecoder((6, 6, 2), (8,), activation=nn.gelu),
        (3, 3, 4),
    ),
    "keras_encoder": (networks.KerasEncoder(), (8, 8, 1)),
    "keras_decoder": (networks.KerasDecoder(), (2, 2, 4)),
    "vit_encoder": (ViTEncoder(2, 3, width=8, depth=1, num_heads=2), (4, 4, 1)),
    "vit_decoder": (ViTDecoder((4, 4, 1), 2, 8, 1, 2), (4, 8)),
    "dictionary": (Dictionary((4, 4)), (6,)),
    "spectral": (SpectralMLPDecoder((4, 4), (8,), nn.gelu), (6,)),
}


def network_and_input(name):
    """The module, its variables and what it takes, with a mask for transformers."""
    module, shape = NETWORKS[name]
    rng = np.random.default_rng(1)
    x = jax.device_put(np.float32(rng.uniform(size=(8, *shape))))
    if name.startswith("vit"):
        mask = jax.device_put(rng.random((8, 4, 4, 1)) < 0.3)
        x = {"values": x, "mask": mask}
    example = some_values(jax.eval_shape(module.init, KEY, x))
    return module, example, x


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_of_bfloat16(name):
    module, values, x = network_and_input(name)
    half = module.clone(dtype=HALF)
    outputs = jax.eval_shape(half.apply, values, x)
    assert outputs.dtype == HALF

    def loss(params, x):
        y = half.apply({**values, "params": params}, x)
        return jnp.square(y.astype(jnp.float32)).sum()

    # Of a TPU: the products on the CPU widen what convolutions are made of.
    lower = jax.export.export(jax.jit(jax.grad(loss)), platforms=["tpu"])
    text = lower(values["params"], x).mlir_module()
    products = re.findall(
        r"stablehlo\.(?:dot_general|convolution).*: \(tensor<\w+>, tensor<\w+>\)", text
    )
    assert products
    kinds = [re.findall(r"x(bf16|f32)>", line) for line in products]
    single = [kind for kind in kinds if kind != ["bf16", "bf16"]]
    if name == "spectral":  # the power iteration is in the parameters' own dtype
        assert single and len(single) < len(kinds)
    else:
        assert not single


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_are_those_of_float32(name):
    module, values, x = network_and_input(name)

    def run(dtype):
        def loss(params, inputs):
            shown = {**x, "values": inputs} if isinstance(x, dict) else inputs
            y, new = module.clone(dtype=dtype).apply(
                {**values, "params": params}, shown, train=True, mutable=["batch_stats"]
            )
            return jnp.sin(y.astype(jnp.float32)).sum(), new

        inputs = x["values"] if isinstance(x, dict) else x
        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(values["params"], inputs)

    whole, half = run(None), run(HALF)
    assert shapes(half) == shapes(whole)
    grads, statistics = jax.tree.map(np.asarray, half)
    # A few roundings to 8 bits, of 0.4% each, on the way to every gradient; a ReLU
    # close to zero or a difference of large numbers makes more of it.
    (params, inputs), expected = whole
    assert abs(np.linalg.norm(grads[1] - inputs)) < 0.1 * np.linalg.norm(inputs)
    joined = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
        for tree in (grads[0], params)
    ]
    close(joined[0], joined[1], 0.05)
    close(statistics, expected, 0.02)


LAYERS = {
    "conv": lambda **options: networks.Conv(8, **options),
    "conv_to_one": lambda **options: networks.Conv(1, **options),
    "conv_transpose": lambda **options: networks.ConvTranspose(4, stride=2, **options),
}


@pytest.mark.parametrize("name", LAYERS)
def test_convolutions_have_the_gradients_of_float32(name):
    x = jax.random.normal(jax.random.key(1), (8, 6, 6, 32))
    values = some_values(jax.eval_shape(LAYERS[name]().init, KEY, x))

    def run(dtype):
        def loss(values, x):
            y = LAYERS[name](dtype=dtype).apply(values, x)
            assert y.dtype == (dtype or jnp.float32)
            return jnp.sin(y.astype(jnp.float32)).sum()

        return jax.jit(jax.grad(loss, (0, 1)))(values, x)

    # Kernel, image, output and its gradient are rounded once each: by 2^-9 at most.
    close(run(HALF), run(None), 4 * 2**-9)


def test_gradients_of_parameters_are_summed_in_their_own_dtype():
    # In bfloat16 this sum of ones would end at 256.
    many = jnp.zeros((2**16, 2), HALF)
    gradient = jax.jit(jax.grad(lambda b: spread(b, many).astype(jnp.float32).sum()))
    np.testing.assert_array_equal(gradient(jnp.zeros(2)), 2.0**16)
    layer = networks.Conv(1, kernel_size=1, dtype=HALF)
    x = jnp.zeros((16, 64, 64, 1))
    values = some_values(jax.eval_shape(layer.init, KEY, x))
    gradient = jax.grad(lambda v: layer.apply(v, x).astype(jnp.float32).sum())
    grads = jax.jit(gradient)(values)
    np.testing.assert_array_equal(grads["params"]["bias"], 2.0**16)


@pytest.mark.parametrize("axes", [1, 2])
def test_dense_is_linens(axes):
    x = jnp.asarray(np.float32(np.random.default_rng(0).normal(size=(3, 4, 5))))
    ours = Dense((2, 3), axes=axes)
    linen = nn.DenseGeneral((2, 3), axis=tuple(range(-axes, 0)))
    values, expected = jax.jit(lambda key: (ours.init(key, x), linen.init(key, x)))(KEY)
    jax.tree.map(np.testing.assert_array_equal, values, expected)
    values = some_values(values)
    found, expected = (jax.jit(layer.apply)(values, x) for layer in (ours, linen))
    np.testing.assert_array_equal(found, expected)


def test_attention_is_linens():
    x = jnp.asarray(np.float32(np.random.default_rng(0).normal(size=(3, 4, 8))))
    valid = jnp.asarray([[True, True, False, True], [False] * 4, [True] * 4])
    ours = MultiHeadDotProductAttention(2)
    linen = nn.MultiHeadDotProductAttention(2)
    values, expected = jax.jit(
        lambda key: (ours.init(key, x, valid), linen.init(key, x))
    )(KEY)
    jax.tree.map(np.testing.assert_array_equal, values, expected)
    values = some_values(values)
    np.testing.assert_allclose(
        jax.jit(ours.apply)(values, x, valid),
        jax.jit(linen.apply)(values, x, mask=valid[:, None, None]),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["masked_autoencoder", "vae", "ladder_vae"])
def test_float32_is_the_same_program(name):
    recipe = recipe_of(name)
    assert compute_in(recipe, None).module == recipe.module
    state, data = abstract_state(recipe, TX), shapes(batch(recipe))

    def program(recipe):
        traced = jax.make_jaxpr(partial(batch_loss, recipe))(
            state.params, state.collections, data, KEY, jnp.zeros((), jnp.int32)
        )
        return re.sub(r"0x[0-9a-f]+", "", str(traced))

    plain = program(recipe)
    assert program(compute_in(recipe, jnp.float32)) == plain
    assert program(compute_in(recipe, HALF)) != plain


def test_widened():
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        assert widened(jnp.ones(3, dtype)).dtype == jnp.float32


class Plain(nn.Module):
    """A network without a compute dtype."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(4)(x.reshape(x.shape[0], -1))


def test_what_cannot_be_asked_for():
    recipe = recipe_of("autoencoder")
    message = "dtype must be one of bfloat16, float32, got 'float16'"
    for dtype in (jnp.float16, "float16"):
        with pytest.raises(ValueError, match=message):
            compute_in(recipe, dtype)
    model = recipe.module
    assert isinstance(model, AutoEncoder)
    custom = recipe.replace(module=model.clone(encoder=Plain()))
    with pytest.raises(ValueError, match=r"encoder must be a module with a field `dty"):
        compute_in(custom, HALF)
    with pytest.raises(ValueError, match="got none in AutoregressiveModel"):
        compute_in(sequence_recipe(4, 3), HALF)


def test_every_network_of_a_model_is_asked():
    conv = recipes.vae(
        (8, 8, 1), 2, network=networks.Convolutional((4,), batch_norm=True)
    )
    model = compute_in(conv, HALF).module
    assert isinstance(model, AutoEncoder)
    assert model.encoder.dtype == model.decoder.dtype == "bfloat16"
    ladder = compute_in(recipe_of("ladder_vae"), HALF).module
    assert isinstance(ladder, LadderVAE) and ladder.dtype == "bfloat16"


@pytest.fixture
def stops_at_nan():
    """As whoever looks for where a NaN comes from has it."""
    jax.config.update("jax_debug_nans", True)
    yield
    jax.config.update("jax_debug_nans", False)


@pytest.mark.parametrize("dtype", [np.float16, HALF])
def test_data_of_half_precision(dtype, stops_at_nan):
    """Train and are judged as the float32 of the same values."""
    x = np.random.default_rng(0).random((8, 4)).astype(dtype)
    recipe = recipes.vae((4,), 2, network=networks.FullyConnected((3,)))
    options = {"key": KEY, "epochs": 1, "batch_size": 4, "progress": False}
    found = []
    for data in (x, x.astype(np.float32)):
        model = jaxae.fit(recipe, data, **options).model
        found.append(jaxae.evaluation.evaluate(model, data, KEY, nll_samples=2))
    assert found[0] == found[1] and np.isfinite(found[0]["nll_nats"])
