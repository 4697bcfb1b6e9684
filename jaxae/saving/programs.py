"""Trained models as files that run with JAX alone: see `export`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array

from jaxae.corruptions import fill_in
from jaxae.errors import ensure, require
from jaxae.inference import Codes, decode_one, encode_one
from jaxae.inputs import abstract_fields, check_model
from jaxae.models.family import Family
from jaxae.preparation import inverse
from jaxae.recipe import Model
from jaxae.training.batch import FILL, prepare_inputs
from jaxae.types import Batch

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""What JAX can compile a program for."""

Shapes = Any
"""Those of arrays [b, ...] with a symbolic b: a `jax.ShapeDtypeStruct`, or a tuple."""


class Part(NamedTuple):
    """A function of a model as a program, which a device compiles when it loads it.

    Attributes:
        serialized: What `jax.export.deserialize` takes.
        inputs: Name -> shape and dtype. The first one is the only positional argument;
            the others are given by their names.
        outputs: Shape and dtype of the result, or a tuple of them.
    """

    serialized: bytes
    inputs: Mapping[str, Shapes]
    outputs: Shapes


def export(
    model: Model, *, platforms: Sequence[str] = ("cpu", "cuda", "tpu")
) -> dict[str, Part]:
    """The encoder, the decoder and both in a row, for any number of examples.

    - "encoder": x -> codes, as `jaxae.encode` returns them.
    - "decoder": codes -> x, as `jaxae.decode`.
    - "model": x -> x, as `jaxae.reconstruct`.

    x is float32 in the units of the data, pictures in [0, 1]; codes and x are means, so
    that there is no key. What the networks are shown besides is a further argument of
    the parts that look at it, by its name: `missing`, a boolean mask, True where values
    are missing ([b, h, w, 1] of images, else of x's shape), and conditions, as int32
    labels [b]. To an encoder that is
    not shown the mask, what is missing is to be given as 0 in prepared units. Nothing
    is checked any more.

    The parameters are constants of the program. It is written by
    `Path("encoder.jax").write_bytes(part.serialized)` and needs jax and flatbuffers to
    run:

        part = jax.export.deserialize(Path("encoder.jax").read_bytes())
        codes = part.call(x)

    JAX reads what earlier versions of the last six months wrote, not what later ones
    did; the platforms are those of `jax.export`.

    Args:
        model: As `fit` returns it.
        platforms: What it shall run on, of `PLATFORMS`.

    Raises:
        ValueError: There is no platform, or an unknown one; or the model has no code.

    Example:
        >>> import jax, jax.export, numpy as np, jaxae
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> part = jaxae.export(model, platforms=('cpu',))['encoder']
        >>> codes = jax.export.deserialize(part.serialized).call(x)
        >>> codes.shape
        (20, 2)
    """
    check_model(model)
    known = all(platform in PLATFORMS for platform in platforms)
    expected = f"at least one of {PLATFORMS}"
    require(known and len(platforms) > 0, "platforms", platforms, expected)
    # Arrays of the host, whatever devices they are divided over.
    variables = jax.device_put(jax.device_get(model.variables))
    family = model.module
    x, side = _input_shapes(family)

    def encoder(x: Array, **side: Array) -> Codes:
        key = jax.random.key(0)  # of noise that the mean is without

        def one(batch: Batch) -> Codes:
            return encode_one(family, variables, batch, key)

        inputs = prepare_inputs(model.recipe, key, x)
        shown = _as_shown(side)
        if "mask" in shown:
            inputs = fill_in(inputs, shown["mask"], FILL)
        return jax.vmap(one)({"inputs": inputs, **shown})

    def decoder(codes: Codes, **side: Array) -> Array:
        one = partial(decode_one, family, variables)
        return inverse(model.recipe.prepare, jax.vmap(one)(codes, _as_shown(side)))

    def whole(x: Array, **side: Array) -> Array:
        return decoder(encoder(x, **side), **side)

    codes = jax.eval_shape(encoder, x, **side)
    kind = type(family).__name__
    ensure(jax.tree.leaves(codes), f"model must have a latent code, {kind} has none")
    arguments = {
        "encoder": (encoder, {"x": x}),
        "decoder": (decoder, {"codes": codes}),
        "model": (whole, {"x": x}),
    }
    return {
        name: _export(function, first, side, platforms)
        for name, (function, first) in arguments.items()
    }


def _export(
    function: Callable[..., Any],
    first: dict[str, Shapes],
    side: dict[str, Shapes],
    platforms: Sequence[str],
) -> Part:
    (shapes,) = first.values()
    jitted = jax.jit(function)
    side = {name: side[name] for name in _read(jitted, shapes, side)}
    exported = jax.export.export(jitted, platforms=platforms)(shapes, **side)
    outputs = jax.eval_shape(function, shapes, **side)
    return Part(bytes(exported.serialize()), {**first, **side}, outputs)


def _read(function: Any, shapes: Shapes, side: dict[str, Shapes]) -> list[str]:
    """The fields of `side` that are looked at: a decoder may leave out a mask."""
    if not side:
        return []
    # A program for a fixed number of examples says what it left out.
    pair = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype), (shapes, side)
    )
    kept = jax.export.export(function)(pair[0], **pair[1]).module_kept_var_idx
    # Arrays are numbered in their order, with dictionaries in that of the names.
    count = len(jax.tree.leaves(shapes))
    return [name for i, name in enumerate(sorted(side), start=count) if i in kept]


def _as_shown(side: Mapping[str, Any]) -> dict[str, Any]:
    """By the names that views know: what is missing is what an encoder must not see."""
    return {"mask" if name == "missing" else name: v for name, v in side.items()}


def _input_shapes(family: Family) -> tuple[jax.ShapeDtypeStruct, dict[str, Shapes]]:
    """Those of x, and of what else there is in a batch that the networks look at."""
    (b,) = jax.export.symbolic_shape("b")
    shape = family.shape_seen
    # As corruptions make masks: one value per pixel of images, else per entry.
    mask = (*shape[:-1], 1) if len(shape) == 3 else shape
    needs = family.view.needs
    known = {
        **abstract_fields(family, b),
        "missing": jax.ShapeDtypeStruct((b, *mask), jnp.bool_),
    }
    side = {name: v for name, v in known.items() if _as_shown({name: v}).keys() & needs}
    return jax.ShapeDtypeStruct((b, *shape), jnp.float32), side
