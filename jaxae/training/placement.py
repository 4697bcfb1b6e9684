"""Arrays from this host to the devices of a mesh, and back."""

from __future__ import annotations  # help() shows names, not types

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.errors import ensure, require
from jaxae.inputs import as_fields, check_data, owned
from jaxae.recipe import Recipe
from jaxae.training.parallel import DATA, Layout, shardings
from jaxae.types import Batch

T = TypeVar("T")


def place(tree: T, mesh: Mesh, layout: Layout | None = None) -> T:
    """A copy of a tree, such as a train state, with its arrays where the layout says.

    On several hosts all must call it, with the same values.
    """
    where = shardings(tree, mesh, layout)
    if jax.process_count() == 1:  # from whatever devices it is on
        tree = jax.device_put(jax.tree.map(owned, tree), where)
    # Even with `may_alias=False` one of several devices may share what it has.
    return jax.jit(_copies, out_shardings=where)(tree)


def _copies(tree: T) -> T:
    return jax.tree.map(jnp.copy, tree)


def local(tree: T) -> T:
    """A copy of a tree on the first device of this host, whole.

    On several hosts all must call it.
    """
    first = jax.local_devices()[0]

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or len(leaf.devices()) == 1:
            return leaf
        if not leaf.is_fully_replicated:
            mesh = leaf.sharding.mesh  # pyright: ignore[reportAttributeAccessIssue]
            leaf = place(leaf, mesh)
        return jax.device_put(leaf.addressable_data(0), first)

    return jax.tree.map(whole, tree)


def place_data(recipe: Recipe, data: Any, mesh: Mesh, name: str) -> Batch:
    """Checks a data set and puts a copy of it on every device of the mesh.

    Every host reads its own share of the rows, which the others get from its devices.

    Raises:
        ValueError: The data are not as the recipe needs them.
    """
    whole = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        checked = check_data(recipe, data, name)
        if "missing" in checked:
            _check_known(checked, name)
        counts = "weight" not in checked or checked["weight"].any()
        ensure(counts, f"{name}['weight'] must be above 0 somewhere, all are 0")
        return jax.device_put({k: owned(v) for k, v in checked.items()}, whole)
    fields = as_fields(recipe, data, name)
    count = len(fields["x"])
    size = -(-count // mesh.size)  # of the pieces, one for every device
    pieces = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    shape = (size * mesh.size,)
    addressable = pieces.addressable_devices_indices_map(shape).values()
    starts = [_start(index) for index in addressable]
    own = {
        start: check_data(recipe, _piece(fields, start, size), name) for start in starts
    }

    def assemble(field: str) -> jax.Array:
        values = next(iter(own.values()))[field]
        return jax.make_array_from_callback(
            (*shape, *values.shape[1:]),
            pieces,
            lambda index: own[_start(index)][field],
            dtype=values.dtype,
        )

    assembled = {field: assemble(field) for field in next(iter(own.values()))}
    cut = jax.jit(lambda b: {k: v[:count] for k, v in b.items()}, out_shardings=whole)
    return cut(assembled)


def _check_known(data: Mapping[str, Any], name: str) -> None:
    """Warns of values of an example that no row to train on knows.

    Raises:
        ValueError: No value is known.
    """
    missing = np.asarray(data["missing"])
    counted = np.asarray(data.get("weight", np.ones(len(missing)))) > 0
    counted = counted.reshape(-1, *[1] * (missing.ndim - 1))
    never = missing.all(axis=0, where=counted)
    ensure(not never.all(), f"{name} must have a value that is known, all are missing")
    shape = data["x"].shape[1:]
    never = np.argwhere(np.broadcast_to(never, shape)).tolist()
    if never and name == "data":  # what others lack may be known in training
        first = [place[0] if len(place) == 1 else tuple(place) for place in never[:3]]
        places = ", ".join(map(str, first)) + ", ..." * (len(never) > len(first))
        warnings.warn(
            f"data: {len(never)} of the {math.prod(shape)} values of an example are "
            f"missing in every one (at {places}), so that nothing is learned of them",
            stacklevel=6,
        )


def _start(index: Any) -> int:
    """The first row of a piece."""
    return index[0].start or 0


def _piece(fields: Mapping[str, Any], start: int, size: int) -> dict[str, Any]:
    """Rows start, start + 1, ...; the last row again where there are no more."""
    rows = np.minimum(np.arange(start, start + size), len(fields["x"]) - 1)
    return {
        name: values if isinstance(values, str) else np.asanyarray(values[rows])
        for name, values in fields.items()
    }


class Share(NamedTuple):
    """What one of several hosts brings of a batch: as many rows as every other.

    Attributes:
        batch: Its rows, those of the first host first.
        total: Rows of the whole batch.
    """

    batch: Mapping[str, Any]
    total: int


def place_batch(batch: Mapping[str, Any] | Share, mesh: Mesh) -> Batch:
    """From a batch on the host, or a share of one, to one that is divided over `DATA`.

    A batch that the devices do not divide is put on all of them, and divided inside
    the step.

    Raises:
        ValueError: The devices do not divide a batch that is brought in shares.
    """
    devices = mesh.shape[DATA]
    rows = NamedSharding(mesh, PartitionSpec(DATA))
    if isinstance(batch, Share):
        fits = batch.total % devices == 0
        expected = f"divided by the {devices} devices, as several hosts share it"
        require(fits, "the batch size", batch.total, expected)
        return {
            name: jax.make_array_from_process_local_data(rows, owned(values))
            for name, values in batch.batch.items()
        }
    even = len(batch["x"]) % devices == 0
    sharding = rows if even else NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put({k: owned(v) for k, v in batch.items()}, sharding)
    return {k: _everywhere(np.asarray(owned(v)), sharding) for k, v in batch.items()}


def _everywhere(values: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """From values that every host has."""
    return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)
