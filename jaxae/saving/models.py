"""Models on disk: `save` and `load`.

A folder has the recipe as JSON, see `jaxae.notation`, and the variables as safetensors
(https://huggingface.co/docs/safetensors).
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxae import notation
from jaxae._version import __version__
from jaxae.checks import check_count
from jaxae.errors import CheckpointError, check_choice, ensure, require
from jaxae.inputs import check_model, check_recipe
from jaxae.recipe import Model, Recipe
from jaxae.training.initial import abstract_variables, by_name
from jaxae.types import Folder, Which

FORMAT = 2
"""Goes up where what is written changes; of 1, the recipe has no checksum."""

_SUM = "sha256 of the weights"
_RECIPE_SUM = "sha256 of the recipe"
RECIPE = "model.json"
WEIGHTS = "model.safetensors"
OF_RUN = "models"
"""Where the directory of a run of `python -m train` has its models, by `which`."""

_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64"),
)


def save(model: Model, folder: Folder) -> None:
    """Writes a model into a folder of its own, whole or not at all.

    All that it needs is there but for code of your own: the recipe with all its
    numbers, in `model.json`, and the variables, as they are, in `model.safetensors`.

    Args:
        model: As `fit(...).model`; its arrays on devices of this host.
        folder: Made, with the folders above it, if it does not exist. A model that is
            saved there is replaced; a folder with anything else in it is not.

    Raises:
        ValueError: The folder holds something else; or a part of the recipe has no
            name, as a lambda, whose attribute the message names; or the variables are
            not those of the recipe.
        OSError: The folder cannot be written to.

    Example:
        >>> import jax, numpy as np, jaxae, tempfile
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jaxae.save(model, folder)
        ...     again = jaxae.load(folder)
        >>> again.recipe == recipe
        True
    """
    check_model(model)
    check_recipe(model.recipe)
    tree = notation.write(model.recipe)
    about = {
        "format": FORMAT,
        "jaxae": __version__,
        "recipe": tree,
        _RECIPE_SUM: _recipe_checksum(tree),
    }
    arrays = _on_host(model)
    folder = _as_path(folder).resolve()
    _check_place(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, so that renaming moves no data.
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        new.mkdir()
        try:
            save_file(arrays, new / WEIGHTS)
        except SafetensorError as error:  # which it makes of those of the system
            raise OSError(f"{folder / WEIGHTS}: cannot be written: {error}") from error
        about |= {_SUM: _checksum(new / WEIGHTS)}
        text = json.dumps(about, indent=2) + "\n"
        (new / RECIPE).write_text(text, encoding="utf-8")
        try:
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        except BaseException:  # Ctrl-C too
            if old.exists() and not folder.exists():
                old.rename(folder)
            raise


def load(folder: Folder, *, parts: Iterable[Any] = (), which: Which = "best") -> Model:
    """Reads a model that `save` or `python -m train` wrote.

    It gives the very numbers that it gave when it was saved. A file from elsewhere runs
    no code of its own: it names parts of jaxae, of `flax.linen` and `jax.nn`, and yours
    only if you hand them in.

    Args:
        folder: As given to `save`; or the directory of a run.
        parts: Your own classes and functions that the recipe may name, by their module
            and name, as in `load(folder, parts=[MyEncoder, my_corruption])`.
        which: Of a run, the model of the "best" or of the "last" epoch.

    Raises:
        CheckpointError: There is no saved model, it is damaged, or of a later version;
            it names a part that is not known; or the weights are not those of the
            recipe.
        ValueError: `which` is not known, or there is one model only; or what was
            handed in is no list of classes and functions.

    Example:
        >>> import jax, numpy as np, jaxae, tempfile
        >>> x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
        >>> recipe = jaxae.recipes.vae((4, 4, 1), latent_dim=2)
        >>> key = jax.random.key(0)
        >>> model = jaxae.fit(recipe, x, key=key, epochs=1, progress=False).model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     jaxae.save(model, folder)
        ...     again = jaxae.load(folder)
        >>> bool((jaxae.encode(again, x) == jaxae.encode(model, x)).all())
        True
    """
    check_choice("which", which, Which)
    own = notation.by_own_names(parts)
    folder = _find(_as_path(folder), which)
    for file in (folder / RECIPE, folder / WEIGHTS):
        if file.is_dir():
            raise CheckpointError(f"{file}: is a directory, not a file of a model")
    try:
        recipe, checksum = _read_recipe(folder / RECIPE, own)
        variables = _read_variables(folder / WEIGHTS, recipe)
        found = _checksum(folder / WEIGHTS)
    except OSError as error:
        file = error.filename or folder
        reason = error.strerror or error
        raise CheckpointError(f"{file}: cannot be read: {reason}") from error
    if found != checksum:
        file = folder / WEIGHTS
        raise CheckpointError(f"{file}: damaged, or not what {RECIPE} was saved with")
    return Model(recipe, variables)


def _as_path(folder: Any) -> Path:
    """Raises ValueError of what is none."""
    path = isinstance(folder, str | os.PathLike)
    require(path, "folder", type(folder).__name__, "a path")
    return Path(folder)


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _recipe_checksum(tree: notation.Tree) -> str:
    """By the canonical JSON: how a file is laid out does not count."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _on_host(model: Model) -> dict[str, np.ndarray]:
    arrays = {
        name: np.asarray(values, order="C")
        for name, values in by_name(jax.device_get(model.variables)).items()
    }
    for name, values in arrays.items():
        known = values.dtype.name in _DTYPES
        require(known, f"the dtype of {name}", values.dtype.name, f"one of {_DTYPES}")
    misfit = _misfit(by_name(abstract_variables(model.recipe)), arrays)
    own = "model must have the variables of its recipe"
    ensure(misfit is None, f"{own}: {misfit}")
    return arrays


def _check_place(folder: Path) -> None:
    if not folder.exists():
        return
    expected = "a new path, or a folder with nothing but a saved model"
    require(folder.is_dir(), "folder", str(folder), expected)
    other = {each.name for each in folder.iterdir()} - {RECIPE, WEIGHTS}
    holds = f", which holds {min(other)}" if other else ""
    ensure(not other, f"folder must be {expected}, got {str(folder)!r}{holds}")


def _find(folder: Path, which: Which) -> Path:
    if (folder / RECIPE).exists():
        one = f"which must be left out, as {folder} holds one model"
        ensure(which == "best", one)
        return folder
    of_run = folder / OF_RUN / which
    if folder.name in (RECIPE, WEIGHTS) and folder.is_file():
        raise CheckpointError(
            f"{folder}: is a file of a saved model: give its folder, {folder.parent}"
        )
    if not (of_run / RECIPE).exists():
        raise CheckpointError(
            f"{folder}: no saved model there, neither {RECIPE} nor "
            f"{OF_RUN}/{which}/{RECIPE}; for a run of `python -m train` that was not "
            f"finished, `python -m train.evaluate {folder}` writes it"
        )
    return of_run


def _read_recipe(file: Path, own: Mapping[str, Any]) -> tuple[Recipe, str]:
    """With the checksum of the weights that it is of."""
    try:
        saved = json.loads(file.read_text("utf-8"))
        number, version, tree = saved["format"], saved["jaxae"], saved["recipe"]
        check_count("format", number)
        checksum = saved[_SUM]
        # That of a later format may be another one.
        damaged = 1 < number <= FORMAT and saved[_RECIPE_SUM] != _recipe_checksum(tree)
        ensure(not damaged, f"the recipe is not that of the {_RECIPE_SUM}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: damaged, or not of a saved model: {error!r}"
        ) from error
    if number > FORMAT:
        raise CheckpointError(
            f"{file}: written by jaxae {version} in format {number}, of which this "
            f"one, {__version__}, reads those up to {FORMAT}: take a later jaxae"
        )
    try:
        recipe = notation.read(tree, own)
    except Exception as error:  # a part may be anyone's
        reason = _first_line(error)
        raise CheckpointError(
            f"{file}: no recipe can be made of it: {reason}"
        ) from error
    if not isinstance(recipe, Recipe):
        raise CheckpointError(f"{file}: holds no recipe but {recipe!r:.200}")
    return recipe, checksum


def _read_variables(file: Path, recipe: Recipe) -> Any:
    try:
        shapes = abstract_variables(recipe)
    except Exception as error:  # a part may be anyone's
        where, reason = file.with_name(RECIPE), _first_line(error)
        raise CheckpointError(
            f"{where}: no model can be made of it: {reason}"
        ) from error
    try:
        with safe_open(file, "numpy") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: is missing") from error
    except (SafetensorError, AttributeError) as error:  # the latter for a strange dtype
        raise CheckpointError(f"{file}: damaged: {error}") from error
    expected = by_name(shapes)
    if misfit := _misfit(expected, found):
        raise CheckpointError(f"{file}: not the weights of its recipe: {misfit}")
    leaves = [_as_stored(file, name, found[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _as_stored(file: Path, name: str, values: np.ndarray) -> jax.Array:
    array = jax.device_put(values)
    if array.dtype != values.dtype:
        raise CheckpointError(
            f"{file}: {name} is {values.dtype}, which JAX has only under the option "
            "jax_enable_x64"
        )
    return array


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or repr(error)


def _form(array: Any) -> str:
    """Its shape and kind: real numbers may be of more or fewer bits."""
    real = jnp.issubdtype(array.dtype, jnp.floating)
    kind = "real numbers" if real else f"{array.dtype} values"
    return f"{kind} of shape {tuple(array.shape)}"


def _misfit(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """The first array that is missing, one too many, or of another shape or kind."""
    for name in sorted(expected.keys() | found.keys()):
        asked, there = (
            _form(arrays[name]) if name in arrays else "missing"
            for arrays in (expected, found)
        )
        if asked != there:
            return f"{name} is {there} there and {asked} in the recipe"
    return None
