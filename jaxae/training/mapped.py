"""Training under `jax.pmap`, for those who run it: one program for every device.

The step is the same; `axis_name` says that gradients, metrics and collections are
averaged over the devices. What jit with shardings computes of the global batch (batch
statistics, codebook updates, a critic's batch) every device computes here of its share.
"""

from __future__ import annotations  # help() shows names, not types

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int

from jaxae.errors import ensure, require
from jaxae.training.epoch import count_examples, make_epoch
from jaxae.training.loss import Metrics
from jaxae.training.parallel import DATA, Parallel, replicated
from jaxae.training.step import Step
from jaxae.types import Batch, TrainState

MakeStep = Callable[[Any], Step]
"""From the numbers of a recipe's scale to the step, see `jaxae.training.programs`."""


def check_mapped(
    parallel: Parallel, batch_size: int | None = None, examples: int | None = None
) -> None:
    """Raises ValueError for what pmap does not do."""
    hosts, count = jax.process_count(), parallel.mesh.size
    ensure(hosts == 1, f"parallel must use shardings on {hosts} hosts, not pmap")
    plain = parallel.layout is replicated and parallel.mesh.axis_names == (DATA,)
    ensure(plain, "parallel must have the layout `replicated`, on one axis, for pmap")
    fits = batch_size is None or batch_size % count == 0
    require(fits, "batch_size", batch_size, f"a multiple of the {count} devices")
    enough = examples is None or examples >= count
    require(enough, "data", examples, f"at least {count}, one for every device")


def mapped_epoch(make_step: MakeStep, batch_size: int, mesh: Mesh) -> Any:
    """The compiled pass over arrays (state, data, numbers); see `make_epoch`.

    Of a last, incomplete batch the rows that the devices do not divide are left out.
    """
    count = mesh.size

    def share(rows: Int[Array, " b"]) -> Int[Array, " r"]:
        each = rows.shape[0] // count
        own = jax.lax.axis_index(DATA) * each
        return jax.lax.dynamic_slice_in_dim(rows, own, each)

    def on_device(
        _: Array, state: TrainState, data: Batch, numbers: Any
    ) -> tuple[TrainState, Metrics]:
        return make_epoch(make_step(numbers), batch_size, share, DATA)(state, data)

    mapped = _pmap(on_device, mesh, in_axes=(0, None, None, None), out_axes=None)
    return jax.jit(lambda *arguments: mapped(jnp.arange(count), *arguments))


class MappedStep(NamedTuple):
    """For batches that come one by one.

    Attributes:
        spread: Copies the state to all devices.
        step: (state, batch, numbers) -> (state, metrics) deals out the rows of a global
            batch.
        collect: Takes one copy back.
    """

    spread: Callable[[TrainState], TrainState]
    step: Callable[[TrainState, Batch, Any], tuple[TrainState, Metrics]]
    collect: Callable[[TrainState], TrainState]


def mapped_step(make_step: MakeStep, mesh: Mesh) -> MappedStep:
    """The compiled step; its metrics are to be summed and given to `means`."""
    count = mesh.size

    def on_device(
        state: TrainState, batch: Batch, numbers: Any
    ) -> tuple[TrainState, Metrics]:
        return count_examples(make_step(numbers), DATA)(state, batch)

    mapped = _pmap(on_device, mesh, in_axes=(0, 0, None), donate_argnums=0)
    spread = _pmap(lambda _, state: state, mesh, in_axes=(0, None))

    def counted(
        state: TrainState, batch: Batch, numbers: Any
    ) -> tuple[TrainState, Metrics]:
        rows = batch["x"].shape[0]
        require(rows % count == 0, "data", rows, f"a multiple of {count} rows")
        dealt = {k: v.reshape(count, -1, *v.shape[1:]) for k, v in batch.items()}
        state, metrics = mapped(state, dealt, numbers)
        return state, jax.tree.map(lambda x: x[0], metrics)

    def collect(state: TrainState) -> TrainState:
        return jax.tree.map(lambda x: x[0], state)

    return MappedStep(lambda state: spread(jnp.arange(count), state), counted, collect)


def _pmap(function: Callable[..., Any], mesh: Mesh, **options: Any) -> Any:
    return jax.pmap(function, DATA, devices=list(mesh.devices.flat), **options)
