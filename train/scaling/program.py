"""The compiled step for some devices and a batch, and what is known without a run."""

import time
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.errors import ArgumentError
from jaxae.training import TrainState, make_train_step
from jaxae.training.parallel import (
    DATA,
    Layout,
    compile_step,
    fsdp,
    gather,
    make_mesh,
    replicated,
    shardings,
)
from jaxae.training.placement import place, place_batch
from jaxae.types import Batch
from train.scaling.compiled import Collective, Memory, collectives, flops, memory
from train.scaling.study import Point, Study

LAYOUTS: dict[str, Layout] = {"data": replicated, "fsdp": fsdp}


class Cost(NamedTuple):
    """What is known of a program without running it, for one device and step.

    Attributes:
        compile_seconds: To compile it, tracing included.
        memory: In bytes.
        flops: As XLA counts them.
        collectives: By kind.
        open_loops: Whether there is a loop with collectives whose length depends on
            the data; it is counted as if it ran once.
    """

    compile_seconds: float
    memory: Memory
    flops: float
    collectives: dict[str, Collective]
    open_loops: bool


class Program(NamedTuple):
    """A step that is compiled for a mesh and a batch."""

    mesh: Mesh
    layout: Layout
    batch_size: int
    compiled: jax.stages.Compiled
    cost: Cost

    def inputs(self, study: Study) -> tuple[TrainState, Batch]:
        """A fresh state and a batch, where the program wants them."""
        batch = study.batch(self.batch_size)
        state = place(study.init(), self.mesh, self.layout)
        return state, place_batch(batch, self.mesh)


def compile_point(study: Study, point: Point) -> Program:
    """Compiles the step for the first devices of this process; runs nothing."""
    print(f"{point.mode}: compiling for {point.devices}", flush=True)
    layout = LAYOUTS[study.arguments.parallel]
    mesh = make_mesh({DATA: point.devices}, jax.local_devices()[: point.devices])
    step = make_train_step(
        study.recipe,
        study.tx,
        accumulate=study.arguments.accumulate,
        remat=study.arguments.remat,
        gather=gather(mesh, layout),
    )
    state = study.shapes()
    where = shardings(state, mesh, layout)
    rows = NamedSharding(mesh, PartitionSpec(DATA))
    batch = {
        name: _shape((point.batch_size, *values.shape[1:]), values.dtype, rows)
        for name, values in study.batch(1).items()
    }
    state = jax.tree.map(lambda x, s: _shape(x.shape, x.dtype, s), state, where)
    start = time.perf_counter()
    compiled = compile_step(step, mesh, layout).lower(state, batch).compile()
    seconds = time.perf_counter() - start
    cost = _cost(compiled, seconds)
    # XLA counts the body of a loop once. This one has all but the update, which is so
    # counted too often: with few images and many parts the estimate is too high.
    cost = cost._replace(flops=cost.flops * study.arguments.accumulate)
    return Program(mesh, layout, point.batch_size, compiled, cost)


def _shape(
    shape: tuple[int, ...], dtype: Any, sharding: NamedSharding
) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _cost(compiled: jax.stages.Compiled, seconds: float) -> Cost:
    try:
        moved, open_loops = collectives(compiled), False
    except ArgumentError:
        moved, open_loops = collectives(compiled, unknown_trips=1), True
    return Cost(seconds, memory(compiled), flops(compiled), moved, open_loops)
