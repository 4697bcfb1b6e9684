"""What convolutions are compiled into: loops, devices, platforms, exports."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jaxae.networks.convolution import conv, conv_transpose
from jaxae.networks.convolution import max_pool as pool
from tests.networks.test_convolution import (
    PAIRS,
    assert_close,
    native_conv,
    native_conv_transpose,
    normal,
    value_and_gradients,
)


# A batch of 23 is no whole number of chunks; 128 channels go tap by tap.
@PAIRS
@pytest.mark.parametrize(
    ("batch", "side", "c", "o", "stride"),
    [
        (16, 28, 32, 32, 1),
        (23, 28, 32, 32, 1),
        (23, 28, 32, 32, 2),
        (16, 14, 128, 136, 1),
        (23, 28, 4, 32, 1),
        (23, 56, 4, 32, 2),
    ],
)
def test_the_kernels_gradient_in_chunks_of_the_batch(
    ours, native, batch, side, c, o, stride
):
    x, kernel = normal(0, (batch, side, side, c)), normal(1, (3, 3, c, o))

    def loss(layer):
        return lambda kernel: (layer(x, kernel, stride) ** 2).sum()

    found, expected = (
        jax.jit(jax.grad(loss(layer)))(kernel) for layer in (ours, native)
    )
    assert_close({"dkernel": found}, {"dkernel": expected}, 2e-5)


def loops(function, *arrays):
    return "while" in jax.jit(function).lower(*arrays).as_text()


def test_few_copies_are_made_at_once_unless_there_are_those_of_phases():
    def gradient(x, kernel, stride):
        value = lambda kernel: (conv(x, kernel, stride) ** 2).sum()  # noqa: E731
        return jax.grad(value)(kernel)

    kernel = jnp.zeros((3, 3, 4, 32))
    images, large_images = (jnp.zeros((23, side, side, 4)) for side in (28, 56))
    assert not loops(functools.partial(gradient, stride=1), images, kernel)
    assert loops(functools.partial(gradient, stride=2), large_images, kernel)


@pytest.mark.parametrize("batch", [23, 24])
def test_a_transposed_convolution_by_some_examples_after_the_others(batch):
    x, kernel = normal(0, (batch, 28, 28, 32)), normal(1, (4, 4, 32, 32))
    double = functools.partial(conv_transpose, stride=2)
    native = jax.jit(functools.partial(native_conv_transpose, stride=2))(x, kernel)
    assert_close({"y": jax.jit(double)(x, kernel)}, {"y": native}, 1e-5)
    assert loops(double, x, kernel) and not loops(double, x[:2], kernel)


@pytest.mark.parametrize("layer", [conv, conv_transpose])
def test_devices_that_divide_the_batch_send_no_images(layer):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    data, whole = (
        jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
        for axes in (("data",), ())
    )

    def step(x, kernel):  # both ways through loops over chunks of the batch
        value = lambda kernel: (layer(x, kernel, 2) ** 2).sum()  # noqa: E731
        return jax.grad(value)(kernel)

    arrays = jnp.zeros((64, 28, 28, 32)), jnp.zeros((4, 4, 32, 32))
    compiled = jax.jit(step, in_shardings=(data, whole), out_shardings=whole)
    text = compiled.lower(*arrays).compile().as_text()
    assert " while(" in text and "all-reduce" in text
    assert "all-gather" not in text and "all-to-all" not in text


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize(("c", "o"), [(8, 8), (64, 64), (64, 8)])
def test_no_work_on_padding_where_the_image_is_as_small_as_the_kernel(c, o):
    x, kernel = jnp.zeros((16, 7, 7, c)), jnp.zeros((7, 7, c, o))
    whole = functools.partial(conv, padding=((0, 0), (0, 0)))
    gradient = jax.jit(jax.grad(lambda k, x: (whole(x, k) ** 2).sum()))
    flops = gradient.lower(kernel, x).compile().cost_analysis()["flops"]
    # The convolution and its gradient for the kernel: two for every multiply-add.
    assert flops < 1.5 * 2 * (2 * 16 * 7 * 7 * c * o)


@pytest.mark.parametrize(
    ("images", "sides"),
    # The second takes chunks of its batch in a loop.
    [((4, 6, 6, 3), (3, 3, 3, 5)), ((24, 28, 28, 32), (3, 3, 32, 32))],
)
def test_shard_map_checks_what_varies(images, sides):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, kernel = normal(0, images), normal(1, sides)
    data, whole = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(data, whole), out_specs=whole)
    def gradient(x, kernel):
        loss = lambda kernel: (conv(x, kernel) ** 2).sum()  # noqa: E731
        # Of a kernel that all devices share: JAX adds up what each of them finds.
        return jax.grad(loss)(kernel)

    expected = jax.grad(lambda k: (native_conv(x, k) ** 2).sum())(kernel)
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(gradient(x, kernel), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_shard_map_sums_gradients_once(platform):
    """Those of the images not at all, those of a kernel that all share over devices."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    data, whole = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(data, whole), out_specs=(data, whole))
    def gradients(x, kernel):
        return jax.grad(lambda x, k: (conv(x, k) ** 2).sum(), (0, 1))(x, kernel)

    arrays = normal(0, (4, 6, 6, 3)), normal(1, (3, 3, 3, 5))
    program = jax.export.export(gradients, platforms=[platform])(*arrays)
    assert program.mlir_module().count("all_reduce") == 1


def scanned_gradient(layer, x, kernel):
    """Compiled program of SGD steps through `layer`, one per entry of x."""

    def step(kernel, x):
        dk, dx = jax.grad(lambda k, x: (layer(x, k) ** 2).sum(), (0, 1))(kernel, x)
        return kernel - 1e-3 * dk, dx

    return jax.jit(lambda k, xs: lax.scan(step, k, xs)).lower(kernel, x).compile()


def slow_convolutions(program):
    """The convolution instructions of a compiled program that the CPU is slow at."""
    lines = [line for line in program.as_text().splitlines() if " convolution(" in line]
    marks = ("lhs_dilate", "rhs_dilate", "rhs_reversal", "lhs_reversal")
    return [
        line
        for line in lines
        if "dim_labels=b01f_01io->b01f" not in line or any(m in line for m in marks)
    ]


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("o", [1, 8, 16])
def test_only_fast_convolutions_in_a_scanned_step_on_the_cpu(o):
    x, kernel = normal(0, (3, 8, 6, 6, 8)), normal(1, (3, 2, 8, o))
    for ours, stride in ((conv, 1), (conv, 2), (conv_transpose, 2)):
        program = scanned_gradient(lambda x, k, f=ours, s=stride: f(x, k, s), x, kernel)
        assert not slow_convolutions(program)
    # The marks searched for are those of a program that has some.
    assert slow_convolutions(scanned_gradient(native_conv, x, kernel))


@pytest.mark.usefixtures("optimized")
def test_no_select_and_scatter_in_scanned_pooling():
    x, scale = normal(0, (3, 2, 7, 7, 4)), jnp.ones((1, 1, 1, 4))
    text = scanned_gradient(lambda x, k: pool(x * k), x, scale).as_text()
    assert "select-and-scatter" not in text and "reduce-window" not in text
    native = scanned_gradient(
        lambda x, k: nn.max_pool(x * k, (2, 2), (2, 2), "SAME"), x, scale
    ).as_text()
    assert "select-and-scatter" in native or "reduce-window" in native


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("ours", [conv, conv_transpose])
def test_accelerators_keep_the_native_instruction(ours, platform):
    x, kernel = normal(0, (8, 7, 7, 32)), normal(1, (3, 3, 32, 1))

    def gradient(x, kernel):
        return jax.grad(lambda x, k: (ours(x, k, 2) ** 2).sum(), (0, 1))(x, kernel)

    text = jax.export.export(jax.jit(gradient), platforms=[platform])(
        x, kernel
    ).mlir_module()
    # Forward and both gradients, and none of the product form.
    assert text.count("stablehlo.convolution") == 3
    assert "stablehlo.dot_general" not in text


@PAIRS
@pytest.mark.parametrize(("c", "o"), [(3, 5), (32, 2)])
def test_export_with_symbolic_batch(ours, native, c, o):
    (b,) = jax.export.symbolic_shape("b")
    spec = jax.ShapeDtypeStruct((b, 7, 6, c), jnp.float32)
    kernel = normal(0, (3, 3, c, o))

    def results(layer):
        return jax.jit(lambda x: value_and_gradients(layer, x, kernel, 2))

    platforms = ["cpu", "cuda", "tpu"]
    exported = jax.export.export(results(ours), platforms=platforms)(spec)
    x = normal(1, (4, 7, 6, c))
    assert_close(exported.call(x), results(native)(x), 1e-5)
