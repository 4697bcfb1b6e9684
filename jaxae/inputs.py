"""Recipes, data and labels that users hand in are checked once, early, on the host.

Arrays that JAX traces, as inside `jax.grad` or `jax.vmap`, are checked by shape and
dtype; their values are not known.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxae.corruptions.base import takes_unit_interval
from jaxae.errors import ArgumentError, ensure, require, unknown
from jaxae.models.family import Family
from jaxae.preparation import Scale, as_levels, binarize, unit_interval
from jaxae.recipe import Model, Recipe
from jaxae.values import check_hashable, expression
from jaxae.views import Field, Part

LEAST_BYTES = 64
"""Values from which on bytes of 0 and 1 alone are no chance."""

_BLOCK = 2**20
"""Values that are looked at together."""


def check_model(model: Any) -> None:
    """Raises ValueError unless `model` is a Model, for which others are taken."""
    came = f"a value of type {type(model).__name__}"
    made = "as jaxae.fit(...).model or jaxae.load(...) gives one"
    ensure(isinstance(model, Model), f"model must be a Model, {made}, got {came}")


def check_recipe(recipe: Any) -> None:
    """Raises ValueError unless `recipe` is a Recipe that programs can be compiled for.

    An attribute without a hash, as a list in a module of the user's own, is named.
    """
    came = f"a value of type {type(recipe).__name__}"
    made = "as jaxae.recipes.vae((28, 28, 1)) makes one"
    ensure(isinstance(recipe, Recipe), f"recipe must be a Recipe, {made}, got {came}")
    check_hashable("recipe", recipe)


def check_data(recipe: Recipe, data: Any, name: str) -> dict[str, Any]:
    """Data for training or evaluation as {"x": ...} and what else there is.

    Args:
        recipe: Says what the examples must look like.
        data: An array [n, *shape] or a mapping with one as "x", see `FIELDS`; or
            `jaxae.Shards`, which are read whole in their order.
        name: What the caller calls the argument.

    Returns:
        Arrays of the host, with zeros where x is missing.

    Raises:
        ValueError: The shape, the dtype or a value is not as the recipe needs it.
    """
    fields = as_fields(recipe, data, name)
    x, missing = split_missing(fields.pop("x"), fields.pop("missing", None), name)
    checked = {"x": check_examples(recipe.module.shape, x, name)}
    view = recipe.module.view
    own = type(recipe.module).__name__
    whole = f"{name} must be known whole: {own} of {view!r} takes no missing values"
    ensure(missing is None or recipe.module.takes_missing, whole)
    if missing is not None:
        checked["missing"] = check_mask(missing, x.shape, f"{name}['missing']")
    _check_own_inputs(recipe, fields, name)
    if "inputs" in fields:
        own, shape = f"{name}['inputs']", recipe.module.shape_seen
        checked["inputs"] = check_examples(shape, fields.pop("inputs"), own, _OF_X)
        _check_count(checked["inputs"], len(checked["x"]), own)
        check_scalable(recipe, checked["inputs"], own)
        if not isinstance(checked["inputs"], Tracer):
            seen = checked["inputs"]
            low, high = as_levels(np.array([seen.min(), seen.max()]))
            _warn_if_unscaled(recipe, low, high, own)
    for field, values in fields.items():
        values = _check_side_field(recipe, values, len(checked["x"]), field, name)
        checked |= {} if values is None else {field: values}
    for field in view.fields:
        shown = f"{name} must have {field!r}, which the model is shown"
        ensure(field in checked, f"{shown}, got {sorted(checked)}")
    if not isinstance(checked["x"], Tracer):
        known = None if missing is None else ~checked["missing"]
        check_values(recipe, checked["x"], name, known)
    return checked


UNSCALED = 100.0
"""Values above it are taken for data that nobody has scaled."""

SCALE = "scale them, as by recipe.replace(prepare=jaxae.preparation."
"""The begin of a remedy."""

_ANY = f"numbers of any size are for likelihood='gaussian': {SCALE}Standardize())"

FIELDS = {
    "x": "what the model explains, [n, *shape]",
    "inputs": "what the encoder sees in place of x, [n, *input_shape]",
    "missing": "True where x is not known, of its shape or one channel; or 'nan'",
    "label": "anything [n, ...], which is carried along where nothing needs it",
    "weight": "how often each example counts, [n]",
}
"""The arrays that data may have, beside those that a view declares."""


def as_fields(recipe: Recipe, data: Any, name: str) -> dict[str, Any]:
    """Data as a mapping with "x" and fields that are known.

    Raises:
        ValueError: They are a tuple, which says nothing of what is what, or have no
            "x", or a field that nobody knows.
    """
    pair = "a mapping says which array is what: {'x': ..., 'inputs': ...} for pairs of "
    pair += "clean and damaged, {'x': ..., 'label': ...} for labels"
    ensure(not isinstance(data, tuple), f"{name} must not be a tuple: {pair}")
    if rows := shard_rows(data):
        data = {field: values[:] for field, values in rows.items()}
    fields = dict(data) if isinstance(data, Mapping) else {"x": data}
    ensure("x" in fields, f"{name} must have an 'x', got {sorted(map(str, fields))}")
    known = {**FIELDS, **recipe.module.view.fields}
    for field in fields:
        ensure(field in known, unknown(f"every field of {name}", field, known))
    return fields


def shard_rows(data: Any) -> Mapping[str, Any] | None:
    """What `jaxae.Shards` read their fields from, by slices of rows; None of others."""
    rows = getattr(data, "rows", None)
    return rows if isinstance(rows, Mapping) else None


def _check_own_inputs(recipe: Recipe, fields: Mapping[str, Any], name: str) -> None:
    shape, seen = recipe.module.shape, recipe.module.shape_seen
    needed = f"{name} must have 'inputs' of shape {seen} for each example, got {{}}"
    same = shape == seen or "inputs" in fields
    ensure(same, needed.format(["x", *fields]))
    came = getattr(fields.get("inputs"), "shape", (0, *seen))
    own, other = type(recipe.module).__name__, came[1:] != seen and len(came) > 1
    kind = f"{name}['inputs'] must be of shape [n, {', '.join(map(str, seen))}], "
    kind += f"that of x, the only one that a {own} sees, got {came}"
    ensure(not other or hasattr(recipe.module, "input_shape"), kind)


def split_missing(x: Any, missing: Any, name: str) -> tuple[Any, Any]:
    """x with zeros where it is not known, and where that is.

    Args:
        x: An array, or one of `numpy.ma`, whose mask says the same as `missing`.
        missing: True where x is not known; "nan" where x is NaN there; or None.
        name: Of the argument that x comes as.

    Raises:
        ValueError: `missing` is another word, or no mask for x.
    """
    x, missing = unmasked(x, missing, name)
    x = as_array(x, name)
    if isinstance(missing, str):
        require(missing == "nan", "missing", missing, "an array of booleans, or 'nan'")
        require(is_number(x.dtype), name, str(x.dtype), "numbers, NaN where missing")
        missing = jnp.isnan(x) if isinstance(x, Tracer) else np.isnan(x)
    if missing is None:
        return x, None
    missing = check_mask(missing, x.shape, "missing")
    xp = jnp if isinstance(x, Tracer) or isinstance(missing, Tracer) else np
    return xp.where(missing, np.zeros((), x.dtype), x), missing


def unmasked(x: Any, missing: Any, name: str) -> tuple[Any, Any]:
    """x and what is missing of it, which an array of `numpy.ma` says itself."""
    if not isinstance(x, np.ma.MaskedArray):
        return x, missing
    taken = f"{name} is a masked array, whose mask says what is missing: give no "
    ensure(missing is None, f"{taken}'missing' beside it")
    return x.data, np.ma.getmaskarray(x)


def check_unmasked(values: Any, name: str) -> None:
    """Raises ValueError of an array of `numpy.ma`, where its mask would be dropped."""
    masked = isinstance(values, np.ma.MaskedArray)
    ensure(not masked, f"{name} must be known whole, got a masked array")


def is_number(dtype: Any) -> bool:
    """Of booleans, whole or real numbers, those of JAX's own types too."""
    return np.dtype(dtype).kind in "biu" or jnp.issubdtype(dtype, jnp.floating)


def _check_count(values: Any, count: int, name: str) -> None:
    came = np.shape(values)
    require(came[:1] == (count,), name, came, f"a row for each of {count} examples")


def abstract_batch(recipe: Recipe) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of a batch of two examples."""
    shapes = {"x": recipe.module.shape, "inputs": recipe.module.shape_seen}
    floats = {k: jax.ShapeDtypeStruct((2, *v), jnp.float32) for k, v in shapes.items()}
    return {**floats, **abstract_fields(recipe.module, 2)}


def abstract_fields(family: Family, count: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of what a family is shown of `count` examples, by name."""
    return {
        name: jax.ShapeDtypeStruct(
            (count, *form.shape), jnp.int32 if form.categories else jnp.float32
        )
        for name, form in family.view.fields.items()
    }


def check_numbers(values: Any, shape: tuple[int, ...], name: str) -> Any:
    """An array of finite numbers of this shape, as it is stored."""
    values = as_array(values, name)
    ensure(
        values.shape == shape and is_number(values.dtype),
        f"{name} must be numbers of shape {list(shape)}, "
        f"got {values.dtype} of shape {list(values.shape)}",
    )
    finite = isinstance(values, Tracer) or np.isfinite(values).all()
    ensure(finite, f"{name} holds a value that is not finite")
    return values


def check_weight(values: Any, count: int, name: str) -> Any:
    """How often each example counts, [count] in float32.

    Raises:
        ValueError: The shape is another, or a weight negative or not finite.
    """
    values = check_numbers(values, (count,), name)
    if not isinstance(values, Tracer):
        least = values.min().item()
        require(least >= 0, name, least, "at least 0")
    return values.astype(np.float32)


def as_array(values: Any, name: str) -> Any:
    """On the host, unless it is traced.

    Raises:
        ValueError: It is of a kind that NumPy would take for something else.
    """
    if isinstance(values, Tracer):
        return values
    whole = f"{name} must be an array, or a mapping of arrays, which the device holds "
    whole += f"whole, got {type(values).__name__}"
    ensure(not callable(values), whole)
    check_unmasked(values, name)
    kind = type(values)
    if kind.__module__.startswith(("scipy.sparse", "anndata")):
        remedy = "adata.X" if kind.__module__.startswith("anndata") else "x.toarray()"
        raise ArgumentError(
            f"{name} must be a dense array, got {kind.__name__} of {kind.__module__}: "
            f"give {remedy}, or an iterable of dense batches"
        )
    joined = f"{whole}: join batches, as by numpy.concatenate(list(batches))"
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(f"{joined}; or its rows are of unequal lengths") from error
    one_object = array.dtype == object and array.ndim == 0
    ensure(not (one_object and hasattr(values, "__iter__")), joined)  # as of a loader
    return array


def _check_side_field(
    recipe: Recipe, values: Any, count: int, field: str, name: str
) -> Any:
    """A weight, a condition or a label; None for labels that no device takes."""
    own = f"{name}[{field!r}]"
    if field == "weight":
        return check_weight(values, count, own)
    if form := recipe.module.view.fields.get(field):
        return check_condition(values, form, count, own)
    try:
        values = as_array(values, own)
    except ValueError:  # lists of unequal lengths, a mask: nothing looks at them
        if callable(values):
            raise
        rows = values if hasattr(values, "shape") else range(len(values))
        _check_count(rows, count, own)
        return None
    _check_count(values, count, own)
    if values.dtype.kind in "iu":
        return values.astype(np.int32)
    return values if is_number(values.dtype) else None


def check_condition(values: Any, form: Field, count: int, name: str) -> Any:
    """An array that a model is shown, [count, *shape], int32 or float32.

    Raises:
        ValueError: It has another shape, a value that is not finite, or one that is no
            category.
    """
    values = check_numbers(values, (count, *form.shape), name)
    if not form.categories:
        return values.astype(np.float32)
    whole = values.astype(np.int32)
    if isinstance(values, Tracer):
        return whole
    other = values[whole != values]
    numbers = f"{name} must be whole numbers of 32 bits"
    ensure(len(other) == 0, f"{numbers}, got {other[:3]}")
    ensure(
        whole.min() >= 0 and whole.max() < form.categories,
        f"{name} must be from 0 to {form.categories - 1}, "
        f"got values from {whole.min()} to {whole.max()}",
    )
    return whole


def check_conditions(
    recipe: Recipe,
    given: Mapping[str, Any],
    count: int,
    *parts: Part,
    forms: Mapping[str, Field] | None = None,
) -> dict[str, Any]:
    """What these are shown of `count` examples; of any other there is nothing.

    `forms` are in place of those that the view declares.

    Raises:
        ValueError: One is missing, not asked for, or not as it is declared.
    """
    fields = recipe.module.view.fields
    there = {name: values for name, values in given.items() if values is not None}
    for name in there:
        shown = ", ".join(fields) or "nothing beside x"
        ensure(name in fields, f"{name} must be left out: the model is shown {shown}")
    needed = recipe.module.view.shown_to(*parts) | dict(forms or {})
    for name in needed:
        ensure(name in there, f"{name} must be given: one for each of {count} examples")
    return {k: check_condition(there[k], form, count, k) for k, form in needed.items()}


_GAPS = "where NaN stands for what is not known, say missing='nan'"
_OF_X = "'missing' is said of x alone: fill in their gaps, as by numpy.nan_to_num"


def check_examples(
    shape: tuple[int, ...], x: Any, name: str = "x", gaps: str = _GAPS
) -> Any:
    """Examples of the model's shape, as bytes or finite float32 of any range.

    Raises:
        ValueError: The rank, the shape or the dtype is wrong, a value is not finite,
            bytes are 0 and 1 alone, or there is no example.
    """
    x = as_array(x, name)
    check_rows(shape, x.shape, name)
    if x.dtype == np.uint8:
        levels = "bytes are the levels of pictures, which become k/255"
        remedy = f"give {name}.astype(numpy.float32), divided by 255 if they are levels"
        ensure(len(shape) > 1, f"{name} must be floats for vectors: {levels}; {remedy}")
        _check_bytes(x, name)
        return x
    real = x.dtype == bool or jnp.issubdtype(x.dtype, jnp.floating)
    remedy = f": give {name}.astype(numpy.float32), or uint8 for levels of pictures"
    wrong = f"{name} must be bytes (uint8) or floats, got {str(x.dtype)!r}"
    ensure(real, wrong + remedy * (x.dtype.kind in "iu"))
    if isinstance(x, Tracer):
        return x.astype(np.float32)
    with np.errstate(over="ignore"):
        x = x.astype(np.float32, copy=False)
    bad = x.size - sum(int(np.isfinite(x[rows]).sum()) for rows in _blocks(x))
    ensure(
        bad == 0,
        f"{name} must be finite, but {bad} of its values are NaN or infinite"
        + f"; {gaps}" * any(bool(np.isnan(x[rows]).any()) for rows in _blocks(x)),
    )
    return x


def check_rows(shape: tuple[int, ...], came: tuple[int, ...], name: str) -> None:
    """Raises ValueError unless an array has [n, *shape], with n at least 1."""
    sizes = ", ".join(map(str, shape))
    grey = shape[-1:] == (1,) and came[1:] == shape[:-1]
    hint = f": add the channel axis, {name}[..., None]" if grey else ""
    if not came:
        hint = ": files are opened by jaxae.Shards"
    if came[2:] == shape:
        hint = f": join batches, as by numpy.concatenate({name})"
    count, *size = came or (0, None)
    require(tuple(size) == shape, name, came, f"of shape [n, {sizes}]{hint}")
    require(count > 0, name, came, "at least one example")


def check_values(
    recipe: Recipe, x: np.ndarray, name: str, known: np.ndarray | None = None
) -> None:
    """Raises ValueError if a part of the recipe cannot take the values of `x`.

    Those where `known` is False are not looked at.
    """
    known = None if known is None else np.broadcast_to(known, x.shape)
    seen = [
        _seen(recipe, x[rows], None if known is None else known[rows])
        for rows in _blocks(x)
    ]
    seen = [each for each in seen if each is not None]
    if not seen:
        return
    # NaN, which a scale may make, is in no interval, and makes these NaN.
    low, high = np.min([u.low for u in seen]), np.max([u.high for u in seen])
    came = f"got values from {low:g} to {high:g}"
    bounded = _takes_unit_interval(recipe)
    if recipe.prepare is binarize:
        bounded = "preparation.binarize"
    if bounded is not None:
        remedy = _ANY if recipe.prepare is binarize else f"{SCALE}MinMax())"
        expected = f"{name} must lie in [0, 1] for {bounded}"
        ensure(low >= 0 and high <= 1, f"{expected}, {came}; {remedy}")
    if recipe.prepare is binarize:
        return
    likelihood = recipe.module.likelihood
    if recipe.prepare is not unit_interval:
        came += " as prepared"
    remedy = _ANY if likelihood.support.is_discrete else f"{SCALE}MinMax())"
    right = all(each.right for each in seen)
    ensure(right, f"{name} must be {likelihood.values.words}, {came}; {remedy}")
    _warn_if_unscaled(recipe, low, high, name)


class _Seen(NamedTuple):
    """What values are like, as prepared."""

    low: Any
    high: Any
    right: bool


def _seen(recipe: Recipe, x: np.ndarray, known: np.ndarray | None) -> _Seen | None:
    """Of those that are known, if there are any; whether the likelihood takes them."""
    # In NumPy wherever the preparation is known: a batch of a stream is checked while
    # the device works on the one before, and must not wait for it.
    if isinstance(recipe.prepare, Scale):
        values = recipe.prepare.bounded(_scaled(recipe.prepare, x))
    elif recipe.prepare is not unit_interval and recipe.prepare is not binarize:
        prepared = recipe.prepare(jax.random.key(0), jnp.asarray(x))
        values = np.asarray(prepared)
    else:
        levels = known is None and x.dtype == np.uint8
        values = as_levels(_levels(x) if levels else x)
    if known is not None and values.shape == x.shape:
        values = values[known]
    if values.size == 0:
        return None
    right = recipe.prepare is binarize
    right = right or bool(np.all(recipe.module.likelihood.support(values)))
    return _Seen(values.min(), values.max(), right)


def _blocks(x: np.ndarray) -> Iterator[slice]:
    """Rows that are looked at together, as x may not fit in memory."""
    count = max(1, _BLOCK // max(1, x[:1].size))
    return (slice(start, start + count) for start in range(0, len(x), count))


def _warn_if_unscaled(recipe: Recipe, low: Any, high: Any, name: str) -> None:
    """Of floats that nothing makes smaller; bytes are levels."""
    plain = recipe.prepare is unit_interval
    plain = plain and not recipe.module.likelihood.support.is_discrete  # as codes are
    if plain and max(-low, high) > UNSCALED:
        came = f"got values from {low:g} to {high:g}"
        remedy = f"networks learn best about 0: {SCALE}Standardize())"
        warnings.warn(f"{name} is large, {came}; {remedy}", stacklevel=2)


def check_scalable(recipe: Recipe, inputs: Any, name: str) -> None:
    """Raises ValueError if the scale of x makes no numbers of an encoder's inputs."""
    scale, traced = recipe.prepare, isinstance(inputs, Tracer)
    if not isinstance(scale, Scale) or not recipe.module.sees_x or traced:
        return
    finite = all(
        np.isfinite(_scaled(scale, inputs[rows])).all() for rows in _blocks(inputs)
    )
    came = f"got values from {inputs.min():g} to {inputs.max():g}"
    ensure(finite, f"{name} must be what {expression(scale)} can scale, {came}")


def _scaled(scale: Scale, x: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(scale.forward(as_levels(x)))


def _takes_unit_interval(recipe: Recipe) -> str | None:
    """The part of a recipe that takes x to lie in [0, 1], if there is one."""
    if takes_unit_interval(recipe.corruption):
        return expression(recipe.corruption)
    prior = getattr(recipe.module, "prior", None)
    return expression(prior) if getattr(prior, "unit_interval", False) else None


def _check_bytes(x: Any, name: str) -> None:
    """Bytes are levels k/255: of 0 and 1 alone, as some data sets store binary x."""
    # A few dark values may be so by chance.
    ensure(
        isinstance(x, Tracer) or x.size < LEAST_BYTES or x.max() != 1,
        f"{name} holds bytes of 0 and 1 alone, which would be read as 0 and 1/255: "
        f"give booleans, {name}.astype(bool), or levels up to 255",
    )


def _levels(x: np.ndarray) -> np.ndarray:
    """The bytes that occur, each once."""
    occurs = np.zeros(256, bool)
    occurs[x] = True
    return np.flatnonzero(occurs).astype(np.uint8)


def check_mask(mask: Any, shape: tuple[int, ...], name: str) -> Any:
    """A boolean mask that broadcasts to examples of `shape` [n, ..., c].

    Raises:
        ValueError: It is no such mask.
    """
    mask = as_array(mask, name)
    right = "bool, True where entries are missing"
    require(mask.dtype == bool, name, str(mask.dtype), right)
    # Of vectors it would be a word on whole examples, and is more likely a mistake.
    if mask.ndim == len(shape) - 1 and mask.ndim > 1:
        mask = mask[..., None]
    one_channel = (*shape[:-1], 1)
    fits = mask.shape in (shape, one_channel)
    expected = shape if len(shape) < 3 else one_channel
    require(fits, name, mask.shape, f"of shape {expected}")
    return mask
