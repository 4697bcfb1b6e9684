"""`python -m train.benchmark.convolutions`: each convolution against XLA's own.

A sweep over what auto-encoders use: images from 1x1 to 32x32 with odd sides and even
ones, kernels of 1 to 5, strides 1 and 2, 1 to 1,024 channels; convolutions and
transposed ones, forward and both gradients; inside `lax.scan`, as in a training epoch,
or alone. Beside both forms stands a matrix product of as many operations.
"""

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxae.checks import check_count
from jaxae.errors import require
from jaxae.networks.convolution import conv, conv_transpose
from train.commands import parse
from train.program import program
from train.run import write_json

LAYOUT = ("NHWC", "HWIO", "NHWC")
# Sides of images, with the channels in and out that are met at this size.
SIZES: dict[tuple[int, ...], tuple[tuple[int, int], ...]] = {
    (32,): ((3, 32), (3, 64), (32, 32), (64, 3)),
    (28, 27): ((1, 32), (16, 16), (32, 32), (32, 1), (64, 64), (1, 128)),
    (14, 15): ((32, 64), (128, 64), (128, 256), (256, 1)),
    (7, 8): ((64, 64), (256, 512), (512, 256)),
    (4, 3): ((128, 128), (512, 1024), (1024, 512)),
    (2, 1): ((64, 128), (512, 1024)),
}
KERNELS = (1, 2, 3, 4, 5)
STRIDES = (1, 2)
Operation = Literal["forward", "images", "kernel"]


@dataclass(frozen=True)
class Arguments:
    """Times convolutions, transposed ones and their gradients against XLA's own."""

    every: int = 1
    """Only every so many-th shape of the sweep."""
    batch: int = 32
    """Images."""
    loop: bool = True
    """Inside a scan, as in training; else each call alone."""
    seconds: float = 0.1
    """For each timing, of which there are three."""
    least: float = 1e6
    """Floating-point operations below which a shape is left out."""
    out: Path | None = None
    """FILE.json for all figures."""


class Shape(NamedTuple):
    """What a layer is."""

    transposed: bool
    side: int
    c: int
    o: int
    kernel: int
    stride: int


class Row(NamedTuple):
    """Billions of operations a second; the product's are of a matrix product."""

    shape: Shape
    operation: Operation
    megaflops: float
    ours: float
    native: float
    product: float


def shapes() -> Iterator[Shape]:
    """The sweep: 80 layers for every kernel and stride.

    Every n-th of them is a fair part of it where n has no divisor in common with 80.
    """
    for kernel, stride in itertools.product(KERNELS, STRIDES):
        for sides, channels in SIZES.items():
            for (c, o), transposed in itertools.product(channels, (False, True)):
                for side in sides:
                    yield Shape(transposed, side, c, o, kernel, stride)


def main() -> None:
    """Times the sweep, prints a line for each and the lowest ratios."""
    arguments = parse(Arguments, "python -m train.benchmark.convolutions")
    # What is timed was compiled on this machine, for this processor.
    jax.config.update("jax_enable_compilation_cache", False)
    with program():
        sweep(arguments)


def sweep(arguments: Arguments) -> None:
    """Prints, and writes after every layer, what was measured so far.

    Raises:
        ArgumentError: A number is not positive, or leaves nothing to measure.
        OSError: The file cannot be written.
    """
    check_count("--every", arguments.every)
    check_count("--batch", arguments.batch)
    rows: list[Row] = []
    print(f"{'layer':<34}{'MFLOP':>8}{'ours':>8}{'XLA':>8}{'product':>9}  GFLOP/s")
    for shape in itertools.islice(shapes(), 0, None, arguments.every):
        for row in measure(shape, arguments):
            print(_line(row), flush=True)
            rows.append(row)
        if arguments.out is not None:
            table = [row._asdict() | {"shape": row.shape._asdict()} for row in rows]
            write_json(arguments.out, {"rows": table})
    require(rows, "--least", arguments.least, "at most the operations of some layer")
    ratios = sorted(rows, key=lambda row: row.ours / row.native)
    print("\nLeast in comparison with XLA's own:")
    for row in ratios[:10]:
        print(_line(row), f"{row.ours / row.native:6.2f}x")
    median = statistics.median(row.ours / row.native for row in rows)
    print(f"Median ratio {median:.2f} over {len(rows)} operations")


def measure(shape: Shape, arguments: Arguments) -> Iterator[Row]:
    """The forward pass and both gradients of one layer."""
    x, kernel, y = _arrays(shape, arguments.batch)
    pixels = min(x.size // shape.c, y.size // shape.o)
    flops = 2.0 * pixels * shape.kernel**2 * shape.c * shape.o
    if flops < arguments.least:
        return
    ours, native = (_operations(layer, x, kernel) for layer in layers(shape))
    inputs: dict[Operation, tuple[Array, Array]] = {
        "forward": (x, kernel),
        "images": (y, kernel),
        "kernel": (x, y),
    }
    # Of as many operations, and with as large a result.
    taps = shape.kernel**2 * pixels
    before, after = x.size // shape.c, y.size // shape.o
    forward, back = taps * shape.c // after, taps * shape.o // before
    matrices: dict[Operation, tuple[tuple[int, int], tuple[int, int]]] = {
        "forward": ((after, forward), (forward, shape.o)),
        "images": ((before, back), (back, shape.c)),
        "kernel": ((shape.kernel**2 * shape.c, pixels), (pixels, shape.o)),
    }

    def speed(function: Callable[..., Array], arrays: tuple[Array, ...]) -> float:
        seconds = time_call(function, arrays, arguments.seconds, arguments.loop)
        return flops / seconds / 1e9

    for name, arrays in inputs.items():
        pair = tuple(jnp.full(sides, 0.1) for sides in matrices[name])
        yield Row(
            shape,
            name,
            flops / 1e6,
            speed(ours[name], arrays),
            speed(native[name], arrays),
            speed(jnp.matmul, pair),
        )


def _arrays(shape: Shape, batch: int) -> tuple[Array, Array, Array]:
    """Images, a kernel and a gradient for the result."""
    ours, _ = layers(shape)
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, shape.side, shape.side, shape.c))
    sides = (shape.kernel, shape.kernel, shape.c, shape.o)
    kernel = jax.random.normal(keys[1], sides)
    return x, kernel, jax.random.normal(keys[2], jax.eval_shape(ours, x, kernel).shape)


def layers(shape: Shape) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """Ours, and XLA's own."""
    own, xla = conv, lax.conv_general_dilated
    if shape.transposed:
        own, xla = conv_transpose, lax.conv_transpose
    stride = (shape.stride, shape.stride)

    def native(x: Array, kernel: Array) -> Array:
        return xla(x, kernel, stride, "SAME", dimension_numbers=LAYOUT)

    return functools.partial(own, stride=shape.stride), native


def _operations(
    layer: Callable[..., Array], x: Array, kernel: Array
) -> dict[Operation, Callable[..., Array]]:
    def images(y: Array, kernel: Array) -> Array:
        return jax.linear_transpose(lambda x: layer(x, kernel), x)(y)[0]

    def weights(x: Array, y: Array) -> Array:
        return jax.linear_transpose(lambda kernel: layer(x, kernel), kernel)(y)[0]

    return {"forward": layer, "images": images, "kernel": weights}


def time_call(
    function: Callable[..., Array],
    arrays: tuple[Array, ...],
    seconds: float,
    loop: bool,
) -> float:
    """Seconds of one call: the least of three means."""
    if not loop:
        return _least(jax.jit(function).lower(*arrays).compile(), arrays, seconds)

    def run(arrays: tuple[Array, ...], steps: Array) -> Array:
        def body(step: Array, _: Array) -> Array:
            # The barrier makes them depend on the step, or XLA would call but once.
            return function(*lax.optimization_barrier((arrays, step))[0])

        result = jax.eval_shape(function, *arrays)
        return lax.fori_loop(0, steps, body, jnp.zeros(result.shape, result.dtype))

    compiled = jax.jit(run).lower(arrays, jnp.int32(0)).compile()
    once = _least(compiled, (arrays, jnp.int32(1)), 0.0)
    steps = min(2000, int(seconds / once))
    if steps < 2:
        return once
    return _least(compiled, (arrays, jnp.int32(steps)), 0.0) / steps


def _least(
    function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float
) -> float:
    """The least mean of a call over three times `seconds`; a long call counts once."""
    means = []
    for _ in range(3):
        start, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - start < seconds:
            jax.block_until_ready(function(*arguments))
            calls += 1
        means.append((time.perf_counter() - start) / calls)
        if means[0] > 0.5:
            break
    return min(means)


def _line(row: Row) -> str:
    shape = row.shape
    kind = "transposed" if shape.transposed else "conv"
    name = f"{kind} {shape.side:>2} {shape.c}>{shape.o} k{shape.kernel} s{shape.stride}"
    speeds = f"{row.ours:8.1f}{row.native:8.1f}{row.product:9.1f}"
    return f"{name:<26}{row.operation:<8}{row.megaflops:8.1f}{speeds}"


if __name__ == "__main__":
    main()
