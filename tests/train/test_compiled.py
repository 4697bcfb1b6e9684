"""What a compiled program moves, keeps and computes, where all of it is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxae.errors import ArgumentError
from jaxae.training.parallel import DATA, make_mesh
from train.scaling.compiled import (
    Collective,
    collectives,
    flops,
    memory,
    read_collectives,
)

N = 8
ROWS, WHOLE = PartitionSpec(DATA), PartitionSpec()


@pytest.fixture(scope="module")
def mesh():
    return make_mesh({DATA: N}, jax.devices()[:N])


def compile_mapped(mesh, function, *shapes, dtype=jnp.float32, out=ROWS):
    """A function of every device's share of arrays with these global shapes."""
    mapped = jax.shard_map(
        function, mesh=mesh, in_specs=ROWS, out_specs=out, check_vma=False
    )
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return jax.jit(mapped).lower(*arrays).compile()


def test_gradient_of_a_divided_batch_is_all_reduced_once(mesh):
    """The parameters' bytes, by shardings alone."""
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    w = jax.ShapeDtypeStruct((5, 3), jnp.float32, sharding=whole)
    x = jax.ShapeDtypeStruct((16, 5), jnp.float32, sharding=rows)
    gradient = jax.jit(jax.grad(lambda w, x: jnp.square(x @ w).sum()))
    program = gradient.lower(w, x).compile()
    assert collectives(program) == {"all-reduce": Collective(1, 5 * 3 * 4)}


def test_one_device_has_nothing_to_move():
    program = jax.jit(lambda x: x.sum()).lower(jnp.ones((16, 5))).compile()
    assert collectives(program) == {}


@pytest.mark.parametrize(
    ("kind", "function", "moved"),
    [
        ("all-reduce", lambda x: jax.lax.psum(x, DATA), 2 * 6 * 4),
        (
            "all-gather",
            lambda x: jax.lax.all_gather(x, DATA, tiled=True).sum(0, keepdims=True),
            N * 2 * 6 * 4,
        ),
        (
            "reduce-scatter",
            lambda x: jax.lax.psum_scatter(
                jnp.tile(x, (N, 1)) * jnp.arange(16.0)[:, None], DATA, tiled=True
            ),
            N * 2 * 6 * 4,
        ),
        (
            "collective-permute",
            lambda x: jax.lax.ppermute(x, DATA, [(i, (i + 1) % N) for i in range(N)]),
            2 * 6 * 4,
        ),
        (
            "all-to-all",
            lambda x: jax.lax.all_to_all(
                jnp.tile(x, (N, 1)) * jnp.arange(16.0)[:, None], DATA, 0, 0, tiled=True
            ),
            N * 2 * 6 * 4,
        ),
    ],
)
def test_bytes_of_every_kind(mesh, kind, function, moved):
    program = compile_mapped(mesh, function, (N * 2, 6))
    assert collectives(program) == {kind: Collective(1, moved)}


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.float64])
def test_bytes_follow_the_type(mesh, dtype):
    with jax.enable_x64(True):
        gather = partial(jax.lax.all_gather, axis_name=DATA, tiled=True)
        program = compile_mapped(mesh, gather, (N, 3), dtype=dtype, out=WHOLE)
    moved = N * 3 * jnp.dtype(dtype).itemsize
    assert collectives(program) == {"all-gather": Collective(1, moved)}


def test_arrays_that_travel_together_are_one(mesh, optimized):
    def both(x, y):
        return jax.lax.psum((x, y), DATA)

    program = compile_mapped(mesh, both, (N, 5), (N, 7), out=WHOLE)
    assert collectives(program) == {"all-reduce": Collective(1, (5 + 7) * 4)}


def test_body_of_a_loop_counts_as_often_as_it_runs(mesh):
    def scanned(x):
        def body(carry, _):
            shifted = jax.lax.ppermute(carry, DATA, [(0, 1), (1, 0)])
            return jnp.sin(shifted) + jax.lax.psum(carry, DATA), None

        def outer(carry, _):
            return jax.lax.scan(body, carry, None, length=3)[0], None

        return jax.lax.scan(outer, x, None, length=5)[0]

    found = collectives(compile_mapped(mesh, scanned, (N, 6)))
    assert found == {
        "all-reduce": Collective(15, 15 * 6 * 4),
        "collective-permute": Collective(15, 15 * 6 * 4),
    }


def test_loop_of_unknown_length(mesh):
    def until_large(x):
        return jax.lax.while_loop(
            lambda y: y.sum() < 100.0, lambda y: y + jax.lax.psum(y, DATA), x
        )

    program = compile_mapped(mesh, until_large, (N, 6))
    with pytest.raises(ArgumentError, match="depends on the data"):
        collectives(program)
    assert collectives(program, unknown_trips=1) == {"all-reduce": Collective(1, 24)}
    assert collectives(program, unknown_trips=4) == {"all-reduce": Collective(4, 96)}


def test_costlier_branch_of_a_condition(mesh):
    def either(x):
        return jax.lax.cond(
            x[0, 0] > 0,
            lambda x: jax.lax.psum(x, DATA),
            lambda x: jax.lax.psum(x[:, :2], DATA).sum() * x,
            x,
        )

    found = collectives(compile_mapped(mesh, either, (N, 6)))
    assert found == {"all-reduce": Collective(1, 6 * 4)}


def test_started_and_done_is_once():
    """The forms in which accelerators write them, with tiled and packed layouts."""
    text = """HloModule step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%wrapped (p: bf16[16,8]) -> bf16[2,8] {
  %p = bf16[16,8]{1,0} parameter(0)
  ROOT %rs = bf16[2,8]{1,0} reduce-scatter(%p), dimensions={0}, to_apply=%add
}

ENTRY %main (w: f32[4,3], v: bf16[16,8], s: s4[64]) -> f32[4,3] {
  %w = f32[4,3]{1,0:T(8,128)} parameter(0), metadata={op_name="all-reduce(w)"}
  %v = bf16[16,8]{1,0:T(8,128)(2,1)} parameter(1)
  %s = s4[64]{0:T(1024)E(4)} parameter(2)
  %m = pred[5]{0} parameter(3)
  %ar = f32[4,3]{1,0:T(8,128)} all-reduce-start(%w), to_apply=%add
  %ard = f32[4,3]{1,0:T(8,128)} all-reduce-done(%ar)
  %ag = (bf16[16,8]{1,0}, bf16[128,8]{1,0:T(8,128)(2,1)}) all-gather-start(%v)
  %agd = bf16[128,8]{1,0} all-gather-done(%ag)
  %many = ((f32[4,3]{1,0}, pred[5]{0}), (f32[8,3]{1,0}, pred[10]{0})) \
all-gather-start(%w, /*index=1*/%m), dimensions={0}
  %cp = (s4[64]{0:E(4)}, s4[64]{0:E(4)}, u32[], u32[]) collective-permute-start(%s)
  %cpd = s4[64]{0:E(4)} collective-permute-done(%cp)
  %as = ((bf16[16,8]{1,0}), bf16[2,8]{1,0}, u32[]) async-start(%v), calls=%wrapped
  %au = ((bf16[16,8]{1,0}), bf16[2,8]{1,0}, u32[]) async-update(%as), calls=%wrapped
  %ad = bf16[2,8]{1,0} async-done(%au), calls=%wrapped
  ROOT %aa = f32[4,3]{1,0} all-to-all(f32[4,3]{1,0} %ard), dimensions={0}
}
"""
    assert read_collectives(text) == {
        "all-reduce": Collective(1, 4 * 3 * 4),
        "all-gather": Collective(2, 128 * 8 * 2 + 8 * 3 * 4 + 10),
        "reduce-scatter": Collective(1, 16 * 8 * 2),
        "all-to-all": Collective(1, 4 * 3 * 4),
        "collective-permute": Collective(1, 64 // 2),
    }


@pytest.mark.parametrize(
    ("array", "size"),
    [
        ("f8e4m3fn[3]{0}", 3),
        ("f4e2m1fn[7]{0:E(4)}", 4),
        ("u2[7]{0}", 7),
        ("c64[3,2]{1,0}", 48),
        ("f32[]", 4),
        ("s64[<=5]{0}", 40),
        ("token[]", 0),
    ],
)
def test_sizes_of_types(array, size):
    text = (
        f"ENTRY %main (x: f32[]) -> f32[] {{\n  %y = {array} all-reduce({array} %x)\n"
    )
    assert read_collectives(text) == {"all-reduce": Collective(1, size)}


@pytest.mark.parametrize(
    "text", ["", "ENTRY %m (x: f32[]) -> f32[] {\n %y = (f32[] all-reduce(%x)"]
)
def test_what_is_no_program(text):
    with pytest.raises(ArgumentError, match="program of XLA"):
        read_collectives(text)


def test_memory_is_of_one_device(mesh):
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    w = jax.ShapeDtypeStruct((100, 10), jnp.float32, sharding=whole)
    x = jax.ShapeDtypeStruct((64, 100), jnp.float32, sharding=rows)

    def step(w, x):
        return w - (x.T @ jnp.tanh(x @ w)), (x @ w).sum(axis=1)

    kept = memory(jax.jit(step).lower(w, x).compile())
    donated = memory(jax.jit(step, donate_argnums=0).lower(w, x).compile())
    bytes_w, bytes_x = 4000, 64 // N * 100 * 4
    for found in (kept, donated):
        assert found.arguments == bytes_w + bytes_x
        assert found.temporaries >= 64 // N * 10 * 4
        # Two outputs, and the table of a tuple on the CPU.
        assert bytes_w + 64 // N * 4 <= found.outputs <= bytes_w + 64 // N * 4 + 64
    assert (kept.aliased, donated.aliased) == (0, bytes_w)
    assert kept.peak == kept.arguments + kept.outputs + kept.temporaries
    assert donated.peak == (
        donated.arguments + donated.outputs + donated.temporaries - bytes_w
    )


def test_flops_are_of_one_device(mesh):
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    w = jax.ShapeDtypeStruct((100, 10), jnp.float32, sharding=whole)
    x = jax.ShapeDtypeStruct((64, 100), jnp.float32, sharding=rows)
    program = jax.jit(jnp.matmul).lower(x, w).compile()
    np.testing.assert_allclose(flops(program), 2 * (64 // N) * 100 * 10, rtol=0.01)


def test_flops_count_the_body_of_a_loop_once():
    """As the documentation says of it."""
    a = jnp.ones((64, 64))

    def power(a):
        return jax.lax.scan(lambda c, _: (c @ a, None), a, None, length=7)[0]

    program = jax.jit(power).lower(a).compile()
    np.testing.assert_allclose(flops(program), 2 * 64**3, rtol=0.01)
