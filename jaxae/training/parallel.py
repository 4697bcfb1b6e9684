"""The same step on one device or many: meshes, layouts and the one way to compile.

Under `jit` with shardings a step means the same on any number of devices: the batch is
the global one, and so are its noise and its statistics. Only where the arrays lie, and
so what travels between devices, depends on the layout.
"""

from __future__ import annotations  # help() shows names, not types

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxae.errors import ArgumentError, require
from jaxae.types import Batch, Params

DATA = "data"
"""The axis of a mesh over which the examples of a batch are divided."""

Layout = Callable[[str, tuple[int, ...], Mesh], PartitionSpec]
"""(path, shape, mesh) -> how an array of a train state is divided.

The path is as "params.model.encoder.Dense_0.kernel"; the moments of an optimizer have
paths that end likewise, so that one regular expression finds all three.
"""


class Parallel(NamedTuple):
    """How a training uses its devices.

    Attributes:
        mesh: As from `make_mesh`.
        layout: Where the arrays of the state lie: `replicated`, `fsdp`, `by_path`.
        pmap: With `jax.pmap` instead of shardings: every device has noise and batch
            statistics of its share alone; statistics are then averaged, and of
            codebooks those of the first device count. For one host, and `replicated`.

    Example:
        >>> import jax, jaxae
        >>> from jaxae.training.parallel import fsdp, make_mesh
        >>> mesh = make_mesh(devices=jax.devices()[:1])
        >>> parallel = jaxae.Parallel(mesh, layout=fsdp)  # for `fit`
        >>> dict(parallel.mesh.shape)
        {'data': 1}
    """

    mesh: Mesh
    layout: Layout
    pmap: bool = False


LEAST_SHARDED = 1024
"""Arrays with fewer values are not worth a transfer of their own, so `fsdp` keeps a
copy of them on every device."""


def make_mesh(
    axes: Mapping[str, int] | None = None, devices: Sequence[Any] | None = None
) -> Mesh:
    """A mesh of devices with named axes.

    Args:
        axes: Sizes by name, outermost first; one of them may be -1, for what is left.
            `DATA` must be one of them. None for all devices along `DATA`.
        devices: None for all, those of other hosts too.

    Raises:
        ValueError: The sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    axes = {DATA: -1} if axes is None else dict(axes)
    require(DATA in axes, "axes", axes, f"with a {DATA!r}")
    free = [name for name, size in axes.items() if size == -1]
    known = math.prod(size for size in axes.values() if size != -1)
    if len(free) == 1 and known > 0 and len(devices) % known == 0:
        axes[free[0]] = len(devices) // known
    right = all(n > 0 for n in axes.values())
    right = right and math.prod(axes.values()) == len(devices)
    require(right, "axes", axes, f"sizes with the product {len(devices)}, the devices")
    sizes, names = tuple(axes.values()), tuple(axes)
    auto = (AxisType.Auto,) * len(sizes)
    if devices == jax.devices():  # in the order that suits their connections
        return jax.make_mesh(sizes, names, axis_types=auto)
    return Mesh(np.array(devices).reshape(sizes), names, axis_types=auto)


def default_mesh() -> Mesh:
    """All devices along `DATA`; or the one that `jax.default_device` names."""
    # jax.config declares its values when it is made.
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is None:
        return make_mesh()
    device = jax.devices(chosen)[0] if isinstance(chosen, str) else chosen
    return make_mesh(devices=[device])


def replicated(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Data parallel: every device has a copy, and gradients are summed."""
    del path, shape, mesh
    return PartitionSpec()


def fsdp(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Fully sharded data parallel (Rajbhandari et al. 2020, stage 3).

    Parameters and optimizer state are divided along the largest axis that the number of
    devices divides; parameters are gathered when they are used. Arrays of less than
    `LEAST_SHARDED` values, or without such an axis, are replicated, and so are the
    collections, such as codebooks, which a step uses in several places.
    """
    if path.startswith("collections."):
        return PartitionSpec()
    count = mesh.shape[DATA]
    fitting = [axis for axis, size in enumerate(shape) if size % count == 0]
    if math.prod(shape) < LEAST_SHARDED or not fitting:
        return PartitionSpec()
    largest = max(fitting, key=lambda axis: shape[axis])
    return PartitionSpec(*[None] * largest, DATA)


def by_path(
    table: Sequence[tuple[str, PartitionSpec]], otherwise: Layout | None = None
) -> Layout:
    """The first regular expression that is found in the path decides.

    Where there is none, `otherwise` does: `replicated`, unless given.

    For tensor parallelism in a wide layer, on a mesh with an axis "model":
    `by_path([(r"encoder.*Dense_0.kernel", PartitionSpec(None, "model"))])`.

    Raises:
        ValueError: A regular expression is malformed. The layout raises it where a
            specification does not fit the array or the mesh.
    """
    compiled = []
    for pattern, spec in table:
        try:
            compiled.append((re.compile(pattern), spec))
        except re.error as error:
            raise ArgumentError(f"table: {pattern!r} is malformed: {error}") from error

    def layout(path: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
        for pattern, spec in compiled:
            if pattern.search(path):
                _check_spec(spec, path, shape, mesh)
                return spec
        return (otherwise or replicated)(path, shape, mesh)

    return layout


def _check_spec(
    spec: PartitionSpec, path: str, shape: tuple[int, ...], mesh: Mesh
) -> None:
    expected = f"a partition of {path} {shape} over {dict(mesh.shape)}"
    right, used = len(spec) <= len(shape), []
    for size, names in zip(shape, spec, strict=False):
        names = names if isinstance(names, tuple) else (names,) if names else ()
        right = right and set(names) <= set(mesh.shape)
        right = right and size % math.prod(mesh.shape.get(n, 1) for n in names) == 0
        used.extend(names)
    right = right and len(set(used)) == len(used)
    require(right, "table", spec, expected)


def shardings(tree: Any, mesh: Mesh, layout: Layout | None = None) -> Any:
    """The `NamedSharding` of every array in a tree, such as a train state.

    By default all are `replicated`.
    """
    chosen = layout or replicated

    def of(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return NamedSharding(mesh, chosen(name, tuple(leaf.shape), mesh))

    return jax.tree_util.tree_map_with_path(of, tree)


def compile_step(
    step: Callable[[Any, Batch], tuple[Any, Any]],
    mesh: Mesh,
    layout: Layout | None = None,
) -> Any:
    """Compiles (state, batch) -> (state, metrics) for a mesh; the state is donated.

    With a layout over `DATA`, as `fsdp`, make the step with
    `make_train_step(..., gather=gather(mesh, layout))`.

    Args:
        step: As from `make_train_step`.
        mesh: As from `make_mesh`.
        layout: Where the arrays of the state lie, `replicated` by default; `place` puts
            them there.

    Returns:
        The jitted function. The batch may be on the host, or placed by `place_batch`,
        which takes a copy of an array that is to be filled again.
    """
    return jax.jit(on_mesh(step, mesh, layout), donate_argnums=0)


def on_mesh(
    step: Callable[[Any, Batch], tuple[Any, Any]],
    mesh: Mesh,
    layout: Layout | None = None,
) -> Callable[[Any, Batch], tuple[Any, Any]]:
    """The same step, with its arrays divided: pure, to be compiled, scanned or not.

    The rows of the batch are divided over `DATA`; where their number is not a multiple
    of the devices', some have fewer.
    """

    def divided(state: Any, batch: Batch) -> tuple[Any, Any]:
        state, metrics = step(state, divide(batch, mesh))
        where = shardings(state, mesh, layout)
        return jax.lax.with_sharding_constraint(state, where), metrics

    return divided


def divide(batch: Batch, mesh: Mesh) -> Batch:
    """Inside a compiled function: the rows are divided over `DATA`."""
    rows = NamedSharding(mesh, PartitionSpec(DATA))
    return jax.lax.with_sharding_constraint(dict(batch), rows)


def gather(mesh: Mesh, layout: Layout) -> Callable[[Params], Params]:
    """What a step does with its parameters before it uses them.

    Those that are divided over `DATA` become whole on every device, and their gradients
    are divided again as soon as they are summed: one all-gather and one
    reduce-scatter. Divisions over other axes stay.
    """
    if layout is replicated:
        return lambda params: params

    def gathered(params: Params) -> Params:
        stored = shardings({"params": params}, mesh, layout)["params"]
        used = jax.tree.map(partial(_without_data, mesh), stored)

        @jax.custom_vjp
        def whole(params: Params) -> Params:
            return jax.lax.with_sharding_constraint(params, used)

        def forward(params: Params) -> tuple[Params, None]:
            return whole(params), None

        def backward(_: None, grads: Params) -> tuple[Params]:
            return (jax.lax.with_sharding_constraint(grads, stored),)

        whole.defvjp(forward, backward)
        return whole(params)

    return gathered


def _without_data(mesh: Mesh, sharding: NamedSharding) -> NamedSharding:
    def without(names: Any) -> Any:
        if isinstance(names, tuple):
            return tuple(name for name in names if name != DATA)
        return None if names == DATA else names

    return NamedSharding(mesh, PartitionSpec(*map(without, sharding.spec)))
