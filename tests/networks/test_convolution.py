"""The product form of the convolutions against XLA's own, and linen's layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jaxae.networks.convolution import Conv, ConvTranspose, conv, conv_transpose
from jaxae.networks.convolution import max_pool as pool

LAYOUT = ("NHWC", "HWIO", "NHWC")


def native_conv(x, kernel, stride=1):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT
    )


def native_conv_transpose(x, kernel, stride=1):
    return lax.conv_transpose(
        x, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT
    )


PAIRS = pytest.mark.parametrize(
    ("ours", "native"),
    [(conv, native_conv), (conv_transpose, native_conv_transpose)],
    ids=["conv", "conv_transpose"],
)


def normal(seed, shape, dtype=jnp.float32):
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return jax.device_put(values.astype(dtype))


def value_and_gradients(function, x, kernel, stride):
    """The output and both gradients of a loss that is not linear in it."""

    def loss(x, kernel):
        y = function(x, kernel, stride)
        return (y.astype(jnp.float32) ** 2).sum(), y

    (_, y), (dx, dk) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(
        x, kernel
    )
    return {"y": y, "dx": dx, "dkernel": dk}


def assert_same(pairs, x, kernel, stride, tolerance):
    """Of every pair, in one program: compiling is what takes the time here."""

    @jax.jit
    def results(x, kernel):
        return [
            [value_and_gradients(each, x, kernel, stride) for each in pair]
            for pair in pairs
        ]

    for found, expected in results(x, kernel):
        assert_close(found, expected, tolerance)


def assert_close(ours, native, tolerance):
    """Every array to within `tolerance` of its largest entry."""
    for name, expected in native.items():
        assert ours[name].dtype == expected.dtype
        expected = np.asarray(expected, np.float64)
        np.testing.assert_allclose(
            np.asarray(ours[name], np.float64),
            expected,
            rtol=0,
            atol=tolerance * np.abs(expected).max(),
            err_msg=name,
        )


# Batch, height, width, channels in and out, kernel's sides, stride: every form of
# `forms.py` for every one of the three, thin and wide.
SHAPES = [
    (2, 7, 6, 1, 8, (3, 3), 1),
    (2, 8, 8, 8, 3, (4, 4), 2),
    (2, 5, 9, 3, 8, (5, 2), 2),
    (3, 9, 8, 1, 32, (2, 2), 2),
    (2, 2, 2, 8, 32, (4, 4), 2),
    (8, 14, 14, 8, 32, (3, 3), 2),
    (8, 9, 10, 32, 1, (3, 3), 1),
    (8, 7, 7, 32, 1, (2, 4), 2),
    (3, 6, 5, 32, 1, (1, 2), 1),
    (2, 9, 8, 32, 40, (3, 3), 1),
    (2, 9, 9, 40, 32, (4, 4), 2),
    (2, 7, 7, 40, 64, (3, 3), 2),
    (4, 9, 9, 12, 8, (3, 3), 1),
    (16, 28, 27, 16, 64, (3, 3), 1),
    (2, 3, 1, 64, 72, (5, 5), 1),
    (8, 9, 10, 32, 2, (5, 3), 2),
    (2, 3, 3, 512, 512, (2, 2), 2),
    (2, 9, 8, 3, 32, (3, 3), 1),
    (2, 8, 9, 16, 64, (2, 2), 2),
    (3, 6, 5, 16, 12, (1, 1), 1),
    (3, 6, 5, 64, 1, (1, 1), 1),
    (3, 6, 5, 1, 8, (1, 1), 1),
    (2, 9, 9, 128, 4, (3, 3), 2),
    (2, 9, 10, 128, 4, (3, 3), 2),
    (2, 9, 9, 32, 3, (5, 5), 2),
]


@PAIRS
@pytest.mark.parametrize(("b", "h", "w", "c", "o", "kernel_shape", "stride"), SHAPES)
def test_values_and_gradients_are_native(
    ours, native, b, h, w, c, o, kernel_shape, stride
):
    x, kernel = normal(0, (b, h, w, c)), normal(1, (*kernel_shape, c, o))
    # 1e-5: sums of up to 12,000 terms in another order, at 6e-8 each.
    assert_same([(ours, native)], x, kernel, stride, 1e-5)


def padded(x, padding, interior=0):
    """XLA's CPU backend itself reads beyond images with negative padding."""
    rows, columns = ((*pads, interior) for pads in padding)
    return lax.pad(x, 0.0, ((0, 0, 0), rows, columns, (0, 0, 0)))


@pytest.mark.parametrize(
    ("c", "o", "stride"), [(8, 5, 1), (32, 2, 2), (2, 32, 2), (8, 5, 3)]
)
@pytest.mark.parametrize(
    "padding",
    [((1, 1), (1, 1)), ((0, 2), (-1, 3)), ((9, -7), (9, -6)), ((-2, 2), (-2, 2))],
)
def test_explicit_padding_is_native(c, o, padding, stride):
    x, kernel = normal(0, (2, 7, 6, c)), normal(1, (4, 3, c, o))

    def native(x, kernel, stride):
        return lax.conv_general_dilated(
            padded(x, padding), kernel, [stride] * 2, "VALID", dimension_numbers=LAYOUT
        )

    def native_transposed(x, kernel, stride):
        x = padded(x, padding, stride - 1)
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT
        )

    ours = (functools.partial(f, padding=padding) for f in (conv, conv_transpose))
    pairs = list(zip(ours, (native, native_transposed), strict=True))
    assert_same(pairs, x, kernel, stride, 1e-5)


@PAIRS
def test_strides_beyond_the_kernel(ours, native):
    cases = [
        (normal(0, (2, 7, 9, c)), normal(1, (side, 3, c, o)), stride)
        for stride in (3, 4)
        for side in (1, 2)
        for c, o in ((3, 5), (64, 4))
    ]
    # One program for all: compiling is what takes the time here.
    results, expected = (
        jax.jit(lambda f=f: [value_and_gradients(f, *case) for case in cases])()
        for f in (ours, native)
    )
    for ours_, native_ in zip(results, expected, strict=True):
        assert_close(ours_, native_, 1e-5)


@PAIRS
@pytest.mark.parametrize("o", [1, 8])
def test_bfloat16(ours, native, o):
    x = normal(0, (8, 7, 6, 32), jnp.bfloat16)
    kernel = normal(1, (3, 3, 32, o), jnp.bfloat16)
    # 8e-3: both results, and the loss's gradient on the way, are rounded to 8 bits
    # (4e-3 each); what is summed in between is float32.
    assert_same([(ours, native)], x, kernel, 2, 8e-3)


@PAIRS
@pytest.mark.parametrize("o", [1, 8])
def test_second_derivatives_and_forward_mode(ours, native, o):
    x, kernel = normal(0, (8, 6, 5, 8)), normal(1, (3, 2, 8, o))
    tangents = normal(2, x.shape), normal(3, kernel.shape)

    def derivatives(function):
        def loss(x, kernel):
            return jnp.tanh(0.1 * function(x, kernel, 2)).sum()

        gradient = jax.grad(loss, (0, 1))

        def slope(x, kernel):
            return sum(
                jnp.vdot(g, t)
                for g, t in zip(gradient(x, kernel), tangents, strict=True)
            )

        reverse = jax.grad(slope, (0, 1))(x, kernel)
        forward = jax.jvp(gradient, (x, kernel), tangents)[1]
        first = jax.jvp(loss, (x, kernel), tangents)[1]
        return dict(enumerate((*reverse, *forward, first)))

    ours_, native_ = (
        jax.jit(lambda: derivatives(ours))(),
        jax.jit(lambda: derivatives(native))(),
    )
    assert_close(ours_, native_, 2e-5)
    # The Hessian is symmetric: both modes must give the same product with it.
    assert_close({0: ours_[2], 1: ours_[3]}, {0: ours_[0], 1: ours_[1]}, 2e-5)


@PAIRS
def test_vmap_over_kernels(ours, native):
    x, kernels = normal(0, (2, 6, 6, 3)), normal(1, (4, 3, 3, 3, 5))
    result = jax.jit(jax.vmap(lambda kernel: ours(x, kernel, 2)))(kernels)
    expected = jax.jit(jax.vmap(lambda kernel: native(x, kernel, 2)))(kernels)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@PAIRS
def test_vmap_over_images_and_of_gradients(ours, native):
    x, kernel = normal(0, (3, 2, 6, 6, 3)), normal(1, (3, 3, 3, 5))

    def results(function):
        def gradients(x):
            return jax.grad(lambda *a: (function(*a, 2) ** 2).sum(), (0, 1))(x, kernel)

        return dict(enumerate(jax.jit(jax.vmap(gradients))(x)))

    assert_close(results(ours), results(native), 1e-5)


def test_it_can_be_debugged_without_jit():
    x, kernel = normal(0, (2, 6, 6, 3)), normal(1, (3, 3, 3, 5))
    with jax.disable_jit():
        y = conv(x, kernel)
    np.testing.assert_allclose(y, native_conv(x, kernel), rtol=1e-5, atol=1e-5)


@PAIRS
def test_gradients_through_a_vmap_over_kernels(ours, native):
    x, kernels = normal(0, (2, 7, 6, 3)), normal(1, (2, 3, 3, 3, 16))

    def gradients(layer):
        loss = lambda x, k: (jax.vmap(layer, (None, 0))(x, k) ** 2).sum()  # noqa: E731
        dx, dk = jax.jit(jax.grad(loss, (0, 1)))(x, kernels)
        return {"dx": dx, "dkernels": dk}

    assert_close(gradients(ours), gradients(native), 1e-5)


@PAIRS
def test_no_images_are_no_images(ours, native):
    x, kernel = jnp.zeros((0, 7, 6, 3)), normal(1, (3, 3, 3, 16))
    found, expected = (
        value_and_gradients(layer, x, kernel, 1) for layer in (ours, native)
    )
    assert found["y"].shape == expected["y"].shape
    np.testing.assert_array_equal(found["dkernel"], 0.0)


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_pool(window, dtype):
    # All entries differ, so that the maximum's gradient is unique.
    entries = np.random.default_rng(0).permutation(2 * 7 * 6 * 3) - 200
    # Exact in bfloat16: integers up to 256.
    x = entries.reshape(2, 7, 6, 3).astype(dtype)

    def native(x):
        return nn.max_pool(x, (window, window), (window, window), "SAME")

    @jax.jit
    def results(x):
        def each(function):
            loss = lambda x: (function(x).astype(jnp.float32) ** 2).sum()  # noqa: E731
            return function(x), jax.grad(loss)(x)

        return each(lambda x: pool(x, window)), each(native)

    jax.tree.map(np.testing.assert_array_equal, *results(x))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("side", [3, 4])
@pytest.mark.parametrize(
    ("ours", "linen"), [(Conv, nn.Conv), (ConvTranspose, nn.ConvTranspose)]
)
def test_layers_are_linens(ours, linen, side, use_bias):
    x, key = normal(0, (2, 7, 6, 3)), jax.random.key(1)
    ours = ours(5, side, stride=2, use_bias=use_bias)
    linen = linen(5, (side, side), strides=(2, 2), use_bias=use_bias)

    @jax.jit
    def results(key, x):
        params = ours.init(key, x)
        moved = jax.tree.map(lambda leaf: leaf, params)
        if use_bias:
            moved["params"]["bias"] = normal(2, (5,))
        both = ours.apply(moved, x), linen.apply(moved, x)
        return (params, linen.init(key, x)), both

    params, both = results(key, x)
    # Same names, shapes and, from the same key, values: linen's initialisers.
    jax.tree.map(np.testing.assert_array_equal, *params)
    np.testing.assert_allclose(*both, atol=1e-5)


@pytest.mark.parametrize("rank", [3, 5])
def test_bad_rank(rank):
    x = jnp.asarray(np.zeros((4,) * rank, np.float32))
    kernel = jnp.asarray(np.zeros((3, 3, 4, 8), np.float32))
    for call in (
        lambda: conv(x, kernel),
        lambda: conv_transpose(x, kernel),
        lambda: pool(x),
        lambda: Conv(8).init(jax.random.key(0), x),
        lambda: ConvTranspose(8).init(jax.random.key(0), x),
    ):
        with pytest.raises(ValueError, match=r"x must be \[batch, height, width, ch"):
            call()


def test_bad_kernel_stride_and_window():
    x = jnp.zeros((2, 4, 4, 3))
    with pytest.raises(ValueError, match=r"kernel must be .*width, 3, features"):
        conv(x, jnp.zeros((3, 3, 1, 8)))
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        conv_transpose(x, jnp.zeros((3, 3, 3, 8)), stride=0)
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        pool(x, window=0)
    kernel = jnp.zeros((3, 3, 3, 8))
    for padding in (((1, 1),), "VALID"):
        with pytest.raises(ValueError, match='padding must be "SAME" or'):
            conv(x, kernel, padding=padding)
    with pytest.raises(ValueError, match="padding must leave a result"):
        conv_transpose(x, kernel, padding=((0, -9), (0, 0)))
    with pytest.raises(ValueError, match="dtype of x and kernel must be one kind"):
        conv(x, kernel.astype(jnp.bfloat16))
