"""Images in a `.npy` or `.npz` file, and what there is beside them."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from train.data.fields import NAN, as_split
from train.data.images import Size, as_images
from train.data.rows import LazyRows, chunks
from train.data.types import CONDITION, Lazy, LazySplit, Source, Split
from train.errors import DataError

NAMES = {
    "images": ("images", "x"),
    "labels": ("labels", "label", "y"),
    "inputs": ("inputs",),
    "missing": ("missing",),
    "weight": ("weight",),
}
"""Those of the arrays in a `.npz` file, by the fields of `Split`."""

Names = dict[str, str]
T = TypeVar("T")


def array_source(
    path: Path,
    size: Size | None,
    inputs: str | None = None,
    missing: str | None = None,
    conditions: Collection[str] = (),
) -> Source:
    """A `.npy` file with one array of images, or a `.npz` file with named arrays.

    The names are those of `NAMES`: `images` (or `x`), with or without `labels` (or
    `label`, `y`), `inputs`, `missing` and `weight`; or `x_train` and `x_test`, as Keras
    writes them, with or without `y_train` and `y_test`, `inputs_train` and so on; or
    a single array of any name but those of the other fields.

    Args:
        path: The file.
        size: Height and width to resize to.
        inputs: A `.npy` file of as many rows.
        missing: Likewise; or the word `NAN`.
        conditions: Further arrays of a `.npz` file, by name.

    Raises:
        DataError: There is no such file.
    """
    files = {"images": path}
    for field, given in (("inputs", inputs), ("missing", missing)):
        if given not in (None, NAN):
            files[field] = _array_file(field, given, path)
    identity = ["arrays", *(_identity(each) for each in files.values())]
    beside: dict[str, Path | str] = {k: v for k, v in files.items() if k != "images"}
    if missing == NAN:
        beside["missing"] = NAN
    lazy = Lazy(lambda: _mapped(path, size), lambda: {"train": _checked(path, size)})
    return Source(
        path.stem,
        [*identity, sorted(files), missing == NAN, *conditions],
        lambda: _read(path, size, beside, conditions),
        lazy if path.suffix.lower() == ".npy" and not beside else None,
    )


def _array_file(field: str, given: str, images: Path) -> Path:
    path = Path(given).expanduser()
    if path.suffix.lower() != ".npy" or path.is_dir():
        word = f", or {NAN}," if field == "missing" else ""
        raise DataError(
            f"--{field} must be a .npy file{word} beside --data {images}, got {given}"
        )
    return path


def _identity(path: Path) -> list[str | int]:
    if not path.is_file():
        from jaxae.errors import did_you_mean  # imports JAX

        near = [each.name for each in path.parent.glob("*.np[yz]")]
        raise DataError(f"{path}: no such file{did_you_mean(path.name, near)}")
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _mapped(path: Path, size: Size | None, digest: str = "") -> LazyRows:
    """The images of a `.npy` file, of which only what is asked for gets into memory."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        count = len(array)
    except Exception as error:  # see `_read`
        raise DataError(f"{path}: not a readable array ({error})") from error

    def read(rows: np.ndarray) -> np.ndarray:
        return as_images(array[rows], f"{path}: images", size)

    return LazyRows(read, np.arange(count), str(path), digest)


def _checked(path: Path, size: Size | None) -> LazySplit:
    """The same after a pass over all of them, of which only a digest is kept."""
    digest = hashlib.sha256()
    for chunk in chunks(_mapped(path, size)):  # finds a value which cannot be used too
        digest.update(chunk.tobytes())
    return LazySplit(_mapped(path, size, digest.hexdigest()))


def _read(
    path: Path,
    size: Size | None,
    beside: Mapping[str, Path | str],
    conditions: Collection[str],
) -> dict[str, Split]:
    arrays, parts = _load(path, conditions)
    for field, given in beside.items():
        if len(parts) > 1 or field in parts["train"]:
            raise DataError(
                f"--{field} must be left out beside --data {path}, which has parts, or "
                f"{field}, of its own: {sorted(arrays)}"
            )
        own = f"--{field} {given}"
        parts["train"][field] = own
        arrays[own] = np.array(NAN) if given == NAN else _load_array(Path(given))
    return {part: _part(arrays, names, path, size) for part, names in parts.items()}


def _part(
    arrays: Mapping[str, np.ndarray], names: Names, path: Path, size: Size | None
) -> Split:
    given = {field: arrays[name] for field, name in names.items()}
    called = {field: f"{path}: {name}" for field, name in names.items()}
    called |= {f: name for f, name in names.items() if name.startswith("--")}
    return as_split(given, called, size)


def load_conditions(path: Path, conditions: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the arrays of a `.npz` file that there are, of all parts, by name.

    "label" may have any of its names.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """
    _identity(path)
    known = {name: (name,) for name in conditions}
    known |= {"label": NAMES["labels"]} if "label" in conditions else {}

    def read(loaded: Any) -> dict[str, np.ndarray]:
        parts = _found(sorted(loaded.files), known, path).values()
        return {
            field: np.concatenate([loaded[names[field]] for names in parts])
            for field in next(iter(parts))
        }

    return _opened(path, read)


def _load_array(path: Path) -> np.ndarray:
    arrays, parts = _load(path)
    if len(parts) > 1 or len(parts["train"]) > 1:
        raise DataError(f"{path} must hold one array, got {sorted(arrays)}")
    return arrays[parts["train"]["images"]]


def _load(
    path: Path, conditions: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Names]]:
    """The arrays that count by their names, and the names of each part."""

    def read(loaded: Any) -> tuple[dict[str, np.ndarray], dict[str, Names]]:
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}, {"train": {"images": "images"}}
        parts = _names(loaded.files, path, conditions)
        wanted = {name for names in parts.values() for name in names.values()}
        return {name: loaded[name] for name in wanted}, parts

    return _opened(path, read)


def _opened(path: Path, read: Callable[[Any], T]) -> T:
    """What is read of the array, or the mapping of arrays, in a file."""
    # NumPy raises OSError, ValueError, EOFError, BadZipFile, zlib.error ... for files
    # that are damaged or hold Python objects, the last of which are never unpickled.
    try:
        with path.open("rb") as file:  # NumPy would leave a damaged one open
            return read(np.load(file, allow_pickle=False))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: not a readable file of arrays ({error})") from error


def _names(
    keys: Iterable[str], path: Path, conditions: Collection[str]
) -> dict[str, Names]:
    """Part -> the names of its arrays, by those of `Split.arrays`."""
    keys = sorted(keys)
    known = NAMES | {CONDITION + name: (name,) for name in conditions}
    _check_once(keys, known, path)
    parts = _found(keys, known, path)
    if len(keys) == 1 and not parts["train"]:  # the name of no other field
        parts["train"]["images"] = keys[0]
    _check_spelling(keys, parts, known, path)
    if "images" not in parts["train"]:
        raise DataError(
            f"{path}: expected arrays named images or x (with labels or y, inputs, "
            "missing, weight), x_train and x_test (with y_train and y_test and so on), "
            f"or a single one of another name, got {keys}"
        )
    return parts


def _check_once(
    keys: Collection[str], known: Mapping[str, Collection[str]], path: Path
) -> None:
    """Raises DataError where a field has two arrays, of which one would be taken."""
    for names, part in product(known.values(), ("", "_train", "_test")):
        alike = [name + part for name in names if name + part in keys]
        if len(alike) > 1:
            raise DataError(f"{path}: {' and '.join(alike)} mean the same: leave one")


def _check_spelling(
    keys: Iterable[str],
    parts: Mapping[str, Names],
    known: Mapping[str, Collection[str]],
    path: Path,
) -> None:
    """Other arrays may be in a file; one with nearly the name of a field is meant."""
    used = {name for names in parts.values() for name in names.values()}
    fields = [name for names in known.values() for name in names]
    for key in keys:
        stem = key.removesuffix("_train").removesuffix("_test")
        near = get_close_matches(stem, fields, n=1, cutoff=0.8)
        if key not in used and near and stem not in fields:
            raise DataError(
                f"{path}: {key!r} is none of the arrays that are looked at; did you "
                f"mean {near[0]!r}?"
            )


def _found(
    keys: Collection[str], known: Mapping[str, Collection[str]], path: Path
) -> dict[str, Names]:
    """Part -> the names of the arrays that are there, by field."""
    if "x_train" in keys:
        parts = [part for part in ("train", "test") if f"x_{part}" in keys]
        return _names_of_parts(keys, parts, known, path)
    found = {
        field: next((name for name in names if name in keys), None)
        for field, names in known.items()
    }
    return {"train": {field: name for field, name in found.items() if name}}


def _names_of_parts(
    keys: Collection[str],
    parts: Collection[str],
    known: Mapping[str, Collection[str]],
    path: Path,
) -> dict[str, Names]:
    names: dict[str, Names] = {part: {} for part in parts}
    for field, alike in known.items():
        for name in alike:
            there = [part for part in parts if f"{name}_{part}" in keys]
            if there and len(there) < len(parts):
                each = " or ".join(f"{name}_{part}" for part in parts)
                raise DataError(f"{path}: {each} is missing among {list(keys)}")
            for part in there:
                names[part].setdefault(field, f"{name}_{part}")
    return names
